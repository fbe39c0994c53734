"""Fréchet distance between two sets of vectors with an interval, fast enough to be drawn hundreds of times."""

from collections.abc import Sequence

import numpy as np

from evaluation.intervals import CONFIDENCE, Interval


def frechet(a: np.ndarray, b: np.ndarray) -> float:
    """Fréchet distance between the Gaussians that fit two sets of vectors (Heusel et al. 2017, eq. 6), without a ridge.

    Args:
        a: (n, d).
        b: (m, d).

    Returns:
        ‖μ_a − μ_b‖² + tr(Σ_a + Σ_b − 2 (Σ_a Σ_b)^½). The last trace is the sum of the singular values of A·Bᵀ, A and B the centred
        sets over √(n − 1) and √(m − 1), or d × d factors of them: no root of a matrix. Falls with the size of the sets: compare sets
        of one size.

    Raises:
        ValueError: a set has fewer than two rows, or the widths differ.
    """
    if min(len(a), len(b)) < 2 or a.shape[1] != b.shape[1]:
        raise ValueError(f"sets of shape {a.shape} and {b.shape}: two rows each and equal widths are needed")
    a, b = np.asarray(a, float), np.asarray(b, float)
    gap = a.mean(0) - b.mean(0)
    first, second = (a - a.mean(0)) / np.sqrt(len(a) - 1), (b - b.mean(0)) / np.sqrt(len(b) - 1)
    factors = [one if len(one) <= one.shape[1] else np.asarray(np.linalg.qr(one, mode="r")) for one in (first, second)]
    shared = float(np.linalg.svd(factors[0] @ factors[1].T, compute_uv=False).sum())
    return max(float(gap @ gap + (first**2).sum() + (second**2).sum() - 2 * shared), 0.0)


def frechet_intervals(
    sets: Sequence[np.ndarray], population: np.ndarray, groups: np.ndarray, *, replications: int, rng: np.random.Generator
) -> list[Interval]:
    """Distances of several sets to a population that is taken as it is, with intervals over groups of the sets' rows.

    Args:
        sets: each (n, d), the same row in all of them belonging to the same request.
        population: (m, d).
        groups: (n,) drawn as a whole.
        replications: how often to draw; the same draws for every set.
        rng: the stream.

    Returns:
        One interval a set. A set drawn with repeats lies further off than one without, so the draws' spread about their own mean is
        laid about the distance on the data themselves.
    """
    members = [np.flatnonzero(groups == group) for group in dict.fromkeys(groups.tolist())]
    centre, values, axes = population.mean(0), *np.linalg.eigh(np.atleast_2d(np.cov(population, rowvar=False)))
    root = axes * np.sqrt(np.maximum(values, 0.0))  # root · rootᵀ = Σ of the population

    def distance(one: np.ndarray, times: np.ndarray) -> float:
        mean, n = times @ one / times.sum(), times.sum()
        gap, first = mean - centre, (one - mean) * np.sqrt(times / (n - 1))[:, None]
        shared = first @ root
        inner = shared @ shared.T if len(one) < shared.shape[1] else shared.T @ shared
        trace = float(np.sqrt(np.maximum(np.linalg.eigvalsh(inner), 0.0)).sum())
        return max(float(gap @ gap + (first**2).sum() + values.sum() - 2 * trace), 0.0)

    drawn = np.zeros((replications, len(sets)))
    for row in range(replications):
        hits = np.bincount(rng.integers(len(members), size=len(members)), minlength=len(members))
        times = np.zeros(len(groups))
        for index in np.flatnonzero(hits):
            times[members[index]] = hits[index]
        rows = times > 0  # what is drawn twice weighs twice: a third of the rows need no place in the matrix
        drawn[row] = [distance(one[rows], times[rows]) if times.sum() > 1 else 0.0 for one in sets]
    tail = (1 - CONFIDENCE) / 2
    found = []
    for column, one in enumerate(sets):
        value, off = distance(one, np.ones(len(one))), drawn[:, column] - drawn[:, column].mean()
        low, high = np.quantile(off, [tail, 1 - tail])
        found.append(Interval(value, max(value + float(low), 0.0), value + float(high)))
    return found
