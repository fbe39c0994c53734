"""Opens what keeps the log and the online state: the embedded default, or the servers that the settings name."""

import logging
from dataclasses import dataclass
from typing import Protocol

from serving.calendar import Calendar
from serving.condition import Condition
from serving.database import Checkpoints, Database
from serving.decision_log import DecisionLog
from serving.postgres import PostgresDatabase
from serving.redis_state import RedisState
from serving.remembered import Remembered
from serving.reviews import Reviews
from serving.settings import Settings
from serving.spill import SpillingLog
from serving.state import OnlineState, State
from serving.store import ID_KEY, Store, meta

_log = logging.getLogger(__name__)


class _Works(Protocol):
    """Works in the background."""

    def start(self) -> None:
        """Begin."""

    def stop(self) -> None:
        """End."""


@dataclass(frozen=True)
class Storage:
    """Where everything is kept.

    Attributes:
        store: events, decisions, feedback, reviews.
        log: writes decisions, and finds them again.
        state: what requests are decided with.
        reviews: what people have blocked.
        condition: which server is away.
        worker: moves what waits to where it belongs.
    """

    store: Store
    log: DecisionLog
    state: State
    reviews: Reviews
    condition: Condition
    worker: _Works

    @classmethod
    def open(cls, settings: Settings) -> "Storage":
        """Open what the settings name.

        Args:
            settings: of the service.

        Raises:
            ServiceError: the file or a server cannot be opened, or would not make commits durable.
        """
        condition, store, calendar = Condition(), open_store(settings), Calendar(settings.params.time_zone)
        state = _state(settings, store, condition, calendar)
        _log.info("the log is kept by %s, online state by %s", store.name, "Redis" if settings.state_url else "the log")
        if isinstance(store, Database):
            return cls(store, DecisionLog(store, calendar), state, Reviews(store), condition, Checkpoints(store.path))
        condition.watch("log", lambda: store.problem)
        spill = settings.spill.with_stem(f"{settings.spill.stem}-{str(meta(store, ID_KEY))[:12]}")  # each log has its own
        reviews = Reviews(store)
        log = SpillingLog(store, spill, condition, calendar=calendar, moved=state.renew, keep_up=reviews.blocked)
        return cls(store, log, state, reviews, condition, log)

    def start(self) -> None:
        """Begin what works in the background."""
        self.worker.start()

    def close(self) -> None:
        """End; later calls fail."""
        self.worker.stop()
        self.state.close()
        self.store.close()


def open_store(settings: Settings) -> Database | PostgresDatabase:
    """What keeps the log.

    Args:
        settings: of the service.

    Raises:
        ServiceError: it cannot be opened, or would not make commits durable.
    """
    return Database(settings.database) if settings.log_url is None else PostgresDatabase(settings.log_url)


def _state(settings: Settings, store: Store, condition: Condition, calendar: Calendar) -> State:
    known = OnlineState(store, max_events=settings.params.max_events, calendar=calendar)
    if settings.state_url is None:
        return known if settings.log_url is None else Remembered(known, calendar)
    shared = RedisState(settings.state_url, known, log_id=str(meta(store, ID_KEY)), max_events=settings.params.max_events)
    condition.watch("state", lambda: shared.problem)
    return Remembered(shared, calendar)
