"""Slates that the log's server could not take: durable on this machine at once, and in the log as soon as it is back, each once."""

import logging
import sqlite3
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from serving.background import Background
from serving.calendar import Calendar
from serving.condition import Condition
from serving.database import Database
from serving.decision_log import DECISION_COLUMNS, TEXT_INSERT, DecisionLog, Record, insert_decisions
from serving.store import Store, UnavailableError

_log = logging.getLogger(__name__)

_EVERY_S = 0.3
_ROWS = 2_000
_COLUMNS = ", ".join(DECISION_COLUMNS)
_TAKE = f"SELECT seq, {_COLUMNS} FROM decisions ORDER BY seq LIMIT {_ROWS}"
_PUT = f"INSERT INTO decisions ({_COLUMNS}) VALUES ({', '.join('?' * len(DECISION_COLUMNS))}) ON CONFLICT (request_id, position) DO NOTHING"


class SpillingLog(DecisionLog):
    """A decision log whose server may be away.

    What could not be stored there is stored in a SQLite file of this machine, by one synced commit as ever; a thread moves it into the log.
    A slate may be in both places for a moment (its commit came through though nobody heard of it, or the process was killed between the
    log's commit and the removal here): it is told by request_id and position, so the log has it once.
    """

    def __init__(
        self,
        database: Store,
        path: Path,
        condition: Condition,
        *,
        calendar: Calendar | None = None,
        moved: Callable[[], None] = lambda: None,
        keep_up: Callable[[], object] = lambda: None,
    ) -> None:
        """Begin nothing yet; see `start`.

        Args:
            database: the log's server.
            path: the SQLite file; all workers of a machine share it.
            condition: is told what was spilled and drained.
            calendar: see `DecisionLog`.
            moved: called when slates have come into the log that caches may not know of.
            keep_up: called several times a second: reads what must be known should the log go away.

        Raises:
            ServiceError: the file cannot be opened.
        """
        super().__init__(database, calendar)
        self._condition, self._moved, self._keep_up = condition, moved, keep_up
        self._spill = Database(path)
        self._mover = Background("spill", self._work)

    def write(self, records: Sequence[Record], *, reviewed: int = 0) -> None:
        """Store slates in the log, or here when it is away; when this returns they are on disk.

        Here nobody can look whether something was reviewed since: the slates carry which line of the trail they were decided under.

        Args:
            records: at least one.
            reviewed: see `DecisionLog.write`.

        Raises:
            StaleReviewsError: see `DecisionLog.write`.
            Error: of SQLite: neither could be done.
        """
        try:
            super().write(records, reviewed=reviewed)
        except UnavailableError:
            with self._spill.transaction() as writer:
                insert_decisions(writer, records)
            self._condition.count_spilled(len(records))

    def waits(self, request_id: str) -> bool:
        """Whether a slate is on its way into the log.

        Args:
            request_id: of an answer.
        """
        return bool(self._spill.read("SELECT 1 FROM decisions WHERE request_id = ? LIMIT 1", (request_id,)))

    def start(self) -> None:
        """Begin to move slates into the log."""
        self._mover.start()

    def stop(self) -> None:
        """End; what waits stays on disk for the next start."""
        self._mover.stop()
        self._spill.close()

    def drain(self) -> int:
        """Move what waits into the log; returns how many slates.

        Raises:
            UnavailableError: the log is away; what was not moved waits.
        """
        slates: set[str] = set()
        while rows := self._spill.read(_TAKE):
            place = 1 + DECISION_COLUMNS.index("creative_id")
            names = sorted({str(row[place]) for row in rows})
            texts = self._spill.read(f"SELECT creative_id, text FROM texts WHERE creative_id IN ({', '.join('?' * len(names))})", names)
            with self._database.transaction() as writer:
                writer.executemany(_PUT, [row[1:] for row in rows])
                writer.executemany(TEXT_INSERT, sorted(texts))
            with self._spill.transaction() as writer:
                writer.executemany("DELETE FROM decisions WHERE seq = ?", [(row[0],) for row in rows])
            slates |= {str(row[1]) for row in rows}
        return len(slates)

    def _work(self, ended: threading.Event) -> None:
        while not ended.wait(_EVERY_S):
            try:
                self._keep_up()
                moved = self.drain()
            except UnavailableError:
                continue
            except sqlite3.Error as error:
                _log.warning("slates wait on this machine: %s", error)
                continue
            if moved:
                self._condition.count_drained(moved)
                self._moved()
                _log.info("%d slates that were decided while the log was away are in it now", moved)
