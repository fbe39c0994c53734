"""Randomised logs whose truth is known: ten mixed columns, three or more actions, effects of contexts of a chosen shape and strength."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from models.policy_learning import RandomisedLog

Array = NDArray[np.float64]
SHAPES = ("line", "threshold", "word", "interaction", "mixture")
PURCHASE = 100.0
"""Mean spend of those who buy."""
_FITTED = 15_000


@dataclass(frozen=True)
class World:
    """What rewards depend on.

    Attributes:
        shape: of the effects of contexts.
        reward: binary; spend (nearly always zero, long tail); amount (mean plus a normal error of its size).
        level: mean reward.
        gain: value of the best action by context over that of the best single action, less 1; 0: contexts change no action's rank.
        actions: k.
        uniform: whether all actions were drawn alike, or by context.
        seed: of everything that is drawn about the world.
    """

    shape: str = "mixture"
    reward: str = "binary"
    level: float = 0.15
    gain: float = 0.1
    actions: int = 3
    uniform: bool = True
    seed: int = 0

    def means(self, contexts: pd.DataFrame) -> Array:
        """True mean reward of every action, ``(n, k)``.

        Args:
            contexts: as `draw_contexts` draws them.
        """
        return self._means(contexts, self._strength())

    def _strength(self) -> float:
        """How strong effects of contexts must be for the gain, by bisection."""
        if self.gain <= 0:
            return 0.0
        contexts = draw_contexts(_FITTED, np.random.default_rng([self.seed, 1]))
        low, high = 0.0, 8.0
        for _ in range(14):
            middle = (low + high) / 2
            means = self._means(contexts, middle)
            best = means.mean(axis=0).max()
            low, high = (middle, high) if means.max(axis=1).mean() / best - 1 < self.gain else (low, middle)
        return (low + high) / 2

    def _means(self, contexts: pd.DataFrame, strength: float) -> Array:
        rng = np.random.default_rng([self.seed, 2])
        effects = np.concatenate([[0.6], rng.uniform(0.2, 0.5, self.actions - 2), [0.0]])[rng.permutation(self.actions)]
        columns = _columns(contexts)
        liking = np.exp(0.5 * _standard(columns @ rng.normal(size=columns.shape[1])) - 0.125)
        shapes = np.stack([_shaped(self.shape, columns, rng) for _ in range(self.actions)], axis=1)
        means = self.level / 1.3 * liking[:, None] * (1 + effects + strength * shapes).clip(0.05)
        return means.clip(0, 0.95) if self.reward == "binary" else means


def draw_contexts(rows: int, rng: np.random.Generator) -> pd.DataFrame:
    """Ten columns: numbers with ties, tails and gaps, flags, and words.

    Args:
        rows: how many.
        rng: draws them.
    """
    spent = np.exp(4.8 + 0.9 * rng.normal(size=rows))
    age = rng.normal(40, 12, rows)
    return pd.DataFrame(
        {
            "months": rng.integers(1, 13, rows).astype(float),
            "spent": spent,
            "age": np.where(rng.random(rows) < 0.1, np.nan, age),
            "score": rng.normal(size=rows),
            "outdoor": rng.integers(0, 2, rows).astype(float),
            "indoor": (rng.random(rows) < 0.55).astype(float),
            "new": (rng.random(rows) < 0.5).astype(float),
            "place": rng.choice(["town", "suburb", "country"], rows, p=[0.4, 0.45, 0.15]),
            "way": rng.choice(["web", "phone", "both"], rows, p=[0.44, 0.44, 0.12]),
            "bracket": np.array(["a", "b", "c", "d", "e"])[np.digitize(spent, [100, 200, 350, 500])],
        }
    )


def draw_log(world: World, rows: int, rng: np.random.Generator) -> tuple[RandomisedLog, Array]:
    """A log of the world.

    Args:
        world: what rewards depend on.
        rows: how many.
        rng: draws contexts, actions and rewards.

    Returns:
        The log, and the true mean rewards ``(n, k)`` of its rows.
    """
    contexts = draw_contexts(rows, rng)
    means = world.means(contexts)
    propensities = np.full((rows, world.actions), 1 / world.actions)
    if not world.uniform:
        leaning = np.exp(0.7 * _columns(contexts)[:, np.arange(world.actions) % 8])
        propensities = 0.2 / world.actions + 0.8 * leaning / leaning.sum(axis=1, keepdims=True)
    actions = (propensities.cumsum(axis=1) < rng.random((rows, 1))).sum(axis=1).clip(0, world.actions - 1)
    mean = means[np.arange(rows), actions]
    if world.reward == "binary":
        rewards = (rng.random(rows) < mean).astype(float)
    elif world.reward == "spend":
        rewards = (rng.random(rows) < mean / PURCHASE) * PURCHASE * np.exp(rng.normal(size=rows) - 0.5)
    else:
        rewards = mean + world.level * rng.normal(size=rows)
    kinds = {str(name): "category" if contexts[name].dtype.kind not in "fi" else "number" for name in contexts}
    log = RandomisedLog(contexts, kinds, actions, world.actions, propensities[np.arange(rows), actions], rewards)
    return log, means


def _columns(contexts: pd.DataFrame) -> Array:
    """What effects are made of: ``(n, 10)``, each column of mean 0 and variance 1 in the population."""
    age = contexts["age"].fillna(40).to_numpy()
    words = [((contexts[name] == word).to_numpy(), share) for name, word, share in _WORDS]
    return np.stack(
        [
            (contexts["months"].to_numpy() - 6.5) / 3.45,
            (np.log(contexts["spent"].to_numpy()) - 4.8) / 0.9,
            (age - 40) / 11.4,
            contexts["score"].to_numpy(),
            *((told - share) / np.sqrt(share * (1 - share)) for told, share in words),
        ],
        axis=1,
    )


_WORDS = (
    ("outdoor", 1.0, 0.5),
    ("indoor", 1.0, 0.55),
    ("new", 1.0, 0.5),
    ("place", "country", 0.15),
    ("way", "web", 0.44),
    ("way", "both", 0.12),
)


def _shaped(shape: str, columns: Array, rng: np.random.Generator) -> Array:
    """One effect of contexts, ``(n,)``; the generator is used alike whatever the rows."""
    number, cut, word, sign = rng.integers(4), rng.uniform(-0.7, 0.7), rng.integers(4, 10), rng.choice([-1.0, 1.0])
    weights = rng.normal(size=columns.shape[1]) * (rng.permutation(columns.shape[1]) < 4)
    if shape == "line":
        return _standard(columns @ weights)
    if shape == "threshold":
        return sign * _standard((columns[:, number] > cut).astype(float))
    if shape == "word":
        return np.asarray(sign * columns[:, word])
    if shape == "interaction":
        return sign * _standard(((columns[:, number] > cut) & (columns[:, word] > 0)).astype(float))
    if shape == "mixture":
        return _standard(sum((_shaped(name, columns, rng) for name in ("line", "threshold", "interaction")), np.zeros(len(columns))))
    raise ValueError(f"no shape is named {shape!r}; there are {', '.join(SHAPES)}")


def _standard(values: Array) -> Array:
    return np.asarray((values - values.mean()) / max(float(values.std()), 1e-9))
