"""The baseline that knows no shopper: how often each item was the target of behaviour, lately."""

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np

from core.errors import BundleError
from models.bundle import load_arrays, read_config, save_arrays, writing_bundle
from models.history import History
from models.recommender.base import Recommender
from models.recommender.catalogue import Catalogue

SMOOTHING = 0.5
"""Added to every item's count, so that an item without events keeps a finite logit."""


def log_popularity(counts: np.ndarray) -> np.ndarray:
    """Logits log P(item) from smoothed counts.

    Args:
        counts: (n_items,) at least 0.

    Returns:
        (n_items,) float32; its exponentials sum to 1.
    """
    smoothed = counts + SMOOTHING
    logits: np.ndarray = np.log(smoothed / smoothed.sum()).astype(np.float32)
    return logits


class Popularity(Recommender):
    """softmax of these scores is the items' smoothed share of the training window's events."""

    name: ClassVar[str] = "popularity"

    def __init__(self, catalogue: Catalogue, counts: np.ndarray, half_life_days: float | None) -> None:
        """Keep the counts.

        Args:
            catalogue: the items.
            counts: (n_items,) events of each item, an older one counting less.
            half_life_days: after how long an event counts half; None when all count alike.

        Raises:
            BundleError: counts of other items.
        """
        super().__init__(catalogue)
        if counts.shape != (len(catalogue),):
            raise BundleError(f"popularity counts {counts.shape[0]} items, the catalogue has {len(catalogue)}. Train again.")
        self.counts = counts.astype(np.float32)
        self.half_life_days = half_life_days
        self._logits = log_popularity(self.counts)

    def score(self, histories: Sequence[History], now: int | np.ndarray | None = None) -> np.ndarray:
        """See `Recommender.score`; every row is the same."""
        return np.repeat(self._logits[None, :], len(histories), axis=0)

    def save(self, path: Path) -> None:
        """See `Recommender.save`."""
        with writing_bundle(path, self.name, {"half_life_days": self.half_life_days}) as draft:
            save_arrays({"counts": self.counts}, draft / "weights.safetensors")

    @classmethod
    def load(cls, path: Path, catalogue: Catalogue) -> "Popularity":
        """See `Recommender.load`."""
        config = read_config(path, cls.name)
        return cls(catalogue, load_arrays(path / "weights.safetensors")["counts"], config["half_life_days"])
