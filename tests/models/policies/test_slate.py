import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.policies.slate import EXACT_POSITIONS, follow, position_marginals, probabilities, slate, vote

SCORES = st.lists(st.sampled_from([-1.5, 0.0, 0.25, 0.25000001, 3.0, 1e9]), min_size=1, max_size=7)
EXPLORATION = st.sampled_from([0.0, 0.1, 0.5, 1.0])


GROUPED = st.lists(st.tuples(st.sampled_from([-1.5, 0.0, 0.25, 3.0]), st.sampled_from([0, 1, 2, 5])), min_size=1, max_size=6)


def conditional_by_hand(scores, left, choice, exploration):
    best = [c for c in left if scores[c] == max(scores[d] for d in left)]
    return (1 - exploration) * (choice in best) / len(best) + exploration / len(left)


def slates_by_enumeration(scores, k, exploration):
    for order in itertools.permutations(range(len(scores)), k):
        p = 1.0
        for position, choice in enumerate(order):
            left = [c for c in range(len(scores)) if c not in order[:position]]
            p *= conditional_by_hand(scores, left, choice, exploration)
        yield order, p


def grouped_slates_by_enumeration(scores, groups, k, exploration):
    for order in itertools.permutations(range(len(scores)), k):
        if len({groups[c] for c in order}) < k:
            continue
        p = 1.0
        for position, choice in enumerate(order):
            gone = {groups[c] for c in order[:position]}
            p *= conditional_by_hand(scores, [c for c in range(len(scores)) if groups[c] not in gone], choice, exploration)
        yield order, p


def test_the_best_candidate_gets_what_exploration_leaves_and_the_rest_share_the_floor():
    np.testing.assert_allclose(probabilities([0.1, 0.3, 0.2, 0.0], 0.2), [0.05, 0.85, 0.05, 0.05])


def test_equal_scores_share_equally():
    np.testing.assert_allclose(probabilities([0.3, 0.3, 0.1], 0.3), [0.45, 0.45, 0.1])
    np.testing.assert_allclose(probabilities([0.02] * 5, 0.1), [0.2] * 5)


def test_a_candidate_outside_the_set_has_probability_zero_and_is_never_drawn():
    scores = [-np.inf, 0.1, 0.2]
    np.testing.assert_allclose(probabilities(scores, 0.5), [0.0, 0.25, 0.75])
    assert all(0 not in slate(scores, 3, 1.0, np.random.default_rng(seed)).indices for seed in range(50))


@given(SCORES, EXPLORATION)
def test_probabilities_sum_to_one_and_respect_the_floor(scores, exploration):
    p = probabilities(scores, exploration)
    assert p.sum() == pytest.approx(1.0)
    assert (p >= exploration / len(scores) - 1e-12).all()


@given(SCORES, EXPLORATION, st.integers(0, EXACT_POSITIONS - 1))
@settings(max_examples=60)
def test_marginals_equal_the_sum_over_all_slates(scores, exploration, position):
    if position >= len(scores):
        with pytest.raises(ValueError, match="position is"):
            position_marginals(scores, position, exploration)
        return
    expected = np.zeros(len(scores))
    for order, p in slates_by_enumeration(scores, position + 1, exploration):
        expected[order[position]] += p
    np.testing.assert_allclose(position_marginals(scores, position, exploration), expected, atol=1e-12)


@given(SCORES, EXPLORATION, st.integers(1, 5), st.integers(0, 2**31))
@settings(deadline=None)  # a time limit would test the machine's load
def test_a_slate_has_no_repeats_and_its_propensities_multiply_to_its_probability(scores, exploration, k, seed):
    drawn = slate(scores, k, exploration, np.random.default_rng(seed))
    assert drawn.indices.size == min(k, len(scores))
    assert len(set(drawn.indices.tolist())) == drawn.indices.size
    assert ((drawn.propensity > 0) & (drawn.propensity <= 1 + 1e-12)).all()
    expected = dict(slates_by_enumeration(scores, drawn.indices.size, exploration))[tuple(drawn.indices.tolist())]
    assert drawn.propensity.prod() == pytest.approx(expected)
    assert np.isnan(drawn.marginal[EXACT_POSITIONS:]).all()
    assert np.isfinite(drawn.marginal[:EXACT_POSITIONS]).all()


@given(GROUPED, EXPLORATION, st.integers(0, EXACT_POSITIONS - 1))
@settings(max_examples=60)
def test_marginals_with_groups_equal_the_sum_over_all_slates_without_two_of_a_group(candidates, exploration, position):
    scores, groups = [score for score, _ in candidates], np.array([group for _, group in candidates])
    if position >= len(set(groups.tolist())):
        with pytest.raises(ValueError, match="position is"):
            position_marginals(scores, position, exploration, groups=groups)
        return
    expected = np.zeros(len(scores))
    for order, p in grouped_slates_by_enumeration(scores, groups.tolist(), position + 1, exploration):
        expected[order[position]] += p
    found = position_marginals(scores, position, exploration, groups=groups)
    np.testing.assert_allclose(found, expected, atol=1e-12)
    assert found.sum() == pytest.approx(1.0)


