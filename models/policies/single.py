"""A slate from one set of scores, as a service draws it thousands of times a second: equal to the general way, number for number."""

from collections.abc import Sequence
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray

EXACT_POSITIONS = 3
"""Marginals are computed exactly for this many positions from the top; deeper ones are not a number."""


def marginals_of(scores: NDArray[np.float64], codes: NDArray[np.integer], chosen: Sequence[int], exploration: float) -> list[float] | None:
    """The marginal of the candidate that was chosen at each position, without the distributions of all others.

    The sums go over the groups that can stand above. Without ties among the highest scores, which group is best once two are gone
    is one of three, and all that remains of the others is how many candidates they have.

    Args:
        scores: ``(n,)`` checked, ``-inf`` outside the set.
        codes: ``(n,)`` groups.
        chosen: the candidates of the first positions, at most `EXACT_POSITIONS`.
        exploration: ε in [0, 1].

    Returns:
        One number a position; None where the highest scores tie, and all slates must be summed.
    """
    held = np.flatnonzero(scores > -np.inf).tolist()
    values, names = scores.tolist(), codes.tolist()
    place: dict[int, int] = {}
    size: list[int] = []
    highest: list[float] = []
    for row in held:
        group = place.setdefault(names[row], len(size))
        if group == len(size):
            size.append(0)
            highest.append(-np.inf)
        size[group] += 1
        highest[group] = max(highest[group], values[row])
    order = sorted(range(len(size)), key=lambda group: -highest[group])[:EXACT_POSITIONS]
    tops = [highest[group] for group in order]
    if len(set(tops)) < len(tops) or any(sum(values[row] == top for row in held) > 1 for top in tops):
        return None
    total, greedy = len(held), 1 - exploration
    rank = {group: position for position, group in enumerate(order)}
    found = [exploration / total + greedy * (values[chosen[0]] == tops[0])]
    on_top = [exploration * count / total for count in size]
    on_top[order[0]] += greedy
    if len(chosen) > 1:
        own = place[names[chosen[1]]]
        p = sum(exploration * on_top[group] / (total - size[group]) for group in range(len(size)) if group != own)
        if values[chosen[1]] == highest[own] and rank.get(own, 2) < 2:
            p += greedy * (on_top[order[0]] if rank[own] else sum(on_top) - on_top[own])
        found.append(p)
    if len(chosen) > 2:
        own = place[names[chosen[2]]]
        sizes = np.array(size, dtype=np.float64)
        above = np.array(on_top)
        pair = exploration * above[:, None] * sizes / (total - sizes)[:, None]  # (groups, groups): this pair above, in this order
        pair[:, order[0]] += greedy * above
        pair[order[0], order[1]] += greedy * above[order[0]]
        pair.flat[:: len(size) + 1] = 0
        pair[own] = pair[:, own] = 0
        p = exploration * float((pair / np.maximum(total - sizes[:, None] - sizes, 1)).sum())
        if values[chosen[2]] == highest[own] and own in rank:
            first, second = order[0], order[1]
            ways = (pair.sum(), pair[first].sum() + pair[:, first].sum(), pair[first, second] + pair[second, first])
            p += greedy * float(ways[rank[own]])
        found.append(p)
    return found


def draw(scores: Sequence[float], exploration: float, rng: np.random.Generator) -> tuple[int, float]:
    """A candidate and its probability, number for number what ``rng.choice(n, p=distribution)`` draws.

    A slate's few candidates are counted faster one by one than by arrays.

    Args:
        scores: of the candidates; ``-inf`` outside the set, which is not empty.
        exploration: ε in [0, 1].
        rng: the stream.
    """
    top = max(scores)
    floor = exploration / sum(score > -np.inf for score in scores)
    best = (1 - exploration) / sum(score == top for score in scores) + floor
    shares = [best if score == top else floor if score > -np.inf else 0.0 for score in scores]
    bounds = list(accumulate(shares))
    drawn = rng.random()
    choice = next(place for place, bound in enumerate(bounds) if bound / bounds[-1] > drawn)
    return choice, shares[choice]
