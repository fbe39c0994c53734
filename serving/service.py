"""What the service does, free of HTTP: ads, events, copy."""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from core.identity import pseudonymise
from models.card import Card, card_svg
from models.decision import Ask, Choice, Decider, Decision
from models.features import Responses
from models.history import History
from serving.api import Ad, AdsAnswer, AdsRequest, Audience, CampaignAnswer, Fault, Part
from serving.champions import Champions
from serving.clock import moment
from serving.decision_log import Context, Record
from serving.errors import RefusedError, invalid
from serving.metrics import Stopwatch
from serving.model_set import ModelSet
from serving.reading import plain, readable_history
from serving.settings import Settings
from serving.state import Past
from serving.storage import Storage

GAP = 60_000_000
"""Microseconds between events of an anonymous history that come without times."""


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
class Asked:
    """A request for ads.

    Attributes:
        body: as it was sent.
        request_id: a fresh UUID in hexadecimal; it also seeds the draw, so that a decision can be replayed.
    """

    body: AdsRequest
    request_id: str


@dataclass(frozen=True)
class Answered:
    """An answer, and the decision behind it."""

    answer: AdsAnswer
    decision: Decision


class Ads:
    """From requests for ads to slates whose records are on disk."""

    def __init__(self, parts: Parts, stopwatch: Stopwatch) -> None:
        """Args: what to work with, and what is told which stage has ended."""
        self._parts = parts
        self._stopwatch = stopwatch
        self._state, self._log = parts.storage.state, parts.storage.log

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

    def answer_all(self, asked: Sequence[Asked]) -> list[Answered | Exception]:
        """Decide, store, answer, for requests that stand together: the records are on disk, by one commit, when this returns.

        Args:
            asked: checked requests, at least one.

        Returns:
            One answer a request, or why it is refused.

        Raises:
            RefusedError: there are no champions.
            Error: of SQLite: the records could not be stored, and nobody has an answer.
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
        if beliefs is not None:
            models = replace(models, versions=models.versions.model_copy(update={"policy": beliefs.version}))
        closed = [campaign for campaign, left in budgets.items() if left <= 0]
        known, answers = self._all_known(asked, models.world.key, now)
        watch("read what is known of the shopper")
        params = self._parts.settings.params
        asks = [
            Ask(
                history=who.history,
                scene=who.asked.body.scene,
                channel=who.asked.body.channel,
                k=who.asked.body.k,
                now=moment(now),
                exploration=params.exploration,
                rng=np.random.default_rng(uuid.UUID(who.asked.request_id).int),
                size=params.candidates,
                exclude=who.asked.body.exclude,
                responses=who.responses,
                closed_campaigns=closed,
                beliefs=beliefs,
            )
            for who in known
        ]
        decided: list[tuple[_Known, Decision]] = []
        for who, decision in zip(known, _each(models.decider, asks, watch), strict=True):
            if isinstance(decision, Exception):
                answers[who.place] = decision
            else:
                decided.append((who, decision))
        records = [_record(who, decision, models, now, budgets) for who, decision in decided if decision.choices]
        if records:
            self._log.write(records)
            self._state.decided(records)
        degraded = self._parts.storage.condition.degraded
        watch("store the decisions, synced")
        for who, decision in decided:
            answers[who.place] = Answered(_answer(who.asked, decision, models, degraded), decision)
        watch("make the answer")
        return answers

    def _all_known(self, asked: Sequence[Asked], key: bytes, now: int) -> tuple[list["_Known"], list[Answered | Exception]]:
        """What is known of each request's shopper, read for all of them at once, and a place for every answer."""
        users = [_shopper(one, key) for one in asked]
        named = [user for one, user in zip(asked, users, strict=True) if _is_named(one.body)]
        pasts = iter(self._state.pasts(named, now) if named else ())
        known: list[_Known] = []
        answers: list[Answered | Exception] = []
        for one, user in zip(asked, users, strict=True):
            try:
                past = next(pasts) if _is_named(one.body) else _told_past(one.body, now)
            except RefusedError as error:
                answers.append(error)
            else:
                assert past is not None  # `Remembered` knows something of everybody, and the log alone raises
                known.append(_Known(one, len(answers), user, past.history, past.responses, past.whole))
                answers.append(_UNDECIDED)
        return known, answers


