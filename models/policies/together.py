"""Slates of requests that are decided together: each is the one that `models.policies.slate.slate` draws, from its own stream.

A service draws for a whole group of requests at once. What is done once for every candidate there is done once for every group here:
requests are rows of a rectangle, and candidates that a request does not have are outside its set.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from models.policies.marginals import EXACT_POSITIONS
from models.policies.slate import Slate, marginals_of, slate
from models.policies.variety import Limit, simplest

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
        limit: how many of a category are shown while there are others; None: as many as come. A group is of one category, unchecked.
    """

    scores: NDArray[np.float64]
    k: int
    exploration: float
    rng: np.random.Generator
    groups: NDArray[np.integer]
    limit: Limit | None = None


def slates(asked: Sequence[Draw]) -> list[Slate]:
    """One slate for each.

    Args:
        asked: any number of them.

    Returns:
        In order: indices and propensities as `slate` gives them, marginals too but for the last digits of a sum.

    Raises:
        ValueError: see `slate`.
    """
    plain = {row: rows for row, one in enumerate(asked) if (rows := _plain(one)) is not None}
    found = dict(zip(plain, _drawn(list(plain.values())), strict=True)) if plain else {}
    return [
        found[row] if row in found else slate(one.scores, one.k, one.exploration, one.rng, groups=one.groups, limit=one.limit)
        for row, one in enumerate(asked)
    ]


def _plain(one: Draw) -> Draw | None:
    """The same in its simplest words where nothing about it is out of the ordinary; what is, `slate` answers or refuses."""
    scores = one.scores
    if scores.ndim != 1 or not scores.size or one.groups.shape != scores.shape or one.k < 1 or not 0 <= one.exploration <= 1:
        return None
    if not np.isfinite(scores).all() or (one.limit is not None and one.limit.categories.shape != scores.shape):
        return None
    groups, limit = simplest(one.groups, one.limit, one.k)
    if limit is not None and limit.most == 1:
        return None
    return one if limit is one.limit else replace(one, groups=groups, limit=limit)


@dataclass(frozen=True)
class _Rows:
    """Requests as rows of a rectangle.

    Attributes:
        values: ``(b, n)`` scores, ``-inf`` outside the set.
        group: ``(b, n)`` group of each candidate, counted from 0 in each row; outside the set it is the row's last one plus one.
        sizes: ``(b, groups)`` candidates of each group.
        category: ``(b, n)`` code of each candidate's, 0 where a request has no limit and outside the set.
        most: ``(b, 1)`` of a category while others are left; more than there are positions where there is no limit.
        exploration: ``(b, 1)``.
        total: ``(b, 1)`` candidates.
    """

    values: Rectangle
    group: NDArray[np.int64]
    sizes: Rectangle
    category: NDArray[np.int64]
    most: NDArray[np.int64]
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
    at = np.arange(len(asked))[:, None]
    lined = codes[at, order]
    group = np.zeros_like(codes)
    group[at, order[:, 1:]] = (lined[:, 1:] != lined[:, :-1]).cumsum(axis=1)
    groups = int(group.max()) + 1
    cells = (at * groups + group)[inside]
    sizes = np.bincount(cells, minlength=len(asked) * groups).reshape(len(asked), groups).astype(np.float64)
    exploration = np.array([[one.exploration] for one in asked])
    category = np.zeros_like(codes)
    category[inside] = np.concatenate([np.zeros(one.scores.size, np.int64) if one.limit is None else one.limit.categories for one in asked])
    most = np.array([[one.k + EXACT_POSITIONS if one.limit is None else one.limit.most] for one in asked])
    return _Rows(values, group, sizes, category, most, exploration, counts[:, None].astype(np.float64))


def _drawn(asked: Sequence[Draw]) -> list[Slate]:
    rows = _rows(asked)
    at = np.arange(len(asked))
    left, most = rows.values.copy(), max(one.k for one in asked)
    above = np.zeros(left.shape, np.int64)  # how many of each candidate's category stand above
    tight = any(one.limit is not None for one in asked)
    choices: list[NDArray[np.int64]] = []
    propensities: list[NDArray[np.float64]] = []
    filled = np.zeros(len(asked), np.int64)
    wanted = np.array([one.k for one in asked])
    for position in range(most):
        opened, top = left, left.max(axis=1, keepdims=True)
        going = (top[:, 0] > -np.inf) & (wanted > position)
        if not going.any():
            break
        full = above >= rows.most
        if tight and full.any():
            within = np.where(full, -np.inf, left)
            best_within = within.max(axis=1, keepdims=True)
            some = best_within > -np.inf
            opened, top = np.where(some, within, left), np.where(some, best_within, top)
        present, best = opened > -np.inf, opened == top
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
        above += rows.category == rows.category[at, choice][:, None]
        left[rows.group == rows.group[at, choice][:, None]] = -np.inf
    chosen, propensity = np.stack(choices, axis=1), np.stack(propensities, axis=1)
    marginal, ordinary = _marginals(rows, chosen[:, :EXACT_POSITIONS])
    found: list[Slate] = []
    for row, (one, size) in enumerate(zip(asked, filled.tolist(), strict=True)):
        exact = min(size, EXACT_POSITIONS)
        if ordinary[row]:
            told = marginal[row, :exact].tolist()
        else:
            told = marginals_of(one.scores[None], one.groups, chosen[row, :exact].tolist(), one.exploration, one.limit)
        found.append(Slate(chosen[row, :size], propensity[row, :size], np.array(told + [np.nan] * (size - exact))))
    return found


