"""A hierarchical Bayesian model of clicks whose prior widths the data set: log-odds = offset + columns · effects + a residual a creative.

    η = offset + xᵀβ + r_k        β_j ~ N(0, s²_group(j)),  r_k ~ N(0, s²_residual),  intercept nearly free

What the data say is held as the sums of a quadratic approximation of the log-likelihood, made at some log-odds η̂, best the posterior mean:
with p̂ = σ(η̂) and w = shown · p̂ (1 − p̂), each row adds w z zᵀ to the information and (clicked − shown · p̂ + w (η̂ − offset)) z to the
target, z being the row's columns and its creative. Sums have a fixed size, however long the log is.

Widths s are not set and not even estimated by one number: they lie at `WIDTH_POINTS` points that fill the cube of log widths evenly, each
point weighs what its marginal likelihood says, and the posterior is the mixture. Where elements explain nothing, the weight goes to
points whose main effects are nearly none, and what is left is independent creatives with a common prior.

The residuals are integrated out by hand (their block is diagonal): with R = D + 1/s²_residual, the effects have the precision
A = S − C R⁻¹ Cᵀ + diag(1/s²) and the right-hand side t − C R⁻¹ t_own.

Source: Spiegelhalter and Lauritzen (1990), Sequential updating of conditional probabilities on directed graphical structures, for the
approximation; MacKay (1992), Bayesian interpolation, for the evidence; Rue, Martino and Chopin (2009), Approximate Bayesian
inference for latent Gaussian models, for integrating over a few points.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.special import expit

from models.policies.interface import Codes, Floats

WIDTH_POINTS = 64
"""Points in the space of log widths for up to two groups; each further group doubles them."""
WIDTH_RANGE = (0.01, 1.5)
"""Log-odds: from effects of one per cent, which no shop's log could tell from none, to CTRs that differ tenfold. It is where one looks, not
what is believed: the weights come from the data."""
FREE = 3.0
"""Width of the intercept in log-odds: a factor 20 of CTR; the first batch decides."""
NEGLIGIBLE = 1e-4
"""Points with less weight are left out of draws."""


@dataclass(frozen=True)
class Sums:
    """What the data say, quadratically; p columns, n creatives.

    Attributes:
        information: ``(p, p)`` S, of the columns.
        cross: ``(p, n)`` C, of columns and creatives.
        own: ``(n,)`` D, of the creatives.
        target: ``(p,)`` t.
        target_own: ``(n,)`` t of the creatives.
    """

    information: Floats
    cross: Floats
    own: Floats
    target: Floats
    target_own: Floats

    @classmethod
    def none(cls, columns: int, creatives: int) -> "Sums":
        """No data.

        Args:
            columns: p.
            creatives: n.
        """
        return cls(
            np.zeros((columns, columns)), np.zeros((columns, creatives)), np.zeros(creatives), np.zeros(columns), np.zeros(creatives)
        )

    def plus(self, rows: Floats, creatives: Codes, *, shown: Floats, clicked: Floats, log_odds: Floats, offset: float) -> "Sums":
        """The sums with a batch added.

        Args:
            rows: ``(b, p)`` columns.
            creatives: ``(b,)`` creative of each row.
            shown: ``(b,)`` impressions.
            clicked: ``(b,)`` clicks.
            log_odds: ``(b,)`` η̂, where the approximation is made.
            offset: of the model.
        """
        p = expit(log_odds)
        weight = shown * p * (1 - p)  # (b,)
        target = clicked - shown * p + weight * (log_odds - offset)
        weighted = rows * weight[:, None]
        cross = np.zeros((self.own.size, rows.shape[1]))
        np.add.at(cross, creatives, weighted)
        return Sums(
            self.information + rows.T @ weighted,
            self.cross + cross.T,
            self.own + np.bincount(creatives, weights=weight, minlength=self.own.size),
            self.target + target @ rows,
            self.target_own + np.bincount(creatives, weights=target, minlength=self.own.size),
        )


def width_points(groups: int) -> Floats:
    """Points that fill the cube of log widths evenly: an additive recurrence.

    Args:
        groups: how many widths there are, at least 1.

    Returns:
        ``(points, groups)`` widths.

    Source: Roberts (2018), The unreasonable effectiveness of quasirandom sequences: steps are powers of the root of x^(d+1) = x + 1.
    """
    count = WIDTH_POINTS * 2 ** max(groups - 2, 0)
    root = 2.0
    for _ in range(60):
        root = (1 + root) ** (1 / (groups + 1))
    steps = root ** -np.arange(1.0, groups + 1)
    unit = (0.5 + np.arange(1, count + 1)[:, None] * steps) % 1
    low, high = np.log(WIDTH_RANGE)
    return np.asarray(np.exp(low + unit * (high - low)))


@dataclass(frozen=True)
class _Fit:
    """The points of widths that count.

    Attributes:
        kept: ``(j,)`` which points.
        weight: ``(j,)`` their posterior probabilities.
        mean: ``(j, p)`` posterior mean of the effects.
        inverse: ``(j, p, p)`` inverse of the Cholesky factor of the effects' precision.
        own: ``(j, n)`` R, the residuals' precision.
    """

    kept: Codes
    weight: Floats
    mean: Floats
    inverse: Floats
    own: Floats


@dataclass(frozen=True)
class Posterior:
    """What is believed, given the sums: a mixture over points of widths, normal given a point.

    Attributes:
        sums: what the data say.
        groups: ``(p,)`` index of each column's width; −1 for the intercept.
        widths: ``(points, groups + 1)`` candidates; the residual's is the last.
    """

    sums: Sums
    groups: Codes
    widths: Floats

    @cached_property
    def _fit(self) -> "_Fit":
        sums, residual = self.sums, self.widths[:, -1] ** -2
        prior = np.where(self.groups < 0, FREE**-2, self.widths[:, self.groups] ** -2)  # (j, p)
        own = sums.own + residual[:, None]  # (j, n)
        scaled = sums.cross / own[:, None, :]  # (j, p, n)
        right = sums.target - scaled @ sums.target_own  # (j, p)
        columns = np.arange(prior.shape[1])
        # with the right-hand side as a last row, Cholesky's last row is the right-hand side whitened; the corner has to be large enough
        bordered = np.empty((len(prior), columns.size + 1, columns.size + 1))
        bordered[:, :-1, :-1] = sums.information - scaled @ sums.cross.T
        bordered[:, columns, columns] += prior
        bordered[:, -1, :-1] = bordered[:, :-1, -1] = right
        bordered[:, -1, -1] = 1 + (right**2 / prior).sum(axis=1)
        factor = np.linalg.cholesky(bordered)
        whitened = factor[:, -1, :-1]
        evidence = 0.5 * (
            (whitened**2).sum(axis=1)
            - 2 * np.log(factor[:, columns, columns]).sum(axis=1)
            + np.log(prior).sum(axis=1)
            + (sums.target_own**2 / own - np.log(own / residual[:, None])).sum(axis=1)
        )
        weight = np.exp(evidence - evidence.max())
        kept = np.flatnonzero(weight > NEGLIGIBLE * weight.sum())
        inverse = np.linalg.inv(factor[kept, :-1, :-1])
        mean = np.einsum("jba,jb->ja", inverse, whitened[kept])
        return _Fit(kept, weight[kept] / weight[kept].sum(), mean, inverse, own[kept])

    @property
    def weights(self) -> Floats:
        """``(points,)`` posterior probability of each point of widths; 0 where it is negligible."""
        weight = np.zeros(len(self.widths))
        weight[self._fit.kept] = self._fit.weight
        return weight

    @property
    def mean_widths(self) -> Floats:
        """``(groups + 1,)`` geometric posterior mean of each width; the residual's is the last."""
        return np.asarray(np.exp(self.weights @ np.log(self.widths)))

    def mean(self, rows: Floats, creatives: Codes) -> Floats:
        """Posterior mean of xᵀβ + r.

        Args:
            rows: ``(b, p)`` columns.
            creatives: ``(b,)`` creative of each row.

        Returns:
            ``(b,)`` log-odds above the offset.
        """
        fit = self._fit
        residual = (self.sums.target_own - fit.mean @ self.sums.cross) / fit.own  # (j, n)
        return np.asarray(fit.weight @ (fit.mean @ rows.T + residual[:, creatives]))

    def draw(self, count: int, rows: Floats, creatives: Codes, rng: np.random.Generator) -> Floats:
        """Draws of xᵀβ + r from the posterior; a creative in several rows has one residual a draw.

        Args:
            count: m.
            rows: ``(b, p)`` columns.
            creatives: ``(b,)`` creative of each row.
            rng: the stream to draw from.

        Returns:
            ``(m, b)`` log-odds above the offset.
        """
        fit = self._fit
        point = rng.choice(fit.kept.size, size=count, p=fit.weight)  # (m,)
        normal = rng.standard_normal((count, 1, self.groups.size))
        effects = fit.mean[point] + (normal @ fit.inverse[point])[:, 0]  # (m, p): L⁻ᵀ times a normal has covariance (L Lᵀ)⁻¹
        names, place = np.unique(creatives, return_inverse=True)
        precision = fit.own[point][:, names]  # (m, distinct)
        centre = (self.sums.target_own[names] - effects @ self.sums.cross[:, names]) / precision
        residual = centre + rng.standard_normal(centre.shape) / np.sqrt(precision)
        return np.asarray(effects @ rows.T + residual[:, place])
