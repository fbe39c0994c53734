"""The log on a PostgreSQL server: the same statements as on SQLite, a commit that waits for the disk, and an end to waiting."""

import contextlib
import hashlib
import logging
import os
import re
import socket
import threading
import time
import uuid
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import psycopg
from psycopg.conninfo import conninfo_to_dict

from core.errors import ServiceError
from serving.database import ADDED, PAST, SCHEMA
from serving.store import ID_KEY, VERSION, Rows, UnavailableError, Values

_log = logging.getLogger(__name__)

PATIENCE_S = 2.0
"""A statement or transaction that takes longer is given up: the server is taken for gone, and answers go on without it."""
RETRY_S = 0.5
"""Between two attempts to reach a server that is gone."""
_TICK_S = 0.1
_CONNECT_S = 2
_OPENING = 0x41646C6F6F6D
"""The advisory lock of whoever makes the tables."""
_VERSION_KEY = "version"
_HAS_YOUNGEST = f"SELECT 1 FROM pg_attribute WHERE attrelid = to_regclass('{ADDED[-1][0]}') AND attname = '{ADDED[-1][1]}'"
"""Whether the tables have their youngest column."""
_SETTINGS = (
    "SET synchronous_commit TO on; SET idle_in_transaction_session_timeout TO '10s'; SET client_min_messages TO warning; "
    "SET default_transaction_isolation TO 'read committed'"
)
_TYPES = {
    "INTEGER PRIMARY KEY AUTOINCREMENT": "BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY",
    "INTEGER": "BIGINT",
    "REAL": "DOUBLE PRECISION",
    "TEXT": 'TEXT COLLATE "C"',
    " WITHOUT ROWID": "",
}
"""What SQLite's words for columns mean here; text is ordered by code points, as there."""


