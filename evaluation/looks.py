"""When a growing log may be looked at, and how much error each look may spend: intervals that stay valid however often one looks.

Look k = 0, 1, 2, … is at the first n_k = first · growth^k rows, whenever somebody asks; asking again before n_{k+1} rows are there
finds the same rows and so the same answer. Look k may be wrong with probability α / ((k + 1)(k + 2)), which sums to α over all looks.
By the union bound some interval misses the truth with probability at most α, whatever the rows have to do with one another: no row need be
independent of earlier ones, as a confidence sequence would have it, and shoppers come back.

Source:
    Lan, K. and DeMets, D. (1983). Discrete sequential boundaries for clinical trials: alpha spending. The sequence 1 / (k (k + 1)):
    Robbins and others; see Howard, S., Ramdas, A., McAuliffe, J. and Sekhon, J. (2021). Time-uniform, nonparametric, nonasymptotic
    confidence sequences (stitching).
"""

from dataclasses import dataclass

import numpy as np
from scipy import stats


@dataclass(frozen=True)
class Look:
    """One look.

    Attributes:
        number: from 0.
        rows: how many it reads.
        alpha: how often its two-sided interval may miss.
    """

    number: int
    rows: int
    alpha: float

    @property
    def z(self) -> float:
        """Standard errors from the estimate to either end of the interval."""
        return float(stats.norm.isf(self.alpha / 2))


@dataclass(frozen=True)
class Looks:
    """A plan, made before the first row.

    Attributes:
        first: rows at the first look, at least 1.
        growth: by which factor the rows grow until the next, above 1.
        alpha: how often any of the intervals may miss, over all looks.
    """

    first: int = 500
    growth: float = 1.3
    alpha: float = 0.05

    def __post_init__(self) -> None:
        """Raises: ValueError, a plan without sense."""
        if self.first < 1 or self.growth <= 1 or not 0 < self.alpha < 1:
            raise ValueError(f"{self}: first is at least 1, growth above 1, alpha between 0 and 1")

    def rows(self, number: int) -> int:
        """How many rows a look reads.

        Args:
            number: of the look, from 0.
        """
        return int(np.ceil(self.first * self.growth**number))

    def reached(self, rows: int) -> Look | None:
        """The latest look that so many rows allow; None before the first.

        Args:
            rows: that there are.
        """
        if rows < self.first:
            return None
        number = 0
        while self.rows(number + 1) <= rows:
            number += 1
        return Look(number, self.rows(number), self.alpha / ((number + 1) * (number + 2)))
