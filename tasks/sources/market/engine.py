"""The market as a source: assortment → shoppers → sessions → logged ads → raw tables and truth."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from core.columns import Columns as C
from core.errors import SourceError
from core.params import MarketParams
from core.vocabulary import CHANNELS, SCENES, EventType
from tasks.sources.base import RawTables, TruthTables
from tasks.sources.market import delivery
from tasks.sources.market.assortment import Assortment, draw_products
from tasks.sources.market.campaigns import plan_campaigns
from tasks.sources.market.catalogue import load_categories, load_shared
from tasks.sources.market.clock import DAY
from tasks.sources.market.copywriting import write_copies
from tasks.sources.market.delivery import Requests, deliver
from tasks.sources.market.sessions import simulate_sessions
from tasks.sources.market.truth import Truth
from tasks.sources.market.world import draw_world, signals_of

Ints = npt.NDArray[np.int64]


def read_market(params: MarketParams) -> tuple[RawTables, TruthTables]:
    """Simulate the market.

    Args:
        params: the `market` section; `params.seed` alone decides the randomness.

    Returns:
        The raw tables and the truth; equal parameters give equal tables.

    Raises:
        SourceError: the catalogue cannot be read, or the market is too small to have any session.
    """
    streams = np.random.default_rng(params.seed).spawn(5)  # one a step, so that a change in one leaves the others' draws alone
    assortment = stock(params, streams[0])
    bare = draw_world(assortment, params, streams[1])
    behaviour = simulate_sessions(bare, assortment, params, streams[2])
    copies = assortment.copies_table()
    requests = deliver(behaviour.world, assortment, behaviour.events, copies, params, streams[3])
    truth = Truth(
        world=behaviour.world,
        item_ids=tuple(product.item_id for product in assortment.products),
        signals=tuple(signals_of(product) for product in assortment.products),
        strengths={name: value for name, value in sorted(params.strengths.model_dump().items()) if name != "drift"},
        click_intercept=0.0,
        convert_intercept=0.0,
        notes=_notes(assortment, params),
    )
    truth, impressions, feedback = _show(truth, assortment, copies, requests, params, streams[4])
    raw = RawTables(
        items=assortment.items_table(),
        events=_events_table(pd.concat([behaviour.events, feedback], ignore_index=True), truth),
        copies=copies,
        impressions=impressions,
        campaigns=plan_campaigns(load_shared().campaigns, sorted(assortment.seasons), params),
        source=_source(assortment, copies, impressions),
    )
    return raw, truth.tables()


def stock(params: MarketParams, rng: np.random.Generator) -> Assortment:
    """What the market sells: the embedded catalogue, or the real one that `market.catalogue` names.

    Args:
        params: catalogue and number of products.
        rng: the stream to draw from.

    Raises:
        SourceError: the catalogue cannot be read.
    """
    if params.catalogue is not None:
        from tasks.sources.market.real_catalogue import read_real_catalogue

        return read_real_catalogue(Path(params.catalogue), params.products, rng)
    categories, shared = load_categories(), load_shared()
    products = draw_products(categories, shared.anchors, params.products, rng)
    return Assortment(
        products=products,
        copies=write_copies(categories, products, shared.offers, rng),
        seasons={category.category: category.season for category in categories},
        origin="simulated shoppers on the embedded catalogue",
    )


def _show(
    truth: Truth, assortment: Assortment, copies: pd.DataFrame, requests: Requests, params: MarketParams, rng: np.random.Generator
) -> tuple[Truth, pd.DataFrame, pd.DataFrame]:
    """Calibrate the base rates on the slates, draw clicks and conversions; returns impressions and the events that follow from them."""
    size = requests.slate.shape[1]
    request = np.repeat(np.arange(len(requests.user)), size)
    position = np.tile(np.arange(size, dtype=np.int64), len(requests.user))
    copy = np.take_along_axis(requests.candidates, requests.slate, axis=1).ravel()
    item_ids = copies[C.ITEM].to_numpy(dtype=object)[copy]
    users, times = requests.user[request], requests.time[request]
    scenes = np.array(SCENES, dtype=object)[requests.scene[request]]
    channels = np.array(CHANNELS, dtype=object)[requests.channel[request]]
    shown = (
        truth.world.shoppers.user_ids[users], item_ids, copies[C.TEXT].to_numpy(dtype=object)[copy], scenes, channels, position, times
    )  # fmt: skip
    truth = truth.calibrated(truth.effects(*shown), base_ctr=params.base_ctr, base_cvr=params.base_cvr)
    click = rng.random(len(copy)) < truth.p_click(*shown)
    conversion = click & (rng.random(len(copy)) < truth.p_convert(*shown))
    items = pd.Index(truth.item_ids).get_indexer(item_ids).astype(np.int64)
    price = np.array([product.price_micros or 0 for product in assortment.products], dtype=np.int64)[items]
    consumable = np.array([bool(product.consumable) for product in assortment.products])[items]
    value = np.where(conversion, price * (1 + np.where(consumable, rng.poisson(0.5, len(copy)), 0)), 0)
    creative = copies[C.COPY].to_numpy(dtype=object)
    named = [[str(creative[row]) for row in rows if row >= 0] for rows in requests.candidates]
    impressions = pd.DataFrame(
        {
            C.REQUEST: pd.array([f"r{number + 1:07d}" for number in range(len(named))], dtype="str")[request],
            C.POSITION: position,
            C.TIMESTAMP: _moments(times),
            C.USER: pd.array(truth.world.shoppers.user_ids[users], dtype="str"),
            C.SCENE: pd.array(scenes, dtype="str"),
            C.CHANNEL: pd.array(channels, dtype="str"),
            C.CANDIDATES: pd.Series([named[row] for row in request], dtype=object),
            C.CREATIVE: pd.array(creative[copy], dtype="str"),
            C.ITEM: pd.array(item_ids, dtype="str"),
            C.PROPENSITY: requests.propensity.ravel(),
            C.PROPENSITY_MARGINAL: requests.marginal.ravel(),
            C.POLICY_VERSION: pd.array([delivery.POLICY_VERSION] * len(copy), dtype="str"),
            C.MODEL_VERSION: pd.array(["none"] * len(copy), dtype="str"),
            C.RETRIEVAL_VERSION: pd.array([delivery.RETRIEVAL_VERSION] * len(copy), dtype="str"),
            C.P_CLICK: np.full(len(copy), np.nan),
            C.P_CONVERT: np.full(len(copy), np.nan),
            C.BID: pd.array([None] * len(copy), dtype="Int64"),
            C.ECPM: pd.array([None] * len(copy), dtype="Int64"),
            C.CONSENT: np.ones(len(copy), dtype=bool),
            C.CLICK: click,
            C.CONVERSION: conversion,
            C.VALUE: pd.array(value, dtype="Int64"),
        }
    )
    visit = times + rng.integers(2_000_000, 20_000_000, len(copy))
    order = visit + delivery.conversion_delay(len(copy), rng)
    feedback = pd.concat(
        [
            _feedback(users, items, channels, visit, np.zeros_like(value), EventType.VIEW, click),
            _feedback(users, items, channels, order, value, EventType.PURCHASE, conversion),
        ],
        ignore_index=True,
    )
    end = truth.world.start + params.days * DAY
    return truth, impressions, feedback[feedback[C.TIMESTAMP] < end]


def _feedback(
    users: Ints, items: Ints, channels: npt.NDArray[np.object_], times: Ints, value: Ints, kind: str, which: npt.NDArray[np.bool_]
) -> pd.DataFrame:
    count = int(which.sum())
    return pd.DataFrame(
        {
            "user": users[which],
            "item": items[which],
            C.EVENT_TYPE: np.full(count, str(kind), dtype=object),
            C.QUERY: np.full(count, None, dtype=object),
            "basket": -2 - np.arange(count) if kind == EventType.PURCHASE else np.full(count, -1),  # below -1: a basket of its own
            C.VALUE: value[which],
            C.CHANNEL: channels[which],
            C.TIMESTAMP: times[which],
        }
    )


def _events_table(events: pd.DataFrame, truth: Truth) -> pd.DataFrame:
    """Events under the data contract's columns, in time order."""
    events = events.sort_values([C.TIMESTAMP, "user", "item", C.EVENT_TYPE], kind="stable", ignore_index=True)
    items, basket = events["item"].to_numpy(), events["basket"].to_numpy()
    item_ids = np.array([*truth.item_ids, None], dtype=object)[items]  # -1 is the last: no item
    baskets = [None if number == -1 else f"b{number:07d}" if number >= 0 else f"ba{-number - 1:06d}" for number in basket]
    return pd.DataFrame(
        {
            C.EVENT: pd.array([f"e{number + 1:08d}" for number in range(len(events))], dtype="str"),
            C.USER: pd.array(truth.world.shoppers.user_ids[events["user"].to_numpy()], dtype="str"),
            C.ITEM: pd.array(item_ids, dtype="str"),
            C.EVENT_TYPE: pd.array([str(kind) for kind in events[C.EVENT_TYPE]], dtype="str"),
            C.QUERY: pd.array(events[C.QUERY].to_numpy(dtype=object), dtype="str"),
            C.BASKET: pd.array(baskets, dtype="str"),
            C.VALUE: pd.array(events[C.VALUE].to_numpy(dtype=np.int64), dtype="Int64"),
            C.CHANNEL: pd.array([str(channel) for channel in events[C.CHANNEL]], dtype="str"),
            C.TIMESTAMP: _moments(events[C.TIMESTAMP].to_numpy(dtype=np.int64)),
        }
    )


