"""How much a log can say about a target policy, and the reasons to refuse an answer."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from evaluation.off_policy.log import Array, LoggedChoices

MIN_EFFECTIVE_SAMPLE_SIZE = 50.0
"""Below so many effective rows the answer is a refusal."""
MAX_UNSUPPORTED = 0.01
"""Largest share of the target policy's choices that may fall where the logging policy could not act."""
MAX_WEIGHT_DEVIATION = 6.0
"""Standard errors that a mean weight may lie from its expectation before the propensities are called wrong."""
WRONG_PROPENSITIES = "wrong propensities"
"""How a refusal for a mean weight or a mean of 1 / propensity begins."""
MIN_ACTION_ROWS = 50
"""Actions with fewer logged rows are left out of the calibration: their standard error means nothing."""


@dataclass(frozen=True)
class Evidence:
    """How much a log can say about a target policy.

    Attributes:
        rows: logged choices.
        effective_sample_size: (Σ w)² / Σ w², the number of target-policy rows that would say as much.
        largest_weight: max w; one row that counts for so many.
        mean_weight: mean of w; its expectation is ``support``.
        support: share of the target policy's choices that the logging policy could have made.

    Source:
        Kish, L. (1965). Survey Sampling: the effective sample size.
    """

    rows: int
    effective_sample_size: float
    largest_weight: float
    mean_weight: float
    support: float


@dataclass(frozen=True)
class Calibration:
    """Whether logged propensities describe how the actions were drawn.

    Attributes:
        actions: how many were tested: those with at least `MIN_ACTION_ROWS` rows.
        largest_deviation: standard errors that the worst action's mean of 1{a = k} / μ lies from its expectation.
        worst: that action, as text.
        worst_mean: its mean.
        worst_expected: the expectation: the share of rows in which it could be chosen.
        error: mean over the tested actions of |mean − expectation|.
        at_most: whether the expectation is a bound from above, and only means above it count as deviations.
    """

    actions: int
    largest_deviation: float
    worst: str
    worst_mean: float
    worst_expected: float
    error: float
    at_most: bool = False


def evidence(log: LoggedChoices) -> Evidence:
    """Effective sample size, weights and support of a log under a target policy.

    Args:
        log: the logged choices; may be empty.
    """
    support = 1.0 - float(log.unsupported.mean()) if log.unsupported is not None and log.rewards.size else 1.0
    return weights_evidence(log.weights, support)


def weights_evidence(weights: Array, support: float = 1.0) -> Evidence:
    """The same of bare weights.

    Args:
        weights: ``(n,)``; may be empty.
        support: share of the target policy's choices that could have been logged.
    """
    squares = float((weights**2).sum())
    return Evidence(
        rows=weights.size,
        effective_sample_size=float(weights.sum()) ** 2 / squares if squares > 0 else 0.0,
        largest_weight=float(weights.max(initial=0.0)),
        mean_weight=float(weights.mean()) if weights.size else 0.0,
        support=support,
    )


def propensity_calibration(
    actions: NDArray[np.generic],
    logging_propensity: Array,
    users: NDArray[np.generic],
    available: Mapping[object, float] | None = None,
    *,
    at_most: bool = False,
) -> Calibration:
    """Test the logged propensities action by action: the mean of 1{a = k} / μ(a | x) is the share of rows that could choose k.

    A right log passes whatever the target policy is; a propensity that was logged before a filter, or of another position,
    does not. Where it is not known which rows could choose an action (candidates of their own, or what stands above in a slate), that
    share is at most 1, and a larger mean tells wrong propensities still.

    Args:
        actions: ``(n,)`` the logged action.
        logging_propensity: ``(n,)`` μ(a | x) in (0, 1].
        users: ``(n,)`` whose rows are independent of others' rows.
        available: action → share of rows among whose candidates it was; 1 for all when None.
        at_most: whether an action may have been a candidate in fewer rows than that.

    Source:
        Li, L., Chen, S., Kleban, J. and Gupta, A. (2015). Counterfactual estimation and optimization of click metrics in search
        engines (arithmetic and harmonic mean tests); London, B. and Joachims, T. (2022). Control variate diagnostics for
        detecting problems in logged bandit feedback.
    """
    names, codes = np.unique(actions, return_inverse=True)
    codes = codes.ravel()
    tested = np.flatnonzero(np.bincount(codes, minlength=names.size) >= MIN_ACTION_ROWS)
    if not tested.size:
        return Calibration(0, 0.0, "", float("nan"), 1.0, 0.0, at_most)
    expected = np.array([1.0 if available is None else available.get(names[code].item(), 1.0) for code in range(names.size)])
    sums = np.bincount(codes, weights=1 / logging_propensity, minlength=names.size)
    gaps = (sums / codes.size - expected)[tested]
    errors = _errors_by_action(codes, 1 / logging_propensity, users, expected)[tested]
    counted = np.maximum(gaps, 0.0) if at_most else np.abs(gaps)
    deviations = np.where(errors > 0, counted / np.where(errors > 0, errors, 1.0), 0.0)
    worst = int(np.argmax(deviations))
    due = float(expected[tested[worst]])
    return Calibration(
        tested.size, float(deviations[worst]), str(names[tested[worst]]), float(gaps[worst]) + due, due, float(np.abs(gaps).mean()), at_most
    )


