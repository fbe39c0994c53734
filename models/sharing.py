"""Computing once what several readers ask for within one request: scores of all items, and F."""

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch

from models.history import History
from models.recommender import Recommender, RecommenderBundle
from models.recommender.base import EventRecommender
from models.recommender.catalogue import Catalogue
from models.recommender.events import EventBatch, event_batch


class _Remembering(Recommender):
    """The champion of a `SharedRecommender`: answers about the request at hand from memory."""

    name: ClassVar[str] = "remembering"

    def __init__(self, inner: Recommender, max_events: int) -> None:
        super().__init__(inner.catalogue)
        self._inner = inner
        self._max_events = max_events
        self._asked: tuple[History, int] | None = None
        self._batch: EventBatch | None = None
        self._scores: np.ndarray | None = None

    def batch(self, history: History, moment: int) -> EventBatch:
        """The history as arrays, made once."""
        if self._asked is None or self._asked[0] is not history or self._asked[1] != moment or self._batch is None:
            self._batch = event_batch([history], np.array([moment], dtype=np.int64), self.catalogue, self._max_events)
            self._asked, self._scores = (history, moment), None
        return self._batch

    def score(self, histories: Sequence[History], now: int | np.ndarray | None = None) -> np.ndarray:
        """See `Recommender.score`; a single history at a given moment is answered from memory when it is the same object."""
        if len(histories) != 1 or now is None:
            return self._inner.score(histories, now)
        moment = int(np.ravel(now)[0])
        batch = self.batch(histories[0], moment)
        if self._scores is None:
            if isinstance(self._inner, EventRecommender) and self._inner.max_events == self._max_events:
                with torch.inference_mode():
                    self._scores = self._inner.logits(batch, torch.tensor([moment])).numpy()
            else:
                self._scores = self._inner.score(histories, moment)
        return self._scores

    def save(self, path: Path) -> None:
        """See `Recommender.save`."""
        self._inner.save(path)

    @classmethod
    def load(cls, path: Path, catalogue: Catalogue) -> "_Remembering":
        """Not a kind of its own: load the recommender that it stands for."""
        raise NotImplementedError("load the recommender itself, then share its bundle")


class SharedRecommender(RecommenderBundle):
    """A recommender bundle that keeps its last answers; for one thread at a time."""

    def __init__(self, bundle: RecommenderBundle) -> None:
        """Share a bundle.

        Args:
            bundle: what answers.
        """
        name = bundle.champion.name
        self._remembering = _Remembering(bundle.champion, bundle.max_events)
        super().__init__(
            catalogue=bundle.catalogue,
            encoder=bundle.encoder,
            fusion=bundle.fusion,
            audiences=bundle.audiences,
            models={**bundle.models, name: self._remembering},
            champion=name,
            max_events=bundle.max_events,
        )
        self._batch: EventBatch | None = None
        self._feature = np.zeros((1, 0), np.float32)

    def user_feature(self, histories: Sequence[History], now: int | np.ndarray | None = None) -> np.ndarray:
        """See `RecommenderBundle.user_feature`; a single history at a given moment is answered from memory when it is the same object."""
        if len(histories) != 1 or now is None:
            return super().user_feature(histories, now)
        moment = int(np.ravel(now)[0])
        batch = self._remembering.batch(histories[0], moment)
        if self._batch is not batch:
            with torch.inference_mode():
                self._feature = self.fusion(batch.vectors, batch.kind, batch.time, torch.tensor([[moment]]))[:, 0].numpy()
            self._batch = batch
        return self._feature
