import itertools

import numpy as np
import pytest

from core.errors import PropensityError
from evaluation.off_policy import SLATE_ESTIMATORS, Estimate, LoggedSlates, Refusal, slate_evidence, slate_value, slate_values


def hand_slates(**changes):
    values = {
        "rewards": [[1.0, 1.0], [0.0, 1.0]],
        "logging_propensity": [[0.5, 0.5], [0.5, 1.0]],
        "target_propensity": [[1.0, 0.25], [0.25, 1.0]],  # ratios 2, 0.5 and 0.5, 1
        "users": ["a", "b"],
        "logging_marginal": [[0.5, 0.4], [0.5, 0.25]],
        "target_marginal": [[1.0, 0.2], [0.25, 0.5]],  # ratios 2, 0.5 and 0.5, 2
        "predicted": [[0.6, 0.3], [0.4, 0.2]],
        "predicted_target": [[0.5, 0.1], [0.7, 0.2]],
    }
    return LoggedSlates(**{name: None if value is None else np.asarray(value) for name, value in (values | changes).items()})


def test_each_slate_estimator_by_hand():
    log = hand_slates()
    assert slate_value(log, "standard") == pytest.approx((1.0 * (1 + 1) + 0.5 * (0 + 1)) / 2)
    assert slate_value(log, "position_wise") == pytest.approx((2 * 1 + 0.5 * 1 + 0.5 * 0 + 2 * 1) / 2)
    assert slate_value(log, "cascade") == pytest.approx((2 * 1 + 1.0 * 1 + 0.5 * 0 + 0.5 * 1) / 2)
    first = 2 * (1 - 0.6) + 1 * 0.5 + 1.0 * (1 - 0.3) + 2 * 0.1
    second = 0.5 * (0 - 0.4) + 1 * 0.7 + 0.5 * (1 - 0.2) + 0.5 * 0.2
    assert slate_value(log, "cascade_dr") == pytest.approx((first + second) / 2)
    assert slate_value(log, "cascade", self_normalised=True) == pytest.approx((2 * 1 + 0.5 * 0) / 2.5 + (1 * 1 + 0.5 * 1) / 1.5)


def test_the_evidence_is_that_of_the_worst_position():
    found = slate_evidence(hand_slates(), "cascade")
    assert found.effective_sample_size == pytest.approx(min(2.5**2 / (4 + 0.25), 1.5**2 / (1 + 0.25)))
    assert found.largest_weight == 2


LENGTH, ACTIONS = 3, 4
LOGGING, TARGET = np.array([0.4, 0.3, 0.2, 0.1]), np.array([0.15, 0.2, 0.3, 0.35])
APPEAL = np.array([0.1, 0.3, 0.5, 0.7])


def choice(weights, above):
    """Drawn without repetition: the weights of what is left, brought to sum 1."""
    left = np.where(np.isin(np.arange(ACTIONS), above), 0.0, weights)
    return left / left.sum()


def click_rates(slate):
    """A shopper reads from the top: what is above makes tired of what is below."""
    return [APPEAL[action] * 0.7 ** sum(APPEAL[above] > 0.4 for above in slate[:place]) for place, action in enumerate(slate)]


def chance(weights, slate):
    return np.prod([choice(weights, slate[:place])[action] for place, action in enumerate(slate)])


def expected(weights, above, place):
    """Rewards at a position and below, when the target policy fills them."""
    if place == LENGTH:
        return 0.0
    shares = choice(weights, above)
    return sum(
        share * (click_rates([*above, action])[place] + expected(weights, [*above, action], place + 1))
        for action, share in enumerate(shares)
        if share > 0
    )


SLATES = list(itertools.permutations(range(ACTIONS), LENGTH))
TRUTH = sum(chance(TARGET, slate) * sum(click_rates(slate)) for slate in SLATES)


ODDS = {name: np.array([chance(weights, slate) for slate in SLATES]) for name, weights in (("log", LOGGING), ("target", TARGET))}
CONDITIONAL = {
    name: np.array([[choice(weights, slate[:place])[slate[place]] for place in range(LENGTH)] for slate in SLATES])
    for name, weights in (("log", LOGGING), ("target", TARGET))
}
SAME = np.array([[[a[place] == b[place] for place in range(LENGTH)] for b in SLATES] for a in SLATES])  # (slate, slate, place)
MARGINAL = {name: np.einsum("abp,b->ap", SAME, odds) for name, odds in ODDS.items()}
RATES = np.array([click_rates(slate) for slate in SLATES])
AVERAGE = np.array([[expected(TARGET, list(slate[:place]), place) for place in range(LENGTH)] for slate in SLATES])
TO_COME = RATES + np.array([[expected(TARGET, list(slate[: place + 1]), place + 1) for place in range(LENGTH)] for slate in SLATES])


