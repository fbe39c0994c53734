"""What the service does, free of HTTP: ads, events, copy."""

import uuid
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cached_property

import numpy as np

from core.identity import pseudonymise
from core.vocabulary import Scene
from models.decider import Decider
from models.decision import Ask, Decision, Rival
from models.features import Responses
from models.history import GAP, History
from models.pacing import Standing
from models.policies.served import ServedPolicy
from serving.answers import answer_json, answer_of
from serving.api import AdsAnswer, AdsRequest, Fault, Part
from serving.champions import Champions
from serving.clock import moment
from serving.decision_log import Beside, Context, Record
from serving.errors import RefusedError, invalid
from serving.metrics import Stopwatch
from serving.model_set import ModelSet
from serving.pacing import Watched
from serving.reading import plain, readable_history
from serving.reviews import StaleReviewsError
from serving.settings import Settings
from serving.state import Past
from serving.storage import Storage

UNPACED = Standing()
_BRANDS_COMPARED = 200
"""A refusal looks no further for a name that comes near: it is made between the answers of others."""


@dataclass(frozen=True)
class Parts:
    """What the doors of the service work with.

    Attributes:
        settings: of the service.
        storage: where everything is kept.
        champions: what answers, and for whom.
    """

    settings: Settings
    storage: Storage
    champions: Champions[ModelSet]

    def models(self) -> ModelSet:
        """The set that serves; a request asks once.

        Raises:
            RefusedError: there is none yet.
        """
        found = self.champions.current
        if found is None:
            raise RefusedError(503, "not_ready", self.champions.problem)
        return found


@dataclass(frozen=True)
class Shopper:
    """A shopper whose past is known already.

    Attributes:
        user_id: a pseudonym.
        past: what they did and saw; ``whole`` only when it can be read again from the log.
    """

    user_id: str
    past: Past


@dataclass(frozen=True)
class Asked:
    """A request for ads.

    Attributes:
        body: as it was sent.
        request_id: a fresh UUID in hexadecimal; it also seeds the draw, so that a decision can be replayed.
        shopper: for whom, when the body does not say.
        recorded: False for a look at what would be shown: nothing is stored, and no feedback can come.
    """

    body: AdsRequest
    request_id: str
    shopper: Shopper | None = None
    recorded: bool = True


@dataclass(frozen=True)
class Answered:
    """A request that has its answer.

    Attributes:
        asked: the request.
        decision: what was drawn for it.
        models: that decided, as the answer names them.
        degraded: parts of the service that were away.
    """

    asked: Asked
    decision: Decision
    models: ModelSet
    degraded: tuple[Part, ...]

    @cached_property
    def answer(self) -> AdsAnswer:
        """What the API answers."""
        return answer_of(self.asked.body, self.asked.request_id, self.decision, self.models, self.degraded)

    @cached_property
    def json(self) -> bytes:
        """The same, as it is sent."""
        return answer_json(self.asked.body, self.asked.request_id, self.decision, self.models, self.degraded)


