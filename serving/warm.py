"""Online state begins with what is known already: the clean tables, read into the database once a data version."""

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from core.columns import Columns as C
from serving.database import PAST
from serving.settings import CleanData
from serving.store import Store, Writer, meta, note

_log = logging.getLogger(__name__)

_VERSION = "data_version"
_BATCH = 10_000
_QUERIES = """
SELECT query, COUNT(*) AS times FROM (
    SELECT query FROM past_events WHERE query IS NOT NULL UNION ALL SELECT query FROM events WHERE query IS NOT NULL
) AS searched WHERE query <> '' GROUP BY query ORDER BY times DESC, query LIMIT ?
"""
_WHOLE = {C.TIMESTAMP, C.CLICK}
"""Columns that are whole numbers here."""
_TEXTS = "INSERT INTO texts VALUES (?, ?) ON CONFLICT (creative_id) DO UPDATE SET text = excluded.text"
_COLUMNS = {
    "past_events": (C.USER, C.TIMESTAMP, C.EVENT, C.ITEM, C.EVENT_TYPE, C.QUERY),
    "past_impressions": (C.USER, C.TIMESTAMP, C.REQUEST, C.POSITION, C.ITEM, C.CREATIVE, C.CHANNEL, C.CLICK),
}


def warm_start(database: Store, data: CleanData, data_version: str) -> bool:
    """Read the clean tables into the database, unless this version of them is there already.

    The rows go into new tables in short transactions, between which requests are answered, and one last transaction puts the new
    tables in the place of the old ones. A killed start leaves what was there before.

    Args:
        database: the service's.
        data: the clean tables.
        data_version: from lineage.json.

    Returns:
        Whether anything was read.
    """
    with database.alone():  # of several workers one reads, and the others find it done
        return meta(database, _VERSION) != data_version and _read(database, data, data_version)


def frequent_queries(database: Store, most: int) -> list[str]:
    """What shoppers search for, the most frequent first.

    Args:
        database: the service's.
        most: how many at the most.
    """
    with database.aside() as connection:  # reads all events: nobody else shall wait for the connection meanwhile
        rows = connection.execute(_QUERIES, (most,)).fetchall()
    return [str(query) for query, _ in rows]


def _read(database: Store, data: CleanData, data_version: str) -> bool:
    sources = {"past_events": data.events, "past_impressions": data.impressions}
    with database.aside() as connection:
        for table, columns in _COLUMNS.items():
            connection.execute(f"DROP TABLE IF EXISTS new_{table}")
            connection.execute(f"CREATE TABLE new_{table} ({PAST[table]}) WITHOUT ROWID")
            _insert(
                connection,
                f"INSERT INTO new_{table} ({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))})",
                sources[table],
                columns,
            )
        _insert(connection, _TEXTS, data.copies, (C.COPY, C.TEXT))
    with database.transaction() as connection:
        for table in _COLUMNS:
            connection.execute(f"DROP TABLE {table}")
            connection.execute(f"ALTER TABLE new_{table} RENAME TO {table}")
        note(connection, _VERSION, data_version)
    counts = {table: database.read(f"SELECT COUNT(*) FROM {table}")[0][0] for table in _COLUMNS}
    _log.info("online state starts from data version %s", data_version[:12], extra={"rows": counts})
    return True


def _insert(connection: Writer, statement: str, path: Path, columns: tuple[str, ...]) -> None:
    for rows in _rows(path, columns):
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany(statement, rows)
        connection.execute("COMMIT")


def _rows(path: Path, columns: tuple[str, ...]) -> Iterator[list[tuple[Any, ...]]]:
    """Batches of rows in the order of ``columns``; times as microseconds since 1970 UTC."""
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(batch_size=_BATCH, columns=list(columns)):
            held = {
                name: batch.column(name).cast("int64").to_pylist() if name in _WHOLE else batch.column(name).to_pylist() for name in columns
            }
            yield list(zip(*(held[name] for name in columns), strict=True))
