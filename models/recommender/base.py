"""What every recommender is: histories in, one logit an item out."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from core.vocabulary import EVENT_TYPES
from models.fusion import Fusion
from models.history import History
from models.recommender.catalogue import Catalogue
from models.recommender.events import EventBatch, event_batch, moments_of

_ROWS = 256


class Recommender(ABC):
    """P(item | history) = softmax of the scores."""

    name: ClassVar[str]

    def __init__(self, catalogue: Catalogue) -> None:
        """Keep the items.

        Args:
            catalogue: items in the order of the scores' columns.
        """
        self.catalogue = catalogue

    @property
    def item_ids(self) -> tuple[str, ...]:
        """The items, in the order of the scores' columns."""
        return self.catalogue.item_ids

    @abstractmethod
    def score(self, histories: Sequence[History], now: int | np.ndarray | None = None) -> np.ndarray:
        """Logits of all items; rules about what may be shown are the bundle's.

        Args:
            histories: n of them; an empty one is served too.
            now: microseconds since 1970 UTC, one for all or (n,); events at or after it are not looked at. None: just after each
                history's last event.

        Returns:
            (n, n_items) float32.
        """

    def parts(self, history: History, moment: int) -> dict[str, np.ndarray]:
        """What a score is the sum of.

        Args:
            history: what the shopper did.
            moment: microseconds since 1970 UTC; events at or after it are not looked at.

        Returns:
            Each part by name, (n_items,) float32; their sum is the score but for the last digits.
        """
        return {self.name: self.score([history], moment)[0]}

    def gates(self, history: History, moment: int) -> dict[str, float]:
        """How much of the user feature F that the scores read comes from each behaviour source.

        Args:
            history: what the shopper did.
            moment: see `parts`.

        Returns:
            Shares by source that sum to 1, or to 0 for an empty history; nothing where the recommender reads no F.
        """
        return {}

    @abstractmethod
    def save(self, path: Path) -> None:
        """Write the recommender's own folder.

        Args:
            path: the folder.
        """

    @classmethod
    @abstractmethod
    def load(cls, path: Path, catalogue: Catalogue) -> "Recommender":
        """Read the folder that `save` wrote.

        Args:
            path: the folder.
            catalogue: the items that it was saved with.

        Raises:
            BundleError: the folder is missing or incomplete, or the items are not the ones it was saved with.
        """


class EventRecommender(Recommender):
    """A recommender that reads the latest events as arrays."""

    def __init__(self, catalogue: Catalogue, max_events: int) -> None:
        """Keep the items and the length.

        Args:
            catalogue: items in the order of the scores' columns.
            max_events: latest events that are read.
        """
        super().__init__(catalogue)
        self.max_events = max_events

    @property
    def reads(self) -> Fusion | None:
        """The fusion whose F `logits` reads and can be given; None when there is none."""
        return None

    @property
    def own_fusion(self) -> Fusion | None:
        """The fusion that makes the F in the scores; None when they read none."""
        return self.reads

    def summands(self, batch: EventBatch, at: Tensor) -> Iterator[tuple[str, Tensor]]:
        """The parts of the logits, one after the other.

        Args:
            batch: see `logits`.
            at: see `logits`.

        Yields:
            Name and (batch, n_items).
        """
        yield self.name, self.logits(batch, at)

    def parts(self, history: History, moment: int) -> dict[str, np.ndarray]:
        """See `Recommender.parts`."""
        moments = np.array([moment], dtype=np.int64)
        with torch.inference_mode():
            batch = event_batch([history], moments, self.catalogue, self.max_events)
            found = self.summands(batch, torch.from_numpy(moments))
            return {name: part[0].float().numpy() for name, part in found}

    def features(self, fusion: Fusion, histories: Sequence[History], moments: np.ndarray) -> Tensor:
        """F of shoppers.

        Args:
            fusion: makes it.
            histories: n of them.
            moments: (n,) int64 microseconds; events at or after it are not looked at.

        Returns:
            (n, d).
        """
        with torch.inference_mode():
            batch = event_batch(histories, moments, self.catalogue, self.max_events)
            found: Tensor = fusion(batch.vectors, batch.kind, batch.time, torch.from_numpy(moments.copy())[:, None])[:, 0]
        return found

    def gates(self, history: History, moment: int) -> dict[str, float]:
        """See `Recommender.gates`."""
        if self.own_fusion is None:
            return {}
        moments = np.array([moment], dtype=np.int64)
        with torch.inference_mode():
            batch = event_batch([history], moments, self.catalogue, self.max_events)
            found = self.own_fusion.gates(batch.vectors, batch.kind, batch.time, torch.from_numpy(moments)[:, None])[0, 0]
        return dict(zip(EVENT_TYPES, found.tolist(), strict=True))

    @abstractmethod
    def logits(self, batch: EventBatch, at: Tensor, feature: Tensor | None = None) -> Tensor:
        """Logits of all items.

        Args:
            batch: the events; all strictly before ``at``.
            at: (batch,) int64 microseconds.
            feature: (batch, d) F by the fusion that it `reads`, when somebody has computed it already.

        Returns:
            (batch, n_items).
        """

    def score(self, histories: Sequence[History], now: int | np.ndarray | None = None) -> np.ndarray:
        """See `Recommender.score`."""
        moments = moments_of(histories, now)
        scores = np.empty((len(histories), len(self.catalogue)), np.float32)
        with torch.inference_mode():
            for start in range(0, len(histories), _ROWS):
                rows = slice(start, start + _ROWS)
                batch = event_batch(histories[rows], moments[rows], self.catalogue, self.max_events)
                scores[rows] = self.logits(batch, torch.from_numpy(moments[rows].copy())).numpy()
        return scores
