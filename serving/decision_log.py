"""The decision record and what came back for it; both are on disk before anything is answered."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import orjson

from models.decision import Decision
from serving.calendar import Calendar
from serving.reviews import StaleReviewsError, last_review
from serving.store import Store, Writer


@dataclass(frozen=True)
class Context:
    """What a decision was made for and with.

    Attributes:
        request_id: of the answer.
        timestamp: microseconds since 1970 UTC.
        user_id: a pseudonym; an anonymous shopper's stands for this one request.
        scene: why an ad is shown.
        channel: where.
        consent: whether the shopper's behaviour was looked at.
        replayable: False when the decision saw a history that is not stored (an anonymous shopper's).
        policy_version: distribution and its settings.
        model_version: the ranker.
        retrieval_version: how the candidates were found, and in which pool.
        key_fingerprint: of the key that made the pseudonym.
    """

    request_id: str
    timestamp: int
    user_id: str
    scene: str
    channel: str
    consent: bool
    replayable: bool
    policy_version: str
    model_version: str
    retrieval_version: str
    key_fingerprint: str


@dataclass(frozen=True)
class Shown:
    """One position of a stored decision.

    Attributes:
        timestamp: microseconds since 1970 UTC.
        bid_micros: worth of a click.
        campaign_id: None outside campaigns.
        user_id: who saw it, a pseudonym.
        budget_micros: the campaign's daily budget when it was shown, None without one.
    """

    timestamp: int
    bid_micros: int
    campaign_id: str | None
    user_id: str = ""
    budget_micros: int | None = None


@dataclass(frozen=True)
class Answer:
    """A click or a conversion, checked.

    Attributes:
        event_id: the sender's.
        request_id: of the decision.
        position: within it.
        kind: one of `core.vocabulary.FeedbackKind`.
        value_micros: of a conversion, 0 otherwise.
        timestamp: microseconds since 1970 UTC.
        digest: of what was sent.
        shown: what it is about.
    """

    event_id: str
    request_id: str
    position: int
    kind: str
    value_micros: int
    timestamp: int
    digest: str
    shown: Shown


@dataclass(frozen=True)
class Beside:
    """Which policy was asked about a slate that another one drew.

    Attributes:
        policy: its version, without what it had learnt.
        share: of the users that the canary held, in [0, 1).
    """

    policy: str
    share: float


@dataclass(frozen=True)
class Record:
    """A slate as it is stored.

    Attributes:
        context: of the request.
        decision: at least one position.
        texts: creative_id → text of what is shown.
        budget_left: campaign_id → what is left of today's budget; campaigns without a budget are absent.
        pace: what the campaigns' money cost when it was decided, see `models.pacing.Standing.text`.
        beside: who thought the decision's `thoughts`; None where nobody was asked.
    """

    context: Context
    decision: Decision
    texts: Mapping[str, str]
    budget_left: Mapping[str, int]
    beside: Beside | None = None
    pace: str | None = None


DECISION_COLUMNS = (
    "request_id", "position", "timestamp", "user_id", "scene", "channel", "candidates", "creative_id", "item_id", "propensity",
    "propensity_marginal", "policy_version", "model_version", "retrieval_version", "p_click", "p_convert", "bid_micros", "ecpm_micros",
    "campaign_id", "budget_left_micros", "consent", "replayable", "key_fingerprint",
    "beside", "budget_micros", "pace",
)  # fmt: skip
TEXT_INSERT = "INSERT INTO texts VALUES (?, ?) ON CONFLICT (creative_id) DO NOTHING"
_INSERT = f"INSERT INTO decisions ({', '.join(DECISION_COLUMNS)}) VALUES ({', '.join('?' * len(DECISION_COLUMNS))})"


class DecisionLog:
    """Writes decisions and feedback, and counts what campaigns have spent today."""

    def __init__(self, database: Store, calendar: Calendar | None = None) -> None:
        """Write to a store.

        Args:
            database: the service's.
            calendar: whose days budgets are for; UTC's when None.
        """
        self._database, self.calendar = database, calendar or Calendar()

    def write(self, records: Sequence[Record], *, reviewed: int = 0) -> None:
        """Store the slates of requests that are answered together, all or none; when this returns they are on disk: one commit.

        Args:
            records: at least one.
            reviewed: how far the reviews had been read when the slates were decided.

        Raises:
            StaleReviewsError: something was reviewed since; nothing was stored.
            UnavailableError: the server is away; the slates may or may not have been stored.
        """
        with self._database.transaction() as connection:
            if last_review(connection) != reviewed:
                raise StaleReviewsError
            insert_decisions(connection, records)

    def shown(self, request_id: str, position: int) -> Shown | None:
        """What stood at a position.

        Args:
            request_id: of an answer.
            position: 0-based.
        """
        rows = self._database.read(
            "SELECT timestamp, bid_micros, campaign_id, user_id, budget_micros FROM decisions WHERE request_id = ? AND position = ?",
            (request_id, position),
        )
        return Shown(*rows[0]) if rows else None

    def positions(self, request_id: str) -> int:
        """How many positions a stored decision has; 0 when there is none.

        Args:
            request_id: of an answer.
        """
        return int(self._database.read("SELECT COUNT(*) FROM decisions WHERE request_id = ?", (request_id,))[0][0])

    def waits(self, request_id: str) -> bool:
        """Whether a slate is on its way into the log; see `serving.spill`.

        Args:
            request_id: of an answer.
        """
        return False

    def spent_today(self, now: int) -> dict[str, int]:
        """What each campaign has paid for clicks today.

        Args:
            now: microseconds since 1970 UTC; the shop's day of it counts.
        """
        return {campaign: spent for campaign, (spent, _) in self.paid_today(now).items()}

    def paid_today(self, now: int) -> dict[str, tuple[int, int]]:
        """What each campaign has paid for clicks today, and what further clicks were worth that it was given.

        Args:
            now: see `spent_today`.
        """
        rows = self._database.read("SELECT campaign_id, spent_micros, given_micros FROM spend WHERE day = ?", (self.calendar.day(now),))
        return {str(campaign): (int(spent), int(given)) for campaign, spent, given in rows}


def _rows(record: Record) -> list[tuple[object, ...]]:
    context, budget_left = record.context, record.budget_left
    candidates = orjson.dumps(record.decision.candidates).decode()
    return [
        (
            context.request_id, position, context.timestamp, context.user_id, context.scene, context.channel, candidates,
            choice.creative_id, choice.item_id, choice.propensity, None if math.isnan(choice.marginal) else choice.marginal,
            context.policy_version, context.model_version, context.retrieval_version, choice.p_click, choice.p_convert,
            choice.bid_micros, choice.ecpm_micros, choice.campaign.campaign_id if choice.campaign else None,
            budget_left.get(choice.campaign.campaign_id) if choice.campaign else None, int(context.consent), int(context.replayable),
            context.key_fingerprint, _beside(record, position),
            choice.campaign.daily_budget_micros if choice.campaign else None, None if position else record.pace,
        )
        for position, choice in enumerate(record.decision.choices)
    ]  # fmt: skip


def _beside(record: Record, position: int) -> str | None:
    """What the policy beside thinks of a position: its version, the canary's share, and the `Thought`."""
    if record.beside is None or not record.decision.thoughts:
        return None
    held, thought = record.beside, record.decision.thoughts[position]
    return orjson.dumps([held.policy, held.share, thought.propensity, thought.own, thought.other]).decode()


def insert_decisions(connection: Writer, records: Sequence[Record]) -> None:
    """Write slates inside a transaction.

    Args:
        connection: see `Store.transaction`.
        records: none of them stored yet.
    """
    texts = {name: text for record in records for name, text in record.texts.items()}
    connection.executemany(_INSERT, [row for record in records for row in _rows(record)])
    connection.executemany(TEXT_INSERT, sorted(texts.items()))


def insert_feedback(connection: Writer, answers: Sequence[Answer], calendar: Calendar) -> None:
    """Write clicks and conversions inside a transaction; the first click on a position is paid for, out of the budget of its day.

    Where that budget is spent, the click is given to the campaign: it counts, and costs nothing. Transactions of all workers take turns, so
    a campaign never pays more than its budget and what the last click went beyond it.

    Args:
        connection: see `Store.transaction`.
        answers: none of them stored yet.
        calendar: whose days budgets are for.
    """
    for answer in answers:
        paid = connection.execute(
            "SELECT 1 FROM feedback WHERE request_id = ? AND position = ? LIMIT 1", (answer.request_id, answer.position)
        ).fetchone()
        connection.execute(
            "INSERT INTO feedback (event_id, request_id, position, kind, value_micros, timestamp, digest) VALUES (?, ?, ?, ?, ?, ?, ?)",
            (answer.event_id, answer.request_id, answer.position, answer.kind, answer.value_micros, answer.timestamp, answer.digest),
        )
        if not paid and answer.shown.campaign_id is not None:
            _charge(connection, answer.shown.campaign_id, calendar.day(answer.timestamp), answer.shown)


def _charge(connection: Writer, campaign_id: str, day: int, shown: Shown) -> None:
    held = connection.execute("SELECT spent_micros FROM spend WHERE campaign_id = ? AND day = ?", (campaign_id, day)).fetchone()
    given = shown.budget_micros is not None and (held[0] if held else 0) >= shown.budget_micros
    connection.execute(
        "INSERT INTO spend (campaign_id, day, spent_micros, given_micros) VALUES (?, ?, ?, ?) ON CONFLICT (campaign_id, day) DO UPDATE SET "
        "spent_micros = spend.spent_micros + excluded.spent_micros, given_micros = spend.given_micros + excluded.given_micros",
        (campaign_id, day, 0 if given else shown.bid_micros, shown.bid_micros if given else 0),
    )
