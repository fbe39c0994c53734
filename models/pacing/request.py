"""Pacing at one request: multipliers before the policy's distribution is formed, and what the request offered each campaign."""

import hashlib
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from models.pacing.demand import WIDTH
from models.pacing.pacer import Pacer
from models.policies.variety import Limit

Floats = NDArray[np.float64]
PAID = 1 / 16
"""By what share a paid click is worth more than an unpaid one on the same product."""
_DIGITS = 5
"""Of a price or a floor; what is used is what is written down."""


def floors(bid: Floats, unpaid: float) -> Floats:
    """The multiplier below which a campaign takes no part: its product is worth more outside it.

    Paced by its price alone, a campaign would push its products below what they are worth to the shop unpaid, for as long as it takes
    part. So a campaign leaves where its shaded bid is no longer more than an unpaid click is worth, or the bid where that is less: from
    there on, the price decides how many of the requests it takes part in (dithered over one bin), and not how it is ranked in them.

    Args:
        bid: ``(c,)`` micros a click, positive.
        unpaid: worth of a click outside campaigns, micros.

    Returns:
        ``(c,)`` in (0, 1).
    """
    return np.asarray((1 - PAID) * np.minimum(1.0, unpaid / bid))


@dataclass(frozen=True)
class Standing:
    """What the campaigns' money costs until the next tick, where one click is worth as much as another. Never changed.

    Attributes:
        prices: campaign_id → shadow price, positive, and `floors`; whoever is absent has price 0.
        closed: ids of campaigns that take no part.
    """

    prices: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    closed: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        priced = [
            (name, 1 - price + WIDTH / 2, floor, _share(name)) for name, (price, floor) in self.prices.items() if name not in self.closed
        ]
        object.__setattr__(self, "_priced", tuple(priced))
        object.__setattr__(self, "_barred", dict.fromkeys(self.closed, 0.0))

    @classmethod
    def of(cls, pacer: Pacer, floor: Floats, running: Collection[str] | None = None) -> "Standing":
        """What a pacer says after its latest tick.

        Args:
            pacer: after a tick.
            floor: ``(c,)`` see `floors`.
            running: campaigns that may be named as closed; None: all.
        """
        names, pace = [booking.campaign_id for booking in pacer.bookings], pacer.pace
        closed = frozenset(name for name, there in zip(names, pace.open.tolist(), strict=True) if not there)
        prices = {
            name: (round(price, _DIGITS), round(least, _DIGITS))
            for name, price, least in zip(names, pace.price.tolist(), floor.tolist(), strict=True)
            if price > 10**-_DIGITS and name not in closed
        }
        return cls(prices, closed if running is None else closed & frozenset(running))

    def without(self, spent_out: Collection[str]) -> "Standing":
        """The same with more campaigns closed.

        Args:
            spent_out: their ids.
        """
        return self if self.closed.issuperset(spent_out) else Standing(self.prices, self.closed | frozenset(spent_out))

    def multipliers(self, request_id: str) -> dict[str, float]:
        """By what each campaign's bid is multiplied in this request; whoever is absent by 1, and 0 takes no part.

        Prices are spread evenly over one bin by a hash of request and campaign, so that of many equal opportunities a part can be
        bought. The same standing and request always give the same numbers: a replay finds the same candidates and propensities.

        Args:
            request_id: of the request.
        """
        found: dict[str, float] = dict(self._barred)  # type: ignore[attr-defined]
        if self.prices:
            draw = _share(request_id)
            for name, most, floor, offset in self._priced:  # type: ignore[attr-defined]
                worth = most - WIDTH * ((draw + offset) % 1.0)
                found[name] = 0.0 if worth < floor else min(1.0, worth)
        return found

    @cached_property
    def text(self) -> str | None:
        """What a decision record keeps of it; None where nothing is priced or closed."""
        if not self.prices and not self.closed:
            return None
        return json.dumps([dict(sorted(self.prices.items())), sorted(self.closed)], ensure_ascii=False, separators=(",", ":"))

    @classmethod
    def parse(cls, text: str | None) -> "Standing":
        """The standing of a decision record.

        Args:
            text: as `text` gave it.
        """
        if text is None:
            return cls()
        prices, closed = json.loads(text)
        return cls({str(name): (float(price), float(floor)) for name, (price, floor) in prices.items()}, frozenset(map(str, closed)))


