"""Online state in Redis, shared by all workers: a cache of what follows from the log, never the only place of anything.

A shopper's events, and the ads that they saw, are sorted sets by time. They only grow, by the same members whoever adds them, so it does
not matter in which order workers tell; a set counts when it holds the mark of having been filled from the log. Who fills one first puts
a mark of its own there, then reads the log: what others store meanwhile finds the set, and joins it. A worker that could not tell,
because Redis did not answer or the worker was killed, makes all sets void by another epoch, and they are filled from the log again.
"""

import logging
import threading
import uuid
from collections.abc import Callable, Sequence
from typing import Any, TypeVar, cast

import orjson
import redis
from redis.backoff import NoBackoff
from redis.client import Pipeline
from redis.retry import Retry

from core.errors import ServiceError
from serving.decision_log import Answer, Record
from serving.state import Event, OnlineState, Past, Posterior, history_of, responses_of
from serving.store import UnavailableError

_log = logging.getLogger(__name__)

PATIENCE_S = 0.25
"""An answer of Redis that takes longer is given up; the log is asked instead."""
RETRY_S = 0.5
KEPT_S = 600
"""Seconds after which what nobody asked for is forgotten."""
SPEND_KEPT_S = 60
LEAD_MS = 3000
_WHOLE, _FILLING = "!", "?"
_SLACK = 50
_ADD = """
if redis.call('EXISTS', KEYS[1]) == 1 then
  redis.call('ZADD', KEYS[1], unpack(ARGV, 3))
  redis.call('ZREMRANGEBYRANK', KEYS[1], 2, -(tonumber(ARGV[1]) + 1))
  redis.call('EXPIRE', KEYS[1], ARGV[2])
end
"""
_FILL = """
if redis.call('ZSCORE', KEYS[1], '?') then
  redis.call('ZADD', KEYS[1], unpack(ARGV, 3))
  redis.call('ZREMRANGEBYRANK', KEYS[1], 2, -(tonumber(ARGV[1]) + 1))
  redis.call('EXPIRE', KEYS[1], ARGV[2])
end
"""
_SPEND = """
for place = 2, #ARGV, 2 do
  local held = tonumber(redis.call('HGET', KEYS[1], ARGV[place]) or '-1')
  if tonumber(ARGV[place + 1]) > held then redis.call('HSET', KEYS[1], ARGV[place], ARGV[place + 1]) end
end
if redis.call('TTL', KEYS[1]) < 0 then redis.call('EXPIRE', KEYS[1], ARGV[1]) end
"""
_LEAD = """
if redis.call('SET', KEYS[1], ARGV[1], 'NX', 'PX', ARGV[2]) then return 1 end
if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('PEXPIRE', KEYS[1], ARGV[2]) return 1 end
return 0
"""
Found = TypeVar("Found")


