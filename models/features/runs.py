"""Rows that stand request by request, as a rectangle: one row of cells a request, so that a whole batch is one product of arrays."""

from functools import cached_property
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

Cell = TypeVar("Cell", bound=np.generic)


class Runs:
    """Where rows of different requests stand in a rectangle ``(requests, width)``; cells without a row are 0.

    Attributes:
        requests: how many.
        sizes: ``(requests,)`` rows of each.
        width: of the rectangle, at least 1.
    """

    def __init__(self, request: NDArray[np.int64], requests: int) -> None:
        """Keep the rows' requests.

        Args:
            request: ``(n,)`` request of each row, not decreasing.
            requests: how many there are.
        """
        self.requests = requests
        self.sizes = np.bincount(request, minlength=requests)
        self.width = max(1, int(self.sizes.max(initial=0)))
        self._request = request
        self._whole = len(request) == requests * self.width

    @cached_property
    def cells(self) -> NDArray[np.int64]:
        """``(n,)`` cell of each row, counted through the rectangle."""
        place = np.arange(len(self._request)) - np.repeat(np.cumsum(self.sizes) - self.sizes, self.sizes)
        return self._request * self.width + place

    def spread(self, rows: NDArray[Cell]) -> NDArray[Cell]:
        """Rows ``(n, …)`` → the rectangle ``(requests, width, …)``."""
        shape = (self.requests, self.width, *rows.shape[1:])
        if self._whole:
            return rows.reshape(shape)
        found = np.zeros((self.requests * self.width, *rows.shape[1:]), rows.dtype)
        found[self.cells] = rows
        return found.reshape(shape)

    def gathered(self, rectangle: NDArray[Cell]) -> NDArray[Cell]:
        """The rectangle ``(requests, width, …)`` → rows ``(n, …)``."""
        flat = rectangle.reshape(self.requests * self.width, *rectangle.shape[2:])
        return flat if self._whole else flat[self.cells]
