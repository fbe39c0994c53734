"""The market's clock: Beijing hours, days since the start, and demand by season."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

HOUR = 3_600_000_000
DAY = 24 * HOUR
"""Microseconds."""
BEIJING = 8
"""Hours ahead of UTC."""
HOURLY = np.array([3, 2, 1, 1, 1, 1, 2, 4, 5, 6, 7, 7, 9, 8, 6, 6, 6, 6, 7, 9, 11, 12, 11, 7], dtype=np.float64)
"""Relative traffic by hour of the day in Beijing."""
WEEKEND = 1.25
"""Traffic of a Saturday or Sunday over a weekday's."""


def micros(day: str) -> int:
    """Microseconds since 1970 of a day's midnight, UTC.

    Args:
        day: such as "2026-09-21".
    """
    return int(datetime.fromisoformat(day).replace(tzinfo=UTC).timestamp()) * 1_000_000


def beijing_hour(timestamps: Ints) -> Ints:
    """Hour of the day in Beijing, 0 to 23. (n,).

    Args:
        timestamps: (n,) microseconds, UTC.
    """
    hours: Ints = (timestamps // HOUR + BEIJING) % 24
    return hours


def draw_times(count: int, start: int, days: int, rng: np.random.Generator) -> Ints:
    """Moments with the week's and the day's rhythm.

    Args:
        count: how many.
        start: microseconds, UTC.
        days: length of the window.
        rng: the stream to draw from.

    Returns:
        (count,) microseconds, UTC, unsorted, within the window.
    """
    hours = start + np.arange(days * 24, dtype=np.int64) * HOUR
    weekday = ((hours // HOUR + BEIJING) // 24 + 3) % 7  # 1970-01-01 was a Thursday; 0 is Monday
    weights = HOURLY[beijing_hour(hours)] * np.where(weekday >= 5, WEEKEND, 1.0)
    drawn = rng.choice(len(hours), size=count, p=weights / weights.sum())
    times: Ints = hours[drawn] + rng.integers(0, HOUR, count)
    return times


def season_table(curves: Sequence[Sequence[float]]) -> Floats:
    """Log demand of each month over its yearly mean, within ±1. (categories, 12).

    Args:
        curves: demand by month of each category, January first.
    """
    logs = np.log(np.asarray(curves, dtype=np.float64).reshape(len(curves), 12))
    table: Floats = np.clip(logs - logs.mean(axis=1, keepdims=True), -1, 1)
    return table


def month_position(timestamps: Ints) -> Floats:
    """Where in the year a moment lies, in months: 0.0 is the middle of January, 11.5 the last of December. (n,).

    Args:
        timestamps: (n,) microseconds, UTC.
    """
    dates = timestamps.astype("datetime64[us]")
    months = dates.astype("datetime64[M]")
    length = ((months + 1).astype("datetime64[us]") - months.astype("datetime64[us]")).astype(np.float64)
    through = (dates - months.astype("datetime64[us]")).astype(np.float64) / length
    position: Floats = (months.astype(np.int64) % 12 + through - 0.5) % 12
    return position


def season_weights(timestamps: Ints) -> tuple[Ints, Ints, Floats]:
    """Between which two months a moment lies, and how far: for linear interpolation of `season_table`.

    Args:
        timestamps: (n,) microseconds, UTC.

    Returns:
        Earlier month, later month, weight of the later; each (n,).
    """
    position = month_position(timestamps)
    earlier = np.floor(position).astype(np.int64)
    return earlier % 12, (earlier + 1) % 12, position - earlier


def iso(timestamp: int) -> str:
    """ISO 8601, UTC.

    Args:
        timestamp: microseconds.
    """
    return (datetime.fromtimestamp(0, UTC) + timedelta(microseconds=timestamp)).isoformat()
