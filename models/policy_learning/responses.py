"""How a context changes what each action brings, beyond the context's mean reward: four regressions, averaged.

The residual r − m(x), m(x) being the mean over actions, is regressed on the context among the rows of each action, weighted
by 1 / propensity so that each action's rows stand for everybody. Twice as it is (an effect adds), and twice in units of
v(x), the reward's variance as it grows with its mean (an effect multiplies, and noisy rows count less), each by ridge and by
small trees. On synthetic logs of eight kinds this average beat each of its parts, stacks of them, and a policy chosen by its
cross-validated value: that value is too noisy to choose by where gains are small (docs/policy-learning.md).
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.policy_learning.context import Array, Encoded
from models.policy_learning.regression import Regression, Trees, fit_ridge, fit_trees

EFFECT_TREES = Trees(rounds=60, leaves=4)
MEAN_TREES = Trees(rounds=80, leaves=6)
MOSTLY_ZERO = 0.5
MIN_ROWS = 10
"""An action with fewer rows gets no effects of contexts of its own."""
_LARGE = 0.99
_LEAST_MEAN, _MOST_MEAN = 1e-5, 0.98
"""Shares of the largest reward between which a mean reward is held where it is divided by."""

Responses = Callable[[Encoded, Array], Array]
"""Contexts and their mean reward ``(n,)`` → ``(n, k)`` what each action adds to it there."""


@dataclass(frozen=True)
class RewardShape:
    """What kind of number the reward is, learnt from training rows.

    Attributes:
        least: smallest reward; below 0 effects only add.
        most: largest reward.
        large: rewards beyond it, in absolute value, are cut to it while effects of contexts are learnt (99 % of those that are not zero).
        mean_positive: mean reward where there is one; None unless more than half are zero and the others differ.
    """

    least: float
    most: float
    large: float
    mean_positive: float | None

    @classmethod
    def of(cls, rewards: Array) -> "RewardShape":
        """Learn it.

        Args:
            rewards: ``(n,)``.
        """
        paid = rewards[rewards != 0]
        two_part = paid.size > 0 and bool((rewards >= 0).all()) and np.mean(rewards == 0) > MOSTLY_ZERO and np.ptp(paid) > 0
        large = float(np.quantile(np.abs(paid), _LARGE)) if paid.size else 0.0
        return cls(float(rewards.min()), float(rewards.max()), large, float(paid.mean()) if two_part else None)

    def learnable(self, rewards: Array) -> list[Array]:
        """What stands for the reward while effects are learnt: itself with large ones cut, and whether there was any, times their mean.

        Args:
            rewards: ``(n,)``.
        """
        itself = rewards.clip(-self.large, self.large)
        return [itself] if self.mean_positive is None else [itself, np.where(rewards > 0, self.mean_positive, 0.0).astype(np.float64)]

    def scale(self, means: Array) -> Array | None:
        """v(x) up to a factor: m(1 − m / most), as a share's variance is, and nearly m where rewards have a long tail.

        Args:
            means: ``(n,)`` mean reward of each context.

        Returns:
            ``(n,)`` positive; None when rewards may be negative.
        """
        if self.least < 0 or self.most <= 0:
            return None
        floor = max(_LEAST_MEAN * self.most, 0.1 * float(np.median(means)))
        means = means.clip(floor, max(floor, _MOST_MEAN * self.most))
        return np.asarray(means * (1 - means / self.most))


def fit_means(contexts: Encoded, rewards: Array, weight: Array, *, seed: int) -> Regression:
    """m(x), the mean reward over actions drawn alike: the average of a ridge and of boosted trees.

    Args:
        contexts: ``n`` rows.
        rewards: ``(n,)``.
        weight: ``(n,)`` 1 / propensity.
        seed: of the trees.
    """
    line = fit_ridge(contexts, rewards, weight)
    trees = fit_trees(contexts, rewards, weight, trees=MEAN_TREES, seed=seed)
    return lambda others: (line(others) + trees(others)) / 2


def fit_responses(
    contexts: Encoded,
    rewards: Array,
    means: Array,
    actions: NDArray[np.int64],
    weight: Array,
    *,
    shape: RewardShape,
    action_count: int,
    seed: int,
) -> Responses:
    """What each action adds to a context's mean reward.

    Args:
        contexts: ``n`` rows.
        rewards: ``(n,)`` of the logged actions.
        means: ``(n,)`` m(x), fitted without the row.
        actions: ``(n,)`` codes of the logged actions.
        weight: ``(n,)`` 1 / propensity.
        shape: of the reward.
        action_count: k.
        seed: of the trees.
    """
    scale = shape.scale(means)
    plain: list[list[Regression]] = []
    scaled: list[list[Regression]] = []
    for code in range(action_count):
        rows = actions == code
        plain.append([])
        scaled.append([])
        if rows.sum() < MIN_ROWS:
            continue
        own, counted = contexts.rows(rows), weight[rows]
        for target in shape.learnable(rewards[rows]):
            residual = target - means[rows]
            plain[code] += _line_and_trees(own, residual, counted, seed)
            if scale is not None:
                scaled[code] += _line_and_trees(own, residual / scale[rows], counted * scale[rows], seed)

    def respond(others: Encoded, their_means: Array) -> Array:
        theirs = shape.scale(their_means)
        added = np.zeros((len(their_means), action_count))
        for code in range(action_count):
            parts = [regression(others) for regression in plain[code]]
            if theirs is not None:
                parts += [theirs * regression(others) for regression in scaled[code]]
            if parts:
                added[:, code] = np.mean(parts, axis=0)
        return added

    return respond


def _line_and_trees(contexts: Encoded, target: Array, weight: Array, seed: int) -> list[Regression]:
    return [fit_ridge(contexts, target, weight), fit_trees(contexts, target, weight, trees=EFFECT_TREES, seed=seed)]
