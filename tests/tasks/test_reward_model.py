"""The reward model of a log of one's own gives what the plain one does, in memory that does not grow with rows times actions."""

import tracemalloc

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression, Ridge

from tasks.policy_value.crossfit import cross_fitted, one_hot_rows
from tasks.policy_value.decisions import DecisionLog
from tasks.policy_value.reward_model import MAX_INTERACTIONS, reward_model


def drawn(rows: int, actions: int, width: int, *, binary: bool = True, seed: int = 0) -> DecisionLog:
    rng = np.random.default_rng(seed)
    context, action = rng.normal(size=(rows, width)), rng.integers(0, actions, rows)
    gain = context[:, 0] * np.where(action % 2, 1.0, -1.0)
    return DecisionLog(
        context=context,
        names=tuple(f"a{code}" for code in range(actions)),
        action=action,
        rewards=(gain + rng.normal(size=rows) > 0).astype(float) if binary else gain + rng.normal(size=rows),
        propensity=np.full(rows, 1 / actions),
        users=np.arange(rows),
        rows=np.arange(rows),
        size=rows,
        left_out={},
        actions=actions,
    )


def dense_rows(context, action, actions):
    chosen = np.eye(actions)[action]
    return np.concatenate(
        [one_hot_rows(context, action, actions), (context[:, :, None] * chosen[:, None, :]).reshape(len(context), -1)], axis=1
    )


@pytest.mark.parametrize("binary", [True, False])
@pytest.mark.parametrize("products", [True, False])
def test_it_predicts_what_a_model_of_dense_rows_asked_action_by_action_does(monkeypatch, binary: bool, products: bool) -> None:
    log, fold = drawn(400, 5, 3, binary=binary), np.arange(400) % 4
    if not products:
        monkeypatch.setattr("tasks.policy_value.reward_model.MAX_INTERACTIONS", 14)
    monkeypatch.setattr("tasks.policy_value.reward_model.BLOCK", 100)

    def plain():
        return LogisticRegression(C=0.1, max_iter=1000) if binary else Ridge(alpha=10.0)

    rows_of = dense_rows if products else one_hot_rows
    expected = cross_fitted(plain, log.context, log.action, log.rewards, actions=5, fold=fold, rows_of=rows_of)
    model = reward_model(log, fold)
    assert model.products is products
    for action in range(5):
        np.testing.assert_allclose(model.of(np.full(400, action)), expected[:, action], atol=1e-4)
        np.testing.assert_allclose(model.mean(np.eye(6)[action]), expected[:, action], atol=1e-4)
    shares = np.random.default_rng(1).dirichlet(np.ones(5), 400)
    np.testing.assert_allclose(model.mean(np.column_stack([shares, np.zeros(400)])), (shares * expected).sum(axis=1), atol=1e-4)
    found = expected[np.arange(400), model.best()]
    np.testing.assert_allclose(found, expected.max(axis=1), atol=1e-4)


def test_an_action_that_was_never_logged_is_predicted_from_the_context_alone() -> None:
    log = drawn(600, 4, 2, binary=False)
    last = reward_model(log, np.arange(600) % 2).mean(np.array([0.0, 0.0, 0.0, 0.0, 1.0]))
    assert last == pytest.approx(
        np.mean([reward_model(log, np.arange(600) % 2).of(np.full(600, code)) for code in range(4)], axis=0), abs=0.2
    )


def test_memory_does_not_grow_with_rows_times_actions() -> None:
    log = drawn(20_000, 3000, 2)
    assert log.context.shape[1] * 3000 > MAX_INTERACTIONS
    tracemalloc.start()
    model = reward_model(log, np.arange(20_000) % 5)
    model.mean(np.full(3001, 1 / 3001))
    model.best()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 100e6  # one matrix of rows x actions is 480 MB