def _marginals(rows: _Rows, chosen: NDArray[np.int64]) -> tuple[Rectangle, NDArray[np.bool_]]:
    """`models.policies.marginals` for every row, ``(b, positions)``, and where it holds: three groups, no ties on top."""
    values, group, sizes, exploration, total = rows.values, rows.group, rows.sizes, rows.exploration, rows.total
    b, groups = sizes.shape
    at = np.arange(b)
    highest = np.full(b * groups, -np.inf)
    np.maximum.at(highest, (at[:, None] * groups + group).ravel(), values.ravel())
    highest = highest.reshape(b, groups)
    order = np.argsort(-highest, axis=1, kind="stable")[:, :EXACT_POSITIONS]
    if order.shape[1] < EXACT_POSITIONS:
        return np.zeros(chosen.shape), np.zeros(b, dtype=bool)
    lines = at[:, None]
    tops = highest[lines, order]  # (b, 3)
    ordinary = ((sizes > 0).sum(axis=1) >= EXACT_POSITIONS) & ((values[:, :, None] == tops[:, None, :]).sum(axis=1) == 1).all(axis=1)
    greedy, first, second = 1 - exploration[:, 0], order[:, 0], order[:, 1]
    on_top = exploration * sizes / total  # (b, groups)
    on_top[at, first] += greedy
    own = group[lines, chosen]  # (b, positions)
    mine = values[lines, chosen] == highest[lines, own]
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
        closing = rows.most[:, 0] == EXACT_POSITIONS - 1
        if closing.any():
            closed, same, usual = _closed(rows, pair, chosen[:, 2], own[:, 2], first)
            same &= closing[:, None, None]
            ordinary &= usual | ~closing
            found[:, 2] = np.where(closing, closed, 0.0)
            pair *= ~same
        else:
            found[:, 2] = 0
        left = np.maximum(total[:, :, None] - sizes[:, :, None] - sizes[:, None], 1)
        anything = pair.sum(axis=(1, 2))
        with_first = pair[at, first].sum(axis=1) + pair[at, :, first].sum(axis=1)
        both = pair[at, first, second] + pair[at, second, first]
        found[:, 2] += exploration[:, 0] * (pair / left).sum(axis=(1, 2))
        found[:, 2] += greedy * (ranked[:, 2, 0] * anything + ranked[:, 2, 1] * with_first + ranked[:, 2, 2] * both)
    return found, ordinary


def _closed(
    rows: _Rows, pair: Rectangle, chosen: NDArray[np.int64], own: NDArray[np.int64], first: NDArray[np.int64]
) -> tuple[Rectangle, NDArray[np.bool_], NDArray[np.bool_]]:
    """What the third position owes to two of one category above, where these close it.

    Args:
        rows: the requests.
        pair: ``(b, groups, groups)`` these above, in this order; 0 for the group of the third candidate.
        chosen: ``(b,)`` the third candidate.
        own: ``(b,)`` its group.
        first: ``(b,)`` the best group.

    Returns:
        ``(b,)`` this part of the marginal; ``(b, groups, groups)`` whether both are of one category; ``(b,)`` whether no tie decides.
    """
    at, greedy = np.arange(len(own)), 1 - rows.exploration[:, 0]
    of = np.zeros(rows.sizes.shape, np.int64)
    of[at[:, None], rows.group] = rows.category  # (b, groups)
    same = of[:, :, None] == of[:, None]
    own_kind, first_kind = of[at, own][:, None], of[at, first][:, None]
    above = np.where(of == own_kind, 0.0, (pair * same).sum(axis=2))  # (b, groups): two of its category, it on top
    within = np.maximum(rows.total - (same * rows.sizes[:, None]).sum(axis=2), 1)
    outside = np.where(rows.category == first_kind, -np.inf, rows.values)
    highest = outside.max(axis=1)
    score = rows.values[at, chosen]
    leads, follows = score == rows.values.max(axis=1), (score == highest) & (own_kind != first_kind)[:, 0]
    wins = leads * above.sum(axis=1) + follows * np.where(of == first_kind, above, 0.0).sum(axis=1)
    return rows.exploration[:, 0] * (above / within).sum(axis=1) + greedy * wins, same, (outside == highest[:, None]).sum(axis=1) == 1
