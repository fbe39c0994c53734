"""From a shopper and a slot to a slate: candidates, scores, constraints, policy. The one path of serving and report alike."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from threading import Lock

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from core.columns import Columns
from core.vocabulary import EventType, Scene
from models.features import Candidates, Requests, Responses
from models.history import History, micros
from models.policies.slate import slate
from models.pool import Campaign, Pool, default_bid
from models.ranker import RankerBundle
from models.recommender import RecommenderBundle
from models.sharing import SharedRecommender
from models.text import attributes_of

RETRIEVAL_VERSION = "recommender-top-1"
NEAREST = 20
"""Items that answer a search which no title holds."""
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
        explored: True when the policy thinks another candidate better that was left.
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
    explored: bool = False


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
    """Chooses items and creatives; holds no state about shoppers. Several threads may ask: they wait for each other.

    Args:
        recommender: finds the items.
        ranker: scores (shopper, item, creative, context).
        pool: what may be shown.
    """

    def __init__(self, recommender: RecommenderBundle, ranker: RankerBundle, pool: Pool) -> None:
        self.recommender = recommender
        self.pool = pool
        self._shared = SharedRecommender(recommender)
        self.ranker = ranker.reading(self._shared) if ranker.recommender is recommender else ranker
        self._turn = Lock()
        self._bid = default_bid(pool)
        catalogue = recommender.catalogue
        rankable = set(ranker.recommender.catalogue.item_ids)
        self._servable = np.array([item in pool.item_row and item in rankable for item in catalogue.item_ids], dtype=bool)
        rows = catalogue.items.to_dict("records")
        self._title = [str(row[Columns.TITLE]) for row in rows]
        self._category = [str(row[Columns.CATEGORY]) for row in rows]
        kinds = [_kind({str(name): value for name, value in row.items()}) for row in rows]
        self._kind = np.unique([" ".join(kind) for kind in kinds], return_inverse=True)[1]  # (items,)
        brands = ["" if pd.isna(row[Columns.BRAND]) else str(row[Columns.BRAND]) for row in rows]
        self._branded = np.array([bool(brand) for brand in brands], dtype=bool)
        self._brand = np.unique(brands, return_inverse=True)[1]  # (items,)

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
        closed_campaigns: Collection[str] = (),
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
            closed_campaigns: ids of campaigns that pay no more today.

        Returns:
            The decision; without choices when no creative fits.
        """
        moment = int(micros(now)[0]) if now.tzinfo is None else round(now.timestamp() * 1_000_000)
        with self._turn:
            known = history.before(moment)
            scores = self._shared.champion.score([known], moment)[0]
            audience = self._shared.audience_of(self._shared.user_feature([known], moment))[0]
            campaigns = self.pool.campaigns_by_category(scene=scene, channel=channel, audience=audience, now=now, closed=closed_campaigns)
            ranked = self._ranked(known, scores, moment, exclude)
            codes, rows = self._candidates(known, ranked, scene=scene, channel=channel, audience=audience, promoted=campaigns, size=size)
            if not rows:
                return Decision((), (), audience, RETRIEVAL_VERSION)
            items = [str(self.pool.item_id[row]) for row in rows]
            answered = (responses or Responses.empty()).before(moment)
            requests = Requests((known,), (answered,), (scene,), (channel,), np.array([moment], dtype=np.int64))
            predicted = self.ranker.predict(requests, Candidates.one(items, [str(self.pool.text[row]) for row in rows]))
        paying = [campaigns.get(self._category[code]) for code in codes]
        bids = np.array([campaign.bid_micros if campaign else self._bid for campaign in paying], dtype=np.float64)
        values = predicted.p_click * bids
        drawn = slate(values, k, exploration, rng, groups=np.array(codes))
        explored = _explored(values, np.array(codes), drawn.indices)
        chances = _shares(scores, codes)
        choices = tuple(
            Choice(
                row=rows[index],
                creative_id=str(self.pool.creative_id[rows[index]]),
                item_id=items[index],
                campaign=paying[index],
                p_click=float(predicted.p_click[index]),
                p_convert=float(predicted.p_convert[index]),
                bid_micros=int(bids[index]),
                ecpm_micros=round(1000 * float(predicted.p_click[index]) * float(bids[index])),
                propensity=float(propensity),
                marginal=float(marginal),
                probability=chances[codes[index]],
                reason=self._reason(known, codes[index], scene),
                explored=worse,
            )
            for index, propensity, marginal, worse in zip(drawn.indices.tolist(), drawn.propensity, drawn.marginal, explored, strict=True)
        )
        return Decision(choices, tuple(str(self.pool.creative_id[row]) for row in rows), audience, RETRIEVAL_VERSION)

    def _ranked(self, history: History, scores: NDArray[np.float32], moment: int, exclude: Sequence[str]) -> NDArray[np.int64]:
        """Codes of the items that the rules allow and the pool knows, the most probable first."""
        allowed = self.recommender.allowed([history], moment)[0] & self._servable
        barred = self.recommender.catalogue.codes(list(exclude))
        allowed[barred[barred >= 0]] = False
        codes = np.flatnonzero(allowed)
        return np.asarray(codes[np.argsort(-scores[codes], kind="stable")])

    def _candidates(
        self,
        history: History,
        ranked: NDArray[np.int64],
        *,
        scene: str,
        channel: str,
        audience: str | None,
        promoted: Mapping[str, Campaign],
        size: int,
    ) -> tuple[list[int], list[int]]:
        """Item code and pool row of each candidate; items without a creative for the place give way to the next."""
        fits = self._fits(history, scene, promoted)
        for considered in (ranked[fits[ranked]], ranked):  # a scene that fits no item says less, but never nothing
            codes: list[int] = []
            rows: list[int] = []
            found = 0
            for code in considered.tolist():
                item = self.recommender.catalogue.item_ids[code]
                own = self.pool.candidates_of(item, scene=scene, channel=channel, audience=audience)[:CREATIVES_PER_ITEM]
                rows += own
                codes += [code] * len(own)
                found += bool(own)
                if found >= max(1, size // CREATIVES_PER_ITEM):
                    break
            if rows:
                return codes[:size], rows[:size]
        return [], []

    def _fits(self, history: History, scene: str, promoted: Mapping[str, Campaign]) -> NDArray[np.bool_]:
        """Which items the scene is about, ``(items,)``."""
        everything = np.ones(len(self._category), dtype=bool)
        if scene == Scene.PROMOTION:
            promotable = np.array([category in promoted for category in self._category], dtype=bool)
            sought = promotable & self._answers(history)
            return sought if sought.any() else promotable
        codes = self.recommender.catalogue.codes(history.item_ids)
        met = codes >= 0
        if scene == Scene.BRAND:
            liked = np.unique(self._brand[codes[met]])
            return self._branded & np.isin(self._brand, liked) if self._branded[codes[met]].any() else self._branded
        if scene == Scene.CROSS_SELL and met.any():
            taken = np.array([kind in {EventType.CART, EventType.PURCHASE} for kind in history.event_types], dtype=bool)
            latest = codes[met & taken] if (met & taken).any() else codes[met]
            return ~np.isin(self._kind, self._kind[latest[-3:]])
        return everything

    def _answers(self, history: History) -> NDArray[np.bool_]:
        """Which items answer the search that the shopper has just made, ``(items,)``; all when the last event was none.

        Those whose title holds the query; where none does, the nearest by text.
        """
        query = history.queries[-1] if len(history) else ""
        if not query:
            return np.ones(len(self._title), dtype=bool)
        held = np.array([query in title for title in self._title], dtype=bool)
        if held.any():
            return held
        catalogue = self.recommender.catalogue
        nearness = (catalogue.vectors @ catalogue.featurise([query])[0])[catalogue.text_of]  # (items,)
        return np.asarray(nearness >= np.sort(nearness)[-min(NEAREST, len(nearness))])

    def _reason(self, history: History, code: int, scene: str) -> str:
        """One line on why this item, from the shopper's own latest related event."""
        title, category, index = self._title[code], self._category[code], self.recommender.catalogue.index
        for event, kind, query in zip(reversed(history.item_ids), reversed(history.event_types), reversed(history.queries), strict=True):
            if kind == EventType.SEARCH and query and (query in title or category in query):
                return f"searched for “{query}”"
            seen = index.get(event, -1) if event else -1
            if seen == code:
                return f"{_DEEDS[kind]} this product"
            if seen >= 0 and self._kind[seen] == self._kind[code]:
                return f"{_DEEDS[kind]} {self._title[seen]}, a product of the same kind"
            if seen >= 0 and self._category[seen] == category:
                return f"{_DEEDS[kind]} {self._title[seen]}, also {category}"
        return {Scene.PROMOTION: "in a running promotion", Scene.BRAND: "a brand near the shopper's taste"}.get(
            Scene(scene), "popular with shoppers like this one"
        )


_DEEDS: dict[str, str] = {
    EventType.VIEW: "viewed",
    EventType.SEARCH: "searched for",
    EventType.CART: "put in the cart",
    EventType.FAVOURITE: "marked as favourite",
    EventType.PURCHASE: "bought",
}


def _kind(item: dict[str, object]) -> tuple[str, ...]:
    """What kind of product it is: its category and which attributes it has; two of one kind stand for each other."""
    return (str(item[Columns.CATEGORY]), *sorted({key for key, _ in attributes_of(item[Columns.ATTRIBUTES])}))


def _explored(values: NDArray[np.float64], codes: NDArray[np.int64], chosen: NDArray[np.int64]) -> list[bool]:
    """Whether a better candidate was left, position by position."""
    left = np.ones(len(values), dtype=bool)
    found: list[bool] = []
    for index in chosen.tolist():
        found.append(bool(values[index] < values[left].max()))
        left &= codes != codes[index]
    return found


def _shares(scores: NDArray[np.float32], codes: Sequence[int]) -> dict[int, float]:
    """P(item | shopper) over the candidates' items, as `RecommenderBundle.probability` gives it."""
    distinct = list(dict.fromkeys(codes))
    logits = scores[distinct].astype(np.float64)
    shares = np.exp(logits - logits.max())
    return dict(zip(distinct, (shares / shares.sum()).tolist(), strict=True))


def probabilities_over(bundle: RecommenderBundle, history: History, item_ids: Sequence[str], now: datetime) -> NDArray[np.float64]:
    """P(item | shopper) over a chosen few items: sums to 1.

    Args:
        bundle: the recommender.
        history: what the shopper did.
        item_ids: at least one.
        now: the moment, UTC.
    """
    return np.asarray(bundle.probability(history, list(item_ids), now=int(now.timestamp() * 1_000_000)), dtype=np.float64)
