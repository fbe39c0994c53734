"""Slates of requests that are decided together: each is the one that `models.policies.slate.slate` draws, from its own stream.

A service draws for a whole group of requests at once. What is done once for every candidate there is done once for every group here:
requests are rows of a rectangle, and candidates that a request does not have are outside its set.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.policies.single import EXACT_POSITIONS
from models.policies.slate import Slate, single_marginals, slate

Rectangle = NDArray[np.float64]


@dataclass(frozen=True)
class Draw:
    """What a slate is drawn from.

    Attributes:
        scores: ``(n,)``, or ``(m, n)`` for draws that vote; see `slate`.
        k: positions to fill.
        exploration: ε in [0, 1].
        rng: the stream to draw from.
        groups: ``(n,)`` codes; at most one candidate of a group is shown.
    """

    scores: NDArray[np.float64]
    k: int
    exploration: float
    rng: np.random.Generator
    groups: NDArray[np.int64]


def slates(asked: Sequence[Draw]) -> list[Slate]:
    """One slate for each.

    Args:
        asked: any number of them.

    Returns:
        In order: indices and propensities as `slate` gives them, marginals too but for the last digits of a sum.

    Raises:
        ValueError: see `slate`.
    """
    plain = [row for row, one in enumerate(asked) if _plain(one)]
    found = dict(zip(plain, _drawn([asked[row] for row in plain]), strict=True)) if len(plain) > 1 else {}
    return [
        found[row] if row in found else slate(one.scores, one.k, one.exploration, one.rng, groups=one.groups)
        for row, one in enumerate(asked)
    ]


def _plain(one: Draw) -> bool:
    """Whether nothing about it is out of the ordinary; what is, `slate` answers or refuses."""
    scores = one.scores
    if scores.ndim != 1 or not scores.size or one.groups.shape != scores.shape or one.k < 1 or not 0 <= one.exploration <= 1:
        return False
    return bool(np.isfinite(scores).all())


@dataclass(frozen=True)
class _Rows:
    """Requests as rows of a rectangle.

    Attributes:
        values: ``(b, n)`` scores, ``-inf`` outside the set.
        group: ``(b, n)`` group of each candidate, counted from 0 in each row; outside the set it is the row's last one plus one.
        sizes: ``(b, groups)`` candidates of each group.
        exploration: ``(b, 1)``.
        total: ``(b, 1)`` candidates.
    """

    values: Rectangle
    group: NDArray[np.int64]
    sizes: Rectangle
    exploration: Rectangle
    total: Rectangle


def _rows(asked: Sequence[Draw]) -> _Rows:
    counts = np.array([one.scores.size for one in asked])
    width = int(counts.max())
    inside = np.arange(width) < counts[:, None]  # (b, n)
    values = np.full(inside.shape, -np.inf)
    values[inside] = np.concatenate([one.scores for one in asked])
    codes = np.full(inside.shape, np.iinfo(np.int64).max)
    codes[inside] = np.concatenate([one.groups for one in asked])
    order = np.argsort(codes, axis=1, kind="stable")
    lined = np.take_along_axis(codes, order, axis=1)
    group = np.zeros_like(codes)
    np.put_along_axis(group, order[:, 1:], np.cumsum(lined[:, 1:] != lined[:, :-1], axis=1), axis=1)
    groups = int(group.max()) + 1
    cells = (np.arange(len(asked))[:, None] * groups + group)[inside]
    sizes = np.bincount(cells, minlength=len(asked) * groups).reshape(len(asked), groups).astype(np.float64)
    exploration = np.array([[one.exploration] for one in asked])
    return _Rows(values, group, sizes, exploration, counts[:, None].astype(np.float64))


def _drawn(asked: Sequence[Draw]) -> list[Slate]:
    rows = _rows(asked)
    at = np.arange(len(asked))
    left, most = rows.values.copy(), max(one.k for one in asked)
    choices: list[NDArray[np.int64]] = []
    propensities: list[NDArray[np.float64]] = []
    filled = np.zeros(len(asked), np.int64)
    wanted = np.array([one.k for one in asked])
    for position in range(most):
        top = left.max(axis=1, keepdims=True)
        going = (top[:, 0] > -np.inf) & (wanted > position)
        if not going.any():
            break
        present, best = left > -np.inf, left == top
        floor = rows.exploration / np.maximum(present.sum(axis=1, keepdims=True), 1)
        high = (1 - rows.exploration) / best.sum(axis=1, keepdims=True) + floor
        shares = np.where(best & present, high, np.where(present, floor, 0.0))
        bounds = shares.cumsum(axis=1)
        drawn = np.array([one.rng.random() if on else 0.0 for one, on in zip(asked, going.tolist(), strict=True)])
        with np.errstate(invalid="ignore"):  # rows that are full have no bounds
            choice = (bounds / bounds[:, -1:] > drawn[:, None]).argmax(axis=1)
        choices.append(choice)
        propensities.append(shares[at, choice])
        filled += going
        left[rows.group == rows.group[at, choice][:, None]] = -np.inf
    chosen, propensity = np.stack(choices, axis=1), np.stack(propensities, axis=1)
    marginal, ordinary = _marginals(rows, chosen[:, :EXACT_POSITIONS])
    found: list[Slate] = []
    for row, (one, size) in enumerate(zip(asked, filled.tolist(), strict=True)):
        exact = min(size, EXACT_POSITIONS)
        if ordinary[row]:
            told = marginal[row, :exact].tolist()
        else:
            told = single_marginals(one.scores, one.groups, chosen[row, :exact].tolist(), one.exploration)
        found.append(Slate(chosen[row, :size], propensity[row, :size], np.array(told + [np.nan] * (size - exact))))
    return found


def _marginals(rows: _Rows, chosen: NDArray[np.int64]) -> tuple[Rectangle, NDArray[np.bool_]]:
    """`models.policies.single.marginals_of` for every row, ``(b, positions)``, and where it holds: three groups, no ties on top."""
    values, group, sizes, exploration, total = rows.values, rows.group, rows.sizes, rows.exploration, rows.total
    b, groups = sizes.shape
    at = np.arange(b)
    highest = np.full(b * groups, -np.inf)
    np.maximum.at(highest, (at[:, None] * groups + group).ravel(), values.ravel())
    highest = highest.reshape(b, groups)
    order = np.argsort(-highest, axis=1, kind="stable")[:, :EXACT_POSITIONS]
    if order.shape[1] < EXACT_POSITIONS:
        return np.zeros(chosen.shape), np.zeros(b, dtype=bool)
    tops = np.take_along_axis(highest, order, axis=1)  # (b, 3)
    ordinary = ((sizes > 0).sum(axis=1) >= EXACT_POSITIONS) & ((values[:, :, None] == tops[:, None, :]).sum(axis=1) == 1).all(axis=1)
    greedy, first, second = 1 - exploration[:, 0], order[:, 0], order[:, 1]
    on_top = exploration * sizes / total  # (b, groups)
    on_top[at, first] += greedy
    own = np.take_along_axis(group, chosen, axis=1)  # (b, positions)
    mine = np.take_along_axis(values, chosen, axis=1) == np.take_along_axis(highest, own, axis=1)
    ranked = (order[:, None] == own[:, :, None]) & mine[:, :, None]  # (b, positions, 3): chosen is the best of this group
    found = np.empty(chosen.shape)
    found[:, 0] = exploration[:, 0] / total[:, 0] + greedy * ranked[:, 0, 0]
    if chosen.shape[1] > 1:
        share = exploration * on_top / np.maximum(total - sizes, 1)
        found[:, 1] = share.sum(axis=1) - share[at, own[:, 1]]
        rest = on_top.sum(axis=1) - on_top[at, own[:, 1]]
        found[:, 1] += greedy * (ranked[:, 1, 0] * rest + ranked[:, 1, 1] * on_top[at, first])
    if chosen.shape[1] > 2:
        then = exploration[:, :, None] * sizes[:, None] / np.maximum(total - sizes, 1)[:, :, None]  # (b, groups, groups): given g, then h
        then[at, :, first] += greedy[:, None]
        then[at, first, second] += greedy
        pair = on_top[:, :, None] * then  # this pair above, in this order
        pair[:, np.arange(groups), np.arange(groups)] = 0
        pair[at, own[:, 2]] = 0
        pair[at, :, own[:, 2]] = 0
        left = np.maximum(total[:, :, None] - sizes[:, :, None] - sizes[:, None], 1)
        anything = pair.sum(axis=(1, 2))
        with_first = pair[at, first].sum(axis=1) + pair[at, :, first].sum(axis=1)
        both = pair[at, first, second] + pair[at, second, first]
        found[:, 2] = exploration[:, 0] * (pair / left).sum(axis=(1, 2))
        found[:, 2] += greedy * (ranked[:, 2] * np.stack([anything, with_first, both], axis=1)).sum(axis=1)
    return found, ordinary
