"""Judges the scenes: each by what it is for, on lists as they would be shown, under all rules."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
import pandas as pd

from core.columns import Columns
from core.params import EvaluateParams
from core.vocabulary import EventType, Scene
from evaluation.intervals import Interval, bootstrap_mean, bootstrap_paired_difference
from evaluation.ranking import target_ranks
from models.history import TARGET_TYPES, History, histories, micros, next_items
from models.pool import Campaign
from models.recommender import RecommenderBundle
from models.recommender.training.baskets import hold_out
from models.recommender.training.validation import RankingRule
from tasks.judge.measures import Measure

BASELINES = ("popularity", "item_knn")
MOST = 4000
"""Shoppers, or baskets, that a scene is judged on at the most."""
FEWEST = 50
"""Cases below which a scene's numbers are too few to tell: one of them moves a hit rate by 2 % or more, and the bootstrap is too narrow."""
RULE = RankingRule(target_ranks, lambda ranks: 1.0 / ranks)
_ROWS = 256


@dataclass(frozen=True)
class Cases:
    """What is to be foreseen in one scene.

    Attributes:
        users: (n,) whose.
        histories: n of them, strictly before ``moments``.
        moments: (n,) int64 microseconds.
        targets: (n,) item ids.
        promoted: n sets of categories that a campaign advertises then.
    """

    users: np.ndarray
    histories: Sequence[History]
    moments: np.ndarray
    targets: np.ndarray
    promoted: Sequence[frozenset[str]]

    def __len__(self) -> int:
        return len(self.users)


def judge_scenes(
    bundle: RecommenderBundle,
    events: pd.DataFrame,
    campaigns: Sequence[Campaign],
    *,
    start: datetime,
    params: EvaluateParams,
    rng: np.random.Generator,
) -> Measure:
    """Product, promotion and cross-sell: is what came next in the list; brand: are those it won ranked first among those it could win.

    Args:
        bundle: the recommenders and rules.
        events: the events table.
        campaigns: with their dates.
        start: first moment of the held-out window.
        params: the protocol.
        rng: draws held-out items of baskets, and the bootstrap.

    Returns:
        Scenes in the place of models; a scene without cases is left out, one with fewer than `FEWEST` is named in `too_few`.
    """
    k = params.top_k
    cases = {
        Scene.PRODUCT: _next(events, start, rng),
        Scene.PROMOTION: _promoted(bundle, events, campaigns, start, rng),
        Scene.CROSS_SELL: _baskets(bundle, events, start, rng),
    }
    models: dict[str, dict[str, Interval]] = {}

    def mean(values: np.ndarray, users: np.ndarray) -> Interval:
        return bootstrap_mean(values, users, params.bootstrap, rng)

    for scene, held in cases.items():
        if not len(held):
            continue
        names = [name for name in BASELINES if name in bundle.models]
        hits = {name: _hits(bundle, held, scene, k, name) for name in [None, *names]}
        found = {f"hr{k}": mean(hits[None], held.users)}
        for name in names:
            found[f"hr{k}_{name}"] = mean(hits[name], held.users)
            found[f"over_{name}"] = bootstrap_paired_difference(hits[None], hits[name], held.users, params.bootstrap, rng)
        models[str(scene)] = found
    won = _won(bundle, events, start)
    counted = {**{str(scene): len(held) for scene, held in cases.items()}, str(Scene.BRAND): len(won)}
    if len(won):
        users = won[Columns.USER].to_numpy()
        models[str(Scene.BRAND)] = {name: mean(won[name].to_numpy(np.float64), users) for name in ("auc", "auc_activity")}
    if not models:
        return Measure.untrained("not judged: nothing happens in the held-out window")
    return Measure(
        main=f"hr{k}",
        challenger=str(Scene.PRODUCT),
        models=models,
        facts={
            "cases": counted,
            "fewest_cases": FEWEST,
            "too_few": [scene for scene, count in counted.items() if count < FEWEST],
            "complements": bundle.complements is not None,
        },
    )


def _hits(bundle: RecommenderBundle, cases: Cases, scene: str, k: int, model: str | None) -> np.ndarray:
    """(n,) 1 where the target stands in the list that would have been shown."""
    hits = np.zeros(len(cases))
    for promoted in set(cases.promoted):
        rows = np.array([row for row, held in enumerate(cases.promoted) if held == promoted], dtype=np.int64)
        told = [cases.histories[row] for row in rows]
        shown = bundle.top_k(told, k, now=cases.moments[rows], scene=scene, promoted=promoted, model=model)
        hits[rows] = [target in items for target, items in zip(cases.targets[rows], shown, strict=True)]
    return hits


def _next(events: pd.DataFrame, start: datetime, rng: np.random.Generator) -> Cases:
    """The next item that each shopper viewed or bought."""
    return _cases(events, next_items(events, start), rng, lambda moment: frozenset())


