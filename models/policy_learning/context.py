"""A logged context as numbers: one matrix for trees, one for linear models, both learnt from training rows alone.

Numbers go to trees as they are, missing ones included, and to linear models as their rank among the training rows, so that a
long tail pulls no line. Words become one column each, rare ones share a column; a missing cell is a fact of its own and gets
its own column.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from core.errors import TrainingError

Array = NDArray[np.float64]
Kind = Literal["number", "category"]
MAX_LEVELS = 30
"""Words of one column that get a column of their own; what is rarer shares one."""
MIN_LEVEL_ROWS = 20
_KNOTS = 200
_SAME = 1e-9
_MIN_SPREAD = 0.2
"""Smallest standard deviation that a column is divided by: a rare word's column stays small, and its weight dear."""


@dataclass(frozen=True)
class Encoded:
    """Contexts as numbers.

    Attributes:
        trees: ``(n, d_trees)``, NaN where a number is missing.
        linear: ``(n, d_linear)``, centred and scaled on the training rows; no NaN.
    """

    trees: Array
    linear: Array

    def rows(self, chosen: NDArray[np.bool_] | NDArray[np.int64]) -> "Encoded":
        """Some of the rows.

        Args:
            chosen: ``(n,)`` mask, or row numbers.
        """
        return Encoded(self.trees[chosen], self.linear[chosen])


@dataclass(frozen=True)
class _Column:
    """What was learnt about one column: knots of a number's ranks, or the words of a category."""

    name: str
    knots: Array
    words: tuple[str, ...]
    is_number: bool

    def read(self, cells: pd.Series) -> tuple[Array, Array]:
        """``(n, ·)`` for trees and ``(n, ·)`` for linear models, not yet centred."""
        missing = cells.isna().to_numpy(dtype=bool)[:, None]
        if self.is_number:
            numbers = cells.to_numpy(dtype=np.float64, na_value=np.nan)
            if not self.knots.size:
                return missing.astype(np.float64), missing.astype(np.float64)
            shares = np.linspace(0, 1, self.knots.size)
            below, above = (np.searchsorted(self.knots, numbers, side=side) for side in ("left", "right"))
            middle = (below + above - 1) // 2  # of knots that share one value, the middle one: a tied number has one rank
            tied = above > below
            rank = np.where(tied, shares[middle.clip(0, self.knots.size - 1)], np.interp(numbers, self.knots, shares))
            rank = np.where(missing[:, 0], 0.5, rank)
            return numbers[:, None], np.concatenate([rank[:, None], missing.astype(np.float64)], axis=1)
        text = cells.astype("object").map(str).to_numpy()
        known = np.stack([(text == word) & ~missing[:, 0] for word in self.words] or [np.zeros(len(text), dtype=bool)], axis=1)
        other = ~known.any(axis=1, keepdims=True) & ~missing
        columns = np.concatenate([known, other, missing], axis=1).astype(np.float64)
        return columns, columns


class ContextEncoder:
    """Contexts to numbers, by what the training rows hold.

    Args:
        contexts: training rows, one column a feature.
        kinds: by column, ``number`` or ``category``.

    Raises:
        ValueError: no rows, no columns, or a column without its kind.
        TrainingError: every column holds one value only.
    """

    def __init__(self, contexts: pd.DataFrame, kinds: Mapping[str, Kind]) -> None:
        if contexts.empty:
            raise ValueError(f"contexts have shape {contexts.shape}; at least one row and one column are needed")
        unknown = [str(name) for name in contexts if name not in kinds]
        if unknown:
            raise ValueError(f"no kind for {', '.join(unknown)}; say number or category for each column")
        self._columns = [_learnt(contexts[name], str(name), kinds[str(name)]) for name in contexts]
        _, linear = self._read(contexts)
        self._mean = linear.mean(axis=0)
        self._spread = linear.std(axis=0)
        self._varies = self._spread > _SAME
        if not self._varies.any():
            names = ", ".join(map(str, contexts))
            raise TrainingError(f"{names}: no column of the context varies over {len(contexts)} training rows; give one that does")

    def encode(self, contexts: pd.DataFrame) -> Encoded:
        """Contexts as numbers; words that training did not see count as rare ones.

        Args:
            contexts: rows with the training rows' columns.
        """
        trees, linear = self._read(contexts)
        scaled = (linear - self._mean) / np.maximum(self._spread, _MIN_SPREAD)
        return Encoded(trees, scaled[:, self._varies])

    def _read(self, contexts: pd.DataFrame) -> tuple[Array, Array]:
        parts = [column.read(contexts[column.name]) for column in self._columns]
        return np.concatenate([part[0] for part in parts], axis=1), np.concatenate([part[1] for part in parts], axis=1)


def _learnt(cells: pd.Series, name: str, kind: Kind) -> _Column:
    present = cells.dropna()
    if kind == "number":
        numbers = present.to_numpy(dtype=np.float64)
        knots = np.quantile(numbers, np.linspace(0, 1, _KNOTS)) if numbers.size else np.zeros(0)
        return _Column(name, knots, (), is_number=True)
    counts = present.astype("object").map(str).value_counts()
    often = counts[counts >= MIN_LEVEL_ROWS].head(MAX_LEVELS).index
    return _Column(name, np.zeros(0), tuple(sorted(often)), is_number=False)
