"""The model below `linear_thompson`, against a dense solution, and against truths that are known."""

import numpy as np
import pytest
from scipy.stats import multivariate_normal

from benchmarks.creative_bandit import draw_truth, play
from models.policies import LinearThompson, Thompson, linear
from models.policies.elements import design_elements
from models.policies.hierarchy import FREE, WIDTH_RANGE, Posterior, Sums, width_points
from models.policies.linear import contenders, temper

ELEMENTS = np.array([[a, b, c] for a in range(4) for b in range(3) for c in range(5)])


def some_sums(rows, creatives, offset=-4.0):
    rng = np.random.default_rng(2)
    shown = rng.integers(1, 900, creatives.size).astype(float)
    clicked = rng.binomial(shown.astype(int), 0.02).astype(float)
    log_odds = rng.normal(-3.9, 0.2, creatives.size)
    sums = Sums.none(rows.shape[1], creatives.max() + 1)
    p = 1 / (1 + np.exp(-log_odds))
    weight = shown * p * (1 - p)
    seen = log_odds - offset + (clicked - shown * p) / weight  # the batch as a normal observation with variance 1 / weight
    return sums.plus(rows, creatives, shown=shown, clicked=clicked, log_odds=log_odds, offset=offset), seen, weight


def test_the_posterior_and_its_evidence_equal_those_of_the_dense_normal_model():
    design = design_elements(np.array([[0, 0], [0, 1], [1, 0], [1, 1], [2, 1]]))
    creatives = np.array([0, 1, 2, 3, 4, 1, 1, 3])
    rows = design.rows(creatives, None)
    sums, seen, weight = some_sums(rows, creatives)
    groups = np.array([-1] + [0] * (rows.shape[1] - 1))
    widths = np.array([[0.3, 0.1], [0.05, 0.4]])
    posterior = Posterior(sums, groups, widths)
    full = np.hstack([rows, np.eye(5)[creatives]])
    expected, densities = [], []
    for main, residual in widths:
        prior = np.diag([FREE**2] + [main**2] * (rows.shape[1] - 1) + [residual**2] * 5)
        covariance = full @ prior @ full.T + np.diag(1 / weight)
        densities.append(multivariate_normal.logpdf(seen, np.zeros(8), covariance))
        expected.append(full @ prior @ full.T @ np.linalg.solve(covariance, seen))
    share = np.exp(np.array(densities) - max(densities))
    share /= share.sum()
    np.testing.assert_allclose(posterior.weights, share, rtol=1e-6)
    np.testing.assert_allclose(posterior.mean(rows, creatives), share @ np.array(expected), rtol=1e-6)


def test_draws_have_the_mean_and_covariance_of_the_posterior():
    design = design_elements(np.array([[0, 0], [0, 1], [1, 0], [1, 1]]))
    creatives = np.arange(4)
    rows = design.rows(creatives, None)
    sums, _, weight = some_sums(rows, creatives)
    posterior = Posterior(sums, np.array([-1, 0, 0, 0, 0]), np.array([[0.3, 0.2]]))
    full = np.hstack([rows, np.eye(4)])
    prior = np.diag([FREE**2] + [0.3**2] * 4 + [0.2**2] * 4)
    covariance = full @ np.linalg.inv(np.linalg.inv(prior) + full.T @ (weight[:, None] * full)) @ full.T
    drawn = posterior.draw(40_000, rows, creatives, np.random.default_rng(0))
    error = np.sqrt(np.diag(covariance) / 40_000)
    assert (np.abs(drawn.mean(axis=0) - posterior.mean(rows, creatives)) < 4 * error).all()
    np.testing.assert_allclose(np.cov(drawn.T), covariance, atol=4 * covariance.max() * (2 / 40_000) ** 0.5)


