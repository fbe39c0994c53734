import numpy as np
import pytest

from benchmarks.bandit_data import Population
from evaluation.off_policy import TUNED, Bounds, Estimate, logged_choices, policy_values, tuned
from evaluation.off_policy.bounds import bernstein, bootstrap_interval, bootstrap_totals, ratio_influence
from evaluation.off_policy.tuning import candidates


def test_bernsteins_interval_by_hand():
    values = np.array([0.0, 1.0, 1.0, 0.0, 1.0])
    found = bernstein(values, np.ones(5), np.arange(5), 1.0)
    log_term = np.log(4 / 0.05)
    reach = np.sqrt(2 * log_term * 0.3 / 5) + 7 * log_term / (3 * 4)  # variance of 0, 1, 1, 0, 1 over n − 1: 1.2 / 4
    assert found.value == pytest.approx(0.6)
    assert (found.low, found.high) == pytest.approx((0.6 - reach, 0.6 + reach))


def test_rows_of_one_user_count_as_one_in_bernsteins_interval():
    rng = np.random.default_rng(0)
    values = (rng.uniform(size=300) < 0.3).astype(float)
    alone = bernstein(values, np.ones(300), np.arange(300), 1.0)
    repeated = bernstein(np.repeat(values, 4), np.ones(1200), np.repeat(np.arange(300), 4), 1.0)
    assert (repeated.low, repeated.high) == pytest.approx((alone.low, alone.high))
    assert bernstein(np.repeat(values, 4), np.ones(1200), np.arange(1200), 1.0).high < alone.high


def test_the_ends_of_a_self_normalised_interval_are_where_the_inequality_is_an_equation():
    rng = np.random.default_rng(1)
    weights, rewards = rng.uniform(0, 2, 4000), rng.uniform(size=4000)
    found = bernstein(weights * rewards, weights, np.arange(4000), 2.0)
    log_term = np.log(4 / 0.05)
    for end in (found.low, found.high):
        term = weights * (rewards - end)
        reach = np.sqrt(2 * log_term * term.var(ddof=1) / 4000) + 7 * 2.0 * log_term / (3 * 3999)
        assert abs(term.mean()) == pytest.approx(reach, rel=1e-9)


def test_too_few_rows_exclude_nothing():
    assert bernstein(np.ones(1), np.ones(1), np.arange(1), 1.0).high == np.inf
    weights = np.array([0.1, 3.0, 0.2])
    assert bernstein(weights, weights, np.arange(3), 3.0).low == -np.inf


def test_influence_is_the_derivative_of_the_value():
    rng = np.random.default_rng(2)
    above, below = rng.uniform(size=(20, 2)), rng.uniform(0.5, 1.5, (20, 2))
    found = ratio_influence(above, below)
    assert found.mean() == pytest.approx(0, abs=1e-12)

    def value(share):
        weights = np.ones(20)
        weights[3] += share
        return ((weights @ above) / (weights @ below)).sum()

    assert (value(1e-6) - value(0)) / 1e-6 == pytest.approx(found[3] / 20, rel=1e-4)


def test_the_accelerated_interval_misses_a_skewed_mean_less_lopsidedly_than_the_plain_one():
    missed = np.zeros((2, 2))
    for seed in range(200):
        rng = np.random.default_rng(seed)
        values = np.where(rng.uniform(size=800) < 0.02, rng.choice([1.0, 8.0], 800, p=[0.8, 0.2]), 0.0)
        draws = bootstrap_totals(values[:, None], 300, rng)[:, 0] / 800
        found = bootstrap_interval(values.mean(), draws, values - values.mean())
        for row, (low, high) in enumerate([(found.low, found.high), np.quantile(draws, [0.025, 0.975])]):
            missed[row] += (low > 0.02 * 2.4, high < 0.02 * 2.4)
    assert missed[0].sum() <= missed[1].sum()
    assert missed[0, 1] < missed[1, 1]  # the truth above the interval


@pytest.fixture(scope="module")
def population():
    return Population(shoppers=6000)


def test_both_intervals_hold_the_truth_as_often_as_they_say(population):
    bounds = Bounds(reward=(0.0, 1.0), weight=population.largest_weight)
    held = {name: np.zeros(2) for name in ("ips", "snips", "dr", "sndr", "dros")}
    for seed in range(60):
        rng = np.random.default_rng([seed, 7])
        for name, given in policy_values(population.log(150, rng), tuple(held), rng=rng, replications=300, bounds=bounds).items():
            assert isinstance(given, Estimate)
            held[name] += [interval.low <= population.truth <= interval.high for interval in (given.value, given.bernstein)]
    for name, (bootstrap, inequality) in held.items():
        assert bootstrap >= 50, name  # P(at most 49 of 60 | 95 %) < 0.0002
        assert inequality == 60, name


