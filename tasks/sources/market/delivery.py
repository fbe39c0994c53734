"""Logged ads: requests, retrieved candidates, the randomised logging policy, and what came of each impression."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from core.columns import Columns as C
from core.params import MarketParams
from core.vocabulary import CHANNELS, SCENES, Channel
from tasks.sources.market.assortment import Assortment
from tasks.sources.market.clock import DAY, HOUR, draw_times
from tasks.sources.market.terms import World

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

POLICY_VERSION, RETRIEVAL_VERSION = "market-logging-1", "market-retrieval-1"
POPULARITY_SHARE, RECENT_SHARE, UNIFORM_SHARE = 0.3, 0.4, 0.3
"""Retrieval: weights of popularity so far, the shopper's recent categories, and chance."""
RECENT_EVENTS = 10
POPULARITY_WEIGHT, EXPLORATION = 0.5, 0.3
"""Logging policy: (1 - exploration) · softmax(weight · standardised log popularity) + exploration · uniform."""
IN_SESSION = 0.6
"""Share of requests that come shortly after one of the shopper's sessions began."""
SCENE_SHARES = {"product": 0.45, "promotion": 0.3, "brand": 0.1, "cross_sell": 0.15}
SESSION_CHANNELS = {Channel.ONSITE: 0.8, Channel.SOCIAL: 0.0, Channel.SEARCH: 0.2}
OUTSIDE_CHANNELS = {Channel.ONSITE: 0.0, Channel.SOCIAL: 0.7, Channel.SEARCH: 0.3}
CHUNK = 4096


@dataclass(frozen=True)
class Requests:
    """Ad requests with their candidates and slates; every array has one row a request, in time order.

    Attributes:
        user: (n,) index of the shopper.
        time: (n,) microseconds.
        scene: (n,) index into SCENES.
        channel: (n,) index into CHANNELS.
        candidates: (n, k) rows of the copies table, -1 where a slot holds fewer.
        slate: (n, slate) columns of `candidates`.
        propensity: (n, slate) conditional on the positions above.
        marginal: (n, slate) P(this candidate at this position | context).
    """

    user: Ints
    time: Ints
    scene: Ints
    channel: Ints
    candidates: Ints
    slate: Ints
    propensity: Floats
    marginal: Floats


def request_times(
    world: World, params: MarketParams, scenes_with_copy: set[str], rng: np.random.Generator
) -> tuple[Ints, Ints, Ints, Ints]:
    """Who asks for an ad when and where.

    Args:
        world: shoppers and their sessions.
        params: days and requests a day.
        scenes_with_copy: nobody asks for another scene.
        rng: the stream to draw from.

    Returns:
        Shopper, microseconds, scene and channel of each request, in time order; each (n,).
    """
    appetite = np.sqrt(world.shoppers.activity.astype(np.float64))
    counts = rng.poisson(params.requests_per_day * params.days * appetite / appetite.mean())
    users = np.repeat(np.arange(len(counts), dtype=np.int64), counts)
    times = draw_times(len(users), world.start, params.days, rng)
    sessions = np.bincount(world.session_user, minlength=len(counts))[users]
    in_session = (sessions > 0) & (rng.random(len(users)) < IN_SESSION)
    first = np.searchsorted(world.session_user, users)
    pick = first + (rng.random(len(users)) * sessions).astype(np.int64)
    if len(world.session_time):
        joined = (
            world.session_time[np.minimum(pick, len(world.session_time) - 1)]
            + (rng.exponential(180, len(users)) * 1e6).astype(np.int64)
            + 1_000_000
        )
        times = np.where(in_session, np.minimum(joined, world.start + params.days * DAY - 1), times)
    shares = np.array([SCENE_SHARES[scene] if scene in scenes_with_copy else 0.0 for scene in SCENES])
    scenes = rng.choice(len(SCENES), size=len(users), p=shares / shares.sum())
    inside = rng.choice(len(CHANNELS), size=len(users), p=[SESSION_CHANNELS[Channel(channel)] for channel in CHANNELS])
    outside = rng.choice(len(CHANNELS), size=len(users), p=[OUTSIDE_CHANNELS[Channel(channel)] for channel in CHANNELS])
    channels = np.where(in_session, inside, outside)
    order = np.lexsort((users, times))
    return users[order], times[order], scenes[order].astype(np.int64), channels[order].astype(np.int64)


