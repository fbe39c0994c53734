"""The embedded store, one SQLite file: what is written is on disk before the call returns."""

import fcntl
import logging
import sqlite3
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from core.errors import ServiceError
from serving import store
from serving.background import Background
from serving.store import ID_KEY, VERSION, Values

_log = logging.getLogger(__name__)

MAPPED = 2**30
"""Bytes of the file that are read through the operating system's page cache without a copy."""
LOG_PAGES = 20_000
"""Pages of the write-ahead log at which a commit itself moves them into the file; `Checkpoints` does so long before."""
FULL = 2
"""What SQLite calls ``synchronous=FULL``."""
PAST = {
    "past_events": """user_id TEXT NOT NULL, timestamp INTEGER NOT NULL, event_id TEXT NOT NULL, item_id TEXT, event_type TEXT NOT NULL,
        query TEXT, PRIMARY KEY (user_id, timestamp, event_id)""",
    "past_impressions": """user_id TEXT NOT NULL, timestamp INTEGER NOT NULL, request_id TEXT NOT NULL, position INTEGER NOT NULL,
        item_id TEXT NOT NULL, creative_id TEXT NOT NULL, channel TEXT NOT NULL, click INTEGER NOT NULL,
        PRIMARY KEY (user_id, timestamp, request_id, position)""",
}
"""What is taken over from the clean tables: columns by table. A shopper's rows lie together, in the order of time."""
ADDED = (
    ("decisions", "beside", "TEXT"),
    ("decisions", "budget_micros", "INTEGER"),
    ("decisions", "pace", "TEXT"),
    ("spend", "given_micros", "INTEGER NOT NULL DEFAULT 0"),
)
"""Columns that tables of an earlier service lack: table, name, kind; the youngest last."""
SCHEMA = """
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS texts (creative_id TEXT PRIMARY KEY, text TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS events (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, event_id TEXT NOT NULL UNIQUE, user_id TEXT NOT NULL, item_id TEXT, event_type TEXT NOT NULL,
    query TEXT, basket_id TEXT, value_micros INTEGER NOT NULL, channel TEXT NOT NULL, timestamp INTEGER NOT NULL, digest TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS events_by_user ON events (user_id, timestamp);
CREATE TABLE IF NOT EXISTS decisions (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, request_id TEXT NOT NULL, position INTEGER NOT NULL, timestamp INTEGER NOT NULL,
    user_id TEXT NOT NULL, scene TEXT NOT NULL, channel TEXT NOT NULL, candidates TEXT NOT NULL, creative_id TEXT NOT NULL,
    item_id TEXT NOT NULL, propensity REAL NOT NULL, propensity_marginal REAL, policy_version TEXT NOT NULL, model_version TEXT NOT NULL,
    retrieval_version TEXT NOT NULL, p_click REAL NOT NULL, p_convert REAL NOT NULL, bid_micros INTEGER NOT NULL,
    ecpm_micros INTEGER NOT NULL, campaign_id TEXT, budget_left_micros INTEGER, consent INTEGER NOT NULL,
    replayable INTEGER NOT NULL, key_fingerprint TEXT NOT NULL, beside TEXT, budget_micros INTEGER, pace TEXT, UNIQUE (request_id, position)
);
CREATE INDEX IF NOT EXISTS decisions_by_user ON decisions (user_id, timestamp);
CREATE TABLE IF NOT EXISTS feedback (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, event_id TEXT NOT NULL UNIQUE, request_id TEXT NOT NULL, position INTEGER NOT NULL,
    kind TEXT NOT NULL, value_micros INTEGER NOT NULL, timestamp INTEGER NOT NULL, digest TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS feedback_by_request ON feedback (request_id, position);
CREATE TABLE IF NOT EXISTS spend (
    campaign_id TEXT NOT NULL, day INTEGER NOT NULL, spent_micros INTEGER NOT NULL, given_micros INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (campaign_id, day)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS reviews (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, creative_id TEXT NOT NULL, verdict TEXT NOT NULL, note TEXT NOT NULL, timestamp INTEGER NOT NULL,
    request_id TEXT NOT NULL, reviewer TEXT NOT NULL
);
"""


