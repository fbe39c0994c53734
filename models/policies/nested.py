"""What a fixed prediction gets wrong, learnt from clicks: effects of elements, of items and of creatives, each within the one before.

    η = offset + xᵀβ + γ_position + u_item + r_creative
    β_j ~ N(0, s²_element),  u ~ N(0, s²_item),  r ~ N(0, s²_creative),  γ ~ N(0, `POSITION`²),  γ_0 = 0, intercept ~ N(0, `FREE`²)

The offset of an impression is what was predicted for it, so everything learnt has prior mean 0: without clicks the prediction stands.

The likelihood is approximated by a normal at the posterior mean, from counts, as in `models.policies.hierarchy`. A creative belongs
to one item, so creatives and then items are integrated out by hand, both with diagonal blocks. With D_k the information of a creative,
R_k = D_k + 1/s²_creative, and k_k = 1 / (s²_creative R_k) what is left of it for the item: U_i = Σ D_k k_k + 1/s²_item.

The three widths lie at `POINTS` points; each weighs its marginal likelihood, and what is believed without data is a weak prior on widths:
log-uniform, fading as exp(−s² / 2 `WIDTH_SCALE`²), since a trained ranker is seldom off by more than a third of a log-odds.

A fit is a function of the counts alone: it begins at the offset whatever was believed before, so equal counts give equal beliefs.

Source: see `models.policies.hierarchy`; Gelman (2006), Prior distributions for variance parameters in hierarchical models, for
priors that fade with the width.
"""

from dataclasses import dataclass

import numpy as np
from scipy.special import expit

from models.policies.hierarchy import NEGLIGIBLE, width_points
from models.policies.interface import Codes, Floats

POINTS = 32
"""The first so many of `width_points`, which fill the cube of log widths evenly whatever their number."""
WIDTH_SCALE = 0.3
"""Log-odds: how far a trained ranker is believed to be off, per level, before there are clicks."""
FREE = 1.0
POSITION = 0.5
"""Widths of the intercept and of each position's effect, in log-odds; thousands of impressions decide both."""
STEPS = 8
LIKELY = 0.05
"""Points of widths at least so likely, against the likeliest, say where the likelihood is approximated."""
SETTLED = 0.02
"""As in `models.policies.linear`: until the posterior mean is this near to where the approximation was made."""


@dataclass(frozen=True)
class Levels:
    """What creatives are made of.

    Attributes:
        rows: ``(n, p)`` columns of each creative; the first is the intercept.
        item: ``(n,)`` code of each creative's item.
        positions: deepest slate, at least 1.
    """

    rows: Floats
    item: Codes
    positions: int

    @property
    def items(self) -> int:
        """How many items there are."""
        return int(self.item.max(initial=-1)) + 1


@dataclass(frozen=True)
class Counts:
    """Impressions and clicks by creative, position and prediction.

    Attributes:
        creative: ``(c,)`` codes.
        position: ``(c,)`` from 0.
        offset: ``(c,)`` predicted log-odds at position 0.
        shown: ``(c,)`` impressions.
        clicked: ``(c,)`` clicks.
    """

    creative: Codes
    position: Codes
    offset: Floats
    shown: Floats
    clicked: Floats


@dataclass(frozen=True)
class _Sums:
    """The quadratic approximation; q = p + positions − 1 columns.

    Attributes:
        own: ``(n,)`` D.
        cross: ``(n, q)`` C.
        target: ``(n,)`` t of the creatives.
        information: ``(q, q)``.
        right: ``(q,)`` t of the columns.
    """

    own: Floats
    cross: Floats
    target: Floats
    information: Floats
    right: Floats


@dataclass(frozen=True)
class _Point:
    """Normal beliefs at one point of widths.

    Attributes:
        evidence: log marginal likelihood and log prior, up to a constant.
        mean: ``(q,)`` of the columns' effects.
        inverse: ``(q, q)`` of the Cholesky factor of their precision.
        own: ``(n,)`` R.
        item: ``(items,)`` U.
        between: ``(items, q)`` items and columns, creatives integrated out.
        target: ``(items,)`` τ.
    """

    evidence: float
    mean: Floats
    inverse: Floats
    own: Floats
    item: Floats
    between: Floats
    target: Floats


