"""From a shopper and a slot to a slate: candidates, scores, constraints, policy. The one path of serving and report alike."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from threading import Lock

import numpy as np
from numpy.typing import NDArray

from core.columns import Columns
from models.decision import Ask, Choice, Decision, Rival, Thought
from models.features import Candidates, Places, Recommended, Requests, Responses
from models.frequency import within_cap
from models.history import History
from models.pacing import Offer
from models.policies.slate import Slate, follow
from models.policies.together import Draw, slates
from models.policies.variety import Limit
from models.pool import Campaign, Pool, default_bid
from models.ranker import Prediction, RankerBundle
from models.recommender import RecommenderBundle
from models.recommender.scenes import most_of_a_category
from models.retrieval import Found, Retrieval

RETRIEVAL_VERSION = "recommender-scenes-3"


@dataclass(frozen=True)
class _Prepared:
    """A request with its candidates, before the ranker and the policy have seen it."""

    ask: Ask
    history: History
    moment: int
    scores: NDArray[np.float32]
    audience: str
    campaigns: Mapping[str, Campaign]
    found: Found
    limit: Limit


@dataclass(frozen=True)
class _Valued:
    """A request's candidates as the policy sees them.

    Attributes:
        predicted: by the ranker.
        paying: the campaign of each, None outside campaigns.
        bids: what a click on each costs.
        worth: the bid, less what its campaign's money is worth elsewhere.
        values: what showing each is worth.
        votes: what the policy draws from.
    """

    predicted: Prediction
    paying: Sequence[Campaign | None]
    bids: NDArray[np.float64]
    worth: NDArray[np.float64]
    values: NDArray[np.float64]
    votes: NDArray[np.float64]


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
        self.ranker = ranker
        self._same = ranker.recommender is recommender
        self._turn = Lock()
        self._bid = default_bid(pool)
        self.retrieval = Retrieval(recommender, pool, ranker.recommender.catalogue.item_ids)
        self._creative_id: list[str] = [str(name) for name in pool.creative_id]
        self._text: list[str] = [str(text) for text in pool.text]
        self._places: Places | None = None

    def prepare(self) -> None:
        """Look up the creatives of every place, and let the ranker look at them, now, so that no request has to."""
        self.retrieval.prepare()
        channels = [str(name) for name in self.pool.creatives[Columns.CHANNEL]]
        self._places = self.ranker.look_up(self._text, self.pool.item_id.tolist(), channels)

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
        frequency_cap: int = 0,
    ) -> Decision:
        """Draw a slate for one request; the arguments are those of `Ask`.

        Args:
            history: see `Ask`.
            scene: see `Ask`.
            channel: see `Ask`.
            k: see `Ask`.
            now: see `Ask`.
            exploration: see `Ask`.
            rng: see `Ask`.
            size: see `Ask`.
            exclude: see `Ask`.
            responses: see `Ask`.
            frequency_cap: see `Ask`.

        Returns:
            The decision; without choices when no creative fits.
        """
        ask = Ask(history, scene, channel, k, now, exploration, rng, size, exclude, responses=responses, frequency_cap=frequency_cap)
        return self.decide_all([ask])[0]

    def decide_all(self, asks: Sequence[Ask], *, ended: Callable[[str], None] = lambda stage: None) -> list[Decision]:
        """Draw slates for requests that stand together: the networks and the features are computed once for all.

        Args:
            asks: at least one.
            ended: told the name of each stage when it has ended.

        Returns:
            One decision a request, in order; without choices when no creative fits. Each is what `decide` gives, but for the
            last digits of floating-point sums.
        """
        with self._turn:
            moments = [ask.moment for ask in asks]
            known = [ask.history.before(moment) for ask, moment in zip(asks, moments, strict=True)]
            at = np.array(moments, dtype=np.int64)
            told = Recommended(*self.recommender.scores_and_features(known, at))
            audiences = self.recommender.audience_of(told.shopper)
            ended("recommender: scores and F")
            prepared = [
                self._prepare(ask, history, moment, scores, audience)
                for ask, history, moment, scores, audience in zip(asks, known, moments, told.scores, audiences, strict=True)
            ]
            ended("candidates")
            predicted = self._predict(prepared, told, at, ended)
        bounds = np.cumsum([0, *[len(one.found) for one in prepared]]).tolist()
        parts = [slice(*part) for part in pairwise(bounds)]
        valued = [
            self._valued(one, Prediction(predicted.p_click[part], predicted.p_convert[part]))
            for one, part in zip(prepared, parts, strict=True)
        ]
        some = [place for place, one in enumerate(prepared) if len(one.found)]
        drawn = dict(zip(some, slates([_draw(prepared[place], valued[place].votes) for place in some]), strict=True))
        chances = _shares(prepared)
        decisions = [
            self._told(one, valued[place], drawn[place], chances[parts[place]])
            if place in drawn
            else Decision((), (), one.audience, RETRIEVAL_VERSION)
            for place, one in enumerate(prepared)
        ]
        ended("policy: slate and propensities")
        return decisions

    def _prepare(self, ask: Ask, history: History, moment: int, scores: NDArray[np.float32], audience: str) -> _Prepared:
        campaigns = self.pool.campaigns_by_category(
            scene=ask.scene, channel=ask.channel, audience=audience, now=ask.now, worth=ask.multipliers
        )
        found = self.retrieval.find(
            history,
            scores,
            moment=moment,
            scene=ask.scene,
            channel=ask.channel,
            audience=audience,
            promoted=campaigns,
            exclude=ask.exclude,
            brand=ask.brand,
            size=ask.size,
            blocked=ask.blocked,
            category_share=ask.category_share,
        )
        if ask.frequency_cap and ask.responses is not None:
            ids = self.recommender.catalogue.item_ids
            found = within_cap(found, ask.responses, moment=moment, cap=ask.frequency_cap, item_ids=ids, texts=self._text)
        limit = Limit(self.retrieval.rules.category[found.codes], most_of_a_category(ask.k, ask.category_share))
        return _Prepared(ask, history, moment, scores, audience, campaigns, found, limit)

    def _predict(self, prepared: Sequence[_Prepared], told: Recommended, at: NDArray[np.int64], ended: Callable[[str], None]) -> Prediction:
        """The candidates of all requests, one after the other."""
        rows = [one.found.rows.tolist() for one in prepared]
        if not any(rows):
            return Prediction(np.zeros(0), np.zeros(0))
        ids = self.recommender.catalogue.item_ids
        requests = Requests(
            tuple(one.history for one in prepared),
            tuple((one.ask.responses or Responses.empty()).before(one.moment) for one in prepared),
            tuple(one.ask.scene for one in prepared),
            tuple(one.ask.channel for one in prepared),
            at,
        )
        candidates = Candidates.many(
            [[ids[code] for code in one.found.codes.tolist()] for one in prepared],
            [[self._text[row] for row in held] for held in rows],
            None if self._places is None else self._places.take(np.concatenate([one.found.rows for one in prepared])),
        )
        asked = told if self._same else None
        if not self.ranker.trained:
            return self.ranker.predict(requests, candidates, recommended=asked)
        features, _ = self.ranker.features(requests, candidates, recommended=asked)
        ended("features")
        predicted = self.ranker.predict_matrix(features)
        ended("ranker")
        return predicted

    def _valued(self, one: _Prepared, predicted: Prediction) -> _Valued:
        """What each candidate is worth, and to whom."""
        ask, category = one.ask, self.retrieval.category
        paying = [one.campaigns.get(category[code]) for code in one.found.codes.tolist()]
        bids = np.array([campaign.bid_micros if campaign else self._bid for campaign in paying], dtype=np.float64)
        worth = _paced(bids, paying, ask.multipliers)
        if ask.beliefs is None or not paying:
            values = votes = predicted.p_click * worth
        else:
            mean, draws = ask.beliefs.p_click(one.found.rows, predicted.p_click, ask.rng)
            values, votes = mean * worth, draws * worth
        return _Valued(predicted, paying, bids, worth, values, votes)

    def _told(self, one: _Prepared, valued: _Valued, drawn: Slate, chances: NDArray[np.float64]) -> Decision:
        """The slate that was drawn, with everything that its record needs."""
        ask, predicted, paying, bids = one.ask, valued.predicted, valued.paying, valued.bids
        codes, rows, ids = one.found.codes.tolist(), one.found.rows.tolist(), self.recommender.catalogue.item_ids
        chosen = drawn.indices
        explored = _explored(valued.values, codes, one.limit, chosen.tolist())
        numbers = np.stack(
            [predicted.p_click[chosen], predicted.p_convert[chosen], bids[chosen], chances[chosen], drawn.propensity, drawn.marginal]
        )
        choices = tuple(
            Choice(
                row=rows[index],
                creative_id=self._creative_id[rows[index]],
                item_id=ids[codes[index]],
                campaign=paying[index],
                p_click=p_click,
                p_convert=p_convert,
                bid_micros=int(bid),
                ecpm_micros=round(1000 * p_click * bid),
                propensity=propensity,
                marginal=marginal,
                probability=probability,
                cause=self.retrieval.cause(one.history, codes[index], ask.scene, promoted=paying[index] is not None),
                explored=worse,
            )
            for index, worse, (p_click, p_convert, bid, probability, propensity, marginal) in zip(
                chosen.tolist(), explored, numbers.T.tolist(), strict=True
            )
        )
        thoughts = (
            ()
            if ask.rival is None
            else _thoughts(one, ask.rival, p_click=predicted.p_click, bids=valued.worth, votes=valued.votes, shown=drawn.indices)
        )
        offer = None
        if ask.watched:
            owners = tuple(campaign.campaign_id if campaign else None for campaign in paying)
            kinds = tuple(self.retrieval.category[code] for code in codes)
            offer = Offer(predicted.p_click, valued.values, one.found.codes, kinds, owners, one.audience, ask.k, ask.exploration, one.limit)
        shown = tuple([self._creative_id[row] for row in rows])
        return Decision(choices, shown, one.audience, RETRIEVAL_VERSION, thoughts, offer)


def _paced(bids: NDArray[np.float64], paying: Sequence[Campaign | None], multipliers: Mapping[str, float]) -> NDArray[np.float64]:
    """What a click is worth to whoever orders the candidates: the bid, less what its campaign's money is worth elsewhere."""
    if not multipliers:
        return bids
    shares = [1.0 if campaign is None else multipliers.get(campaign.campaign_id, 1.0) for campaign in paying]
    return bids * np.array(shares, dtype=np.float64)