def deliver(
    world: World, assortment: Assortment, *, events: pd.DataFrame, copies: pd.DataFrame, params: MarketParams, rng: np.random.Generator
) -> Requests:
    """Draw requests, their candidates and their slates.

    Args:
        world: latents and sessions.
        assortment: products (out of stock ones are not advertised).
        events: behaviour with indices, see `sessions.Behaviour`.
        copies: the copies table.
        params: sizes.
        rng: the stream to draw from.

    Returns:
        The requests of slots that hold copies of more products than a slate shows.
    """
    user, time, scene, channel = request_times(world, params, set(copies[C.SCENE]) or set(SCENES), rng)
    item_of = pd.Index([product.item_id for product in assortment.products])
    copy_item = item_of.get_indexer(pd.Index(copies[C.ITEM])).astype(np.int64)
    in_stock = np.array([product.stock != 0 for product in assortment.products])
    popularity = _popularity(world, events, len(item_of), params.days)
    candidates = np.full((len(user), params.candidates), -1, dtype=np.int64)
    weights = np.zeros((len(user), params.candidates))
    recent = _recent_categories(world, events, user, time)
    for scene_index, scene_name in enumerate(SCENES):
        for channel_index, channel_name in enumerate(CHANNELS):
            rows = np.flatnonzero((scene == scene_index) & (channel == channel_index))
            fits = (copies[C.SCENE] == scene_name) & (copies[C.CHANNEL] == channel_name)
            pool = np.flatnonzero(fits.to_numpy() & in_stock[copy_item])
            if len(np.unique(copy_item[pool])) <= params.slate:
                continue
            for chunk in np.array_split(rows, max(1, -(-len(rows) // CHUNK))):
                day = (time[chunk] - world.start) // DAY
                found, weight = _retrieve(
                    pool,
                    copy_item=copy_item,
                    item_category=world.item_category,
                    popularity=popularity,
                    day=day,
                    recent=recent[chunk],
                    count=params.candidates,
                    rng=rng,
                )
                candidates[chunk, : found.shape[1]], weights[chunk, : found.shape[1]] = found, weight
    served = np.flatnonzero(candidates[:, 0] >= 0)
    candidates, weights = candidates[served], weights[served]
    slate, propensity, marginal = _slates(candidates, weights, params.slate, rng)
    return Requests(user[served], time[served], scene[served], channel[served], candidates, slate, propensity, marginal)


def _popularity(world: World, events: pd.DataFrame, items: int, days: int) -> Floats:
    """Standardised log of one plus views up to the midnight before each day. (days, items)."""
    views = events[(events["item"] >= 0) & (events[C.EVENT_TYPE] == "view")]
    day = ((views[C.TIMESTAMP].to_numpy() - world.start) // DAY).astype(np.int64)
    counts = np.zeros((days + 1, items))
    np.add.at(counts, (day + 1, views["item"].to_numpy()), 1.0)
    logs = np.log1p(np.cumsum(counts, axis=0)[:days])
    spread = np.maximum(logs.std(axis=1, keepdims=True), 1e-9)
    return np.asarray((logs - logs.mean(axis=1, keepdims=True)) / spread)


def _recent_categories(world: World, events: pd.DataFrame, user: Ints, time: Ints) -> npt.NDArray[np.float32]:
    """Share of each category among a shopper's last ten product events before each request. (n, categories), rows sum to 1 or 0."""
    touched = events[events["item"] >= 0].sort_values(["user", C.TIMESTAMP], kind="stable")
    key = touched["user"].to_numpy() * (1 << 42) + (touched[C.TIMESTAMP].to_numpy() - world.start)
    category = world.item_category[touched["item"].to_numpy()]
    owner = touched["user"].to_numpy()
    latest = np.searchsorted(key, user * (1 << 42) + (time - world.start), side="left") - 1
    shares = np.zeros((len(user), len(world.seasons)), dtype=np.float32)
    for back in range(RECENT_EVENTS if len(key) else 0):
        index = np.maximum(latest - back, 0)
        rows = np.flatnonzero((latest - back >= 0) & (owner[index] == user))
        shares[rows, category[index[rows]]] += 1.0
    known: npt.NDArray[np.float32] = shares / np.maximum(shares.sum(axis=1, keepdims=True), 1.0)
    return known


def _retrieve(
    pool: Ints,
    *,
    copy_item: Ints,
    item_category: Ints,
    popularity: Floats,
    day: Ints,
    recent: npt.NDArray[np.float32],
    count: int,
    rng: np.random.Generator,
) -> tuple[Ints, Floats]:
    """`count` distinct products and one copy of each; returns rows of copies and log policy weights, each (n, min(count, products))."""
    items, slots = np.unique(copy_item[pool], return_inverse=True)
    categories = item_category[items]
    listed = np.bincount(categories, minlength=recent.shape[1])
    popular = np.exp(popularity[:, items])
    by_day = (POPULARITY_SHARE * popular / popular.sum(axis=1, keepdims=True) + UNIFORM_SHARE / len(items)).astype(np.float32)
    near = np.where(listed > 0, recent, np.float32(0))
    near = (RECENT_SHARE * near / np.maximum(near.sum(axis=1, keepdims=True), 1e-12) / np.maximum(listed, 1)).astype(np.float32)
    mixture = by_day[day] + near[:, categories]
    waits = rng.standard_exponential(mixture.shape, dtype=np.float32) / mixture  # the shortest waits: a draw without replacement
    most = min(count, len(items))
    chosen = np.argpartition(waits, most - 1, axis=1)[:, :most]
    chosen = rng.permuted(np.sort(chosen, axis=1), axis=1)
    by_slot = np.argsort(slots, kind="stable")
    starts, sizes = np.searchsorted(slots[by_slot], np.arange(len(items))), np.bincount(slots, minlength=len(items))
    which = starts[chosen] + (rng.random(chosen.shape) * sizes[chosen]).astype(np.int64)
    return pool[by_slot[which]], POPULARITY_WEIGHT * popularity[day[:, None], items[chosen]]


def _slates(candidates: Ints, weights: Floats, size: int, rng: np.random.Generator) -> tuple[Ints, Floats, Floats]:
    """Draw slates without replacement; exact conditional and marginal propensities, each (n, size)."""
    real = candidates >= 0
    odds = np.where(real, np.exp(weights), 0.0)
    first = (1 - EXPLORATION) * odds / odds.sum(axis=1, keepdims=True) + EXPLORATION * real / real.sum(axis=1, keepdims=True)
    rows = np.arange(len(first))
    left = first.copy()
    slate = np.zeros((len(first), size), dtype=np.int64)
    propensity, marginal = np.zeros((len(first), size)), np.zeros((len(first), size))
    for position in range(size):
        conditional = left / left.sum(axis=1, keepdims=True)
        cumulative = np.cumsum(conditional, axis=1)
        drawn = (cumulative < rng.random((len(first), 1)) * cumulative[:, -1:]).sum(axis=1)
        slate[:, position] = drawn
        propensity[:, position] = conditional[rows, drawn]
        marginal[:, position] = position_marginal(first, drawn, position)
        left[rows, drawn] = 0.0
    return slate, propensity, marginal


def position_marginal(first: Floats, chosen: Ints, position: int) -> Floats:
    """P(candidate stands at a position) when a slate is drawn one by one without replacement.

    Formula: position 0: p_j. Position 1: Σ_{i≠j} p_i · p_j / (1 - p_i).
    Position 2: Σ_{i≠j} Σ_{l≠i,j} p_i · p_l / (1 - p_i) · p_j / (1 - p_i - p_l).

    Args:
        first: (n, k) probabilities at position 0.
        chosen: (n,) the candidate.
        position: 0, 1 or 2.

    Returns:
        (n,).

    Raises:
        ValueError: position is above 2.
    """
    rows = np.arange(len(first))
    own = first[rows, chosen]
    if position == 0:
        return own
    others = first.copy()
    others[rows, chosen] = 0.0
    if position == 1:
        second_place: Floats = own * (others / (1.0 - others)).sum(axis=1)
        return second_place
    if position == 2:
        total = np.zeros(len(first))
        for second in range(first.shape[1]):
            upper = others.copy()
            upper[:, second] = 0.0
            rest = np.maximum(1.0 - upper - others[:, [second]], 1e-12)
            total += (upper / (1.0 - upper) * others[:, [second]] / rest).sum(axis=1)
        return own * total
    raise ValueError(f"position is {position}; marginals are computed for 0, 1 and 2")


def conversion_delay(count: int, rng: np.random.Generator) -> Ints:
    """Microseconds from a click to the purchase: exponential with mean 8 hours, cut off below 3 days. (count,)."""
    hours = np.minimum(rng.exponential(8.0, count), 70.0)
    return np.asarray(hours * HOUR, dtype=np.int64) + 60_000_000
