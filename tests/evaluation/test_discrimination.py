import numpy as np
import pytest

from evaluation.calibration import auc
from evaluation.discrimination import auc_gap, auc_interval


def test_the_interval_is_that_of_delong_by_hand():
    # positives 3, 1; negatives 2, 0: pairs won 2 of 2 and 1 of 2, so AUC = 3/4
    found = auc_interval([3.0, 1.0, 2.0, 0.0], [1, 1, 0, 0])
    # placements 1, 1/2 and 1/2, 1; each is 1/4 off 3/4, over 2 rows of its kind
    variance = 4 * (0.25 / 2) ** 2 * 4 / 3
    assert found.value == 0.75
    assert found.high - found.value == pytest.approx(1.959964 * np.sqrt(variance), rel=1e-6)


def test_the_value_is_the_mann_whitney_statistic_ties_included():
    rng = np.random.default_rng(0)
    p, y = np.round(rng.random(500), 1), rng.random(500) < 0.3
    assert auc_interval(p, y).value == pytest.approx(auc(p, y.astype(float)))


def test_the_interval_holds_the_true_auc_as_often_as_it_says_where_users_repeat_and_the_naive_one_does_not():
    rng = np.random.default_rng(1)
    clustered, naive, rounds = 0, 0, 300
    true = 0.7602499  # of a normal shift of 1: Φ(1 / √2)
    for _ in range(rounds):
        users = np.repeat(np.arange(60), 20)
        y = (rng.random(60) < 0.5)[users]  # a user is one or the other, all rows alike
        p = y + 0.9**0.5 * rng.normal(size=60)[users] + 0.1**0.5 * rng.normal(size=users.size)
        clustered += auc_interval(p, y, users).low <= true <= auc_interval(p, y, users).high
        naive += auc_interval(p, y).low <= true <= auc_interval(p, y).high
    assert clustered / rounds > 0.9
    assert naive / rounds < 0.6


def test_a_gap_to_itself_is_exactly_nothing_and_one_to_a_worse_score_excludes_it():
    rng = np.random.default_rng(2)
    y = rng.random(4000) < 0.2
    good = y + rng.normal(size=4000)
    bad = good + 2 * rng.normal(size=4000)
    same, worse = auc_gap(good, good, y), auc_gap(good, bad, y)
    assert (same.value, same.low, same.high) == (0, 0, 0)
    assert worse.low > 0
    assert worse.high - worse.low < auc_interval(good, y).high - auc_interval(good, y).low + auc_interval(bad, y).high


def test_one_kind_of_outcome_is_refused():
    with pytest.raises(ValueError, match="0 positive and 3 negative"):
        auc_interval([0.1, 0.2, 0.3], [0, 0, 0])
    with pytest.raises(ValueError, match="shape"):
        auc_interval([0.1, 0.2], [0, 1, 1])