@dataclass(frozen=True)
class Nested:
    """What is believed of every creative.

    Attributes:
        levels: what creatives are made of.
        sums: what the data say.
        points: those of the widths that count.
        weight: ``(j,)`` their probabilities.
        widths: ``(j, 3)`` element, item, creative.
    """

    levels: Levels
    sums: _Sums
    points: tuple[_Point, ...]
    weight: Floats
    widths: Floats

    @property
    def mean_widths(self) -> Floats:
        """``(3,)`` geometric posterior mean of the widths of elements, items and creatives."""
        return np.asarray(np.exp(self.weight @ np.log(self.widths)))

    def mean(self) -> Floats:
        """``(n,)`` posterior mean of xᵀβ + u + r: log-odds to add to a prediction at position 0."""
        return self._means()[1]

    def position_effects(self) -> Floats:
        """``(positions,)`` posterior mean of γ."""
        effects = self.weight @ np.array([point.mean for point in self.points])
        return np.concatenate([[0.0], effects[self.levels.rows.shape[1] :]])

    def draw(self, count: int, rng: np.random.Generator, *, tempered: bool = False) -> Floats:
        """Draws of xᵀβ + u + r of all creatives from the posterior.

        Args:
            count: m.
            rng: the stream to draw from.
            tempered: whether the doubt of each level is drawn as far only as it is `worth` it.

        Returns:
            ``(m, n)``.
        """
        chosen = np.sort(rng.choice(len(self.points), size=count, p=self.weight))
        return np.concatenate(
            [
                self._spread(self.points[j], self.worth(self.widths[j]) if tempered else np.ones(3), int((chosen == j).sum()), rng)
                for j in np.unique(chosen)
            ]
        )

    def worth(self, widths: Floats) -> Floats:
        """How much of the doubt about an element, an item and a creative is worth drawing: I s² / (1 + I s²).

        I is the information that one of them has had on average. What has had next to none will still have next to none when as many
        impressions have come again: with thirty times as many creatives as clicks, trying them costs and teaches nothing.

        Args:
            widths: ``(3,)`` s of each level.

        Returns:
            ``(3,)`` in [0, 1).
        """
        levels, total = self.levels, float(self.sums.own.sum())
        had = total / np.array([levels.rows.shape[1], max(levels.items, 1), len(levels.rows)])
        return had * widths**2 / (1 + had * widths**2)

    def _spread(self, point: _Point, worth: Floats, count: int, rng: np.random.Generator) -> Floats:
        levels, sums = self.levels, self.sums
        of_element, of_item, of_creative = worth.tolist()
        effects = point.mean + of_element * rng.standard_normal((count, point.mean.size)) @ point.inverse  # (m, q)
        item = (point.target - effects @ point.between.T) / point.item
        item = (item + of_item * rng.standard_normal(item.shape) / np.sqrt(point.item))[:, levels.item]  # (m, n)
        own = (sums.target - effects @ sums.cross.T - item * sums.own) / point.own
        own += of_creative * rng.standard_normal(own.shape) / np.sqrt(point.own)
        return np.asarray(effects[:, : levels.rows.shape[1]] @ levels.rows.T + item + own)

    def _means(self) -> tuple[Floats, Floats]:
        """``(q,)`` effects and ``(n,)`` log-odds."""
        levels, sums, total = self.levels, self.sums, np.zeros(len(self.levels.rows))
        for weight, point in zip(self.weight, self.points, strict=True):
            item = ((point.target - point.between @ point.mean) / point.item)[levels.item]
            own = (sums.target - sums.cross @ point.mean - item * sums.own) / point.own
            total += weight * (levels.rows @ point.mean[: levels.rows.shape[1]] + item + own)
        return self.weight @ np.array([point.mean for point in self.points]), total


