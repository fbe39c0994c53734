"""Bootstrap intervals: over users where rows of one user belong together."""

from dataclasses import dataclass

import numpy as np

CONFIDENCE = 0.95
_CHUNK = 16_000_000


@dataclass(frozen=True)
class Interval:
    """A number with its 95 % bootstrap interval.

    Attributes:
        value: the estimate on the data themselves.
        low: lower end.
        high: upper end.
    """

    value: float
    low: float
    high: float

    @property
    def standard_error(self) -> float:
        """Half the interval's width in units of the normal's 1.96."""
        return (self.high - self.low) / (2 * 1.959964)

    def as_dict(self) -> dict[str, float]:
        """``{"value", "low", "high"}``, as metrics.json holds it."""
        return {"value": self.value, "low": self.low, "high": self.high}


def bootstrap_mean(
    values: np.ndarray,
    groups: np.ndarray | None = None,
    replications: int = 1000,
    rng: np.random.Generator | None = None,
) -> Interval:
    """The mean with its percentile interval; whole groups are drawn with replacement.

    Args:
        values: (n,) one number a row.
        groups: (n,) the user of each row; None when each row is its own group.
        replications: how often to draw.
        rng: where the draws come from; a generator of seed 0 when None.

    Returns:
        The mean over rows, and the 2.5 % and 97.5 % points of the drawn means.

    Raises:
        ValueError: no rows, NaN among them, or lengths that differ.

    Source:
        Efron, B. (1979). Bootstrap methods: another look at the jackknife. Clusters: Field and Welsh (2007).
    """
    sums, sizes = _grouped(values, groups)
    return _interval(sums, sizes, replications, rng)


def bootstrap_paired_difference(
    first: np.ndarray,
    second: np.ndarray,
    groups: np.ndarray | None = None,
    replications: int = 1000,
    rng: np.random.Generator | None = None,
) -> Interval:
    """The mean of ``first - second`` over the same rows, with its interval.

    Args:
        first: (n,) one model's numbers.
        second: (n,) the other model's numbers on the same rows.
        groups: (n,) the user of each row, or None.
        replications: how often to draw.
        rng: where the draws come from; a generator of seed 0 when None.

    Raises:
        ValueError: shapes that differ, no rows, or NaN.
    """
    if np.shape(first) != np.shape(second):
        raise ValueError(f"shapes {np.shape(first)} and {np.shape(second)} differ; a paired difference needs the same rows")
    return bootstrap_mean(np.asarray(first, float) - np.asarray(second, float), groups, replications, rng)


def bootstrap_ratio(
    numerators: np.ndarray,
    denominators: np.ndarray,
    groups: np.ndarray | None = None,
    replications: int = 1000,
    rng: np.random.Generator | None = None,
) -> Interval:
    """The ratio of two sums, such as clicks over impressions or one model's mean over another's, with its interval.

    Args:
        numerators: (n,) one number a row.
        denominators: (n,) one number a row; their sum must be positive.
        groups: (n,) the user of each row, or None.
        replications: how often to draw.
        rng: where the draws come from; a generator of seed 0 when None.

    Raises:
        ValueError: shapes that differ, no rows, NaN, or denominators that sum to nothing positive.
    """
    if np.shape(numerators) != np.shape(denominators):
        raise ValueError(f"shapes {np.shape(numerators)} and {np.shape(denominators)} differ; a ratio needs the same rows")
    tops, _ = _grouped(numerators, groups)
    bottoms, _ = _grouped(denominators, groups)
    if bottoms.sum() <= 0:
        raise ValueError(f"the denominators sum to {bottoms.sum()}; a positive sum is needed")
    return _interval(tops, bottoms, replications, rng)


def _grouped(values: np.ndarray, groups: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    rows = np.asarray(values, dtype=np.float64)
    if rows.ndim != 1 or rows.size == 0:
        raise ValueError(f"values have shape {rows.shape}; a non-empty vector is needed")
    if bool(np.isnan(rows).any()):
        raise ValueError(f"{int(np.isnan(rows).sum())} of {rows.size} values are NaN")
    if groups is None:
        return rows, np.ones_like(rows)
    if np.shape(groups) != rows.shape:
        raise ValueError(f"groups have shape {np.shape(groups)}, values {rows.shape}; they must be equal")
    codes = np.unique(np.asarray(groups), return_inverse=True)[1].ravel()
    return np.bincount(codes, weights=rows), np.bincount(codes).astype(np.float64)


def _interval(tops: np.ndarray, bottoms: np.ndarray, replications: int, rng: np.random.Generator | None) -> Interval:
    if replications < 1:
        raise ValueError(f"{replications} replications; at least 1 is needed")
    stream = rng if rng is not None else np.random.default_rng(0)
    drawn: list[np.ndarray] = []
    step = max(1, _CHUNK // tops.size)
    for start in range(0, replications, step):
        rows = stream.integers(tops.size, size=(min(step, replications - start), tops.size))  # (replications, groups)
        below = bottoms[rows].sum(axis=1)
        drawn.append(np.divide(tops[rows].sum(axis=1), below, out=np.full(len(below), np.nan), where=below > 0))
    tail = (1 - CONFIDENCE) / 2
    low, high = np.nanquantile(np.concatenate(drawn), [tail, 1 - tail])
    return Interval(float(tops.sum() / bottoms.sum()), float(low), float(high))