def test_bernstein_is_wider_than_the_bootstrap_and_known_bounds_widen_it_further(population):
    log = population.log(400, np.random.default_rng(0))
    seen = policy_values(log, ("dr",), rng=np.random.default_rng(0), replications=200)["dr"]
    known = policy_values(
        log, ("dr",), rng=np.random.default_rng(0), replications=200, bounds=Bounds((0.0, 1.0), population.largest_weight)
    )["dr"]
    widths = [interval.high - interval.low for interval in (seen.value, seen.bernstein, known.bernstein)]
    assert widths[0] < widths[1] < widths[2]


@pytest.mark.parametrize("rewards", ["clicks", "money", "losses", "bounded"])
def test_bernsteins_interval_ends_where_the_rewards_do(rewards):
    rng = np.random.default_rng(4)
    target = rng.uniform(0.05, 1, 120)
    given = {
        "clicks": (rng.uniform(size=120) < 0.05).astype(float),
        "money": np.where(rng.uniform(size=120) < 0.05, 7.5, 0.0),
        "losses": rng.uniform(-2, 1, 120),
        "bounded": rng.uniform(1.2, 1.8, 120),
    }[rewards]
    bounds = Bounds(reward=(1.0, 2.0)) if rewards == "bounded" else Bounds()
    low, high = {"clicks": (0, 1), "money": (0, 7.5), "losses": (given.min(), given.max()), "bounded": (1, 2)}[rewards]
    log = logged_choices(given, np.full(120, 0.5), target, np.arange(120), predicted=np.full(120, 1.1), predicted_target=np.full(120, 1.1))
    for found in policy_values(log, rng=rng, replications=50, bounds=bounds).values():
        assert isinstance(found, Estimate)
        assert low <= found.bernstein.low <= found.bernstein.high <= high
        if found.estimator == "ips" and rewards != "losses":
            assert low == found.bernstein.low or high == found.bernstein.high  # so few rows exclude little


def test_a_log_without_clicks_leaves_room_for_some():
    found = policy_values(
        logged_choices(np.zeros(300), np.full(300, 0.5), np.full(300, 0.5), np.arange(300)), ("ips",), rng=np.random.default_rng(0)
    )
    assert found["ips"].bernstein.low == 0
    assert 0 < found["ips"].bernstein.high < 0.1


def log_with(predicted, weights, rewards):
    return logged_choices(
        rewards, np.full(len(rewards), 0.1), weights * 0.1, np.arange(len(rewards)), predicted=predicted, predicted_target=predicted
    )


@pytest.mark.parametrize("estimator", TUNED)
@pytest.mark.parametrize("how", ["mse", "slope"])
def test_weights_without_spread_need_no_limit(estimator, how):
    rng = np.random.default_rng(3)
    log = log_with(np.full(500, 0.3), np.ones(500), (rng.uniform(size=500) < 0.3).astype(float))
    assert tuned(log, estimator, how) in {1.0, np.inf} if estimator != "dros" else True
    assert candidates(log.weights, estimator)[-1] == np.inf


def test_mse_keeps_the_weights_where_the_model_is_wrong_and_shrinks_them_where_it_is_right():
    rng = np.random.default_rng(4)
    weights = np.where(rng.uniform(size=4000) < 0.05, 10.0, 0.5263)
    rewards = (rng.uniform(size=4000) < np.where(weights > 1, 0.6, 0.2)).astype(float)
    right = log_with(np.where(weights > 1, 0.6, 0.2), weights, rewards)
    wrong = log_with(np.full(4000, 0.1), weights, rewards)
    assert tuned(right, "dros", "mse") < 1000 < tuned(wrong, "dros", "mse")
    assert tuned(wrong, "switch_dr", "mse") >= 10  # the largest weight: none is switched off
    assert tuned(right, "switch_dr", "slope") < 10


def test_slope_passes_over_a_candidate_that_an_earlier_interval_excludes():
    weights = np.tile([0.5, 1.5], 2000)
    rewards = np.tile([0.0, 1.0], 2000)  # IPS: 0.75, without any doubt; clipped at 1: 0.5
    log = log_with(np.zeros(4000), weights, rewards)
    assert tuned(log, "clipped_ips", "slope", np.array([1.0, np.inf])) == np.inf


def test_a_wrong_question_about_tuning_is_refused():
    log = log_with(np.zeros(3), np.ones(3), np.ones(3))
    with pytest.raises(ValueError, match="'dr' has no parameter; clipped_ips, switch_dr, dros have"):
        tuned(log, "dr")
    with pytest.raises(ValueError, match="no tuning is named 'guess'"):
        tuned(log, "dros", "guess")
    with pytest.raises(ValueError, match="no candidates"):
        tuned(log, "dros", "mse", np.array([]))