@given(GROUPED, EXPLORATION, st.integers(1, 5), st.integers(0, 2**31))
def test_a_slate_shows_one_of_a_group_and_its_propensities_multiply_to_its_probability(candidates, exploration, k, seed):
    scores, groups = [score for score, _ in candidates], np.array([group for _, group in candidates])
    drawn = slate(scores, k, exploration, np.random.default_rng(seed), groups=groups)
    assert drawn.indices.size == min(k, len(set(groups.tolist())))
    assert len(set(groups[drawn.indices].tolist())) == drawn.indices.size
    expected = dict(grouped_slates_by_enumeration(scores, groups.tolist(), drawn.indices.size, exploration))[tuple(drawn.indices.tolist())]
    assert drawn.propensity.prod() == pytest.approx(expected)
    for position, choice in enumerate(drawn.indices[:EXACT_POSITIONS].tolist()):
        assert drawn.marginal[position] == pytest.approx(position_marginals(scores, position, exploration, groups=groups)[choice])


def test_groups_of_one_candidate_change_nothing():
    scores = np.arange(7.0)
    for position in range(EXACT_POSITIONS):
        alone = position_marginals(scores, position, 0.3, groups=np.array([9, 4, 7, 1, 0, 2, 30]))
        np.testing.assert_allclose(alone, position_marginals(scores, position, 0.3), rtol=1e-12)
    plain, grouped = (slate(scores, 4, 0.5, np.random.default_rng(3), groups=groups) for groups in (None, np.arange(7)))
    np.testing.assert_array_equal(plain.indices, grouped.indices)


def test_the_second_creative_of_a_chosen_item_leaves_the_set():
    # items A, A, B, C: with A's best on top, B and C are left, B the better
    drawn = slate([0.9, 0.8, 0.7, 0.1], 3, 0.0, np.random.default_rng(0), groups=np.array([0, 0, 1, 2]))
    assert drawn.indices.tolist() == [0, 2, 3]
    np.testing.assert_allclose(drawn.propensity, [1.0, 1.0, 1.0])
    # ε = 0.4: on top stand A with 0.8, B and C with 0.1 each; given A, B has 0.6 + 0.4 / 2; given B or C, A's best has 0.6 + 0.4 / 3
    expected = [0.2 * (0.6 + 0.4 / 3), 0.2 * 0.4 / 3, 0.8 * 0.8 + 0.1 * 0.4 / 3, 0.8 * 0.2 + 0.1 * 0.4 / 3]
    np.testing.assert_allclose(position_marginals([0.9, 0.8, 0.7, 0.1], 1, 0.4, groups=np.array([0, 0, 1, 2])), expected)


def test_a_candidate_outside_the_set_does_not_keep_its_group_alive():
    drawn = slate([-np.inf, 0.2, 0.1], 3, 0.2, np.random.default_rng(1), groups=np.array([0, 1, 1]))
    assert drawn.indices.size == 1


def test_empirical_frequencies_match_the_logged_numbers_within_four_standard_errors():
    scores, k, exploration, draws = [0.3, 0.1, 0.3, 0.2, 0.05], 3, 0.4, 20_000
    rng = np.random.default_rng(5)
    counts = np.zeros((k, len(scores)))
    for _ in range(draws):
        for position, choice in enumerate(slate_indices(scores, k, exploration, rng)):
            counts[position, choice] += 1
    for position in range(k):
        p = position_marginals(scores, position, exploration)
        error = np.sqrt(p * (1 - p) / draws)
        assert (np.abs(counts[position] / draws - p) <= 4 * error + 1e-12).all()


def slate_indices(scores, k, exploration, rng):
    left = np.array(scores)
    for _ in range(k):
        choice = rng.choice(left.size, p=probabilities(left, exploration))
        left[choice] = -np.inf
        yield choice


def test_the_logged_propensity_is_the_frequency_given_the_position_above():
    scores, exploration = [0.3, 0.2, 0.1], 0.3
    rng = np.random.default_rng(9)
    drawn = [slate(scores, 2, exploration, rng) for _ in range(6000)]
    below_first = [s for s in drawn if s.indices[0] == 0]
    share = np.mean([s.indices[1] == 1 for s in below_first])
    expected = 0.7 + 0.3 / 2
    assert abs(share - expected) <= 4 * np.sqrt(expected * (1 - expected) / len(below_first))
    assert {round(float(s.propensity[1]), 12) for s in below_first if s.indices[1] == 1} == {expected}


def test_equal_seeds_draw_equal_slates():
    first, again = (slate(np.arange(9.0), 4, 0.5, np.random.default_rng(3)) for _ in range(2))
    np.testing.assert_array_equal(first.indices, again.indices)


def test_groups_of_another_length_are_refused():
    with pytest.raises(ValueError, match="groups have shape"):
        slate([0.1, 0.2], 1, 0.1, np.random.default_rng(0), groups=np.array([0]))