class PostgresDatabase:
    """One connection for short work, used by one thread at a time, and others aside for long work.

    A transaction holds an advisory lock until it is committed, so rows become visible in the order of their numbers: who has read up to a
    number has read all before it. While the server is gone every call fails at once, and a thread tries to reach it again.
    """

    def __init__(self, url: str, *, patience_s: float = PATIENCE_S) -> None:
        """Connect, and make the tables when there are none.

        Args:
            url: ``postgresql://user:password@host:port/database``.
            patience_s: see `PATIENCE_S`.

        Raises:
            ServiceError: the server cannot be reached, does not make commits durable, or holds the tables of another version.
        """
        self._url, self._patience = url, patience_s
        self._lock = threading.RLock()
        self._spare: list[psycopg.Connection[Any]] = []
        self._begun = self._ended = 0
        self._stop = threading.Event()
        self.problem = ""
        """Why the server is away; "" when it is there."""
        try:
            self._connection: psycopg.Connection[Any] | None = self._connect()
            self._key = self._prepare(self._connection)
        except psycopg.Error as error:
            raise ServiceError(
                f"{self.name}: cannot be opened ({_told(error)}). Start it (`adloom services start` starts one of the project's own), or "
                "mend ADLOOM_LOG_URL."
            ) from None
        self._thread = threading.Thread(target=self._watch, name="postgres", daemon=True)
        self._thread.start()

    @property
    def name(self) -> str:
        """Host, port and database, without user and password."""
        return url_name(self._url)

    def read(self, statement: str, values: Values = ()) -> list[tuple[Any, ...]]:
        """See `Store.read`."""
        with self._timed() as connection:
            return _Writer(connection).execute(statement, values).fetchall()

    @contextmanager
    def transaction(self) -> Iterator["_Writer"]:
        """See `Store.transaction`; it is over when the commit's write-ahead log has been synced (``synchronous_commit=on``).

        Yields:
            What runs statements.
        """
        with self._timed() as connection:
            connection.execute(f"BEGIN; SELECT pg_advisory_xact_lock({self._key})")
            try:
                yield _Writer(connection)
            except BaseException:
                if not connection.closed:
                    connection.execute("ROLLBACK")
                raise
            connection.execute("COMMIT")

    @contextmanager
    def aside(self) -> Iterator["_Writer"]:
        """See `Store.aside`.

        Yields:
            What runs statements; each commits by itself unless a transaction is begun.
        """
        try:
            connection = self._spare.pop()
        except IndexError:
            try:
                connection = self._connect()
            except psycopg.Error as error:
                raise UnavailableError(f"{self.name}: {_told(error)}") from None
        try:
            yield _Writer(connection)
        except BaseException as error:
            connection.close()
            if isinstance(error, psycopg.Error):
                raise UnavailableError(f"{self.name}: {_told(error)}") from None
            raise
        self._spare.append(connection)

    @contextmanager
    def alone(self) -> Iterator[None]:
        """See `Store.alone`; a session's advisory lock.

        Yields:
            Nothing.
        """
        with self.aside() as writer:
            writer.execute(f"SELECT pg_advisory_lock({self._key + 1})")
            try:
                yield
            finally:
                writer.execute(f"SELECT pg_advisory_unlock({self._key + 1})")

    def close(self) -> None:
        """End."""
        self._stop.set()
        self._thread.join(timeout=10)
        with self._lock:
            for connection in (*self._spare, *([self._connection] if self._connection else [])):
                connection.close()
            self._connection, self.problem = None, "closed"

    def _connect(self) -> psycopg.Connection[Any]:
        """Raises: ServiceError, the server would answer before a commit is on disk."""
        connection = psycopg.connect(self._url, autocommit=True, connect_timeout=_CONNECT_S, application_name="adloom")
        try:
            connection.execute(_SETTINGS)
            for setting in ("synchronous_commit", "fsync"):
                found = connection.execute(f"SHOW {setting}").fetchone()
                if found is None or found[0] != "on":
                    raise ServiceError(
                        f"{self.name}: {setting} is {found[0] if found else 'unknown'}, but a commit is durable only with on: "
                        "set it in postgresql.conf and restart the server."
                    )
        except BaseException:
            connection.close()
            raise
        return connection

    def _prepare(self, connection: psycopg.Connection[Any]) -> int:
        """Make the tables; returns the key of this log's lock."""
        with connection.transaction():
            connection.execute(f"SELECT pg_advisory_xact_lock({_OPENING})")
            writer = _Writer(connection)
            known = connection.execute("SELECT to_regclass('reviews') IS NOT NULL").fetchone()  # the youngest table
            if not known or not known[0]:
                tables = [f"CREATE TABLE IF NOT EXISTS {table} ({columns})" for table, columns in PAST.items()]
                for statement in (*SCHEMA.split(";"), *tables):
                    if statement.strip():
                        connection.execute(_columns(statement).encode())
                added = "INSERT INTO meta VALUES (?, ?) ON CONFLICT (key) DO NOTHING"
                writer.executemany(added, [(_VERSION_KEY, str(VERSION)), (ID_KEY, uuid.uuid4().hex)])
            elif not connection.execute(_HAS_YOUNGEST).fetchone():
                for table, column, kind in ADDED:
                    connection.execute(f"ALTER TABLE {table} ADD COLUMN IF NOT EXISTS {column} {_columns(kind)}".encode())
            held = dict(writer.execute("SELECT key, value FROM meta WHERE key IN (?, ?)", (_VERSION_KEY, ID_KEY)).fetchall())
        if held.get(_VERSION_KEY) != str(VERSION):
            raise ServiceError(
                f"{self.name}: written by version {held.get(_VERSION_KEY)} of the service, this one reads {VERSION}. "
                "Name another database, or update Adloom."
            )
        return int.from_bytes(hashlib.sha256(str(held[ID_KEY]).encode()).digest()[:6])

    @contextmanager
    def _timed(self) -> Iterator[psycopg.Connection[Any]]:
        """The connection, until the work on it takes too long."""
        with self._lock:
            connection = self._connection
            if connection is None:
                raise UnavailableError(f"{self.name}: {self.problem}")
            self._begun += 1
            try:
                yield connection
            except psycopg.Error as error:
                if connection.closed or isinstance(error, psycopg.OperationalError | psycopg.InterfaceError):
                    self._lose(error)
                raise UnavailableError(f"{self.name}: {_told(error)}") from None
            finally:
                self._ended = self._begun

    def _lose(self, error: psycopg.Error) -> None:
        if self._connection is not None:
            self._connection.close()
            _log.error("the log's server is away: %s", _told(error))
        self._connection, self.problem = None, _told(error)

    def _watch(self) -> None:
        """Cut off what takes too long, and connect again when the server is gone."""
        tried, looked, looks = time.monotonic(), 0, 0
        while not self._stop.wait(_TICK_S):
            connection, begun, now = self._connection, self._begun, time.monotonic()
            looks = looks + 1 if begun == looked != self._ended else 0  # not the clock: a process that is held up has lost no server
            looked = begun
            if connection is not None and looks * _TICK_S > self._patience:
                with contextlib.suppress(OSError, psycopg.Error), socket.socket(fileno=os.dup(connection.fileno())) as wire:
                    wire.shutdown(socket.SHUT_RDWR)
            elif connection is None and now > tried + RETRY_S:
                tried = now
                try:
                    fresh = self._connect()
                except (psycopg.Error, ServiceError) as error:
                    self.problem = _told(error)
                else:
                    stale, self._spare = self._spare, []
                    for spare in stale:
                        spare.close()
                    self._connection, self.problem = fresh, ""
                    _log.info("the log's server is back")


