import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from models.ranker.regression import by_evidence, group_of, ridge
from models.ranker.training import _borne_out


def drawn(n, weights, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, len(weights))).astype(np.float32)
    p = 1 / (1 + np.exp(-(x @ np.asarray(weights) - 1)))
    return x, (rng.random(n) < p).astype(np.float32), np.ones(n, np.float32)


def test_newton_finds_what_scikit_learn_finds():
    x, y, w = drawn(2000, [1.0, -0.5, 0.2])
    w[::3] = 2.5
    ours = ridge(x, y, w, 20.0)
    theirs = LogisticRegression(C=1 / 20, tol=1e-10, max_iter=1000).fit(x, y, w)
    np.testing.assert_allclose(ours.weights, theirs.coef_[0], atol=1e-4)
    assert ours.intercept == pytest.approx(float(theirs.intercept_[0]), abs=1e-4)


def test_separable_outcomes_do_not_throw_newton_off():
    x = np.linspace(-3, 3, 200, dtype=np.float32)[:, None]
    y = (x[:, 0] > 0).astype(np.float32)
    fit = ridge(x, y, np.ones(200, np.float32), 0.01)
    assert np.isfinite(fit.weights).all()
    assert ((fit(x) > 0) == (y > 0)).all()


def test_without_an_outcome_of_each_kind_the_fit_stays_finite():
    x, _, w = drawn(100, [1.0])
    fit = ridge(x, np.zeros(100, np.float32), w, 10.0)
    assert fit(x).max() < -3


def test_evidence_holds_a_group_of_noise_tight_and_lets_what_matters_go_and_predicts_better_than_one_penalty():
    truth = [1.0, -1.0, *[0.0] * 40]
    names = ["said: a", "said: b", *(f"noise {place}" for place in range(40))]
    x, y, w = drawn(600, truth, seed=1)
    later, answers, _ = drawn(20_000, truth, seed=2)

    def loss(fit):
        return float((np.logaddexp(0, fit(later)) - answers * fit(later)).mean())

    plain = min((ridge(x, y, w, penalty) for penalty in (10.0, 30.0, 100.0, 300.0)), key=loss)  # chosen in hindsight
    fitted = by_evidence(x, y, w, names, start=ridge(x, y, w, 30.0))
    assert fitted.penalties[:2].max() < 30 < fitted.penalties[2:].min()
    assert len(set(fitted.penalties.tolist())) == 2
    assert loss(fitted) < loss(plain) - 0.005


@pytest.mark.parametrize(
    ("name", "group"),
    [("category: 4 days", "category:"), ("category shoes", "category"), ("position", "position"), ("answers to length", "answers")],
)
def test_features_are_grouped_by_what_stands_before_the_colon_or_by_their_first_word(name, group):
    assert group_of(name) == group


@pytest.mark.parametrize("later_weight", [0.1, 1.0])
def test_evidence_counts_only_as_far_as_the_validation_window_bears_it_out(later_weight):
    x, y, w = drawn(3000, [1.0, 0.0, 0.0], seed=3)
    held = drawn(3000, [later_weight, 0.0, 0.0], seed=4)  # what speaks well in training may say little later
    plain, names = ridge(x, y, w, 2000.0), ("a: x", "b", "c")
    told, found = by_evidence(x, y, w, names, start=plain), _borne_out(x, y, w, held=held, names=names, plain=plain)
    assert told.weights[0] > plain.weights[0]
    np.testing.assert_array_equal(found.weights, (plain if later_weight < 1 else told).weights)
