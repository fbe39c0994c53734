"""Events, clicks and conversions: checked, stored once, and known to the next answer."""

from collections.abc import Sequence
from datetime import timedelta

from core.identity import pseudonymise
from core.moments import DAY
from serving.api import AnyEvent, ClickEvent, ConversionEvent, EventsAnswer, Fault, SearchEvent
from serving.clock import moment
from serving.decision_log import Answer, insert_feedback
from serving.errors import RefusedError, invalid
from serving.model_set import ModelSet
from serving.reading import digest, microseconds, plain
from serving.service import Parts
from serving.state import Event, insert_events
from serving.store import UnavailableError

AHEAD = 300_000_000
"""Microseconds that a sender's clock may be ahead; such an event counts as of now."""
Stored = Event | Answer


class Behaviour:
    """Takes events in."""

    def __init__(self, parts: Parts) -> None:
        """Args: what to work with."""
        self._parts = parts
        self._log = parts.storage.log

    def accept(self, events: Sequence[AnyEvent]) -> tuple[EventsAnswer, list[Stored]]:
        """Store events, all of them or none; when this returns they are on disk.

        Args:
            events: as they were sent.

        Returns:
            The counts, and what was stored now.

        Raises:
            RefusedError: an event names an unknown item or decision, comes too late or from the future, or reuses the id of
                another event; every such field is named.
            UnavailableError: the log is away, or a decision is on its way into it: sent again, the events count once.
        """
        models = self._parts.models()
        now = models.world.now()
        faults: list[Fault] = []
        checked = [self._checked(event, place, models, now, faults) for place, event in enumerate(events)]
        if faults:
            raise invalid(*faults)
        fresh: dict[str, Stored] = {}
        with self._parts.storage.store.transaction() as connection:
            for place, stored in enumerate(checked):
                if stored is None:
                    continue  # it has a fault, and so we are not here
                rows = connection.execute(
                    "SELECT digest FROM events WHERE event_id = :id UNION ALL SELECT digest FROM feedback WHERE event_id = :id",
                    {"id": stored.event_id},
                ).fetchall()
                before = rows[0][0] if rows else fresh[stored.event_id].digest if stored.event_id in fresh else None
                if before is None:
                    fresh[stored.event_id] = stored
                elif before != stored.digest:
                    problem = "already used for an event with other fields; every event needs an id of its own"
                    raise RefusedError(
                        409, "conflict", f"events.{place}.event_id: {problem}", (Fault(field=f"events.{place}.event_id", problem=problem),)
                    )
            behaviour = [stored for stored in fresh.values() if isinstance(stored, Event)]
            feedback = [stored for stored in fresh.values() if isinstance(stored, Answer)]
            insert_events(connection, behaviour)
            insert_feedback(connection, feedback, self._log.calendar)
        self._parts.storage.state.happened(behaviour, feedback)
        queries = sorted({event.query for event in behaviour if event.query})
        if queries:
            models.learn(queries)
        return EventsAnswer(accepted=len(fresh), duplicates=len(events) - len(fresh)), list(fresh.values())

    def _checked(self, event: AnyEvent, place: int, models: ModelSet, now: int, faults: list[Fault]) -> Stored | None:
        def wrong(field: str, problem: str) -> None:
            faults.append(Fault(field=f"events.{place}.{field}", problem=problem))

        time = now if event.timestamp is None else microseconds(event.timestamp)
        if time > now + AHEAD:
            sent = event.timestamp.isoformat() if event.timestamp else ""
            wrong("timestamp", f"in the future: {sent}, and it is {moment(now):%Y-%m-%dT%H:%M:%S} UTC here; send it when it has happened")
        time = min(time, now)
        if isinstance(event, ClickEvent | ConversionEvent):
            return self._feedback(event, place, time, now, faults)
        late = self._parts.settings.params.late_event_days
        if time < now - late * DAY:
            wrong("timestamp", f"older than serving.late_event_days, {late:g}; put old behaviour into the source and run the loop")
        item = query = basket = None
        value = 0
        if isinstance(event, SearchEvent):
            query = plain(event.query)
            if not query:
                wrong("query", "holds no visible character")
        else:
            item, basket, value = event.item_id, event.basket_id, event.value_micros
            if item not in models.recommender.catalogue.index and item not in models.pool.item_row:
                wrong("item_id", f"no item {item!r} in the catalogue; items come in with the source, by `make run`")
            if event.type != "purchase" and (value or basket is not None):
                wrong("value_micros" if value else "basket_id", f"only a purchase has one, this is a {event.type}")
        user = plain(event.user_id)
        if not user:
            wrong("user_id", "holds no visible character")
        pseudonym = pseudonymise([user], models.world.key)[0]
        return Event(event.event_id, pseudonym, str(event.type), item, query, basket, value, event.channel, time, digest(event))

    def _feedback(self, event: ClickEvent | ConversionEvent, place: int, time: int, now: int, faults: list[Fault]) -> Answer | None:
        def wrong(field: str, problem: str) -> None:
            faults.append(Fault(field=f"events.{place}.{field}", problem=problem))

        shown = self._log.shown(event.request_id, event.position)
        if shown is None:
            positions = self._log.positions(event.request_id)
            if positions:
                wrong("position", f"{event.position} is not in the slate, which has {positions}; positions start at 0")
            elif self._log.waits(event.request_id):
                raise UnavailableError(f"decision {event.request_id} is on its way into the log; send its feedback again")
            else:
                wrong("request_id", f"no decision {event.request_id!r}; send back the request_id of an answer that held an ad")
            return None
        window = self._parts.settings.conversion_window
        if time < shown.timestamp:
            wrong("timestamp", "before the ad was shown")
        if max(time, now) > shown.timestamp + window // timedelta(microseconds=1):
            wrong("request_id", f"too late: feedback counts for {window.total_seconds() / 86400:g} days (prepare.conversion_window_days)")
        value = event.value_micros if isinstance(event, ConversionEvent) else 0
        return Answer(event.event_id, event.request_id, event.position, str(event.type), value, time, digest(event), shown)
