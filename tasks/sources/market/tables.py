"""Simulated arrays as the raw tables of the data contract: impressions, what follows from them, events."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from core.columns import Columns as C
from core.params import MarketParams
from core.vocabulary import CHANNELS, SCENES, EventType
from tasks.sources.market import delivery
from tasks.sources.market.assortment import Assortment
from tasks.sources.market.clock import DAY
from tasks.sources.market.delivery import Requests
from tasks.sources.market.truth import Truth

Ints = npt.NDArray[np.int64]
Names = npt.NDArray[np.object_]


@dataclass(frozen=True)
class Shown:
    """Impressions and what came of them.

    Attributes:
        truth: with calibrated intercepts.
        impressions: the raw table.
        events: views and purchases that follow from clicks, in the form of `sessions.Behaviour.events`.
    """

    truth: Truth
    impressions: pd.DataFrame
    events: pd.DataFrame


def show(
    truth: Truth, assortment: Assortment, *, copies: pd.DataFrame, requests: Requests, params: MarketParams, rng: np.random.Generator
) -> Shown:
    """Show the slates: calibrate the base rates on them, then draw clicks and conversions.

    Args:
        truth: its intercepts are not read.
        assortment: prices.
        copies: the copies table.
        requests: slates of rows of `copies`.
        params: base rates and the window, after which no event is kept.
        rng: the stream to draw from.

    Returns:
        The impressions and their consequences.
    """
    size = requests.slate.shape[1]
    request = np.repeat(np.arange(len(requests.user)), size)
    position = np.tile(np.arange(size, dtype=np.int64), len(requests.user))
    copy = np.take_along_axis(requests.candidates, requests.slate, axis=1).ravel()
    item_ids = copies[C.ITEM].to_numpy(dtype=object)[copy]
    users, times = requests.user[request], requests.time[request]
    scenes: Names = np.array(SCENES, dtype=object)[requests.scene[request]]
    channels: Names = np.array(CHANNELS, dtype=object)[requests.channel[request]]
    user_ids = truth.world.shoppers.user_ids[users]
    texts = copies[C.TEXT].to_numpy(dtype=object)[copy]
    effects = truth.effects(user_ids, item_ids, texts, scenes, channels, position, times)
    truth = truth.calibrated(effects, base_ctr=params.base_ctr, base_cvr=params.base_cvr)
    click = rng.random(len(copy)) < truth.click_given(effects)
    conversion = click & (rng.random(len(copy)) < truth.conversion_given(effects))
    items = pd.Index(truth.item_ids).get_indexer(pd.Index(item_ids)).astype(np.int64)
    price = np.array([product.price_micros or 0 for product in assortment.products], dtype=np.int64)[items]
    consumable = np.array([bool(product.consumable) for product in assortment.products])[items]
    value = np.where(conversion, price * (1 + np.where(consumable, rng.poisson(0.5, len(copy)), 0)), 0)
    visit = times + rng.integers(2_000_000, 20_000_000, len(copy))
    order = visit + delivery.conversion_delay(len(copy), rng)
    creative = copies[C.COPY].to_numpy(dtype=object)
    ids = [*creative]
    named = [[ids[row] for row in rows if row >= 0] for rows in requests.candidates.tolist()]
    impressions = pd.DataFrame(
        {
            C.REQUEST: pd.array([f"r{number + 1:07d}" for number in request], dtype="str"),
            C.POSITION: position,
            C.TIMESTAMP: _moments(times),
            C.USER: pd.array(user_ids, dtype="str"),
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
            C.CONVERSION_TIME: _moments(order).where(pd.Series(conversion, dtype=bool)),
        }
    )
    visits = _following(EventType.VIEW, click, users=users, items=items, channels=channels, times=visit, value=np.zeros_like(value))
    orders = _following(EventType.PURCHASE, conversion, users=users, items=items, channels=channels, times=order, value=value)
    events = pd.concat([visits, orders], ignore_index=True)
    return Shown(truth, impressions, events[events[C.TIMESTAMP] < truth.world.start + params.days * DAY])


def _following(
    kind: EventType, which: npt.NDArray[np.bool_], *, users: Ints, items: Ints, channels: Names, times: Ints, value: Ints
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


def events_table(events: pd.DataFrame, truth: Truth) -> pd.DataFrame:
    """Events under the data contract's columns, in time order; ids are `e00000001`, ….

    Args:
        events: in the form of `sessions.Behaviour.events`.
        truth: ids of shoppers and products.
    """
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
