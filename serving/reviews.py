"""What people have said of creatives: blocked ones are shown no more, by any process on this log, from the answer on."""

from collections.abc import Sequence
from dataclasses import dataclass
from threading import Lock
from typing import Literal

from serving.store import Store, UnavailableError, Writer

Verdict = Literal["blocked", "allowed"]
_LAST = "SELECT COALESCE(MAX(seq), 0) FROM reviews"
_VERDICTS = "SELECT creative_id, verdict FROM reviews WHERE seq <= ? ORDER BY seq"
_COLUMNS = "seq, creative_id, verdict, note, timestamp, request_id, reviewer"


class StaleReviewsError(Exception):
    """A creative was reviewed while a slate was being decided: decide again."""


@dataclass(frozen=True)
class Review:
    """One line of the audit trail; lines are only ever added.

    Attributes:
        seq: number of the line, from 1.
        creative_id: what was looked at.
        verdict: blocked: never shown again; allowed: may be shown again.
        note: why, in the reviewer's words.
        timestamp: microseconds since 1970 UTC, by the wall clock.
        request_id: of the request that said so.
        reviewer: which token said so, by its digest; "open" where the service has no tokens.
    """

    seq: int
    creative_id: str
    verdict: Verdict
    note: str
    timestamp: int
    request_id: str
    reviewer: str


@dataclass(frozen=True)
class Blocked:
    """The creatives that are blocked at one point of the trail.

    Attributes:
        seq: last line that was read; 0 when nothing was ever reviewed.
        creative_ids: blocked ones.
    """

    seq: int
    creative_ids: frozenset[str]


class Reviews:
    """Reads and writes the audit trail, and remembers what was blocked last."""

    def __init__(self, database: Store) -> None:
        """Read what is blocked.

        Args:
            database: the service's.

        Raises:
            UnavailableError: the log is away: who has never read the trail must not serve.
        """
        self._database = database
        self._held = self._read(Blocked(0, frozenset()))
        self._lock = Lock()

    def blocked(self) -> Blocked:
        """What is blocked now, by one short query when nothing has changed; what was blocked last as long as the log is away."""
        try:
            found = self._read(self._held)
        except UnavailableError:
            return self._held  # the answer says that it was decided without the log
        self._remember(found)
        return found

    def _remember(self, found: Blocked) -> None:
        with self._lock:  # of several threads the one that has come farthest is remembered
            if found.seq > self._held.seq:
                self._held = found

    def _read(self, held: Blocked) -> Blocked:
        seq = int(self._database.read(_LAST)[0][0])
        return held if seq == held.seq else self.blocked_at(seq)

    def blocked_at(self, seq: int) -> Blocked:
        """What was blocked after a line of the trail: a decision's retrieval_version names it, as ``reviews-SEQ``.

        Args:
            seq: the line.
        """
        return _blocked(seq, self._database.read(_VERDICTS, (seq,)))

    def record(
        self, creative_id: str, verdict: Verdict, *, note: str, timestamp: int, request_id: str, reviewer: str
    ) -> tuple[Review, bool]:
        """Say something of a creative; on disk when this returns. Saying what is so already adds no line.

        Args:
            creative_id: see `Review`.
            verdict: see `Review`.
            note: see `Review`.
            timestamp: see `Review`.
            request_id: see `Review`.
            reviewer: see `Review`.

        Returns:
            The line that says so, and whether it is a new one. Line 0 is that of a creative that nobody has looked at.

        Raises:
            UnavailableError: the log is away; whether the line was added is not known, and saying it again adds no second one.
        """
        with self._database.transaction() as connection:
            rows = connection.execute(
                f"SELECT {_COLUMNS} FROM reviews WHERE creative_id = ? ORDER BY seq DESC LIMIT 1", (creative_id,)
            ).fetchall()
            before = Review(*rows[0]) if rows else Review(0, creative_id, "allowed", "", timestamp, request_id, reviewer)
            if before.verdict == verdict:
                return before, False
            connection.execute(
                "INSERT INTO reviews (creative_id, verdict, note, timestamp, request_id, reviewer) VALUES (?, ?, ?, ?, ?, ?)",
                (creative_id, verdict, note, timestamp, request_id, reviewer),
            )
            seq = last_review(connection)
            blocked = _blocked(seq, connection.execute(_VERDICTS, (seq,)).fetchall())
        self._remember(blocked)  # the log may go away before anybody reads
        return Review(seq, creative_id, verdict, note, timestamp, request_id, reviewer), True

    def trail(self, limit: int) -> Sequence[Review]:
        """The latest lines, newest first.

        Args:
            limit: how many at the most.
        """
        return [Review(*row) for row in self._database.read(f"SELECT {_COLUMNS} FROM reviews ORDER BY seq DESC LIMIT ?", (limit,))]


def last_review(connection: Writer) -> int:
    """Number of the trail's last line, inside a transaction.

    Args:
        connection: see `Store.transaction`.
    """
    return int(connection.execute(_LAST).fetchone()[0])


def _blocked(seq: int, rows: Sequence[Sequence[object]]) -> Blocked:
    latest = {str(creative): str(verdict) for creative, verdict in rows}
    return Blocked(seq, frozenset(creative for creative, verdict in latest.items() if verdict == "blocked"))
