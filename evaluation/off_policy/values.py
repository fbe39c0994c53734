"""The value of a target policy with its intervals, or the reason why the log cannot tell it."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from evaluation.intervals import Interval
from evaluation.off_policy.bounds import bernstein, bootstrap_interval, bootstrap_totals, ratio_influence
from evaluation.off_policy.estimators import ESTIMATORS, MODEL_FREE, TUNED, Estimator, Terms, terms, total
from evaluation.off_policy.evidence import (
    MAX_UNSUPPORTED,
    MIN_EFFECTIVE_SAMPLE_SIZE,
    Calibration,
    Evidence,
    evidence,
    reason_to_refuse,
    user_sums,
)
from evaluation.off_policy.log import Array, LoggedChoices
from evaluation.off_policy.tuning import Tuning, tuned


@dataclass(frozen=True)
class Estimate:
    """A value with its evidence.

    Attributes:
        estimator: which one.
        value: the target policy's mean reward, with its 95 % interval by the bootstrap over users.
        lift: value − mean logged reward, both resampled together.
        evidence: what it rests on.
        bernstein: the value with its 95 % interval by the empirical Bernstein inequality, within the range of rewards; wider, and good for
            small logs too.
        parameter: λ of the estimators that limit weights; None of the others.
    """

    estimator: str
    value: Interval
    lift: Interval
    evidence: Evidence
    bernstein: Interval
    parameter: float | None = None


@dataclass(frozen=True)
class Refusal:
    """There is not enough evidence, and why.

    Attributes:
        estimator: what was asked for.
        reason: in words, with value and limit.
        evidence: what there is.
    """

    estimator: str
    reason: str
    evidence: Evidence


@dataclass(frozen=True)
class Bounds:
    """What is known of the largest numbers, for Bernstein's interval; its promise is as good as these are true.

    Attributes:
        reward: smallest and largest possible reward; None: 0 and 1 where no other reward is logged, else of those logged and 0.
        weight: largest possible weight π / μ, such as 1 over the least exploration; None: the largest logged.
    """

    reward: tuple[float, float] | None = None
    weight: float | None = None


OBSERVED = Bounds()


def reward_range(rewards: Array, bounds: Bounds) -> tuple[float, float]:
    """Smallest and largest possible reward: what is known, else what is seen.

    Args:
        rewards: the logged ones.
        bounds: what is known.
    """
    if bounds.reward is not None:
        return bounds.reward
    if np.isin(rewards, (0.0, 1.0)).all():
        return 0.0, 1.0
    return min(float(rewards.min()), 0.0), max(float(rewards.max()), 0.0)


def clipped(interval: Interval, low: float, high: float) -> Interval:
    """An interval without what its estimand cannot be: it holds the truth whenever the interval did.

    Args:
        interval: any; its value stays, though an unbiased estimate may lie where the truth cannot.
        low: the least that the estimand can be.
        high: the most.
    """
    return Interval(interval.value, min(max(interval.low, low), high), max(min(interval.high, high), low))


def point_value(log: LoggedChoices, estimator: Estimator, *, tuning: Tuning = "mse", parameter: float | None = None) -> float:
    """The estimate alone, whatever the evidence.

    Args:
        log: at least one logged choice.
        estimator: one of `ESTIMATORS`.
        tuning: how λ is chosen where there is one.
        parameter: λ itself; chosen from the log when None.

    Returns:
        The value; not a number for SNIPS and SNDR when all weights are zero.

    Raises:
        ValueError: an unknown estimator, a reward model that is needed and missing, or an empty log.
    """
    if not log.rewards.size:
        raise ValueError("the log is empty; a value needs at least one logged choice")
    chosen = parameter if parameter is not None or estimator not in TUNED else tuned(log, estimator, tuning)
    return total(terms(log, estimator, np.inf if chosen is None else chosen))


def policy_value(
    log: LoggedChoices,
    estimator: Estimator,
    *,
    rng: np.random.Generator,
    replications: int = 1000,
    min_effective_sample_size: float = MIN_EFFECTIVE_SAMPLE_SIZE,
    max_unsupported: float = MAX_UNSUPPORTED,
) -> Estimate | Refusal:
    """The value of the target policy by one estimator, with its intervals, or why the log cannot tell it.

    Args:
        log: the logged choices.
        estimator: one of `ESTIMATORS`.
        rng: draws the bootstrap over users.
        replications: of the bootstrap, at least 1.
        min_effective_sample_size: below it the answer is a refusal.
        max_unsupported: above this share of the target policy's choices outside the log's support, a refusal.

    Raises:
        ValueError: see `policy_values`.
    """
    return policy_values(
        log,
        (estimator,),
        rng=rng,
        replications=replications,
        min_effective_sample_size=min_effective_sample_size,
        max_unsupported=max_unsupported,
    )[estimator]


def policy_values(
    log: LoggedChoices,
    estimators: Sequence[Estimator] | None = None,
    *,
    rng: np.random.Generator,
    replications: int = 1000,
    min_effective_sample_size: float = MIN_EFFECTIVE_SAMPLE_SIZE,
    max_unsupported: float = MAX_UNSUPPORTED,
    calibration: Calibration | None = None,
    tuning: Tuning = "mse",
    bounds: Bounds = OBSERVED,
) -> dict[Estimator, Estimate | Refusal]:
    """The value of the target policy by several estimators over the same bootstrap draws, or why the log cannot tell it.

    All estimators are refused for the same reasons, DM too: where weights say that the log is silent, the reward model guesses.

    Args:
        log: the logged choices.
        estimators: which; when None all that the log allows (those with a reward model only when it has predictions).
        rng: draws the bootstrap over users.
        replications: of the bootstrap, at least 1.
        min_effective_sample_size: below it the answer is a refusal.
        max_unsupported: above this share of the target policy's choices outside the log's support, a refusal.
        calibration: of the propensities, where the actions are known (`propensity_calibration`); refused when they cannot be true.
        tuning: how λ is chosen; it stays as chosen in the replications.
        bounds: for Bernstein's interval.

    Returns:
        Estimator → an estimate, or a refusal with its reason.

    Raises:
        ValueError: an unknown estimator, a reward model that is needed and missing, or replications below 1.
    """
    asked = estimators if estimators is not None else ESTIMATORS if log.predicted is not None else MODEL_FREE
    found = evidence(log)
    reason = reason_to_refuse(
        found,
        log.weights,
        log.users,
        min_effective_sample_size=min_effective_sample_size,
        max_unsupported=max_unsupported,
        calibration=calibration,
    )
    if replications < 1:
        raise ValueError(f"replications is {replications}; at least 1 is needed")
    if reason is not None:
        return {name: Refusal(name, reason, found) for name in asked}
    parameters = {name: tuned(log, name, tuning) if name in TUNED else None for name in asked}
    parts = {name: terms(log, name, np.inf if parameters[name] is None else parameters[name] or 0.0) for name in asked}
    columns = [column for part in parts.values() for matrix in (part.above, part.below) for column in matrix.T]
    sums = user_sums(log.users, [*columns, log.rewards, np.ones_like(log.rewards)])  # (users, columns)
    draws = np.concatenate([sums.sum(axis=0, keepdims=True), bootstrap_totals(sums, replications, rng)])  # the data themselves first
    logged, of_logged = draws[:, -2] / draws[:, -1], ratio_influence(sums[:, -2:-1], sums[:, -1:])
    answers: dict[Estimator, Estimate | Refusal] = {}
    place = 0
    for name, part in parts.items():
        width = part.above.shape[1]
        here, there = slice(place, place + width), slice(place + width, place + 2 * width)
        value, moved = ratio_totals(draws[:, here], draws[:, there]), ratio_influence(sums[:, here], sums[:, there])
        place += 2 * width
        answers[name] = Estimate(
            name,
            bootstrap_interval(float(value[0]), value[1:], moved),
            bootstrap_interval(float(value[0] - logged[0]), value[1:] - logged[1:], moved - of_logged),
            found,
            _bernstein(log, name, part, parameters[name], bounds),
            parameters[name],
        )
    return answers


def ratio_totals(above: Array, below: Array) -> Array:
    """``(m, k)`` totals of numerators and of denominators → ``(m,)`` values; not a number where a denominator is zero.

    Args:
        above: ``(m, k)``.
        below: ``(m, k)``.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray((above / below).sum(axis=1))