def _errors_by_action(codes: NDArray[np.int64], inverse: Array, users: NDArray[np.generic], expected: Array) -> Array:
    """`clustered_error` of 1{a = k} / μ − expected for every action k at once: ``(actions,)``.

    A user's sum is R − m · expected, with R the sum of 1 / μ over the user's rows with k, and m the user's rows; of most pairs of user and
    action R is 0, so only the pairs that occur are gone through.
    """
    people = np.unique(users, return_inverse=True)[1].ravel()
    rows = np.bincount(people).astype(np.float64)
    pairs, place = np.unique(people.astype(np.int64) * expected.size + codes, return_inverse=True)
    user, action = np.divmod(pairs, expected.size)
    present = (np.bincount(place.ravel(), weights=inverse) - rows[user] * expected[action]) ** 2
    absent = (rows**2).sum() - np.bincount(action, weights=rows[user] ** 2, minlength=expected.size)
    squares = np.bincount(action, weights=present, minlength=expected.size) + expected**2 * absent
    return np.asarray(np.sqrt(squares) / codes.size)


def reason_to_refuse(
    found: Evidence,
    weights: Array,
    users: NDArray[np.generic],
    *,
    min_effective_sample_size: float = MIN_EFFECTIVE_SAMPLE_SIZE,
    max_unsupported: float = MAX_UNSUPPORTED,
    calibration: Calibration | None = None,
) -> str | None:
    """Why a log cannot tell a policy's value; None when it can.

    Args:
        found: the evidence.
        weights: ``(n,)`` the weights it was taken from.
        users: ``(n,)`` who it was.
        min_effective_sample_size: the least.
        max_unsupported: the largest share of choices outside the support.
        calibration: of the propensities, where the actions are known.
    """
    if not found.rows:
        return "not enough evidence: the log is empty"
    if 1 - found.support > max_unsupported:
        return (
            f"no support: {1 - found.support:.1%} of the target policy's choices could never have been logged "
            f"(limit {max_unsupported:.1%}); log with exploration over the same candidates"
        )
    if found.effective_sample_size < min_effective_sample_size:
        return (
            f"not enough evidence: {found.rows} logged choices are worth {found.effective_sample_size:.1f} of the target policy's "
            f"(limit {min_effective_sample_size:g}); gather more log, or a target policy closer to the logging one"
        )
    error = clustered_error(weights - found.support, users)
    gap = abs(found.mean_weight - found.support)
    if error > 0 and gap > MAX_WEIGHT_DEVIATION * error:
        return (
            f"{WRONG_PROPENSITIES}: the mean weight is {found.mean_weight:.3f} where {found.support:.3f} is expected, "
            f"{gap / error:.0f} standard errors off (limit {MAX_WEIGHT_DEVIATION:g}); "
            "the logged propensities do not describe how these rows were drawn, "
            "or the target policy acts where the log is silent"
        )
    if calibration is not None and calibration.largest_deviation > MAX_WEIGHT_DEVIATION:
        return (
            f"{WRONG_PROPENSITIES}: the mean of 1 / propensity over action {calibration.worst} is {calibration.worst_mean:.3f} where "
            f"{calibration.worst_expected:.3f}{' at most' if calibration.at_most else ''} is expected, "
            f"{calibration.largest_deviation:.0f} standard errors off (limit {MAX_WEIGHT_DEVIATION:g}); "
            "the logged propensities do not describe how these rows were drawn"
        )
    return None


def clustered_error(values: Array, users: NDArray[np.generic]) -> float:
    """Standard error of a mean of zero-mean values whose users are independent of one another.

    Args:
        values: ``(n,)``, at least one.
        users: ``(n,)``.
    """
    sums = user_sums(users, [values])
    return float(np.sqrt((sums**2).sum())) / values.size


def user_sums(users: NDArray[np.generic], columns: list[Array]) -> Array:
    """``(users, columns)`` sums of each column over each user's rows.

    Args:
        users: ``(n,)``.
        columns: each ``(n,)``.
    """
    names, codes = np.unique(users, return_inverse=True)
    codes = codes.ravel()
    return np.stack([np.bincount(codes, weights=column, minlength=names.size) for column in columns], axis=1)
