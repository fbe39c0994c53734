"""From scores to a slate: a stochastic policy whose logged probabilities are exact.

Filters, caps and pacing act on the candidate set *before* `slate` is called; whatever is in the set can be shown,
and nothing is removed after sampling, so the numbers that are logged are the ones that were drawn from.

The distribution over candidates c that remain after the positions above is

    π(c | above) = (1 − ε) · 1[score(c) is the largest left] / (number of such) + ε / (number left)

with ε the exploration floor: every candidate keeps at least ε / n at every position, which is the support that
off-policy evaluation needs, and equal scores share equally, so a model that knows nothing shows everything.

Candidates may form groups, such as the creatives of one item: after one of a group is chosen, the others of the group
leave the set for the positions below. Without groups every candidate is a group of its own.

Source: Sutton and Barto (2018), Reinforcement Learning, section 2.2 (ε-greedy), drawn without replacement.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np
from numpy.typing import ArrayLike, NDArray

EXACT_POSITIONS = 3
"""Marginals are computed exactly for this many positions from the top; deeper ones are not a number."""


@dataclass(frozen=True)
class Slate:
    """What is shown, and how likely it was.

    Attributes:
        indices: ``(k,)`` chosen candidates, topmost first, all different.
        propensity: ``(k,)`` P(this candidate here | the positions above); the product is the slate's probability.
        marginal: ``(k,)`` P(this candidate at this position), summed over everything that could stand above;
            not a number from position `EXACT_POSITIONS` on.
    """

    indices: NDArray[np.int64]
    propensity: NDArray[np.float64]
    marginal: NDArray[np.float64]


def probabilities(scores: ArrayLike, exploration: float) -> NDArray[np.float64]:
    """The distribution of the topmost position.

    Args:
        scores: ``(..., n)`` larger is better; ``-inf`` marks a candidate that is not in the set.
        exploration: ε in [0, 1].

    Returns:
        ``(..., n)`` probabilities that sum to 1 along the last axis; 0 for ``-inf``.

    Raises:
        ValueError: exploration outside [0, 1], a score that is not a number, or a row without candidates.
    """
    values = _checked(scores, exploration)
    if values.shape[-1] == 0 or not (values > -np.inf).any(axis=-1).all():
        raise ValueError("a row has no candidates; filter requests without candidates before asking for a distribution")
    return _distribution(values, exploration)


def slate(scores: ArrayLike, k: int, exploration: float, rng: np.random.Generator, *, groups: NDArray[np.integer] | None = None) -> Slate:
    """Draw a slate, position by position, and say how likely it was.

    Args:
        scores: ``(n,)`` larger is better; ``-inf`` marks a candidate that is not in the set.
        k: positions to fill; fewer are filled when there are fewer groups of candidates.
        exploration: ε in [0, 1].
        rng: the stream to draw from.
        groups: ``(n,)`` codes; at most one candidate of a group is shown. None: every candidate is a group of its own.

    Returns:
        The slate with its exact propensities.

    Raises:
        ValueError: k below 1, scores not one-dimensional, groups of another length, or see `probabilities`.
    """
    values = _checked(scores, exploration)
    if values.ndim != 1:
        raise ValueError(f"scores have {values.ndim} dimensions; one request at a time, (n,)")
    if k < 1:
        raise ValueError(f"k is {k}; a slate has at least 1 position")
    codes = _codes(groups, values.size)
    names = codes.tolist()
    left: list[float] = values.tolist()
    indices: list[int] = []
    propensity: list[float] = []
    while len(indices) < k and max(left, default=-np.inf) > -np.inf:
        choice, p = _draw(left, exploration, rng)
        indices.append(choice)
        propensity.append(p)
        gone = names[choice]
        left = [-np.inf if name == gone else value for name, value in zip(names, left, strict=True)]
    if not indices:
        raise ValueError("no candidates; answer such a request with an empty slate before asking the policy")
    depth = min(len(indices), EXACT_POSITIONS)
    marginal = _marginals_of(values, codes, indices[:depth], exploration) + [np.nan] * (len(indices) - depth)
    return Slate(np.array(indices, dtype=np.int64), np.array(propensity), np.array(marginal))


def position_marginals(
    scores: ArrayLike, position: int, exploration: float, *, groups: NDArray[np.integer] | None = None
) -> NDArray[np.float64]:
    """P(candidate at a position), summed over all slates above it.

    Args:
        scores: ``(n,)`` with more groups of candidates than ``position``; see `slate`.
        position: 0 to `EXACT_POSITIONS` − 1.
        exploration: ε in [0, 1].
        groups: ``(n,)`` codes, see `slate`.

    Returns:
        ``(n,)`` probabilities that sum to 1.

    Raises:
        ValueError: position outside the range, or not fewer than the groups.
    """
    values = _checked(scores, exploration)
    codes = _codes(groups, values.size)
    count = np.unique(codes[values > -np.inf]).size
    if not 0 <= position < min(EXACT_POSITIONS, count):
        most = f"min({EXACT_POSITIONS}, {count} candidates or groups)"
        raise ValueError(f"position is {position}; exact marginals need 0 <= position < {most}")
    return _marginals(values, codes, position + 1, exploration)[position]


def _marginals(scores: NDArray[np.float64], codes: NDArray[np.integer], depth: int, exploration: float) -> list[NDArray[np.float64]]:
    """Marginals of positions 0 to depth − 1.

    What is left depends on the groups above only: the sum goes over which groups stand above, not over which candidates.
    """
    present = np.flatnonzero(scores > -np.inf)
    values = scores[present]
    names, group = np.unique(codes[present], return_inverse=True)
    found = [_distribution(values, exploration)]  # (n,)
    if depth > 1:
        inside = group[None, :] == np.arange(names.size)[:, None]  # (groups, n)
        second = _distribution(np.where(inside, -np.inf, values), exploration)  # (groups, n), row g: given one of g on top
        on_top = inside @ found[0]  # (groups,)
        found.append(on_top @ second)
    if depth > 2:
        then = second @ inside.T  # (groups, groups): h at position 1 given g on top
        upper, lower = np.triu_indices(names.size, 1)
        # either order of the pair leaves the same candidates: weigh each pair once
        weight = on_top[upper] * then[upper, lower] + on_top[lower] * then[lower, upper]  # (pairs,)
        third = _distribution(np.where(inside[upper] | inside[lower], -np.inf, values), exploration)  # (pairs, n)
        found.append(weight @ third)
    spread = []
    for row in found:
        marginal = np.zeros(scores.size)
        marginal[present] = row
        spread.append(marginal)
    return spread


def _marginals_of(scores: NDArray[np.float64], codes: NDArray[np.integer], chosen: Sequence[int], exploration: float) -> list[float]:
    """What `_marginals` says of the candidate that was chosen at each position, without the distributions of all others.

    The sums go over the groups that can stand above. Without ties among the highest scores, which group is best once two are gone
    is one of three, and all that remains of the others is how many candidates they have; with ties `_marginals` itself is asked.
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
        rows = _marginals(scores, codes, len(chosen), exploration)
        return [float(row[choice]) for row, choice in zip(rows, chosen, strict=True)]
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


