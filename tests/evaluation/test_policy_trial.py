"""A challenger that is truly better is found so, one that is not is not, and a log that cannot tell says what it lacks."""

import numpy as np
import pytest

from core.errors import PropensityError
from evaluation.looks import Looks
from evaluation.off_policy import propensity_calibration
from evaluation.policy_trial import Trial, judge

PLAN = Looks(first=500, growth=1.3)
ACTIONS, POSITIONS = 8, 2
FLOOR = 0.2


def policy(quality, error, noise):
    """``(n, ACTIONS)`` distributions: best of noisy scores with a floor."""
    scores = quality + noise * error
    best = scores == scores.max(axis=1, keepdims=True)
    return (1 - FLOOR) * best + FLOOR / quality.shape[1]


def given_above(p, above):
    """The same distribution without what stands above, as exact conditional propensities need it."""
    left = p.copy()
    if above is not None:
        left[np.arange(len(p)), above] = 0
    return left / left.sum(axis=1, keepdims=True)


def synthetic(seed, slates, *, champion_noise, challenger_noise, share=0.0, users=None, twins=False):
    """A log of both arms, and the true gain a slate."""
    rng = np.random.default_rng(seed)
    user = rng.integers(users or slates // 3, size=slates)
    served = np.random.default_rng(99).random(user.max() + 1)[user] < share
    quality = rng.normal(size=(slates, ACTIONS))
    truth = 1 / (1 + np.exp(2.5 - quality))
    error = rng.normal(size=quality.shape)
    other = rng.normal(size=quality.shape) if twins else error  # twins err alike on average, but not in the same places
    mu, pi = policy(quality, error, champion_noise), policy(quality, other, challenger_noise)
    predicted = np.clip(truth * np.exp(0.3 * rng.normal(size=truth.shape)), 0, 1)
    rows = np.arange(slates)
    names = ("rewards", "champion", "challenger", "predicted", "champion_predicted", "challenger_predicted")
    held = {name: np.zeros((slates, POSITIONS)) for name in names}
    above = None
    actions = np.zeros((slates, POSITIONS), dtype=int)
    for place in range(POSITIONS):
        m, p = given_above(mu, above), given_above(pi, above)
        drawn = np.where(served[:, None], p, m)
        chosen = (drawn.cumsum(axis=1) > rng.random((slates, 1))).argmax(axis=1)
        held["rewards"][:, place] = rng.random(slates) < truth[rows, chosen] / (1 + place)
        held["champion"][:, place], held["challenger"][:, place] = m[rows, chosen], p[rows, chosen]
        held["predicted"][:, place] = predicted[rows, chosen]
        held["champion_predicted"][:, place] = (m * predicted).sum(axis=1)
        held["challenger_predicted"][:, place] = (p * predicted).sum(axis=1)
        actions[:, place], above = chosen, chosen
    trial = Trial(**held, share=np.full(slates, share), users=user)
    return trial, actions, truth, mu, pi


def true_gain(truth, mu, pi):
    def value(p):
        first = (p * truth).sum(axis=1)
        second = np.zeros(len(p))
        for top in range(ACTIONS):
            rest = given_above(p, np.full(len(p), top))
            second += p[:, top] * (rest * truth).sum(axis=1) / 2
        return (first + second).mean()

    return value(pi) - value(mu)


def test_the_gain_of_one_slate_is_the_one_worked_by_hand():
    trial = Trial(
        rewards=np.array([[1.0, 0.0]]),
        champion=np.array([[0.5, 0.4]]),
        challenger=np.array([[0.8, 0.1]]),
        share=np.array([0.25]),
        users=np.array(["a"]),
        predicted=np.array([[0.3, 0.2]]),
        champion_predicted=np.array([[0.25, 0.15]]),
        challenger_predicted=np.array([[0.28, 0.1]]),
    )
    b0, b1 = 0.75 * 0.5 + 0.25 * 0.8, 0.75 * 0.5 * 0.4 + 0.25 * 0.8 * 0.1
    v0, w0, v1, w1 = 0.5 / b0, 0.8 / b0, 0.2 / b1, 0.08 / b1
    top = (w0 - v0) * (1 - 0.3) + 0.28 - 0.25
    below = (w1 - v1) * (0 - 0.2) + w0 * 0.1 - v0 * 0.15
    assert trial.gains()[0] == pytest.approx(top + below)  # one user: nobody else scales the predictions


@pytest.mark.parametrize("share", [0.0, 0.3])
def test_the_mean_gain_is_the_true_one(share):
    gaps = []
    for seed in range(40):
        trial, _, truth, mu, pi = synthetic(seed, 1500, champion_noise=2.0, challenger_noise=0.5, share=share)
        gaps.append(trial.gains().mean() - true_gain(truth, mu, pi))
    assert abs(np.mean(gaps)) < 4 * np.std(gaps) / np.sqrt(len(gaps))


def test_a_canary_makes_the_interval_of_unlike_policies_narrower():
    width = {}
    for share in (0.0, 0.5):
        trial, *_ = synthetic(5, 4000, champion_noise=5.0, challenger_noise=0.1, share=share, twins=True)
        gain = judge(trial, PLAN.reached(4000)).gain
        width[share] = gain.high - gain.low
        _, w = trial.weights()
        assert share == 0 or w.max() <= 1 / share
    assert width[0.5] < 0.6 * width[0.0]


@pytest.mark.parametrize(("share", "slates", "good", "bad"), [(0.0, 40_000, 0.3, 1.2), (0.2, 12_000, 0.3, 3.0)])
def test_a_better_challenger_is_found_and_a_worse_one_is_not(share, slates, good, bad):
    better, *_ = synthetic(6, slates, champion_noise=bad, challenger_noise=good, share=share)
    worse, *_ = synthetic(6, slates, champion_noise=good, challenger_noise=bad, share=share)
    look = PLAN.reached(slates)
    assert judge(better, look).better
    found = judge(worse, look)
    assert not found.better
    assert found.problem is None
    assert found.gain.value < 0
    assert found.wanted is None  # more of the same would not help


def test_a_challenger_that_is_as_good_is_seldom_found_better_over_all_looks():
    wrong = 0
    for seed in range(100):
        trial, *_ = synthetic(seed, 3000, champion_noise=1.0, challenger_noise=1.0, share=0.1 * (seed % 2), twins=True)
        looks = [PLAN.reached(PLAN.rows(number)) for number in range(7)]
        wrong += any(judge(trial, look).better for look in looks if look.rows <= 3000)
    assert wrong / 100 <= 0.05


def test_policies_that_are_the_same_gain_exactly_nothing():
    trial, *_ = synthetic(8, 600, champion_noise=1.0, challenger_noise=1.0)
    same = Trial(**{**{name: getattr(trial, name) for name in trial.__dataclass_fields__}, "challenger": trial.champion,
                    "challenger_predicted": trial.champion_predicted})  # fmt: skip
    found = judge(same, PLAN.reached(600))
    assert (found.gain.value, found.gain.low, found.gain.high, found.better) == (0, 0, 0, False)


def test_a_log_that_is_worth_too_little_is_refused_with_what_it_would_take():
    trial, *_ = synthetic(9, 520, champion_noise=6.0, challenger_noise=0.05, twins=True)
    found = judge(trial, PLAN.reached(520))
    assert not found.better
    assert "challenger, position" in found.problem
    assert "not enough evidence" in found.problem
    assert found.wanted > 500


def test_propensities_that_cannot_be_true_are_refused():
    trial, actions, *_ = synthetic(10, 4000, champion_noise=0.8, challenger_noise=0.5)
    lied = np.where(trial.champion > 0.5, 0.45, trial.champion)
    wrong = Trial(**{**{name: getattr(trial, name) for name in trial.__dataclass_fields__}, "champion": lied})
    look = PLAN.reached(4000)
    calibration = propensity_calibration(actions[: look.rows, 0], lied[: look.rows, 0], trial.users[: look.rows])
    found = judge(wrong, look, calibration=calibration)
    assert "wrong propensities" in found.problem
    assert not found.better


def test_a_promising_challenger_is_told_how_many_slates_it_lacks():
    trial, *_ = synthetic(11, 2000, champion_noise=0.8, challenger_noise=0.5)
    found = judge(trial, PLAN.reached(2000))
    assert found.gain.low <= 0 < found.gain.value
    assert found.wanted > 1857


def test_shapes_shares_and_propensities_are_checked():
    trial, *_ = synthetic(12, 10, champion_noise=1.0, challenger_noise=1.0, users=5)
    held = {name: getattr(trial, name) for name in trial.__dataclass_fields__}
    with pytest.raises(ValueError, match=r"all must be \(n, L\)"):
        Trial(**{**held, "predicted": held["predicted"][:5]})
    with pytest.raises(ValueError, match="canary shares"):
        Trial(**{**held, "share": np.ones(10)})
    with pytest.raises(PropensityError):
        Trial(**{**held, "challenger": held["challenger"] * 0})
    with pytest.raises(ValueError, match="10 slates; look 0 reads 500"):
        judge(trial, PLAN.reached(500))
