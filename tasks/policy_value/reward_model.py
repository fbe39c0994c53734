"""The reward model q(x, a) of a log of one's own: linear in context, action and their products, and never asked about rows that it saw.

A linear model is asked about all actions by one product of matrices, and trained on rows of which nearly all numbers are zero; so time and
memory grow with rows + actions, but for the mean over all actions, which is taken a block of rows at a time.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.special import expit
from sklearn.linear_model import LogisticRegression, Ridge

from tasks.policy_value.decisions import DecisionLog

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
MAX_INTERACTIONS = 2000
"""Above so many products of context and action the reward model adds the two only."""
BLOCK = 2_000_000
"""Predictions that are held at once."""


@dataclass(frozen=True)
class _Fitted:
    """q(x, a) = link(own[a] + x · (shared + products[a])); the last action stands for every one that was never logged.

    Attributes:
        own: ``(actions + 1,)``.
        shared: ``(d,)``.
        products: ``(actions + 1, d)``; None where the two are only added.
        chance: whether the link is the logistic function.
    """

    own: Floats
    shared: Floats
    products: Floats | None
    chance: bool

    def of(self, context: Floats, action: Integers) -> Floats:
        found = self.own[action] + context @ self.shared
        if self.products is not None:
            found += np.einsum("nd,nd->n", context, self.products[action])
        return np.asarray(expit(found) if self.chance else found)

    def of_all(self, context: Floats) -> Floats:
        found = self.own + (context @ self.shared)[:, None]
        if self.products is not None:
            found += context @ self.products.T
        return np.asarray(expit(found, out=found) if self.chance else found)


@dataclass(frozen=True)
class RewardModel:
    """Cross-fitted: a row is predicted by the model of the folds that it is not in.

    Attributes:
        context: ``(n, d)`` of the log.
        fold: ``(n,)`` the fold of each row.
        fitted: fold → its model.
        products: whether it knows products of context and action.
    """

    context: Floats
    fold: Integers
    fitted: dict[int, _Fitted]
    products: bool

    def of(self, action: Integers) -> Floats:
        """``(n,)`` q(x, a) of one action a row.

        Args:
            action: ``(n,)`` codes.
        """
        found = np.empty(len(self.fold))
        for number, model in self.fitted.items():
            inside = self.fold == number
            found[inside] = model.of(self.context[inside], action[inside])
        return found

    def mean(self, shares: Floats) -> Floats:
        """``(n,)`` Σ_a π(a | x) q(x, a).

        Args:
            shares: ``(n, actions + 1)`` or, the same for each row, ``(actions + 1,)`` π; its last column is of all actions never logged.
        """
        found = np.empty(len(self.fold))
        for rows, predicted in self._blocks():
            found[rows] = predicted @ shares if shares.ndim == 1 else np.einsum("na,na->n", predicted, shares[rows])
        return found

    def best(self) -> Integers:
        """``(n,)`` the logged action with the largest q(x, a)."""
        found = np.empty(len(self.fold), dtype=np.int64)
        for rows, predicted in self._blocks():
            found[rows] = predicted[:, :-1].argmax(axis=1)
        return found

    def _blocks(self) -> Iterator[tuple[Integers, Floats]]:
        for number, model in self.fitted.items():
            rows = np.flatnonzero(self.fold == number)
            step = max(1, BLOCK // len(model.own))
            for start in range(0, len(rows), step):
                block = rows[start : start + step]
                yield block, model.of_all(self.context[block])


def reward_model(log: DecisionLog, fold: Integers) -> RewardModel:
    """Fit a model for each fold on all others: logistic where every reward is 0 or 1, else linear; ridge penalties.

    Args:
        log: the decisions.
        fold: ``(n,)`` fold of each row.

    Source:
        Chernozhukov, V. et al. (2018). Double/debiased machine learning for treatment and structural parameters (cross-fitting).
    """
    products = log.context.shape[1] * len(log.names) <= MAX_INTERACTIONS
    chance = bool(np.isin(log.rewards, (0.0, 1.0)).all())
    fitted = {int(number): _fitted(log, fold != number, products=products, chance=chance) for number in np.unique(fold)}
    return RewardModel(log.context, fold, fitted, products)


def _fitted(log: DecisionLog, rows: NDArray[np.bool_], *, products: bool, chance: bool) -> _Fitted:
    context, action, rewards = log.context[rows], log.action[rows], log.rewards[rows]
    width, actions = context.shape[1], len(log.names)
    if np.ptp(rewards) == 0:  # nothing to learn, and classifiers refuse one class
        return _Fitted(np.full(actions + 1, rewards[0]), np.zeros(width), None, chance=False)
    chosen = sparse.csr_array((np.ones(len(action)), action, np.arange(len(action) + 1)), shape=(len(action), actions))
    parts = [sparse.csr_array(context), chosen]
    if products and width:  # column a · d + j holds context j where the action is a
        places = (action[:, None] * width + np.arange(width)).ravel()
        starts = np.arange(len(action) + 1) * width
        parts.append(sparse.csr_array((context.ravel(), places, starts), shape=(len(action), width * actions)))
    model = LogisticRegression(C=0.1, max_iter=1000) if chance else Ridge(alpha=10.0, solver="sparse_cg", tol=1e-8)
    model.fit(sparse.hstack(parts, format="csr"), rewards)
    weights = np.ravel(model.coef_)
    own = np.append(weights[width : width + actions], 0.0) + float(np.ravel(model.intercept_)[0])
    table = weights[width + actions :].reshape(actions, width) if products and width else None
    return _Fitted(own, weights[:width], None if table is None else np.vstack([table, np.zeros(width)]), chance)
