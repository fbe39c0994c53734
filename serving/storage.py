"""Opens what keeps the log and the online state: the embedded default, or the servers that the settings name."""

import logging
from dataclasses import dataclass, field
from typing import Protocol

from serving.condition import Condition
from serving.database import Checkpoints, Database
from serving.decision_log import DecisionLog
from serving.postgres import PostgresDatabase
from serving.redis_state import RedisState
from serving.remembered import Remembered
from serving.settings import Settings
from serving.spill import SpillingLog
from serving.state import OnlineState, State
from serving.store import ID_KEY, Store, meta

_log = logging.getLogger(__name__)


class _Works(Protocol):
    def start(self) -> None: ...

    def stop(self) -> None: ...


@dataclass(frozen=True)
class Storage:
    """Where everything is kept.

    Attributes:
        store: events, decisions, feedback.
        log: writes decisions, and finds them again.
        state: what requests are decided with.
        condition: which server is away.
    """

    store: Store
    log: DecisionLog
    state: State
    condition: Condition
    _workers: tuple[_Works, ...] = field(default=())

    @classmethod
    def open(cls, settings: Settings) -> "Storage":
        """Open what the settings name.

        Args:
            settings: of the service.

        Raises:
            ServiceError: the file or a server cannot be opened, or would not make commits durable.
        """
        condition, most = Condition(), settings.params.max_events
        if settings.log_url is None:
            file = Database(settings.database)
            store: Store = file
            log, workers = DecisionLog(file), [Checkpoints(settings.database)]
            state = _state(settings, store, condition, most)
            return cls(store, log, state, condition, tuple(workers))
        server = PostgresDatabase(settings.log_url)
        condition.watch("log", lambda: server.problem)
        state = _state(settings, server, condition, most)
        name = settings.spill.with_stem(f"{settings.spill.stem}-{str(meta(server, ID_KEY))[:12]}")  # each log has its own
        spilling = SpillingLog(server, name, condition, moved=state.renew)
        _log.info("the log is kept by %s", server.name)
        return cls(server, spilling, state, condition, (spilling,))

    def start(self) -> None:
        """Begin what works in the background."""
        for worker in self._workers:
            worker.start()

    def close(self) -> None:
        """End; later calls fail."""
        for worker in self._workers:
            worker.stop()
        self.state.close()
        self.store.close()


def _state(settings: Settings, store: Store, condition: Condition, most: int) -> State:
    known = OnlineState(store, max_events=most)
    if settings.state_url is None:
        return known if settings.log_url is None else Remembered(known)
    shared = RedisState(settings.state_url, known, log_id=str(meta(store, ID_KEY)), max_events=most)
    condition.watch("state", lambda: shared.problem)
    _log.info("online state is shared through Redis")
    return Remembered(shared)
