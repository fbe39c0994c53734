"""The stability index, by hand and by its properties."""

from math import log

import numpy as np
import pytest

from evaluation.drift import category_drift, number_drift, stability_index


def test_the_index_equals_its_formula_by_hand() -> None:
    expected = (0.2 - 0.5) * log(0.2 / 0.5) + (0.8 - 0.5) * log(0.8 / 0.5)
    assert stability_index(np.array([5.0, 5.0]), np.array([20.0, 80.0])) == pytest.approx(expected)


def test_equal_samples_have_not_moved_and_the_index_is_symmetric() -> None:
    rng = np.random.default_rng(3)
    first, second = rng.normal(size=500), rng.normal(1, 1, size=500)
    assert number_drift(first, first) == 0
    assert category_drift("aab", "bab") == pytest.approx(category_drift("bab", "aab"))
    assert number_drift(first, second) > 0.25
    assert number_drift(first, rng.normal(size=500)) < 0.1


def test_a_word_never_seen_before_counts_and_does_not_divide_by_zero() -> None:
    assert np.isfinite(category_drift(["a"] * 9, ["b"] * 9))
    assert category_drift(["a"] * 9, ["b"] * 9) > 1


@pytest.mark.parametrize("bad", [np.array([0.0, 0.0]), np.array([-1.0, 2.0]), np.array([1.0])])
def test_what_is_no_distribution_is_refused(bad: np.ndarray) -> None:
    with pytest.raises(ValueError, match="distribution"):
        stability_index(np.array([1.0, 1.0]), bad)


def test_an_empty_sample_is_refused() -> None:
    with pytest.raises(ValueError, match="both samples"):
        number_drift(np.array([np.nan]), np.array([1.0]))
