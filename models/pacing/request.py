"""Pacing at one request: multipliers before the policy's distribution is formed, and what to remember of the request afterwards."""

import hashlib

import numpy as np
from numpy.typing import NDArray

from models.pacing.allocation import dithered, multiplier
from models.pacing.pacer import Pacer

Floats = NDArray[np.float64]


def multipliers(pacer: Pacer, request_id: str) -> dict[str, float]:
    """By what each paced campaign's bid is multiplied in this request, where one click is worth as much as another.

    The same pace and request always give the same numbers: a replay finds the same candidate set and the same propensities.

    Args:
        pacer: after its latest tick.
        request_id: of the request.

    Returns:
        campaign_id → multiplier in [0, 1]; at 0 the campaign takes no part (it is closed, or its money is worth more elsewhere).
    """
    draw = np.array([_draw(request_id, booking.campaign_id) for booking in pacer.bookings])
    found = np.where(pacer.pace.open, multiplier(1.0, dithered(pacer.pace.price, draw)), 0.0)
    return {booking.campaign_id: float(one) for booking, one in zip(pacer.bookings, found, strict=True)}


def opportunities(
    p_click: Floats, values: Floats, *, fits: NDArray[np.bool_], owner: NDArray[np.int64], bid: Floats, k: int
) -> tuple[NDArray[np.int64], Floats, Floats]:
    """What a request offered each campaign, whether it took part or not: the rows of `Pacer.observe`.

    A campaign's break-even is that of its best candidate against the k-th best of the candidates that it does not pay for. Creatives of one
    item count as rivals of each other here, which makes break-evens a little low; κ makes up for it.

    Args:
        p_click: ``(n,)`` of the candidates.
        values: ``(n,)`` what they were ranked by, multipliers included.
        fits: ``(c, n)`` which candidates a campaign would pay for, by its targets.
        owner: ``(n,)`` code of the campaign that a candidate was ranked for, −1 for none.
        bid: ``(c,)`` micros a click.
        k: positions of the slate.

    Returns:
        Codes of the campaigns with a candidate, their break-even prices, and their expected costs in micros.
    """
    codes = np.flatnonzero(fits.any(axis=1))
    price, cost = np.zeros(len(codes)), np.zeros(len(codes))
    for place, code in enumerate(codes.tolist()):
        others = values[owner != code]
        threshold = max(float(np.partition(others, -k)[-k]), 0.0) if len(others) >= k else 0.0
        best = float(p_click[fits[code]].max())
        cost[place] = best * bid[code]
        price[place] = 1 - threshold / cost[place] if cost[place] > 0 else 0.0
    return codes, price, cost


def _draw(request_id: str, campaign_id: str) -> float:
    digest = hashlib.blake2b(f"{request_id}/{campaign_id}".encode(), digest_size=7).digest()
    return int.from_bytes(digest) / 256**7
