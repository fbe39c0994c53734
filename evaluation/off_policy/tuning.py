"""How far weights are limited: λ of clipped IPS, Switch-DR and DRos, chosen from the log itself.

Candidates lie evenly in the logarithm between the 5 % and the 95 % point of the positive weights, for DRos between 0.01 and 100 times their
squares (Su et al. 2020, section 6), and ∞, which limits nothing. Two ways to choose:

    mse     the least variance / n + bias², bias = |mean((w − ŵ)(r − q))| and one standard error of it; 0 for ŵ = w. The default: bias
            stays below the standard error, so that intervals still cover. Clipping and switching, which lose a weight whole, seldom pay
            under this rule; shrinking often does.
    slope   candidates in the order of falling width; the last whose estimate lies within width_i + (√6 − 1) width_j of every
            earlier one's. No bias is estimated, and up to four standard errors of it can pass: better than mse where q is nearly right,
            worse than DR where it is not.

Source:
    Su, Y., Srinath, P. and Krishnamurthy, A. (2020). Adaptive estimator selection for off-policy evaluation (SLOPE).
    Tucker, G. and Lee, J. (2021). Improved estimator selection for off-policy evaluation (the order and the constant).
    Su, Y., Dimakopoulou, M., Krishnamurthy, A. and Dudík, M. (2020). Doubly robust off-policy evaluation with shrinkage (mse).
"""

from typing import Literal

import numpy as np
from scipy import stats

from evaluation.off_policy.estimators import TUNED, Estimator, limited, terms
from evaluation.off_policy.evidence import clustered_error
from evaluation.off_policy.log import Array, LoggedChoices

Tuning = Literal["slope", "mse"]
TUNINGS: tuple[Tuning, ...] = ("mse", "slope")
CANDIDATES = 20
SLOPE_LEVEL = 0.95
"""One-sided level of the widths that SLOPE compares."""
_SLOPE_CONSTANT = np.sqrt(6) - 1


def candidates(weights: Array, estimator: Estimator) -> Array:
    """Values of λ to choose from, the last one ∞.

    Args:
        weights: ``(n,)`` π / μ.
        estimator: one of `TUNED`.
    """
    positive = weights[weights > 0]
    if not positive.size:
        return np.array([np.inf])
    low, high = np.quantile(positive, [0.05, 0.95])
    if estimator == "dros":
        low, high = 0.01 * low**2, 100 * high**2
    return np.append(np.unique(np.geomspace(low, max(high, low), CANDIDATES)), np.inf)


def tuned(log: LoggedChoices, estimator: Estimator, how: Tuning = "mse", among: Array | None = None) -> float:
    """λ of an estimator for this log.

    Args:
        log: at least one logged choice.
        estimator: one of `TUNED`.
        how: slope or mse.
        among: the candidates; `candidates` of the log when None.

    Raises:
        ValueError: an estimator without λ, no candidates, or an unknown way.
    """
    if estimator not in TUNED:
        raise ValueError(f"{estimator!r} has no parameter; {', '.join(TUNED)} have")
    if how not in TUNINGS:
        raise ValueError(f"no tuning is named {how!r}; there are {', '.join(TUNINGS)}")
    values = candidates(log.weights, estimator) if among is None else np.asarray(among, dtype=np.float64)
    if not values.size:
        raise ValueError("no candidates to choose from")
    return _by_slope(log, estimator, values) if how == "slope" else _by_mse(log, estimator, values)


def _by_slope(log: LoggedChoices, estimator: Estimator, values: Array) -> float:
    rows = [terms(log, estimator, value).above.sum(axis=1) for value in values]
    means = np.array([row.mean() for row in rows])
    factor = float(stats.t.ppf(SLOPE_LEVEL, max(log.rewards.size - 1, 1)))
    widths = factor * np.array([clustered_error(row - row.mean(), log.users) for row in rows])
    order = np.lexsort((-values, -widths))  # of equal widths the largest λ first
    for place, index in enumerate(order):
        before = order[:place]
        if (np.abs(means[before] - means[index]) > widths[index] + _SLOPE_CONSTANT * widths[before]).any():
            return float(values[order[place - 1]])
    return float(values[order[-1]])


def _by_mse(log: LoggedChoices, estimator: Estimator, values: Array) -> float:
    residual = log.rewards if log.predicted is None or estimator == "clipped_ips" else log.rewards - log.predicted
    scores = []
    for value in values:
        row = terms(log, estimator, value).above.sum(axis=1)
        lost = (log.weights - limited(log.weights, estimator, value)) * residual
        bias = abs(float(lost.mean())) + clustered_error(lost - lost.mean(), log.users)
        scores.append(clustered_error(row - row.mean(), log.users) ** 2 + bias**2)
    return float(values[int(np.argmin(scores))])