def _is_named(body: AdsRequest) -> bool:
    return body.user_id is not None and body.consent


def _shopper(asked: Asked, key: bytes) -> str:
    name = plain(asked.body.user_id) if asked.body.user_id and _is_named(asked.body) else f"anonymous request {asked.request_id}"
    return pseudonymise([name], key)[0]


def _told_past(body: AdsRequest, now: int) -> Past:
    """The past of somebody without a name: what came with the request, which is stored nowhere. Raises RefusedError when it is wrong."""
    if body.history and body.consent:
        return Past(readable_history(body.history, now, gap=GAP), Responses.empty(), whole=False)
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


def _record(one: _Known, decision: Decision, models: ModelSet, now: int, budgets: Mapping[str, int]) -> Record:
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
        retrieval_version=f"{decision.retrieval_version}/{models.versions.retrieval}",
        key_fingerprint=models.world.fingerprint,
    )
    texts = {choice.creative_id: str(models.pool.text[choice.row]) for choice in decision.choices}
    return Record(context, decision, texts, budgets)


def _unknown(items: Sequence[str], models: ModelSet) -> list[str]:
    known = models.recommender.catalogue.index
    return [item for item in dict.fromkeys(items) if item not in known and item not in models.pool.item_row]


def audience_answer(models: ModelSet, audience: str | None) -> Audience | None:
    """An audience as the API gives it.

    Args:
        models: name it.
        audience: its id.
    """
    return None if audience is None else Audience(audience_id=audience, name=models.recommender.audience_names[audience])


def _answer(asked: Asked, decision: Decision, models: ModelSet, degraded: Sequence[Part]) -> AdsAnswer:
    body = asked.body
    ads = [_ad(choice, position, body, models) for position, choice in enumerate(decision.choices)]
    met = [event.item_id for event in body.history or [] if event.item_id is not None]
    return AdsAnswer(
        request_id=asked.request_id,
        slate=ads,
        candidates=len(decision.candidates),
        audience=audience_answer(models, decision.audience),
        versions=models.versions,
        unknown_items=_unknown([*met, *body.exclude], models),
        degraded=list(degraded),
    )


def _ad(choice: Choice, position: int, asked: AdsRequest, models: ModelSet) -> Ad:
    product = models.products[choice.item_id]
    campaign = choice.campaign
    text, ai_label = str(models.pool.text[choice.row]), bool(models.pool.ai_label[choice.row])
    card = None
    if asked.cards:
        drawn = Card(
            title=product.title,
            category=product.category,
            text=text,
            channel=asked.channel,
            brand=product.brand,
            price_micros=product.price_micros,
            campaign=campaign.name if campaign else None,
            start=campaign.start if campaign else None,
            end=campaign.end if campaign else None,
            ai_label=ai_label,
        )
        card = card_svg(drawn)
    return Ad(
        position=position,
        creative_id=choice.creative_id,
        item_id=choice.item_id,
        title=product.title,
        category=product.category,
        brand=product.brand,
        price_micros=product.price_micros,
        text=text,
        origin=str(models.pool.origin[choice.row]),
        ai_label=ai_label,
        p_click=choice.p_click,
        p_convert=choice.p_convert,
        probability=choice.probability,
        propensity=choice.propensity,
        marginal=None if np.isnan(choice.marginal) else choice.marginal,
        bid_micros=choice.bid_micros,
        ecpm_micros=choice.ecpm_micros,
        campaign=CampaignAnswer(campaign_id=campaign.campaign_id, name=campaign.name, start=campaign.start, end=campaign.end)
        if campaign
        else None,
        reason=choice.reason,
        card_svg=card,
    )
