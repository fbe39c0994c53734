import numpy as np
import pytest

from core.errors import PropensityError
from evaluation.policy_difference import compare_with_single, doubly_robust_scores, require_fitting_propensities

REWARDS = np.array([1.0, 0.0, 1.0, 0.0])
PROPENSITY = np.array([0.5, 0.5, 0.25, 0.75])
ACTIONS = np.array([0, 1, 0, 1])
PREDICTED = np.array([[0.6, 0.2], [0.4, 0.5], [0.5, 0.1], [0.0, 0.3]])
BY_HAND = np.array([[0.6 + 0.4 / 0.5, 0.2], [0.4, 0.5 - 0.5 / 0.5], [0.5 + 0.5 / 0.25, 0.1], [0.0, 0.3 - 0.3 / 0.75]])


def test_doubly_robust_scores_of_four_rows_are_those_worked_by_hand():
    np.testing.assert_allclose(doubly_robust_scores(REWARDS, PROPENSITY, ACTIONS, PREDICTED), BY_HAND)
    np.testing.assert_allclose(PREDICTED[0], [0.6, 0.2])  # what was given stays as it was


def test_the_comparison_of_four_rows_is_the_one_worked_by_hand():
    found = compare_with_single(BY_HAND, np.array([0, 0, 0, 1]), np.zeros(4, dtype=np.int64))
    assert found.value.value == pytest.approx((1.4 + 0.4 + 2.5 - 0.1) / 4)
    assert found.best_single_action == pytest.approx((1.4 + 0.4 + 2.5 + 0.0) / 4)
    assert found.difference.value == pytest.approx(-0.1 / 4)
    assert found.uniform == pytest.approx((1.4 + 0.4 + 2.5 + 0.0 + 0.2 - 0.5 + 0.1 - 0.1) / 8)
    assert found.differs == 0.25


def test_a_policy_that_chooses_the_single_action_everywhere_differs_by_exactly_nothing():
    single = np.zeros(4, dtype=np.int64)
    found = compare_with_single(BY_HAND, single, single)
    assert (found.difference.value, found.difference.low, found.difference.high, found.differs) == (0, 0, 0, 0)


def test_rows_of_one_user_are_drawn_together():
    rng = np.random.default_rng(2)
    scores = np.repeat(rng.normal(size=(100, 2)), 20, axis=0)
    chosen, single = np.zeros(2000, dtype=np.int64), np.ones(2000, dtype=np.int64)
    alone = compare_with_single(scores, chosen, single).difference
    users = compare_with_single(scores, chosen, single, users=np.repeat(np.arange(100), 20)).difference
    assert 3 < (users.high - users.low) / (alone.high - alone.low) < 6  # √20 ≈ 4.5


def test_scores_are_unbiased_whatever_the_reward_model_says_and_the_model_alone_is_not():
    rng = np.random.default_rng(3)
    n = 40_000
    truth = np.stack([np.full(n, 0.3), rng.random(n)], axis=1)
    propensity = np.where(truth[:, 1] > 0.5, 0.8, 0.3)  # of action 1
    actions = (rng.random(n) < propensity).astype(np.int64)
    logged = np.where(actions == 1, propensity, 1 - propensity)
    rewards = (rng.random(n) < truth[np.arange(n), actions]).astype(float)
    wrong = np.full((n, 2), 0.9)
    scores = doubly_robust_scores(rewards, logged, actions, wrong)
    error = scores.std(axis=0) / np.sqrt(n)
    assert (np.abs(scores.mean(axis=0) - truth.mean(axis=0)) < 4 * error).all()
    assert np.abs(rewards[actions == 1].mean() - truth[:, 1].mean()) > 10 * error[1]  # the plain mean of the action's rows