class RedisState:
    """See `serving.state.State`."""

    def __init__(self, url: str, log: OnlineState, *, log_id: str, max_events: int) -> None:
        """Connect, and make void what earlier processes left: one that was killed may not have told all.

        Args:
            url: ``redis://:password@host:port/number``.
            log: reads from the log.
            log_id: tells this log's keys from those of others on the same Redis.
            max_events: see `OnlineState`.

        Raises:
            ServiceError: Redis cannot be reached.
        """
        self._log, self._max_events = log, max_events
        self._prefix = f"adloom:{log_id[:16]}"
        self._worker = uuid.uuid4().hex
        self._epoch = ""
        self._server = ""
        self.problem = ""
        try:
            self._client = redis.Redis.from_url(
                url, socket_timeout=PATIENCE_S, socket_connect_timeout=PATIENCE_S, retry=Retry(NoBackoff(), 0), decode_responses=False
            )
            self._begin_epoch()
        except (redis.RedisError, ValueError) as error:
            raise ServiceError(
                f"the Redis of ADLOOM_STATE_URL cannot be reached ({error}). Start it (`adloom services start` starts one of the project's "
                "own), mend the address, or unset it: the log alone will do."
            ) from None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="redis", daemon=True)
        self._thread.start()

    def pasts(self, users: Sequence[str], now: int) -> Sequence[Past | None]:
        """See `State.pasts`."""
        if self.problem:
            return self._log.pasts(users, now)
        names = list(dict.fromkeys(users))
        try:
            found = dict(zip(names, self._read(names), strict=True))
            missing = [name for name, sets in found.items() if sets is None]
            filled = self._fill(missing, now) if missing else {}
        except redis.RedisError as error:
            self._fail(error)
            return self._log.pasts(users, now)
        known = {name: filled.get(name) if sets is None else self._past(*sets, now) for name, sets in found.items()}
        return [known[user] for user in users]

    def spent(self, now: int) -> dict[str, int]:
        """See `State.spent`."""
        if self.problem:
            return self._log.spent(now)
        day = self._log.calendar.day(now)
        try:
            held = self._run(lambda pipe: pipe.hgetall(self._key("spend", str(day))))[0]
            if held:
                return {name.decode(): int(spent) for name, spent in held.items() if name}
            spent = self._log.spent(now)
            self._run(lambda pipe: self._add_spend(pipe, day, spent))
        except redis.RedisError as error:
            self._fail(error)
            return self._log.spent(now)
        return spent

    def decided(self, records: Sequence[Record]) -> None:
        """See `State.decided`."""

        def tell(pipe: Pipeline) -> None:
            for record in records:
                context = record.context
                members: list[Any] = []
                for position, choice in enumerate(record.decision.choices):
                    text = record.texts[choice.creative_id]
                    members += [context.timestamp, _shown(context.request_id, position, choice.item_id, text, context.channel)]
                self._add(pipe, self._key("ads", context.user_id), members, 2 * self._max_events)

        self._tell(tell)

    def happened(self, events: Sequence[Event], answers: Sequence[Answer]) -> None:
        """See `State.happened`."""
        days = {self._log.calendar.day(answer.timestamp): answer.timestamp for answer in answers if answer.shown.campaign_id is not None}

        def tell(pipe: Pipeline) -> None:
            for event in events:
                member = _event(event.event_id, event.item_id, event.event_type, event.query)
                self._add(pipe, self._key("events", event.user_id), [event.timestamp, member], self._max_events)
            for answer in answers:
                clicked = [answer.shown.timestamp, _clicked(answer.request_id, answer.position)]
                self._add(pipe, self._key("ads", answer.shown.user_id), clicked, 2 * self._max_events)
            for day, time in days.items():
                try:
                    self._add_spend(pipe, day, self._log.spent(time))
                except UnavailableError:  # it is read again when what is held has expired
                    _log.warning("the spend of day %d could not be read again", day)

        self._tell(tell)

    def leads(self, name: str) -> bool:
        """See `State.leads`; without Redis everybody leads."""
        if self.problem:
            return True
        try:
            return bool(self._client.eval(_LEAD, 1, f"{self._prefix}:lead:{name}", self._worker, str(LEAD_MS)))
        except redis.RedisError as error:
            self._fail(error)
            return True

    def publish(self, name: str, posterior: Posterior) -> None:
        """See `State.publish`."""
        key = f"{self._prefix}:posterior:{name}"  # of no epoch: its version says how much of the log is in it
        self._tell(lambda pipe: pipe.hset(key, mapping=cast("dict[Any, Any]", posterior)))

    def published(self, name: str, version: str) -> Posterior | None:
        """See `State.published`."""
        if self.problem:
            return None
        try:
            key = f"{self._prefix}:posterior:{name}"
            if self._client.hget(key, "version") in (None, version.encode()):
                return None
            return {field.decode(): value for field, value in cast("dict[bytes, bytes]", self._client.hgetall(key)).items()}
        except redis.RedisError as error:
            self._fail(error)
            return None

    def renew(self) -> None:
        """See `State.renew`."""
        try:
            self._begin_epoch()
        except redis.RedisError as error:
            self._fail(error)

    def close(self) -> None:
        """See `State.close`."""
        self._stop.set()
        self._thread.join(timeout=10)
        self._client.close()

    def _key(self, kind: str, name: str) -> str:
        return f"{self._prefix}:{self._epoch}:{kind}:{name}"

    def _read(self, users: Sequence[str]) -> list[tuple[list[Any], list[Any]] | None]:
        """Both sets of each shopper with their times; None where one is not whole."""

        def ask(pipe: Pipeline) -> None:
            for user in users:
                for kind in ("events", "ads"):
                    pipe.zrange(self._key(kind, user), 0, -1, withscores=True)

        sets = self._run(ask)
        whole = [bool(found) and found[0][0] == _WHOLE.encode() for found in sets]
        return [(sets[place], sets[place + 1]) if whole[place] and whole[place + 1] else None for place in range(0, len(sets), 2)]

    def _fill(self, users: Sequence[str], now: int) -> dict[str, Past | None]:
        """Read shoppers from the log, and remember them; None for all when the log is away."""

        def begin(pipe: Pipeline) -> None:
            for user in users:
                for kind in ("events", "ads"):
                    pipe.zadd(self._key(kind, user), {_FILLING: "-inf"})
                    pipe.expire(self._key(kind, user), KEPT_S)

        self._run(begin)
        try:
            rows = {user: (self._log.event_rows(user, now), self._log.ad_rows(user, now)) for user in users}
        except UnavailableError:
            return dict.fromkeys(users)

        def end(pipe: Pipeline) -> None:
            for user, (events, ads) in rows.items():
                members: list[Any] = ["-inf", _WHOLE]
                for item, kind, query, time, event in events:
                    members += [time, _event(event, item, kind, query)]
                pipe.eval(_FILL, 1, self._key("events", user), str(self._max_events + _SLACK), str(KEPT_S), *members)
                members = ["-inf", _WHOLE]
                for item, text, channel, click, time, request, position in ads:
                    members += [time, _shown(request, position, item, text, channel)]
                    members += [time, _clicked(request, position)] if click else []
                pipe.eval(_FILL, 1, self._key("ads", user), str(2 * self._max_events + _SLACK), str(KEPT_S), *members)

        self._run(end)
        return {user: Past(history_of(events), responses_of(ads)) for user, (events, ads) in rows.items()}

    def _past(self, events: list[Any], ads: list[Any], now: int) -> Past:
        done = [(int(time), *orjson.loads(member)) for member, time in events if member[:1] == b"[" and time < now]
        done.sort(key=lambda row: row[:2])
        told = [(int(time), *orjson.loads(member)) for member, time in ads if member[:1] == b"[" and time < now]
        clicked = {(row[1], row[2]) for row in told if len(row) == 3}
        seen = sorted((row for row in told if len(row) > 3), key=lambda row: row[:3])[-self._max_events :]
        return Past(
            history_of([(item, kind, query, time) for time, _, item, kind, query in done[-self._max_events :]]),
            responses_of([(item, text, channel, (request, place) in clicked, time) for time, request, place, item, text, channel in seen]),
        )

    def _add(self, pipe: Pipeline, key: str, members: Sequence[Any], most: int) -> None:
        pipe.eval(_ADD, 1, key, str(most + _SLACK), str(KEPT_S), *members)

    def _add_spend(self, pipe: Pipeline, day: int, spent: dict[str, int]) -> None:
        pairs = [str(part) for pair in {"": 0, **spent}.items() for part in pair]  # the empty name says that the day has been read
        pipe.eval(_SPEND, 1, self._key("spend", str(day)), str(SPEND_KEPT_S), *pairs)

    def _run(self, ask: Callable[[Pipeline], object]) -> list[Any]:
        """Ask several things at once, under the epoch that holds when they are answered."""
        while True:
            pipe = self._client.pipeline(transaction=False)
            pipe.get(f"{self._prefix}:epoch")
            ask(pipe)
            epoch, *found = pipe.execute()
            if epoch is None:  # Redis began anew, or dropped it
                self._begin_epoch()
            elif epoch.decode() == self._epoch:
                return found
            else:
                self._epoch = epoch.decode()

    def _tell(self, tell: Callable[[Pipeline], object]) -> None:
        if not self.problem:
            try:
                self._run(tell)
            except redis.RedisError as error:
                self._fail(error)

    def _begin_epoch(self) -> None:
        self._server = self._run_id()
        self._epoch = uuid.uuid4().hex[:12]
        self._client.set(f"{self._prefix}:epoch", self._epoch)

    def _run_id(self) -> str:
        return str(self._client.info("server")["run_id"])

    def _fail(self, error: redis.RedisError) -> None:
        if not self.problem:
            _log.error("Redis is away: %s", error)
        self.problem = str(error).splitlines()[0] if str(error) else type(error).__name__

    def _watch(self) -> None:
        """After every failure, and on every other server, begin a new epoch: what is there may lack what could not be told."""
        while not self._stop.wait(RETRY_S):
            try:
                if self.problem or self._run_id() != self._server:
                    self._begin_epoch()
                    if self.problem:
                        _log.info("Redis is back")
                    self.problem = ""
            except redis.RedisError as error:
                self._fail(error)


def _event(event_id: str, item: str | None, kind: str, query: str | None) -> bytes:
    return orjson.dumps([event_id, item or None, str(kind), query or None])


def _shown(request_id: str, position: int, item: str, text: str, channel: str) -> bytes:
    return orjson.dumps([request_id, position, item, text, channel])


def _clicked(request_id: str, position: int) -> bytes:
    return orjson.dumps([request_id, position])
