"""What a worker remembers by itself, for as long as a server is away."""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import replace
from threading import Lock

import numpy as np

from models.features import Responses
from models.history import History
from serving.calendar import Calendar
from serving.decision_log import Answer, Record
from serving.state import Event, Past, Posterior, State
from serving.store import UnavailableError

SHOPPERS = 20_000
"""Shoppers remembered at the most: those who came last."""
_NOBODY = Past(History.empty(), Responses.empty(), whole=False)


class Remembered:
    """Another state, and what it said last of each shopper and of today's spend; see `serving.state.State`."""

    def __init__(self, state: State, calendar: Calendar | None = None) -> None:
        """Args: the state that is asked as long as it answers, and whose days budgets are for."""
        self._state, self._calendar = state, calendar or Calendar()
        self._pasts: OrderedDict[str, Past] = OrderedDict()
        self._spent: tuple[int, dict[str, int]] = (0, {})
        self._lock = Lock()

    def pasts(self, users: Sequence[str], now: int) -> list[Past]:
        """See `State.pasts`; who is not known is taken for somebody who did nothing, and the past is told not to be whole."""
        try:
            found = self._state.pasts(users, now)
        except UnavailableError:
            found = [None] * len(users)
        with self._lock:
            told = [self._remembered(user) if past is None else past for user, past in zip(users, found, strict=True)]
            for user, past in zip(users, told, strict=True):
                if past is not _NOBODY:
                    self._pasts[user] = past
                    self._pasts.move_to_end(user)
            while len(self._pasts) > SHOPPERS:
                self._pasts.popitem(last=False)
        return told

    def spent(self, now: int) -> dict[str, int]:
        """See `State.spent`; nothing is spent while the log is away, because no click is taken in."""
        day = self._calendar.day(now)
        try:
            self._spent = (day, self._state.spent(now))
        except UnavailableError:
            return dict(self._spent[1]) if self._spent[0] == day else {}
        return dict(self._spent[1])

    def decided(self, records: Sequence[Record]) -> None:
        """See `State.decided`; what is remembered of the shopper grows by the slate."""
        self._state.decided(records)
        with self._lock:
            for record in records:
                held = self._pasts.get(record.context.user_id)
                if held is not None:
                    self._pasts[record.context.user_id] = replace(held, responses=_longer(held.responses, record))

    def happened(self, events: Sequence[Event], answers: Sequence[Answer]) -> None:
        """See `State.happened`; what is remembered of their shoppers grows by the events."""
        self._state.happened(events, answers)
        with self._lock:
            for event in events:
                held = self._pasts.get(event.user_id)
                if held is not None:
                    done = [(event.event_type, event.item_id or event.query or "")]
                    self._pasts[event.user_id] = replace(held, history=held.history.extended(done, [event.timestamp]))

    def leads(self, name: str) -> bool:
        """See `State.leads`."""
        return self._state.leads(name)

    def publish(self, name: str, posterior: Posterior) -> None:
        """See `State.publish`."""
        self._state.publish(name, posterior)

    def published(self, name: str, version: str) -> Posterior | None:
        """See `State.published`."""
        return self._state.published(name, version)

    def renew(self) -> None:
        """See `State.renew`."""
        self._state.renew()

    @property
    def problem(self) -> str:
        """See `State.problem`."""
        return self._state.problem

    def close(self) -> None:
        """See `State.close`."""
        self._state.close()

    def _remembered(self, user: str) -> Past:
        held = self._pasts.get(user)
        return _NOBODY if held is None else replace(held, whole=False)


def _longer(seen: Responses, record: Record) -> Responses:
    choices, times = record.decision.choices, np.full(len(record.decision.choices), record.context.timestamp, dtype=np.int64)
    return Responses(
        (*seen.item_ids, *(choice.item_id for choice in choices)),
        (*seen.texts, *(record.texts[choice.creative_id] for choice in choices)),
        (*seen.channels, *(record.context.channel for _ in choices)),
        np.concatenate([seen.clicks, np.zeros(len(choices), np.float32)]),
        np.concatenate([seen.timestamps, times]),
    )
