import numpy as np
import pytest
from scipy import linalg

from evaluation.frechet import frechet, frechet_intervals


@pytest.mark.parametrize(("width", "rows"), [(3, 25), (40, 25), (6, 2000)])
def test_it_is_the_distance_by_the_root_of_the_product_of_covariances(width: int, rows: int) -> None:
    rng = np.random.default_rng(3)
    a, b = rng.normal(size=(rows, width)), 0.5 + 2 * rng.normal(size=(rows + 5, width))
    first, second = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    ridge = 1e-9 * np.eye(width)
    root = np.real(linalg.sqrtm((first + ridge) @ (second + ridge)))
    expected = ((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(first + second - 2 * root)
    assert frechet(a, b) == pytest.approx(expected, rel=1e-3)
    assert frechet(a, a) == pytest.approx(0.0, abs=1e-9)


def test_many_vectors_of_known_gaussians() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(20000, 3)), rng.normal(size=(20000, 3)) * np.array([2.0, 1.0, 1.0]) + np.array([0.0, 3.0, 0.0])
    assert frechet(a, b) == pytest.approx(9 + 1, rel=0.05)  # (2 - 1)² for the wider axis, 3² for the shift


def test_in_one_dimension_it_is_the_gap_of_means_and_of_deviations() -> None:
    a, b = np.array([[0.0], [2.0]]), np.array([[3.0], [3.0], [6.0]])
    expected = (1.0 - 4.0) ** 2 + (a.std(ddof=1) - b.std(ddof=1)) ** 2
    assert frechet(a, b) == pytest.approx(expected)


def test_sets_that_cannot_be_compared_are_refused_with_their_shapes() -> None:
    with pytest.raises(ValueError, match=r"\(1, 2\) and \(3, 2\)"):
        frechet(np.zeros((1, 2)), np.zeros((3, 2)))


def test_intervals_hold_the_distance_itself_and_tell_near_from_far() -> None:
    rng = np.random.default_rng(4)
    real, near = rng.normal(size=(120, 5)), rng.normal(size=(120, 5))
    groups = np.arange(120) // 2
    close, far = frechet_intervals([near, near + 1.0], real, groups, replications=100, rng=rng)
    assert close.low <= close.value <= close.high < far.low <= far.value <= far.high
    assert close.value == pytest.approx(frechet(near, real))


@pytest.mark.parametrize("rows", [3, 30])
def test_the_distance_to_a_population_is_that_between_two_sets(rows: int) -> None:
    rng = np.random.default_rng(6)
    population, one = rng.normal(size=(50, 8)), 0.3 + 1.5 * rng.normal(size=(rows, 8))
    (found,) = frechet_intervals([one], population, np.arange(rows), replications=5, rng=rng)
    assert found.value == pytest.approx(frechet(one, population))
