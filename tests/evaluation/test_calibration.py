from math import exp, log

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss as sklearn_log_loss
from sklearn.metrics import roc_auc_score

from evaluation.calibration import (
    auc,
    calibration,
    calibration_line,
    expected_calibration_error,
    log_loss,
    observed_over_expected,
    reliability,
)


def test_the_calibration_error_of_two_bins_by_hand():
    predicted, outcomes = [0.1, 0.2, 0.6, 0.8], [0, 1, 1, 1]
    table = reliability(predicted, outcomes, bins=2)
    np.testing.assert_allclose(table["predicted"], [0.15, 0.7])
    np.testing.assert_allclose(table["observed"], [0.5, 1.0])
    assert table["impressions"].tolist() == [2, 2]
    assert expected_calibration_error(predicted, outcomes, bins=2) == pytest.approx((2 * 0.35 + 2 * 0.3) / 4)


def test_equal_predictions_share_a_bin_whatever_the_order_of_rows():
    outcomes = [1, 0, 0, 0, 1, 0, 0, 0]
    table = reliability([0.25] * 8, outcomes, bins=4)
    assert table["impressions"].tolist() == [8]
    assert expected_calibration_error([0.25] * 8, outcomes, bins=4) == 0


def test_auc_by_hand_counts_ties_as_half():
    # positives .8 and .4, negatives .4 and .1: pairs win, win, tie, win
    assert auc([0.8, 0.4, 0.4, 0.1], [1, 1, 0, 0]) == (3 + 0.5) / 4


def test_log_loss_by_hand():
    assert log_loss([0.9, 0.2], [1, 1]) == pytest.approx(-(log(0.9) + log(0.2)) / 2)


def test_observed_over_expected_by_hand():
    assert observed_over_expected([0.1, 0.3], [1, 0]) == pytest.approx(1 / 0.4)


@given(st.integers(0, 10_000))
def test_auc_and_log_loss_agree_with_scikit_learn(seed):
    rng = np.random.default_rng(seed)
    predicted = rng.choice([0.05, 0.1, 0.2, 0.5, 0.9], 30)
    outcomes = rng.integers(0, 2, 30)
    outcomes[:2] = [0, 1]
    assert auc(predicted, outcomes) == pytest.approx(roc_auc_score(outcomes, predicted))
    assert log_loss(predicted, outcomes) == pytest.approx(sklearn_log_loss(outcomes, predicted))


def test_the_line_agrees_with_an_unregularised_logistic_regression():
    rng = np.random.default_rng(1)
    predicted = rng.uniform(0.02, 0.9, 400)
    outcomes = rng.uniform(size=400) < predicted**1.7
    x = np.log(predicted / (1 - predicted))[:, None]
    peer = LogisticRegression(C=np.inf, tol=1e-9).fit(x, outcomes)
    slope, intercept = calibration_line(predicted, outcomes)
    assert slope == pytest.approx(peer.coef_[0, 0], rel=1e-4)
    assert intercept == pytest.approx(peer.intercept_[0], rel=1e-4)


def test_calibrated_predictions_look_calibrated_and_overconfident_ones_do_not():
    rng = np.random.default_rng(7)
    x = rng.normal(-1, 1, 60_000)
    truth = 1 / (1 + np.exp(-x))
    outcomes = rng.uniform(size=x.size) < truth
    honest = calibration(truth, outcomes)
    assert honest.error < 0.006
    assert honest.slope == pytest.approx(1, abs=0.04)
    assert honest.intercept == pytest.approx(0, abs=0.05)
    assert honest.observed_over_expected == pytest.approx(1, abs=0.02)
    overconfident = calibration(1 / (1 + np.exp(-2 * x)), outcomes)
    assert overconfident.error > 0.05
    assert overconfident.slope == pytest.approx(0.5, abs=0.02)
    assert overconfident.auc == pytest.approx(honest.auc)
    assert overconfident.log_loss > honest.log_loss


def test_shifted_log_odds_show_in_the_intercept():
    rng = np.random.default_rng(8)
    x = rng.normal(0, 1, 60_000)
    outcomes = rng.uniform(size=x.size) < 1 / (1 + np.exp(-(x + log(2))))
    slope, intercept = calibration_line(1 / (1 + np.exp(-x)), outcomes)
    assert slope == pytest.approx(1, abs=0.04)
    assert exp(intercept) == pytest.approx(2, rel=0.05)


def test_where_no_figure_exists_the_answer_is_not_a_number():
    figures = calibration([0.2, 0.3], [0, 0])
    assert np.isnan([figures.auc, figures.slope, figures.intercept]).all()
    assert np.isnan(calibration_line([0.1, 0.2, 0.8], [0, 0, 1])).all()
    assert np.isnan(observed_over_expected([0.0], [0]))


@pytest.mark.parametrize(
    ("predicted", "outcomes", "message"),
    [
        ([], [], r"shape \(0,\)"),
        ([0.1], [0, 1], r"\(1,\) and outcomes \(2,\)"),
        ([0.1, 1.2], [0, 1], r"1 of 2 predictions lie outside \[0, 1\]; first: row 1 = 1.2"),
        ([0.1, float("nan")], [0, 1], "first: row 1 = nan"),
        ([0.1], [2], "0 or 1; found 2.0"),
    ],
)
def test_a_wrong_call_says_what_is_wrong(predicted, outcomes, message):
    with pytest.raises(ValueError, match=message):
        calibration(predicted, outcomes)


def test_at_least_one_bin_is_needed():
    with pytest.raises(ValueError, match="bins is 0"):
        reliability([0.1], [0], bins=0)
