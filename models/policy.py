"""From scores to a slate: a stochastic policy whose logged probabilities are exact.

Filters, caps and pacing act on the candidate set *before* `slate` is called; whatever is in the set can be shown,
and nothing is removed after sampling, so the numbers that are logged are the ones that were drawn from.

The distribution over candidates c that remain after the positions above is

    π(c | above) = (1 − ε) · 1[score(c) is the largest left] / (number of such) + ε / (number left)

with ε the exploration floor: every candidate keeps at least ε / n at every position, which is the support that
off-policy evaluation needs, and equal scores share equally, so a model that knows nothing shows everything.

Source: Sutton and Barto (2018), Reinforcement Learning, section 2.2 (ε-greedy), drawn without replacement.
"""

from dataclasses import dataclass

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
    present = values > -np.inf
    left = present.sum(axis=-1, keepdims=True)
    if values.shape[-1] == 0 or not left.all():
        raise ValueError("a row has no candidates; filter requests without candidates before asking for a distribution")
    best = (values == values.max(axis=-1, keepdims=True)) & present
    shared: NDArray[np.float64] = (1 - exploration) * best / best.sum(axis=-1, keepdims=True) + exploration * present / left
    return shared


def slate(scores: ArrayLike, k: int, exploration: float, rng: np.random.Generator) -> Slate:
    """Draw a slate, position by position, and say how likely it was.

    Args:
        scores: ``(n,)`` larger is better; ``-inf`` marks a candidate that is not in the set.
        k: positions to fill; fewer are filled when there are fewer candidates.
        exploration: ε in [0, 1].
        rng: the stream to draw from.

    Returns:
        The slate with its exact propensities.

    Raises:
        ValueError: k below 1, scores not one-dimensional, or see `probabilities`.
    """
    values = _checked(scores, exploration)
    if values.ndim != 1:
        raise ValueError(f"scores have {values.ndim} dimensions; one request at a time, (n,)")
    if k < 1:
        raise ValueError(f"k is {k}; a slate has at least 1 position")
    left = values.copy()
    indices: list[int] = []
    propensity: list[float] = []
    for _ in range(min(k, int((values > -np.inf).sum()))):
        p = probabilities(left, exploration)
        choice = int(rng.choice(p.size, p=p))
        indices.append(choice)
        propensity.append(float(p[choice]))
        left[choice] = -np.inf
    if not indices:
        raise ValueError("no candidates; answer such a request with an empty slate before asking the policy")
    marginal = [position_marginals(values, position, exploration)[choice] for position, choice in enumerate(indices[:EXACT_POSITIONS])]
    marginal += [np.nan] * (len(indices) - len(marginal))
    return Slate(np.array(indices, dtype=np.int64), np.array(propensity), np.array(marginal))


def position_marginals(scores: ArrayLike, position: int, exploration: float) -> NDArray[np.float64]:
    """P(candidate at a position), summed over all slates above it.

    Args:
        scores: ``(n,)`` with more candidates than ``position``; see `slate`.
        position: 0 to `EXACT_POSITIONS` − 1.
        exploration: ε in [0, 1].

    Returns:
        ``(n,)`` probabilities that sum to 1.

    Raises:
        ValueError: position outside the range, or not fewer than the candidates.
    """
    values = _checked(scores, exploration)
    present = np.flatnonzero(values > -np.inf)
    if not 0 <= position < min(EXACT_POSITIONS, present.size):
        raise ValueError(f"position is {position}; exact marginals need 0 <= position < min({EXACT_POSITIONS}, {present.size} candidates)")
    marginal = np.zeros(values.size)
    marginal[present] = _marginals(values[present], position, exploration)
    return marginal


def _marginals(scores: NDArray[np.float64], position: int, exploration: float) -> NDArray[np.float64]:
    first = probabilities(scores, exploration)  # (n,)
    if position == 0:
        return first
    n = scores.size
    without_one = np.repeat(scores[None, :], n, axis=0)
    np.fill_diagonal(without_one, -np.inf)
    second = probabilities(without_one, exploration)  # (n, n), row j: given j on top
    if position == 1:
        return np.asarray(first @ second)
    upper, lower = np.triu_indices(n, 1)
    # either order of the pair leaves the same candidates: weigh each pair once
    weight = first[upper] * second[upper, lower] + first[lower] * second[lower, upper]  # (pairs,)
    without_two = np.repeat(scores[None, :], upper.size, axis=0)
    rows = np.arange(upper.size)
    without_two[rows, upper] = -np.inf
    without_two[rows, lower] = -np.inf
    return np.asarray(weight @ probabilities(without_two, exploration))


def _checked(scores: ArrayLike, exploration: float) -> NDArray[np.float64]:
    values = np.asarray(scores, dtype=np.float64)
    if not 0 <= exploration <= 1:
        raise ValueError(f"exploration is {exploration}; it must lie in [0, 1]")
    wrong = int((np.isnan(values) | np.isposinf(values)).sum())
    if wrong:
        raise ValueError(f"{wrong} of {values.size} scores are NaN or +inf; scores are finite, or -inf outside the set")
    return values
