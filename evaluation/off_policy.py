"""The value of a policy that was never run, from the log of one that was; or a refusal.

Every row is one logged choice: a context x, the action a that the logging policy μ drew with probability μ(a | x), and
its reward r. The target policy π would have drawn the same action with probability π(a | x). With the weight
w = π(a | x) / μ(a | x), and a model q(x, a) of the reward:

    IPS    mean(w · r)                                         Horvitz and Thompson (1952)
    SNIPS  Σ w · r / Σ w                                       Swaminathan and Joachims (2015)
    DR     mean(Σ_a' π(a' | x) q(x, a') + w · (r − q(x, a)))   Dudík, Langford and Li (2011)

IPS is unbiased wherever π acts only where μ could have acted; SNIPS trades a vanishing bias for less variance; DR is
unbiased when either the propensities or q are right. None of them says anything where the log is silent: hence
`Refusal`, which is an answer and not an error.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from core.errors import PropensityError
from evaluation.intervals import Interval

Array = NDArray[np.float64]
Estimator = Literal["ips", "snips", "dr"]
ESTIMATORS: tuple[Estimator, ...] = ("ips", "snips", "dr")
MAX_UNSUPPORTED = 0.01
"""Largest share of the target policy's choices that may fall where the logging policy could not act."""
MAX_WEIGHT_DEVIATION = 6.0
"""Standard errors that the mean weight may lie from its expectation before the propensities are called wrong."""
_CHUNK = 64


@dataclass(frozen=True)
class LoggedChoices:
    """A log, and what the target policy would have done.

    Attributes:
        rewards: ``(n,)`` click, conversion or money of the logged action.
        logging_propensity: ``(n,)`` μ(a | x) in (0, 1].
        target_propensity: ``(n,)`` π(a | x) in [0, 1] of the logged action.
        users: ``(n,)`` who it was; rows of one user are resampled together.
        unsupported: ``(n,)`` Σ of π(a' | x) over actions with μ(a' | x) = 0; None when the logging policy could draw all.
        predicted: ``(n,)`` q(x, a) of the logged action; needed by DR.
        predicted_target: ``(n,)`` Σ_a' π(a' | x) q(x, a'); needed by DR.
    """

    rewards: Array
    logging_propensity: Array
    target_propensity: Array
    users: NDArray[np.generic]
    unsupported: Array | None = None
    predicted: Array | None = None
    predicted_target: Array | None = None

    def __post_init__(self) -> None:
        """Check shapes and ranges.

        Raises:
            ValueError: arrays of different length, or target propensities outside [0, 1].
            PropensityError: logging propensities outside (0, 1].
        """
        n = self.rewards.shape
        for name in ("logging_propensity", "target_propensity", "users", "unsupported", "predicted", "predicted_target"):
            value = getattr(self, name)
            if value is not None and (value.shape != n or len(n) != 1):
                raise ValueError(f"{name} has shape {value.shape}, rewards have {n}; all must be (n,)")
        bad = ~((self.logging_propensity > 0) & (self.logging_propensity <= 1))  # NaN is bad too
        if bad.any():
            raise PropensityError(
                f"{int(bad.sum())} of {bad.size} logging propensities lie outside (0, 1]; first: row {int(bad.argmax())} = "
                f"{self.logging_propensity[bad][0]}. A row without its propensity cannot be evaluated: leave it out, or log it."
            )
        bad = ~((self.target_propensity >= 0) & (self.target_propensity <= 1 + 1e-9))
        if bad.any():
            first = f"row {int(bad.argmax())} = {self.target_propensity[bad][0]}"
            raise ValueError(f"{int(bad.sum())} of {bad.size} target propensities lie outside [0, 1]; first: {first}")

    @property
    def weights(self) -> Array:
        """``(n,)`` π / μ of the logged actions."""
        return self.target_propensity / self.logging_propensity


