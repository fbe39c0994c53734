"""The validation users: what they did, when, and what they viewed or bought next."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import numpy as np
import pandas as pd
import torch

from core.columns import Columns
from models.history import History, histories, micros, next_items
from models.recommender.base import EventRecommender, Recommender
from models.recommender.catalogue import Catalogue
from models.recommender.events import EventBatch, event_batch

_ROWS, _SCORES = 256, 1 << 22
"""Users that are ranked at once at the most, and scores: larger arrays are given back to the system each time, and cost twice the time."""


@dataclass(frozen=True)
class RankingRule:
    """How a ranking is judged; `evaluation.ranking` brings it, which the models do not import.

    Attributes:
        rank: ((n, items) scores, (n,) target columns) → (n,) rank of each target among all items, 1 is best.
        gain: (n,) ranks → (n,) what each is worth, larger is better.
    """

    rank: Callable[[np.ndarray, np.ndarray], np.ndarray]
    gain: Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Validation:
    """One target a user, between the end of training and the end of validation.

    Attributes:
        user_ids: (n,) whose.
        histories: n of them, with the events strictly before the target.
        moments: (n,) int64 the target's time.
        targets: (n,) column of the target item.
        rule: how a ranking is judged.
        repeats: whether an item that stands in the history may be the next one; if not, such items are not ranked.
    """

    user_ids: tuple[str, ...]
    histories: tuple[History, ...]
    moments: np.ndarray
    targets: np.ndarray
    rule: RankingRule
    repeats: bool = True

    @classmethod
    def of(
        cls,
        events: pd.DataFrame,
        catalogue: Catalogue,
        *,
        start: datetime,
        end: datetime,
        most: int,
        rng: np.random.Generator,
        rule: RankingRule,
    ) -> "Validation":
        """Find the users and their targets.

        Args:
            events: all events before ``end``.
            catalogue: the items; targets among others are left out.
            start: end of training.
            end: end of validation.
            most: keep this many users at the most, drawn by ``rng``.
            rng: the stream.
            rule: how a ranking is judged.
        """
        found = next_items(events, start, end)
        codes = catalogue.codes(found[Columns.ITEM].to_numpy(dtype=object))
        rows = np.flatnonzero(codes >= 0)
        if len(rows) > most:
            rows = np.sort(rng.permutation(rows)[:most])
        users = [str(user) for user in found[Columns.USER].iloc[rows]]
        moments = micros(found[Columns.TIMESTAMP])[rows]
        return cls(tuple(users), tuple(histories(events, users, moments)), moments, codes[rows], rule)

    def __len__(self) -> int:
        return len(self.user_ids)

    def sample(self, most: int) -> "Validation":
        """Some of the users, always the same ones.

        Args:
            most: how many at the most.
        """
        rows = np.sort(np.random.default_rng(0).permutation(len(self))[:most])
        return replace(
            self,
            user_ids=tuple(self.user_ids[row] for row in rows),
            histories=tuple(self.histories[row] for row in rows),
            moments=self.moments[rows],
            targets=self.targets[rows],
        )

    def batches(self, catalogue: Catalogue, max_events: int) -> list[EventBatch]:
        """The histories as arrays, to be scored epoch after epoch.

        Args:
            catalogue: the items.
            max_events: latest events that are read.
        """
        return [event_batch(self.histories[rows], self.moments[rows], catalogue, max_events) for rows, _ in self.cuts(catalogue)]

    def score(self, recommender: Recommender, batches: Sequence[EventBatch] | None = None) -> float:
        """Mean gain of the targets' ranks; NaN without users, which training takes as "never stop early".

        Args:
            recommender: scored.
            batches: see `ranks`.
        """
        return float(self.rule.gain(self.ranks(recommender, batches)).mean()) if len(self) else float("nan")

    def ranks(self, recommender: Recommender, batches: Sequence[EventBatch] | None = None) -> np.ndarray:
        """(n,) int64, the rank of each user's target among all items.

        Args:
            recommender: scored.
            batches: the histories as arrays, when they were made before and the recommender reads them.
        """
        ranks = np.zeros(len(self), np.int64)
        for number, (rows, at) in enumerate(self.cuts(recommender.catalogue)):
            if batches is not None and isinstance(recommender, EventRecommender):
                with torch.inference_mode():
                    scores = recommender.logits(batches[number], at).numpy()
            else:
                scores = recommender.score(self.histories[rows], self.moments[rows])
            ranks[rows] = self.ranks_of(scores, np.arange(len(self))[rows], recommender.catalogue)
        return ranks

    def cuts(self, catalogue: Catalogue) -> list[tuple[slice, torch.Tensor]]:
        """The rows of each of `batches`, and their moments.

        Args:
            catalogue: the items that are ranked.
        """
        size = min(_ROWS, max(1, _SCORES // max(1, len(catalogue))))
        rows = [slice(start, start + size) for start in range(0, len(self), size)]
        return [(cut, torch.from_numpy(self.moments[cut].copy())) for cut in rows]

    def ranks_of(self, scores: np.ndarray, rows: np.ndarray, catalogue: Catalogue) -> np.ndarray:
        """(n,) int64, the ranks of some users' targets.

        Args:
            scores: (n, items).
            rows: (n,) whose, of these users.
            catalogue: the items.
        """
        return self.rule.rank(scores if self.repeats else self.without_met(scores, rows, catalogue), self.targets[rows])

    def without_met(self, scores: np.ndarray, rows: slice | np.ndarray, catalogue: Catalogue) -> np.ndarray:
        """Scores with -inf for what a shopper has met.

        Args:
            scores: (n, items).
            rows: whose, of these users.
            catalogue: the items.
        """
        left = scores.copy()
        for row, user in enumerate(np.arange(len(self))[rows].tolist()):
            codes = catalogue.codes(self.histories[user].item_ids)
            left[row, codes[codes >= 0]] = -np.inf
        return left
