import numpy as np
import pandas as pd
import pytest

from benchmarks.synthetic_choices import World, draw_log
from core.errors import PropensityError, TrainingError
from models.policy_learning import RandomisedLog, cross_fit, learn_policy
from models.policy_learning.context import ContextEncoder
from models.policy_learning.learner import evidence_of
from models.policy_learning.log import fold_of
from models.policy_learning.regression import fit_ridge
from models.policy_learning.responses import RewardShape


def small_log(n: int = 400, actions: int = 2, users: int | None = None) -> RandomisedLog:
    rng = np.random.default_rng(1)
    contexts = pd.DataFrame({"number": rng.normal(size=n), "word": rng.choice(["x", "y"], n)})
    return RandomisedLog(
        contexts,
        {"number": "number", "word": "category"},
        rng.integers(actions, size=n),
        actions,
        np.full(n, 1 / actions),
        rng.random(n),
        None if users is None else rng.integers(users, size=n),
    )


def test_what_decides_between_actions_is_learnt():
    log, means = draw_log(World(shape="threshold", reward="amount", level=1.0, gain=0.3, seed=3), 4000, np.random.default_rng(1))
    fitted = cross_fit(log, rng=np.random.default_rng(0))
    rows = np.arange(len(means))
    gained = (means[rows, fitted.chosen] - means[rows, fitted.single]).mean()
    oracle = means.max(axis=1).mean() - means.mean(axis=0).max()
    assert gained > 0.7 * oracle
    assert (fitted.single == means.mean(axis=0).argmax()).all()
    assert min(policy.evidence for policy in fitted.policies) > 3


def test_without_effects_of_contexts_hardly_anything_is_lost():
    rng = np.random.default_rng(5)
    lost, errors = [], []
    for seed in range(2):
        log = small_log(1500, actions=3)
        means = np.array([0.10, 0.15, 0.20])
        rewards = (rng.random(1500) < means[log.actions]).astype(float)
        log = RandomisedLog(log.contexts, log.kinds, log.actions, 3, log.propensity, rewards)
        fitted = cross_fit(log, rng=np.random.default_rng(seed))
        lost.append((means.max() - means[fitted.chosen]).mean())
        errors.append(np.sqrt(2 * 3 * 0.15 / 1500))  # standard error of the difference of two actions
    assert np.mean(lost) < 0.5 * np.mean(errors)


def test_a_log_of_noise_gives_no_evidence_and_a_log_of_effects_does():
    rng = np.random.default_rng(6)
    told, actions, weight = rng.normal(size=2000), rng.integers(2, size=2000), np.ones(2000)
    assert abs(evidence_of(rng.normal(size=2000), told, actions, weight)) < 4
    assert evidence_of(told + rng.normal(size=2000), told, actions, weight) > 10
    assert evidence_of(told, np.zeros(2000), actions, weight) == 0
    assert abs(evidence_of(3.0 * actions, told, actions, weight)) < 1e-6  # an action's own mean is no effect of contexts


def test_no_row_is_predicted_by_a_model_that_saw_it():
    log = small_log(400)
    fitted = cross_fit(log, rng=np.random.default_rng(2))
    changed = RandomisedLog(log.contexts, log.kinds, log.actions, 2, log.propensity, log.rewards + 100.0 * (fitted.fold == 0))
    again = cross_fit(changed, rng=np.random.default_rng(2))
    held = fitted.fold == 0
    np.testing.assert_array_equal(again.predicted[held], fitted.predicted[held])
    assert not np.allclose(again.predicted[~held], fitted.predicted[~held])


