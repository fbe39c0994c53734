"""Has a rate fallen? Two groups of impressions of different users, at one of several looks.

    d = C₁ / N₁ − C₀ / N₀,   se² = Σ_groups Σ_users (c_u − p n_u)² / N_g²,   p = (C₀ + C₁) / (N₀ + N₁)

with c_u of n_u impressions of user u answered. The standard error is that of equal rates (a score test): that of the groups
themselves would be too small just where few answers came, so that rare conversions would sound false alarms. The rows of a user may
depend on one another.

Source:
    Score interval of a difference: Mee, R. (1984). Confidence bounds for the difference between two probabilities. Clusters: Rao, J. and
    Scott, A. (1992). A simple method for the analysis of clustered binary data.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from evaluation.intervals import Interval
from evaluation.looks import Look
from evaluation.off_policy.evidence import user_sums

Array = NDArray[np.float64]
MIN_EXPECTED = 20.0
"""Answers that equal rates would give the smaller group; below it a rate is not judged."""


@dataclass(frozen=True)
class Group:
    """Impressions of one policy.

    Attributes:
        answered: ``(n,)`` 1 where the impression was answered, else 0.
        users: ``(n,)`` whose it was.
    """

    answered: Array
    users: NDArray[np.generic]


@dataclass(frozen=True)
class RateChange:
    """What became of a rate.

    Attributes:
        rate: of the group that is watched.
        other: of the group that it is held against.
        difference: rate − other, with the look's interval; None when there are too few answers to tell.
        expected: answers of the smaller group at equal rates.
        look: when it was looked at.
    """

    rate: float
    other: float
    difference: Interval | None
    expected: float
    look: Look

    @property
    def fallen(self) -> bool:
        """Whether the upper end of the difference is below 0."""
        return self.difference is not None and self.difference.high < 0


def rate_change(watched: Group, other: Group, look: Look) -> RateChange:
    """The difference of two rates with an interval that is right at equal rates, at this look and all others together.

    Args:
        watched: at least one impression.
        other: at least one impression.
        look: of the plan; its alpha counts.

    Raises:
        ValueError: a group without impressions.
    """
    if not watched.answered.size or not other.answered.size:
        raise ValueError(f"{watched.answered.size} and {other.answered.size} impressions; both groups need some")
    p = float(watched.answered.sum() + other.answered.sum()) / (watched.answered.size + other.answered.size)
    rate, level = float(watched.answered.mean()), float(other.answered.mean())
    expected = p * min(watched.answered.size, other.answered.size)
    if expected < MIN_EXPECTED:
        return RateChange(rate, level, None, expected, look)
    error = float(np.sqrt(_variance(watched, p) + _variance(other, p)))
    gap, reach = rate - level, look.z * error
    return RateChange(rate, level, Interval(gap, gap - reach, gap + reach), expected, look)


def _variance(group: Group, p: float) -> float:
    sums = user_sums(group.users, [group.answered - p])
    return float((sums**2).sum()) / group.answered.size**2
