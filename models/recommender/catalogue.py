"""The items that a recommender ranks, with their text features, and the features of queries."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from core.columns import Columns
from models.text import item_texts

Featurise = Callable[[Sequence[str]], np.ndarray]
"""Texts → (n, d) float32 features, centred and of unit length."""


@dataclass(frozen=True)
class Catalogue:
    """Items in the order of every score's columns.

    Attributes:
        items: the items table.
        vectors: (m, d) float32 features of the distinct item texts.
        text_of: (n_items,) int64, the row of each item in ``vectors``.
        featurise: features of any text; asked for queries only.
    """

    items: pd.DataFrame
    vectors: np.ndarray
    text_of: np.ndarray
    featurise: Featurise
    item_ids: tuple[str, ...] = field(init=False)
    index: dict[str, int] = field(init=False, repr=False)
    consumable: np.ndarray = field(init=False, repr=False)
    out_of_stock: np.ndarray = field(init=False, repr=False)

    def __post_init__(self) -> None:
        ids = tuple(str(item) for item in self.items[Columns.ITEM])
        object.__setattr__(self, "item_ids", ids)
        object.__setattr__(self, "index", {item: row for row, item in enumerate(ids)})
        consumable = self.items[Columns.CONSUMABLE].fillna(False).to_numpy(dtype=bool)
        stock = pd.to_numeric(self.items[Columns.STOCK]).to_numpy(dtype=np.float64, na_value=np.nan)
        object.__setattr__(self, "consumable", consumable)
        object.__setattr__(self, "out_of_stock", stock == 0)  # unknown stock is never zero
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
        return np.fromiter((self.index.get(item, -1) for item in item_ids), np.int64, len(item_ids))

    def features(self, codes: np.ndarray) -> np.ndarray:
        """Features of items.

        Args:
            codes: (n,) columns of items.

        Returns:
            (n, d) float32.
        """
        found: np.ndarray = self.vectors[self.text_of[codes]]
        return found
