"""The estimators, one formula each.

Every row is one logged choice: a context x, the action a that the logging policy μ drew with probability μ(a | x), and its reward r.
The target policy π would have drawn it with probability π(a | x). With w = π(a | x) / μ(a | x), a model q(x, a) of the reward,
q(x, π) = Σ_a' π(a' | x) q(x, a'), and means over the n rows:

    ips         mean(w r)                                            Horvitz and Thompson (1952)
    snips       Σ w r / Σ w                                          Swaminathan and Joachims (2015)
    clipped_ips mean(min(w, λ) r)                                    Ionides (2008), Bottou et al. (2013)
    dm          mean(q(x, π))                                        Beygelzimer and Langford (2009)
    dr          mean(q(x, π) + w (r − q(x, a)))                      Dudík, Langford and Li (2011)
    sndr        mean(q(x, π)) + Σ w (r − q(x, a)) / Σ w              Thomas and Brunskill (2016), Kallus and Uehara (2019)
    switch_dr   mean(q(x, π) + w 1{w ≤ λ} (r − q(x, a)))             Wang, Agarwal and Dudík (2017)
    dros        mean(q(x, π) + λ w / (w² + λ) · (r − q(x, a)))       Su, Dimakopoulou, Krishnamurthy and Dudík (2020)

IPS is unbiased wherever π acts only where μ could have acted; SNIPS trades a vanishing bias for less variance; DR is unbiased when
either the propensities or q are right (q must not have seen the row: cross-fit it). Clipping, switching and shrinking trade bias for
variance; their λ comes from `evaluation.off_policy.tuning`. DM trusts q alone.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from evaluation.off_policy.log import Array, LoggedChoices

Estimator = Literal["ips", "snips", "clipped_ips", "dm", "dr", "sndr", "switch_dr", "dros"]
ESTIMATORS: tuple[Estimator, ...] = ("ips", "snips", "clipped_ips", "dm", "dr", "sndr", "switch_dr", "dros")
MODEL_FREE: tuple[Estimator, ...] = ("ips", "snips", "clipped_ips")
"""Those that need no reward model."""
TUNED: tuple[Estimator, ...] = ("clipped_ips", "switch_dr", "dros")
"""Those with a parameter λ ≥ 0 that limits the weights; λ = ∞ leaves IPS or DR."""
_NORMALISED = ("snips", "sndr")


@dataclass(frozen=True)
class Terms:
    """What an estimator adds up: its value is the sum over columns of Σ above / Σ below.

    Attributes:
        above: ``(n, k)`` numerators.
        below: ``(n, k)`` denominators: ones, or the weights of a self-normalised estimator.
    """

    above: Array
    below: Array


def terms(log: LoggedChoices, estimator: Estimator, parameter: float = np.inf) -> Terms:
    """Numerators and denominators of an estimator, by the formulas at the head of this module.

    Args:
        log: the logged choices.
        estimator: one of `ESTIMATORS`.
        parameter: λ of the tuned ones; the others ignore it.

    Returns:
        ``(n, 1)`` of the model-free ones; ``(n, 2)`` else: the model's part and its correction.

    Raises:
        ValueError: no such estimator, a negative λ, or a reward model is needed and missing.
    """
    weights, ones = limited(log.weights, estimator, parameter), np.ones_like(log.rewards)
    below = weights if estimator in _NORMALISED else ones
    if estimator in MODEL_FREE:
        return Terms((weights * log.rewards)[:, None], below[:, None])
    if log.predicted is None or log.predicted_target is None:
        raise ValueError(
            f"{_WRITTEN[estimator]} needs `predicted` and `predicted_target`, the reward model's values; "
            f"without a model ask for {', '.join(MODEL_FREE[:-1])} or {MODEL_FREE[-1]}"
        )
    correction = weights * (log.rewards - log.predicted)
    return Terms(np.stack([log.predicted_target, correction], axis=1), np.stack([ones, below], axis=1))


def limited(weights: Array, estimator: Estimator, parameter: float) -> Array:
    """The weights as an estimator uses them.

    Args:
        weights: ``(n,)`` π / μ.
        estimator: one of `ESTIMATORS`.
        parameter: λ.

    Raises:
        ValueError: no such estimator, or a negative λ.
    """
    if estimator not in ESTIMATORS:
        raise ValueError(f"no estimator is named {estimator!r}; there are {', '.join(ESTIMATORS)}")
    if not parameter >= 0:
        raise ValueError(f"parameter is {parameter}; λ must be 0 or more")
    if estimator == "dm":
        return np.zeros_like(weights)
    if estimator == "clipped_ips":
        return np.minimum(weights, parameter)
    if estimator == "switch_dr":
        return np.where(weights <= parameter, weights, 0.0)
    if estimator == "dros" and np.isfinite(parameter):
        return parameter * weights / np.where(weights > 0, weights**2 + parameter, 1.0)
    return weights


def total(found: Terms) -> float:
    """The value that the terms add up to; not a number when a denominator is zero.

    Args:
        found: at least one row.
    """
    above, below = found.above.sum(axis=0), found.below.sum(axis=0)
    return float((above / below).sum()) if (below != 0).all() else float("nan")


_WRITTEN: dict[str, str] = {"dm": "DM", "dr": "DR", "sndr": "SNDR", "switch_dr": "Switch-DR", "dros": "DRos"}