def _draw(one: _Prepared, votes: NDArray[np.float64]) -> Draw:
    return Draw(votes, one.ask.k, one.ask.exploration, one.ask.rng, one.found.codes, one.limit)


def _thoughts(
    one: _Prepared,
    rival: Rival,
    *,
    p_click: NDArray[np.float64],
    bids: NDArray[np.float64],
    votes: NDArray[np.float64],
    shown: NDArray[np.int64],
) -> tuple[Thought, ...]:
    """What the rival would have done. Its votes have to do with the request, but not with what was drawn."""
    ask, found = one.ask, one.found
    if rival.beliefs is None:
        theirs = p_click * bids
    elif ask.beliefs is rival.beliefs:
        theirs = votes
    else:  # a stream of its own: the asker's was used to draw
        theirs = rival.beliefs.p_click(found.rows, p_click, ask.rng.spawn(1)[0])[1] * bids
    propensity, other = follow(theirs, shown, rival.exploration, p_click, groups=found.codes, limit=one.limit)
    _, own = follow(votes, shown, ask.exploration, p_click, groups=found.codes, limit=one.limit)
    return tuple(Thought(*told) for told in zip(propensity.tolist(), own.tolist(), other.tolist(), strict=True))


def _explored(values: NDArray[np.float64], codes: Sequence[int], limit: Limit, chosen: Sequence[int]) -> list[bool]:
    """Whether a better candidate could have stood here, position by position."""
    worth, kinds, order = values.tolist(), limit.categories.tolist(), np.argsort(-values, kind="stable").tolist()
    gone, taken = set[int](), Counter[int]()
    found: list[bool] = []
    for index in chosen:
        nobody_else = taken[kinds[index]] >= limit.most  # then the limit closes nothing here
        best = next(c for c in order if codes[c] not in gone and (nobody_else or taken[kinds[c]] < limit.most))
        found.append(worth[index] < worth[best])
        gone.add(codes[index])
        taken[kinds[index]] += 1
    return found


def _shares(prepared: Sequence[_Prepared]) -> NDArray[np.float64]:
    """P(item | shopper) over the items of each request's candidates, as `RecommenderBundle.probability` gives it; of all candidates."""
    logits = np.concatenate([one.scores[one.found.codes] for one in prepared]).astype(np.float64)
    if not len(logits):
        return logits
    codes = np.concatenate([one.found.codes for one in prepared])
    sizes = [len(one.found) for one in prepared if len(one.found)]
    starts = np.cumsum([0, *sizes[:-1]])
    shares = np.exp(logits - np.repeat(np.maximum.reduceat(logits, starts), sizes))
    first = np.ones(len(codes))
    first[1:] = codes[1:] != codes[:-1]  # an item's creatives stand together and have its share each, but it counts once
    first[starts] = 1
    return np.asarray(shares / np.repeat(np.add.reduceat(shares * first, starts), sizes))
