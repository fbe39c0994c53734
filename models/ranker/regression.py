"""Logistic regression with ridge penalties, by Newton's method; one penalty for all, or one for each group of features, set by evidence."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float32]
PENALTIES = (30.0, 100.0, 300.0, 1000.0, 3000.0, 10_000.0)
_STEPS, _SMALL, _HALVINGS = 25, 2e-4, 8
_ROWS_AT_ONCE = 16_384
_ROUNDS, _LEAST_DETERMINED, _BOUNDS = 8, 0.05, (10.0, 100_000.0)


@dataclass(frozen=True)
class Fit:
    """A logistic regression.

    Attributes:
        weights: ``(f,)``.
        intercept: not penalised.
        penalties: ``(f,)`` of half of each squared weight, beside the summed log loss.
    """

    weights: NDArray[np.float64]
    intercept: float
    penalties: NDArray[np.float64]

    def __call__(self, x: Matrix) -> NDArray[np.float64]:
        """Log-odds.

        Args:
            x: ``(n, f)``.

        Returns:
            ``(n,)``.
        """
        return np.asarray(x @ self.weights.astype(np.float32) + self.intercept, dtype=np.float64)


def ridge(x: Matrix, outcomes: Matrix, weights: Matrix, penalties: float | NDArray[np.float64], *, start: Fit | None = None) -> Fit:
    """The minimum of Σ weight · log loss + Σ penalty / 2 · w².

    Args:
        x: ``(n, f)`` of about unit scale.
        outcomes: ``(n,)`` 0 or 1.
        weights: ``(n,)`` of the rows.
        penalties: above 0, one for all or ``(f,)``.
        start: where to begin, such as the fit of other penalties; the observed rate when None.

    Source: Hastie, Tibshirani and Friedman (2009), section 4.4.1, with the penalty of 3.4.1.
    """
    f = x.shape[1]
    held = np.broadcast_to(np.asarray(penalties, dtype=np.float64), (f,))
    point = np.zeros(f + 1) if start is None else np.append(start.weights, start.intercept)
    if start is None:
        rate = (float((weights * outcomes).sum(dtype=np.float64)) + 0.5) / (float(weights.sum(dtype=np.float64)) + 1)
        point[-1] = np.log(rate / (1 - rate))
    loss, gradient, curvature = _around(point, x, outcomes, weights, held)
    for _ in range(_STEPS):
        step = np.linalg.solve(curvature, gradient)
        for _halving in range(_HALVINGS):
            tried = _around(point + step, x, outcomes, weights, held)
            if tried[0] <= loss + 1e-7 * abs(loss):
                break
            step /= 2
        point, (loss, gradient, curvature) = point + step, tried
        if np.abs(step).max() < _SMALL:
            break
    return Fit(point[:-1], float(point[-1]), held)


def by_evidence(x: Matrix, outcomes: Matrix, weights: Matrix, names: Sequence[str], *, start: Fit) -> Fit:
    """A penalty for each group of features, by how much the group's weights turn out to matter.

    Nine ways to add a history up say much the same and deserve a strong hold, the position says something of its own and deserves none:
    one penalty for all is wrong for both. Each group's weights are taken as drawn from one normal distribution, whose precision, the
    group's penalty, is moved `_ROUNDS` times towards the one under which the outcomes are likeliest,

        penalty = γ / Σ w²,      γ = Σ (1 − penalty · variance of w),

    γ being how many weights of the group the outcomes have determined.

    Args:
        x: ``(n, f)`` of about unit scale.
        outcomes: ``(n,)`` 0 or 1.
        weights: ``(n,)`` of the rows.
        names: of the features, see `group_of`.
        start: a fit with one penalty.

    Source: MacKay (1992), Bayesian interpolation, equation 4.3; Laplace's approximation of the posterior.
    """
    _, group = np.unique([group_of(name) for name in names], return_inverse=True)
    size = np.bincount(group)
    penalties, point = start.penalties, np.append(start.weights, start.intercept)
    places = np.arange(x.shape[1])
    _, gradient, curvature = _around(point, x, outcomes, weights, penalties)
    for _ in range(_ROUNDS):
        variance = np.diag(np.linalg.inv(curvature))[:-1]
        determined = np.maximum(size - np.bincount(group, weights=penalties * variance), _LEAST_DETERMINED)
        squares = np.maximum(np.bincount(group, weights=point[:-1] ** 2), 1e-12)
        held, penalties = penalties, np.clip(determined / squares, *_BOUNDS)[group]
        curvature[places, places] += penalties - held
        gradient[:-1] -= (penalties - held) * point[:-1]
        point = point + np.linalg.solve(curvature, gradient)
        _, gradient, curvature = _around(point, x, outcomes, weights, penalties)
    return ridge(x, outcomes, weights, penalties, start=Fit(point[:-1], float(point[-1]), penalties))


def group_of(name: str) -> str:
    """What features belong together: all before the colon, or the first word.

    Args:
        name: such as ``category: 4 days``, ``answers to length``, ``position``.
    """
    head, colon, _ = name.partition(":")
    return head + colon if colon else name.split(" ", maxsplit=1)[0]


def _around(
    point: NDArray[np.float64], x: Matrix, outcomes: Matrix, weights: Matrix, penalties: NDArray[np.float64]
) -> tuple[float, NDArray[np.float64], NDArray[np.float64]]:
    """The objective at a point, minus its gradient ``(f + 1,)`` and its curvature ``(f + 1, f + 1)``; the last place is the intercept."""
    f = x.shape[1]
    loss = float(penalties @ point[:-1] ** 2) / 2
    gradient, curvature = np.append(-penalties * point[:-1], 0.0), np.zeros((f + 1, f + 1))
    curvature[np.arange(f), np.arange(f)] = penalties
    held = point[:-1].astype(np.float32)
    for first in range(0, len(x), _ROWS_AT_ONCE):
        rows = slice(first, first + _ROWS_AT_ONCE)
        part, y, w = x[rows], outcomes[rows].astype(np.float64), weights[rows].astype(np.float64)
        log_odds = (part @ held).astype(np.float64) + point[-1]
        p = 1 / (1 + np.exp(-np.clip(log_odds, -30, 30)))
        loss += float((w * (np.logaddexp(0, log_odds) - y * log_odds)).sum())
        miss, spread = w * (y - p), w * p * (1 - p)
        gradient += np.append(part.T @ miss.astype(np.float32), miss.sum())
        scaled = part * np.sqrt(spread).astype(np.float32)[:, None]
        curvature[:f, :f] += scaled.T @ scaled
        across = part.T @ spread.astype(np.float32)
        curvature[f, :f] += across
        curvature[:f, f] += across
        curvature[f, f] += spread.sum()
    curvature[f, f] += 1e-9
    return loss, gradient, curvature
