"""Candidate rules: which items a scene is about, in which order, and how many of one category a list holds."""

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from core.columns import Columns
from core.moments import DAY
from core.vocabulary import EventType, Scene
from models.history import History
from models.recommender.base import Recommender
from models.recommender.catalogue import Catalogue
from models.recommender.complements import CART_DAYS
from models.text import attributes_of

NEAREST = 20
"""Items that answer a search which no title holds."""
LATEST = 3
"""What was taken last, where nothing lies in the cart."""
LARGEST_SHARE = 0.5
"""Of a list, that one category fills at the most, as long as there are others to show."""
_TAKEN = frozenset({EventType.CART, EventType.PURCHASE})


@dataclass(frozen=True)
class SceneRules:
    """The rules of one catalogue; they say what a scene is about, never what may not be shown (`RecommenderBundle.allowed`).

    - product: everything.
    - promotion: items of a campaign that runs; of these the ones that answer a search just made, where there are some.
    - brand: the brand's items where one is asked for; else those of brands that the shopper has met; else all that have a brand.
    - cross_sell: what neither lies in the cart nor stands in for it, a durable of the same kind, in the order of `complements`; where
      these were not learned, no consumable of the same kind either.

    Attributes:
        catalogue: the items.
        complements: what belongs to a cart, when it was learned.
    """

    catalogue: Catalogue
    complements: Recommender | None = None

    @cached_property
    def category(self) -> NDArray[np.int64]:
        """(n_items,) code of each item's category, in the order of `categories`."""
        return np.asarray(np.unique(self._named(Columns.CATEGORY), return_inverse=True)[1], dtype=np.int64)

    @cached_property
    def categories(self) -> tuple[str, ...]:
        """The categories, sorted."""
        return tuple(str(name) for name in np.unique(self._named(Columns.CATEGORY)))

    @cached_property
    def kind(self) -> NDArray[np.int64]:
        """(n_items,) code of the kind of product: its category and which attributes it has; two of one kind stand for each other."""
        items = self.catalogue.items
        attributes = [" ".join(sorted({key for key, _ in attributes_of(value)})) for value in items[Columns.ATTRIBUTES].tolist()]
        named = [f"{category}\0{held}" for category, held in zip(self._named(Columns.CATEGORY).tolist(), attributes, strict=True)]
        return np.asarray(np.unique(named, return_inverse=True)[1], dtype=np.int64)

    @cached_property
    def brand(self) -> NDArray[np.object_]:
        """(n_items,) each item's brand, "" where it is unknown."""
        return self._named(Columns.BRAND)

    @cached_property
    def titles(self) -> tuple[str, ...]:
        """Each item's title."""
        return tuple(self._named(Columns.TITLE).tolist())

    def candidates(
        self, scene: str, history: History, moment: int, *, promoted: Collection[str] = (), brand: str | None = None
    ) -> NDArray[np.bool_]:
        """Which items the scene is about.

        Args:
            scene: why an item is shown.
            history: what the shopper did.
            moment: microseconds since 1970 UTC; events at or after it are not looked at.
            promoted: categories that a campaign advertises now.
            brand: only items of this brand, in scene brand.

        Returns:
            (n_items,) bool; none where nothing fits.
        """
        before = history.before(moment)
        if scene == Scene.PROMOTION:
            running = np.array([name in promoted for name in self.categories], dtype=bool)[self.category]
            sought = running & self._answers(before)
            return sought if sought.any() else running
        if scene == Scene.BRAND:
            return self._of_brands(before, brand)
        if scene == Scene.CROSS_SELL:
            cart = self.cart(before, moment)
            kinds = np.zeros(int(self.kind.max(initial=-1)) + 1, dtype=bool)
            kinds[self.kind[cart]] = True
            stand_in = kinds[self.kind]
            if self.complements is not None:
                stand_in &= ~self.catalogue.consumable  # of what is used up one buys several kinds of the same
            stand_in[cart] = True
            return np.asarray(~stand_in)
        return np.ones(len(self.catalogue), dtype=bool)

    def ranked_by(self, scene: str, champion: Recommender, history: History, moment: int) -> tuple[Recommender, History]:
        """Who orders the candidates, and what is read.

        Args:
            scene: why an item is shown.
            champion: orders every scene that has nobody of its own.
            history: what the shopper did.
            moment: see `candidates`.

        Returns:
            The complements and a history with a cart, where a cart is to be completed; else what was given.
        """
        if scene != Scene.CROSS_SELL or self.complements is None:
            return champion, history
        before = history.before(moment)
        cart = self.cart(before, moment)
        if not len(cart):
            return champion, history
        held = [(str(EventType.CART), self.catalogue.item_ids[code]) for code in cart]
        return self.complements, before.extended(held, [moment - 1] * len(held))

    def cart(self, history: History, moment: int) -> NDArray[np.int64]:
        """What is to be completed: what lies in the cart, else what was taken last, else what was met last.

        Args:
            history: strictly before ``moment``.
            moment: microseconds since 1970 UTC.

        Returns:
            Columns of items, none for an empty history.
        """
        column = self.catalogue.index.get
        cart: dict[int, None] = {}
        taken: list[int] = []
        for place, kind in enumerate(history.event_types):
            if kind in _TAKEN and (code := column(history.item_ids[place], -1)) >= 0:
                taken.append(code)
                if kind == EventType.PURCHASE:
                    cart.pop(code, None)
                elif moment - history.timestamps[place] <= CART_DAYS * DAY:
                    cart[code] = None
        if cart:
            return np.array(list(cart), dtype=np.int64)
        last = taken or [code for item in history.item_ids if (code := column(item, -1)) >= 0]
        return np.array(sorted(set(last[-LATEST:])), dtype=np.int64)

    @cached_property
    def brands(self) -> tuple[str, ...]:
        """The brands, sorted; items of unknown brand have none."""
        return tuple(sorted({name for name in self.brand.tolist() if name}))

    @cached_property
    def of_brand(self) -> NDArray[np.bool_]:
        """(n_items, n_brands) which item is of which brand."""
        return np.asarray(self.brand[:, None] == np.array(self.brands, dtype=object)[None, :], dtype=bool)

    def winnable(self, history: History, moment: int) -> NDArray[np.bool_]:
        """Which brands can win this shopper: those whose categories the shopper has met, and of which nothing was bought.

        Args:
            history: what the shopper did.
            moment: see `candidates`.

        Returns:
            (n_brands,) bool, in the order of `brands`.
        """
        before = history.before(moment)
        codes = self.catalogue.codes(before.item_ids)
        bought = codes[(codes >= 0) & np.array([kind == EventType.PURCHASE for kind in before.event_types], dtype=bool)]
        met = np.isin(self.category, np.unique(self.category[codes[codes >= 0]]))
        return np.asarray(self.of_brand[met].any(axis=0) & ~self.of_brand[bought].any(axis=0))

    def _of_brands(self, history: History, brand: str | None) -> NDArray[np.bool_]:
        if brand is not None:
            return np.asarray(self.brand == brand, dtype=bool)
        branded = np.asarray(self.brand != "", dtype=bool)
        codes = self.catalogue.codes(history.item_ids)
        liked = {name for name in self.brand[codes[codes >= 0]].tolist() if name}
        return branded & np.isin(self.brand.astype(str), sorted(liked)) if liked else branded

    def _answers(self, history: History) -> NDArray[np.bool_]:
        """Which items answer the search that the shopper has just made; all when the last event was none.

        Those whose title holds the query; where none does, the nearest by text.
        """
        query = history.queries[-1] if len(history) else ""
        if not query:
            return np.ones(len(self.catalogue), dtype=bool)
        held = np.array([query in title for title in self.titles], dtype=bool)
        if held.any():
            return held
        catalogue = self.catalogue
        nearness = (catalogue.vectors @ catalogue.featurise([query])[0])[catalogue.text_of]  # (n_items,)
        return np.asarray(nearness >= np.sort(nearness)[-min(NEAREST, len(nearness))])

    def _named(self, column: str) -> NDArray[np.object_]:
        return np.array(["" if pd.isna(value) else str(value) for value in self.catalogue.items[column].tolist()], dtype=object)