class Ads:
    """From requests for ads to slates whose records are on disk."""

    def __init__(self, parts: Parts, stopwatch: Stopwatch) -> None:
        """Args: what to work with, and what is told which stage has ended."""
        self._parts = parts
        self._stopwatch = stopwatch
        self._state, self._log, self._reviews = parts.storage.state, parts.storage.log, parts.storage.reviews

    def check(self, body: AdsRequest) -> None:
        """What the parameters and the fields together do not allow.

        Args:
            body: the request.

        Raises:
            RefusedError: a field is wrong.
        """
        limit = self._parts.settings.params.max_slate
        if body.k > limit:
            raise invalid(Fault(field="k", problem=f"{body.k} is above serving.max_slate, {limit}"))
        if body.user_id is not None and body.history is not None:
            raise invalid(Fault(field="history", problem="given beside user_id; give one of them"))
        if body.brand is not None:
            self._check_brand(body.brand, body.scene)

    def _check_brand(self, brand: str, scene: str) -> None:
        if scene != Scene.BRAND:
            raise invalid(Fault(field="brand", problem=f'read in scene brand only, and the scene is {scene}; send "scene": "brand"'))
        known = self._parts.models().decider.retrieval.rules.brands
        if brand not in known:
            alike = [name for name in known if name[0] == brand[0]][:_BRANDS_COMPARED]
            near = get_close_matches(brand, alike, n=3, cutoff=0.5) or known[:3]
            told = (
                f"the catalogue's {len(known)} brands have none of that name; such as {', '.join(near)}"
                if known
                else "the catalogue names no brand"
            )
            raise invalid(Fault(field="brand", problem=told))

    def answer_all(self, asked: Sequence[Asked]) -> list[Answered | Exception]:
        """Decide, store, answer; again when a creative was reviewed meanwhile, so that nothing is stored after it was blocked.

        Requests of one shopper are answered one after the other, for the second has to know what the first was shown.

        Args:
            asked: see `_answer_once`.

        Returns:
            See `_answer_once`.

        Raises:
            RefusedError: see `_answer_once`.
            Error: see `_answer_once`.
        """
        answers: dict[str, Answered | Exception] = {}
        for number, wave in enumerate(_waves(asked)):
            try:
                found: Sequence[Answered | Exception] = self._answer_wave(wave)
            except Exception as error:
                if not number:
                    raise
                found = [error] * len(wave)  # what the waves before it were shown is stored, and they have their answers
            answers.update(zip((one.request_id for one in wave), found, strict=True))
        return [answers[one.request_id] for one in asked]

    def _answer_wave(self, asked: Sequence[Asked]) -> list[Answered | Exception]:
        while True:
            try:
                return self._answer_once(asked)
            except StaleReviewsError:
                continue

    def _answer_once(self, asked: Sequence[Asked]) -> list[Answered | Exception]:
        """Decide, store, answer, for requests that stand together: the records are on disk, by one commit, when this returns.

        Args:
            asked: checked requests, at least one.

        Returns:
            One answer a request, or why it is refused.

        Raises:
            RefusedError: there are no champions.
            Error: of SQLite: the records could not be stored, and nobody has an answer.
            StaleReviewsError: a creative was reviewed meanwhile, and nobody has an answer.
        """
        watch = self._stopwatch.start()
        models = self._parts.models()
        now = models.world.now()
        spent = self._state.spent(now)
        budgets = {
            c.campaign_id: c.daily_budget_micros - spent.get(c.campaign_id, 0)
            for c in models.pool.campaigns
            if c.daily_budget_micros is not None
        }
        beliefs = models.learning.current if models.learning else None
        blocked = self._reviews.blocked()
        blocked_rows = models.pool.rows_of(blocked.creative_ids)
        pacing = models.pacing
        standing = (pacing.standing if pacing else UNPACED).without([campaign for campaign, left in budgets.items() if left <= 0])
        watched = pacing.wants() if pacing else 0
        known, answers = self._all_known(asked, models.world.key, now)
        watch("read what is known of the shopper")
        params = self._parts.settings.params
        drawing = {who.place: models.policies.of(who.user) for who in known}
        under = {policy: models.under(policy, beliefs) for policy in {mine for mine, _ in drawing.values()}}
        asks = [
            Ask(
                history=who.history,
                scene=who.asked.body.scene,
                channel=who.asked.body.channel,
                k=who.asked.body.k,
                now=moment(now),
                exploration=mine.exploration,
                rng=np.random.default_rng(uuid.UUID(who.asked.request_id).int),
                size=params.candidates,
                exclude=who.asked.body.exclude,
                brand=who.asked.body.brand,
                responses=who.responses,
                frequency_cap=params.frequency_cap,
                category_share=params.category_share,
                multipliers=standing.multipliers(who.asked.request_id),
                watched=turn < watched and who.asked.recorded,
                blocked=blocked_rows,
                beliefs=beliefs if mine.learns else None,
                rival=Rival(other.exploration, beliefs if other.learns else None) if other else None,
            )
            for turn, who in enumerate(known)
            for mine, other in [drawing[who.place]]
        ]
        decided: list[tuple[_Known, Decision]] = []
        for who, decision in zip(known, _each(models.decider, asks, watch), strict=True):
            if isinstance(decision, Exception):
                answers[who.place] = decision
            else:
                decided.append((who, decision))
        records = [
            _record(
                who,
                decision,
                under[drawing[who.place][0]],
                now,
                budgets,
                reviewed=blocked.seq,
                rival=drawing[who.place][1],
                pace=standing.text,
            )
            for who, decision in decided
            if decision.choices and who.asked.recorded
        ]
        if records:
            self._log.write(records, reviewed=blocked.seq)
            self._state.decided(records)
            if pacing and watched > 0:
                asked_for = ((one.offer, who.asked.body) for who, one in decided if one.offer is not None)
                pacing.watch([Watched(offer, body.scene, body.channel, now) for offer, body in asked_for])
        degraded = tuple(self._parts.storage.condition.degraded)
        watch("store the decisions, synced")
        for who, decision in decided:
            answers[who.place] = Answered(who.asked, decision, under[drawing[who.place][0]], degraded)
        return answers

    def _all_known(self, asked: Sequence[Asked], key: bytes, now: int) -> tuple[list["_Known"], list[Answered | Exception]]:
        """What is known of each request's shopper, read for all of them at once, and a place for every answer."""
        users = [_shopper(one, key) for one in asked]
        named = [user for one, user in zip(asked, users, strict=True) if _is_named(one)]
        pasts = iter(self._state.pasts(named, now) if named else ())
        known: list[_Known] = []
        answers: list[Answered | Exception] = []
        for one, user in zip(asked, users, strict=True):
            try:
                past = next(pasts) if _is_named(one) else _told_past(one, now)
            except RefusedError as error:
                answers.append(error)
            else:
                assert past is not None  # `Remembered` knows something of everybody, and the log alone raises
                known.append(_Known(one, len(answers), user, past.history, past.responses, past.whole))
                answers.append(_UNDECIDED)
        return known, answers


