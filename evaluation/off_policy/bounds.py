"""Intervals of a ratio of sums: by the bootstrap over users, and by the empirical Bernstein inequality.

The bootstrap is sharp, and right when there are many users; Bernstein's interval holds for any number of rows, if the bounds of rewards and
weights that it is given are true, and is wide.
"""

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from evaluation.intervals import CONFIDENCE, Interval
from evaluation.off_policy.evidence import user_sums
from evaluation.off_policy.log import Array


def bootstrap_totals(sums: Array, replications: int, rng: np.random.Generator) -> Array:
    """Column totals over users drawn with replacement: ``(replications, columns)``.

    Args:
        sums: ``(users, columns)`` sums of each user's rows.
        replications: how often to draw.
        rng: draws them.

    Raises:
        ValueError: replications below 1.

    Source:
        Efron, B. (1979). Bootstrap methods: another look at the jackknife. Clusters: Field and Welsh (2007).
    """
    if replications < 1:
        raise ValueError(f"replications is {replications}; at least 1 is needed")
    users = len(sums)
    totals = np.empty((replications, sums.shape[1]))
    for number in range(replications):
        totals[number] = np.bincount(rng.integers(users, size=users), minlength=users) @ sums
    return totals


def bootstrap_interval(value: float, draws: Array, influence: Array) -> Interval:
    """The value between the draws' points that are right for a skewed estimate: bias-corrected and accelerated (BCa).

    Weighted rewards are skewed, most rows count little and few for much; the plain 2.5 % and 97.5 % points then lie too low.

    Args:
        value: the estimate.
        draws: ``(replications,)``; those that are not numbers are left out.
        influence: ``(users,)`` how much each user moves the estimate, up to a factor; of mean 0.

    Source:
        Efron, B. (1987). Better bootstrap confidence intervals.
    """
    kept = draws[np.isfinite(draws)]
    tail = (1 - CONFIDENCE) / 2
    if not kept.size or np.ptp(kept) == 0:
        low, high = np.nanquantile(draws, [tail, 1 - tail])
        return Interval(value, float(low), float(high))
    gap, rounding = kept - value, 1e-9 * np.ptp(kept)
    below = (np.count_nonzero(gap < -rounding) + np.count_nonzero(np.abs(gap) <= rounding) / 2) / kept.size
    shift = stats.norm.ppf(np.clip(below, 1 / kept.size, 1 - 1 / kept.size))
    squares = float((influence**2).sum())
    acceleration = float((influence**3).sum()) / (6 * squares**1.5) if squares > 0 else 0.0
    moved = shift + stats.norm.ppf([tail, 1 - tail])
    low, high = np.quantile(kept, stats.norm.cdf(shift + moved / np.maximum(1 - acceleration * moved, 0.1)))
    return Interval(value, float(low), float(high))


def ratio_influence(above: Array, below: Array) -> Array:
    """``(users,)`` how much each user moves the sum over columns of Σ above / Σ below.

    Args:
        above: ``(users, k)`` sums of numerators.
        below: ``(users, k)`` sums of denominators; their totals are not 0.
    """
    means = below.mean(axis=0)
    return np.asarray(((above - above.mean(axis=0) / means * below) / means).sum(axis=1))


def bernstein(above: Array, below: Array, users: NDArray[np.generic], width: float) -> Interval:
    """Where θ with E[above] = θ E[below] lies, at 95 %, for any number of rows.

    With m independent users, the sums A and B of a user's rows, L = ln(4 / 0.05) and R = width × the most rows of one user, all θ are
    kept with

        |mean(A − θ B)| ≤ √(2 L var(A − θ B) / m) + 7 R L / (3 (m − 1)).

    With one row a user and ``below`` = 1 this is the two-sided inequality of Maurer and Pontil; a self-normalised mean has ``below`` =
    w and E[w] = 1, so that no ratio of bounds is needed (Fieller's way).

    Args:
        above: ``(n,)`` a row's numerator.
        below: ``(n,)`` its denominator.
        users: ``(n,)`` rows of one user may depend on one another.
        width: largest minus smallest value that one row's above − θ · below can take, for any one θ in question.

    Returns:
        Σ above / Σ below and its bounds; infinite ones when the inequality excludes nothing.

    Source:
        Maurer, A. and Pontil, M. (2009). Empirical Bernstein bounds and sample variance penalization, theorem 11.
        Off-policy: Thomas, P., Theocharous, G. and Ghavamzadeh, M. (2015). High-confidence off-policy evaluation.
    """
    sums = user_sums(users, [above, below, np.ones_like(above)])
    m, rows = len(sums), float(sums[:, 2].max(initial=0.0))
    denominator = float(sums[:, 1].mean()) if m else 0.0
    if m < 2 or denominator <= 0:
        return Interval(float(above.sum() / below.sum()) if below.sum() else float("nan"), -np.inf, np.inf)
    value = float(sums[:, 0].sum() / sums[:, 1].sum())
    log_term = np.log(4 / (1 - CONFIDENCE))
    constant = 7 * width * rows * log_term / (3 * (m - 1))
    scale = 2 * log_term / m
    centred = sums[:, 0] - value * sums[:, 1]
    covariance = np.cov(centred, sums[:, 1], ddof=1)
    a = denominator**2 - scale * covariance[1, 1]
    if a <= 0:
        return Interval(value, -np.inf, np.inf)
    c = constant**2 - scale * covariance[0, 0]
    reach = {}
    for side in (-1.0, 1.0):  # z = |θ − value| at the end: z · mean(B) − constant = √(scale · variance(centred − side · z · B)), squared
        b = -2 * (denominator * constant - side * scale * covariance[0, 1])
        reach[side] = float((-b + np.sqrt(max(b**2 - 4 * a * c, 0.0))) / (2 * a))
    return Interval(value, value - reach[-1.0], value + reach[1.0])
