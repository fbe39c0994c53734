"""What keeps the log: one interface, over a SQLite file (`serving.database`) or a PostgreSQL server (`serving.postgres`)."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

from core.errors import IdentityError, ServiceError
from core.identity import KEY_VARIABLE

VERSION = 1
FINGERPRINT_KEY = "user_key_fingerprint"
"""Where a store keeps which key its users were hashed with."""
ID_KEY = "log_id"
"""Where a store keeps what tells it from every other one."""
Values = Sequence[Any] | Mapping[str, Any]


class UnavailableError(ServiceError):
    """A server cannot be reached, or did not answer in time; whether its last commit came through is not known."""


class Rows(Protocol):
    """What a statement found."""

    @property
    def description(self) -> Sequence[Sequence[Any]] | None:
        """A sequence a column, the name first."""

    def fetchone(self) -> Any:
        """The next row, None at the end."""

    def fetchall(self) -> list[Any]:
        """All rows that are left."""

    def __iter__(self) -> Iterator[Any]: ...


class Writer(Protocol):
    """Runs statements. Their SQL is what both stores understand; parameters are ``?`` or ``:name``."""

    def execute(self, statement: str, values: Values = ..., /) -> Rows:
        """Run one statement."""

    def executemany(self, statement: str, rows: Iterable[Sequence[Any]], /) -> object:
        """Run one statement for every row."""


class Store(Protocol):
    """Everything that is acknowledged. A transaction is on disk when its block has ended; transactions of all processes take turns.

    Rows of `events`, `decisions`, `feedback` and `reviews` are numbered by ``seq``, in the order in which they become visible.
    """

    @property
    def name(self) -> str:
        """What it is, for messages; holds no password."""

    def read(self, statement: str, values: Values = ()) -> list[tuple[Any, ...]]:
        """Rows of a query.

        Args:
            statement: SQL.
            values: its parameters, by place or by name.

        Raises:
            UnavailableError: the server is away.
        """

    def transaction(self) -> AbstractContextManager[Writer]:
        """All of the block's writes or none; durable when the block has ended.

        Raises:
            UnavailableError: the server is away; the block's writes may or may not have been stored.
        """

    def aside(self) -> AbstractContextManager[Writer]:
        """A connection of its own, for long reads and for bulk work that may be done again.

        Raises:
            UnavailableError: the server is away.
        """

    def alone(self) -> AbstractContextManager[None]:
        """While the block runs, no other process is in such a block of this store."""

    def close(self) -> None:
        """End; later calls fail."""


def meta(store: Store, key: str) -> str | None:
    """A noted word.

    Args:
        store: where.
        key: its name.
    """
    rows = store.read("SELECT value FROM meta WHERE key = ?", (key,))
    return str(rows[0][0]) if rows else None


def note(writer: Writer, key: str, value: str) -> None:
    """Note a word, in the place of an earlier one.

    Args:
        writer: of a transaction.
        key: its name.
        value: the word.
    """
    writer.execute("INSERT INTO meta VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value", (key, value))


def claim(store: Store, fingerprint: str) -> None:
    """Note which key the users are hashed with, or refuse another one than was noted.

    Args:
        store: the service's.
        fingerprint: see `core.identity.fingerprint`.

    Raises:
        IdentityError: the store holds users that were hashed with another key.
    """
    held = meta(store, FINGERPRINT_KEY)
    if held is None:
        with store.transaction() as writer:
            writer.execute("INSERT INTO meta VALUES (?, ?) ON CONFLICT (key) DO NOTHING", (FINGERPRINT_KEY, fingerprint))
        held = meta(store, FINGERPRINT_KEY)
    if held != fingerprint:
        raise IdentityError(
            f"{store.name}: holds users hashed with key {held}, but {KEY_VARIABLE} is key {fingerprint}: "
            "set the old key again, or move the file aside (or name another database)."
        )
