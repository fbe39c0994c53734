"""The nested posterior is the dense one, computed with less."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.special import expit

from models.policies import nested
from models.policies.nested import Counts, Levels, Nested, fit


def example(rng, creatives=30, items=8, positions=3, cells=200):
    rows = np.hstack([np.ones((creatives, 1)), rng.integers(0, 2, (creatives, 4)).astype(float)])
    item = np.append(rng.integers(0, items, creatives - 1), items - 1)
    creative = rng.integers(0, creatives, cells)
    creative[creative == 5] = 6  # one creative without data
    shown = rng.integers(1, 50, cells).astype(float)
    clicked = rng.binomial(shown.astype(int), 0.15).astype(float)
    counts = Counts(creative, rng.integers(0, positions, cells), rng.normal(-2, 0.5, cells), shown, clicked)
    return Levels(rows, item, positions), counts


def test_means_draws_and_evidence_are_those_of_the_dense_normal_model():
    rng = np.random.default_rng(0)
    levels, counts = example(rng)
    creatives, items = len(levels.rows), levels.items
    above, widths = np.full(counts.shown.size, 0.1), np.array([0.2, 0.3, 0.25])
    sums = nested._approximate(levels, counts, above)
    point = nested._point(levels, sums, widths)
    below = (counts.position[:, None] == np.arange(1, levels.positions)).astype(float)
    dense = np.hstack(
        [levels.rows[counts.creative], below, np.eye(items)[levels.item[counts.creative]], np.eye(creatives)[counts.creative]]
    )
    p = expit(counts.offset + above)
    weight = counts.shown * p * (1 - p)
    right = dense.T @ (counts.clicked - counts.shown * p + weight * above)
    widest = [nested.FREE, *[0.2] * 4, *[nested.POSITION] * 2, *[0.3] * items, *[0.25] * creatives]
    precision = dense.T @ (dense * weight[:, None]) + np.diag(np.array(widest) ** -2)
    mean = np.linalg.solve(precision, right)
    evidence = mean @ right - np.linalg.slogdet(precision)[1] - 2 * np.log(widest).sum() - (widths**2).sum() / nested.WIDTH_SCALE**2
    assert point.evidence == pytest.approx(evidence / 2, rel=1e-9)
    believed = Nested(levels, sums, (point,), np.ones(1), widths[None])
    reads = np.hstack([levels.rows, np.zeros((creatives, 2)), np.eye(items)[levels.item], np.eye(creatives)])
    np.testing.assert_allclose(believed.mean(), reads @ mean, atol=1e-10)
    np.testing.assert_allclose(believed.position_effects()[1:], mean[5:7], atol=1e-10)
    drawn, covariance = believed.draw(40_000, rng), reads @ np.linalg.inv(precision) @ reads.T
    spread = np.sqrt(np.outer(covariance.diagonal(), covariance.diagonal()) + covariance**2)
    assert np.abs((np.cov(drawn.T) - covariance) / spread).max() < 6 / np.sqrt(40_000)
    assert np.abs((drawn.mean(axis=0) - reads @ mean) / np.sqrt(covariance.diagonal())).max() < 5 / np.sqrt(40_000)


def test_equal_counts_in_another_order_give_equal_beliefs_to_rounding():
    rng = np.random.default_rng(1)
    levels, counts = example(rng)
    order = rng.permutation(counts.shown.size)
    other = Counts(*(getattr(counts, name)[order] for name in ("creative", "position", "offset", "shown", "clicked")))
    np.testing.assert_allclose(fit(levels, counts).mean(), fit(levels, other).mean(), atol=1e-9)


def test_true_corrections_are_found_where_the_data_tell_them_and_the_prediction_stands_where_they_do_not():
    rng = np.random.default_rng(2)
    creatives, items, shown = 300, 60, 2000.0
    item = np.arange(creatives) % items
    element = (np.arange(creatives) // items) % 2
    truth = 0.4 * element + rng.normal(0, 0.3, items)[item] + rng.normal(0, 0.1, creatives)
    seen = np.flatnonzero(np.arange(creatives) < 240)
    position = rng.integers(0, 3, seen.size)
    offset = rng.normal(-2.5, 0.5, seen.size)
    clicked = rng.binomial(int(shown), expit(offset + truth[seen] - 0.3 * position)).astype(float)
    levels = Levels(np.column_stack([np.ones(creatives), element == 0, element == 1]).astype(float), item, 3)
    believed = fit(levels, Counts(seen, position, offset, np.full(seen.size, shown), clicked))
    unseen = np.setdiff1d(np.arange(creatives), seen)
    assert np.corrcoef(believed.mean()[seen], truth[seen])[0, 1] > 0.95
    assert np.corrcoef(believed.mean()[unseen], truth[unseen])[0, 1] > 0.8  # of the item and the element alone
    assert believed.position_effects() == pytest.approx([0, -0.3, -0.6], abs=0.1)
    nothing = fit(levels, Counts(*(np.zeros(0, dtype=np.int64),) * 2, *(np.zeros(0),) * 3))
    assert np.abs(nothing.mean()).max() == 0


def test_what_is_hardly_ever_shown_is_not_worth_trying_and_what_is_shown_often_is():
    rng = np.random.default_rng(3)
    levels, counts = example(rng)
    few = fit(levels, replace(counts, shown=counts.shown * 1e-3, clicked=counts.clicked * 1e-3))
    many = fit(levels, replace(counts, shown=counts.shown * 1e3, clicked=counts.clicked * 1e3))
    widths = np.array([0.2, 0.2, 0.2])
    assert few.worth(widths).max() < 0.05
    assert many.worth(widths).min() > 0.9
    assert (np.diff(many.worth(widths)) <= 0).all()  # elements are met more often than items, items than creatives
    exact, tempered = (few.draw(4000, np.random.default_rng(1), tempered=one) for one in (False, True))
    assert tempered.std(axis=0).max() < 0.2 * exact.std(axis=0).min()
    np.testing.assert_allclose(tempered.mean(axis=0), few.mean(), atol=0.02)
