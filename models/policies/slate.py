"""From scores to a slate: a stochastic policy whose logged probabilities are exact.

Filters, caps and pacing act on the candidate set *before* `slate` is called; whatever is in the set can be shown on top,
and nothing is removed after sampling, so the numbers that are logged are the ones that were drawn from.

The distribution over candidates c that remain after the positions above is

    π(c | above) = (1 − ε) · 1[score(c) is the largest left] / (number of such) + ε / (number left)

with ε the exploration floor: every candidate that may stand at a position has at least ε / n there, which is the support that
off-policy evaluation needs, and equal scores share equally, so a model that knows nothing shows everything.

A policy that is unsure of its scores hands over M draws of them, such as M draws from a posterior. The distribution is then the mean of
the M distributions: each draw votes for the candidate that it thinks best of those left. It is what is drawn from, so it is exact,
whatever M is.

Candidates may form groups, such as the creatives of one item: after one of a group is chosen, the others of the group
leave the set for the positions below. Without groups every candidate is a group of its own. A `Limit` closes a category, whole, for the
positions below as many of it as may stand; both numbers in the formula then count who is open.

Source: Sutton and Barto (2018), Reinforcement Learning, section 2.2 (ε-greedy), drawn without replacement;
Thompson (1933), On the likelihood that one unknown probability exceeds another, for draws as votes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np
from numpy.typing import ArrayLike, NDArray

from models.policies.marginals import EXACT_POSITIONS, chosen_marginals
from models.policies.variety import Limit, simplest


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
    return _each(values, exploration)


def vote(draws: ArrayLike, exploration: float) -> NDArray[np.float64]:
    """The distribution of the topmost position when M draws of the scores vote.

    Args:
        draws: ``(m, n)`` larger is better; ``-inf`` marks a candidate that is not in the set, in every draw.
        exploration: ε in [0, 1].

    Returns:
        ``(n,)`` probabilities that sum to 1, at least ε / n for each candidate of the set.

    Raises:
        ValueError: draws of another shape, and see `probabilities`.
    """
    values = _checked(draws, exploration)
    if values.ndim != 2 or 0 in values.shape:
        raise ValueError(f"draws have shape {values.shape}; at least one draw over at least one candidate is needed, (m, n)")
    _present(values)
    return np.asarray(probabilities(values, exploration).mean(axis=0))


def slate(
    scores: ArrayLike,
    k: int,
    exploration: float,
    rng: np.random.Generator,
    *,
    groups: NDArray[np.integer] | None = None,
    limit: Limit | None = None,
) -> Slate:
    """Draw a slate, position by position, and say how likely it was.

    Args:
        scores: ``(n,)``, or ``(m, n)`` for m draws that vote; larger is better; ``-inf`` marks a candidate that is not in the set.
        k: positions to fill; fewer are filled when there are fewer groups of candidates.
        exploration: ε in [0, 1].
        rng: the stream to draw from.
        groups: ``(n,)`` codes; at most one candidate of a group is shown. None: every candidate is a group of its own.
        limit: how many of a category are shown while there are others; None: as many as come.

    Returns:
        The slate with its exact propensities.

    Raises:
        ValueError: k below 1, scores of more than two dimensions, draws that disagree about the set,
            groups or categories of another length, a group of two categories, or see `probabilities`.
    """
    values = _draws(_checked(scores, exploration))
    if k < 1:
        raise ValueError(f"k is {k}; a slate has at least 1 position")
    codes = _codes(groups, values.shape[-1])
    _require_categories(codes, limit)
    codes, rule = simplest(codes, limit, k, values[0] > -np.inf)
    left = values.copy()
    indices: list[int] = []
    propensity: list[float] = []
    while len(indices) < k and bool((left[:1] > -np.inf).any()):
        opened = left if rule is None else rule.opened(left, indices)
        choice, p = _drawn(opened, exploration, rng)
        indices.append(choice)
        propensity.append(p)
        left[:, codes == codes[choice]] = -np.inf
    if not indices:
        raise ValueError("no candidates; answer such a request with an empty slate before asking the policy")
    marginal = marginals_of(values, codes, indices[:EXACT_POSITIONS], exploration, rule)
    return Slate(np.array(indices, dtype=np.int64), np.array(propensity), np.array(marginal + [np.nan] * (len(indices) - len(marginal))))


def marginals_of(
    values: NDArray[np.float64], codes: NDArray[np.integer], chosen: Sequence[int], exploration: float, limit: Limit | None
) -> list[float]:
    """P(this candidate at this position) for the first candidates of a slate.

    Args:
        values: ``(m, n)`` checked scores; ``-inf`` outside the set.
        codes: ``(n,)`` groups.
        chosen: topmost first, at least one, at most `EXACT_POSITIONS`.
        exploration: ε in [0, 1].
        limit: see `slate`.
    """
    found = chosen_marginals(values, codes, chosen, exploration, limit)
    if found is not None:
        return found
    rows = _marginals(values, codes, len(chosen), exploration, limit)
    return [float(row[choice]) for row, choice in zip(rows, chosen, strict=True)]


def _drawn(values: NDArray[np.float64], exploration: float, rng: np.random.Generator) -> tuple[int, float]:
    """A candidate and its probability, number for number what ``rng.choice(n, p=distribution)`` draws."""
    if len(values) > 1:
        p = _distribution(values, exploration)
        choice = int(rng.choice(p.size, p=p))
        return choice, float(p[choice])
    scores = values[0].tolist()  # a slate's few candidates are counted faster one by one than by arrays
    top = max(scores)
    floor = exploration / sum(score > -np.inf for score in scores)
    best = (1 - exploration) / sum(score == top for score in scores) + floor
    shares = [best if score == top else floor if score > -np.inf else 0.0 for score in scores]
    bounds = list(accumulate(shares))
    drawn = rng.random()
    choice = next(place for place, bound in enumerate(bounds) if bound / bounds[-1] > drawn)
    return choice, shares[choice]


def follow(
    scores: ArrayLike,
    chosen: ArrayLike,
    exploration: float,
    values: ArrayLike,
    *,
    groups: NDArray[np.integer] | None = None,
    limit: Limit | None = None,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """What a policy would have thought of a slate that perhaps another one drew, position by position given the positions above.

    Args:
        scores: of this policy; see `slate`.
        chosen: ``(k,)`` candidates of the slate, topmost first, all in the set and of different groups.
        exploration: of this policy, in [0, 1].
        values: ``(n,)`` worth of each candidate, such as p_click; any number outside the set.
        groups: see `slate`.
        limit: see `slate`.

    Returns:
        ``(k,)`` P(this candidate here | the positions above), and ``(k,)`` the mean worth of what it would have put here.

    Raises:
        ValueError: see `slate`; or values of another length.
    """
    left = _draws(_checked(scores, exploration)).copy()
    worth, codes = np.asarray(values, dtype=np.float64), _codes(groups, left.shape[-1])
    if worth.shape != left.shape[-1:]:
        raise ValueError(f"values have shape {worth.shape}; one a candidate is needed, {left.shape[-1:]}")
    _require_categories(codes, limit)
    propensity: list[float] = []
    expected: list[float] = []
    above = np.asarray(chosen, dtype=np.int64).tolist()
    for place, choice in enumerate(above):
        p = _distribution(left if limit is None else limit.opened(left, above[:place]), exploration)
        propensity.append(float(p[choice]))
        expected.append(float(p @ worth))
        left[:, codes == codes[choice]] = -np.inf
    return np.array(propensity), np.array(expected)


def position_marginals(
    scores: ArrayLike,
    position: int,
    exploration: float,
    *,
    groups: NDArray[np.integer] | None = None,
    limit: Limit | None = None,
) -> NDArray[np.float64]:
    """P(candidate at a position), summed over all slates above it.

    Args:
        scores: ``(n,)`` or ``(m, n)`` with more groups of candidates than ``position``; see `slate`.
        position: 0 to `EXACT_POSITIONS` − 1.
        exploration: ε in [0, 1].
        groups: ``(n,)`` codes, see `slate`.
        limit: see `slate`.

    Returns:
        ``(n,)`` probabilities that sum to 1.

    Raises:
        ValueError: position outside the range, or not fewer than the groups; see also `slate`.
    """
    values = _draws(_checked(scores, exploration))
    codes = _codes(groups, values.shape[-1])
    _require_categories(codes, limit)
    count = np.unique(codes[_present(values)]).size
    if not 0 <= position < min(EXACT_POSITIONS, count):
        most = f"min({EXACT_POSITIONS}, {count} candidates or groups)"
        raise ValueError(f"position is {position}; exact marginals need 0 <= position < {most}")
    return _marginals(values, codes, position + 1, exploration, limit)[position]


def _marginals(
    scores: NDArray[np.float64], codes: NDArray[np.integer], depth: int, exploration: float, limit: Limit | None
) -> list[NDArray[np.float64]]:
    """Marginals of positions 0 to depth − 1.

    What is left depends on the groups above only: the sum goes over which groups stand above, not over which candidates.
    """
    present = np.flatnonzero(_present(scores))
    values = scores[:, present]  # (m, n)
    names, of, group = np.unique(codes[present], return_index=True, return_inverse=True)
    kinds = None if limit is None else limit.categories[present]

    def given(gone: NDArray[np.bool_], above: Sequence[NDArray[np.integer]]) -> NDArray[np.float64]:
        """``(s, n)`` distributions without who has gone, ``(s, n)``, given the groups above, each ``(s,)``."""
        open_ = ~gone
        if limit is not None and kinds is not None:
            held = kinds[of[np.stack(above)]]  # (positions above, s)
            taken = (held[:, :, None] == kinds).sum(axis=0)  # (s, n): how many of each candidate's category
            within = open_ & (taken < limit.most)
            open_ = np.where(within.any(axis=1, keepdims=True), within, open_)
        return _distribution(np.where(open_[:, None], values, -np.inf), exploration)

    found = [_distribution(values, exploration)]  # (n,)
    if depth > 1:
        inside = group[None, :] == np.arange(names.size)[:, None]  # (groups, n)
        second = given(inside, [np.arange(names.size)])  # (groups, n), row g: given one of g on top
        on_top = inside @ found[0]  # (groups,)
        found.append(on_top @ second)
    if depth > 2:
        then = second @ inside.T  # (groups, groups): h at position 1 given g on top
        upper, lower = np.triu_indices(names.size, 1)
        # either order of the pair leaves the same candidates: weigh each pair once
        weight = on_top[upper] * then[upper, lower] + on_top[lower] * then[lower, upper]  # (pairs,)
        found.append(weight @ given(inside[upper] | inside[lower], [upper, lower]))
    spread = []
    for row in found:
        marginal = np.zeros(scores.shape[-1])
        marginal[present] = row
        spread.append(marginal)
    return spread


def _distribution(values: NDArray[np.float64], exploration: float) -> NDArray[np.float64]:
    """The mean over draws of `probabilities`, of checked scores ``(..., m, n)`` → ``(..., n)``; every set has a candidate."""
    return np.asarray(_each(values, exploration).mean(axis=-2))


def _each(values: NDArray[np.float64], exploration: float) -> NDArray[np.float64]:
    """`probabilities` of checked scores; every row has a candidate."""
    top = values.max(axis=-1, keepdims=True)
    best, present = values == top, values > -np.inf
    share = (1 - exploration) / best.sum(axis=-1, keepdims=True)
    floor = exploration / present.sum(axis=-1, keepdims=True)
    return np.asarray(best * share + present * floor)


def _draws(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Scores as ``(m, n)`` draws: one draw when they are plain numbers."""
    if values.ndim not in (1, 2) or values.shape[:-1] == (0,):
        raise ValueError(f"scores have shape {values.shape}, {values.ndim} dimensions; one request at a time: (n,), or (m, n) for m draws")
    draws = np.atleast_2d(values)
    _present(draws)
    return draws