@dataclass(frozen=True)
class Evidence:
    """How much a log can say about a target policy.

    Attributes:
        rows: logged choices.
        effective_sample_size: (Σ w)² / Σ w², the number of target-policy rows that would say as much (Kish 1965).
        largest_weight: max w; one row that counts for so many.
        mean_weight: mean of w; its expectation is ``support``.
        support: share of the target policy's choices that the logging policy could have made.
    """

    rows: int
    effective_sample_size: float
    largest_weight: float
    mean_weight: float
    support: float


@dataclass(frozen=True)
class Estimate:
    """A value with its evidence.

    Attributes:
        estimator: ips, snips or dr.
        value: the target policy's mean reward, with its 95 % interval.
        lift: value − mean logged reward, both resampled together.
        evidence: what it rests on.
    """

    estimator: Estimator
    value: Interval
    lift: Interval
    evidence: Evidence


@dataclass(frozen=True)
class Refusal:
    """There is not enough evidence, and why.

    Attributes:
        estimator: what was asked for.
        reason: in words, with value and limit.
        evidence: what there is.
    """

    estimator: Estimator
    reason: str
    evidence: Evidence


def evidence(log: LoggedChoices) -> Evidence:
    """Effective sample size, weights and support of a log under a target policy.

    Args:
        log: the logged choices; may be empty.
    """
    weights = log.weights
    squares = float((weights**2).sum())
    return Evidence(
        rows=weights.size,
        effective_sample_size=float(weights.sum()) ** 2 / squares if squares > 0 else 0.0,
        largest_weight=float(weights.max(initial=0.0)),
        mean_weight=float(weights.mean()) if weights.size else 0.0,
        support=1.0 - float(log.unsupported.mean()) if log.unsupported is not None and weights.size else 1.0,
    )


def point_value(log: LoggedChoices, estimator: Estimator) -> float:
    """The estimate alone, by the formulas at the head of this module, whatever the evidence.

    Args:
        log: at least one logged choice.
        estimator: ips, snips or dr.

    Returns:
        The value; not a number for SNIPS when all weights are zero.

    Raises:
        ValueError: DR without ``predicted`` and ``predicted_target``, an unknown estimator, or an empty log.
    """
    if not log.rewards.size:
        raise ValueError("the log is empty; a value needs at least one logged choice")
    above, below = _terms(log, estimator)
    return float(above.sum() / below.sum()) if below.sum() else float("nan")


def policy_value(
    log: LoggedChoices,
    estimator: Estimator,
    *,
    rng: np.random.Generator,
    replications: int = 1000,
    min_effective_sample_size: float = 50.0,
    max_unsupported: float = MAX_UNSUPPORTED,
) -> Estimate | Refusal:
    """The value of the target policy with its interval, or why the log cannot tell it.

    Args:
        log: the logged choices.
        estimator: ips, snips or dr.
        rng: draws the bootstrap over users.
        replications: of the bootstrap, at least 1.
        min_effective_sample_size: below it the answer is a refusal.
        max_unsupported: above this share of the target policy's choices outside the log's support, a refusal.

    Returns:
        An estimate, or a refusal with its reason.

    Raises:
        ValueError: see `point_value`; replications below 1.
    """
    if replications < 1:
        raise ValueError(f"replications is {replications}; at least 1 is needed")
    found = evidence(log)
    reason = _reason(log, found, min_effective_sample_size, max_unsupported)
    if reason is not None:
        return Refusal(estimator, reason, found)
    above, below = _terms(log, estimator)
    codes, sums = _user_sums(log.users, [above, below, log.rewards, np.ones_like(log.rewards)])  # (users, 4)
    value, lift = _value_and_lift(sums.sum(axis=0, keepdims=True))
    draws = np.concatenate([_value_and_lift(totals) for totals in _resampled(sums, codes, replications, rng)], axis=1)  # (2, replications)
    low, high = np.nanquantile(draws, [0.025, 0.975], axis=1)
    return Estimate(
        estimator,
        Interval(float(value[0]), float(low[0]), float(high[0])),
        Interval(float(lift[0]), float(low[1]), float(high[1])),
        found,
    )