def test_columns_of_a_design_by_hand():
    design = design_elements(np.array([[0, 7, 1], [0, 8, 1], [1, 7, 1], [1, 7, 1]]), pairs=True, context=1)
    # the third kind is one choice for all; (1, 7) is the one pair with two creatives, and says what 1 says: no column
    np.testing.assert_array_equal(design.rows(np.array([0, 3]), np.array([0.5]))[:, :5], [[1, 1, 0, 1, 0], [1, 0, 1, 1, 0]])
    np.testing.assert_array_equal(design.rows(np.array([3]), np.array([[0.5]]))[:, 5:], [[0.5, 0, 0.5, 0.5, 0]])
    assert design.groups == ("intercept", *["main"] * 4, "context", *["context_main"] * 4)
    more = design_elements(np.array([[0, 7], [0, 7], [0, 8], [1, 7], [1, 8]]), pairs=True)
    assert more.groups == ("intercept", *["main"] * 4, "pairs")
    np.testing.assert_array_equal(more.own[:, -1], [1, 1, 0, 0, 0])


def test_a_context_of_another_shape_is_refused():
    with pytest.raises(ValueError, match="was made without"):
        design_elements(ELEMENTS).rows(np.array([0]), np.array([1.0]))
    design = design_elements(ELEMENTS, context=2)
    with pytest.raises(ValueError, match="needs 2 context features"):
        design.rows(np.array([0]), None)
    with pytest.raises(ValueError, match="context has shape"):
        design.rows(np.array([0]), np.array([1.0]))
    with pytest.raises(ValueError, match="1 context values are not finite"):
        design.rows(np.array([0]), np.array([1.0, np.nan]))


@pytest.mark.parametrize("groups", [1, 2, 3])
def test_points_fill_the_cube_of_log_widths_evenly(groups):
    points = width_points(groups)
    low, high = np.log(WIDTH_RANGE)
    unit = (np.log(points) - low) / (high - low)
    assert ((unit >= 0) & (unit < 1)).all()
    for axis in unit.T:
        counts = np.histogram(axis, bins=8, range=(0, 1))[0]
        assert counts.min() >= 0.7 * counts.mean()
        assert counts.max() <= 1.3 * counts.mean()


def test_the_data_set_the_widths():
    def widths(r2):
        truth = draw_truth(ELEMENTS, r2, np.random.default_rng(5))
        policy = LinearThompson(truth.elements)
        shown = np.full(len(ELEMENTS), 200_000)
        policy.update(np.arange(len(ELEMENTS)), shown, np.random.default_rng(6).binomial(shown, truth.ctr))
        return policy.widths()

    nothing, everything = widths(0.0), widths(1.0)
    assert nothing["main"] < 0.07  # the truth is 0
    assert 0.15 < nothing["residual"] < 0.27  # 0.2
    assert everything["residual"] < 0.05  # 0
    assert 0.08 < everything["main"] < 0.3  # about 0.2 / √3


def test_p_click_comes_near_the_truth_and_elements_help_it_there():
    truth = draw_truth(ELEMENTS, 0.9, np.random.default_rng(8))
    shown = np.full(len(ELEMENTS), 2_000)
    clicked = np.random.default_rng(9).binomial(shown, truth.ctr)
    policy = LinearThompson(truth.elements)
    policy.update(np.arange(len(ELEMENTS)), shown, clicked)

    def error(p):
        return np.sqrt(np.mean((p - truth.ctr) ** 2))

    assert error(policy.p_click()) < 0.6 * error(clicked / shown)
    np.testing.assert_allclose(policy.p_click(np.array([7, 3])), policy.p_click()[[7, 3]])


def collected(make, truths, impressions=40_000):
    return np.array([play(make(t), t.ctr, impressions=impressions, batch=1000, rng=np.random.default_rng(s)) for s, t in enumerate(truths)])


def test_where_elements_explain_ctr_it_beats_independent_thompson():
    truths = [draw_truth(ELEMENTS, 0.9, np.random.default_rng(seed)) for seed in range(6)]
    gap = collected(lambda t: LinearThompson(t.elements), truths) - collected(lambda t: Thompson(len(t.ctr)), truths)
    assert gap.mean() > 2 * gap.std() / len(gap) ** 0.5


def test_where_elements_explain_nothing_it_hardly_loses():
    truths = [draw_truth(ELEMENTS, 0.0, np.random.default_rng(seed)) for seed in range(6)]
    ours = collected(lambda t: LinearThompson(t.elements), truths)
    assert ours.mean() >= 0.95 * collected(lambda t: Thompson(len(t.ctr)), truths).mean()