def most_of_a_category(k: int, share: float = LARGEST_SHARE) -> int:
    """How many of one category stand in a list while there are others: ⌈share · k⌉, at least 1.

    Args:
        k: how many the list is to hold.
        share: in (0, 1].
    """
    return max(1, math.ceil(round(share * k, 9)))


def is_varied(codes: Sequence[int], category: NDArray[np.int64], k: int, share: float = LARGEST_SHARE) -> bool:
    """Whether no category fills more than `varied` lets in while there are others.

    Args:
        codes: columns of the items of a list.
        category: (n_items,) code of each item's.
        k: how many the list was to hold.
        share: see `varied`.
    """
    return _within(codes, category, most_of_a_category(k, share))


def _within(codes: Sequence[int], category: NDArray[np.int64], most: int) -> bool:
    counts = np.unique(category[np.asarray(codes, dtype=np.int64)], return_counts=True)[1]
    return int(counts.max(initial=0)) <= most


def varied(order: Sequence[int] | NDArray[np.int64], category: NDArray[np.int64], k: int, share: float = LARGEST_SHARE) -> list[int]:
    """The first k of a ranking, of which no category fills more than a share, as long as there are items of others.

    Args:
        order: columns of items that may be shown, the best first, all different.
        category: (n_items,) code of each item's.
        k: how many at the most.
        share: in (0, 1]; at least one item of a category is always let in.

    Returns:
        Columns in the order of ``order``: at most ⌈share · k⌉ of a category, unless there are not k items without more of it.
    """
    most = most_of_a_category(k, share)
    taken: dict[int, int] = {}
    kept: list[int] = []
    left: list[int] = []
    for place, code in enumerate(order):
        if len(kept) == k:
            break
        held = int(category[code])
        if taken.get(held, 0) < most:
            taken[held] = taken.get(held, 0) + 1
            kept.append(place)
        else:
            left.append(place)
    return [int(order[place]) for place in sorted([*kept, *left[: k - len(kept)]])]


