"""What the feedback flow takes into the loop: served impressions whose window has closed, and new behaviour, each row once.

Both functions only read. Rows are numbered in the order in which they were stored, and whoever exports keeps the number
that it has come to; asking again with the same number gives the same rows and maybe more.
"""

import json
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, cast

import pandas as pd

from core.columns import Columns as C
from core.errors import ServiceError
from core.schemas import empty_table
from core.tables import TABLES
from core.vocabulary import FeedbackKind
from models.history import micros
from serving.clock import OFFSET_KEY, moment, wall_clock
from serving.postgres import reading
from serving.store import FINGERPRINT_KEY, ID_KEY, Writer

Log = Path | str
"""Where the service keeps its log: its SQLite file, or the address of its PostgreSQL database."""
ARRIVAL_MARGIN = timedelta(minutes=1)
"""A window counts as closed only this long after it closed: feedback that was accepted just before is stored by then."""

_IMPRESSIONS = f"""
SELECT seq, request_id, position, timestamp, user_id, scene, channel, candidates, creative_id, item_id, propensity, propensity_marginal,
    policy_version, model_version, retrieval_version, p_click, p_convert, bid_micros, ecpm_micros, consent, replayable,
    EXISTS (SELECT 1 FROM feedback f WHERE f.request_id = d.request_id AND f.position = d.position) AS click,
    EXISTS (SELECT 1 FROM feedback f WHERE f.request_id = d.request_id AND f.position = d.position AND f.kind = '{FeedbackKind.CONVERSION}')
        AS conversion,
    CAST((SELECT COALESCE(SUM(value_micros), 0) FROM feedback f WHERE f.request_id = d.request_id AND f.position = d.position) AS BIGINT)
        AS value_micros
FROM decisions d
WHERE seq > :after AND seq < COALESCE((SELECT MIN(seq) FROM decisions WHERE seq > :after AND timestamp > :closed), 9223372036854775807)
ORDER BY seq
"""
_EVENTS = """
SELECT seq, event_id, user_id, item_id, event_type, query, basket_id, value_micros, channel, timestamp FROM events
WHERE seq > :after ORDER BY seq
"""
_CREATIVES = """
SELECT DISTINCT d.creative_id, d.item_id, d.scene, d.channel, t.text
FROM decisions d JOIN texts t USING (creative_id) ORDER BY d.creative_id
"""


@dataclass(frozen=True)
class Exported:
    """Rows, and how far the export has come.

    Attributes:
        rows: under the data contract's columns; user ids are pseudonyms.
        watermark: number of the last row that was looked at; the next export begins after it.
        key_fingerprint: of the key that made the pseudonyms; None when the service never ran.
        left_out: rows that were looked at and are not in ``rows``.
    """

    rows: pd.DataFrame
    watermark: int
    key_fingerprint: str | None
    left_out: int = 0


def closed_impressions(database: Log, until: datetime, *, window: timedelta, after: int = 0) -> Exported:
    """Decisions left-joined with feedback, of which no further feedback is accepted.

    Decisions about a history that is not stored (anonymous shoppers with a history) are left out: their features could not be
    computed again.

    Args:
        database: the service's log; none yet gives no rows.
        until: now, or an earlier moment, UTC, by the service's clock (see `service_now`).
        window: how long after an impression its feedback is accepted.
        after: watermark of the last export.

    Returns:
        Rows of the impressions table, oldest first. A decision waits behind an earlier one whose window is open.

    Raises:
        ServiceError: the log cannot be read.
    """
    closed = int(micros(until - window - ARRIVAL_MARGIN)[0])
    columns, rows, fingerprint = query(database, _IMPRESSIONS, {"after": after, "closed": closed})
    if not rows:
        return Exported(empty_table("impressions"), after, fingerprint)
    frame = pd.DataFrame(rows, columns=columns)
    whole = frame["replayable"].astype(bool)
    frame[C.CANDIDATES] = [json.loads(text) for text in frame[C.CANDIDATES]]
    return Exported(_typed("impressions", frame[whole]), int(frame["seq"].iloc[-1]), fingerprint, int((~whole).sum()))