@pytest.mark.parametrize(
    ("scores", "k", "exploration", "message"),
    [
        ([0.1, float("nan")], 1, 0.1, "1 of 2 scores are NaN"),
        ([0.1], 1, 1.5, "exploration is 1.5"),
        ([0.1], 0, 0.1, "k is 0"),
        ([[[0.1]]], 1, 0.1, "3 dimensions"),
        ([], 1, 0.1, "no candidates"),
    ],
)
def test_a_wrong_call_says_what_is_wrong(scores, k, exploration, message):
    with pytest.raises(ValueError, match=message):
        slate(scores, k, exploration, np.random.default_rng(0))


VOTED = st.lists(st.tuples(*[st.sampled_from([-1.5, 0.0, 0.25, 3.0])] * 3, st.sampled_from([0, 1, 2])), min_size=1, max_size=5)


def test_draws_vote_by_hand():
    np.testing.assert_allclose(vote([[0.1, 0.3], [0.2, 0.1], [0.0, 0.5], [0.4, 0.4]], 0.2), [0.1 + 0.8 * 1.5 / 4, 0.1 + 0.8 * 2.5 / 4])


@given(VOTED, EXPLORATION, st.integers(1, 4), st.integers(0, 2**31))
@settings(max_examples=60, deadline=None)
def test_slates_of_draws_that_vote_are_the_mean_over_draws_at_every_position(candidates, exploration, k, seed):
    draws, groups = np.array([c[:3] for c in candidates]).T, np.array([c[3] for c in candidates])
    drawn = slate(draws, k, exploration, np.random.default_rng(seed), groups=groups)
    left = list(range(len(candidates)))
    for choice, propensity in zip(drawn.indices.tolist(), drawn.propensity, strict=True):
        assert propensity == pytest.approx(np.mean([conditional_by_hand(row, left, choice, exploration) for row in draws]))
        left = [c for c in left if groups[c] != groups[choice]]

    def reached(position, left):
        if position == 0:
            shares = [[conditional_by_hand(row, left, c, exploration) if c in left else 0 for row in draws] for c in everyone]
            return np.mean(shares, axis=1)
        return sum(
            np.mean([conditional_by_hand(row, left, c, exploration) for row in draws])
            * reached(position - 1, [d for d in left if groups[d] != groups[c]])
            for c in left
        )

    everyone = range(len(candidates))
    for position in range(min(drawn.indices.size, EXACT_POSITIONS)):
        expected = reached(position, list(everyone))
        np.testing.assert_allclose(position_marginals(draws, position, exploration, groups=groups), expected, atol=1e-12)


def test_draws_that_disagree_about_the_set_are_refused():
    with pytest.raises(ValueError, match="1 of 2 draws have another set"):
        slate([[0.1, 0.2], [0.1, -np.inf]], 1, 0.1, np.random.default_rng(0))
    with pytest.raises(ValueError, match="at least one draw"):
        vote([0.1, 0.2], 0.1)


@given(
    st.integers(0, 10_000), st.integers(1, 5), st.lists(st.integers(0, 4), min_size=1, max_size=9), st.sampled_from([0.0, 0.1, 0.5, 1.0])
)
@settings(max_examples=100, deadline=None)
def test_marginals_of_a_voted_slate_are_the_sum_over_all_pairs_above(seed, votes, groups, exploration):
    rng = np.random.default_rng(seed)
    draws, codes = rng.normal(size=(votes, len(groups))), np.array(groups)
    drawn = slate(draws, 4, exploration, rng, groups=codes)
    for position in range(min(EXACT_POSITIONS, len(drawn.indices))):
        expected = position_marginals(draws, position, exploration, groups=codes)[drawn.indices[position]]
        assert drawn.marginal[position] == pytest.approx(expected, rel=1e-9, abs=1e-12)


@given(GROUPED, EXPLORATION, st.integers(0, 2**31))
def test_a_policy_that_follows_its_own_slate_finds_the_propensities_that_it_was_drawn_with(candidates, exploration, seed):
    scores, groups = np.array([score for score, _ in candidates]), np.array([group for _, group in candidates])
    drawn = slate(scores, 3, exploration, np.random.default_rng(seed), groups=groups)
    found, _ = follow(scores, drawn.indices, exploration, np.zeros(scores.size), groups=groups)
    np.testing.assert_allclose(found, drawn.propensity)


def test_a_policy_follows_another_one_s_slate_as_worked_by_hand():
    votes = np.array([[0.3, 0.2, 0.1], [0.1, 0.2, 0.3]])
    propensity, expected = follow(votes, [2, 1], 0.3, [0.1, 0.2, 0.4])
    np.testing.assert_allclose(propensity, [0.35 + 0.1, 0.35 + 0.15])
    np.testing.assert_allclose(expected, [0.45 * 0.1 + 0.1 * 0.2 + 0.45 * 0.4, 0.5 * 0.1 + 0.5 * 0.2])
    with pytest.raises(ValueError, match="one a candidate is needed"):
        follow(votes, [2], 0.3, [0.1])
