"""The items' side of the features: codes of categories, brands and attributes, vectors, price levels, look-alikes."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
import scipy.sparse as sp
from numpy.typing import NDArray

from core.columns import Columns
from models.features.likeness import Likeness
from models.text import attributes_of

Vectorise = Callable[[Sequence[str]], NDArray[np.float32]]
"""Texts → ``(n, d)`` centred unit vectors: `TextEncoder.features`, or the same from stored raw vectors."""

LOOKALIKES = 20
"""Nearest items by content that share an item's interest."""
GROUPS = ("category", "brand", "kind", "attribute", "attribute value")
"""What items can have in common; items of a kind are of one category and described by the same attribute keys."""
_SHARPNESS = 4
_KNOWN_PRICES = 4
_LEAST = 1e-4
_CHUNK = 2048


@dataclass(frozen=True)
class Catalogue:
    """What the features know of each item; row i of every array is item i, row ``len`` of the codes means "no such item".

    Attributes:
        item_ids: ids by row.
        brands: brand by row, "" when unknown.
        categories: category by row.
        attributes: ``(key, value)`` pairs by row.
        category_names: distinct categories, sorted.
        category: ``(items,)`` code of each.
        vectors: ``(items, p)`` unit vectors in the projected text space.
        price: ``(items,)`` log price relative to the kind, in its standard deviations; NaN when unknown.
        labels: sparse ``(items, labels)``: categories, brands, attribute keys and attribute values side by side; the part of each
            of `GROUPS` has rows of unit length.
        bounds: ``(len(GROUPS) + 1,)`` where each group's labels start in ``labels``.
        agreement: ``(len(GROUPS),)`` how much two items agree on average.
        value_names: ``key=value`` of each label of the last group.
        keys: sparse ``(values, attribute keys)``: 1 where a value of the last group is of the key.
        lookalikes: sparse ``(items, items)``, see `lookalikes`.
    """

    item_ids: tuple[str, ...]
    brands: tuple[str, ...]
    categories: tuple[str, ...]
    attributes: tuple[tuple[tuple[str, str], ...], ...]
    category_names: tuple[str, ...]
    category: NDArray[np.int64]
    vectors: NDArray[np.float32]
    price: NDArray[np.float32]
    labels: sp.csr_matrix
    bounds: NDArray[np.int64]
    agreement: NDArray[np.float32]
    value_names: tuple[str, ...]
    keys: sp.csr_matrix
    lookalikes: sp.csr_matrix
    _rows: dict[str, int]

    def __len__(self) -> int:
        return len(self.item_ids)

    @classmethod
    def of(cls, items: pd.DataFrame, vectors: NDArray[np.float32]) -> "Catalogue":
        """Everything that follows from the items table and the items' projected vectors.

        Args:
            items: the items table.
            vectors: ``(items, p)`` unit length.
        """
        ids = tuple(items[Columns.ITEM].astype(str))
        brands = tuple("" if pd.isna(brand) else str(brand) for brand in items[Columns.BRAND])
        categories = tuple(items[Columns.CATEGORY].astype(str))
        pairs = tuple(tuple(attributes_of(value)) for value in items[Columns.ATTRIBUTES])
        kinds = kinds_of(categories, pairs)
        names = tuple(sorted(set(categories)))
        category = np.searchsorted(np.array(names, dtype=object), np.array(categories, dtype=object)).astype(np.int64)
        parts = [
            _membership([[name] for name in categories]),
            _membership([[brand] if brand else [] for brand in brands]),
            _membership([[kind] for kind in kinds]),
            _membership([[key for key, _ in held] for held in pairs], weigh_rare=True),
            _membership([[f"{key}={value}" for key, value in held] for held in pairs], weigh_rare=True),
        ]
        means = [np.asarray(part.mean(axis=0)).ravel() for part, _ in parts]
        price = price_levels(items[Columns.PRICE], category, np.unique(kinds, return_inverse=True)[1])
        return cls(
            item_ids=ids,
            brands=brands,
            categories=categories,
            attributes=pairs,
            category_names=names,
            category=category,
            vectors=vectors,
            price=price,
            labels=sp.csr_matrix(sp.hstack([part for part, _ in parts])),
            bounds=np.cumsum([0, *[len(held) for _, held in parts]]).astype(np.int64),
            agreement=np.array([max(float(mean @ mean), _LEAST) for mean in means], dtype=np.float32),
            value_names=parts[-1][1],
            keys=_membership([[name.split("=", 1)[0]] for name in parts[-1][1]])[0],
            lookalikes=lookalikes(vectors),
            _rows={item: row for row, item in enumerate(ids)},
        )

    def rows_of(self, item_ids: Sequence[str] | NDArray[np.object_]) -> NDArray[np.int64]:
        """Rows of items.

        Args:
            item_ids: ids, repeats allowed.

        Returns:
            ``(n,)`` rows; −1 for an id that is not in the catalogue.
        """
        row = self._rows.get
        return np.array([row(item, -1) for item in item_ids], dtype=np.int64)

    @cached_property
    def of_group(self) -> dict[str, sp.csr_matrix]:
        """The labels of each of `GROUPS`, ``(items, labels of the group)``."""
        parts = zip(GROUPS, self.bounds[:-1].tolist(), self.bounds[1:].tolist(), strict=True)
        return {name: sp.csr_matrix(self.labels[:, start:stop]) for name, start, stop in parts}

    @cached_property
    def priced(self) -> NDArray[np.float32]:
        """``(3, items)`` price, 0 where it is unknown; 1 where it is known; the square, at most 9."""
        price = np.nan_to_num(self.price)
        return np.stack([price, ~np.isnan(self.price), np.minimum(price**2, 9)]).astype(np.float32)

    @cached_property
    def of_category(self) -> NDArray[np.float32]:
        """``(categories, items)`` 1 where an item is of the category."""
        return np.asarray(self.category == np.arange(len(self.category_names))[:, None], dtype=np.float32)

    @cached_property
    def likeness(self) -> Likeness:
        """How alike two items are."""
        return Likeness(self)