def new_events(database: Log, after: int = 0) -> Exported:
    """Behaviour that was stored after the last export.

    Args:
        database: the service's log; none yet gives no rows.
        after: watermark of the last export.

    Returns:
        Rows of the events table, in the order in which they were stored.

    Raises:
        ServiceError: the log cannot be read.
    """
    columns, rows, fingerprint = query(database, _EVENTS, {"after": after})
    if not rows:
        return Exported(empty_table("events"), after, fingerprint)
    frame = pd.DataFrame(rows, columns=columns)
    return Exported(_typed("events", frame), int(frame["seq"].iloc[-1]), fingerprint)


def served_creatives(database: Log) -> pd.DataFrame:
    """Every creative that was shown, with its text: an impression's creative may have left the pool since.

    Args:
        database: the service's log.

    Returns:
        creative_id, item_id, scene, channel, text.

    Raises:
        ServiceError: the log cannot be read.
    """
    columns, rows, _ = query(database, _CREATIVES, {})
    return pd.DataFrame(rows, columns=columns or [C.CREATIVE, C.ITEM, C.SCENE, C.CHANNEL, C.TEXT])


def service_now(database: Log, wall: Callable[[], int] = wall_clock) -> datetime:
    """What time it is for the service: the wall clock, or with synthetic shoppers the time in their market.

    Args:
        database: the service's log.
        wall: the wall clock; tests give another.

    Raises:
        ServiceError: the log cannot be read.
    """
    _, rows, _ = query(database, "SELECT value FROM meta WHERE key = :key", {"key": OFFSET_KEY})
    return moment(wall() + (int(rows[0][0]) if rows else 0))


def log_id(database: Log) -> str | None:
    """What tells this log from every other one: numbers of rows mean nothing in another. None for one that has none yet.

    Args:
        database: the service's log.

    Raises:
        ServiceError: the log cannot be read.
    """
    _, rows, _ = query(database, "SELECT value FROM meta WHERE key = :key", {"key": ID_KEY})
    return str(rows[0][0]) if rows else None


def query(database: Log, statement: str, values: Mapping[str, Any]) -> tuple[list[str], list[tuple[Any, ...]], str | None]:
    """Column names, rows, and the fingerprint of the key; nothing where there is no log yet.

    Args:
        database: the service's log.
        statement: SQL that reads.
        values: its parameters, by name.

    Raises:
        ServiceError: the log cannot be read.
    """
    with _opened(database) as reader:
        if reader is None:
            return [], [], None
        found = reader.execute(statement, values)
        rows = found.fetchall()
        key = reader.execute("SELECT value FROM meta WHERE key = ?", (FINGERPRINT_KEY,)).fetchone()
        return [str(column[0]) for column in found.description or ()], rows, None if key is None else str(key[0])


@contextmanager
def _opened(database: Log) -> Iterator[Writer | None]:
    if isinstance(database, str):
        with reading(database) as reader:
            yield reader
        return
    if not database.is_file():
        yield None
        return
    try:
        connection = sqlite3.connect(f"{database.resolve().as_uri()}?mode=ro", uri=True, timeout=20)
        try:
            yield connection
        finally:
            connection.close()
    except sqlite3.Error as error:
        raise ServiceError(
            f"{database}: cannot be read ({error}). Let the service open it once, or move it aside if it is damaged."
        ) from None


def _typed(name: str, frame: pd.DataFrame) -> pd.DataFrame:
    typed = frame.reset_index(drop=True)
    for column in TABLES[name].columns:
        if column.kind == "time":
            typed[column.name] = pd.to_datetime(typed[column.name], unit="us", utc=True).astype(cast("Any", column.dtype))
        elif column.name in typed:
            typed[column.name] = typed[column.name].astype(cast("Any", column.dtype))
    return typed[TABLES[name].names]
