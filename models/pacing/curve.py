"""When in a day the traffic comes: a curve by weekday and hour, learnt from past events.

Days are those of whoever gives the moments: a shop with a time zone gives its own clock's microseconds, and then midnight is its midnight.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
HOURS, WEEKDAYS = 24, 7
HOUR = 3_600_000_000
DAY = HOURS * HOUR
_FIRST_WEEKDAY = 3
"""1 January 1970 was a Thursday; Monday is 0."""
_USUAL = (2.6, 1.6, 1.0, 0.8, 0.8, 1.0, 1.6, 2.6, 3.6, 4.6, 5.2, 5.4, 5.8, 5.2, 4.8, 4.8, 4.8, 4.8, 5.0, 5.8, 7.0, 7.4, 6.8, 4.6)
"""A shop's day before anything is known of it: quiet at night, busy from morning, busiest in the evening. A guess, and weighed as one."""


def cell_of(moments: NDArray[np.int64]) -> NDArray[np.int64]:
    """``(n,)`` weekday · 24 + hour of each moment, weekdays from Monday.

    Args:
        moments: ``(n,)`` microseconds since 1970.
    """
    return np.asarray((moments // DAY + _FIRST_WEEKDAY) % WEEKDAYS * HOURS + moments // HOUR % HOURS)


@dataclass(frozen=True)
class TrafficCurve:
    """The share of a day's traffic that comes in each hour; even within an hour.

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
    def usual(cls) -> "TrafficCurve":
        """What a new shop's day is expected to look like by its own clock, every weekday alike."""
        shape = np.array(_USUAL)
        return cls(np.tile(shape / shape.sum(), (WEEKDAYS, 1)))

    @classmethod
    def of_hours(
        cls, seen: Floats, *, prior: "TrafficCurve | None" = None, prior_events: float = 2.0, smoothing: float = 200.0
    ) -> "TrafficCurve":
        """Learn a curve from counts.

        An hour's share over all days is its count, with ``prior_events`` spread as the prior on top. A weekday's share is its own counts
        with ``smoothing`` spread as over all days: a weekday that was seen little looks like all days together.

        Args:
            seen: ``(7, 24)`` events by weekday and hour, not negative.
            prior: the curve before anything was seen; `even` when None.
            prior_events: what it weighs, positive.
            smoothing: in events, positive.

        Returns:
            The curve.

        Raises:
            ValueError: negative counts, or a weight that is not positive.

        Source:
            Shrinkage of counts to a Dirichlet prior: Gelman et al. (2013), Bayesian Data Analysis, section 3.4.
        """
        if smoothing <= 0 or prior_events <= 0:
            raise ValueError(f"smoothing is {smoothing}, prior_events {prior_events}; both must be positive")
        if not bool((seen >= 0).all()):
            raise ValueError(f"{int((~(seen >= 0)).sum())} of {seen.size} counts of hours are negative or NaN; counts are at least 0")
        before = (prior or cls.even()).shares
        pooled = seen.sum(axis=0) + prior_events * before.mean(axis=0)
        pooled /= pooled.sum()
        own = before / before.mean(axis=0)  # how the prior's weekdays differ, while little is seen
        weight = prior_events / (prior_events + seen.sum())
        shares = seen + smoothing * pooled * (weight * own + 1 - weight)
        return cls(shares / shares.sum(axis=1, keepdims=True))

    @classmethod
    def fit(cls, timestamps: ArrayLike, weights: ArrayLike | None = None, *, smoothing: float = 200.0) -> "TrafficCurve":
        """Learn a curve from past events, such as logged requests; see `of_hours`.

        Args:
            timestamps: ``(n,)`` microseconds since 1970; the last few weeks.
            weights: ``(n,)`` not negative, such as p_click, where the curve is to say when clicks are to be had. None: 1 each.
            smoothing: in events of mean weight, positive.

        Returns:
            The curve; `even` when there are no events.

        Raises:
            ValueError: lengths that differ, negative weights, or smoothing that is not positive.
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
        seen = np.bincount(cell_of(times), weights=mass / mass.mean(), minlength=WEEKDAYS * HOURS).astype(np.float64)
        return cls.of_hours(seen.reshape(WEEKDAYS, HOURS), prior_events=smoothing / 100, smoothing=smoothing)

    def before(self, moment: int) -> float:
        """The share of its day that lies before a moment, in [0, 1).

        Args:
            moment: microseconds since 1970.
        """
        day, rest = divmod(moment, DAY)
        hour, part = divmod(rest, HOUR)
        edges: Sequence[float] = self._edges[(day + _FIRST_WEEKDAY) % WEEKDAYS]  # type: ignore[attr-defined]
        return edges[hour] + (edges[hour + 1] - edges[hour]) * (part / HOUR)

    def between(self, start: int, end: int) -> float:
        """Traffic between two moments, in days' worth; 0 when the end is not after the start.

        Args:
            start: microseconds since 1970.
            end: likewise.
        """
        return max(0.0, end // DAY - start // DAY + self.before(end) - self.before(start)) if end > start else 0.0
