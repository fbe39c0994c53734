"""From a shopper and a slot to a slate: candidates, scores, constraints, policy. The one path of serving and report alike."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from core.columns import Columns
from core.vocabulary import EventType, Scene
from models.features import Candidates, Requests, Responses
from models.history import History
from models.policy import slate
from models.pool import Campaign, Pool, default_bid
from models.ranker import RankerBundle
from models.recommender import RecommenderBundle
from models.text import attributes_of

RETRIEVAL_VERSION = "recommender-top-1"
CREATIVES_PER_ITEM = 2
"""Creatives of one item among the candidates at the most."""


@dataclass(frozen=True)
class Choice:
    """One position of a slate, with everything that its decision record needs.

    Attributes:
        row: the creative's row in the pool.
        creative_id: what is shown.
        item_id: for which item.
        campaign: in which campaign, None outside campaigns.
        p_click: predicted probability of a click at position 0.
        p_convert: predicted probability of a conversion after a click.
        bid_micros: worth of a click.
        ecpm_micros: 1000 · p_click · bid.
        propensity: P(chosen | the positions above).
        marginal: P(chosen at this position), NaN where it was not computed.
        probability: P(item | shopper) of the recommender among the candidates' items.
        reason: one line for a person.
    """

    row: int
    creative_id: str
    item_id: str
    campaign: Campaign | None
    p_click: float
    p_convert: float
    bid_micros: int
    ecpm_micros: int
    propensity: float
    marginal: float
    probability: float
    reason: str


@dataclass(frozen=True)
class Decision:
    """A slate and the set it was drawn from.

    Attributes:
        choices: one a position, topmost first; empty when nothing may be shown.
        candidates: creative ids that could have been drawn.
        audience: the shopper's audience.
        retrieval_version: how the candidates were found.
    """

    choices: tuple[Choice, ...]
    candidates: tuple[str, ...]
    audience: str | None
    retrieval_version: str


class Decider:
    """Chooses items and creatives; holds no state about shoppers.

    Args:
        recommender: finds the items.
        ranker: scores (shopper, item, creative, context).
        pool: what may be shown.
    """

    def __init__(self, recommender: RecommenderBundle, ranker: RankerBundle, pool: Pool) -> None:
        self.recommender = recommender
        self.ranker = ranker
        self.pool = pool
        self._bid = default_bid(pool)
        self._kind = {str(row[Columns.ITEM]): _kind(row) for row in pool.items.to_dict("records")}
        self._brand = {str(item): "" if brand is None or brand != brand else str(brand) for item, brand in zip(pool.items[Columns.ITEM], pool.items[Columns.BRAND], strict=True)}  # noqa: PLR0124

    def decide(
        self,
        history: History,
        *,
        scene: str,
        channel: str,
        k: int,
        now: datetime,
        exploration: float,
        rng: np.random.Generator,
        size: int = 50,
        exclude: Sequence[str] = (),
        responses: Responses | None = None,
    ) -> Decision:
        """Draw a slate for one request.

        Args:
            history: what the shopper did; events at or after ``now`` are not looked at.
            scene: why an ad is shown.
            channel: where.
            k: positions wanted.
            now: the moment of the decision, UTC.
            exploration: the policy's floor, in [0, 1].
            rng: the stream to draw from.
            size: candidates at the most.
            exclude: items that must not be shown.
            responses: the shopper's answers to earlier ads, when known.

        Returns:
            The decision; without choices when no creative fits.
        """
        moment = int(now.replace(tzinfo=now.tzinfo or UTC).timestamp() * 1_000_000)
        known = history.before(moment)
        audience = self.recommender.audience_of(self.recommender.user_feature([known]))[0]
        rows = self._candidates(known, scene=scene, channel=channel, audience=audience, now=now, size=size, exclude=exclude)
        if not rows:
            return Decision((), (), audience, RETRIEVAL_VERSION)
        items = [str(self.pool.item_id[row]) for row in rows]
        requests = Requests.one(known, scene=scene, channel=channel, timestamp=moment, responses=responses)
        p_click, p_convert = self.ranker.predict(requests, Candidates.one(items, [str(self.pool.text[row]) for row in rows]))
        campaigns = [self.pool.campaign_of(item, scene=scene, channel=channel, audience=audience, now=now) for item in items]
        bids = np.array([campaign.bid_micros if campaign else self._bid for campaign in campaigns], dtype=np.float64)
        drawn = slate(p_click * bids, k, exploration, rng, groups=np.unique(items, return_inverse=True)[1])
        distinct = list(dict.fromkeys(items))
        chances = dict(zip(distinct, self.recommender.probability(known, distinct, now=moment).tolist(), strict=True))
        choices = tuple(
            Choice(
                row=rows[index],
                creative_id=str(self.pool.creative_id[rows[index]]),
                item_id=items[index],
                campaign=campaigns[index],
                p_click=float(p_click[index]),
                p_convert=float(p_convert[index]),
                bid_micros=int(bids[index]),
                ecpm_micros=round(1000 * float(p_click[index]) * float(bids[index])),
                propensity=float(propensity),
                marginal=float(marginal),
                probability=chances[items[index]],
                reason=self._reason(known, items[index], scene),
            )
            for index, propensity, marginal in zip(drawn.indices.tolist(), drawn.propensity, drawn.marginal, strict=True)
        )
        return Decision(choices, tuple(str(self.pool.creative_id[row]) for row in rows), audience, RETRIEVAL_VERSION)

    def _candidates(
        self, history: History, *, scene: str, channel: str, audience: str | None, now: datetime, size: int, exclude: Sequence[str]
    ) -> list[int]:
        wanted = max(1, size // CREATIVES_PER_ITEM)
        moment = int(now.timestamp() * 1_000_000)
        ranked = self.recommender.top_k([history], len(self.pool.items), exclude=list(exclude), now=moment)[0]
        servable = [str(item) for item in ranked if str(item) in self.pool.item_row]
        fitting = self._fitting(history, servable, scene=scene, channel=channel, audience=audience, now=now)
        rows: list[int] = []
        for item in fitting[:wanted]:
            rows += self.pool.creatives_of(item, scene=scene, channel=channel, audience=audience)[:CREATIVES_PER_ITEM]
        return rows[:size]

    def _fitting(
        self, history: History, ranked: list[str], *, scene: str, channel: str, audience: str | None, now: datetime
    ) -> list[str]:
        """Items that the scene is about, best first; all of them when the scene has none (it then says less, but never nothing)."""
        if scene == Scene.PROMOTION:
            promoted = [i for i in ranked if self.pool.campaign_of(i, scene=scene, channel=channel, audience=audience, now=now)]
            return promoted or ranked
        if scene == Scene.BRAND:
            liked = {self._brand.get(item, "") for item in history.item_ids if item} - {""}
            return [item for item in ranked if self._brand[item] in liked] or [item for item in ranked if self._brand[item]] or ranked
        if scene == Scene.CROSS_SELL:
            owned = [i for i, kind in zip(history.item_ids, history.event_types, strict=True) if kind in {EventType.CART, EventType.PURCHASE}]
            kinds = {self._kind[item] for item in (owned or [i for i in history.item_ids if i])[-3:] if item in self._kind}
            return [item for item in ranked if self._kind[item] not in kinds] or ranked
        return ranked

    def _reason(self, history: History, item: str, scene: str) -> str:
        """One line on why this item, from the shopper's own latest related event."""
        shown = self.pool.item(item)
        for event, kind, query in zip(reversed(history.item_ids), reversed(history.event_types), reversed(history.queries), strict=True):
            if kind == EventType.SEARCH and query and (query in str(shown[Columns.TITLE]) or str(shown[Columns.CATEGORY]) in query):
                return f"searched for “{query}”"
            if event and event in self.pool.item_row:
                seen = self.pool.item(event)
                if event == item:
                    return f"{_DEEDS[kind]} this product"
                if self._kind[event] == self._kind[item]:
                    return f"{_DEEDS[kind]} {seen[Columns.TITLE]}, a product of the same kind"
                if seen[Columns.CATEGORY] == shown[Columns.CATEGORY]:
                    return f"{_DEEDS[kind]} {seen[Columns.TITLE]}, also {shown[Columns.CATEGORY]}"
        return {Scene.PROMOTION: "in a running promotion", Scene.BRAND: "a brand near the shopper's taste"}.get(
            Scene(scene), "popular with shoppers like this one"
        )


_DEEDS = {
    EventType.VIEW: "viewed",
    EventType.SEARCH: "searched for",
    EventType.CART: "put in the cart",
    EventType.FAVOURITE: "marked as favourite",
    EventType.PURCHASE: "bought",
}


def _kind(item: dict[str, object]) -> tuple[str, ...]:
    """What kind of product it is: its category and which attributes it has; two of one kind stand for each other."""
    return (str(item[Columns.CATEGORY]), *sorted({key for key, _ in attributes_of(item[Columns.ATTRIBUTES])}))


def probabilities_over(bundle: RecommenderBundle, history: History, item_ids: Sequence[str], now: datetime) -> NDArray[np.float64]:
    """P(item | shopper) over a chosen few items: sums to 1.

    Args:
        bundle: the recommender.
        history: what the shopper did.
        item_ids: at least one.
        now: the moment, UTC.
    """
    return np.asarray(bundle.probability(history, list(item_ids), now=int(now.timestamp() * 1_000_000)), dtype=np.float64)