def _promoted(
    bundle: RecommenderBundle, events: pd.DataFrame, campaigns: Sequence[Campaign], start: datetime, rng: np.random.Generator
) -> Cases:
    """The first item of each shopper that a campaign advertised just then."""
    categories = frozenset(bundle.scenes.categories)

    def running(moment: int) -> frozenset[str]:
        now = datetime.fromtimestamp(moment / 1_000_000, tz=UTC)
        held = [campaign.categories or categories for campaign in campaigns if _runs(campaign, now)]
        return frozenset().union(*held)

    late = events[(events[Columns.TIMESTAMP] >= pd.Timestamp(start)) & events[Columns.EVENT_TYPE].isin(TARGET_TYPES)]
    late = late[late[Columns.ITEM].isin(bundle.catalogue.item_ids)]
    category = dict(zip(bundle.catalogue.item_ids, bundle.catalogue.items[Columns.CATEGORY].astype(str), strict=True))
    moments = micros(late[Columns.TIMESTAMP])
    inside = [category[item] in running(moment) for item, moment in zip(late[Columns.ITEM].astype(str), moments.tolist(), strict=True)]
    return _cases(events, next_items(late[np.array(inside, dtype=bool)], start), rng, running)


def _runs(campaign: Campaign, now: datetime) -> bool:
    return campaign.start <= now <= campaign.end and (not campaign.scenes or Scene.PROMOTION in campaign.scenes)


def _cases(events: pd.DataFrame, found: pd.DataFrame, rng: np.random.Generator, running: Callable[[int], frozenset[str]]) -> Cases:
    rows = np.sort(rng.permutation(len(found))[:MOST])
    users = found[Columns.USER].astype(str).to_numpy(dtype=object)[rows]
    moments = micros(found[Columns.TIMESTAMP])[rows]
    told = histories(events, users.tolist(), moments)
    targets = found[Columns.ITEM].astype(str).to_numpy(dtype=object)[rows]
    return Cases(users, told, moments, targets, [running(moment) for moment in moments.tolist()])


def _baskets(bundle: RecommenderBundle, events: pd.DataFrame, start: datetime, rng: np.random.Generator) -> Cases:
    """Baskets with one item held out; the others lie in the cart. An item that stands in for one of these is none to foresee."""
    end = (events[Columns.TIMESTAMP].max() + pd.Timedelta(microseconds=1)).to_pydatetime()
    held = hold_out(events, bundle.catalogue, start=start, end=end, most=MOST, rng=rng, rule=RULE)
    told = zip(held.histories, held.moments.tolist(), held.targets.tolist(), strict=True)
    rules = bundle.scenes
    fit = [row for row, (cart, moment, code) in enumerate(told) if rules.candidates(Scene.CROSS_SELL, cart, moment)[code]]
    targets = np.array(bundle.catalogue.item_ids, dtype=object)[held.targets[fit]]
    users = np.array(held.user_ids, dtype=object)[fit]
    return Cases(users, [held.histories[row] for row in fit], held.moments[fit], targets, [frozenset()] * len(fit))


def _won(bundle: RecommenderBundle, events: pd.DataFrame, start: datetime) -> pd.DataFrame:
    """Each shopper that a brand won in the window: the share of those it could win and did not that stand below.

    The mean over rows is the mean AUC of the brands, each weighed by whom it won.

    Returns:
        user_id, brand, auc (by P(an item of the brand | history)), auc_activity (by the number of events).
    """
    rules, catalogue = bundle.scenes, bundle.catalogue
    empty = pd.DataFrame({Columns.USER: [], Columns.BRAND: [], "auc": [], "auc_activity": []})
    early = events[events[Columns.TIMESTAMP] < pd.Timestamp(start)]
    users = sorted(set(early[Columns.USER].astype(str)))[:MOST]
    if not users or not rules.brands:
        return empty
    moment = int(micros(start)[0])
    told = histories(early, users, start)
    late = events[(events[Columns.TIMESTAMP] >= pd.Timestamp(start)) & (events[Columns.EVENT_TYPE] == EventType.PURCHASE)]
    bought: dict[str, set[str]] = {}
    for user, item in zip(late[Columns.USER].astype(str), late[Columns.ITEM].astype(str), strict=True):
        bought.setdefault(user, set()).add(item)
    winnable = np.array([rules.winnable(history, moment) for history in told])  # (users, brands)
    won = np.zeros_like(winnable)
    for row, user in enumerate(users):
        codes = catalogue.codes(sorted(bought.get(user, ())))
        won[row] = rules.of_brand[codes[codes >= 0]].any(axis=0) & winnable[row]
    mass = np.empty(winnable.shape)
    for first in range(0, len(users), _ROWS):
        rows = slice(first, first + _ROWS)
        moments = np.full(len(told[rows]), moment, dtype=np.int64)
        scores = np.where(bundle.allowed(told[rows], moments), bundle.champion.score(told[rows], moments).astype(np.float64), -np.inf)
        shares = np.exp(scores - scores.max(axis=1, keepdims=True))
        mass[rows] = (shares / shares.sum(axis=1, keepdims=True)) @ rules.of_brand
    activity = np.array([len(history) for history in told], dtype=np.float64)
    found: list[tuple[str, str, float, float]] = []
    for column, brand in enumerate(rules.brands):
        others = winnable[:, column] & ~won[:, column]
        if not others.any():
            continue
        for row in np.flatnonzero(won[:, column]).tolist():
            shares_below = [_below(values[row], values[others]) for values in (mass[:, column], activity)]
            found.append((users[row], brand, shares_below[0], shares_below[1]))
    return pd.DataFrame(found, columns=empty.columns) if found else empty


def _below(value: float, others: np.ndarray) -> float:
    return float((others < value).mean() + (others == value).mean() / 2)
