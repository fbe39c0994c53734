"""Decisions as the API tells them."""

from collections.abc import Sequence

import numpy as np

from models.card import Card, card_svg
from models.decision import Choice, Decision
from serving.api import Ad, AdsAnswer, AdsRequest, Audience, CampaignAnswer, Part, Why
from serving.clock import moment
from serving.model_set import ModelSet


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


def answer_of(body: AdsRequest, request_id: str, decision: Decision, models: ModelSet, degraded: Sequence[Part]) -> AdsAnswer:
    """A decision as the API gives it.

    Args:
        body: the request.
        request_id: of the answer.
        decision: what was drawn.
        models: that decided.
        degraded: parts of the service that were away.
    """
    ads = [_ad(choice, position, body, models) for position, choice in enumerate(decision.choices)]
    met = [event.item_id for event in body.history or [] if event.item_id is not None]
    return AdsAnswer(
        request_id=request_id,
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
        why=Why(
            kind=choice.cause.kind,
            deed=choice.cause.deed or None,
            title=choice.cause.title or None,
            category=choice.cause.category or None,
            query=choice.cause.query or None,
            timestamp=None if choice.cause.timestamp is None else moment(choice.cause.timestamp),
        ),
        card_svg=card,
    )
