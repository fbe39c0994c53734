"""No category fills more than its part of a slate while others are left, and every probability is the sum over all slates that obey."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.policies.slate import EXACT_POSITIONS, follow, position_marginals, slate
from models.policies.variety import Limit

EXPLORATION = st.sampled_from([0.0, 0.1, 0.5, 1.0])
GROUPS = st.lists(st.integers(0, 4), min_size=1, max_size=7)
CATEGORY_OF_GROUP = st.lists(st.integers(0, 2), min_size=5, max_size=5)
SCORES = st.sampled_from(["apart", "tied"])


def scored(kind, seed, votes, size):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(votes, size)) if kind == "apart" else rng.integers(0, 3, (votes, size)).astype(float)


def standing(groups, categories, most, above):
    """Who may stand below these, by hand."""
    left = [c for c in range(len(groups)) if groups[c] not in {groups[d] for d in above}]
    within = [c for c in left if sum(categories[d] == categories[c] for d in above) < most]
    return within or left


def share(draws, opened, choice, exploration):
    """The mean over draws of ε-greedy over who is open, by hand."""
    found = []
    for scores in draws:
        best = [c for c in opened if scores[c] == max(scores[d] for d in opened)]
        found.append((1 - exploration) * (choice in best) / len(best) + exploration / len(opened))
    return float(np.mean(found))


def every_slate(draws, groups, categories, *, most, length, exploration):
    for order in itertools.permutations(range(len(groups)), length):
        p = 1.0
        for position, choice in enumerate(order):
            opened = standing(groups, categories, most, order[:position])
            if choice not in opened:
                break
            p *= share(draws, opened, choice, exploration)
        else:
            yield order, p


@given(GROUPS, CATEGORY_OF_GROUP, SCORES, st.integers(1, 3), st.integers(1, 6), st.integers(0, 3), EXPLORATION, st.integers(0, 9999))
@settings(max_examples=300, deadline=None)
def test_a_slate_obeys_and_its_probabilities_are_the_sums_over_all_that_obey(  # noqa: PLR0917 - what a slate is drawn from
    groups, of, kind, votes, k, most, exploration, seed
):
    categories, most = [of[group] for group in groups], most or max(1, -(-k // 2))
    draws, limit = scored(kind, seed, votes, len(groups)), Limit(np.array(categories), most)
    drawn = slate(draws, k, exploration, np.random.default_rng(seed), groups=np.array(groups), limit=limit)
    order = drawn.indices.tolist()
    assert len(order) == min(k, len(set(groups)))
    for position, choice in enumerate(order):
        opened = standing(groups, categories, most, order[:position])
        assert choice in opened
        assert drawn.propensity[position] == pytest.approx(share(draws, opened, choice, exploration))
    kept = [categories[choice] for choice in order]
    for held in set(kept):
        if kept.count(held) > most:  # then everything that other categories may give is in
            for other in set(categories) - {held}:
                items = {group for group, category in zip(groups, categories, strict=True) if category == other}
                assert kept.count(other) >= min(most, len(items))
    followed, _ = follow(draws, order, exploration, np.zeros(len(groups)), groups=np.array(groups), limit=limit)
    np.testing.assert_allclose(followed, drawn.propensity)
    for position in range(min(len(order), EXACT_POSITIONS)):
        expected = np.zeros(len(groups))
        for above, p in every_slate(draws, groups, categories, most=most, length=position + 1, exploration=exploration):
            expected[above[position]] += p
        found = position_marginals(draws, position, exploration, groups=np.array(groups), limit=limit)
        np.testing.assert_allclose(found, expected, atol=1e-12)
        assert found.sum() == pytest.approx(1.0)
        assert drawn.marginal[position] == pytest.approx(expected[order[position]], rel=1e-9, abs=1e-12)


def test_the_third_of_a_slate_of_three_comes_from_another_category_as_worked_by_hand():
    scores, categories = [0.9, 0.8, 0.7, 0.1], np.array([5, 5, 5, 2])
    drawn = slate(scores, 3, 0.0, np.random.default_rng(0), limit=Limit(categories, 2))
    assert drawn.indices.tolist() == [0, 1, 3]
    # ε = 0.5: unless the one of category 2 stands above, it is all that is open at the third position
    above = (0.5 / 4) + (0.5 + 0.5 / 4) * (0.5 / 3) + 2 * (0.5 / 4) * (0.5 / 3)
    assert position_marginals(scores, 2, 0.5, limit=Limit(categories, 2))[3] == pytest.approx(1 - above)


def test_a_slate_that_another_policy_drew_has_no_chance_where_it_stands_on_a_full_category():
    limit = Limit(np.array([5, 5, 5, 2]), 2)
    found, expected = follow([0.9, 0.8, 0.7, 0.1], [1, 0, 2], 0.4, [0.1, 0.2, 0.3, 0.4], limit=limit)
    np.testing.assert_allclose(found, [0.1, 0.6 + 0.4 / 3, 0.0])
    assert expected[2] == pytest.approx(0.4)


def test_what_has_no_others_is_shown_all_the_same():
    drawn = slate([0.3, 0.2, 0.1], 3, 0.0, np.random.default_rng(0), limit=Limit(np.array([1, 1, 1]), 2))
    assert drawn.indices.tolist() == [0, 1, 2]
    outside = slate([0.3, 0.2, 0.1, -np.inf], 3, 0.0, np.random.default_rng(0), limit=Limit(np.array([1, 1, 1, 2]), 2))
    assert outside.indices.tolist() == [0, 1, 2]  # who is not in the set closes nothing


def test_a_group_of_two_categories_and_a_limit_that_lets_nobody_in_are_refused():
    with pytest.raises(ValueError, match=r"1 candidates are of another category than the first of their group; first: candidate 1"):
        slate([0.1, 0.2], 2, 0.1, np.random.default_rng(0), groups=np.array([3, 3]), limit=Limit(np.array([0, 1]), 1))
    with pytest.raises(ValueError, match="categories have shape"):
        slate([0.1, 0.2], 2, 0.1, np.random.default_rng(0), limit=Limit(np.array([0]), 1))
    with pytest.raises(ValueError, match="most is 0"):
        Limit(np.array([0]), 0)
