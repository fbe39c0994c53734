"""From a randomised log to a policy: which action for which context, and the best single action beside it.

The reward is modelled as q(x, a) = m(x) + c_a + h(x, a): the context's mean, the action's mean effect, and what the context
changes about that effect. m and h are fitted in parts of the training rows and averaged, so that every training row also has
predictions that never saw it. h comes from low-capacity regressions (models/policy_learning/responses.py). Where the
predictions of h for left-out rows do not go along with their residuals at all, there is no evidence that contexts matter: h
is dropped and the policy is the best single action. The policy chooses the action of the largest q.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from core.errors import TrainingError
from models.policy_learning.context import Array, ContextEncoder
from models.policy_learning.log import Codes, RandomisedLog, fold_of
from models.policy_learning.regression import Regression
from models.policy_learning.responses import Responses, RewardShape, fit_means, fit_responses

PARTS = 5
ROUNDS = 2
"""How often the training rows are parted anew: ``PARTS · ROUNDS`` models are averaged."""
MIN_EVIDENCE = 1.0
"""Standard errors by which h must go along with the residuals of rows it did not see."""
MAX_WEIGHT = 20.0
"""How many times the median weight a row may count while effects of contexts are learnt; nothing is cut where values are estimated."""
FOLDS = 2


@dataclass(frozen=True)
class LearntPolicy:
    """A policy and its reward model.

    Attributes:
        encoder: contexts to numbers.
        means: models of m, averaged.
        responses: models of h, averaged; empty when there was no evidence for it.
        offsets: ``(k,)`` c_a less the mean of h over training rows.
        single_action: code of the best single action on the training rows.
        evidence: standard errors by which h goes along with left-out rows.
    """

    encoder: ContextEncoder
    means: tuple[Regression, ...]
    responses: tuple[Responses, ...]
    offsets: Array
    single_action: int
    evidence: float

    def predict(self, contexts: pd.DataFrame) -> Array:
        """q(x, a).

        Args:
            contexts: ``n`` rows with the training rows' columns.

        Returns:
            ``(n, k)`` rewards.
        """
        encoded = self.encoder.encode(contexts)
        means = np.mean([regression(encoded) for regression in self.means], axis=0)
        if not self.responses:
            return np.asarray(means[:, None] + self.offsets)
        added = np.mean([respond(encoded, means) for respond in self.responses], axis=0)
        return np.asarray(means[:, None] + self.offsets + added - added.mean(axis=1, keepdims=True))

    def choose(self, contexts: pd.DataFrame) -> Codes:
        """The action of the largest predicted reward.

        Args:
            contexts: ``n`` rows with the training rows' columns.

        Returns:
            ``(n,)`` codes.
        """
        return np.asarray(self.predict(contexts).argmax(axis=1), dtype=np.int64)


@dataclass(frozen=True)
class CrossFitted:
    """What policies say about rows that they were not learnt on.

    Attributes:
        predicted: ``(n, k)`` q(x, a).
        chosen: ``(n,)`` the policy's choice.
        single: ``(n,)`` the best single action of the training fold.
        fold: ``(n,)`` which fold the row is in.
        own: ``(n,)`` choice and ``(n,)`` single action of the policy that was learnt on the row itself; shows where policies disagree.
        policies: by fold, the policy that was learnt on the others.
    """

    predicted: Array
    chosen: Codes
    single: Codes
    fold: Codes
    own: tuple[Codes, Codes]
    policies: tuple[LearntPolicy, ...]


def learn_policy(log: RandomisedLog, *, rng: np.random.Generator, step: Callable[[], object] = lambda: None) -> LearntPolicy:
    """Learn which action for which context.

    Args:
        log: training rows.
        rng: of parts, trees' rows and columns.
        step: called after each of ``PARTS · ROUNDS`` models.

    Raises:
        TrainingError: an action without rows, or fewer users than parts.
    """
    counts = np.bincount(log.actions, minlength=log.action_count)
    if counts.min() == 0:
        raise TrainingError(
            f"action {int(counts.argmin())} has no row among {counts.sum()} training rows; give more of the log, or leave it out"
        )
    encoder = ContextEncoder(log.contexts, log.kinds)
    encoded = encoder.encode(log.contexts)
    weight = 1 / (log.action_count * log.propensity)
    counted = np.minimum(weight, MAX_WEIGHT * float(np.median(weight)))
    shape = RewardShape.of(log.rewards)
    seed = int(rng.integers(2**31 - PARTS * ROUNDS))
    rows = np.arange(len(log.actions))
    means, models, responses = np.zeros(rows.size), [], []
    parts = fold_of(log, PARTS, rng)
    for part in range(PARTS):
        inside, outside = parts != part, parts == part
        models.append(fit_means(encoded.rows(inside), log.rewards[inside], counted[inside], seed=seed + part))
        means[outside] = models[-1](encoded.rows(outside))
    added = np.zeros((rows.size, log.action_count))
    for turn in range(ROUNDS):
        parts = parts if turn == 0 else fold_of(log, PARTS, rng)
        for part in range(PARTS):
            inside, outside = parts != part, parts == part
            respond = fit_responses(
                encoded.rows(inside),
                log.rewards[inside],
                means[inside],
                log.actions[inside],
                counted[inside],
                shape=shape,
                action_count=log.action_count,
                seed=seed + turn * PARTS + part,
            )
            added[outside] += respond(encoded.rows(outside), means[outside]) / ROUNDS
            responses.append(respond)
            step()
    added -= added.mean(axis=1, keepdims=True)
    residual = log.rewards - means
    effects = _action_means(residual, log.actions, weight, log.action_count)
    single = int(effects.argmax())
    evidence = evidence_of(residual, added[rows, log.actions], log.actions, counted)
    if evidence < MIN_EVIDENCE:
        return LearntPolicy(encoder, tuple(models), (), effects, single, evidence)
    return LearntPolicy(encoder, tuple(models), tuple(responses), effects - added.mean(axis=0), single, evidence)


def evidence_of(residual: Array, added: Array, actions: Codes, weight: Array) -> float:
    """Standard errors by which predicted effects of contexts go along with what was seen, each action's mean taken out.

    Args:
        residual: ``(n,)`` r − m(x).
        added: ``(n,)`` h(x, a) of the logged action, fitted without the row.
        actions: ``(n,)`` codes.
        weight: ``(n,)`` 1 / propensity.

    Returns:
        The slope of residual on ``added`` in units of its heteroscedasticity-robust standard error; 0 when nothing is predicted.

    Source:
        White (1980); the regression on left-out predictions is Chernozhukov et al. (2018), "best linear predictor" of effects.
    """
    count = int(actions.max()) + 1
    seen = residual - _action_means(residual, actions, weight, count)[actions]
    told = added - _action_means(added, actions, weight, count)[actions]
    square = float((weight * told**2).sum())
    if square <= 0:
        return 0.0
    slope = float((weight * told * seen).sum()) / square
    error = float(np.sqrt(((weight * told * (seen - slope * told)) ** 2).sum())) / square
    return slope / error if error > 0 else 0.0


def cross_fit(log: RandomisedLog, *, rng: np.random.Generator, step: Callable[[], object] = lambda: None) -> CrossFitted:
    """Learn one policy a fold, on the other fold, and ask it about this one.

    Args:
        log: all rows.
        rng: of folds and of learning.
        step: called ``FOLDS · PARTS · ROUNDS`` times.

    Raises:
        TrainingError: see `learn_policy`.
    """
    fold = fold_of(log, FOLDS, rng)
    n = fold.size
    predicted, chosen, single = np.zeros((n, log.action_count)), np.zeros(n, dtype=np.int64), np.zeros(n, dtype=np.int64)
    own_chosen, own_single = chosen.copy(), single.copy()
    policies = []
    for number in range(FOLDS):
        held = fold == number
        policy = learn_policy(log.rows(~held), rng=rng, step=step)
        predicted[held] = policy.predict(log.contexts[held])
        chosen[held] = predicted[held].argmax(axis=1)
        single[held] = policy.single_action
        own_chosen[~held] = policy.choose(log.contexts[~held])
        own_single[~held] = policy.single_action
        policies.append(policy)
    return CrossFitted(predicted, chosen, single, fold, (own_chosen, own_single), tuple(policies))


def _action_means(values: Array, actions: Codes, weight: Array, count: int) -> Array:
    below = np.bincount(actions, weights=weight, minlength=count)
    return np.asarray(np.bincount(actions, weights=weight * values, minlength=count) / np.maximum(below, 1e-300))