def test_what_a_context_likes_is_learnt_for_creatives_that_were_never_shown_in_it():
    elements = np.array([[a, b] for a in range(2) for b in range(6)])
    policy = LinearThompson(elements, context=1, exploration=0.0)
    rng = np.random.default_rng(3)
    for context in (-1.0, 1.0):
        few = np.flatnonzero(elements[:, 1] < 3)  # the others are never shown
        ctr = 0.03 * np.exp(0.5 * context * (2 * elements[few, 0] - 1))
        shown = np.full(few.size, 4_000)
        policy.update(few, shown, rng.binomial(shown, ctr), context=np.full((few.size, 1), context))
    new = np.flatnonzero(elements[:, 1] >= 3)
    for context, liked in ((-1.0, 0), (1.0, 1)):
        p = policy.distribution(rng, candidates=new, context=np.array([context]))
        assert p[elements[new, 0] == liked].sum() > 0.9


def test_what_is_learnt_does_not_depend_on_how_the_log_is_cut_into_batches(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(linear, "SETTLED", 1e-10)
    rng = np.random.default_rng(2)
    shown = rng.integers(50, 1_000, (10, len(ELEMENTS)))
    clicked = rng.binomial(shown, rng.uniform(0.005, 0.06, len(ELEMENTS)))
    whole, cut = LinearThompson(ELEMENTS), LinearThompson(ELEMENTS)
    creatives = np.arange(len(ELEMENTS))
    for seen, clicks in zip(shown, clicked, strict=True):
        cut.update(creatives, seen, clicks)
    whole.update(creatives, shown.sum(axis=0), clicked.sum(axis=0))
    np.testing.assert_allclose(whole.p_click(), cut.p_click(), rtol=2e-3)  # the intercept's prior stands at the first batch's CTR


def test_a_log_of_many_contexts_is_folded_and_stays_near_what_was_learnt(monkeypatch: pytest.MonkeyPatch):
    rng = np.random.default_rng(4)
    elements = np.array([[a, b] for a in range(3) for b in range(4)])
    batches = [(rng.integers(0, 12, 300), rng.normal(size=(300, 1))) for _ in range(20)]
    kept, folded = LinearThompson(elements, context=1), LinearThompson(elements, context=1)
    for creatives, context in batches:
        shown = np.full(300, 50)
        clicked = rng.binomial(shown, 0.03 * np.exp(0.4 * context[:, 0] * (elements[creatives, 0] - 1)))
        kept.update(creatives, shown, clicked, context=context)
        with monkeypatch.context() as patch:
            patch.setattr(linear, "CELLS", 500)
            folded.update(creatives, shown, clicked, context=context)
    assert folded.state().arrays["cells.shown"].size <= 500 < kept.state().arrays["cells.shown"].size
    for at in (-1.0, 0.0, 1.0):
        np.testing.assert_allclose(folded.p_click(context=np.array([at])), kept.p_click(context=np.array([at])), rtol=0.05)


def test_contenders_and_tempering_by_hand():
    assert contenders([0.25, 0.25, 0.5, 0.0]) == pytest.approx(np.exp(0.5 * np.log(4) + 0.5 * np.log(2)))
    assert temper(1.0) == 1.0
    assert temper(3.0) == 1.0  # E[max of 3] = 0.846
    assert temper(10.0) == pytest.approx(1 / 1.539, rel=0.01)
    assert temper(200.0) == pytest.approx(1 / 2.746, rel=0.01)


def test_tempering_leaves_the_mean_of_the_draws():
    policy = LinearThompson(ELEMENTS, votes=4_000)
    shown = np.full(len(ELEMENTS), 500)
    policy.update(np.arange(len(ELEMENTS)), shown, np.random.default_rng(1).binomial(shown, 0.02))
    drawn = policy.draws(np.random.default_rng(2), np.arange(len(ELEMENTS)))
    log_odds = np.log(policy.p_click() / (1 - policy.p_click()))
    assert (np.abs(drawn.mean(axis=0) - (log_odds - policy.offset)) < 5 * drawn.std(axis=0) / 4_000**0.5).all()
