from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import BundleError
from models.policies import (
    EpsilonGreedy,
    Greedy,
    LinearThompson,
    Policy,
    PolicyState,
    Thompson,
    Uniform,
    linear,
    load_policy,
    restore,
    save_policy,
)
from models.policies.saved import POLICIES

ELEMENTS = np.array([[a, b, c] for a in range(2) for b in range(2) for c in range(3)])
N = len(ELEMENTS)
MAKERS: dict[str, Callable[[float], Policy]] = {
    "uniform": lambda floor: Uniform(N, exploration=floor),
    "epsilon_greedy": lambda floor: EpsilonGreedy(N, exploration=floor),
    "greedy": lambda floor: Greedy(N, exploration=floor),
    "thompson": lambda floor: Thompson(N, exploration=floor, votes=20),
    "linear_thompson": lambda floor: LinearThompson(ELEMENTS, exploration=floor, votes=20),
    "linear_thompson with pairs": lambda floor: LinearThompson(ELEMENTS, exploration=floor, votes=20, pairs=True),
}
MADE = pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)


def taught(policy: Policy, seed: int = 0) -> Policy:
    rng = np.random.default_rng(seed)
    for _ in range(3):
        shown = rng.integers(0, 400, N)
        policy.update(np.arange(N), shown, rng.binomial(shown, np.linspace(0.01, 0.05, N)))
    return policy


def test_every_policy_of_the_room_is_tested_here():
    assert {make(0.1).name for make in MAKERS.values()} == set(POLICIES)


@MADE
@given(st.sets(st.integers(0, N - 1), min_size=1), st.sampled_from([0.0, 0.01, 0.3, 1.0]), st.booleans(), st.integers(0, 99))
@settings(max_examples=25, deadline=None)
def test_propensities_sum_to_one_and_the_floor_is_held(make, candidates, floor, experienced, seed):
    policy = taught(make(floor), seed) if experienced else make(floor)
    p = policy.distribution(np.random.default_rng(seed), candidates=np.array(sorted(candidates)))
    assert p.shape == (len(candidates),)
    assert p.sum() == pytest.approx(1)
    assert (p >= floor / len(candidates) - 1e-12).all()


@MADE
def test_a_policy_that_knows_nothing_favours_nobody_for_good(make):
    shares = np.mean([make(0.1).distribution(np.random.default_rng(seed)) for seed in range(400)], axis=0)
    np.testing.assert_allclose(shares, 1 / N, atol=0.02)


@MADE
def test_a_saved_policy_goes_on_as_if_nothing_had_happened(make, tmp_path: Path):
    policy = taught(make(0.05))
    save_policy(policy, tmp_path / "policy")
    assert {file.suffix for file in (tmp_path / "policy").iterdir()} == {".json", ".safetensors"}
    again = load_policy(tmp_path / "policy")
    assert type(again) is type(policy)
    for seed in range(3):
        for one in (policy, again):
            taught(one, seed)
        np.testing.assert_array_equal(*(one.distribution(np.random.default_rng(seed)) for one in (policy, again)))
    for name, value in policy.state().arrays.items():
        np.testing.assert_array_equal(again.state().arrays[name], value)


def test_a_policy_that_has_folded_its_counts_is_saved_with_what_they_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setattr(linear, "CELLS", N - 1)
    policy = taught(LinearThompson(ELEMENTS))
    save_policy(policy, tmp_path / "policy")
    again = load_policy(tmp_path / "policy")
    np.testing.assert_array_equal(*(taught(one, 5).distribution(np.random.default_rng(1)) for one in (policy, again)))
    for name, value in policy.state().arrays.items():
        np.testing.assert_array_equal(again.state().arrays[name], value)


@MADE
def test_a_slate_comes_with_the_propensities_of_the_distribution(make):
    policy = taught(make(0.2))
    candidates = np.array([1, 4, 5, 9, 11])
    drawn = policy.slate(3, np.random.default_rng(4), candidates=candidates)
    top = policy.distribution(np.random.default_rng(4), candidates=candidates)
    assert drawn.propensity[0] == pytest.approx(top[drawn.indices[0]])
    assert drawn.marginal[0] == pytest.approx(top[drawn.indices[0]])
    assert len(set(drawn.indices.tolist())) == 3


