"""Which campaign gets a place: the one whose value exceeds the price of its money by most.

With the shadow price λ of each campaign's budget, the best slates under all budgets together are those that maximise, request by
request, Σ (value − λ · cost): the Lagrangian falls apart into requests.

Source: Devanur and Hayes (2009), The adwords problem: online keyword matching with budgeted bidders under random permutations;
Balseiro and Gur (2019), Learning in repeated auctions with budgets: regret minimization and equilibrium.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from models.pacing.demand import WIDTH

Floats = NDArray[np.float64]


def multiplier(quality: ArrayLike, price: ArrayLike) -> Floats:
    """By what a bid is multiplied before the policy's distribution is formed; 0 takes the campaign out of the candidate set.

    Args:
        quality: worth of a click of this request over the bid, not negative; 1 when one click is as good as another.
        price: shadow price, not negative.

    Returns:
        quality − price, at least 0 and at most ``quality``.
    """
    return np.asarray(np.maximum(np.asarray(quality, dtype=np.float64) - np.maximum(price, 0.0), 0.0))


def dithered(price: ArrayLike, draw: ArrayLike) -> Floats:
    """Prices spread evenly over one bin, so that of many equal opportunities a part can be bought.

    Args:
        price: shadow prices.
        draw: in [0, 1): a hash of request and campaign, so that a replay finds the same price.

    Returns:
        Prices, not negative; 0 stays 0, because at 0 everything is wanted.
    """
    base = np.asarray(price, dtype=np.float64)
    return np.asarray(np.where(base > 0, np.maximum(base + WIDTH * (np.asarray(draw) - 0.5), 0.0), 0.0))


def thresholds(net: Floats, k: int, outside: ArrayLike = 0.0) -> Floats:
    """What a candidate has to beat to stand in the slate: the k-th best of the others, or what stands there without campaigns.

    Args:
        net: ``(n, c)`` value − price · cost, ``-inf`` outside the set.
        k: positions, at least 1.
        outside: value of a place without a campaign, of each request or of all.

    Returns:
        ``(n, c)``.
    """
    floor = np.broadcast_to(np.asarray(outside, dtype=np.float64), net.shape[:1])[:, None]
    if net.shape[1] <= k:
        return np.broadcast_to(floor, net.shape)
    ordered = -np.partition(-net, k, axis=1)[:, : k + 1]
    ordered = -np.sort(-ordered, axis=1)
    inside = net >= ordered[:, k - 1 : k]
    return np.asarray(np.maximum(np.where(inside, ordered[:, k : k + 1], ordered[:, k - 1 : k]), floor))


def break_even(value: Floats, cost: Floats, threshold: Floats) -> Floats:
    """The price up to which each candidate still wins a place: (value − threshold) / cost.

    Args:
        value: ``(n, c)`` p_click · worth of a click, micros.
        cost: ``(n, c)`` p_click · bid, micros; where it is 0 the answer is 0.
        threshold: ``(n, c)``, see `thresholds`.
    """
    return np.divide(value - threshold, cost, out=np.zeros_like(value), where=cost > 0)


def choose(net: Floats, k: int, outside: ArrayLike = 0.0) -> NDArray[np.int64]:
    """The k best candidates of each request that are worth more than a place without a campaign.

    Args:
        net: ``(n, c)`` value − price · cost, ``-inf`` outside the set.
        k: positions, at least 1.
        outside: see `thresholds`.

    Returns:
        ``(n, k)`` candidates, best first; −1 where none is worth it.
    """
    floor = np.broadcast_to(np.asarray(outside, dtype=np.float64), net.shape[:1])[:, None]
    order = np.argsort(-net, axis=1, kind="stable")[:, :k]
    taken = np.where(np.take_along_axis(net, order, axis=1) > floor, order, -1)
    return np.pad(taken, ((0, 0), (0, k - taken.shape[1])), constant_values=-1) if taken.shape[1] < k else taken