class Database:
    """One connection, used by one thread at a time.

    The journal is a write-ahead log with ``synchronous=FULL``: a commit returns when its pages have been synced to disk.
    """

    def __init__(self, path: Path) -> None:
        """Open the file, and make it when it does not exist.

        Args:
            path: the SQLite file.

        Raises:
            ServiceError: the file cannot be opened, is no database, was written by another version, or stands where SQLite cannot
                keep a write-ahead log.
        """
        self.path = path
        self._lock = threading.RLock()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._connection = sqlite3.connect(path, timeout=20, check_same_thread=False, isolation_level=None)
            self._connection.execute("PRAGMA journal_mode=WAL")
            self._connection.execute("PRAGMA synchronous=FULL")
            self._connection.execute("PRAGMA temp_store=MEMORY")
            self._connection.execute(f"PRAGMA mmap_size={MAPPED}")
            self._connection.execute(f"PRAGMA wal_autocheckpoint={LOG_PAGES}")
            self._check_durable()
            found = int(self._connection.execute("PRAGMA user_version").fetchone()[0])
            if found not in (0, VERSION):
                self._connection.close()
                raise ServiceError(
                    f"{path}: written by version {found} of the service, this one reads {VERSION}. Move it aside, or update Adloom."
                )
            self._connection.executescript(SCHEMA)
            for table, column, kind in ADDED:
                if not any(row[1] == column for row in self._connection.execute(f"PRAGMA table_info({table})")):
                    self._connection.execute(f"ALTER TABLE {table} ADD COLUMN {column} {kind}")
            for table, columns in PAST.items():
                self._connection.execute(f"CREATE TABLE IF NOT EXISTS {table} ({columns}) WITHOUT ROWID")
            self._connection.execute(f"PRAGMA user_version={VERSION}")
            if self.meta(ID_KEY) is None:
                self._connection.execute("INSERT INTO meta VALUES (?, ?) ON CONFLICT (key) DO NOTHING", (ID_KEY, uuid.uuid4().hex))
        except (OSError, sqlite3.Error) as error:
            raise ServiceError(
                f"{path}: cannot be opened ({error}). Free the disk or mend its rights; move the file aside if it is damaged."
            ) from None

    @property
    def name(self) -> str:
        """Its path."""
        return str(self.path)

    def read(self, statement: str, values: Values = ()) -> list[tuple[Any, ...]]:
        """Rows of a query.

        Args:
            statement: SQL.
            values: its parameters, by place or by name.
        """
        with self._lock:
            return self._connection.execute(statement, values).fetchall()

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """All of the block's writes or none; synced to disk when the block has ended.

        Yields:
            The connection.
        """
        with self._lock:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
            except BaseException:
                self._connection.execute("ROLLBACK")
                raise
            self._connection.execute("COMMIT")

    @contextmanager
    def aside(self) -> Iterator[sqlite3.Connection]:
        """A connection of its own for bulk work that may be done again: commits do not wait for the disk.

        Yields:
            The connection; every statement commits by itself unless a transaction is begun.
        """
        connection = sqlite3.connect(self.path, timeout=60, isolation_level=None)
        try:
            connection.execute("PRAGMA synchronous=NORMAL")
            yield connection
        finally:
            connection.close()

    @contextmanager
    def alone(self) -> Iterator[None]:
        """See `Store.alone`; a lock on a file beside the database, which the operating system gives back when the process ends.

        Yields:
            Nothing.
        """
        with self.path.with_suffix(".lock").open("a") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield

    def meta(self, key: str) -> str | None:
        """A noted word.

        Args:
            key: its name.
        """
        return store.meta(self, key)

    def claim(self, fingerprint: str) -> None:
        """See `serving.store.claim`."""
        store.claim(self, fingerprint)

    def _check_durable(self) -> None:
        found = {name: self._connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("journal_mode", "synchronous")}
        if found != {"journal_mode": "wal", "synchronous": FULL}:
            self._connection.close()
            raise ServiceError(
                f"{self.path}: journal_mode is {found['journal_mode']} and synchronous {found['synchronous']}, but a commit is durable "
                f"only with wal and {FULL} (FULL): move the file to a local disk."
            )

    def close(self) -> None:
        """Close the file; later calls fail."""
        with self._lock:
            self._connection.close()


class Checkpoints(Background):
    """Moves what is in the write-ahead log into the file, from a thread and a connection of its own: no commit waits for that.

    A little at a time: while a second's worth of pages is synced, the syncs of the commits stand behind it on the same disk.
    """

    def __init__(self, path: Path, *, every_seconds: float = 0.25) -> None:
        """Begin nothing yet; see `start`.

        Args:
            path: of the database.
            every_seconds: how often.
        """
        super().__init__("checkpoints", self._work)
        self._path = path
        self._every = every_seconds

    def _work(self, ended: threading.Event) -> None:
        connection = sqlite3.connect(self._path, timeout=20, check_same_thread=False, isolation_level=None)
        while not ended.wait(self._every):
            try:
                connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
            except sqlite3.Error as error:  # commits go on without it, and move the pages themselves when the log is long
                _log.warning("no checkpoint: %s", error)
        connection.close()
