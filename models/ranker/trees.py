"""Boosted trees as plain arrays: a baseline that is saved and scored without the library that grew it."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float32]
_ROWS_AT_ONCE = 8192


@dataclass(frozen=True)
class Forest:
    """The sum of many trees for one outcome; all nodes of all trees in one line.

    Attributes:
        roots: ``(trees,)`` int32 node at which each tree begins.
        feature: ``(nodes,)`` int32 column that a node looks at; 0 at a leaf.
        threshold: ``(nodes,)`` float64: at most this goes left; infinite at a leaf.
        left: ``(nodes,)`` int32; a leaf leads to itself.
        right: ``(nodes,)`` int32; a leaf leads to itself.
        value: ``(nodes,)`` float64: what a leaf adds; 0 elsewhere.
        depth: ``(trees,)`` int32 longest way of each tree.
        start: ``(1,)`` float64: log-odds before the first tree.
    """

    roots: NDArray[np.int32]
    feature: NDArray[np.int32]
    threshold: NDArray[np.float64]
    left: NDArray[np.int32]
    right: NDArray[np.int32]
    value: NDArray[np.float64]
    depth: NDArray[np.int32]
    start: NDArray[np.float64]

    @classmethod
    def constant(cls, log_odds: float) -> "Forest":
        """No tree.

        Args:
            log_odds: for every row.
        """
        none, nothing = np.zeros(0, np.int32), np.zeros(0, np.float64)
        return cls(none, none, nothing, none, none, nothing, none, np.array([log_odds]))

    def __call__(self, x: Matrix) -> NDArray[np.float64]:
        """Log-odds.

        Args:
            x: ``(n, f)``, the columns it was grown on.

        Returns:
            ``(n,)``.
        """
        found = np.full(len(x), self.start[0])
        for first in range(0, len(x), _ROWS_AT_ONCE):
            part = np.ascontiguousarray(x[first : first + _ROWS_AT_ONCE])
            rows = np.arange(len(part))
            for root, depth in zip(self.roots.tolist(), self.depth.tolist(), strict=True):
                node = np.full(len(part), root, np.int32)
                for _ in range(depth):
                    node = np.where(part[rows, self.feature[node]] <= self.threshold[node], self.left[node], self.right[node])
                found[first : first + len(part)] += self.value[node]
        return found

    def arrays(self) -> dict[str, np.ndarray]:
        """What must be saved, by name."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


@dataclass(frozen=True)
class BoostedTrees:
    """Log-odds of click, and of conversion given a click, by boosted trees.

    Attributes:
        click: of a click.
        convert: of a conversion given a click.
    """

    click: Forest
    convert: Forest

    def __call__(self, x: Matrix) -> Matrix:
        """See `models.ranker.scorers.Scorer`."""
        return np.stack([self.click(x), self.convert(x)], axis=1).astype(np.float32)

    def arrays(self) -> dict[str, np.ndarray]:
        """See `models.ranker.scorers.Scorer`."""
        forests = {"click": self.click, "convert": self.convert}
        return {f"{name}/{key}": value for name, forest in forests.items() for key, value in forest.arrays().items()}

    @classmethod
    def of(cls, arrays: Mapping[str, np.ndarray], prefix: str = "") -> "BoostedTrees":
        """Read what `arrays` gave.

        Args:
            arrays: by name.
            prefix: before each name.

        Raises:
            KeyError: one is missing.
        """
        fields = Forest.__dataclass_fields__
        click, convert = (Forest(**{key: arrays[f"{prefix}{name}/{key}"] for key in fields}) for name in ("click", "convert"))
        return cls(click, convert)
