"""The value of a slate policy: several positions are filled for one request, each with a reward of its own.

The logging policy μ and the target policy π fill positions 0, 1, …, L − 1 from the top. With conditional propensities given the
positions above, w_l = π(a_l | x, a_<l) / μ(a_l | x, a_<l), their running products w_0:l = w_0 · … · w_l, and the ratio of marginals
m_l = π(a_l | x) / μ(a_l | x):

    standard       mean(Σ_l w_0:L−1 r_l)                             any user behaviour; Precup, Sutton and Singh (2000)
    position_wise  mean(Σ_l m_l r_l)                                 a click depends on its own position alone;
                                                                     independent IPS, Li et al. (2018)
    cascade        mean(Σ_l w_0:l r_l)                               … and on the positions above: users read from the top;
                                                                     reward-interaction IPS, McInerney et al. (2020)
    cascade_dr     mean(Σ_l w_0:l (r_l − Q_l) + w_0:l−1 E_π Q_l)     the same with a model of what is to come; Kiyohara et al. (2022)

Q_l(x, a_0 … a_l) predicts r_l and all rewards below it, E_π Q_l is its mean over the target policy's choice at l, and w_0:−1 = 1. The fewer
positions a weight multiplies, the more its log says, and the more it assumes. Each can be self-normalised position by position
(Σ w r / Σ w), as McInerney et al. do.

Source:
    Precup, D., Sutton, R. and Singh, S. (2000). Eligibility traces for off-policy policy evaluation.
    Li, S., Abbasi-Yadkori, Y., Kveton, B., Muthukrishnan, S., Vinay, V. and Wen, Z. (2018). Offline evaluation of ranking policies with
    click models.
    McInerney, J., Brost, B., Chandar, P., Mehrotra, R. and Carterette, B. (2020). Counterfactual evaluation of slate recommendations with
    sequential reward interactions.
    Kiyohara, H., Saito, Y., Matsuhiro, T., Narita, Y., Shimizu, N. and Yamamoto, Y. (2022). Doubly robust off-policy evaluation for ranking
    policies under the cascade behavior model.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from types import MappingProxyType
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from evaluation.off_policy.bounds import bernstein, bootstrap_interval, bootstrap_totals, ratio_influence
from evaluation.off_policy.estimators import Terms, total
from evaluation.off_policy.evidence import MIN_EFFECTIVE_SAMPLE_SIZE, Calibration, Evidence, reason_to_refuse, user_sums, weights_evidence
from evaluation.off_policy.log import Array, require_finite, require_propensities
from evaluation.off_policy.values import OBSERVED, Bounds, Estimate, Refusal, clipped, ratio_totals, reward_range

SlateEstimator = Literal["standard", "position_wise", "cascade", "cascade_dr"]
SLATE_ESTIMATORS: tuple[SlateEstimator, ...] = ("standard", "position_wise", "cascade", "cascade_dr")
NONE: Mapping[SlateEstimator, Sequence[Calibration]] = MappingProxyType({})


@dataclass(frozen=True)
class LoggedSlates:
    """Logged slates, and what the target policy would have done; a slate shorter than L is padded.

    Attributes:
        rewards: ``(n, L)``; 0 in padding.
        logging_propensity: ``(n, L)`` μ(a_l | x, a_<l) in (0, 1]; 1 in padding.
        target_propensity: ``(n, L)`` π(a_l | x, a_<l) in [0, 1]; 1 in padding.
        users: ``(n,)`` who it was; slates of one user are resampled together.
        logging_marginal: ``(n, L)`` μ(a_l | x), summed over everything that could stand above; needed by position_wise.
        target_marginal: ``(n, L)`` π(a_l | x); needed by position_wise.
        predicted: ``(n, L)`` Q_l of the logged actions: rewards at l and below; 0 in padding; needed by cascade_dr.
        predicted_target: ``(n, L)`` E_π Q_l given the logged actions above; 0 in padding; needed by cascade_dr.
    """

    rewards: Array
    logging_propensity: Array
    target_propensity: Array
    users: NDArray[np.generic]
    logging_marginal: Array | None = None
    target_marginal: Array | None = None
    predicted: Array | None = None
    predicted_target: Array | None = None

    def __post_init__(self) -> None:
        """Check shapes and ranges.

        Raises:
            ValueError: arrays of different shape, target propensities outside [0, 1], or numbers that are not finite.
            PropensityError: logging propensities outside (0, 1].
        """
        shape = self.rewards.shape
        if len(shape) != 2 or self.users.shape != shape[:1]:
            raise ValueError(f"rewards have shape {shape} and users {self.users.shape}; (n, L) and (n,) are needed")
        others = ("logging_marginal", "target_marginal", "predicted", "predicted_target")
        for name in ("logging_propensity", "target_propensity", *others):
            value = getattr(self, name)
            if value is not None and value.shape != shape:
                raise ValueError(f"{name} has shape {value.shape}, rewards have {shape}; all must be (n, L)")
        require_propensities(self.logging_propensity, self.target_propensity)
        if self.logging_marginal is not None and self.target_marginal is not None:
            require_propensities(self.logging_marginal, self.target_marginal)
        for name in ("rewards", "predicted", "predicted_target"):
            require_finite(name, getattr(self, name))

    def weights(self, estimator: SlateEstimator) -> Array:
        """``(n, L)`` what an estimator multiplies the reward at each position with.

        Args:
            estimator: one of `SLATE_ESTIMATORS`.

        Raises:
            ValueError: no such estimator, or position_wise without marginals.
        """
        if estimator not in SLATE_ESTIMATORS:
            raise ValueError(f"no slate estimator is named {estimator!r}; there are {', '.join(SLATE_ESTIMATORS)}")
        if estimator == "position_wise":
            if self.logging_marginal is None or self.target_marginal is None:
                raise ValueError("position_wise needs `logging_marginal` and `target_marginal`; without them ask for cascade")
            return self.target_marginal / self.logging_marginal
        running = np.cumprod(self.target_propensity / self.logging_propensity, axis=1, dtype=np.float64)
        return np.asarray(np.repeat(running[:, -1:], running.shape[1], axis=1) if estimator == "standard" else running, dtype=np.float64)


def slate_terms(log: LoggedSlates, estimator: SlateEstimator, *, self_normalised: bool = False) -> Terms:
    """Numerators and denominators by position, by the formulas at the head of this module.

    Args:
        log: the logged slates.
        estimator: one of `SLATE_ESTIMATORS`.
        self_normalised: divide by the sum of weights at each position, not by the number of slates; not for cascade_dr.

    Raises:
        ValueError: no such estimator, or what it needs is missing.
    """
    weights = log.weights(estimator)
    if estimator != "cascade_dr":
        return Terms(weights * log.rewards, weights if self_normalised else np.ones_like(weights))
    if self_normalised:
        raise ValueError("cascade_dr is not self-normalised; ask for cascade")
    if log.predicted is None or log.predicted_target is None:
        raise ValueError("cascade_dr needs `predicted` and `predicted_target`, a model of the rewards to come; without it ask for cascade")
    above = np.concatenate([np.ones((len(weights), 1)), weights[:, :-1]], axis=1)  # w_0:l−1
    return Terms(weights * (log.rewards - log.predicted) + above * log.predicted_target, np.ones_like(weights))


def slate_value(log: LoggedSlates, estimator: SlateEstimator, *, self_normalised: bool = False) -> float:
    """The estimate alone, whatever the evidence: rewards a slate.

    Args:
        log: at least one slate.
        estimator: one of `SLATE_ESTIMATORS`.
        self_normalised: see `slate_terms`.

    Raises:
        ValueError: see `slate_terms`, or an empty log.
    """
    if not log.rewards.size:
        raise ValueError("the log is empty; a value needs at least one logged slate")
    return total(slate_terms(log, estimator, self_normalised=self_normalised))


def slate_evidence(log: LoggedSlates, estimator: SlateEstimator) -> Evidence:
    """What an estimator's weights are worth at the position where they are worth least.

    Args:
        log: the logged slates; may be empty.
        estimator: one of `SLATE_ESTIMATORS`.
    """
    return min((weights_evidence(column) for column in log.weights(estimator).T), key=lambda found: found.effective_sample_size)


def slate_values(
    log: LoggedSlates,
    estimators: Sequence[SlateEstimator] | None = None,
    *,
    rng: np.random.Generator,
    replications: int = 1000,
    min_effective_sample_size: float = MIN_EFFECTIVE_SAMPLE_SIZE,
    self_normalised: bool = False,
    bounds: Bounds = OBSERVED,
    calibrations: Mapping[SlateEstimator, Sequence[Calibration]] = NONE,
) -> dict[SlateEstimator, Estimate | Refusal]:
    """The value of a slate policy (rewards a slate) with its intervals, or why the log cannot tell it.

    Each estimator is judged by its own weights.

    Args:
        log: the logged slates.
        estimators: which; when None all that the log has the columns for.
        rng: draws the bootstrap over users.
        replications: of the bootstrap, at least 1.
        min_effective_sample_size: below it, at any position, the answer is a refusal.
        self_normalised: see `slate_terms`; Bernstein's interval is then that of the plain estimator, and cascade_dr stays as it is.
        bounds: for Bernstein's interval; `weight` bounds the estimator's weight at any position.
        calibrations: estimator → that of its logged propensities at position 0, 1, … (with `at_most`: what stands above may leave an action
            out); an estimator is refused for its own.

    Raises:
        ValueError: see `slate_terms`; replications below 1.
    """
    if replications < 1:
        raise ValueError(f"replications is {replications}; at least 1 is needed")
    needs = {"position_wise": log.logging_marginal is not None and log.target_marginal is not None, "cascade_dr": log.predicted is not None}
    asked = estimators if estimators is not None else [name for name in SLATE_ESTIMATORS if needs.get(name, True)]
    seed = rng.integers(2**63)
    answers: dict[SlateEstimator, Estimate | Refusal] = {}
    for name in asked:
        found, weights = slate_evidence(log, name), log.weights(name)
        reasons = [
            reason_to_refuse(
                weights_evidence(column), column, log.users, min_effective_sample_size=min_effective_sample_size, calibration=calibration
            )
            for column, calibration in zip_longest(weights.T, calibrations.get(name, ()))
        ]
        reason = next((f"position {place}: {text}" for place, text in enumerate(reasons) if text is not None), None)
        if reason is not None:
            answers[name] = Refusal(name, reason, found)
            continue
        part = slate_terms(log, name, self_normalised=self_normalised and name != "cascade_dr")
        plain = part.above.sum(axis=1)
        columns = [*part.above.T, *part.below.T, log.rewards.sum(axis=1), np.ones_like(plain)]
        sums = user_sums(log.users, columns)
        stream = np.random.default_rng(seed)  # the same draws for every estimator
        draws = np.concatenate([sums.sum(axis=0, keepdims=True), bootstrap_totals(sums, replications, stream)])
        length = weights.shape[1]
        value, logged = ratio_totals(draws[:, :length], draws[:, length : 2 * length]), draws[:, -2] / draws[:, -1]
        moved = ratio_influence(sums[:, :length], sums[:, length : 2 * length])
        answers[name] = Estimate(
            name,
            bootstrap_interval(float(value[0]), value[1:], moved),
            bootstrap_interval(float(value[0] - logged[0]), value[1:] - logged[1:], moved - ratio_influence(sums[:, -2:-1], sums[:, -1:])),
            found,
            clipped(bernstein(plain, np.ones_like(plain), log.users, _width(log, name, weights, bounds)), *_slate_range(log, bounds)),
        )
    return answers


def _slate_range(log: LoggedSlates, bounds: Bounds) -> tuple[float, float]:
    """Smallest and largest possible sum of a slate's rewards; a slate may be shorter than L."""
    low, high = reward_range(log.rewards, bounds)
    length = log.rewards.shape[1]
    return length * min(low, 0.0), length * max(high, 0.0)


def _width(log: LoggedSlates, name: SlateEstimator, weights: Array, bounds: Bounds) -> float:
    """Largest minus smallest value of a slate's term; predictions are bounded by those seen."""
    low, high = reward_range(log.rewards, bounds)
    weight = bounds.weight if bounds.weight is not None else float(weights.max())
    length = weights.shape[1]
    if name != "cascade_dr" or log.predicted is None or log.predicted_target is None:
        return float(length * weight * (max(high, 0.0) - min(low, 0.0)))
    residual = max(high - float(log.predicted.min()), 0.0) - min(low - float(log.predicted.max()), 0.0)
    model = max(float(log.predicted_target.max()), 0.0) - min(float(log.predicted_target.min()), 0.0)
    return float(length * weight * (residual + model))
