import numpy as np
import pytest

from evaluation.intervals import bootstrap_mean, bootstrap_paired_difference, bootstrap_ratio


def test_the_interval_covers_the_true_mean_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(1)
    found = [bootstrap_mean((rng.random(200) < 0.3).astype(float), None, 300, rng) for _ in range(200)]
    covered = [interval.low <= 0.3 <= interval.high for interval in found]
    assert 0.90 <= np.mean(covered) <= 0.99


def test_rows_of_one_user_count_as_one_draw_and_forgetting_that_is_too_sure() -> None:
    rng = np.random.default_rng(2)
    users = np.repeat(np.arange(50), 20)
    values = np.repeat(rng.normal(size=50), 20)
    right, naive = bootstrap_mean(values, users, 500, rng), bootstrap_mean(values, None, 500, rng)
    assert (right.high - right.low) > 3 * (naive.high - naive.low)
    np.testing.assert_allclose(right.standard_error, values.std() / np.sqrt(50), rtol=0.25)


def test_a_paired_difference_is_sharper_than_two_intervals() -> None:
    rng = np.random.default_rng(3)
    base = rng.normal(size=400)
    better = base + 0.05 + 0.01 * rng.normal(size=400)
    found = bootstrap_paired_difference(better, base, None, 500, rng)
    assert found.low > 0
    assert bootstrap_mean(better, None, 500, rng).low < bootstrap_mean(base, None, 500, rng).high


def test_a_ratio_of_sums_by_hand() -> None:
    found = bootstrap_ratio(np.array([1.0, 0.0, 2.0]), np.array([10.0, 20.0, 30.0]), None, 200, np.random.default_rng(4))
    assert found.value == 3 / 60
    assert found.low <= found.value <= found.high


def test_equal_seeds_give_equal_intervals() -> None:
    values = np.arange(30.0)
    assert bootstrap_mean(values, None, 100, np.random.default_rng(5)) == bootstrap_mean(values, None, 100, np.random.default_rng(5))


def test_wrong_calls_are_refused() -> None:
    with pytest.raises(ValueError, match="non-empty"):
        bootstrap_mean(np.array([]))
    with pytest.raises(ValueError, match="1 of 2 values are NaN"):
        bootstrap_mean(np.array([1.0, np.nan]))
    with pytest.raises(ValueError, match="same rows"):
        bootstrap_paired_difference(np.zeros(2), np.zeros(3))
    with pytest.raises(ValueError, match="positive sum"):
        bootstrap_ratio(np.zeros(2), np.zeros(2))
