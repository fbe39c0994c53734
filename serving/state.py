"""What is known of a shopper at this moment: behaviour and answers to earlier ads, from the clean tables and since."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from models.features import Responses
from models.history import History
from serving.calendar import Calendar
from serving.decision_log import Answer, DecisionLog, Record
from serving.store import Store, Writer

_HISTORY = """
SELECT item_id, event_type, query, timestamp, event_id FROM (
    SELECT item_id, event_type, query, timestamp, event_id FROM past_events WHERE user_id = :user AND timestamp < :now
    UNION ALL
    SELECT item_id, event_type, query, timestamp, event_id FROM events
    WHERE user_id = :user AND timestamp < :now AND event_id NOT IN (SELECT event_id FROM past_events WHERE user_id = :user)
) AS done ORDER BY timestamp DESC, event_id DESC LIMIT :most
"""
_SEEN = """
    SELECT item_id, creative_id, channel, click, timestamp, request_id, position FROM past_impressions
    WHERE user_id = :user AND timestamp < :now
    UNION ALL
    SELECT item_id, creative_id, channel,
        CASE WHEN EXISTS (SELECT 1 FROM feedback f WHERE f.request_id = d.request_id AND f.position = d.position) THEN 1 ELSE 0 END,
        timestamp, request_id, position
    FROM decisions d
    WHERE user_id = :user AND timestamp < :now
        AND NOT EXISTS (
            SELECT 1 FROM past_impressions p WHERE p.user_id = :user AND p.request_id = d.request_id AND p.position = d.position
        )
