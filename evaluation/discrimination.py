"""How far the AUC of a prediction, or the gap between two, may be trusted: closed forms, no bootstrap over sorted rows.

The AUC is a mean over pairs of a positive and a negative row. What one row moves it by is its placement among the rows of the
other kind; rows of one user move together, so placements are added up by user before they are squared.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import norm, rankdata

from evaluation.intervals import CONFIDENCE, Interval

Array = NDArray[np.float64]


def auc_interval(predicted: ArrayLike, outcomes: ArrayLike, groups: ArrayLike | None = None) -> Interval:
    """AUC with its interval.

    Args:
        predicted: ``(n,)`` any scores.
        outcomes: ``(n,)`` 0 or 1; both must occur.
        groups: ``(n,)`` the user of each row; None for rows that are independent.

    Raises:
        ValueError: lengths differ, or all outcomes are equal.

    Source: DeLong, DeLong and Clarke-Pearson (1988); sums by cluster as in Obuchowski (1997).
    """
    value, moves = _placements(predicted, outcomes)
    return _interval(value, moves, groups)


def auc_gap(first: ArrayLike, second: ArrayLike, outcomes: ArrayLike, groups: ArrayLike | None = None) -> Interval:
    """AUC of the first less AUC of the second on the same rows, with its interval.

    Args:
        first: ``(n,)`` any scores.
        second: ``(n,)`` others for the same rows.
        outcomes: ``(n,)`` 0 or 1; both must occur.
        groups: ``(n,)`` the user of each row; None for rows that are independent.

    Raises:
        ValueError: lengths differ, or all outcomes are equal.

    Source: see `auc_interval`.
    """
    (above, moved), (below, other) = _placements(first, outcomes), _placements(second, outcomes)
    return _interval(above - below, moved - other, groups)


def _placements(predicted: ArrayLike, outcomes: ArrayLike) -> tuple[float, Array]:
    """The AUC, and what each row moves it by: sums to 0. (n,)."""
    p, y = np.asarray(predicted, dtype=np.float64), np.asarray(outcomes) > 0
    if p.ndim != 1 or p.shape != y.shape:
        raise ValueError(f"predictions have shape {p.shape} and outcomes {y.shape}; both must be (n,)")
    positives, negatives = int(y.sum()), int((~y).sum())
    if not positives or not negatives:
        raise ValueError(f"{positives} positive and {negatives} negative rows; an AUC needs both")
    ranks = rankdata(p)
    moves = np.empty(p.size)
    moves[y] = (ranks[y] - rankdata(p[y])) / negatives  # share of negatives below
    moves[~y] = 1 - (ranks[~y] - rankdata(p[~y])) / positives  # share of positives above
    value = float(moves[y].mean())
    moves[y] = (moves[y] - value) / positives
    moves[~y] = (moves[~y] - value) / negatives
    return value, moves


def _interval(value: float, moves: Array, groups: ArrayLike | None) -> Interval:
    if groups is not None:
        if np.shape(groups) != moves.shape:
            raise ValueError(f"groups have shape {np.shape(groups)}, predictions {moves.shape}; they must be equal")
        codes = np.unique(np.asarray(groups), return_inverse=True)[1].ravel()
        moves = np.asarray(np.bincount(codes, weights=moves), dtype=np.float64)
    size = moves.size
    spread = float(np.sqrt((moves**2).sum() * size / max(size - 1, 1))) * float(norm.ppf((1 + CONFIDENCE) / 2))
    return Interval(value, value - spread, value + spread)
