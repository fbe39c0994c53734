import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.pacing import break_even, choose, thresholds


def test_a_place_goes_to_the_largest_value_beyond_its_price():
    value, cost, price = np.array([[10.0, 9.0, 4.0]]), np.array([[8.0, 4.0, 4.0]]), np.array([1.0, 0.5, 2.0])
    net = value - price * cost  # 2, 7, −4
    assert choose(net, 2).tolist() == [[1, 0]]
    assert choose(net, 4).tolist() == [[1, 0, -1, -1]]
    assert choose(net, 2, outside=3.0).tolist() == [[1, -1]]
    assert thresholds(net, 1).tolist() == [[7.0, 2.0, 7.0]]
    assert thresholds(net, 3).tolist() == [[0.0, 0.0, 0.0]]
    # alone on two places below one that stays: up to which price does each still win?
    assert break_even(value, cost, thresholds(net, 1)) == pytest.approx(np.array([[3 / 8, 7 / 4, -3 / 4]]))
    assert break_even(value, np.zeros((1, 3)), value).tolist() == [[0.0, 0.0, 0.0]]


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10_000), c=st.integers(1, 6), k=st.integers(1, 4), outside=st.floats(0, 1))
def test_below_its_break_even_price_a_candidate_wins_a_place_and_above_it_does_not(seed, c, k, outside):
    rng = np.random.default_rng(seed)
    value, cost, price = rng.random((1, c)) * 3, rng.random((1, c)) + 0.1, rng.random(c)
    net = value - price * cost
    net[rng.random((1, c)) < 0.2] = -np.inf
    limit = break_even(value, cost, thresholds(net, k, outside))[0]
    for code, step in itertools.product(range(c), (-1e-6, 1e-6)):
        tried = net.copy()
        tried[0, code] = value[0, code] - (limit[code] + step) * cost[0, code]
        assert (code in choose(tried, k, outside)[0]) == (step < 0)
