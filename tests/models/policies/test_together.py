import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.policies import together
from models.policies.slate import slate
from models.policies.together import Draw, slates
from models.policies.variety import Limit

SIZES = st.lists(st.integers(1, 14), min_size=2, max_size=6)


def asked(sizes, seed, *, ties=False, most=5, votes=False):
    """Requests of different sizes, floors, numbers of positions, groups and limits."""
    rng = np.random.default_rng(seed)
    found = []
    for place, size in enumerate(sizes):
        scores = rng.integers(0, 3, size).astype(float) if ties else rng.random(size)
        if votes and place % 2:
            scores = rng.random((7, size))
        groups = rng.integers(0, max(1, size // 2) + 1, size)
        exploration = float(rng.choice([0.0, 0.1, 1.0]))
        k = int(rng.integers(1, most))
        limit = None if rng.random() < 0.3 else Limit(groups % int(rng.integers(1, 5)), int(rng.choice([1, 2, (k + 1) // 2])))
        found.append(Draw(scores, k, exploration, np.random.default_rng(seed + place), groups, limit))
    return found


def alone(one, seed):
    return slate(one.scores, one.k, one.exploration, np.random.default_rng(seed), groups=one.groups, limit=one.limit)


@settings(max_examples=300, deadline=None)
@given(SIZES, st.integers(0, 10_000), st.booleans(), st.booleans())
def test_each_slate_is_the_one_that_its_request_would_have_alone(sizes, seed, ties, votes):
    requests = asked(sizes, seed, ties=ties, votes=votes)
    for place, (one, found) in enumerate(zip(requests, slates(requests), strict=True)):
        expected = alone(one, seed + place)
        np.testing.assert_array_equal(found.indices, expected.indices)
        np.testing.assert_array_equal(found.propensity, expected.propensity)  # what was drawn from, to the last digit
        np.testing.assert_allclose(found.marginal, expected.marginal, rtol=1e-12, atol=1e-15)


def test_a_stream_is_left_where_the_slate_alone_would_leave_it():
    requests = asked([12, 3, 1], 5, most=5)
    slates(requests)
    for place, one in enumerate(requests):
        rng = np.random.default_rng(5 + place)
        slate(one.scores, one.k, one.exploration, rng, groups=one.groups, limit=one.limit)
        assert one.rng.random() == rng.random()


def test_no_request_is_summed_over_all_slates_for_what_stands_beside_it(monkeypatch):
    rng, groups = np.random.default_rng(8), np.repeat(np.arange(12), 2)
    limits = {1: None, 2: Limit(groups % 4, 1), 3: Limit(groups % 4, 2), 6: Limit(groups % 4, 3)}
    requests = [Draw(rng.random(24), k, 0.1, np.random.default_rng(k), groups, limit) for k, limit in limits.items()]
    monkeypatch.setattr(together, "marginals_of", lambda *told: pytest.fail("the slow way was gone"))
    assert [len(found.indices) for found in slates(requests)] == [1, 2, 3, 6]


def test_what_a_slate_alone_refuses_is_refused_among_others():
    good = Draw(np.array([0.1, 0.2]), 1, 0.1, np.random.default_rng(0), np.array([0, 1]))
    odd = Limit(np.array([0]), 1)
    with pytest.raises(ValueError, match="categories have shape"):
        slates([good, good, Draw(np.array([0.1, 0.2]), 2, 0.1, np.random.default_rng(0), np.array([0, 1]), odd)])
    for scores, k, exploration in ((np.array([np.nan, 1.0]), 1, 0.1), (np.array([0.1, 0.2]), 0, 0.1), (np.array([0.1, 0.2]), 1, 1.5)):
        with pytest.raises(ValueError, match=r"NaN|k is 0|exploration is 1\.5"):
            slates([good, good, Draw(scores, k, exploration, np.random.default_rng(0), np.array([0, 1]))])


def test_the_marginals_of_all_candidates_of_a_position_sum_to_one():
    scores, groups = np.random.default_rng(3).random(9), np.array([0, 0, 1, 2, 2, 2, 3, 4, 4])
    sums, seen = np.zeros(3), [set(), set(), set()]
    for seed in range(600):
        one = Draw(scores, 3, 0.6, np.random.default_rng(seed), groups)
        found = slates([one, Draw(scores[::-1].copy(), 3, 0.6, np.random.default_rng(seed), groups)])[0]
        for position, (index, marginal) in enumerate(zip(found.indices.tolist(), found.marginal.tolist(), strict=True)):
            if index not in seen[position]:
                seen[position].add(index)
                sums[position] += marginal
    assert [len(held) for held in seen] == [9, 9, 9]
    np.testing.assert_allclose(sums, 1, rtol=1e-12)