def _present(draws: NDArray[np.float64]) -> NDArray[np.bool_]:
    """``(n,)`` which candidates are in the set; all draws agree about it."""
    present = draws > -np.inf
    odd = int((present != present[:1]).any(axis=1).sum())
    if odd:
        raise ValueError(f"{odd} of {len(draws)} draws have another set than the first; mark a candidate outside the set in every draw")
    return np.asarray(present[0])


def _codes(groups: NDArray[np.integer] | None, size: int) -> NDArray[np.integer]:
    if groups is None:
        return np.arange(size)
    codes = np.asarray(groups)
    if codes.shape != (size,):
        raise ValueError(f"groups have shape {codes.shape}; one code a candidate is needed, ({size},)")
    return codes


def _require_categories(codes: NDArray[np.integer], limit: Limit | None) -> None:
    if limit is None:
        return
    if limit.categories.shape != codes.shape:
        raise ValueError(f"categories have shape {limit.categories.shape}; one code a candidate is needed, {codes.shape}")
    _, first, group = np.unique(codes, return_index=True, return_inverse=True)
    odd = np.flatnonzero(limit.categories[first][group] != limit.categories)
    if odd.size:
        raise ValueError(f"{odd.size} candidates are of another category than the first of their group; first: candidate {odd[0]}")


def _checked(scores: ArrayLike, exploration: float) -> NDArray[np.float64]:
    values = np.asarray(scores, dtype=np.float64)
    if not 0 <= exploration <= 1:
        raise ValueError(f"exploration is {exploration}; it must lie in [0, 1]")
    wrong = int((np.isnan(values) | np.isposinf(values)).sum())
    if wrong:
        raise ValueError(f"{wrong} of {values.size} scores are NaN or +inf; scores are finite, or -inf outside the set")
    return values
