"""The validation users: what they did, when, and what they viewed or bought next."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import pandas as pd
import torch

from core.columns import Columns
from evaluation.ranking import RankingMetrics, metrics_of_ranks, target_ranks
from models.history import History, histories, micros, next_items
from models.recommender.base import EventRecommender, Recommender
from models.recommender.catalogue import Catalogue
from models.recommender.events import EventBatch, event_batch

TOP_K = 10
_ROWS = 256


@dataclass(frozen=True)
class Validation:
    """One target a user, between the end of training and the end of validation.

    Attributes:
        user_ids: (n,) whose.
        histories: n of them, with the events strictly before the target.
        moments: (n,) int64 the target's time.
        targets: (n,) column of the target item.
    """

    user_ids: tuple[str, ...]
    histories: tuple[History, ...]
    moments: np.ndarray
    targets: np.ndarray

    @classmethod
    def of(
        cls, events: pd.DataFrame, catalogue: Catalogue, *, start: datetime, end: datetime, most: int, rng: np.random.Generator
    ) -> "Validation":
        """Find the users and their targets.

        Args:
            events: all events before ``end``.
            catalogue: the items; targets among others are left out.
            start: end of training.
            end: end of validation.
            most: keep this many users at the most, drawn by ``rng``.
            rng: the stream.
        """
        found = next_items(events, start, end)
        codes = catalogue.codes(found[Columns.ITEM].to_numpy(dtype=object))
        rows = np.flatnonzero(codes >= 0)
        if len(rows) > most:
            rows = np.sort(rng.permutation(rows)[:most])
        users = [str(user) for user in found[Columns.USER].iloc[rows]]
        moments = micros(found[Columns.TIMESTAMP])[rows]
        return cls(tuple(users), tuple(histories(events, users, moments)), moments, codes[rows])

    def __len__(self) -> int:
        return len(self.user_ids)

    def batches(self, catalogue: Catalogue, max_events: int) -> list[EventBatch]:
        """The histories as arrays, to be scored epoch after epoch.

        Args:
            catalogue: the items.
            max_events: latest events that are read.
        """
        cuts = [slice(start, start + _ROWS) for start in range(0, len(self), _ROWS)]
        return [event_batch(self.histories[rows], self.moments[rows], catalogue, max_events) for rows in cuts]

    def score(self, recommender: Recommender, batches: Sequence[EventBatch] | None = None) -> float:
        """Mean NDCG@10; NaN without users, which training takes as "never stop early".

        Args:
            recommender: scored.
            batches: see `metrics`.
        """
        return float(self.metrics(recommender, batches).ndcg.mean()) if len(self) else float("nan")

    def metrics(self, recommender: Recommender, batches: Sequence[EventBatch] | None = None) -> RankingMetrics:
        """Metrics of each user, against all items.

        Args:
            recommender: scored.
            batches: the histories as arrays, when they were made before and the recommender reads them.
        """
        ranks = np.zeros(len(self), np.int64)
        for number, start in enumerate(range(0, len(self), _ROWS)):
            rows = slice(start, start + _ROWS)
            if batches is not None and isinstance(recommender, EventRecommender):
                with torch.inference_mode():
                    scores = recommender.logits(batches[number], torch.from_numpy(self.moments[rows].copy())).numpy()
            else:
                scores = recommender.score(self.histories[rows], self.moments[rows])
            ranks[rows] = target_ranks(scores, self.targets[rows])
        return metrics_of_ranks(ranks, k=TOP_K)
