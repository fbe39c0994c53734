"""What acts on a shopper, term by term: the one definition that browsing, clicks and the truth share.

Every term has about unit scale; `market.strengths` scale them. See docs/decisions/0003-market-strengths.md.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tasks.sources.market.clock import DAY, beijing_hour, season_weights
from tasks.sources.market.shoppers import Shoppers

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

TURN_SCALE_DAYS = 3.0
"""How sharply a taste turns around its turn day."""
INTENT_SESSIONS = 3
INTENT_HALF_LIFE_DAYS = 1.5
SAME_TYPE, COMPLEMENT, SAME_CATEGORY = 1.0, 0.6, 0.35
"""How much a session about one type raises the interest in a product."""
CONVERSION_MULTIPLIERS: Mapping[str, float] = {
    "taste": 0.6, "intent": 1.0, "price": 1.5, "popularity": 0.5, "season": 0.5,
    "tone": 0.0, "selling_point": 0.5, "length": 0.0, "context": 0.0, "position": 0.0,
}  # fmt: skip
"""How much of each click effect acts on buying, given the click."""
SCENE_CONTEXT: Mapping[str, float] = {"product": 0.0, "promotion": 0.35, "brand": -0.3, "cross_sell": 0.1}
CHANNEL_CONTEXT: Mapping[str, float] = {"onsite": 0.15, "social": -0.4, "search": 0.4}


@dataclass(frozen=True)
class World:
    """The latents of shoppers, products and their sessions, and the scales that standardise taste.

    Attributes:
        shoppers: n shoppers.
        item_category: (items,) index of the category.
        item_type: (items,) index of the type.
        item_brand: (items,) index of the brand; the number of brands when unknown.
        price_z: (items,) log price standardised within the type; nan when unknown.
        appeal: (items,) standard normal within ±2.5.
        type_relation: (types, types): interest that a session about the row's type raises in the column's.
        seasons: (categories, 12), see `clock.season_table`.
        taste_mean: mean of raw taste over all shopper × product pairs.
        taste_sd: its standard deviation.
        drift_share: share by which category taste moves to the second taste.
        start: first simulated moment, microseconds.
        session_user: (sessions,) index of the shopper, ascending.
        session_time: (sessions,) microseconds, ascending within a shopper.
        session_type: (sessions,) index of the focal type.
    """

    shoppers: Shoppers
    item_category: Ints
    item_type: Ints
    item_brand: Ints
    price_z: Floats
    appeal: Floats
    type_relation: Floats
    seasons: Floats
    taste_mean: float
    taste_sd: float
    drift_share: float
    start: int
    session_user: Ints
    session_time: Ints
    session_type: Ints


def drift_share(drift: float) -> float:
    """Share of category taste that moves when a shopper has turned: 0 without drift, towards 1 with much.

    Args:
        drift: `market.strengths.drift`.
    """
    return float(1.0 - np.exp(-drift))


def turned(world: World, users: Ints, timestamps: Ints) -> Floats:
    """How far category taste has moved to the second taste at a moment, in [0, drift_share]. (n,).

    Args:
        world: the latents.
        users: (n,) indices.
        timestamps: (n,) microseconds.
    """
    days = (timestamps - world.start) / DAY
    away = np.clip((days - world.shoppers.turn_day[users]) / TURN_SCALE_DAYS, -30, 30)
    moved: Floats = world.drift_share / (1.0 + np.exp(-away))
    return moved


def taste(world: World, users: Ints, items: Ints, timestamps: Ints) -> Floats:
    """Standardised taste of shoppers for products at moments. (n,).

    Args:
        world: the latents.
        users: (n,) indices.
        items: (n,) indices.
        timestamps: (n,) microseconds.
    """
    shoppers, category = world.shoppers, world.item_category[items]
    before = shoppers.category_from[users, category].astype(np.float64)
    after = shoppers.category_to[users, category].astype(np.float64)
    raw = before + turned(world, users, timestamps) * (after - before)
    raw += shoppers.type_taste[users, world.item_type[items]] + shoppers.brand_taste[users, world.item_brand[items]]
    standardised: Floats = (raw - world.taste_mean) / world.taste_sd
    return standardised


def price(world: World, users: Ints, items: Ints) -> Floats:
    """How well prices suit shoppers: 1 when just right, -1 when two units away or more, 0 when unknown. (n,)."""
    distance = world.price_z[items] - world.shoppers.price_level[users]
    suits: Floats = np.where(np.isnan(distance), 0.0, 1.0 - np.minimum(distance**2 / 2.0, 2.0))
    return suits


def season(world: World, items: Ints, timestamps: Ints) -> Floats:
    """Log demand of the products' categories at moments over their yearly mean. (n,)."""
    earlier, later, weight = season_weights(timestamps)
    category = world.item_category[items]
    demand: Floats = (1.0 - weight) * world.seasons[category, earlier] + weight * world.seasons[category, later]
    return demand


def intent(world: World, users: Ints, items: Ints, timestamps: Ints) -> Floats:
    """Interest left from a shopper's last sessions that began before the moments, in [0, 1]. (n,).

    The strongest of the last three counts; a session's interest halves each day and a half.
    """
    interest = np.zeros(len(users))
    if not len(world.session_user):
        return interest
    order = world.session_user * (1 << 42) + (world.session_time - world.start) // 1000  # one ascending key: shopper, then time
    wanted = users * (1 << 42) + np.clip((timestamps - world.start) // 1000, 0, (1 << 42) - 1)
    latest = np.searchsorted(order, wanted, side="left") - 1
    for back in range(INTENT_SESSIONS):
        index = np.maximum(latest - back, 0)
        known = (latest - back >= 0) & (world.session_user[index] == users)
        age_days = np.maximum(timestamps - world.session_time[index], 0) / DAY
        relation = world.type_relation[world.session_type[index], world.item_type[items]]
        interest = np.maximum(interest, np.where(known, relation * 0.5 ** (age_days / INTENT_HALF_LIFE_DAYS), 0.0))
    return interest


def context(scenes: npt.NDArray[np.object_], channels: npt.NDArray[np.object_], timestamps: Ints) -> Floats:
    """Scene, channel and hour: the same for every candidate of a request. (n,), within [-1, 1].

    Args:
        scenes: (n,) of SCENES.
        channels: (n,) of CHANNELS.
        timestamps: (n,) microseconds.

    Raises:
        ValueError: a scene or channel has no such name.
    """
    hour = 0.25 * np.cos(2 * np.pi * (beijing_hour(timestamps) - 21) / 24)
    total: Floats = np.clip(_looked_up(scenes, SCENE_CONTEXT) + _looked_up(channels, CHANNEL_CONTEXT) + hour, -1, 1)
    return total


def _looked_up(names: npt.NDArray[np.object_], table: Mapping[str, float]) -> Floats:
    try:
        return np.array([table[name] for name in names], dtype=np.float64)
    except KeyError as error:
        raise ValueError(f"{error.args[0]!r} is none of {', '.join(table)}") from None


def taste_scale(shoppers: Shoppers, item_category: Ints, item_type: Ints, item_brand: Ints) -> tuple[float, float]:
    """Mean and standard deviation of raw taste over all shopper × product pairs before any drift.

    Args:
        shoppers: the population.
        item_category: (items,).
        item_type: (items,).
        item_brand: (items,).
    """
    raw = shoppers.category_from[:, item_category] + shoppers.type_taste[:, item_type] + shoppers.brand_taste[:, item_brand]
    return float(raw.mean(dtype=np.float64)), float(max(raw.std(dtype=np.float64), 1e-9))