def simulated(rows, seed, *, model_error=0.0):
    rng = np.random.default_rng(seed)
    drawn = rng.choice(len(SLATES), rows, p=ODDS["log"])
    return LoggedSlates(
        (rng.uniform(size=(rows, LENGTH)) < RATES[drawn]).astype(float),
        CONDITIONAL["log"][drawn],
        CONDITIONAL["target"][drawn],
        np.arange(rows),
        MARGINAL["log"][drawn],
        MARGINAL["target"][drawn],
        TO_COME[drawn] + model_error,
        AVERAGE[drawn] + model_error,
    )


@pytest.mark.parametrize("estimator", ["standard", "cascade", "cascade_dr"])
def test_where_shoppers_read_from_the_top_the_estimate_is_right_and_the_naive_mean_is_not(estimator):
    misses, naive = [], []
    for seed in range(30):
        log = simulated(1500, seed, model_error=0.1)
        misses.append(slate_value(log, estimator) - TRUTH)
        naive.append(log.rewards.sum(axis=1).mean() - TRUTH)
    assert abs(np.mean(misses)) <= 4 * np.std(misses) / np.sqrt(30)
    assert abs(np.mean(naive)) > 20 * np.std(naive) / np.sqrt(30)


def test_position_wise_weights_assume_that_positions_do_not_matter_to_each_other():
    misses = [slate_value(simulated(3000, seed), "position_wise") - TRUTH for seed in range(20)]
    assert abs(np.mean(misses)) > 4 * np.std(misses) / np.sqrt(20)


def test_what_assumes_more_varies_less():
    logs = [simulated(800, seed) for seed in range(30)]
    spread = {name: np.std([slate_value(log, name) for log in logs]) for name in ("standard", "cascade", "cascade_dr")}
    assert spread["standard"] > spread["cascade"] > spread["cascade_dr"]


def test_slates_are_answered_with_both_intervals():
    answers = slate_values(simulated(3000, 1), rng=np.random.default_rng(0), replications=300)
    assert tuple(answers) == SLATE_ESTIMATORS
    for name, given in answers.items():
        assert isinstance(given, Estimate)
        assert given.bernstein.low < given.value.low < given.value.value < given.value.high < given.bernstein.high
        assert name == "position_wise" or given.value.low <= TRUTH <= given.value.high
        assert given.lift.value == pytest.approx(given.value.value - simulated(3000, 1).rewards.sum(axis=1).mean())


def test_each_estimator_is_refused_for_its_own_weights():
    answers = slate_values(simulated(150, 1), rng=np.random.default_rng(0), replications=50, min_effective_sample_size=75)
    assert isinstance(answers["standard"], Refusal)
    assert "position 0: not enough evidence: 150 logged choices are worth" in answers["standard"].reason
    assert isinstance(answers["position_wise"], Estimate)


def test_a_log_without_marginals_and_model_is_answered_by_what_needs_none():
    log = simulated(3000, 1)
    bare = LoggedSlates(log.rewards, log.logging_propensity, log.target_propensity, log.users)
    assert list(slate_values(bare, rng=np.random.default_rng(0), replications=20)) == ["standard", "cascade"]


def test_a_wrong_call_says_what_is_wrong():
    with pytest.raises(ValueError, match="position_wise needs `logging_marginal`"):
        slate_value(hand_slates(logging_marginal=None), "position_wise")
    with pytest.raises(ValueError, match="cascade_dr needs `predicted`"):
        slate_value(hand_slates(predicted=None), "cascade_dr")
    with pytest.raises(ValueError, match="cascade_dr is not self-normalised"):
        slate_value(hand_slates(), "cascade_dr", self_normalised=True)
    with pytest.raises(ValueError, match="no slate estimator is named 'top'"):
        slate_value(hand_slates(), "top")
    with pytest.raises(PropensityError, match="1 of 4 logging propensities"):
        hand_slates(logging_propensity=[[0.5, 0.0], [0.5, 1.0]])
    with pytest.raises(ValueError, match=r"target_marginal has shape \(1, 2\)"):
        hand_slates(target_marginal=[[1.0, 1.0]])
    with pytest.raises(ValueError, match="replications is 0"):
        slate_values(hand_slates(), rng=np.random.default_rng(0), replications=0)


def test_bernsteins_interval_of_clicks_a_slate_lies_between_none_and_one_a_position():
    for given in slate_values(simulated(400, 2), rng=np.random.default_rng(0), replications=50, min_effective_sample_size=5).values():
        assert isinstance(given, Estimate)
        assert 0 <= given.bernstein.low < given.bernstein.high <= LENGTH
