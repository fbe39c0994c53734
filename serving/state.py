"""What is known of a shopper at this moment: behaviour and answers to earlier ads, from the clean tables and since."""

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from models.features import Responses
from models.history import History
from serving.database import Database

_HISTORY = """
SELECT item_id, event_type, query, timestamp, event_id FROM (
    SELECT item_id, event_type, query, timestamp, event_id FROM past_events WHERE user_id = :user AND timestamp < :now
    UNION ALL
    SELECT item_id, event_type, query, timestamp, event_id FROM events
    WHERE user_id = :user AND timestamp < :now AND event_id NOT IN (SELECT event_id FROM past_events WHERE user_id = :user)
) ORDER BY timestamp DESC, event_id DESC LIMIT :most
"""
_RESPONSES = """
SELECT item_id, text, channel, click, timestamp FROM (
    SELECT item_id, creative_id, channel, click, timestamp, request_id, position FROM past_impressions
    WHERE user_id = :user AND timestamp < :now
    UNION ALL
    SELECT item_id, creative_id, channel,
        EXISTS (SELECT 1 FROM feedback f WHERE f.request_id = d.request_id AND f.position = d.position), timestamp, request_id, position
    FROM decisions d
    WHERE user_id = :user AND timestamp < :now
        AND NOT EXISTS (
            SELECT 1 FROM past_impressions p WHERE p.user_id = :user AND p.request_id = d.request_id AND p.position = d.position
        )
) JOIN texts USING (creative_id) ORDER BY timestamp DESC, request_id DESC, position DESC LIMIT :most
"""


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


class OnlineState:
    """Reads shoppers' pasts; what was written a moment ago is in the next answer, in every process on this database."""

    def __init__(self, database: Database, *, max_events: int) -> None:
        """Read from a database.

        Args:
            database: the service's.
            max_events: latest events, and latest ads, that are read of a shopper.
        """
        self._database = database
        self._max_events = max_events

    def history(self, user_id: str, now: int) -> History:
        """What a shopper did strictly before a moment, in the order that models are trained on: by time, then event id.

        Args:
            user_id: a pseudonym; an unknown one has an empty history.
            now: microseconds since 1970 UTC.
        """
        rows = self._database.read(_HISTORY, {"user": user_id, "now": now, "most": self._max_events})
        rows.reverse()
        times = np.fromiter((row[3] for row in rows), np.int64, len(rows))
        return History(tuple(row[0] or "" for row in rows), tuple(row[1] for row in rows), tuple(row[2] or "" for row in rows), times)

    def responses(self, user_id: str, now: int) -> Responses:
        """The ads that a shopper saw strictly before a moment and which were clicked; ads whose text is unknown are left out.

        Args:
            user_id: a pseudonym.
            now: microseconds since 1970 UTC.
        """
        rows = self._database.read(_RESPONSES, {"user": user_id, "now": now, "most": self._max_events})
        if not rows:
            return Responses.empty()
        items, texts, channels, clicks, times = zip(*reversed(rows), strict=True)
        return Responses(items, texts, channels, np.array(clicks, dtype=np.float32), np.array(times, dtype=np.int64))


def insert_events(connection: sqlite3.Connection, events: Sequence[Event]) -> None:
    """Write events inside a transaction.

    Args:
        connection: see `Database.transaction`.
        events: none of them stored yet.
    """
    connection.executemany(
        "INSERT INTO events (event_id, user_id, event_type, item_id, query, basket_id, value_micros, channel, timestamp, digest) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        [tuple(vars(event).values()) for event in events],
    )