def _waves(asked: Sequence[Asked]) -> list[list[Asked]]:
    """The requests, such that no shopper stands twice in a wave."""
    waves: list[list[Asked]] = []
    times: Counter[str | None] = Counter()
    for one in asked:
        name = one.body.user_id if one.shopper is None else one.shopper.user_id
        place = times[name] if name is not None else 0
        times[name] += 1
        if place == len(waves):
            waves.append([])
        waves[place].append(one)
    return waves


def _is_named(asked: Asked) -> bool:
    return asked.shopper is None and asked.body.user_id is not None and asked.body.consent


def _shopper(asked: Asked, key: bytes) -> str:
    if asked.shopper is not None:
        return asked.shopper.user_id
    name = plain(asked.body.user_id) if asked.body.user_id and _is_named(asked) else f"anonymous request {asked.request_id}"
    return pseudonymise([name], key)[0]


def _told_past(asked: Asked, now: int) -> Past:
    """The past that came with the request, where none is to be read. Raises RefusedError when it is wrong."""
    if asked.shopper is not None:
        return asked.shopper.past
    if asked.body.history and asked.body.consent:
        return Past(readable_history(asked.body.history, now, gap=GAP), Responses.empty(), whole=False)
    return Past(History.empty(), Responses.empty())


_UNDECIDED = RuntimeError("a request of the group was left out")


def _each(decider: Decider, asks: Sequence[Ask], watch: Stopwatch) -> Sequence[Decision | Exception]:
    """Decisions; when the group fails, each by itself, so that a request that cannot be decided harms no other."""
    try:
        return decider.decide_all(asks, ended=watch) if asks else []
    except Exception as error:
        if len(asks) == 1:
            return [error]
        return [one for ask in asks for one in _each(decider, [ask], watch)]


@dataclass(frozen=True)
class _Known:
    """A request, its place in its group, and what is known of its shopper; not replayable when that is stored nowhere."""

    asked: Asked
    place: int
    user: str
    history: History
    responses: Responses
    replayable: bool


def _record(
    one: _Known,
    decision: Decision,
    models: ModelSet,
    now: int,
    budgets: Mapping[str, int],
    *,
    reviewed: int,
    rival: ServedPolicy | None,
    pace: str | None,
) -> Record:
    body = one.asked.body
    context = Context(
        request_id=one.asked.request_id,
        timestamp=now,
        user_id=one.user,
        scene=body.scene,
        channel=body.channel,
        consent=body.consent,
        replayable=one.replayable,
        policy_version=models.versions.policy,
        model_version=models.versions.model,
        retrieval_version=f"{decision.retrieval_version}/{models.versions.retrieval}" + (f"/reviews-{reviewed}" if reviewed else ""),
        key_fingerprint=models.world.fingerprint,
    )
    texts = {choice.creative_id: str(models.pool.text[choice.row]) for choice in decision.choices}
    return Record(context, decision, texts, budgets, Beside(rival.version, models.policies.share) if rival else None, pace)
