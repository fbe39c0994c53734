"""Is a predicted probability the frequency that it says it is? And how well do predictions tell clicks apart?

Every function takes predictions and 0/1 outcomes of the same impressions, ``(n,)`` each.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.stats import rankdata

Array = NDArray[np.float64]
CLIP = 1e-12
"""Predictions are kept this far from 0 and 1 where a logarithm is taken."""


@dataclass(frozen=True)
class Calibration:
    """How far predictions are from frequencies.

    Attributes:
        error: expected calibration error, see `expected_calibration_error`.
        observed_over_expected: outcomes divided by the sum of predictions; 1 is right on the whole.
        slope: of outcomes' log-odds against the predictions'; below 1 means overconfident.
        intercept: of the same regression; 0 is right when the slope is 1.
        log_loss: mean negative log-likelihood, nats.
        auc: P(an impression with the outcome is ranked above one without).
    """

    error: float
    observed_over_expected: float
    slope: float
    intercept: float
    log_loss: float
    auc: float


def calibration(predicted: ArrayLike, outcomes: ArrayLike, *, bins: int = 10) -> Calibration:
    """All figures of `Calibration` at once.

    Args:
        predicted: ``(n,)`` probabilities in [0, 1].
        outcomes: ``(n,)`` 0 or 1.
        bins: of the calibration error, at least 1.

    Returns:
        The figures; slope, intercept and auc are not a number when all outcomes are equal.

    Raises:
        ValueError: no rows, different lengths, predictions outside [0, 1] or outcomes other than 0 and 1.
    """
    slope, intercept = calibration_line(predicted, outcomes)
    return Calibration(
        error=expected_calibration_error(predicted, outcomes, bins=bins),
        observed_over_expected=observed_over_expected(predicted, outcomes),
        slope=slope,
        intercept=intercept,
        log_loss=log_loss(predicted, outcomes),
        auc=auc(predicted, outcomes),
    )


def reliability(predicted: ArrayLike, outcomes: ArrayLike, *, bins: int = 10) -> pd.DataFrame:
    """Predictions beside frequencies, in bins of equal numbers of impressions.

    Equal predictions always share a bin, so a constant prediction gives one bin.

    Args:
        predicted: ``(n,)`` probabilities in [0, 1].
        outcomes: ``(n,)`` 0 or 1.
        bins: at most this many rows, at least 1.

    Returns:
        Rows by rising prediction: ``predicted`` (mean), ``observed`` (share of outcomes), ``impressions`` (count).

    Raises:
        ValueError: see `calibration`.
    """
    p, y = _checked(predicted, outcomes)
    if bins < 1:
        raise ValueError(f"bins is {bins}; at least 1 is needed")
    rank = rankdata(p, method="min") - 1  # ties share the lowest rank, and so the bin
    table = pd.DataFrame({"bin": (rank * bins // p.size).astype(np.int64), "predicted": p, "observed": y, "impressions": 1})
    return (
        table.groupby("bin", sort=True)
        .agg(predicted=("predicted", "mean"), observed=("observed", "mean"), impressions=("impressions", "sum"))
        .reset_index(drop=True)
    )


def expected_calibration_error(predicted: ArrayLike, outcomes: ArrayLike, *, bins: int = 10) -> float:
    """ECE = Σ_b n_b / n · |observed_b − predicted_b| over the bins of `reliability`.

    Args:
        predicted: ``(n,)`` probabilities in [0, 1].
        outcomes: ``(n,)`` 0 or 1.
        bins: at least 1.

    Returns:
        In [0, 1]; 0 is calibrated.

    Raises:
        ValueError: see `calibration`.

    Source: Naeini, Cooper and Hauskrecht (2015); bins of equal counts as in Nixon et al. (2019), because click
        rates crowd near 0, where bins of equal width hold everything.
    """
    table = reliability(predicted, outcomes, bins=bins)
    gap = (table["observed"] - table["predicted"]).abs()
    return float((gap * table["impressions"]).sum() / table["impressions"].sum())


def observed_over_expected(predicted: ArrayLike, outcomes: ArrayLike) -> float:
    """Outcomes seen divided by outcomes predicted.

    Args:
        predicted: ``(n,)`` probabilities in [0, 1].
        outcomes: ``(n,)`` 0 or 1.

    Returns:
        1 when right on the whole, above 1 when predictions are too low; not a number when nothing is predicted.

    Raises:
        ValueError: see `calibration`.
    """
    p, y = _checked(predicted, outcomes)
    return float(y.sum() / p.sum()) if p.sum() > 0 else float("nan")


def calibration_line(predicted: ArrayLike, outcomes: ArrayLike) -> tuple[float, float]:
    """Slope and intercept of logit P(y = 1) = intercept + slope · logit(p), by maximum likelihood.

    Args:
        predicted: ``(n,)`` probabilities in [0, 1].
        outcomes: ``(n,)`` 0 or 1.

    Returns:
        ``(slope, intercept)``; ``(1, 0)`` is calibrated. Not a number when outcomes or predictions are all equal
        or the outcomes are perfectly separated, where no finite line exists.

    Raises:
        ValueError: see `calibration`.

    Source: Cox (1958), Two further applications of a model for binary regression.
    """
    p, y = _checked(predicted, outcomes)
    x = logit(p)
    if y.min() == y.max() or x.min() == x.max() or x[y == 1].min() > x[y == 0].max() or x[y == 1].max() < x[y == 0].min():
        return float("nan"), float("nan")
    centre, scale = x.mean(), x.std()
    design = np.stack([np.ones_like(x), (x - centre) / scale], axis=1)  # (n, 2), standardised so that Newton is stable
    weights = np.array([float(logit(np.array([y.mean()]))[0]), 0.0])
    for _ in range(100):
        mu = 1 / (1 + np.exp(-np.clip(design @ weights, -35, 35)))
        curvature = (design * (mu * (1 - mu))[:, None]).T @ design + 1e-12 * np.eye(2)
        step = np.linalg.solve(curvature, design.T @ (y - mu))
        weights = weights + step * min(1.0, 4.0 / max(float(np.abs(step).max()), 1e-300))
        if np.abs(step).max() < 1e-10:
            break
    slope = float(weights[1] / scale)
    return slope, float(weights[0] - slope * centre)


def auc(predicted: ArrayLike, outcomes: ArrayLike) -> float:
    """P(score of a positive > score of a negative) + ½ P(equal), the Mann–Whitney statistic.

    Args:
        predicted: ``(n,)`` probabilities in [0, 1].
        outcomes: ``(n,)`` 0 or 1.

    Returns:
        In [0, 1]; not a number when all outcomes are equal.

    Raises:
        ValueError: see `calibration`.

    Source: Hanley and McNeil (1982).
    """
    p, y = _checked(predicted, outcomes)
    positives = y.sum()
    negatives = y.size - positives
    if not positives or not negatives:
        return float("nan")
    return float((rankdata(p)[y == 1].sum() - positives * (positives + 1) / 2) / (positives * negatives))


def log_loss(predicted: ArrayLike, outcomes: ArrayLike) -> float:
    """Mean of −y log p − (1 − y) log(1 − p), in nats.

    Args:
        predicted: ``(n,)`` probabilities in [0, 1], kept `CLIP` away from the ends.
        outcomes: ``(n,)`` 0 or 1.

    Raises:
        ValueError: see `calibration`.
    """
    return float(log_losses(predicted, outcomes).mean())


def log_losses(predicted: ArrayLike, outcomes: ArrayLike) -> Array:
    """The terms of `log_loss`, one an impression, for paired comparisons.

    Args:
        predicted: ``(n,)`` probabilities in [0, 1].
        outcomes: ``(n,)`` 0 or 1.

    Returns:
        ``(n,)`` nats.

    Raises:
        ValueError: see `calibration`.
    """
    p, y = _checked(predicted, outcomes)
    p = np.clip(p, CLIP, 1 - CLIP)
    return np.asarray(-(y * np.log(p) + (1 - y) * np.log1p(-p)))


def logit(probability: Array) -> Array:
    """Log-odds, with probabilities kept `CLIP` away from 0 and 1.

    Args:
        probability: any shape, in [0, 1].
    """
    p = np.clip(probability, CLIP, 1 - CLIP)
    return np.asarray(np.log(p) - np.log1p(-p))


def _checked(predicted: ArrayLike, outcomes: ArrayLike) -> tuple[Array, Array]:
    p, y = np.asarray(predicted, dtype=np.float64), np.asarray(outcomes, dtype=np.float64)
    if p.ndim != 1 or p.shape != y.shape or not p.size:
        raise ValueError(f"predictions have shape {p.shape} and outcomes {y.shape}; both must be (n,) with n at least 1")
    outside = ~((p >= 0) & (p <= 1))  # NaN lies outside too
    if outside.any():
        raise ValueError(
            f"{int(outside.sum())} of {p.size} predictions lie outside [0, 1]; first: row {int(outside.argmax())} = {p[outside][0]}"
        )
    if not np.isin(y, (0.0, 1.0)).all():
        raise ValueError(f"outcomes must be 0 or 1; found {float(y[~np.isin(y, (0.0, 1.0))][0])}")
    return p, y
