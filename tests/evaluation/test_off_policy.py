import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import PropensityError
from evaluation.off_policy import (
    ESTIMATORS,
    MODEL_FREE,
    TUNED,
    Estimate,
    Refusal,
    evidence,
    logged_choices,
    point_value,
    policy_value,
    policy_values,
    propensity_calibration,
)

ACTIONS = 5


def simulated_log(rows, seed, *, model_error=0.0, propensity_error=1.0):
    """A log over contexts with known click rates; returns it with the target policy's true value."""
    rng = np.random.default_rng(seed)
    context = rng.integers(0, 4, rows)
    rate = np.random.default_rng(0).uniform(0.02, 0.4, (4, ACTIONS))
    logging = np.array([0.4, 0.3, 0.15, 0.1, 0.05])
    target = np.full((4, ACTIONS), 0.02)
    target[np.arange(4), rate.argmax(axis=1)] += 1 - 0.02 * ACTIONS
    action = rng.choice(ACTIONS, rows, p=logging)
    reward = rng.uniform(size=rows) < rate[context, action]
    believed = rate + model_error
    log = logged_choices(
        reward,
        np.minimum(logging[action] * propensity_error, 1),
        target[context, action],
        rng.integers(0, rows // 5, rows),
        predicted=believed[context, action],
        predicted_target=(target * believed).sum(axis=1)[context],
    )
    return log, float((target * rate).sum(axis=1)[context].mean())


def hand_log(**changes):
    values = {
        "rewards": [1, 0, 1],
        "logging_propensity": [0.5, 0.25, 0.5],
        "target_propensity": [1.0, 0.25, 0.0],
        "users": ["a", "a", "b"],
        "predicted": [0.5, 0.5, 0.25],
        "predicted_target": [0.5, 0.25, 0.75],
    }
    return logged_choices(**(values | changes))


def test_each_estimator_by_hand():
    # weights 2, 1, 0
    assert point_value(hand_log(), "ips") == pytest.approx(2 / 3)
    assert point_value(hand_log(), "snips") == pytest.approx(2 / 3)
    assert point_value(hand_log(rewards=[1, 1, 1]), "ips") == pytest.approx(3 / 3)
    twice = hand_log(target_propensity=[1.0, 0.5, 0.0])  # weights 2, 2, 0
    assert point_value(twice, "ips") == pytest.approx(2 / 3)
    assert point_value(twice, "snips") == pytest.approx(2 / 4)
    assert point_value(hand_log(), "dm") == pytest.approx((0.5 + 0.25 + 0.75) / 3)
    assert point_value(hand_log(), "dr") == pytest.approx((0.5 + 2 * 0.5 + 0.25 + 1 * -0.5 + 0.75) / 3)
    assert point_value(twice, "sndr") == pytest.approx((0.5 + 0.25 + 0.75) / 3 + (2 * 0.5 + 2 * -0.5) / 4)
    lopsided = hand_log(target_propensity=[1.0, 0.25, 0.5])  # weights 2, 1, 1
    assert point_value(lopsided, "sndr") == pytest.approx((0.5 + 0.25 + 0.75) / 3 + (2 * 0.5 + 1 * -0.5 + 1 * 0.75) / 4)


def test_each_limited_estimator_by_hand():
    # weights 2, 1, 0; rewards − q are 0.5, −0.5, 0.75
    model = 0.5 + 0.25 + 0.75
    assert point_value(hand_log(), "clipped_ips", parameter=1.5) == pytest.approx(1.5 / 3)
    assert point_value(hand_log(), "switch_dr", parameter=1.5) == pytest.approx((model + 1 * -0.5) / 3)
    assert point_value(hand_log(), "switch_dr", parameter=2.0) == pytest.approx((model + 2 * 0.5 + 1 * -0.5) / 3)  # w ≤ λ is kept
    assert point_value(hand_log(), "dros", parameter=3.0) == pytest.approx((model + 3 * 2 / (4 + 3) * 0.5 + 3 * 1 / (1 + 3) * -0.5) / 3)


@pytest.mark.parametrize(("limited", "whole"), [("clipped_ips", "ips"), ("switch_dr", "dr"), ("dros", "dr")])
def test_without_a_limit_they_are_ips_and_dr_and_with_limit_nought_only_the_model_is_left(limited, whole):
    log, _ = simulated_log(500, 2, model_error=0.1)
    assert point_value(log, limited, parameter=np.inf) == pytest.approx(point_value(log, whole))
    nothing = 0.0 if limited == "clipped_ips" else point_value(log, "dm")
    assert point_value(log, limited, parameter=0.0) == pytest.approx(nothing)


def test_the_evidence_by_hand():
    found = evidence(hand_log(unsupported=[0.0, 0.3, 0.0]))
    assert found.rows == 3
    assert found.effective_sample_size == pytest.approx(3**2 / (2**2 + 1**2))
    assert found.largest_weight == 2
    assert found.mean_weight == 1
    assert found.support == pytest.approx(0.9)


@pytest.mark.parametrize("estimator", [name for name in ESTIMATORS if name != "dm"])
def test_the_interval_covers_the_truth_and_the_naive_mean_loses(estimator):
    covered, misses, naive_misses = 0, [], []
    for seed in range(40):
        log, truth = simulated_log(3000, seed, model_error=0.05)
        answer = policy_value(log, estimator, rng=np.random.default_rng(seed), replications=200)
        assert isinstance(answer, Estimate)
        covered += answer.value.low <= truth <= answer.value.high
        misses.append(answer.value.value - truth)
        naive_misses.append(log.rewards.mean() - truth)
    assert covered >= 34  # P(at most 33 of 40 | 95 %) < 0.001
    if estimator not in TUNED:
        assert abs(np.mean(misses)) <= 4 * np.std(misses) / np.sqrt(40)
    assert abs(np.mean(naive_misses)) > 20 * np.std(naive_misses) / np.sqrt(40)
    assert np.mean(np.abs(misses)) < 0.3 * np.mean(np.abs(naive_misses))


def test_the_model_alone_is_wrong_where_the_model_is_wrong_and_dr_is_not():
    errors = {"dm": [], "dr": []}
    for seed in range(20):
        log, truth = simulated_log(4000, seed, model_error=0.05)
        for estimator, found in errors.items():
            found.append(point_value(log, estimator) - truth)
    assert np.mean(errors["dm"]) == pytest.approx(0.05, abs=0.005)
    assert abs(np.mean(errors["dr"])) <= 4 * np.std(errors["dr"]) / np.sqrt(20)


def test_dr_is_right_when_the_model_is_right_though_propensities_are_wrong_and_ips_is_not():
    errors = {"ips": [], "dr": []}
    for seed in range(20):
        log, truth = simulated_log(4000, seed, propensity_error=0.7)
        for estimator, found in errors.items():
            found.append(point_value(log, estimator) - truth)
    assert abs(np.mean(errors["dr"])) <= 4 * np.std(errors["dr"]) / np.sqrt(20)
    assert abs(np.mean(errors["ips"])) > 6 * np.std(errors["ips"]) / np.sqrt(20)


def test_dr_has_a_narrower_interval_than_ips():
    log, _ = simulated_log(3000, 1)
    widths = {}
    for estimator in ("ips", "dr"):
        answer = policy_value(log, estimator, rng=np.random.default_rng(0), replications=300)
        widths[estimator] = answer.value.high - answer.value.low
    assert widths["dr"] < widths["ips"]


def test_the_value_of_the_logging_policy_itself_is_the_mean_reward_and_the_lift_is_zero():
    log, _ = simulated_log(2000, 3)
    same = logged_choices(log.rewards, log.logging_propensity, log.logging_propensity, log.users)
    for estimator in ("ips", "snips"):
        answer = policy_value(same, estimator, rng=np.random.default_rng(0), replications=50)
        assert answer.value.value == pytest.approx(log.rewards.mean())
        assert (answer.lift.value, answer.lift.low, answer.lift.high) == pytest.approx((0, 0, 0))
        assert answer.evidence.effective_sample_size == pytest.approx(2000)


def test_rows_of_one_user_widen_the_interval():
    log, _ = simulated_log(2000, 4)
    repeated = {name: np.repeat(getattr(log, name), 8) for name in ("rewards", "logging_propensity", "target_propensity", "users")}
    as_users = policy_value(logged_choices(**repeated), "snips", rng=np.random.default_rng(0), replications=300)
    strangers = policy_value(
        logged_choices(**(repeated | {"users": np.arange(16_000)})), "snips", rng=np.random.default_rng(0), replications=300
    )
    assert as_users.value.high - as_users.value.low > 2 * (strangers.value.high - strangers.value.low)


def refusal(log, **limits):
    answer = policy_value(log, "snips", rng=np.random.default_rng(0), replications=20, **limits)
    assert isinstance(answer, Refusal)
    assert answer.estimator == "snips"
    return answer.reason


def test_too_small_an_effective_sample_is_a_refusal_with_its_reason():
    assert "3 logged choices are worth 1.8 of the target policy's (limit 50)" in refusal(hand_log())


def test_choices_outside_the_support_are_a_refusal_with_their_share():
    log, _ = simulated_log(2000, 5)
    unsupported = logged_choices(log.rewards, log.logging_propensity, log.target_propensity, log.users, unsupported=np.full(2000, 0.2))
    assert "no support: 20.0% of the target policy's choices could never have been logged (limit 1.0%)" in refusal(unsupported)


def test_propensities_that_cannot_be_true_are_a_refusal():
    log, _ = simulated_log(3000, 6, propensity_error=0.5)
    assert "wrong propensities: the mean weight is" in refusal(log)


def test_the_model_alone_is_refused_for_the_same_reasons():
    answers = policy_values(hand_log(), rng=np.random.default_rng(0), replications=20)
    assert set(answers) == set(ESTIMATORS)
    assert all(isinstance(given, Refusal) and "(limit 50)" in given.reason for given in answers.values())


def test_a_log_without_model_answers_by_the_estimators_that_need_none():
    log, _ = simulated_log(2000, 5)
    bare = logged_choices(log.rewards, log.logging_propensity, log.target_propensity, log.users)
    assert tuple(policy_values(bare, rng=np.random.default_rng(0), replications=20)) == MODEL_FREE


def test_propensities_of_one_action_that_are_wrong_are_a_refusal_though_the_mean_weight_is_right():
    rng = np.random.default_rng(8)
    shares = np.array([0.5, 0.3, 0.2])
    action = rng.choice(3, 6000, p=shares)
    users = np.arange(6000)
    right = propensity_calibration(action, shares[action], users)
    assert right.actions == 3
    assert right.largest_deviation < 4
    swapped = np.array([0.5, 0.2, 0.3])  # as if two propensities had been written into each other's rows
    wrong = propensity_calibration(action, swapped[action], users)
    assert (wrong.worst, wrong.worst_expected) == ("2", 1.0)
    assert wrong.worst_mean == pytest.approx(0.2 / 0.3, abs=0.05)
    target = np.array([1.0, 0.0, 0.0])[action]
    log = logged_choices(rng.uniform(size=6000) < 0.1, swapped[action], target, users)
    answers = [policy_values(log, ("ips",), rng=rng, replications=20, calibration=tested)["ips"] for tested in (right, wrong)]
    assert isinstance(answers[0], Estimate)
    assert isinstance(answers[1], Refusal)
    assert "wrong propensities: the mean of 1 / propensity over action 2 is 0.6" in answers[1].reason


def test_the_calibration_of_all_actions_at_once_is_that_of_one_after_another():
    rng = np.random.default_rng(6)
    actions, propensity, users = rng.integers(0, 9, 3000), rng.uniform(0.05, 1, 3000), rng.integers(0, 400, 3000)
    available = dict(enumerate([1.0, 0.9, 0.5, 1.0, 0.2]))
    deviations = {}
    for action in range(9):
        ratio = (actions == action) / propensity - available.get(action, 1.0)
        sums = np.bincount(users, weights=ratio, minlength=400)
        deviations[str(action)] = abs(ratio.mean()) / (np.sqrt((sums**2).sum()) / 3000)
    found = propensity_calibration(actions, propensity, users, available)
    assert found.actions == 9
    assert found.largest_deviation == pytest.approx(max(deviations.values()))
    assert found.worst == max(deviations, key=deviations.__getitem__)


def test_an_action_that_is_not_always_a_candidate_is_expected_as_often_as_it_was_one():
    rng = np.random.default_rng(9)
    offered = rng.uniform(size=8000) < 0.25  # action 1 can be chosen in a quarter of the rows
    action = (offered & (rng.uniform(size=8000) < 0.4)).astype(int)
    propensity = np.where(action == 1, 0.4, np.where(offered, 0.6, 1.0))
    assert propensity_calibration(action, propensity, np.arange(8000), {1: 0.25}).largest_deviation < 4
    assert propensity_calibration(action, propensity, np.arange(8000)).largest_deviation > 20


def test_an_empty_log_is_a_refusal():
    assert "the log is empty" in refusal(logged_choices([], [], [], []))


@settings(deadline=None)
@given(st.integers(0, 1000))
def test_equal_seeds_give_equal_intervals_whatever_the_order_of_rows(seed):
    log, _ = simulated_log(600, 7)
    order = np.random.default_rng(seed).permutation(600)
    shuffled = logged_choices(log.rewards[order], log.logging_propensity[order], log.target_propensity[order], log.users[order])
    one = policy_value(log, "ips", rng=np.random.default_rng(1), replications=20, min_effective_sample_size=1)
    two = policy_value(shuffled, "ips", rng=np.random.default_rng(1), replications=20, min_effective_sample_size=1)
    np.testing.assert_allclose([one.value.low, one.value.high, one.lift.low], [two.value.low, two.value.high, two.lift.low], atol=1e-12)


@pytest.mark.parametrize("propensity", [0.0, -0.1, 1.2, float("nan")])
def test_a_logging_propensity_outside_its_range_is_refused_by_row(propensity):
    with pytest.raises(PropensityError, match=rf"1 of 3 logging propensities lie outside \(0, 1\]; first: row 1 = {propensity}"):
        hand_log(logging_propensity=[0.5, propensity, 0.5])


def test_a_wrong_call_says_what_is_wrong():
    with pytest.raises(ValueError, match=r"users has shape \(2,\)"):
        hand_log(users=["a", "b"])
    with pytest.raises(ValueError, match="1 of 3 target propensities lie outside"):
        hand_log(target_propensity=[0.1, 1.5, 0.1])
    with pytest.raises(ValueError, match="DR needs"):
        point_value(hand_log(predicted=None), "dr")
    with pytest.raises(ValueError, match="DRos needs `predicted`"):
        point_value(hand_log(predicted=None), "dros")
    with pytest.raises(ValueError, match="λ must be 0 or more"):
        point_value(hand_log(), "dros", parameter=-1.0)
    with pytest.raises(ValueError, match="1 of 3 rewards are not finite; first: row 2"):
        hand_log(rewards=[1, 0, np.nan])
    with pytest.raises(ValueError, match="no estimator is named 'naive'"):
        point_value(hand_log(), "naive")
    with pytest.raises(ValueError, match="the log is empty"):
        point_value(logged_choices([], [], [], []), "ips")
    with pytest.raises(ValueError, match="replications is 0"):
        policy_value(hand_log(), "ips", rng=np.random.default_rng(0), replications=0)