def fit(levels: Levels, counts: Counts) -> Nested:
    """The beliefs that counts give.

    Args:
        levels: what creatives are made of.
        counts: perhaps none.

    Returns:
        The same for the same counts, whatever was believed before.
    """
    widths, above = width_points(3)[:POINTS], np.zeros(counts.creative.size)
    believed = _believe(levels, _approximate(levels, counts, above), widths)
    if not counts.creative.size:
        return believed
    likely = believed.widths[believed.weight > LIKELY * believed.weight.max()]  # the others say little about where the mean is
    for _ in range(STEPS):
        before, above = above, believed.mean()[counts.creative] + believed.position_effects()[counts.position]
        if np.abs(above - before).max() < SETTLED:
            break
        believed = _believe(levels, _approximate(levels, counts, above), likely)
    return _believe(levels, _approximate(levels, counts, above), widths)


def _approximate(levels: Levels, counts: Counts, above: Floats) -> _Sums:
    """The sums at log-odds ``above`` the offsets, one a row of the counts."""
    p = expit(counts.offset + above)
    weight = counts.shown * p * (1 - p)
    target = counts.clicked - counts.shown * p + weight * above
    creatives, deep = len(levels.rows), levels.positions
    place = counts.creative * deep + counts.position
    weights = np.bincount(place, weights=weight, minlength=creatives * deep).reshape(creatives, deep)
    targets = np.bincount(place, weights=target, minlength=creatives * deep).reshape(creatives, deep)
    own, below = weights.sum(axis=1), weights[:, 1:]
    columns = levels.rows.shape[1]
    seen = np.flatnonzero(own)
    rows = levels.rows[seen]
    information = np.zeros((columns + deep - 1,) * 2)
    information[:columns, :columns] = rows.T @ (rows * own[seen, None])
    information[:columns, columns:] = rows.T @ below[seen]
    information[columns:, :columns] = information[:columns, columns:].T
    information[columns:, columns:] = np.diag(below.sum(axis=0))
    cross = np.hstack([levels.rows * own[:, None], below])
    right = np.concatenate([targets.sum(axis=1) @ levels.rows, targets[:, 1:].sum(axis=0)])
    return _Sums(own, cross, targets.sum(axis=1), information, right)


def _believe(levels: Levels, sums: _Sums, widths: Floats) -> Nested:
    points = [_point(levels, sums, row) for row in widths]
    evidence = np.array([point.evidence for point in points])
    weight = np.exp(evidence - evidence.max())
    kept = np.flatnonzero(weight > NEGLIGIBLE * weight.sum())
    return Nested(levels, sums, tuple(points[j] for j in kept), weight[kept] / weight[kept].sum(), widths[kept])


def _point(levels: Levels, sums: _Sums, widths: Floats) -> _Point:
    element, item, creative = (float(width) ** -2 for width in widths)
    columns, deep, items = levels.rows.shape[1], levels.positions, levels.items
    prior = np.concatenate([[FREE**-2], np.full(columns - 1, element), np.full(deep - 1, POSITION**-2)])
    own = sums.own + creative  # (n,) R
    seen = np.flatnonzero(sums.own)  # all others add nothing
    left = creative / own[seen]
    cross, place = sums.cross[seen], levels.item[seen]
    scaled = cross / own[seen, None]
    between = np.zeros((items, columns + deep - 1))
    np.add.at(between, place, cross * left[:, None])
    item_own = np.asarray(np.bincount(place, weights=sums.own[seen] * left, minlength=items) + item, dtype=np.float64)  # U
    target = np.asarray(np.bincount(place, weights=sums.target[seen] * left, minlength=items), dtype=np.float64)  # τ
    precision = sums.information - scaled.T @ cross - between.T @ (between / item_own[:, None]) + np.diag(prior)
    right = sums.right - scaled.T @ sums.target[seen] - between.T @ (target / item_own)
    factor = np.linalg.cholesky(precision)
    inverse = np.linalg.inv(factor)
    whitened = inverse @ right
    evidence = 0.5 * (
        float(whitened @ whitened)
        - 2 * float(np.log(factor.diagonal()).sum())
        + float(np.log(prior).sum())
        + float((target**2 / item_own - np.log(item_own / item)).sum())
        + float((sums.target[seen] ** 2 / own[seen] + np.log(left)).sum())
        - float((widths**2).sum()) / WIDTH_SCALE**2
    )
    return _Point(evidence, inverse.T @ whitened, inverse, own, item_own, between, target)