class _Writer:
    """Runs statements that are written as for SQLite."""

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self._connection = connection

    def execute(self, statement: str, values: Values = (), /) -> Rows:
        """See `Writer.execute`."""
        return self._connection.execute(_translated(statement), values or None)

    def executemany(self, statement: str, rows: Iterable[Sequence[Any]], /) -> object:
        """See `Writer.executemany`."""
        with self._connection.cursor() as cursor:
            cursor.executemany(_translated(statement), rows)
        return None


@contextmanager
def reading(url: str) -> Iterator[_Writer | None]:
    """A connection that only reads, for whoever is not the service.

    Args:
        url: of the log.

    Yields:
        What runs queries; None when the service has made no tables yet.

    Raises:
        ServiceError: the server cannot be reached, or a query fails.
    """
    try:
        with psycopg.connect(url, autocommit=True, connect_timeout=_CONNECT_S) as connection:
            connection.execute("SET default_transaction_read_only TO on")
            known = connection.execute("SELECT to_regclass('meta') IS NOT NULL").fetchone()
            yield _Writer(connection) if known and known[0] else None
    except psycopg.Error as error:
        raise ServiceError(f"{url_name(url)}: cannot be read ({_told(error)}). Start it, or mend ADLOOM_LOG_URL.") from None


def url_name(url: str) -> str:
    """A server's address without user and password.

    Args:
        url: of PostgreSQL.

    Raises:
        ServiceError: it is none.
    """
    try:
        parts = conninfo_to_dict(url)
    except psycopg.Error as error:
        raise ServiceError(
            f"ADLOOM_LOG_URL is no address of PostgreSQL ({_told(error)}): postgresql://user:password@host:port/name"
        ) from None
    return f"postgresql://{parts.get('host', 'localhost')}:{parts.get('port', 5432)}/{parts.get('dbname', '')}"


@lru_cache(maxsize=256)
def _translated(statement: str) -> bytes:
    """SQLite's placeholders and words for tables as psycopg and PostgreSQL have them."""
    if statement.startswith("BEGIN"):
        return b"BEGIN"
    if statement.startswith("CREATE"):
        return _columns(statement).encode()
    return re.sub(r"(?<![:\w]):(\w+)", r"%(\1)s", statement.replace("?", "%s")).encode()


def _columns(statement: str) -> str:
    for ours, theirs in _TYPES.items():
        statement = re.sub(rf"(?<!\w){ours}(?!\w)", theirs, statement)
    return statement


def _told(error: BaseException) -> str:
    """The first line of an error."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
