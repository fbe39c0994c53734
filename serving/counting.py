"""Impressions and clicks as the decision log tells them: each counted once, and the same again when read anew.

An impression counts as shown as soon as its decision is in the log, and as clicked when its first click or conversion comes. To wait for
the end of a shopper's attention before an impression counts would be wrong while clicks count at once: of fresh impressions only the
clicked ones would be known. What has been counted is a function of the log and a `Mark` alone, so a restart, or a replay, finds the same
numbers.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from models.correction import BIN, log_odds
from models.policies.nested import Counts
from serving.store import Writer

_ROWS = 20_000
_SHOWN = "SELECT creative_id, position, p_click, model_version, consent FROM decisions WHERE seq > ? AND seq <= ?"
_CLICKED = (
    "SELECT d.creative_id, d.position, d.p_click, d.model_version, d.consent FROM feedback f "
    "JOIN decisions d ON d.request_id = f.request_id AND d.position = f.position WHERE f.seq > ? AND f.seq <= ? AND NOT EXISTS "
    "(SELECT 1 FROM feedback g WHERE g.request_id = f.request_id AND g.position = f.position AND g.seq < f.seq)"
)
Cell = tuple[int, int, int]
"""Row of the pool, position, bin of the predicted log-odds."""


@dataclass(frozen=True, order=True)
class Mark:
    """How far the log has been read.

    Attributes:
        decisions: last row of decisions.
        feedback: last row of feedback.
    """

    decisions: int = 0
    feedback: int = 0

    def __str__(self) -> str:
        return f"{self.decisions}-{self.feedback}"

    @classmethod
    def parse(cls, text: str) -> "Mark":
        """The mark that a policy version ends with.

        Args:
            text: as `str` gave it.

        Raises:
            ValueError: it is none.
        """
        parts = text.split("-")
        if len(parts) != 2 or not all(part.isdigit() for part in parts):
            raise ValueError(f"{text!r} is no mark DECISIONS-FEEDBACK; marks of three numbers were counted by another rule")
        return cls(int(parts[0]), int(parts[1]))


class Counting:
    """Counts of one ranker's impressions of one pool; consent is needed.

    Args:
        row: creative_id → row of the pool; others are not counted.
        model_version: the ranker whose predictions the counts stand beside.
    """

    def __init__(self, row: Mapping[str, int], model_version: str) -> None:
        self._row, self._model = row, model_version
        self._shown: Counter[Cell] = Counter()
        self._clicked: Counter[Cell] = Counter()
        self.mark = Mark()

    def read(self, connection: Writer) -> bool:
        """Read on, to the end of the log.

        Args:
            connection: to the service's store.

        Returns:
            Whether a count has changed.
        """
        feedback = _last(connection, "feedback")  # before the decisions: what it is about is among them then
        return self.read_to(connection, Mark(_last(connection, "decisions"), feedback))

    def read_to(self, connection: Writer, mark: Mark) -> bool:
        """Read on, to a mark that is not before the one reached.

        Args:
            connection: to the service's store.
            mark: where to stop.

        Returns:
            Whether a count has changed.
        """
        shown = Counter(self._cells(_pages(connection, self.mark.decisions, mark.decisions)))
        clicked = Counter(self._cells(connection.execute(_CLICKED, (self.mark.feedback, mark.feedback)).fetchall()))
        self._shown.update(shown)  # only now: a read that failed half-way will be done again
        self._clicked.update(clicked)
        self.mark = mark
        return bool(shown or clicked)

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

    def _cells(self, rows: Iterable[tuple[Any, ...]]) -> Iterator[Cell]:
        for creative, position, p_click, model, consent in rows:
            row = self._row.get(creative)
            if row is not None and model == self._model and consent:
                yield row, position, round(float(log_odds(p_click)) / BIN)


def _last(connection: Writer, table: str) -> int:
    return int(connection.execute(f"SELECT COALESCE(MAX(seq), 0) FROM {table}").fetchone()[0])


def _pages(connection: Writer, after: int, last: int) -> Iterator[tuple[Any, ...]]:
    """Decisions in short reads, so that no long one keeps the write-ahead log from being moved into the file."""
    for start in range(after, last, _ROWS):
        yield from connection.execute(_SHOWN, (start, min(start + _ROWS, last))).fetchall()
