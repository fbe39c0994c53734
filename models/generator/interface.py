"""What every generator is: requests in, texts out."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from models.generator.request import CopyRequest


class CopyGenerator(Protocol):
    """One way to write copy."""

    @property
    def name(self) -> str:
        """Its origin, one of `core.vocabulary.ORIGINS`."""

    def write(self, requests: Sequence[CopyRequest], n: int, rng: np.random.Generator) -> list[list[str]]:
        """Write ``n`` texts a request; fewer where the generator has no more to say.

        Args:
            requests: the orders.
            n: texts a request, at least 1.
            rng: the stream that sampling draws from.

        Returns:
            One list a request, in order.
        """

    def save(self, folder: Path) -> None:
        """Write all that `load` of the same class needs.

        Args:
            folder: the folder; it may exist.
        """