@pytest.mark.parametrize("bad", [0.0, 1.2, np.nan])
def test_a_propensity_outside_its_range_is_refused_with_its_row(bad: float):
    with pytest.raises(PropensityError, match=r"1 of 4 propensities lie outside \(0, 1\]; first: row 2 = "):
        doubly_robust_scores(REWARDS, np.array([0.5, 0.5, bad, 0.5]), ACTIONS, PREDICTED)


def test_arrays_that_do_not_fit_are_wrong_calls():
    with pytest.raises(ValueError, match="are needed"):
        doubly_robust_scores(REWARDS, PROPENSITY[:3], ACTIONS, PREDICTED)
    with pytest.raises(ValueError, match="codes 0 to 1 are predicted"):
        doubly_robust_scores(REWARDS, PROPENSITY, np.array([0, 1, 2, 0]), PREDICTED)
    with pytest.raises(ValueError, match="are needed"):
        compare_with_single(BY_HAND, np.zeros(3, dtype=np.int64), np.zeros(4, dtype=np.int64))


def test_propensities_that_cannot_have_drawn_the_actions_are_refused_and_right_ones_are_not():
    rng = np.random.default_rng(4)
    actions = rng.choice(3, size=6000, p=[0.6, 0.2, 0.2])
    require_fitting_propensities(np.array([0.6, 0.2, 0.2])[actions], actions, ("a", "b", "c"))
    with pytest.raises(PropensityError, match=r"action 'a'.*is 1\.796 where 1 is expected"):
        require_fitting_propensities(np.full(6000, 1 / 3), actions, ("a", "b", "c"))
    halves = np.repeat([0, 1], 500)  # drawn by quota: no error to compare with, and nothing wrong
    require_fitting_propensities(np.full(1000, 0.5), halves, ("a", "b"))


def replication(rng: np.random.Generator, *, crossed: bool) -> tuple[bool, bool]:
    """Whether the intervals hold the true value and the true difference of policies that were learnt from one small log."""
    truth = np.array([[0.10, 0.16, 0.12], [0.15, 0.10, 0.12], [0.12, 0.13, 0.12], [0.10, 0.14, 0.15]])  # (contexts, actions)
    n = 1200
    context, actions, fold = rng.integers(4, size=n), rng.integers(3, size=n), rng.integers(2, size=n)
    rewards = (rng.random(n) < truth[context, actions]).astype(float)
    predicted, chosen, single = np.zeros((n, 3)), np.zeros(n, dtype=np.int64), np.zeros(n, dtype=np.int64)
    own = (chosen.copy(), single.copy())
    for number in range(2):
        held = fold == number
        seen = ~held if crossed else held
        below = np.zeros((4, 3))
        above = np.zeros((4, 3))
        np.add.at(below, (context[seen], actions[seen]), 1)
        np.add.at(above, (context[seen], actions[seen]), rewards[seen])
        means = above / np.maximum(below, 1)
        predicted[held] = means[context[held]]
        chosen[held] = means.argmax(axis=1)[context[held]]
        single[held] = means.mean(axis=0).argmax()
        own[0][~held], own[1][~held] = means.argmax(axis=1)[context[~held]], means.mean(axis=0).argmax()
    scores = doubly_robust_scores(rewards, np.full(n, 1 / 3), actions, predicted)
    found = compare_with_single(scores, chosen, single, own=own, replications=200, seed=int(rng.integers(1000)))
    value, difference = truth[context, chosen].mean(), (truth[context, chosen] - truth[context, single]).mean()
    return found.value.low <= value <= found.value.high, found.difference.low <= difference <= found.difference.high


def test_intervals_hold_the_truth_about_learnt_policies_and_without_cross_fitting_they_do_not():
    rng = np.random.default_rng(11)
    crossed = np.mean([replication(rng, crossed=True) for _ in range(400)], axis=0)
    assert (crossed >= 0.93).all(), crossed
    naive = np.mean([replication(rng, crossed=False) for _ in range(60)], axis=0)
    assert naive[0] < 0.8, naive
