"""Bandit problems with a known truth: the synthetic and the multi-class configuration of Open Bandit Pipeline, and one for coverage.

Written from their description (Saito et al. 2021, the READMEs and parameters of its examples); no code of theirs is used.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, softmax
from sklearn.datasets import load_digits
from sklearn.ensemble import GradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split

from evaluation.off_policy import LoggedChoices, logged_choices
from tasks.policy_value.crossfit import cross_fitted, folds_by_user

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
FOLDS = 3
INVERSE_PENALTY = 100.0


@dataclass(frozen=True)
class Problem:
    """A log with its reward model, and what the target policy is truly worth.

    Attributes:
        log: the logged choices.
        truth: the target policy's value on the logged contexts.
    """

    log: LoggedChoices
    truth: float


@dataclass(frozen=True)
class Environment:
    """Contexts of a normal distribution, and a logistic reward of context, action and their product.

    Attributes:
        context: ``(d + 1,)`` coefficients.
        action: ``(actions + 1,)``.
        both: ``(d + 1, actions + 1)``.
        beta: inverse temperature of the logging policy softmax(beta · q); negative: it prefers bad actions.
    """

    context: Floats
    action: Floats
    both: Floats
    beta: float

    @classmethod
    def drawn(cls, dimension: int, actions: int, beta: float, rng: np.random.Generator) -> "Environment":
        """Coefficients uniform in (−1, 1).

        Args:
            dimension: of the context.
            actions: how many.
            beta: see the class.
            rng: draws them.
        """
        shapes = ((dimension + 1,), (actions + 1,), (dimension + 1, actions + 1))
        first, second, third = (rng.uniform(-1, 1, shape) for shape in shapes)
        return cls(first, second, third, beta)

    def rewards(self, contexts: Floats) -> Floats:
        """``(n, actions)`` expected rewards; the logits are brought to mean 0 and deviation 1 over all of them.

        Args:
            contexts: ``(n, d)``.
        """
        rows = np.concatenate([np.ones((len(contexts), 1)), contexts], axis=1)
        columns = np.concatenate([np.ones((self.action.size - 1, 1)), np.eye(self.action.size - 1)], axis=1)
        logits = (rows @ self.context)[:, None] + columns @ self.action + rows @ self.both @ columns.T
        return np.asarray(expit((logits - logits.mean()) / logits.std()))

    def logging(self, rewards: Floats) -> Floats:
        """``(n, actions)`` the logging policy's distribution.

        Args:
            rewards: ``(n, actions)`` expected rewards.
        """
        return np.asarray(softmax(self.beta * rewards, axis=1))


def sampled(shares: Floats, rng: np.random.Generator) -> Integers:
    """``(n,)`` one action drawn from each row.

    Args:
        shares: ``(n, actions)``; rows sum to 1.
        rng: draws.
    """
    below = shares.cumsum(axis=1)
    return np.asarray((below < rng.uniform(size=(len(shares), 1)) * below[:, -1:]).sum(axis=1), dtype=np.int64)


def learned_policy(contexts: Floats, action: Integers, rewards: Floats, propensity: Floats) -> LogisticRegression:
    """A classifier of the logged action, each row weighted by reward / propensity: maximises the IPS value.

    Args:
        contexts: ``(n, d)``.
        action: ``(n,)``.
        rewards: ``(n,)`` not negative.
        propensity: ``(n,)``.
    """
    kept = rewards > 0  # rows without weight change nothing
    model = LogisticRegression(C=INVERSE_PENALTY, max_iter=10_000)
    return model.fit(contexts[kept], action[kept], sample_weight=(rewards / propensity)[kept])


def class_shares(model: LogisticRegression, contexts: Floats, actions: int) -> Floats:
    """``(n, actions)`` predicted shares; 0 for actions that the model never saw.

    Args:
        model: fitted.
        contexts: ``(n, d)``.
        actions: how many there are.
    """
    shares = np.zeros((len(contexts), actions))
    shares[:, model.classes_] = model.predict_proba(contexts)
    return shares


def synthetic(seed: int, *, rounds: int = 10_000, actions: int = 30, dimension: int = 5, beta: float = -3.0) -> Problem:
    """The synthetic configuration: a policy learned on one log is evaluated on another of equal size.

    Args:
        seed: of everything that is drawn.
        rounds: of either log.
        actions: how many.
        dimension: of the context.
        beta: of the logging policy.
    """
    rng = np.random.default_rng([seed, 1])
    environment = Environment.drawn(dimension, actions, beta, rng)

    def logged() -> tuple[Floats, Floats, Floats, Integers, Floats]:
        contexts = rng.normal(size=(rounds, dimension))
        expected = environment.rewards(contexts)
        shares = environment.logging(expected)
        action = sampled(shares, rng)
        reward = (rng.uniform(size=rounds) < expected[np.arange(rounds), action]).astype(np.float64)
        return contexts, expected, shares[np.arange(rounds), action], action, reward

    contexts, _, propensity, action, reward = logged()
    policy = learned_policy(contexts, action, reward, propensity)
    contexts, expected, propensity, action, reward = logged()
    target = softmax(class_shares(policy, contexts, actions), axis=1)
    predicted = cross_fitted(
        lambda: LogisticRegression(C=INVERSE_PENALTY, max_iter=10_000),
        contexts,
        action,
        reward,
        actions=actions,
        fold=folds_by_user(np.arange(rounds), FOLDS, rng),
    )
    return Problem(_log(reward, propensity, target, action, predicted), float((target * expected).sum(axis=1).mean()))


def digits(seed: int, *, logging_alpha: float = 0.4, target_alpha: float = 0.9, held_out: float = 0.7) -> Problem:
    """The multi-class configuration: naming the right digit pays 1; both policies mix a classifier's answer with a uniform choice.

    Args:
        seed: of everything that is drawn.
        logging_alpha: share of the logging policy's classifier, a logistic regression.
        target_alpha: share of the target policy's, a random forest.
        held_out: share of the images in the log; the others teach the two classifiers.
    """
    rng = np.random.default_rng([seed, 2])
    images, label = load_digits(return_X_y=True)
    train, contexts, train_label, right = train_test_split(images, label, test_size=held_out, random_state=int(rng.integers(2**31)))
    rows, actions = len(contexts), int(label.max()) + 1

    def mixed(model: LogisticRegression | RandomForestClassifier, alpha: float) -> Floats:
        return np.asarray(alpha * np.eye(actions)[model.fit(train, train_label).predict(contexts)] + (1 - alpha) / actions)

    shares = mixed(LogisticRegression(C=INVERSE_PENALTY, max_iter=10_000), logging_alpha)
    forest = {"n_estimators": 30, "max_depth": 5, "min_samples_leaf": 10}
    target = mixed(RandomForestClassifier(**forest, random_state=int(rng.integers(2**31))), target_alpha)
    action = sampled(shares, rng)
    reward = (action == right).astype(np.float64)
    predicted = cross_fitted(
        lambda: GradientBoostingClassifier(n_estimators=30, learning_rate=0.01, max_depth=5, min_samples_leaf=10, random_state=0),
        contexts,
        action,
        reward,
        actions=actions,
        fold=folds_by_user(np.arange(rows), FOLDS, rng),
    )
    truth = float(target[np.arange(rows), right].mean())
    return Problem(_log(reward, shares[np.arange(rows), action], target, action, predicted), truth)


def _log(reward: Floats, propensity: Floats, target: Floats, action: Integers, predicted: Floats) -> LoggedChoices:
    rows = np.arange(len(reward))
    return logged_choices(
        reward,
        propensity,
        target[rows, action],
        rows,
        predicted=predicted[rows, action],
        predicted_target=(target * predicted).sum(axis=1),
    )


class Population:
    """A finite population of shoppers, so that the target policy's value and its largest weight are known exactly.

    The synthetic environment; a shopper is met one to seven times with one context, so that rows of one shopper depend on each other.
    Target policy and reward model are learned once from a log of their own.
    """

    def __init__(self, seed: int = 0, *, shoppers: int = 100_000, actions: int = 10, dimension: int = 5, beta: float = -3.0) -> None:
        """Draw it."""
        rng = np.random.default_rng([seed, 3])
        self.actions = actions
        environment = Environment.drawn(dimension, actions, beta, rng)
        contexts = rng.normal(size=(shoppers, dimension))
        self.expected = environment.rewards(contexts)
        self.shares = environment.logging(self.expected)
        taught = rng.choice(shoppers, min(5000, shoppers), replace=False)
        action = sampled(self.shares[taught], rng)
        propensity = self.shares[taught, action]
        reward = (rng.uniform(size=taught.size) < self.expected[taught, action]).astype(np.float64)
        policy = learned_policy(contexts[taught], action, reward, propensity)
        self.target = np.asarray(softmax(4 * class_shares(policy, contexts, actions), axis=1))
        model = LogisticRegression(C=INVERSE_PENALTY, max_iter=10_000).fit(np.eye(actions)[action], reward)
        self.predicted = model.predict_proba(np.eye(actions))[:, 1]  # of the action alone: wrong on purpose
        self.visits = rng.integers(1, 8, shoppers)
        value = (self.target * self.expected).sum(axis=1)
        self.truth = float((value * self.visits).sum() / self.visits.sum())
        self.largest_weight = float((self.target / self.shares).max())

    def log(self, shoppers: int, rng: np.random.Generator) -> LoggedChoices:
        """All rows of some shoppers, drawn with replacement.

        Args:
            shoppers: how many.
            rng: draws them, their actions and answers.
        """
        drawn = rng.integers(len(self.visits), size=shoppers)
        rows, users = np.repeat(drawn, self.visits[drawn]), np.repeat(np.arange(shoppers), self.visits[drawn])
        action = sampled(self.shares[rows], rng)
        reward = rng.uniform(size=rows.size) < self.expected[rows, action]
        return logged_choices(
            reward,
            self.shares[rows, action],
            self.target[rows, action],
            users,
            predicted=self.predicted[action],
            predicted_target=self.target[rows] @ self.predicted,
        )
