"""Marginals of a slate that was drawn, as a service needs them: equal to the general way, without its sum over pairs of candidates.

In each draw only the best of its three best groups can ever win a vote within the exact positions, so all that is needed of the M draws is
who these are: N₁(g), how often g is best, and N₁₂(g, h), how often h is best once g is gone. Where two of one category close it for the
third position, only the best outside the best one's category can win there besides the best itself.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from models.policies.variety import Limit

EXACT_POSITIONS = 3
"""Marginals are computed exactly for this many positions from the top; deeper ones are not a number."""


def chosen_marginals(
    draws: NDArray[np.float64], codes: NDArray[np.integer], chosen: Sequence[int], exploration: float, limit: Limit | None
) -> list[float] | None:
    """The marginal of the candidate that was chosen at each position.

    Args:
        draws: ``(m, n)`` checked, ``-inf`` outside the set.
        codes: ``(n,)`` groups.
        chosen: the candidates of the first positions.
        exploration: ε in [0, 1].
        limit: as `models.policies.variety.simplest` leaves it.

    Returns:
        One number a position; None where high scores of a draw tie, or the limit closes categories before the third position: then the
        general way must be gone.
    """
    if limit is not None and limit.most == 1:
        return None
    closing = limit is not None and limit.most == EXACT_POSITIONS - 1
    present = np.flatnonzero(draws[0] > -np.inf)
    values = draws[:, present]  # (m, n)
    names, first_of, group = np.unique(codes[present], return_index=True, return_inverse=True)
    sizes = np.bincount(group).astype(np.float64)
    total, greedy, count = float(present.size), (1 - exploration) / len(values), names.size
    best = _three_best(values, group, count)
    if best is None:
        return None
    won, winner = best  # (m, 3) groups, (m, 3) candidates; -1 where there are fewer groups
    place = {int(row): at for at, row in enumerate(present)}
    own = [group[place[index]] for index in chosen]
    mine = [winner == place[index] for index in chosen]  # (m, 3) where this candidate is the best of its group
    found = [exploration / total + greedy * int(mine[0][:, 0].sum())]
    on_top = exploration * sizes / total + greedy * np.bincount(won[:, 0], minlength=count)  # (groups,)
    if len(chosen) > 1:
        others = np.arange(count) != own[1]
        share = float((exploration * on_top[others] / (total - sizes[others])).sum())
        first, second = mine[1][:, 0], mine[1][:, 1]
        found.append(share + greedy * (int(first.sum()) * float(on_top[others].sum()) + float(on_top[won[second, 0]].sum())))
    if len(chosen) > 2:
        then = exploration * np.broadcast_to(sizes, (count, count)) / (total - sizes)[:, None]  # h at position 1 given g on top
        then = then + greedy * np.bincount(won[:, 0], minlength=count)
        np.add.at(then, (won[:, 0], won[:, 1]), greedy)
        pair = on_top[:, None] * then  # (groups, groups): this pair above, in this order
        pair.flat[:: count + 1] = 0
        pair[own[2]] = pair[:, own[2]] = 0
        p = 0.0
        if closing and limit is not None:
            kind = limit.categories[present]
            of = kind[first_of]  # (groups,)
            same = of[:, None] == of
            outside = _best_outside(values, kind, winner[:, 0])
            if outside is None:
                return None
            closed = np.where(of == of[own[2]], 0.0, (pair * same).sum(axis=1))  # (groups,): two of its category above, it on top
            pair = np.where(same, 0.0, pair)
            p += exploration * float((closed / np.maximum(total - same @ sizes, 1)).sum())
            p += greedy * int(mine[2][:, 0].sum()) * float(closed.sum())
            beaten = of[won[outside == place[chosen[2]], 0]]  # categories of the best, where this candidate is the best of the others
            p += greedy * float((closed * (beaten[:, None] == of).sum(axis=0)).sum())
        p += exploration * float((pair / np.maximum(total - sizes[:, None] - sizes, 1)).sum())
        either = pair + pair.T
        first, second, third = (mine[2][:, at] for at in range(EXACT_POSITIONS))
        p += greedy * int(first.sum()) * float(pair.sum())
        p += greedy * float(either[won[second, 0]].sum())
        p += greedy * float(either[won[third, 0], won[third, 1]].sum())
        found.append(p)
    return found


def _three_best(values: NDArray[np.float64], group: NDArray[np.integer], count: int) -> tuple[NDArray[np.int64], NDArray[np.int64]] | None:
    """Groups and candidates of each draw's three best groups; None on a tie that decides."""
    left = values.copy()
    won = np.full((len(values), EXACT_POSITIONS), -1, dtype=np.int64)
    winner = won.copy()
    for at in range(min(EXACT_POSITIONS, count)):
        candidate = _best(left)
        if candidate is None:
            return None
        won[:, at], winner[:, at] = group[candidate], candidate
        left[group[None, :] == won[:, at, None]] = -np.inf
    return won, winner


def _best_outside(values: NDArray[np.float64], kind: NDArray[np.integer], best: NDArray[np.int64]) -> NDArray[np.int64] | None:
    """The best candidate of each draw outside the best one's category; None on a tie."""
    return _best(np.where(kind[None, :] == kind[best][:, None], -np.inf, values))


def _best(values: NDArray[np.float64]) -> NDArray[np.int64] | None:
    """The best candidate of each draw; None on a tie."""
    found = np.asarray(values.argmax(axis=1), dtype=np.int64)
    top = values[np.arange(len(values)), found]
    return None if (values == top[:, None]).sum() > len(values) else found