def _distribution(values: NDArray[np.float64], exploration: float) -> NDArray[np.float64]:
    """`probabilities` of checked scores; every row has a candidate."""
    top = values.max(axis=-1, keepdims=True)
    best, present = values == top, values > -np.inf
    share = (1 - exploration) / best.sum(axis=-1, keepdims=True)
    floor = exploration / present.sum(axis=-1, keepdims=True)
    return np.asarray(best * share + present * floor)


def _draw(scores: Sequence[float], exploration: float, rng: np.random.Generator) -> tuple[int, float]:
    """A candidate and its probability: what ``rng.choice(n, p=_distribution(scores))`` draws, number for number.

    A slate's few candidates are counted faster one by one than by arrays.
    """
    top = max(scores)
    floor = exploration / sum(score > -np.inf for score in scores)
    best = (1 - exploration) / sum(score == top for score in scores) + floor
    shares = [best if score == top else floor if score > -np.inf else 0.0 for score in scores]
    bounds = list(accumulate(shares))
    drawn = rng.random()
    choice = next(place for place, bound in enumerate(bounds) if bound / bounds[-1] > drawn)
    return choice, shares[choice]


def _codes(groups: NDArray[np.integer] | None, size: int) -> NDArray[np.integer]:
    if groups is None:
        return np.arange(size)
    codes = np.asarray(groups)
    if codes.shape != (size,):
        raise ValueError(f"groups have shape {codes.shape}; one code a candidate is needed, ({size},)")
    return codes


def _checked(scores: ArrayLike, exploration: float) -> NDArray[np.float64]:
    values = np.asarray(scores, dtype=np.float64)
    if not 0 <= exploration <= 1:
        raise ValueError(f"exploration is {exploration}; it must lie in [0, 1]")
    wrong = int((np.isnan(values) | np.isposinf(values)).sum())
    if wrong:
        raise ValueError(f"{wrong} of {values.size} scores are NaN or +inf; scores are finite, or -inf outside the set")
    return values
