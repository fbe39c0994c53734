"""What a shopper has a taste for: shares of category, kind and brand among all that was looked at, trusted as far as there is evidence.

`models.features.profiles` compares sums with what an item of no interest would get, after one event; a session of four views in one
category then looks like a taste. Here a share is drawn towards the catalogue's as by `_EVENTS` events, and the kind is looked at
within its category, so that what is known of the category is not counted again:

    share of category = (events in it + m · c) / (events + m)         c = the category's share of the catalogue, m = `_EVENTS`
    share of kind     = (events of it + m · k / c) / (events in its category + m)

The square root of the plain share tells never from once, which the drawn share hardly does; the rank of the category tells a second
favourite from the first, whose shares depend on how many favourites somebody has.
"""

import numpy as np
from numpy.typing import NDArray

from models.features.blocks import Column, Joined
from models.features.likeness import WAYS
from models.features.profiles import EVER, WEIGHTINGS

_EVENTS = 20.0
_ROOT_EVENTS = 5.0
_WAYS = tuple(row for row, (name, _, _) in enumerate(WEIGHTINGS) if name in {"16 days", "ever"})
_SHARED = ("category", "kind", "brand")
RANKS = 5
"""Ranks with a column of their own, from the favourite down."""


def tastes(batch: Joined) -> dict[str, Column]:
    """Drawn shares, roots of plain shares, and the rank of the category.

    Args:
        batch: the batch.
    """
    request, met, totals = batch.request, batch.met, batch.events.totals
    usual = {name: batch.catalogue.usual[name][batch.item] for name in _SHARED}
    within = usual["kind"] / usual["category"]
    found: dict[str, Column] = {}
    for row in _WAYS:
        total, way = totals[row][request], WEIGHTINGS[row][0]
        own = {name: met.events[WAYS.index(name), row][met.pair] for name in _SHARED}
        shares = {
            "category": (own["category"] + _EVENTS * usual["category"]) / (total + _EVENTS) / usual["category"],
            "kind": (own["kind"] + _EVENTS * within) / (own["category"] + _EVENTS) / within,
            "brand": (own["brand"] + _EVENTS * usual["brand"]) / (total + _EVENTS) / usual["brand"],
        }
        found |= {f"taste in {name}: {way}": np.log(share) for name, share in shares.items()}
        found |= {f"root share of {name}: {way}": np.sqrt(value / (total + np.float32(_ROOT_EVENTS))) for name, value in own.items()}
    rank = _ranks(batch)[request, batch.catalogue.category[batch.item]]
    found |= {f"favourite category {place + 1}": (rank == place).astype(np.float32) for place in range(RANKS)}
    return found | {"category never met": (rank < 0).astype(np.float32)}


def _ranks(batch: Joined) -> NDArray[np.int64]:
    """``(r, categories)`` how many categories each shopper met more of; −1 where a category was never met."""
    r, width, category = len(batch.requests), len(batch.catalogue.category_names), batch.catalogue.category
    cells = batch.events.request * width + category[batch.events.item]
    met = np.bincount(cells, weights=batch.events.weights[EVER], minlength=r * width).reshape(r, width)
    order = np.argsort(-met, axis=1, kind="stable")
    ranks = np.empty((r, width), np.int64)
    np.put_along_axis(ranks, order, np.broadcast_to(np.arange(width), (r, width)), axis=1)
    return np.where(met > 0, ranks, -1)
