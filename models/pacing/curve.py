"""When in a day the traffic comes: a curve by weekday and hour, learnt from past events."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

HOURS, WEEKDAYS = 24, 7
HOUR = 3_600_000_000
DAY = HOURS * HOUR
_FIRST_WEEKDAY = 3
"""1 January 1970 was a Thursday; Monday is 0."""


@dataclass(frozen=True)
class TrafficCurve:
    """The share of a UTC day's traffic that comes in each hour; even within an hour.

    Attributes:
        shares: ``(7, 24)`` by weekday (Monday first) and hour; positive, each row sums to 1.

    Raises:
        ValueError: another shape, shares that are not positive, or rows that do not sum to 1.
    """

    shares: NDArray[np.float64]

    def __post_init__(self) -> None:
        shares = np.asarray(self.shares, dtype=np.float64)
        if shares.shape != (WEEKDAYS, HOURS):
            raise ValueError(f"shares have shape {shares.shape}; a traffic curve has ({WEEKDAYS}, {HOURS}), weekday by hour")
        if not bool((shares > 0).all()) or not np.allclose(shares.sum(axis=1), 1):
            raise ValueError(
                f"shares of a traffic curve are positive and sum to 1 a weekday; smallest {shares.min()}, sums {shares.sum(axis=1)}"
            )
        edges = np.concatenate([np.zeros((WEEKDAYS, 1)), np.cumsum(shares, axis=1)], axis=1)
        edges[:, -1] = 1.0
        object.__setattr__(self, "shares", shares)
        object.__setattr__(self, "_edges", edges.tolist())

    @classmethod
    def even(cls) -> "TrafficCurve":
        """The curve of one who knows nothing: every hour alike."""
        return cls(np.full((WEEKDAYS, HOURS), 1 / HOURS))

    @classmethod
    def fit(cls, timestamps: ArrayLike, weights: ArrayLike | None = None, *, smoothing: float = 200.0) -> "TrafficCurve":
        """Learn a curve from past events, such as logged requests.

        An hour's share over all days is its weight, with a hundredth of ``smoothing`` spread evenly on top. A weekday's share is its own
        weight with ``smoothing`` spread as over all days: a weekday that was seen little looks like all days together.

        Args:
            timestamps: ``(n,)`` microseconds since 1970 UTC; the last few weeks.
            weights: ``(n,)`` not negative, such as p_click, where the curve is to say when clicks are to be had. None: 1 each.
            smoothing: in events of mean weight, positive.

        Returns:
            The curve; `even` when there are no events.

        Raises:
            ValueError: lengths that differ, negative weights, or smoothing that is not positive.

        Source:
            Shrinkage of counts to a Dirichlet prior: Gelman et al. (2013), Bayesian Data Analysis, section 3.4.
        """
        times = np.asarray(timestamps, dtype=np.int64).ravel()
        mass = np.ones(times.size) if weights is None else np.asarray(weights, dtype=np.float64).ravel()
        if mass.shape != times.shape:
            raise ValueError(f"{times.size} timestamps and {mass.size} weights; one weight an event is needed")
        if not bool((mass >= 0).all()):
            raise ValueError(f"{int((~(mass >= 0)).sum())} of {mass.size} weights are negative or NaN; weights are not negative")
        if smoothing <= 0:
            raise ValueError(f"smoothing is {smoothing}; it must be positive")
        if not mass.sum() > 0:
            return cls.even()
        mass = mass / mass.mean()
        cell = (times // DAY + _FIRST_WEEKDAY) % WEEKDAYS * HOURS + times // HOUR % HOURS
        seen = np.bincount(cell, weights=mass, minlength=WEEKDAYS * HOURS).reshape(WEEKDAYS, HOURS)
        pooled = seen.sum(axis=0) + smoothing / (100 * HOURS)
        pooled /= pooled.sum()
        shares = seen + smoothing * pooled
        return cls(shares / shares.sum(axis=1, keepdims=True))

    def before(self, moment: int) -> float:
        """The share of its day that lies before a moment, in [0, 1).

        Args:
            moment: microseconds since 1970 UTC.
        """
        day, rest = divmod(moment, DAY)
        hour, part = divmod(rest, HOUR)
        edges: Sequence[float] = self._edges[(day + _FIRST_WEEKDAY) % WEEKDAYS]  # type: ignore[attr-defined]
        return edges[hour] + (edges[hour + 1] - edges[hour]) * (part / HOUR)

    def between(self, start: int, end: int) -> float:
        """Traffic between two moments, in days' worth; 0 when the end is not after the start.

        Args:
            start: microseconds since 1970 UTC.
            end: likewise.
        """
        return max(0.0, end // DAY - start // DAY + self.before(end) - self.before(start)) if end > start else 0.0
