"""What the service does, free of HTTP: ads, events, copy."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from core.identity import pseudonymise
from models.card import Card, card_svg
from models.decision import Choice, Decision
from models.features import Responses
from models.history import History
from serving.api import Ad, AdsAnswer, AdsRequest, Audience, CampaignAnswer, Fault
from serving.champions import Champions
from serving.clock import moment
from serving.database import Database
from serving.decision_log import Context, DecisionLog
from serving.errors import RefusedError, invalid
from serving.model_set import ModelSet
from serving.reading import plain, readable_history
from serving.settings import Settings
from serving.state import OnlineState

GAP = 60_000_000
"""Microseconds between events of an anonymous history that come without times."""


@dataclass(frozen=True)
class Parts:
    """What the doors of the service work with.

    Attributes:
        settings: of the service.
        database: its file.
        champions: what answers, and for whom.
    """

    settings: Settings
    database: Database
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


class Ads:
    """From a request for ads to a slate whose record is on disk."""

    def __init__(self, parts: Parts) -> None:
        """Args: what to work with."""
        self._parts = parts
        self._state = OnlineState(parts.database, max_events=parts.settings.params.max_events)
        self._log = DecisionLog(parts.database)

    def answer(self, asked: AdsRequest, request_id: str) -> tuple[AdsAnswer, Decision]:
        """Decide, store, answer.

        Args:
            asked: the request.
            request_id: a fresh UUID in hexadecimal; it also seeds the draw, so that a decision can be replayed.

        Returns:
            The answer, and the decision behind it.

        Raises:
            RefusedError: a field is wrong, or there are no champions.
        """
        params = self._parts.settings.params
        if asked.k > params.max_slate:
            raise invalid(Fault(field="k", problem=f"{asked.k} is above serving.max_slate, {params.max_slate}"))
        if asked.user_id is not None and asked.history is not None:
            raise invalid(Fault(field="history", problem="given beside user_id; give one of them"))
        models = self._parts.models()
        world, now = models.world, models.world.now()
        named = asked.user_id is not None and asked.consent
        user = pseudonymise([plain(asked.user_id) if named and asked.user_id else f"anonymous request {request_id}"], world.key)[0]
        history, responses = self._known(asked, user, now, named=named)
        spent = self._log.spent_today(now)
        budgets = {
            c.campaign_id: c.daily_budget_micros - spent.get(c.campaign_id, 0)
            for c in models.pool.campaigns
            if c.daily_budget_micros is not None
        }
        decision = models.decider.decide(
            history,
            scene=asked.scene,
            channel=asked.channel,
            k=asked.k,
            now=moment(now),
            exploration=params.exploration,
            rng=np.random.default_rng(uuid.UUID(request_id).int),
            size=params.candidates,
            exclude=asked.exclude,
            responses=responses,
            closed_campaigns=[campaign for campaign, left in budgets.items() if left <= 0],
        )
        if decision.choices:
            context = Context(
                request_id=request_id,
                timestamp=now,
                user_id=user,
                scene=asked.scene,
                channel=asked.channel,
                consent=asked.consent,
                replayable=named or not len(history),
                policy_version=models.versions.policy,
                model_version=models.versions.model,
                retrieval_version=f"{decision.retrieval_version}/{models.versions.retrieval}",
                key_fingerprint=world.fingerprint,
            )
            texts = {choice.creative_id: str(models.pool.text[choice.row]) for choice in decision.choices}
            self._log.write(context, decision, texts, budgets)
        met = [event.item_id for event in asked.history or [] if event.item_id is not None]
        return _answer(asked, decision, models, request_id, _unknown([*met, *asked.exclude], models)), decision

    def _known(self, asked: AdsRequest, user: str, now: int, *, named: bool) -> tuple[History, Responses]:
        if named:
            return self._state.history(user, now), self._state.responses(user, now)
        if asked.history and asked.consent:
            return readable_history(asked.history, now, gap=GAP), Responses.empty()
        return History.empty(), Responses.empty()


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


def _answer(asked: AdsRequest, decision: Decision, models: ModelSet, request_id: str, unknown: list[str]) -> AdsAnswer:
    ads = [_ad(choice, position, asked, models) for position, choice in enumerate(decision.choices)]
    return AdsAnswer(
        request_id=request_id,
        slate=ads,
        candidates=len(decision.candidates),
        audience=audience_answer(models, decision.audience),
        versions=models.versions,
        unknown_items=unknown,
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
