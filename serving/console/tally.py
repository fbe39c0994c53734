"""Counts of the decision log for the board: read on, never anew."""

from collections import defaultdict
from dataclasses import dataclass, field

from core.moments import DAY
from models.correction import log_odds
from serving.store import Store, Writer

_ROWS = 20_000
_SHOWN = "SELECT timestamp, channel, creative_id, p_click FROM decisions WHERE seq > ? AND seq <= ?"
_FIRST = (
    "SELECT d.timestamp, d.channel, d.creative_id FROM feedback f "
    "JOIN decisions d ON d.request_id = f.request_id AND d.position = f.position WHERE f.seq > ? AND f.seq <= ? AND NOT EXISTS "
    "(SELECT 1 FROM feedback g WHERE g.request_id = f.request_id AND g.position = f.position AND g.seq < f.seq{same})"
)
_CLICKS = _FIRST.format(same="")
_CONVERSIONS = _FIRST.format(same=" AND g.kind = 'conversion'") + " AND f.kind = 'conversion'"


@dataclass
class Count:
    """Impressions and what came of them.

    Attributes:
        shown: impressions.
        clicked: impressions with a click or a conversion.
        converted: impressions with a conversion.
        odds: sum of the predicted log-odds of a click.
        predicted: sum of p_click.
    """

    shown: int = 0
    clicked: int = 0
    converted: int = 0
    odds: float = 0.0
    predicted: float = 0.0


@dataclass
class Tally:
    """Counts by (UTC day, channel), of the day of the impression, and by creative over all days."""

    days: dict[tuple[int, str], Count] = field(default_factory=lambda: defaultdict(Count))
    creatives: dict[str, Count] = field(default_factory=lambda: defaultdict(Count))
    _decisions: int = 0
    _feedback: int = 0

    def read_on(self, store: Store) -> None:
        """Count what has been stored since the last time.

        Args:
            store: the service's.

        Raises:
            UnavailableError: the log is away; what was counted so far is not counted again.
        """
        with store.aside() as connection:
            feedback = _last(connection, "feedback")  # before the decisions: what it is about is among them then
            decisions = _last(connection, "decisions")
            for start in range(self._decisions, decisions, _ROWS):
                end = min(start + _ROWS, decisions)
                for time, channel, creative, p_click in connection.execute(_SHOWN, (start, end)).fetchall():
                    odds = float(log_odds(p_click))
                    for count in (self.days[time // DAY, channel], self.creatives[creative]):
                        count.shown += 1
                        count.odds += odds
                        count.predicted += p_click
                self._decisions = end
            clicks = connection.execute(_CLICKS, (self._feedback, feedback)).fetchall()
            conversions = connection.execute(_CONVERSIONS, (self._feedback, feedback)).fetchall()
            for time, channel, creative in clicks:
                self.days[time // DAY, channel].clicked += 1
                self.creatives[creative].clicked += 1
            for time, channel, creative in conversions:
                self.days[time // DAY, channel].converted += 1
                self.creatives[creative].converted += 1
            self._feedback = feedback

    def between(self, first_day: int, last_day: int) -> dict[str, Count]:
        """Counts by channel.

        Args:
            first_day: UTC day, counted from 1970.
            last_day: included.
        """
        found: dict[str, Count] = defaultdict(Count)
        for (day, channel), count in self.days.items():
            if first_day <= day <= last_day:
                held = found[channel]
                held.shown += count.shown
                held.clicked += count.clicked
                held.converted += count.converted
        return found


def _last(connection: Writer, table: str) -> int:
    return int(connection.execute(f"SELECT COALESCE(MAX(seq), 0) FROM {table}").fetchone()[0])