def _moments(timestamps: Ints) -> pd.Series:
    return pd.Series(timestamps.astype("datetime64[us]")).dt.tz_localize("UTC")


def _notes(assortment: Assortment, params: MarketParams) -> dict[str, object]:
    notes: dict[str, object] = {
        "categories": list(dict.fromkeys(kind.category for kind in assortment.kinds)),
        "types": [kind.name for kind in assortment.kinds],
        "brands": list(dict.fromkeys(product.brand for product in assortment.products if product.brand is not None)),
        "market_seed": params.seed,
        "base_ctr": params.base_ctr,
        "base_cvr": params.base_cvr,
        "logging_policy": {
            "policy_version": delivery.POLICY_VERSION,
            "retrieval_version": delivery.RETRIEVAL_VERSION,
            "retrieval_weights": {
                "popularity": delivery.POPULARITY_SHARE, "recent_categories": delivery.RECENT_SHARE, "uniform": delivery.UNIFORM_SHARE
            },  # fmt: skip
            "popularity_weight": delivery.POPULARITY_WEIGHT,
            "exploration": delivery.EXPLORATION,
            "words": "slates drawn without replacement from (1 - exploration) * softmax(weight * standardised log popularity) + exploration * uniform",
        },
    }
    return notes | {"note_keys": sorted([*notes, "note_keys"])}


def _source(assortment: Assortment, copies: pd.DataFrame, impressions: pd.DataFrame) -> dict[str, object]:
    slots = set(zip(copies[C.SCENE], copies[C.CHANNEL], strict=True))
    absent = [scene for scene in SCENES if not any(scene == found for found, _ in slots)]
    missing = [*assortment.missing, *([f"human copy for scenes {', '.join(absent)}"] if absent else [])]
    if impressions.empty:
        missing.append("impressions: too few products have copy to show a slate of them")
    return {
        "source": "market",
        "catalogue": assortment.origin,
        "synthetic": True,
        "has": {"copies": not copies.empty, "impressions": not impressions.empty, "campaigns": True, "truth": True},
        "missing": missing,
    }