def test_one_seed_gives_one_policy():
    log = small_log(400)
    first, second = (cross_fit(log, rng=np.random.default_rng(7)).predicted for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_users_stay_whole_and_actions_are_spread_evenly():
    with_users = small_log(users=40)
    fold = fold_of(with_users, 2, np.random.default_rng(1))
    assert with_users.users is not None
    assert all(np.unique(fold[with_users.users == user]).size == 1 for user in range(40))
    alone = small_log()
    fold = fold_of(alone, 5, np.random.default_rng(1))
    counts = np.stack([np.bincount(fold[alone.actions == code], minlength=5) for code in range(2)])
    assert (np.ptp(counts, axis=1) <= 1).all()
    with pytest.raises(TrainingError, match="3 users are fewer than 5 folds"):
        fold_of(small_log(users=3), 5, np.random.default_rng(1))


def test_ridge_finds_a_line_and_no_line_in_noise():
    rng = np.random.default_rng(8)
    frame = pd.DataFrame({"a": rng.random(3000), "b": rng.random(3000)})
    encoded = ContextEncoder(frame, {"a": "number", "b": "number"}).encode(frame)
    line = fit_ridge(encoded, 2 * frame["a"].to_numpy() + 1, np.ones(3000))
    np.testing.assert_allclose(line(encoded), 2 * frame["a"] + 1, atol=0.06)
    assert np.ptp(fit_ridge(encoded, rng.normal(size=3000), np.ones(3000))(encoded)) < 0.25


def test_missing_cells_rare_and_new_words_and_ties_are_read():
    frame = pd.DataFrame({"n": [1.0, 1.0, 2.0, np.nan] * 30, "w": ["x", "y", None, "x"] * 30})
    frame.loc[0, "w"] = "rare"
    encoder = ContextEncoder(frame, {"n": "number", "w": "category"})
    new = encoder.encode(pd.DataFrame({"n": [1.0, np.nan, 99.0], "w": ["never seen", None, "x"]}))
    assert np.isfinite(new.linear).all()
    assert np.isnan(new.trees[:, 0]).tolist() == [False, True, False]
    assert new.trees[:, 1:].tolist() == [[0, 0, 1, 0], [0, 0, 0, 1], [1, 0, 0, 0]]  # x, y, other, missing
    with pytest.raises(ValueError, match="no kind for w"):
        ContextEncoder(frame, {"n": "number"})
    with pytest.raises(TrainingError, match="n: no column of the context varies over 120 training rows"):
        ContextEncoder(pd.DataFrame({"n": np.full(120, 3.0)}), {"n": "number"})


def test_mostly_zero_rewards_are_learnt_in_two_ways_and_binary_ones_in_one():
    spend = RewardShape.of(np.array([0.0] * 97 + [10.0, 20.0, 300.0]))
    assert spend.mean_positive == pytest.approx(110)
    assert [float(target[-1]) for target in spend.learnable(np.array([0.0, 300.0]))] == [pytest.approx(spend.large), pytest.approx(110)]
    assert len(RewardShape.of(np.array([0.0] * 9 + [1.0])).learnable(np.array([1.0]))) == 1
    assert RewardShape.of(np.array([-1.0, 2.0])).scale(np.array([0.5])) is None


def test_wrong_logs_are_refused():
    log = small_log(60)
    with pytest.raises(PropensityError, match=r"60 of 60 propensities lie outside \(0, 1\]"):
        RandomisedLog(log.contexts, log.kinds, log.actions, 2, log.propensity * 0, log.rewards)
    with pytest.raises(ValueError, match="1 of 60 rewards are not finite"):
        RandomisedLog(log.contexts, log.kinds, log.actions, 2, log.propensity, np.r_[np.inf, log.rewards[1:]])
    with pytest.raises(ValueError, match="at least 2 actions"):
        RandomisedLog(log.contexts, log.kinds, log.actions * 0, 1, log.propensity, log.rewards)
    with pytest.raises(ValueError, match="rewards has shape"):
        RandomisedLog(log.contexts, log.kinds, log.actions, 2, log.propensity, log.rewards[:5])
    with pytest.raises(TrainingError, match="action 2 has no row"):
        learn_policy(RandomisedLog(log.contexts, log.kinds, log.actions, 3, log.propensity, log.rewards), rng=np.random.default_rng(0))
