"""Impressions and clicks as the decision log tells them: each counted once, and the same again when read anew.

An impression counts as clicked when its first click or conversion comes, and as not clicked when its attention has ended without one;
a click after that still counts. What has been counted is a function of the log and a `Mark` alone, so a restart, or a replay, finds the
same numbers.
"""

import heapq
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from models.correction import BIN, log_odds
from models.policies.nested import Counts
from serving.store import Writer

_ROWS = 20_000
_SHOWN = (
    "SELECT seq, request_id, position, timestamp, creative_id, p_click, model_version, consent FROM decisions "
    "WHERE seq > ? AND seq <= ? ORDER BY seq"
)
_CLICKED = (
    "SELECT f.request_id, f.position, d.creative_id, d.p_click, d.model_version, d.consent FROM feedback f "
    "JOIN decisions d ON d.request_id = f.request_id AND d.position = f.position WHERE f.seq > ? AND f.seq <= ? AND NOT EXISTS "
    "(SELECT 1 FROM feedback g WHERE g.request_id = f.request_id AND g.position = f.position AND g.seq < f.seq) ORDER BY f.seq"
)
Cell = tuple[int, int, int]
"""Row of the pool, position, bin of the predicted log-odds."""


@dataclass(frozen=True, order=True)
class Mark:
    """How far the log has been read.

    Attributes:
        decisions: last row of decisions.
        feedback: last row of feedback.
        time: microseconds since 1970 UTC; attention that ended by then has ended.
    """

    decisions: int = 0
    feedback: int = 0
    time: int = 0

    def __str__(self) -> str:
        return f"{self.decisions}-{self.feedback}-{self.time}"

    @classmethod
    def parse(cls, text: str) -> "Mark":
        """The mark that a policy version ends with.

        Args:
            text: as `str` gave it.

        Raises:
            ValueError: it is none.
        """
        decisions, feedback, time = (int(part) for part in text.split("-"))
        return cls(decisions, feedback, time)


class Counting:
    """Counts of one ranker's impressions of one pool; consent is needed.

    Args:
        row: creative_id → row of the pool; others are not counted.
        model_version: the ranker whose predictions the counts stand beside.
        attention_us: see the module.
    """

    def __init__(self, row: Mapping[str, int], model_version: str, attention_us: int) -> None:
        self._row, self._model, self._attention = row, model_version, attention_us
        self._shown: Counter[Cell] = Counter()
        self._clicked: Counter[Cell] = Counter()
        self._open: dict[tuple[str, int], Cell] = {}
        self._closing: list[tuple[int, str, int]] = []
        self.mark = Mark()

    def read(self, connection: Writer, now: int) -> bool:
        """Read on, to the end of the log.

        Args:
            connection: to the service's store.
            now: microseconds since 1970 UTC.

        Returns:
            Whether a count has changed.
        """
        feedback = _last(connection, "feedback")  # before the decisions: what it is about is among them then
        return self.read_to(connection, Mark(_last(connection, "decisions"), feedback, now))

    def read_to(self, connection: Writer, mark: Mark) -> bool:
        """Read on, to a mark that is not before the one reached.

        Args:
            connection: to the service's store.
            mark: where to stop.

        Returns:
            Whether a count has changed.
        """
        changed = False
        for _, request, position, timestamp, creative, p_click, model, consent in _pages(connection, self.mark.decisions, mark.decisions):
            cell = self._cell(creative, position, p_click, model, consent)
            if cell is not None:
                self._open[request, position] = cell
                heapq.heappush(self._closing, (timestamp + self._attention, request, position))
        for request, position, creative, p_click, model, consent in connection.execute(_CLICKED, (self.mark.feedback, mark.feedback)):
            cell = self._cell(creative, position, p_click, model, consent)
            if cell is not None:
                self._shown[cell] += self._open.pop((request, position), None) is not None
                self._clicked[cell] += 1
                changed = True
        while self._closing and self._closing[0][0] <= mark.time:
            _, request, position = heapq.heappop(self._closing)
            ended = self._open.pop((request, position), None)
            if ended is not None:
                self._shown[ended] += 1
                changed = True
        self.mark = mark
        return changed

    def counts(self) -> Counts:
        """What has been counted, in an order that does not tell when."""
        cells = sorted(self._shown)
        table = np.array(cells, dtype=np.int64).reshape(len(cells), 3)
        return Counts(
            creative=table[:, 0],
            position=table[:, 1],
            offset=np.asarray(table[:, 2] * BIN, dtype=np.float64),
            shown=np.array([self._shown[cell] for cell in cells], dtype=np.float64),
            clicked=np.array([self._clicked[cell] for cell in cells], dtype=np.float64),
        )

    def _cell(self, creative: str, position: int, p_click: float, model: str, consent: int) -> Cell | None:
        row = self._row.get(creative)
        if row is None or model != self._model or not consent:
            return None
        return row, position, round(float(log_odds(p_click)) / BIN)


def _last(connection: Writer, table: str) -> int:
    return int(connection.execute(f"SELECT COALESCE(MAX(seq), 0) FROM {table}").fetchone()[0])


def _pages(connection: Writer, after: int, last: int) -> Iterator[tuple[Any, ...]]:
    """Decisions in short reads, so that no long one keeps the write-ahead log from being moved into the file."""
    for start in range(after, last, _ROWS):
        yield from connection.execute(_SHOWN, (start, min(start + _ROWS, last))).fetchall()
