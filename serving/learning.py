"""Learning while serving: the posterior follows the decision log, from a thread of its own and at most once a second."""

import hashlib
import logging
import sqlite3
import threading
import time
from collections.abc import Callable

import numpy as np
import orjson

from models.correction import Beliefs, Correction
from models.pool import Pool
from serving.background import Background
from serving.counting import Counting, Mark
from serving.state import Posterior, State
from serving.store import Store, UnavailableError

_log = logging.getLogger(__name__)

EVERY_SECONDS = 0.8
"""Between two refits at the least; a click is believed within a second of its acknowledgement as long as a refit takes 0.2 s."""
SHARE = 0.25
"""Of a processor that refits may take: after a long one the next waits for longer."""
FOLLOW_SECONDS = 0.15
"""Between two looks for a posterior that another worker has computed."""
PREFIX = "linear-thompson"


class Learning:
    """What is believed of one pool under one ranker, and how it came to be.

    Args:
        pool: what may be shown.
        model_version: of the ranker.
        database: the service's log.
        state: shares the posterior among workers: one of them refits for all.
        positions: of the deepest slate.
        exploration: the policy's floor, for its version; another policy with another floor believes the same.
    """

    def __init__(
        self,
        pool: Pool,
        model_version: str,
        database: Store,
        state: State,
        *,
        positions: int,
        exploration: float,
    ) -> None:
        self._correction = Correction(pool, positions=positions)
        self._state, self.leads = state, True
        self._model, self._database = model_version, database
        self._prefix = f"{PREFIX}-{exploration:g}"
        shown = hashlib.sha256("\n".join(map(str, pool.creative_id)).encode()).hexdigest()
        self._name = f"{self._prefix}:{model_version}:{shown[:12]}:{positions}"
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
        """Read the log to its end, and believe anew when a count has changed; or take what the worker that leads has come to believe.

        Returns:
            Whether there is another posterior now.

        Raises:
            Error: of SQLite: the log cannot be read; what was believed stays.
            UnavailableError: so does it when the log's server is away.
        """
        with self._turn:
            self.leads = self._state.leads(self._name)
            if not self.leads and self._believed is not None:
                return self._follow(self._believed)
            with self._database.aside() as connection:
                changed = self._counting.read(connection)
            if changed or self._believed is None:
                self._believed = self._believe(self._counting)
                if self.leads:
                    self._state.publish(self._name, posterior_of(self._believed))
        return changed

    def _follow(self, mine: Beliefs) -> bool:
        found = self._state.published(self._name, mine.version)
        theirs = None if found is None else beliefs_of(found)
        if theirs is None or _mark_of(theirs) <= _mark_of(mine):
            return False
        self._believed = theirs
        return True

    def replay(self, policy_version: str) -> Beliefs:
        """What was believed when a decision was made, from the log alone.

        Args:
            policy_version: of the decision.

        Raises:
            ValueError: another policy's version, or one that counted by another rule.
        """
        prefix, _, mark = policy_version.partition("/")
        if not prefix.startswith(f"{PREFIX}-"):
            raise ValueError(f"policy_version {policy_version!r} is none of {PREFIX}; other policies believe nothing")
        counting = self._fresh()
        with self._database.aside() as connection:
            counting.read_to(connection, Mark.parse(mark))
        return self._correction.believe(counting.counts(), policy_version)

    def _fresh(self) -> Counting:
        return Counting(self._correction.row, self._model)

    def _believe(self, counting: Counting) -> Beliefs:
        return self._correction.believe(counting.counts(), f"{self._prefix}/{counting.mark}")


def posterior_of(beliefs: Beliefs) -> dict[str, bytes]:
    """A posterior as the fields that workers share.

    Args:
        beliefs: what is believed.
    """
    facts = {"widths": beliefs.widths, "impressions": beliefs.impressions, "clicks": beliefs.clicks}
    arrays = {"mean": beliefs.mean.astype("<f8").tobytes(), "bank": beliefs.bank.astype("<f4").tobytes()}
    return {"version": beliefs.version.encode(), "facts": orjson.dumps(facts), **arrays}


def beliefs_of(posterior: Posterior) -> Beliefs:
    """The posterior that was shared.

    Args:
        posterior: see `posterior_of`.
    """
    facts, mean = orjson.loads(posterior["facts"]), np.frombuffer(posterior["mean"], "<f8")
    bank = np.frombuffer(posterior["bank"], "<f4").reshape(-1, len(mean))
    first, second, third = facts["widths"]
    return Beliefs(posterior["version"].decode(), mean, bank, (first, second, third), facts["impressions"], facts["clicks"])


def _mark_of(beliefs: Beliefs) -> Mark:
    return Mark.parse(beliefs.version.partition("/")[2])


class Learner(Background):
    """Keeps whatever serves up to date."""

    def __init__(self, current: Callable[[], Learning | None]) -> None:
        """Begin nothing yet; see `start`.

        Args:
            current: what serves now, None when nothing learns.
        """
        super().__init__("learning", self._work)
        self._current = current

    def _work(self, ended: threading.Event) -> None:
        wait = EVERY_SECONDS
        while not ended.wait(wait):
            learning, took = self._current(), 0.0
            try:
                if learning is not None:
                    since = time.thread_time()
                    learning.catch_up()
                    took = time.thread_time() - since
            except (sqlite3.Error, UnavailableError) as error:  # a disk that is full must not end it: answers go on with what is believed
                _log.warning("nothing learnt: %s", error)
            except Exception:
                _log.exception("nothing learnt")
            leads = learning is None or learning.leads
            wait = max(EVERY_SECONDS, took / SHARE) if leads else FOLLOW_SECONDS