"""
_LATEST = "ORDER BY timestamp DESC, request_id DESC, position DESC LIMIT :most"
_ADS = f"{_SEEN} {_LATEST}"
_RESPONSES = (
    f"SELECT item_id, text, channel, click, timestamp, request_id, position FROM ({_SEEN}) AS seen JOIN texts USING (creative_id) {_LATEST}"
)
_MOST_TEXTS = 100_000
"""Texts of creatives that are held in memory; beyond it the memory starts again from nothing."""


@dataclass(frozen=True)
class Event:
    """One thing a shopper did, checked and pseudonymised.

    Attributes:
        event_id: the sender's.
        user_id: a pseudonym.
        event_type: one of `core.vocabulary.EVENT_TYPES`.
        item_id: None for a search.
        query: None unless a search.
        basket_id: of a purchase, None when not given.
        value_micros: of a purchase, 0 otherwise.
        channel: one of `core.vocabulary.CHANNELS`.
        timestamp: microseconds since 1970 UTC.
        digest: of what was sent; tells a repetition from another event under the same id.
    """

    event_id: str
    user_id: str
    event_type: str
    item_id: str | None
    query: str | None
    basket_id: str | None
    value_micros: int
    channel: str
    timestamp: int
    digest: str

    @property
    def kind(self) -> str:
        """What it counts as."""
        return self.event_type


@dataclass(frozen=True)
class Past:
    """What is known of a shopper.

    Attributes:
        history: what they did.
        responses: the ads that they saw.
        whole: False when the log is away and something may be missing.
    """

    history: History
    responses: Responses
    whole: bool = True


Posterior = Mapping[str, bytes]
"""A posterior as its fields, each in bytes."""


class State(Protocol):
    """What requests are decided with: shoppers' pasts, campaigns' spend, the policy's posterior.

    All of it follows from the log. It is told what has been stored, after that is on disk; whatever it forgets it reads from there again.
    """

    def pasts(self, users: Sequence[str], now: int) -> Sequence[Past | None]:
        """What is known of shoppers strictly before a moment; None where that cannot be said while a server is away.

        Args:
            users: pseudonyms.
            now: microseconds since 1970 UTC.

        Raises:
            UnavailableError: nothing can be said.
        """

    def spent(self, now: int) -> dict[str, int]:
        """What each campaign has paid for clicks today.

        Args:
            now: microseconds since 1970 UTC; the shop's day of it counts.

        Raises:
            UnavailableError: the log is away.
        """

    def decided(self, records: Sequence[Record]) -> None:
        """Slates have been stored.

        Args:
            records: at least one.
        """

    def happened(self, events: Sequence["Event"], answers: Sequence[Answer]) -> None:
        """Events and feedback have been stored.

        Args:
            events: behaviour.
            answers: clicks and conversions.
        """

    def leads(self, name: str) -> bool:
        """Whether this process is the one that computes a posterior for all.

        Args:
            name: of the posterior.
        """

    def publish(self, name: str, posterior: Posterior) -> None:
        """Give a posterior to the other processes.

        Args:
            name: what it is of.
            posterior: its fields.
        """

    def published(self, name: str, version: str) -> Posterior | None:
        """The posterior that another process gave; None when there is none, or it has this version.

        Args:
            name: what it is of.
            version: the field ``version`` of the one that is known already.
        """

    def renew(self) -> None:
        """Forget everything: the log has come to hold what was not told."""

    @property
    def problem(self) -> str:
        """Why a server of the state is away; "" when all is well."""

    def close(self) -> None:
        """End."""


class OnlineState:
    """Reads from the log itself; what was written a moment ago is in the next answer, in every process on this log."""

    problem = ""

    def __init__(self, database: Store, *, max_events: int, calendar: Calendar | None = None) -> None:
        """Read from a store.

        Args:
            database: the service's.
            max_events: latest events, and latest ads, that are read of a shopper.
            calendar: whose days budgets are for; UTC's when None.
        """
        self._database = database
        self._max_events = max_events
        self._log = DecisionLog(database, calendar)
        self.calendar = self._log.calendar
        self._texts: dict[str, str] = {}  # of creatives, which never change but with the clean tables: see `renew`

    def pasts(self, users: Sequence[str], now: int) -> list[Past]:
        """See `State.pasts`."""
        return [Past(self.history(user, now), self.responses(user, now)) for user in users]

    def spent(self, now: int) -> dict[str, int]:
        """See `State.spent`."""
        return self._log.spent_today(now)

    def decided(self, records: Sequence[Record]) -> None:
        """The log has it already."""

    def happened(self, events: Sequence["Event"], answers: Sequence[Answer]) -> None:
        """The log has it already."""

    def leads(self, name: str) -> bool:
        """Every process computes for itself."""
        return True

    def publish(self, name: str, posterior: Posterior) -> None:
        """Nobody asks."""

    def published(self, name: str, version: str) -> None:
        """Nobody gives."""
        return

    def renew(self) -> None:
        """Texts may have been read anew; nothing else is remembered."""
        self._texts = {}

    def close(self) -> None:
        """The store is closed by whoever opened it."""

    def history(self, user_id: str, now: int) -> History:
        """What a shopper did strictly before a moment, in the order that models are trained on: by time, then event id.

        Args:
            user_id: a pseudonym; an unknown one has an empty history.
            now: microseconds since 1970 UTC.
        """
        return history_of(self.event_rows(user_id, now))

    def responses(self, user_id: str, now: int) -> Responses:
        """The ads that a shopper saw strictly before a moment and which were clicked; ads whose text is unknown are left out.

        Args:
            user_id: a pseudonym.
            now: microseconds since 1970 UTC.
        """
        return responses_of(self.ad_rows(user_id, now))

    def event_rows(self, user_id: str, now: int) -> list[tuple[Any, ...]]:
        """Item, type, query, time and id of the latest events, oldest first.

        Args:
            user_id: a pseudonym.
            now: microseconds since 1970 UTC.
        """
        return self._database.read(_HISTORY, {"user": user_id, "now": now, "most": self._max_events})[::-1]

    def ad_rows(self, user_id: str, now: int) -> list[tuple[Any, ...]]:
        """Item, text, channel, click, time, request and position of the latest ads, oldest first.

        Args:
            user_id: a pseudonym.
            now: microseconds since 1970 UTC.
        """
        asked = {"user": user_id, "now": now, "most": self._max_events}
        rows = self._database.read(_ADS, asked)
        rows.reverse()
        texts = self._texts_of({row[1] for row in rows})
        if texts is None:
            return self._database.read(_RESPONSES, asked)[::-1]  # ads of unknown text give way to earlier ones
        return [
            (item, texts[creative], channel, click, time, request, place) for item, creative, channel, click, time, request, place in rows
        ]

    def _texts_of(self, creatives: set[str]) -> dict[str, str] | None:
        """Texts, those of these creatives among them; None when there is none of one."""
        texts = self._texts
        missing = [name for name in creatives if name not in texts]
        if missing:
            marks = ", ".join("?" * len(missing))
            read = self._database.read(f"SELECT creative_id, text FROM texts WHERE creative_id IN ({marks})", tuple(sorted(missing)))
            if len(read) < len(missing):
                return None
            if len(texts) > _MOST_TEXTS:
                self._texts = {}
            texts.update(read)
        return texts


def history_of(rows: Sequence[Sequence[Any]]) -> History:
    """A history.

    Args:
        rows: item, type, query and time of each event, oldest first.
    """
    if not rows:
        return History.empty()
    items, kinds, queries, times, *_ = zip(*rows, strict=True)
    return History(tuple([item or "" for item in items]), kinds, tuple([query or "" for query in queries]), np.array(times, dtype=np.int64))


def responses_of(rows: Sequence[Sequence[Any]]) -> Responses:
    """Answers to ads.

    Args:
        rows: item, text, channel, click and time of each ad, oldest first.
    """
    if not rows:
        return Responses.empty()
    items, texts, channels, clicks, times, *_ = zip(*rows, strict=True)
    return Responses(items, texts, channels, np.array(clicks, dtype=np.float32), np.array(times, dtype=np.int64))


def insert_events(connection: Writer, events: Sequence[Event]) -> None:
    """Write events inside a transaction.

    Args:
        connection: see `Store.transaction`.
        events: none of them stored yet.
    """
    connection.executemany(
        "INSERT INTO events (event_id, user_id, event_type, item_id, query, basket_id, value_micros, channel, timestamp, digest) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        [tuple(vars(event).values()) for event in events],
    )
