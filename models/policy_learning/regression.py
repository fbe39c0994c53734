"""The two regressions that everything here is made of: ridge with its penalty chosen by leave-one-out, and small boosted trees.

Both are weighted least squares of low capacity: what a context changes about an action's reward is small beside the noise of
single rewards.
"""

from collections.abc import Callable
from dataclasses import dataclass

import lightgbm
import numpy as np
from numpy.typing import NDArray

from models.policy_learning.context import Array, Encoded

Regression = Callable[[Encoded], Array]
"""Contexts → ``(n,)`` predictions."""
PENALTIES = tuple(float(10**power) for power in np.arange(1.0, 6.5, 0.5))


@dataclass(frozen=True)
class Trees:
    """Size of the boosted trees.

    Attributes:
        rounds: trees.
        leaves: of one tree.
        rate: what part of its fit each tree adds.
        min_rows: of a leaf.
        penalty: on a leaf's value, in rows.
    """

    rounds: int
    leaves: int
    rate: float = 0.05
    min_rows: int = 200
    penalty: float = 50.0


def fit_ridge(contexts: Encoded, target: Array, weight: Array) -> Regression:
    """Linear least squares with a free intercept; no slope at all where that predicts left-out rows best.

    Args:
        contexts: ``n`` rows.
        target: ``(n,)``.
        weight: ``(n,)`` positive.

    Source:
        Hoerl and Kennard (1970); leave-one-out errors in closed form from Allen (1974), PRESS.
    """
    rows = contexts.linear  # (n, d)
    scaled = weight / weight.mean()
    centre, level = np.average(rows, axis=0, weights=scaled), float(np.average(target, weights=scaled))
    root = np.sqrt(scaled)
    left = (rows - centre) * root[:, None]
    right = (target - level) * root
    values, vectors = np.linalg.eigh(left.T @ left)
    values = values.clip(0)
    turned = left @ vectors  # (n, d), orthogonal columns
    moments = turned.T @ right
    squares = turned**2
    best, slope = float((right**2).sum()) / (1 - 1 / max(target.size, 2)) ** 2, np.zeros(rows.shape[1])
    for penalty in PENALTIES:
        shrunk = 1 / (values + penalty)
        left_out = (right - turned @ (moments * shrunk)) / (1 - (squares @ shrunk + 1 / target.size)).clip(0.1)
        error = float((left_out**2).sum())
        if error < best:
            best, slope = error, vectors @ (moments * shrunk)
    return lambda others: level + (others.linear - centre) @ slope


def fit_trees(contexts: Encoded, target: Array, weight: Array, *, trees: Trees, seed: int) -> Regression:
    """Boosted trees of least squares, each on a part of rows and columns.

    Args:
        contexts: ``n`` rows.
        target: ``(n,)``.
        weight: ``(n,)`` positive.
        trees: how many and how large.
        seed: of rows and columns.

    Source:
        Friedman (2002), stochastic gradient boosting; Ke et al. (2017), LightGBM.
    """
    settings = {
        "objective": "regression",
        "num_leaves": trees.leaves,
        "learning_rate": trees.rate,
        "min_data_in_leaf": min(trees.min_rows, max(target.size // 10, 1)),
        "lambda_l2": trees.penalty,
        "feature_fraction": 0.5,
        "bagging_fraction": 0.7,
        "bagging_freq": 1,
        "max_bin": 63,
        "num_threads": 1,
        "deterministic": True,
        "force_row_wise": True,
        "seed": seed,
        "verbose": -1,
    }
    data = lightgbm.Dataset(contexts.trees, target, weight=weight / weight.mean())
    booster = lightgbm.train(settings, data, num_boost_round=trees.rounds)

    def predict(others: Encoded) -> NDArray[np.float64]:
        return np.asarray(booster.predict(others.trees, num_threads=1), dtype=np.float64)

    return predict