@dataclass(frozen=True)
class Offer:
    """What one request had to sell: its candidates, and for whom they were ranked.

    Attributes:
        p_click: ``(n,)`` of the candidates.
        values: ``(n,)`` what they were ranked by, multipliers included.
        groups: ``(n,)`` item of each; an item's candidates stand together, and one of them is shown at the most.
        categories: ``(n,)`` category of each.
        owners: ``(n,)`` id of the campaign that a candidate was ranked for, None for none.
        audience: of the shopper.
        k: positions of the slate.
        exploration: share of draws that is uniform over the candidates.
        limit: how many of a category are shown while there are others; None: as many as come.
    """

    p_click: Floats
    values: Floats
    groups: NDArray[np.int64]
    categories: tuple[str, ...]
    owners: tuple[str | None, ...]
    audience: str | None
    k: int
    exploration: float
    limit: Limit | None = None


def opportunities(
    p_click: Floats,
    values: Floats,
    *,
    fits: NDArray[np.bool_],
    owner: NDArray[np.int64],
    bid: Floats,
    floor: Floats,
    k: int,
    groups: NDArray[np.int64],
    exploration: float = 0.0,
    limit: Limit | None = None,
) -> tuple[NDArray[np.int64], Floats, Floats]:
    """What a request offered each campaign, whether it took part or not: rows of `Pacer.offer`.

    A campaign's j-th best item wins a place as long as its value is above the (k − j + 1)-th best of the items that it does not pay for,
    and above what another campaign gives for the same item: one break-even price a place, 1 − `floors` at the most. Items that the limit
    keeps out count neither as its own nor as rivals (exact from a share of a half on; below it, those that fill up a slate for want of
    others are those of the present prices). What is explored may show any of its items as long as it takes part at all.

    Args:
        p_click: ``(n,)`` of the candidates, at least one.
        values: ``(n,)`` what they were ranked by, multipliers included.
        fits: ``(c, n)`` which candidates a campaign would pay for, by its targets.
        owner: ``(n,)`` code of the campaign that a candidate was ranked for, −1 for none.
        bid: ``(c,)`` micros a click.
        floor: ``(c,)`` see `floors`.
        k: positions of the slate.
        groups: ``(n,)`` see `Offer`.
        exploration: share of draws that is uniform.
        limit: see `Offer`.

    Returns:
        Codes of campaigns, break-even prices, and expected costs in micros; one row a place that could be won.
    """
    first = np.flatnonzero(np.diff(groups, prepend=groups[0] - 1))
    best, worth = np.maximum.reduceat(p_click, first), np.maximum.reduceat(values, first)
    fits, owner, places = fits[:, first], owner[first], min(k, len(first))
    kept, room = np.ones(len(first), dtype=bool), np.ones(len(first))
    if limit is not None:
        kinds = limit.categories[first]
        kept = _let_in(worth, kinds, limit.most, places)
        part = np.minimum(1.0, limit.most / (kinds[:, None] == kinds).sum(axis=1))  # its sum over a category: the places that it may fill
        room = part if part.sum() >= places else room
    codes, prices, costs = [np.zeros(0, np.int64)], [np.zeros(0)], [np.zeros(0)]
    for code in np.flatnonzero(fits.any(axis=1)).tolist():
        own = np.flatnonzero(fits[code] & kept)
        own = own[np.argsort(-best[own], kind="stable")][:places]
        cost = best[own] * bid[code]
        rivals, elsewhere = np.zeros(places), (owner >= 0) & (owner != code)
        held = -np.sort(-worth[kept & (elsewhere | ~fits[code])])[:places]
        rivals[: len(held)] = np.maximum(held, 0.0)
        threshold = np.maximum(rivals[places - len(own) :][::-1], np.where(elsewhere[own], worth[own], 0.0))
        paid = cost > 0
        codes.append(np.full(int(paid.sum()), code))
        prices.append(1 - np.maximum(threshold[paid] / cost[paid], floor[code]))
        costs.append(cost[paid] * (1 - exploration))
        if exploration > 0:
            share = exploration * min(places * fits[code].mean(), room[fits[code]].sum())
            codes.append(np.array([code]))
            prices.append(np.array([1 - floor[code]]))
            costs.append(np.array([share * float(best[fits[code]].mean()) * bid[code]]))
    return np.concatenate(codes), np.concatenate(prices), np.concatenate(costs)


def _let_in(worth: Floats, categories: NDArray[np.integer], most: int, places: int) -> NDArray[np.bool_]:
    """``(items,)`` the best of each category, ``most`` of it; where these do not fill the places, the best of the others too."""
    kept = np.zeros(len(worth), dtype=bool)
    taken: dict[int, int] = {}
    order = np.argsort(-worth, kind="stable").tolist()
    for row in order:
        held = int(categories[row])
        taken[held] = taken.get(held, 0) + 1
        kept[row] = taken[held] <= most
    missing = max(0, places - int(kept.sum()))
    kept[[row for row in order if not kept[row]][:missing]] = True
    return kept


def _share(name: str) -> float:
    """A hash in [0, 1)."""
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=6).digest()) / 256**6
