"""Decisions as the API tells them."""

from collections.abc import Sequence
from math import isnan

import orjson

from models.card import Card, card_svg
from models.decision import Choice, Decision
from serving.api import AdsAnswer, AdsRequest, Audience, Part
from serving.clock import moment
from serving.model_set import ModelSet

Fields = dict[str, object]
"""An answer before it is JSON: what `AdsAnswer` has, by name."""


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
    return AdsAnswer.model_validate(_fields(body, request_id, decision, models, degraded) | {"versions": models.versions})


def answer_json(body: AdsRequest, request_id: str, decision: Decision, models: ModelSet, degraded: Sequence[Part]) -> bytes:
    """The JSON of `answer_of`, without the detour over models that check what is known to be right.

    Args:
        body: the request.
        request_id: of the answer.
        decision: what was drawn.
        models: that decided.
        degraded: parts of the service that were away.
    """
    fields = _fields(body, request_id, decision, models, degraded) | {"versions": orjson.Fragment(models.versions_json)}
    return orjson.dumps(fields, option=orjson.OPT_UTC_Z)


def _fields(body: AdsRequest, request_id: str, decision: Decision, models: ModelSet, degraded: Sequence[Part]) -> Fields:
    """All but the versions, in the order of `AdsAnswer`."""
    met = [event.item_id for event in body.history or () if event.item_id is not None]
    audience = decision.audience
    return {
        "request_id": request_id,
        "slate": [_ad(choice, position, body, models) for position, choice in enumerate(decision.choices)],
        "candidates": len(decision.candidates),
        "audience": None if audience is None else {"audience_id": audience, "name": models.recommender.audience_names[audience]},
        "versions": None,
        "unknown_items": _unknown([*met, *body.exclude], models) if met or body.exclude else [],
        "degraded": list(degraded),
    }


def _ad(choice: Choice, position: int, asked: AdsRequest, models: ModelSet) -> Fields:
    product, campaign, cause = models.products[choice.item_id], choice.campaign, choice.cause
    text, ai_label = models.pool.text[choice.row], bool(models.pool.ai_label[choice.row])
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
    return {
        "position": position,
        "creative_id": choice.creative_id,
        "item_id": choice.item_id,
        "title": product.title,
        "category": product.category,
        "brand": product.brand,
        "price_micros": product.price_micros,
        "text": text,
        "origin": models.pool.origin[choice.row],
        "ai_label": ai_label,
        "p_click": choice.p_click,
        "p_convert": choice.p_convert,
        "probability": choice.probability,
        "propensity": choice.propensity,
        "marginal": None if isnan(choice.marginal) else choice.marginal,
        "bid_micros": choice.bid_micros,
        "ecpm_micros": choice.ecpm_micros,
        "campaign": campaign and {"campaign_id": campaign.campaign_id, "name": campaign.name, "start": campaign.start, "end": campaign.end},
        "reason": choice.reason,
        "why": {
            "kind": cause.kind,
            "deed": cause.deed or None,
            "title": cause.title or None,
            "category": cause.category or None,
            "query": cause.query or None,
            "timestamp": None if cause.timestamp is None else moment(cause.timestamp),
        },
        "card_svg": card,
    }
