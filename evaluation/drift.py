"""How far what comes in has moved from what was learned from."""

from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import NDArray

FLOOR = 1e-4
"""Least share of a bin: the index is not defined for an empty one."""


def stability_index(reference: NDArray[np.float64], recent: NDArray[np.float64]) -> float:
    """Population stability index of two distributions over the same bins: Σ (q - p) · ln(q / p).

    Args:
        reference: (k,) counts or shares, not all 0.
        recent: (k,) counts or shares, not all 0.

    Returns:
        0 for equal distributions; by convention below 0.1 is steady, above 0.25 has moved.

    Raises:
        ValueError: lengths that differ, negative entries, or a distribution without mass.

    Source:
        Siddiqi, N. (2006). Credit Risk Scorecards. It is the symmetrised divergence of Kullback and Leibler (1951).
    """
    shares = []
    for name, counts in (("reference", reference), ("recent", recent)):
        values = np.asarray(counts, dtype=np.float64)
        if values.shape != np.shape(reference) or values.ndim != 1 or (values < 0).any() or not values.sum() > 0:
            raise ValueError(
                f"{name}: shape {values.shape}, sum {values.sum()}; one distribution over the {np.shape(reference)} bins is needed"
            )
        floored = np.maximum(values / values.sum(), FLOOR)
        shares.append(floored / floored.sum())
    p, q = shares
    return float(((q - p) * np.log(q / p)).sum())


def category_drift(reference: Sequence[Hashable], recent: Sequence[Hashable]) -> float:
    """Stability index of two samples of words.

    Args:
        reference: at least one.
        recent: at least one.

    Raises:
        ValueError: a sample is empty.
    """
    names = sorted({str(word) for word in reference} | {str(word) for word in recent})
    place = {name: row for row, name in enumerate(names)}
    counts = [np.bincount([place[str(word)] for word in sample], minlength=len(names)).astype(np.float64) for sample in (reference, recent)]
    return stability_index(counts[0], counts[1])


def number_drift(reference: NDArray[np.float64], recent: NDArray[np.float64], bins: int = 10) -> float:
    """Stability index of two samples of numbers, over the reference's quantiles.

    Args:
        reference: (n,) at least one finite number.
        recent: (m,) at least one finite number.
        bins: quantile bins, at least 2.

    Raises:
        ValueError: a sample is empty.
    """
    first, second = (np.asarray(sample, np.float64)[np.isfinite(sample)] for sample in (reference, recent))
    if not len(first) or not len(second):
        raise ValueError(f"{len(first)} and {len(second)} numbers; both samples need one")
    edges = np.unique(np.quantile(first, np.linspace(0, 1, bins + 1)[1:-1]))
    counts = [
        np.bincount(np.searchsorted(edges, sample, side="right"), minlength=len(edges) + 1).astype(np.float64) for sample in (first, second)
    ]
    return stability_index(counts[0], counts[1])
