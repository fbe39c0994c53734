"""How alike two items are, in each way that the features know; looked up in a table where the catalogue is small enough for one."""

from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from models.features.catalogue import Catalogue

WAYS: tuple[str, ...] = ("category", "brand", "kind", "item", "attribute", "attribute value", "lookalike", "vector")
"""Names of the last axis. The first `SAME` are 1 where two items share it, else 0; attributes are cosines over what both carry, weighed
by rarity; lookalike is the second item's weight among those that stand for the first; vector is the cosine in the projected text space."""
SAME = 4
MOST_IN_TABLE = 1024
"""Items up to which all pairs are kept: 32 bytes a pair."""


class Likeness:
    """Every pair of items, in every way."""

    def __init__(self, catalogue: "Catalogue") -> None:
        """Args: the items."""
        self._catalogue = catalogue

    def between(self, ours: NDArray[np.int64], theirs: NDArray[np.int64]) -> NDArray[np.float32]:
        """Of the items of each request with the candidates of the same request.

        Args:
            ours: ``(r, e)`` rows of items.
            theirs: ``(r, c)`` rows of items.

        Returns:
            ``(r, e, c · len(WAYS))``.
        """
        size = len(self._catalogue)
        if size <= MOST_IN_TABLE:
            found = np.take(self._table, ours[:, :, None] * size + theirs[:, None, :], axis=0, mode="clip")
            return found.reshape(*ours.shape, -1)
        first, one = np.unique(ours, return_inverse=True)
        second, other = np.unique(theirs, return_inverse=True)
        pairs = self._pairs(first, second).reshape(-1, len(WAYS))
        places = one.reshape(ours.shape)[:, :, None] * len(second) + other.reshape(theirs.shape)[:, None, :]
        return np.take(pairs, places, axis=0).reshape(*ours.shape, -1)

    @cached_property
    def _table(self) -> NDArray[np.float32]:
        """``(items · items, len(WAYS))``."""
        everything = np.arange(len(self._catalogue))
        return self._pairs(everything, everything).reshape(-1, len(WAYS))

    def _pairs(self, first: NDArray[np.int64], second: NDArray[np.int64]) -> NDArray[np.float32]:
        """``(len(first), len(second), len(WAYS))``; both are distinct rows of items, rising."""
        held = self._catalogue
        found = np.empty((len(first), len(second), len(WAYS)), np.float32)
        for place, name in enumerate(WAYS):
            if name == "item":
                found[:, :, place] = first[:, None] == second
            elif name == "lookalike":
                found[:, :, place] = held.lookalikes[first][:, second].toarray()
            elif name == "vector":
                found[:, :, place] = held.vectors[first] @ held.vectors[second].T
            else:
                labels = held.of_group[name]
                found[:, :, place] = (labels[first] @ labels[second].T).toarray()
        return found
