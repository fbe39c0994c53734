"""Computing once what several readers ask for within one request: scores of all items, and F."""

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np

from models.history import History
from models.recommender import Recommender, RecommenderBundle
from models.recommender.catalogue import Catalogue


class _Remembering(Recommender):
    """A recommender that keeps its last answer."""

    name: ClassVar[str] = "remembering"

    def __init__(self, inner: Recommender) -> None:
        super().__init__(inner.catalogue)
        self._inner = inner
        self._asked: tuple[History, int] | None = None
        self._scores = np.zeros((1, 0), np.float32)

    def score(self, histories: Sequence[History], now: int | np.ndarray | None = None) -> np.ndarray:
        """See `Recommender.score`; a single history at a given moment is answered from memory when it is the same object."""
        if len(histories) != 1 or now is None:
            return self._inner.score(histories, now)
        moment = int(np.ravel(now)[0])
        if self._asked is None or self._asked[0] is not histories[0] or self._asked[1] != moment:
            self._scores = self._inner.score(histories, moment)
            self._asked = (histories[0], moment)
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
        super().__init__(
            catalogue=bundle.catalogue,
            encoder=bundle.encoder,
            fusion=bundle.fusion,
            audiences=bundle.audiences,
            models={**bundle.models, name: _Remembering(bundle.champion)},
            champion=name,
            max_events=bundle.max_events,
        )
        self._history: History | None = None
        self._feature = np.zeros((1, 0), np.float32)

    def user_feature(self, histories: Sequence[History], now: int | np.ndarray | None = None) -> np.ndarray:
        """See `RecommenderBundle.user_feature`."""
        if len(histories) != 1 or now is not None:
            return super().user_feature(histories, now)
        if self._history is not histories[0]:
            self._feature = super().user_feature(histories)
            self._history = histories[0]
        return self._feature
