"""A randomised log as arrays, and its folds."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from core.errors import PropensityError, TrainingError
from models.policy_learning.context import Array, Kind

Codes = NDArray[np.int64]


@dataclass(frozen=True)
class RandomisedLog:
    """Choices that were drawn at random, with what came of them.

    Attributes:
        contexts: ``n`` rows, one column a feature; numbers with NaN, words with None.
        kinds: by column, ``number`` or ``category``.
        actions: ``(n,)`` codes 0 … k − 1.
        action_count: k, at least 2.
        propensity: ``(n,)`` of the logged actions, in (0, 1].
        rewards: ``(n,)`` finite.
        users: ``(n,)`` codes; rows of one user stay in one fold. None when each row stands for itself.
    """

    contexts: pd.DataFrame
    kinds: Mapping[str, Kind]
    actions: Codes
    action_count: int
    propensity: Array
    rewards: Array
    users: Codes | None = None

    def __post_init__(self) -> None:
        """Check shapes and ranges.

        Raises:
            ValueError: arrays of different length, codes outside 0 … k − 1, or rewards that are not finite.
            PropensityError: propensities outside (0, 1].
        """
        n = len(self.contexts)
        for name in ("actions", "propensity", "rewards", "users"):
            value = getattr(self, name)
            if value is not None and value.shape != (n,):
                raise ValueError(f"{name} has shape {value.shape}; contexts have {n} rows")
        if self.action_count < 2 or (n and not (self.actions.min() >= 0 and self.actions.max() < self.action_count)):
            raise ValueError(f"action codes must lie in 0 … {self.action_count - 1}, and there must be at least 2 actions")
        if not np.isfinite(self.rewards).all():
            raise ValueError(f"{int((~np.isfinite(self.rewards)).sum())} of {n} rewards are not finite")
        bad = ~((self.propensity > 0) & (self.propensity <= 1))
        if bad.any():
            raise PropensityError(
                f"{int(bad.sum())} of {n} propensities lie outside (0, 1]; first: row {int(bad.argmax())}. Leave such rows out."
            )

    def rows(self, chosen: NDArray[np.bool_]) -> "RandomisedLog":
        """Some of the rows.

        Args:
            chosen: ``(n,)`` mask.
        """
        return RandomisedLog(
            self.contexts[chosen].reset_index(drop=True),
            self.kinds,
            self.actions[chosen],
            self.action_count,
            self.propensity[chosen],
            self.rewards[chosen],
            None if self.users is None else self.users[chosen],
        )


def fold_of(log: RandomisedLog, count: int, rng: np.random.Generator) -> Codes:
    """Which of ``count`` folds each row is in: users whole, or else every action spread evenly.

    Args:
        log: the rows.
        count: of folds.
        rng: who goes where.

    Raises:
        TrainingError: fewer users than folds.
    """
    if log.users is not None:
        names, codes = np.unique(log.users, return_inverse=True)
        if names.size < count:
            raise TrainingError(f"{names.size} users are fewer than {count} folds; give the log of more users, or map no user_id")
        return np.asarray(rng.permutation(np.arange(names.size) % count)[codes], dtype=np.int64)
    order = np.lexsort((rng.random(log.actions.size), log.actions))
    fold = np.empty(order.size, dtype=np.int64)
    fold[order] = np.arange(order.size) % count
    return fold
