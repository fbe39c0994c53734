"""Complements of what lies in the cart: links, ridge and categories learned from baskets, beside the shopper's own purchases."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from scipy.sparse import csr_matrix

from core.columns import Columns
from core.errors import BundleError
from core.moments import DAY
from core.vocabulary import EventType
from models.bundle import load_arrays, read_config, save_arrays, writing_bundle
from models.history import History
from models.recommender.base import Recommender
from models.recommender.catalogue import Catalogue
from models.recommender.events import moments_of
from models.recommender.popularity import log_popularity

CART_DAYS = 7
"""Days after which what was put into the cart and not bought is no longer taken to lie there."""
HALF_LIVES = (10, 60, 365)
"""Days after which a shopper's own purchase counts half; three of them tell a habit from what was bought just now."""
OF_CART = ("popularity", "lately", "links", "ridge", "category_links", "same_category")
OF_SHOPPER = (*(f"own_{days}" for days in HALF_LIVES), "own_category")
_LINK_FLOOR, _RIDGE_FLOOR, _CATEGORY_FLOOR, _OWN_FLOOR, _OWN_CATEGORY_FLOOR = 0.03, 1e-3, 1e-4, 0.02, 0.05
_ROWS = 128


@dataclass(frozen=True)
class BasketShape:
    """How baskets are counted.

    Attributes:
        crowd: a basket of m items counts (m - 1) to minus this.
        from_power, to_power: powers of the two items' counts that a link is divided by.
        ridge: weight of the squared norm in the item-item regression.
        core: the most common items, among which the regression is solved.
    """

    crowd: float = 0.5
    from_power: float = 0.7
    to_power: float = 0.3
    ridge: float = 200.0
    core: int = 2500


@dataclass(frozen=True)
class Learned:
    """What baskets tell of items.

    Attributes:
        links: (n_items, n_items) float32, not negative, without an item's link to itself.
        core: (m,) int64 columns of the items of ``ridge``.
        ridge: (m, m) float32 from an item in the cart to one that belongs there too; 0 on the diagonal.
        counts: (n_items,) baskets that held each item.
        lately: (n_items,) the same, an older basket counting less.
        category_links: (categories, categories) float32, links between the categories of the catalogue in their sorted order.
    """

    links: csr_matrix
    core: np.ndarray
    ridge: np.ndarray
    counts: np.ndarray
    lately: np.ndarray
    category_links: np.ndarray


@dataclass(frozen=True)
class Carts:
    """What lies in the carts of n shoppers, and what they bought before.

    Attributes:
        cart: (n, n_items) float32, 1 for each item in the cart.
        row, item: (m,) whose purchase, of which column.
        age: (m,) float64 days since it.
    """

    cart: csr_matrix
    row: np.ndarray
    item: np.ndarray
    age: np.ndarray


def read_carts(histories: Sequence[History], moments: np.ndarray, catalogue: Catalogue) -> Carts:
    """Carts and purchases before each moment; items that the catalogue does not hold are left out.

    Args:
        histories: n of them.
        moments: (n,) int64 microseconds.
        catalogue: the items.
    """
    carts: list[list[int]] = []
    rows: list[int] = []
    items: list[int] = []
    ages: list[float] = []
    for row, (history, moment) in enumerate(zip(histories, moments.tolist(), strict=True)):
        end = int(np.searchsorted(history.timestamps, moment, side="left"))
        codes, times = catalogue.codes(history.item_ids[:end]).tolist(), history.timestamps[:end].tolist()
        cart: dict[int, None] = {}
        for code, kind, time in zip(codes, history.event_types[:end], times, strict=True):
            if code < 0:
                continue
            if kind == EventType.PURCHASE:
                cart.pop(code, None)
                rows.append(row)
                items.append(code)
                ages.append((moment - time) / DAY)
            elif kind == EventType.CART and moment - time <= CART_DAYS * DAY:
                cart[code] = None
        carts.append(list(cart))
    sizes = [len(cart) for cart in carts]
    place = (np.repeat(np.arange(len(carts)), sizes), np.array([code for cart in carts for code in cart], np.int64))
    held = csr_matrix((np.ones(sum(sizes), np.float32), place), shape=(len(carts), len(catalogue)))
    return Carts(held, np.array(rows, np.int64), np.array(items, np.int64), np.array(ages, np.float64))