def _bernstein(log: LoggedChoices, name: Estimator, part: Terms, parameter: float | None, bounds: Bounds) -> Interval:
    above, below = part.above.sum(axis=1), part.below[:, -1]
    if name == "sndr" and log.predicted_target is not None:  # with w in place of 1: E[w] = 1, and the model's mean is a constant
        above = above + (below - 1) * float(log.predicted_target.mean())
    return clipped(bernstein(above, below, log.users, _width(log, name, parameter, bounds)), *reward_range(log.rewards, bounds))


def _width(log: LoggedChoices, name: Estimator, parameter: float | None, bounds: Bounds) -> float:
    """Largest minus smallest value of a row's term; predictions are bounded by those seen."""
    low, high = reward_range(log.rewards, bounds)
    weight = _largest(bounds.weight if bounds.weight is not None else float(log.weights.max()), name, parameter)
    if name in {"ips", "clipped_ips"}:
        return weight * (max(high, 0.0) - min(low, 0.0))
    if name == "snips":
        return weight * (high - low)
    if log.predicted is None or log.predicted_target is None:  # terms() has refused this already
        raise ValueError(f"{name} needs a reward model")
    model = float(np.ptp(log.predicted_target))
    return model + weight * (max(high - float(log.predicted.min()), 0.0) - min(low - float(log.predicted.max()), 0.0))


def _largest(weight: float, name: Estimator, parameter: float | None) -> float:
    """The largest limited weight when no weight is larger than the one given."""
    if name == "dm":
        return 0.0
    if parameter is None or np.isinf(parameter):
        return weight
    if name == "dros":
        top = min(weight, float(np.sqrt(parameter)))  # λ w / (w² + λ) grows up to w = √λ
        return parameter * top / (top**2 + parameter) if parameter > 0 else 0.0
    return min(weight, parameter)