def test_greedy_and_epsilon_greedy_by_hand():
    policy = EpsilonGreedy(3, exploration=0.3)
    policy.update(np.array([0, 1, 2, 1]), np.array([100, 50, 100, 50]), np.array([2, 2, 3, 3]))
    # pooled (10 + 1) / (300 + 50) = 11/350; (2 + 1), (5 + 1), (3 + 1) clicks of 100 + 350/11 impressions: the second leads
    np.testing.assert_allclose(policy.observed(), np.array([3, 6, 4]) / (100 + 350 / 11))
    np.testing.assert_allclose(policy.distribution(np.random.default_rng(0)), [0.1, 0.8, 0.1])


def test_the_prior_of_thompson_is_tight_where_creatives_are_alike_and_loose_where_they_differ():
    alike, different = Thompson(100), Thompson(100)
    shown = np.full(100, 5_000)
    rng = np.random.default_rng(1)
    alike.update(np.arange(100), shown, rng.binomial(shown, 0.02))
    different.update(np.arange(100), shown, rng.binomial(shown, rng.beta(2, 98, 100)))
    assert sum(alike.prior()) > 5_000
    assert 50 < sum(different.prior()) < 200  # the truth is 100
    assert different.prior()[0] / sum(different.prior()) == pytest.approx(0.02, rel=0.25)


def test_thompson_votes_as_often_as_the_posterior_says_that_one_is_better():
    policy = Thompson(2, exploration=0.0, votes=20_000)
    policy.update(np.array([0, 1]), np.array([1000, 1000]), np.array([20, 30]))
    a, b = policy.prior()
    rng = np.random.default_rng(7)
    better = (rng.beta(a + 30, b + 970, 20_000) > rng.beta(a + 20, b + 980, 20_000)).mean()
    assert policy.distribution(np.random.default_rng(3))[1] == pytest.approx(better, abs=4 * (2 * 0.25 / 20_000) ** 0.5)


def test_rows_without_impressions_teach_nothing():
    policy, same = (taught(LinearThompson(ELEMENTS)) for _ in range(2))
    policy.update(np.array([3, 4]), np.array([0, 0]), np.array([0, 0]))
    for name, value in same.state().arrays.items():
        np.testing.assert_array_equal(policy.state().arrays[name], value)


@pytest.mark.parametrize(
    ("creatives", "shown", "clicked", "message"),
    [
        ([0, 1], [1], [0], "rows of one length"),
        ([0, N], [1, 1], [0, 0], f"1 rows name creatives outside 0 … {N - 1}; first: {N}"),
        ([0, 1], [5, 3], [0, 4], "first: creative 1 with 4.0 of 3.0"),
        ([0], [float("nan")], [0], "1 of 1 rows break"),
    ],
)
@MADE
def test_a_wrong_update_says_what_is_wrong_and_teaches_nothing(make, creatives, shown, clicked, message):
    policy = make(0.1)
    before = policy.state()
    with pytest.raises(ValueError, match=message):
        policy.update(np.array(creatives), np.array(shown), np.array(clicked))
    for name, value in before.arrays.items():
        np.testing.assert_array_equal(policy.state().arrays[name], value)


def test_a_context_belongs_to_each_row_of_an_update():
    policy = LinearThompson(ELEMENTS, context=2)
    with pytest.raises(ValueError, match=r"context has shape \(2,\)"):
        policy.update(np.array([0, 1]), np.array([5, 5]), np.array([0, 1]), context=np.array([1.0, 0.0]))


@pytest.mark.parametrize("candidates", [[], [0, 0], [-1], [N]])
def test_candidates_that_are_no_set_of_creatives_are_refused(candidates):
    with pytest.raises(ValueError, match="not a set of creatives"):
        Uniform(N).distribution(np.random.default_rng(0), candidates=np.array(candidates, dtype=np.int64))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Uniform(0), "0 creatives"),
        (lambda: EpsilonGreedy(3, exploration=1.2), "exploration is 1.2"),
        (lambda: Thompson(3, votes=0), "votes is 0"),
        (lambda: LinearThompson(ELEMENTS, votes=0), "votes is 0"),
        (lambda: LinearThompson(np.zeros(3, dtype=int)), "elements have shape"),
        (lambda: LinearThompson(ELEMENTS, context=-1), "context is -1"),
    ],
)
def test_a_wrong_setting_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_an_unknown_or_damaged_state_is_refused():
    with pytest.raises(BundleError, match="named 'soothsayer'"):
        restore(PolicyState({"name": "soothsayer"}, {}))
    state = taught(Thompson(N)).state()
    with pytest.raises(BundleError, match="incomplete or damaged"):
        restore(PolicyState(state.config, {"shown": state.arrays["shown"]}))
