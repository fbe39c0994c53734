"""Which items and creatives may stand in a slate: the rules, the scene, the recommender's order. No scores of creatives, no policy."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from core.vocabulary import CHANNELS, SCENES, EventType, Scene
from models.history import History
from models.pool import Campaign, Pool
from models.recommender import RecommenderBundle
from models.recommender.scenes import LARGEST_SHARE, most_varied

CREATIVES_PER_ITEM = 2
"""Creatives of one item among the candidates at the most."""


@dataclass(frozen=True)
class Found:
    """The candidates of one request, the most probable item first; an item's creatives stand together.

    Attributes:
        codes: ``(n,)`` item code of each candidate in the recommender's catalogue.
        rows: ``(n,)`` row of each candidate in the pool.
    """

    codes: NDArray[np.int64]
    rows: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.codes)


CauseKind = Literal["searched", "same_item", "same_kind", "same_category", "promotion", "brand", "popular"]


@dataclass(frozen=True)
class Cause:
    """Why an item is shown: the event of the shopper's that carried it, or that there is none.

    Attributes:
        kind: how the event and the item are related; promotion, brand and popular have no event.
        deed: the event's type, "" without one.
        title: of the event's product, "" for a search.
        category: which both share, "" for a search.
        query: of a search, "" otherwise.
        timestamp: of the event, microseconds since 1970 UTC; None without one.
    """

    kind: CauseKind
    deed: str = ""
    title: str = ""
    category: str = ""
    query: str = ""
    timestamp: int | None = None

    def __str__(self) -> str:
        """One line for a person."""
        told = {
            "searched": f"searched for “{self.query}”",
            "same_item": f"{_DEEDS.get(self.deed, '')} this product",
            "same_kind": f"{_DEEDS.get(self.deed, '')} {self.title}, a product of the same kind",
            "same_category": f"{_DEEDS.get(self.deed, '')} {self.title}, also {self.category}",
            "promotion": "in a running promotion",
            "brand": "a brand near the shopper's taste",
            "popular": "popular with shoppers like this one",
        }
        return told[self.kind]


class Retrieval:
    """Finds candidates; holds no state about shoppers.

    Args:
        recommender: its catalogue is ranked.
        pool: what may be shown.
        rankable: items that the ranker knows; others are never candidates.
    """

    def __init__(self, recommender: RecommenderBundle, pool: Pool, rankable: Sequence[str]) -> None:
        self._recommender = recommender
        self._pool = pool
        catalogue = recommender.catalogue
        known = set(rankable)
        self._servable = np.array([item in pool.item_row and item in known for item in catalogue.item_ids], dtype=bool)
        self._servable &= ~catalogue.out_of_stock
        self.rules = recommender.scenes
        self.title = list(self.rules.titles)
        self.category = [self.rules.categories[code] for code in self.rules.category.tolist()]
        self._kind: list[int] = self.rules.kind.tolist()
        self._shelves: dict[tuple[str, str, str | None], NDArray[np.int64]] = {}
        self._reviewed: dict[tuple[str, str, str | None], tuple[frozenset[int], NDArray[np.int64]]] = {}

    def prepare(self) -> None:
        """Look up the creatives of every item, scene, channel and audience now, so that no request has to."""
        for audience in (None, *self._recommender.audience_features):
            for scene in SCENES:
                for channel in CHANNELS:
                    self._shelf(scene, channel, audience)

    def find(
        self,
        history: History,
        scores: NDArray[np.float32],
        *,
        moment: int,
        scene: str,
        channel: str,
        audience: str | None,
        promoted: Mapping[str, Campaign],
        exclude: Sequence[str],
        size: int,
        brand: str | None = None,
        blocked: frozenset[int] = frozenset(),
        category_share: float = LARGEST_SHARE,
    ) -> Found:
        """The candidates of one request; items without a creative for the place give way to the next.

        No category fills more than its share of the items while there are others: a slate's limit has something to choose from.

        A scene that fits no item says less, but never nothing: then every item that the rules allow is one for it. Only a brand that was
        named is never stood in for.

        Args:
            history: strictly before ``moment``.
            scores: ``(items,)`` the champion's logits; scene cross_sell has an order of its own where complements were learned.
            moment: microseconds since 1970 UTC.
            scene: why an ad is shown.
            channel: where.
            audience: of the shopper, None when unknown.
            promoted: category → campaign that pays for it now.
            exclude: items that must not be shown.
            size: candidates at the most.
            brand: in scene brand, whose items alone are candidates.
            blocked: rows of the pool that a person has blocked; the item's other creatives take their place.
            category_share: of the items, that one category fills at the most while there are others.
        """
        shelf = self._shelf(scene, channel, audience)
        if blocked:
            shelf = self._without(shelf, scene, channel, audience, blocked)
        allowed = self._servable & (shelf[:, 0] >= 0)
        allowed[self._recommender.owned(history)] = False
        if exclude:
            barred = self._recommender.catalogue.codes(list(exclude))
            allowed[barred[barred >= 0]] = False
        fitting = allowed & self.rules.candidates(scene, history, moment, promoted=promoted, brand=brand)
        codes = np.flatnonzero(fitting if fitting.any() or brand is not None else allowed)
        by, read = self.rules.ranked_by(scene, self._recommender.champion, history, moment)
        if by is not self._recommender.champion:
            scores = by.score([read], moment)[0]
        best = most_varied(codes, scores[codes], self.rules.category, max(1, size // CREATIVES_PER_ITEM), category_share)
        rows = shelf[best]  # (items, CREATIVES_PER_ITEM)
        there = rows >= 0
        return Found(np.repeat(best, there.sum(axis=1))[:size], rows[there][:size])

    def _shelf(self, scene: str, channel: str, audience: str | None) -> NDArray[np.int64]:
        """``(items, CREATIVES_PER_ITEM)`` rows of the pool for each item of the catalogue, −1 where there are fewer."""
        key = (scene, channel, audience)
        if key not in self._shelves:
            ids = self._recommender.catalogue.item_ids
            shelf = np.full((len(ids), CREATIVES_PER_ITEM), -1, np.int64)
            for code, item in enumerate(ids):
                own = self._pool.candidates_of(item, scene=scene, channel=channel, audience=audience)[:CREATIVES_PER_ITEM]
                shelf[code, : len(own)] = own
            self._shelves[key] = shelf
        return self._shelves[key]

    def _without(
        self, shelf: NDArray[np.int64], scene: str, channel: str, audience: str | None, blocked: frozenset[int]
    ) -> NDArray[np.int64]:
        """The shelf without blocked creatives; kept until others are blocked."""
        key = (scene, channel, audience)
        held = self._reviewed.get(key)
        if held is None or held[0] != blocked:
            found, ids = shelf.copy(), self._recommender.catalogue.item_ids
            for code in np.flatnonzero(np.isin(shelf, list(blocked)).any(axis=1)).tolist():
                own = self._pool.candidates_of(ids[code], scene=scene, channel=channel, audience=audience, blocked=blocked)
                found[code] = -1
                found[code, : len(own[:CREATIVES_PER_ITEM])] = own[:CREATIVES_PER_ITEM]
            held = self._reviewed[key] = (blocked, found)
        return held[1]

    def cause(self, history: History, code: int, scene: str, *, promoted: bool) -> Cause:
        """Why this item: the shopper's own latest related event, or the scene.

        Args:
            history: of the shopper.
            code: of the item.
            scene: of the request.
            promoted: whether a campaign that runs now pays for it; without, it is in no promotion.
        """
        title, category, column = self.title[code], self.category[code], self._recommender.catalogue.index.get
        kind, kinds, categories = self._kind[code], self._kind, self.category
        for place in range(len(history) - 1, -1, -1):
            query = history.queries[place]
            if query and history.event_types[place] == EventType.SEARCH and (query in title or category in query):
                return Cause("searched", history.event_types[place], query=query, timestamp=int(history.timestamps[place]))
            event = history.item_ids[place]
            seen = column(event, -1) if event else -1
            if seen >= 0 and (kinds[seen] == kind or categories[seen] == category):
                how: CauseKind = "same_item" if seen == code else "same_kind" if kinds[seen] == kind else "same_category"
                return Cause(
                    how,
                    history.event_types[place],
                    title=self.title[seen],
                    category=category,
                    timestamp=int(history.timestamps[place]),
                )
        plain: dict[Scene, CauseKind] = {Scene.PROMOTION: "promotion", Scene.BRAND: "brand"}
        return Cause("popular" if scene == Scene.PROMOTION and not promoted else plain.get(Scene(scene), "popular"))


_DEEDS: dict[str, str] = {
    EventType.VIEW: "viewed",
    EventType.SEARCH: "searched for",
    EventType.CART: "put in the cart",
    EventType.FAVOURITE: "marked as favourite",
    EventType.PURCHASE: "bought",
}
