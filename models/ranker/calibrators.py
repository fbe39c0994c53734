"""From a model's log-odds to probabilities that are frequencies: the shape is fitted on the validation window, never on training rows."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
MIN_POSITIVES_FOR_SLOPE = 30
MIN_POSITIVES_FOR_STEPS = 200
_FOLDS = 5
_FARTHEST, _CENTRINGS = 2.0, 32


@dataclass(frozen=True)
class Calibrator:
    """A rising map from log-odds to probability: a line on the log-odds (Platt), or steps joined by lines (isotonic).

    Attributes:
        kind: ``platt`` or ``isotonic``.
        slope: of the line; 1 leaves the scale as it is.
        intercept: of the line.
        knots: ``(m,)`` log-odds of the steps; empty for a line.
        values: ``(m,)`` probabilities at the knots.

    Source: Platt (1999); Zadrozny and Elkan (2002).
    """

    kind: str = "platt"
    slope: float = 1.0
    intercept: float = 0.0
    knots: tuple[float, ...] = ()
    values: tuple[float, ...] = ()

    def __call__(self, log_odds: NDArray[np.floating]) -> Array:
        """Probabilities.

        Args:
            log_odds: ``(n,)``.

        Returns:
            ``(n,)`` in (0, 1). Between isotonic steps a trace of the line is kept, so that order is never lost to a tie.
        """
        line = 1 / (1 + np.exp(-np.clip(self.slope * np.asarray(log_odds, dtype=np.float64) + self.intercept, -30, 30)))
        if self.kind == "platt":
            return np.asarray(line)
        return np.asarray(0.95 * np.interp(log_odds, self.knots, self.values) + 0.05 * line)

    def moved(self, by: float) -> "Calibrator":
        """The same map after ``by`` was added to the log-odds.

        Args:
            by: log-odds.
        """
        return replace(self, intercept=self.intercept + self.slope * by, knots=tuple(knot - by for knot in self.knots))

    def centred(self, log_odds: NDArray[np.floating], outcomes: NDArray[np.floating], weights: NDArray[np.floating]) -> "Calibrator":
        """The same map, moved until it expects as many outcomes as there were.

        Args:
            log_odds: ``(n,)``.
            outcomes: ``(n,)`` 0 or 1; without an outcome of each kind nothing moves.
            weights: ``(n,)`` of the rows.
        """
        x, y, w = (np.asarray(values, dtype=np.float64) for values in (log_odds, outcomes, weights))
        wanted, low, high = float((w * y).sum()), -_FARTHEST / self.slope, _FARTHEST / self.slope
        if not 0 < wanted < float(w.sum()):
            return self
        for _ in range(_CENTRINGS):
            middle = (low + high) / 2
            below = float((w * self.moved(middle)(x)).sum()) < wanted
            low, high = (middle, high) if below else (low, middle)
        return self.moved((low + high) / 2)


def fit_calibrator(
    log_odds: NDArray[np.floating], outcomes: NDArray[np.floating], groups: NDArray[np.generic], weights: NDArray[np.floating] | None = None
) -> Calibrator:
    """The calibrator that the validation window supports.

    No outcome: the identity. Few: an intercept only. From `MIN_POSITIVES_FOR_SLOPE` a line; from
    `MIN_POSITIVES_FOR_STEPS` isotonic steps too, when they predict users left out better than the line does.

    Args:
        log_odds: ``(n,)`` of the validation rows.
        outcomes: ``(n,)`` 0 or 1.
        groups: ``(n,)`` users; folds never split one.
        weights: ``(n,)`` of the rows; None for all equal.
    """
    x, y = np.asarray(log_odds, dtype=np.float64), np.asarray(outcomes, dtype=np.float64)
    w = np.ones_like(x) if weights is None else np.asarray(weights, dtype=np.float64)
    positives = int(y.sum())
    if not positives or positives == y.size:
        return Calibrator()
    if positives < MIN_POSITIVES_FOR_SLOPE:
        return _line(x, y, w, with_slope=False)
    if positives < MIN_POSITIVES_FOR_STEPS:
        return _line(x, y, w)
    fold = np.unique(groups, return_inverse=True)[1] % _FOLDS
    losses = {"platt": 0.0, "isotonic": 0.0}
    for held in range(_FOLDS):
        inside, outside = fold != held, fold == held
        for kind, fit in (("platt", _line), ("isotonic", _steps)):
            p = np.clip(fit(x[inside], y[inside], w[inside])(x[outside]), 1e-9, 1 - 1e-9)
            losses[kind] -= float((w[outside] * (y[outside] * np.log(p) + (1 - y[outside]) * np.log1p(-p))).sum())
    return _steps(x, y, w) if losses["isotonic"] < losses["platt"] else _line(x, y, w)


def _line(x: Array, y: Array, w: Array, *, with_slope: bool = True) -> Calibrator:
    """Newton's method on slope and intercept, with a weak pull of the slope towards 1."""
    slope, intercept, pull = 1.0, 0.0, 1.0
    for _ in range(100):
        mu = 1 / (1 + np.exp(-np.clip(slope * x + intercept, -30, 30)))
        miss, weight = w * (y - mu), w * mu * (1 - mu)
        gradient = np.array([(miss * x).sum() - pull * (slope - 1), miss.sum()])
        curvature = np.array([[(weight * x * x).sum() + pull, (weight * x).sum()], [(weight * x).sum(), weight.sum() + 1e-9]])
        step = np.linalg.solve(curvature, gradient) if with_slope else np.array([0.0, gradient[1] / curvature[1, 1]])
        step *= min(1.0, 2.0 / max(float(np.abs(step).max()), 1e-12))
        slope, intercept = slope + step[0], intercept + step[1]
        if np.abs(step).max() < 1e-10:
            break
    return Calibrator("platt", float(max(slope, 0.05)), float(intercept))


def _steps(x: Array, y: Array, w: Array) -> Calibrator:
    from sklearn.isotonic import IsotonicRegression  # imported here: serving reads steps and fits none

    line = _line(x, y, w)
    fitted = IsotonicRegression(y_min=1e-4, y_max=1 - 1e-4, out_of_bounds="clip").fit(x, y, w)
    return Calibrator("isotonic", line.slope, line.intercept, tuple(fitted.X_thresholds_.tolist()), tuple(fitted.y_thresholds_.tolist()))
