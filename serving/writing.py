"""Copy for one product and audience, now: written, reviewed, and labelled."""

import uuid
from dataclasses import replace

import numpy as np

from core.identity import pseudonymise
from core.vocabulary import Origin
from models.generator import CopyRequest
from models.generator.on_demand import write_reviewed
from models.history import History
from serving.answers import audience_answer
from serving.api import Copy, CreativesAnswer, CreativesRequest, Fault, Refusal
from serving.errors import invalid
from serving.model_set import ModelSet
from serving.reading import plain
from serving.service import Parts


class Writing:
    """Writes copy on request."""

    def __init__(self, parts: Parts) -> None:
        """Args: what to work with."""
        self._parts = parts
        self._state = parts.storage.state

    def write(self, asked: CreativesRequest, request_id: str) -> CreativesAnswer:
        """Write, review, and give what passed, best first.

        When none of the chosen generator's candidates passes, the template writes: it states the product's own facts only.

        Args:
            asked: the request.
            request_id: a fresh UUID in hexadecimal; seeds the draw.

        Returns:
            At most n texts; none when even the template's break the rules.

        Raises:
            RefusedError: a field is wrong, or there are no champions.
        """
        models = self._parts.models()
        audience, feature = self._audience(asked, models)
        order = replace(self._order(asked, models).placed(asked.scene, asked.channel, audience, feature), tone=asked.tone)
        bundle = models.generator
        name = bundle.writer_for(order, asked.generator)
        if name not in bundle.generators:
            raise invalid(
                Fault(field="generator", problem=f"{name!r} is not in the champion bundle; it has {', '.join(bundle.generators)}")
            )
        with models.writing:
            passed, refused = write_reviewed(bundle, order, asked.n, np.random.default_rng(uuid.UUID(request_id).int), kind=asked.generator)
        return CreativesAnswer(
            creatives=[Copy(text=one.text, origin=one.origin, ai_label=one.origin != Origin.HUMAN, quality=one.quality) for one in passed],
            refused=[Refusal(reason=review.reason, rule=review.rule, found=review.found) for review in refused],
            audience=audience_answer(models, audience),
            generator=name,
            generator_version=f"{name}-{models.versions.bundles['generator'][:12]}",
        )

    def _order(self, asked: CreativesRequest, models: ModelSet) -> CopyRequest:
        if (asked.item_id is None) == (asked.product is None):
            raise invalid(Fault(field="item_id", problem="give either item_id or product"))
        if asked.product is not None:
            given = asked.product
            return CopyRequest(
                item_id="",
                title=plain(given.title),
                category=plain(given.category),
                brand=None if given.brand is None else plain(given.brand),
                price_micros=given.price_micros,
                attributes=tuple((plain(key), plain(value)) for key, value in given.attributes),
                limits=models.generator.limits,
            )
        if asked.item_id not in models.products:
            raise invalid(Fault(field="item_id", problem=f"no item {asked.item_id!r} in the catalogue; describe it as `product`"))
        return models.products[str(asked.item_id)]

    def _audience(self, asked: CreativesRequest, models: ModelSet) -> tuple[str | None, np.ndarray | None]:
        """The audience's id and feature; a shopper's own feature goes with the audience that it belongs to."""
        if asked.audience_id is not None and asked.user_id is not None:
            raise invalid(Fault(field="audience_id", problem="given beside user_id; give one of them"))
        features = models.recommender.audience_features
        if asked.audience_id is not None:
            if asked.audience_id not in features:
                raise invalid(Fault(field="audience_id", problem=f"no audience {asked.audience_id!r}; there are {', '.join(features)}"))
            return asked.audience_id, features[asked.audience_id]
        if asked.user_id is None:
            return None, None
        user = pseudonymise([plain(asked.user_id)], models.world.key)[0]
        past = self._state.pasts([user], models.world.now())[0]
        feature = models.recommender.user_feature([past.history if past else History.empty()], models.world.now())
        return models.recommender.audience_of(feature)[0], feature[0]
