"""Matrix factorisation for implicit feedback; a shopper's factor is folded in from the history, so new shoppers are served too."""

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np

from core.errors import BundleError
from core.vocabulary import EventType
from models.bundle import load_arrays, read_config, save_arrays, writing_bundle
from models.history import History
from models.recommender.base import Recommender
from models.recommender.catalogue import Catalogue
from models.recommender.events import moments_of
from models.recommender.nearest import Graph
from models.recommender.shortlist import Indexable, Shortlist, nearest

STRENGTH: dict[str, float] = {EventType.VIEW: 1.0, EventType.FAVOURITE: 2.0, EventType.CART: 2.0, EventType.PURCHASE: 3.0}
"""What one event adds to the confidence that the shopper wants the item."""


def confidence(strength: np.ndarray, alpha: float) -> np.ndarray:
    """Confidence c = 1 + α · log(1 + Σ strength).

    Args:
        strength: (n,) summed strengths of a shopper's events with each item.
        alpha: how much an event counts against no event.

    Source:
        Hu, Koren and Volinsky (2008), equation 6 with ε = 1.
    """
    weights: np.ndarray = 1.0 + alpha * np.log1p(strength)
    return weights


class Als(Recommender, Indexable):
    """score = scale · x_u · y_i with x_u the ridge solution for the shopper's events, given the item factors y."""

    name: ClassVar[str] = "als"

    def __init__(self, catalogue: Catalogue, factors: np.ndarray, *, alpha: float, ridge: float, scale: float) -> None:
        """Keep the item factors.

        Args:
            catalogue: the items.
            factors: (n_items, dim) float32; zero for items without events.
            alpha: see `confidence`.
            ridge: weight of the squared norm.
            scale: turns inner products into logits.

        Raises:
            BundleError: factors of other items.
        """
        super().__init__(catalogue)
        if len(factors) != len(catalogue):
            raise BundleError(f"als was trained on {len(factors)} items, the catalogue has {len(catalogue)}. Train again.")
        self.factors = factors
        self.alpha, self.ridge, self.scale = alpha, ridge, scale
        self._gram = factors.T.astype(np.float64) @ factors + ridge * np.eye(factors.shape[1])

    def fold_in(self, history: History, moment: int) -> np.ndarray:
        """The factor of a shopper.

        Args:
            history: what the shopper did.
            moment: events at or after it are not looked at.

        Returns:
            (dim,) float64, (YᵀY + Yᵀ(C - I)Y + ridge I)⁻¹ Yᵀ C 1.
        """
        end = int(np.searchsorted(history.timestamps, moment, side="left"))
        codes = self.catalogue.codes(history.item_ids[:end])
        strengths = np.array([STRENGTH.get(kind, 0.0) for kind in history.event_types[:end]])
        kept = (codes >= 0) & (strengths > 0)
        if not kept.any():
            return np.zeros(self.factors.shape[1])
        items, places = np.unique(codes[kept], return_inverse=True)
        weights = confidence(np.bincount(places, weights=strengths[kept]), self.alpha)
        seen = self.factors[items].astype(np.float64)
        left = self._gram + (seen * (weights - 1)[:, None]).T @ seen
        solved: np.ndarray = np.linalg.solve(left, seen.T @ weights)
        return solved

    def score(self, histories: Sequence[History], now: int | np.ndarray | None = None) -> np.ndarray:
        """See `Recommender.score`."""
        scores: np.ndarray = np.float32(self.scale) * (self._users(histories, moments_of(histories, now)) @ self.factors.T)
        return scores

    def _users(self, histories: Sequence[History], moments: np.ndarray) -> np.ndarray:
        users = [self.fold_in(history, moment) for history, moment in zip(histories, moments.tolist(), strict=True)]
        return np.stack(users).astype(np.float32) if users else np.zeros((0, self.factors.shape[1]), np.float32)

    def item_rows(self, codes: np.ndarray) -> np.ndarray:
        """See `Indexable.item_rows`."""
        rows: np.ndarray = self.factors[codes]
        return rows

    def shortlists(self, graph: Graph, histories: Sequence[History], moments: np.ndarray, size: int) -> list[Shortlist]:
        """See `Indexable.shortlists`."""
        return nearest(self, graph, np.float32(self.scale) * self._users(histories, moments), size)

    def save(self, path: Path) -> None:
        """See `Recommender.save`."""
        with writing_bundle(path, self.name, {"alpha": self.alpha, "ridge": self.ridge, "scale": self.scale}) as draft:
            save_arrays({"factors": self.factors}, draft / "weights.safetensors")

    @classmethod
    def load(cls, path: Path, catalogue: Catalogue) -> "Als":
        """See `Recommender.load`."""
        config = read_config(path, cls.name)
        factors = load_arrays(path / "weights.safetensors")["factors"]
        return cls(catalogue, factors, alpha=config["alpha"], ridge=config["ridge"], scale=config["scale"])
