"""The items that a recommender ranks, with their text features, and the features of queries."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from core.columns import Columns
from models.text import attributes_of, item_texts

Featurise = Callable[[Sequence[str]], np.ndarray]
"""Texts → (n, d) float32 features, centred and of unit length."""


MOST_TAGS = 16
"""Tags of an item that are read, the most common ones."""


def tags_of(items: pd.DataFrame) -> tuple[np.ndarray, int]:
    """The tags that items share: category, brand, attribute values.

    Args:
        items: the items table.

    Returns:
        (n_items, most) int64, tags from 1 on, 0 for none; and how many tags there are.
    """
    held: list[list[str]] = [[] for _ in range(len(items))]
    for column in (Columns.CATEGORY, Columns.BRAND):
        for row, value in enumerate(items[column].tolist()):
            if isinstance(value, str) and value:
                held[row].append(f"{column}={value}")
    for row, value in enumerate(items[Columns.ATTRIBUTES].tolist()):
        held[row] += [f"{key}:{named}" for key, named in attributes_of(value)]
    counts = Counter(tag for tags in held for tag in set(tags))
    shared = sorted(tag for tag, count in counts.items() if 1 < count < len(items))
    code = {tag: place for place, tag in enumerate(shared, start=1)}
    kept = [
        sorted({code[tag] for tag in tags if tag in code}, key=lambda tag: (-counts[shared[tag - 1]], tag))[:MOST_TAGS] for tags in held
    ]
    table = np.zeros((len(items), max([1, *map(len, kept)])), np.int64)
    for row, tags in enumerate(kept):
        table[row, : len(tags)] = tags
    return table, len(shared)


@dataclass(frozen=True)
class Catalogue:
    """Items in the order of every score's columns.

    Attributes:
        items: the items table.
        vectors: (m, d) float32 features of the distinct item texts.
        text_of: (n_items,) int64, the row of each item in ``vectors``.
        featurise: features of any text; asked for queries only.
        tags: (n_items, most) int64 tags of each item: category, brand and attribute values that two items or more share, counted
            from 1; 0 for none.
        n_tags: how many tags there are.
    """

    items: pd.DataFrame
    vectors: np.ndarray
    text_of: np.ndarray
    featurise: Featurise
    item_ids: tuple[str, ...] = field(init=False)
    index: dict[str, int] = field(init=False, repr=False)
    consumable: np.ndarray = field(init=False, repr=False)
    out_of_stock: np.ndarray = field(init=False, repr=False)
    tags: np.ndarray = field(init=False, repr=False)
    n_tags: int = field(init=False, repr=False)

    def __post_init__(self) -> None:
        ids = tuple(str(item) for item in self.items[Columns.ITEM])
        object.__setattr__(self, "item_ids", ids)
        object.__setattr__(self, "index", {item: row for row, item in enumerate(ids)})
        consumable = self.items[Columns.CONSUMABLE].fillna(False).to_numpy(dtype=bool)
        stock = pd.to_numeric(self.items[Columns.STOCK]).to_numpy(dtype=np.float64, na_value=np.nan)
        object.__setattr__(self, "consumable", consumable)
        object.__setattr__(self, "out_of_stock", stock == 0)  # unknown stock is never zero
        tags, n_tags = tags_of(self.items)
        object.__setattr__(self, "tags", tags)
        object.__setattr__(self, "n_tags", n_tags)
        if len(self.index) != len(ids) or self.text_of.shape != (len(ids),):
            raise ValueError(f"{len(ids)} items ({len(self.index)} distinct) and text rows {self.text_of.shape} do not fit")

    @classmethod
    def of(cls, items: pd.DataFrame, featurise: Featurise) -> "Catalogue":
        """A catalogue of an items table, its distinct texts vectorised once.

        Args:
            items: the items table.
            featurise: features of texts.
        """
        texts = item_texts(items)
        distinct = {text: row for row, text in enumerate(sorted(set(texts)))}
        rows = np.array([distinct[text] for text in texts], dtype=np.int64)
        return cls(items.reset_index(drop=True), featurise(list(distinct)), rows, featurise)

    @property
    def dim(self) -> int:
        """Length of a feature."""
        return int(self.vectors.shape[1])

    def __len__(self) -> int:
        return len(self.item_ids)

    def codes(self, item_ids: Sequence[str] | np.ndarray) -> np.ndarray:
        """Columns of items.

        Args:
            item_ids: any ids.

        Returns:
            (n,) int64, -1 for an item that is not here.
        """
        column = self.index.get
        return np.array([column(item, -1) for item in item_ids], dtype=np.int64)

    def features(self, codes: np.ndarray) -> np.ndarray:
        """Features of items.

        Args:
            codes: (n,) columns of items.

        Returns:
            (n, d) float32.
        """
        found: np.ndarray = self.vectors[self.text_of[codes]]
        return found