def most_varied(
    codes: NDArray[np.int64], scores: NDArray[np.floating], category: NDArray[np.int64], k: int, share: float = LARGEST_SHARE
) -> NDArray[np.int64]:
    """`varied` of a ranking, without ranking the whole where only one category can be too large: from a share of a half on.

    Args:
        codes: (n,) columns of items that may be shown, ascending.
        scores: (n,) of each, larger is better.
        category: (n_items,) code of each item's.
        k: how many at the most.
        share: see `varied`.

    Returns:
        Columns, the best first, equal scores in ascending order.
    """
    best = largest(scores, k)
    most = most_of_a_category(k, share)
    counts = np.bincount(category[codes[best]])
    if len(best) == len(codes) or counts.max(initial=0) <= most:
        return codes[best]
    if share < LARGEST_SHARE:
        size = 4 * k
        while True:
            listed = varied(codes[largest(scores, size)], category, k, share)
            if size >= len(codes) or _within(listed, category, most):
                return np.array(listed, dtype=np.int64)
            size *= 8
    dominant = category[codes] == counts.argmax()
    others, own = np.flatnonzero(~dominant), np.flatnonzero(dominant)
    others = others[largest(scores[others], k - most)]
    kept = np.concatenate([others, own[largest(scores[own], k - len(others))]])
    return np.asarray(codes[kept[np.lexsort((kept, -scores[kept]))]])


def largest(scores: NDArray[np.floating], k: int) -> NDArray[np.int64]:
    """Places of the k largest scores, largest first; equal ones in the order of their places.

    Args:
        scores: (n,).
        k: how many at the most.
    """
    if len(scores) <= k:
        return np.argsort(-scores, kind="stable")
    places = np.flatnonzero(scores >= np.partition(scores, len(scores) - k)[len(scores) - k])
    return np.asarray(places[np.argsort(-scores[places], kind="stable")][:k])