def _terms(log: LoggedChoices, estimator: Estimator) -> tuple[Array, Array]:
    """Numerator and denominator of the estimator, each ``(n,)``: its value is the ratio of their sums."""
    weights, ones = log.weights, np.ones_like(log.rewards)
    if estimator == "ips":
        return weights * log.rewards, ones
    if estimator == "snips":
        return weights * log.rewards, weights
    if estimator != "dr":
        raise ValueError(f"no estimator is named {estimator!r}; there are {', '.join(ESTIMATORS)}")
    if log.predicted is None or log.predicted_target is None:
        raise ValueError("DR needs `predicted` and `predicted_target`, the reward model's values; without a model ask for ips or snips")
    return log.predicted_target + weights * (log.rewards - log.predicted), ones


def _reason(log: LoggedChoices, found: Evidence, min_effective_sample_size: float, max_unsupported: float) -> str | None:
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
    _, sums = _user_sums(log.users, [log.weights - found.support])
    error = float(np.sqrt((sums**2).sum())) / found.rows  # clustered by user
    gap = abs(found.mean_weight - found.support)
    if error > 0 and gap > MAX_WEIGHT_DEVIATION * error:
        return (
            f"wrong propensities: the mean weight is {found.mean_weight:.3f} where {found.support:.3f} is expected, "
            f"{gap / error:.0f} standard errors off (limit {MAX_WEIGHT_DEVIATION:g}); "
            "the logged propensities do not describe how these rows were drawn"
        )
    return None


def _user_sums(users: NDArray[np.generic], columns: list[Array]) -> tuple[int, Array]:
    names, codes = np.unique(users, return_inverse=True)
    return names.size, np.stack([np.bincount(codes, weights=column, minlength=names.size) for column in columns], axis=1)


def _value_and_lift(totals: Array) -> Array:
    """``(m, 4)`` sums of numerator, denominator, rewards, rows → ``(2, m)``."""
    with np.errstate(divide="ignore", invalid="ignore"):
        value = totals[:, 0] / totals[:, 1]
        return np.stack([value, value - totals[:, 2] / totals[:, 3]])


def _resampled(sums: Array, users: int, replications: int, rng: np.random.Generator) -> list[Array]:
    """Totals over users drawn with replacement, in chunks of replications so that memory stays small."""
    share = np.full(users, 1 / users)
    sizes = [min(_CHUNK, replications - start) for start in range(0, replications, _CHUNK)]
    return [rng.multinomial(users, share, size=size) @ sums for size in sizes]


def logged_choices(
    rewards: ArrayLike,
    logging_propensity: ArrayLike,
    target_propensity: ArrayLike,
    users: ArrayLike,
    *,
    unsupported: ArrayLike | None = None,
    predicted: ArrayLike | None = None,
    predicted_target: ArrayLike | None = None,
) -> LoggedChoices:
    """`LoggedChoices` from anything array-like; see there for the meaning of each argument.

    Args:
        rewards: ``(n,)``.
        logging_propensity: ``(n,)``.
        target_propensity: ``(n,)``.
        users: ``(n,)``.
        unsupported: ``(n,)`` or None.
        predicted: ``(n,)`` or None.
        predicted_target: ``(n,)`` or None.

    Raises:
        ValueError: see `LoggedChoices`.
        PropensityError: see `LoggedChoices`.
    """

    def array(values: ArrayLike | None) -> Array | None:
        return None if values is None else np.asarray(values, dtype=np.float64)

    return LoggedChoices(
        np.asarray(rewards, dtype=np.float64),
        np.asarray(logging_propensity, dtype=np.float64),
        np.asarray(target_propensity, dtype=np.float64),
        np.asarray(users),
        array(unsupported),
        array(predicted),
        array(predicted_target),
    )