def projection(vectors: NDArray[np.float32], size: int) -> NDArray[np.float32]:
    """The directions in which vectors differ most.

    Args:
        vectors: ``(n, d)`` centred.
        size: directions wanted.

    Returns:
        ``(d, min(size, d, n))`` orthonormal columns; each column's largest entry is positive, so that equal input gives
        equal output.

    Source: Pearson (1901), principal components.
    """
    _, axes = np.linalg.eigh((vectors.T @ vectors).astype(np.float64))
    axes = axes[:, ::-1][:, : min(size, *vectors.shape)]
    signs = np.sign(axes[np.abs(axes).argmax(axis=0), np.arange(axes.shape[1])])
    return np.ascontiguousarray(axes * np.where(signs == 0, 1, signs), dtype=np.float32)


def unit(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Rows scaled to length 1; a zero row stays zero.

    Args:
        vectors: ``(n, p)``.
    """
    norms = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return np.asarray(vectors / np.where(norms > 0, norms, 1), dtype=np.float32)


def kinds_of(categories: Sequence[str], attributes: Sequence[Sequence[tuple[str, str]]]) -> tuple[str, ...]:
    """A finer sort than the category, for catalogues without one: what is described by the same attribute keys is of a kind.

    Args:
        categories: of each item.
        attributes: ``(key, value)`` pairs of each item.

    Returns:
        A name an item; items without attributes are of their category's plain kind.
    """
    keys = (sorted({key for key, _ in pairs}) for pairs in attributes)
    return tuple("\0".join([category, *held]) for category, held in zip(categories, keys, strict=True))


def price_levels(prices: pd.Series, category: NDArray[np.int64], kind: NDArray[np.int64] | None = None) -> NDArray[np.float32]:
    """Log price relative to items that one compares it with, in their standard deviations.

    Args:
        prices: ``price_micros``; null or 0 means unknown.
        category: ``(items,)`` codes.
        kind: ``(items,)`` codes, finer than the categories; None compares within categories only.

    Returns:
        ``(items,)``; NaN where the price is unknown. An item is compared with its kind where `_KNOWN_PRICES` of it are
        known, else with its category; categories of fewer than two known prices use the overall spread.
    """
    micros = prices.astype("Float64").to_numpy(dtype=np.float64, na_value=np.nan)
    logs = pd.Series(np.log(np.where(micros > 0, micros, np.nan)))
    if not logs.notna().any():
        return np.full(len(logs), np.nan, dtype=np.float32)
    overall = logs.std() if logs.notna().sum() > 1 and logs.std() > 0 else 1.0

    def within(codes: NDArray[np.int64]) -> pd.Series:
        groups = logs.groupby(codes)
        spread = groups.transform("std").fillna(overall).clip(lower=0.1 * overall)
        return (logs - groups.transform("mean")) / spread

    level = within(category)
    if kind is not None:
        level = within(kind).where(logs.groupby(kind).transform("count") >= _KNOWN_PRICES, level)
    return level.to_numpy(dtype=np.float32)


def lookalikes(vectors: NDArray[np.float32]) -> sp.csr_matrix:
    """Which items stand for each other: the nearest by content, weighed by a sharpened cosine.

    Args:
        vectors: ``(items, p)`` unit length.

    Returns:
        Sparse ``(items, items)``, rows of unit length, at most `LOOKALIKES` + 1 entries a row, the item itself among them.
    """
    size = len(vectors)
    kept = min(LOOKALIKES + 1, size)
    rows, columns, values = [], [], []
    for start in range(0, size, _CHUNK):
        cosine = vectors[start : start + _CHUNK] @ vectors.T  # (chunk, items)
        nearest = np.argsort(-cosine, axis=1, kind="stable")[:, :kept]
        rows.append(np.repeat(np.arange(start, start + len(cosine)), kept))
        columns.append(nearest.ravel())
        values.append(np.maximum(np.take_along_axis(cosine, nearest, axis=1), 0).ravel() ** _SHARPNESS)
    none = np.zeros(0, np.int64)  # keeps the concatenations alive without items
    where = (np.concatenate([none, *rows]), np.concatenate([none, *columns]))
    matrix = sp.csr_matrix((np.concatenate([none.astype(np.float32), *values]), where), shape=(size, size), dtype=np.float32)
    return _unit_rows(matrix)


def _membership(labels: Sequence[Sequence[str]], *, weigh_rare: bool = False) -> tuple[sp.csr_matrix, tuple[str, ...]]:
    """Sparse ``(items, labels)`` and the labels; with ``weigh_rare`` a label counts by its surprise log(items / items that carry it)."""
    names = sorted({label for held in labels for label in held})
    code = {name: place for place, name in enumerate(names)}
    rows = np.repeat(np.arange(len(labels)), [len(set(held)) for held in labels])
    columns = np.array([code[label] for held in labels for label in sorted(set(held))], dtype=np.int64)
    values = np.ones(len(columns), np.float32)
    if weigh_rare and len(columns):
        values = np.log1p(len(labels) / np.bincount(columns, minlength=len(names)))[columns].astype(np.float32)
    matrix = sp.csr_matrix((values, (rows, columns)), shape=(len(labels), len(names)), dtype=np.float32)
    return _unit_rows(matrix), tuple(names)


def _unit_rows(matrix: sp.csr_matrix) -> sp.csr_matrix:
    norms = np.sqrt(np.asarray(matrix.multiply(matrix).sum(axis=1)).ravel())
    return sp.csr_matrix(sp.diags_array(1 / np.where(norms > 0, norms, 1)) @ matrix, dtype=np.float32)