class Complements(Recommender):
    """logit(i) = Σ_f w_f · f(i | cart, purchases): a product of experts, each a logarithm of what one kind of evidence says.

    Of the cart: popularity, popularity lately, links (mean vote of the cart's items), ridge (a regression of each item on all others of a
    basket), links between categories, and how much of the cart is of the item's own category, by which substitutes are told from
    complements. Of the shopper: own purchases with three half-lives, and purchases of other items of the category.

    Source:
        Ridge: Steck (2019), "Embarrassingly shallow autoencoders for sparse data". Links: cosine with free powers. Own purchases as the
        expert to beat: Li, Jullien, Ariannezhad and de Rijke (2023), "A next basket recommendation reality check".
    """

    name: ClassVar[str] = "complements"

    def __init__(self, catalogue: Catalogue, learned: Learned, shape: BasketShape, weights: Mapping[str, float]) -> None:
        """Keep what was learned.

        Args:
            catalogue: the items.
            learned: from baskets.
            shape: how they were counted.
            weights: of the experts by name; those that are not named are not asked.

        Raises:
            BundleError: what was learned is of other items or categories.
            ValueError: an unknown expert.
        """
        super().__init__(catalogue)
        categories = catalogue.items[Columns.CATEGORY].fillna("").astype(str).to_numpy(dtype=object)
        names, self.category = np.unique(categories, return_inverse=True)  # (n_items,)
        sizes = (learned.links.shape[0], len(learned.category_links))
        if sizes != (len(catalogue), len(names)):
            raise BundleError(
                f"complements links {sizes[0]} items of {sizes[1]} categories, the catalogue has {len(catalogue)} of {len(names)}. "
                "Train again."
            )
        unknown = sorted(set(weights) - {*OF_CART, *OF_SHOPPER})
        if unknown:
            raise ValueError(f"unknown experts {unknown}; known are {', '.join((*OF_CART, *OF_SHOPPER))}")
        self.learned, self.shape = learned, shape
        self.weights = {name: weights[name] for name in (*OF_CART, *OF_SHOPPER) if name in weights}  # one order, one sum
        one = np.ones(len(catalogue), np.float32)
        self._of_category = csr_matrix((one, (np.arange(len(catalogue)), self.category)), shape=(len(catalogue), len(names)))

    def weighed(self, weights: Mapping[str, float]) -> "Complements":
        """The same experts, weighed otherwise.

        Args:
            weights: by name.
        """
        return Complements(self.catalogue, self.learned, self.shape, weights)

    def score(self, histories: Sequence[History], now: int | np.ndarray | None = None) -> np.ndarray:
        """See `Recommender.score`; the cart is what was put there and not bought since. What lies in it has a logit too."""
        moments = moments_of(histories, now)
        scores = np.zeros((len(histories), len(self.catalogue)), np.float32)
        for start in range(0, len(histories), _ROWS):
            rows = slice(start, start + _ROWS)
            for name, said in self.experts(read_carts(histories[rows], moments[rows], self.catalogue), tuple(self.weights)):
                scores[rows] += np.float32(self.weights[name]) * said
        return scores

    def parts(self, history: History, moment: int) -> dict[str, np.ndarray]:
        """See `Recommender.parts`: what each expert says, weighed."""
        carts = read_carts([history], np.array([moment], np.int64), self.catalogue)
        return {name: np.float32(self.weights[name]) * said[0] for name, said in self.experts(carts, tuple(self.weights))}

    def experts(self, carts: Carts, names: Sequence[str]) -> Iterator[tuple[str, np.ndarray]]:
        """What each expert says.

        Args:
            carts: n shoppers.
            names: which experts.

        Yields:
            Name and (n, n_items) or (1, n_items) float32.
        """
        learned, n_items = self.learned, len(self.catalogue)
        for name in names:
            if name in OF_SHOPPER:
                yield name, self._own(carts, name)
            elif name == "popularity":
                yield name, log_popularity(learned.counts)[None, :]
            elif name == "lately":
                yield name, log_popularity(learned.lately)[None, :]
            elif name == "links":
                yield name, np.log(_shares((carts.cart @ learned.links).toarray()) * n_items + _LINK_FLOOR)
            elif name == "ridge":
                found = np.zeros((carts.cart.shape[0], n_items), np.float32)
                found[:, learned.core] = carts.cart[:, learned.core] @ learned.ridge
                yield name, np.log(np.maximum(found, 0.0) + _RIDGE_FLOOR)
            else:
                in_cart = (carts.cart @ self._of_category).toarray()  # (n, categories)
                if name == "same_category":
                    yield name, np.log1p(in_cart)[:, self.category]
                else:
                    yield name, np.log(_shares(in_cart @ learned.category_links) + _CATEGORY_FLOOR)[:, self.category]

    def _own(self, carts: Carts, name: str) -> np.ndarray:
        """What the shopper's purchases say, (n, n_items) float32."""
        days = HALF_LIVES[1] if name == "own_category" else int(name.removeprefix("own_"))
        votes = np.exp2(-carts.age / days).astype(np.float32)
        bought = csr_matrix((votes, (carts.row, carts.item)), shape=carts.cart.shape)
        own = bought.toarray()
        if name != "own_category":
            said: np.ndarray = np.log(own + np.float32(_OWN_FLOOR))
            return said
        others = (bought @ self._of_category).toarray()[:, self.category] - own
        return np.asarray(np.log(np.maximum(others, 0.0) + np.float32(_OWN_CATEGORY_FLOOR)))

    def facts(self) -> dict[str, Any]:
        """What the bundle's config.json says."""
        return {"shape": asdict(self.shape), "weights": self.weights}

    def save(self, path: Path) -> None:
        """See `Recommender.save`."""
        held = self.learned
        arrays = {"data": held.links.data, "indices": held.links.indices, "indptr": held.links.indptr}
        arrays |= {name: getattr(held, name) for name in ("core", "ridge", "counts", "lately", "category_links")}
        with writing_bundle(path, self.name, self.facts()) as draft:
            save_arrays(arrays, draft / "baskets.safetensors")

    @classmethod
    def load(cls, path: Path, catalogue: Catalogue) -> "Complements":
        """See `Recommender.load`."""
        config = read_config(path, cls.name)
        arrays = load_arrays(path / "baskets.safetensors")
        size = len(arrays["indptr"]) - 1
        links = csr_matrix((arrays.pop("data"), arrays.pop("indices"), arrays.pop("indptr")), shape=(size, size))
        return cls(catalogue, Learned(links=links, **arrays), BasketShape(**config["shape"]), config["weights"])


def _shares(votes: np.ndarray) -> np.ndarray:
    total = votes.sum(axis=1, keepdims=True)
    shares: np.ndarray = np.divide(votes, total, out=np.zeros_like(votes), where=total > 0)
    return shares
