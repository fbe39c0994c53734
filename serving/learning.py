"""Learning while serving: the posterior follows the decision log, from a thread of its own and at most once a second."""

import logging
import sqlite3
import threading
import time
from collections.abc import Callable

from models.correction import Beliefs, Correction
from models.pool import Pool
from serving.counting import Counting, Mark
from serving.database import Database

_log = logging.getLogger(__name__)

EVERY_SECONDS = 0.8
"""Between two refits at the least; a click is believed within a second of its acknowledgement as long as a refit takes 0.2 s."""
SHARE = 0.25
"""Of a processor that refits may take: after a long one the next waits for longer."""
PREFIX = "linear-thompson"


class Learning:
    """What is believed of one pool under one ranker, and how it came to be.

    Args:
        pool: what may be shown.
        model_version: of the ranker.
        database: the service's.
        now: the shoppers' time, microseconds since 1970 UTC.
        positions: of the deepest slate.
        attention_us: see `serving.counting`.
        exploration: the policy's floor, for its version.
    """

    def __init__(
        self,
        pool: Pool,
        model_version: str,
        database: Database,
        *,
        now: Callable[[], int],
        positions: int,
        attention_us: int,
        exploration: float,
    ) -> None:
        self._correction = Correction(pool, positions=positions)
        self._model, self._database, self._now, self._attention = model_version, database, now, attention_us
        self._prefix = f"{PREFIX}-{exploration:g}"
        self._counting = self._fresh()
        self._believed: Beliefs | None = None
        self._turn = threading.Lock()
        self.catch_up()

    @property
    def current(self) -> Beliefs:
        """What requests are decided with; a group asks once."""
        assert self._believed is not None  # the constructor caught up
        return self._believed

    def catch_up(self) -> bool:
        """Read the log to its end, and believe anew when a count has changed.

        Returns:
            Whether there is another posterior now.

        Raises:
            Error: of SQLite: the log cannot be read; what was believed stays.
        """
        with self._turn, self._database.aside() as connection:
            changed = self._counting.read(connection, self._now())
            if changed or self._believed is None:
                self._believed = self._believe(self._counting)
        return changed

    def replay(self, policy_version: str) -> Beliefs:
        """What was believed when a decision was made, from the log alone.

        Args:
            policy_version: of the decision.

        Raises:
            ValueError: another policy's version.
        """
        prefix, _, mark = policy_version.partition("/")
        if prefix != self._prefix:
            raise ValueError(f"policy_version {policy_version!r} is none of {self._prefix}; replay with the parameters of that decision")
        counting = self._fresh()
        with self._database.aside() as connection:
            counting.read_to(connection, Mark.parse(mark))
        return self._believe(counting)

    def _fresh(self) -> Counting:
        return Counting(self._correction.row, self._model, self._attention)

    def _believe(self, counting: Counting) -> Beliefs:
        return self._correction.believe(counting.counts(), f"{self._prefix}/{counting.mark}")


class Learner:
    """Keeps whatever serves up to date."""

    def __init__(self, current: Callable[[], Learning | None]) -> None:
        """Begin nothing yet; see `start`.

        Args:
            current: what serves now, None when nothing learns.
        """
        self._current = current
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, name="learning", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End; the log holds all that was learnt."""
        self._stop.set()
        self._thread.join(timeout=30)

    def _work(self) -> None:
        wait = EVERY_SECONDS
        while not self._stop.wait(wait):
            learning, took = self._current(), 0.0
            try:
                if learning is not None:
                    since = time.thread_time()
                    learning.catch_up()
                    took = time.thread_time() - since
            except sqlite3.Error as error:  # a disk that is full must not end it: answers go on with what is believed
                _log.warning("nothing learnt: %s", error)
            except Exception:
                _log.exception("nothing learnt")
            wait = max(EVERY_SECONDS, took / SHARE)
