"""What time it is for a decision: the wall clock, or for the market's shoppers the time in their market."""

from collections.abc import Callable
from datetime import UTC, datetime

from models.history import micros
from serving.store import Store, note

OFFSET_KEY = "market_clock_offset_us"
"""Where the database keeps how far the market's time is ahead of the wall clock."""


def wall_clock() -> int:
    """Microseconds since 1970 UTC."""
    return int(datetime.now(UTC).timestamp() * 1_000_000)


class Clock:
    """Microseconds since 1970 UTC.

    The market is simulated up to a day that has nothing to do with today's date: its shoppers' last events may lie in the
    future of the wall clock, or its campaigns in the past. So for synthetic data time goes on from where the data end, from
    the first start of the service on, and never goes back (the offset is kept in the database).
    """

    def __init__(self, database: Store, *, synthetic: bool, data_end: datetime, wall: Callable[[], int] = wall_clock) -> None:
        """Set the clock.

        Args:
            database: keeps the offset.
            synthetic: True for the market.
            data_end: nothing in the data is later, UTC.
            wall: the wall clock; tests give another.
        """
        self._wall = wall
        self._offset = 0
        if synthetic:
            needed = int(micros(data_end)[0]) + 1 - wall()
            with database.transaction() as writer:
                held = writer.execute("SELECT value FROM meta WHERE key = ?", (OFFSET_KEY,)).fetchone()
                self._offset = needed if held is None else max(int(held[0]), needed)
                note(writer, OFFSET_KEY, str(self._offset))

    def now(self) -> int:
        """Microseconds since 1970 UTC."""
        return self._wall() + self._offset


def moment(time_us: int) -> datetime:
    """A time as a datetime.

    Args:
        time_us: microseconds since 1970 UTC.
    """
    return datetime.fromtimestamp(time_us / 1_000_000, tz=UTC)
