"""Which temperature and guidance to write with: each round of the pool is dealt to several settings, and what came of it deals the next.

A setting is an arm of a Gaussian bandit; a slot's reward is what its texts are worth (see `rewards`). Rewards are compared within a round
only, since later rounds hold rarer products and find more said already. The next round's slots go to settings by Thompson sampling, so a
setting that refuses much, or says the same again and again, soon writes little.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.generator.gpt import Sampling

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_PRIOR = 0.25
"""Standard deviation of a setting's mean before anything is seen, in standard deviations of a slot's reward."""
_ORDER = 4
_LEAST = 0.5
"""A text that is worth less than this share of the slot's best is not shown beside it."""
_NEWNESS_WEIGHT = 0.25
"""What saying something new weighs beside what a text is worth."""


@dataclass
class SamplingSearch:
    """What is known of each setting.

    Attributes:
        arms: the settings, the one that held-out copy chose first.
        counts: (arms,) slots written with each.
        sums: (arms,) their rewards beyond the mean of their round.
        squares: sum of the squares of all slots' rewards beyond it.
        raw: (arms,) sum of the rewards as they are.
    """

    arms: tuple[Sampling, ...]
    counts: Ints = field(init=False)
    sums: Floats = field(init=False)
    raw: Floats = field(init=False)
    squares: float = 0.0

    def __post_init__(self) -> None:
        self.counts = np.zeros(len(self.arms), np.int64)
        self.sums, self.raw = np.zeros(len(self.arms)), np.zeros(len(self.arms))

    def deal(self, slots: int, rng: np.random.Generator) -> Ints:
        """Which setting writes each slot: the first round in turn, then by a draw from what is known.

        Args:
            slots: of the round.
            rng: the stream; nothing is drawn from it where there is one setting.

        Returns:
            (slots,) indices of ``arms``.
        """
        if len(self.arms) == 1:
            return np.zeros(slots, np.int64)
        if not self.counts.any():
            return rng.permutation(np.arange(slots) % len(self.arms))
        mean, deviation = self._posterior()
        drawn: Ints = (mean + deviation * rng.standard_normal((slots, len(self.arms)))).argmax(1)
        return drawn

    def learn(self, dealt: Ints, rewards: Floats) -> None:
        """Take in a round.

        Args:
            dealt: (slots,) what `deal` gave.
            rewards: (slots,) of `rewards`.
        """
        size = len(self.arms)
        weight = np.bincount(dealt, minlength=size)
        totals = np.bincount(dealt, rewards, size)
        # a round in which the good settings write more is no worse for the others: its level is the mean over settings
        level = float(np.mean(totals[weight > 0] / weight[weight > 0]))
        self.counts += weight
        self.sums += totals - level * weight
        self.raw += totals
        self.squares += float(((rewards - level) ** 2).sum())

    def _posterior(self) -> tuple[Floats, Floats]:
        noise = max(self.squares / max(int(self.counts.sum()), 1), 1e-12)
        precision = self.counts / noise + 1.0 / (_PRIOR**2 * noise)
        return self.sums / noise / precision, 1.0 / np.sqrt(precision)

    def summary(self) -> list[dict[str, Any]]:
        """Each setting with its slots, their mean reward, and how much better than the mean setting it is believed to be."""
        mean, deviation = self._posterior()
        return [
            {
                "temperature": round(arm.temperature, 4),
                "guidance": arm.guidance,
                "slots": int(count),
                "reward": round(float(raw / count), 4) if count else None,
                "beyond_mean": [round(float(m - 1.96 * d), 4), round(float(m + 1.96 * d), 4)],
            }
            for arm, count, raw, m, d in zip(self.arms, self.counts, self.raw, mean, deviation, strict=True)
        ]


def settings(base: Sampling, temperatures: Sequence[float], guidances: Sequence[float]) -> tuple[Sampling, ...]:
    """The settings around one: another temperature or another guidance, not both at once.

    Args:
        base: what held-out copy chose.
        temperatures: multiples of its temperature; 1 is always among the settings.
        guidances: multiples of its guidance.
    """
    warm = [Sampling(base.temperature * factor, base.top_p, base.guidance) for factor in temperatures]
    led = [Sampling(base.temperature, base.top_p, base.guidance * factor) for factor in guidances]
    return tuple(dict.fromkeys([base, *warm, *led]))


class Said:
    """What the pool says already, as character 4-grams by product category."""

    def __init__(self) -> None:
        self._grams: dict[str, set[str]] = {}

    def newness(self, text: str, category: str) -> float:
        """Share of a text's 4-grams that no text of the category has yet; 1 for a text too short to have any.

        Args:
            text: a candidate.
            category: its product's.
        """
        grams, known = _grams(text), self._grams.get(category, set())
        return sum(gram not in known for gram in grams) / len(grams) if grams else 1.0

    def add(self, texts: Sequence[str], category: str) -> None:
        """Remember texts.

        Args:
            texts: what was kept.
            category: of their product.
        """
        self._grams.setdefault(category, set()).update(gram for text in texts for gram in _grams(text))


def reward(worths: Sequence[float], newness: Sequence[float], kept: int) -> float:
    """What came of a slot: the mean over the texts it wanted, a missing one counting nothing.

    Args:
        worths: of the texts kept, in [0, 1].
        newness: of the same texts (`Said.newness`).
        kept: texts wanted, at least as many.

    Returns:
        In [0, 1].
    """
    parts = [worth ** (1 - _NEWNESS_WEIGHT) * max(new, 0.05) ** _NEWNESS_WEIGHT for worth, new in zip(worths, newness, strict=True)]
    return float(sum(parts)) / kept


def spread(texts: Sequence[str], worths: Sequence[float], n: int) -> list[int]:
    """A diverse few: each next text is worth most beyond what it shares with those taken, and not much less than the best.

    Args:
        texts: accepted candidates of one slot.
        worths: what each is worth, in [0, 1].
        n: texts to take at the most.

    Returns:
        Their rows, in the order taken; the worthiest first, the text itself decides between equals.
    """
    grams = [frozenset(_grams(text, 2)) for text in texts]
    taken: list[int] = []
    least = _LEAST * max(worths, default=0.0)
    left = sorted((row for row in range(len(texts)) if worths[row] >= least), key=lambda row: texts[row])
    while left and len(taken) < n:

        def gain(row: int) -> float:
            shared = max((len(grams[row] & grams[other]) / max(len(grams[row]), 1) for other in taken), default=0.0)
            return worths[row] * (1.0 - shared)

        best = max(left, key=gain)
        taken.append(best)
        left.remove(best)
    return taken


def _grams(text: str, order: int = _ORDER) -> list[str]:
    return [text[at : at + order] for at in range(len(text) - order + 1)]
