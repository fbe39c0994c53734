"""Whether a text hangs together: word pairs that human copy should have made by now and has not, learned against damaged copies of it.

A language model rewards common words, and so takes a row of common words for fluent. Here a pair of neighbours counts against a text by how
often chance alone would have put its two words side by side in training copy, where it never stands: 的 after 了 is damning, two rare words
that meet for the first time are not. What such signs weigh is fitted on held-out human copy against the same copy damaged.
"""

import itertools
import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

SIGNS = ("strange pairs", "strangeness", "strange pairs one apart", "strangeness one apart", "strange both ways", "strangest stretch",
         "new spellings", "repeated words", "doubled marks", "unknown words", "rare pairs")  # fmt: skip
"""What is counted; each is a share or a mean over the text's words."""
ENOUGH = 50
"""Fewer training texts fit no weights."""
_FOLDS = 4
_STRETCH = 4
_MARKS = frozenset("，。！？、；：,.!?;:~…～")
_BEGIN, _END = "<s>", "</s>"
_PRIOR = 1.0
_LARGEST = 4.0

Words = Sequence[str]


class PairCounts:
    """What human copy says side by side.

    Args:
        texts: lists of words, without begin and end.
    """

    def __init__(self, texts: Sequence[Words]) -> None:
        self._words: Counter[str] = Counter()
        self._pairs: Counter[tuple[str, str]] = Counter()
        self._apart: set[tuple[str, str]] = set()
        self._spellings: set[str] = set()
        for text in texts:
            padded = (_BEGIN, *text, _END)
            self._words.update(padded)
            self._pairs.update(itertools.pairwise(padded))
            self._apart.update(zip(padded, padded[2:], strict=False))
            whole = "".join(text)
            self._spellings.update(whole[at : at + 3] for at in range(len(whole) - 2))
        self._size = max(self._words.total(), 1)

    def signs(self, text: Words) -> list[float]:
        """The signs of a text, in the order of `SIGNS`.

        Args:
            text: words.
        """
        padded = (_BEGIN, *text, _END)
        pairs = list(itertools.pairwise(padded))
        near = [0.0 if pair in self._pairs else self._surprise(*pair) for pair in pairs]
        far = [0.0 if pair in self._apart else self._surprise(*pair) for pair in zip(padded, padded[2:], strict=False)] or [0.0]
        whole = "".join(text)
        new = sum(whole[at : at + 3] not in self._spellings for at in range(len(whole) - 2))
        size, words = len(pairs), max(len(text), 1)
        return [
            sum(value > 0 for value in near) / size,
            sum(near) / size,
            sum(value > 0 for value in far) / len(far),
            sum(far) / len(far),
            sum(one > 0 and other > 0 for one, other in zip(near[1:], far, strict=False)) / size,
            max(sum(near[at : at + _STRETCH]) for at in range(max(size - _STRETCH + 1, 1))) / _STRETCH,
            new / max(len(whole) - 2, 1),
            1.0 - len(set(text)) / words,
            sum(one in _MARKS and other in _MARKS for one, other in pairs) / size,
            sum(word not in self._words for word in text) / words,
            sum(self._pairs[pair] == 1 for pair in pairs) / size,
        ]

    def _surprise(self, first: str, second: str) -> float:
        """How surprising it is that a pair was never met: by how often chance would have made it."""
        return 0.1 + math.log1p(4.0 * self._words[first] * self._words[second] / self._size)


@dataclass(frozen=True)
class FluencyJudge:
    """Counts of human copy, and what the signs weigh.

    Attributes:
        counts: of all training copy.
        weights: (3 · signs + 1,): centre, spread, then constant and weights of the signs and of their squares; empty: nothing was fitted.
    """

    counts: PairCounts
    weights: tuple[float, ...]

    def level(self, text: Words) -> float:
        """How much more a text is like human copy than like damaged copy, in log-odds; 0 when nothing was fitted.

        Args:
            text: words.
        """
        if not self.weights:
            return 0.0
        size = len(SIGNS)
        centre, spread, weights = np.split(np.array(self.weights), [size, 2 * size])
        return float(_design(np.array([self.counts.signs(text)]), centre, spread)[0] @ weights)

    @classmethod
    def of(cls, texts: Sequence[Words], weights: Sequence[float] | None = None) -> "FluencyJudge":
        """The judge of training copy.

        Args:
            texts: words of each training copy.
            weights: as fitted before; None to fit them.
        """
        kept = [text for text in texts if text]
        fitted = tuple(weights) if weights is not None else fit_weights(kept)
        return cls(PairCounts(kept), fitted)


def fit_weights(texts: Sequence[Words]) -> tuple[float, ...]:
    """Logistic regression of human copy against damaged copy; each fold is read by the counts of the others, as new copy will be.

    Args:
        texts: words of each training copy.

    Returns:
        Weights as `FluencyJudge` takes them; none for fewer than `ENOUGH` texts.
    """
    if len(texts) < ENOUGH:
        return ()
    rng = np.random.default_rng(20)
    fold = rng.permutation(len(texts)) % _FOLDS
    rows, human = [], []
    for number in range(_FOLDS):
        learned = [text for text, mine in zip(texts, fold, strict=True) if mine != number]
        unseen = [text for text, mine in zip(texts, fold, strict=True) if mine == number]
        counts, damages = PairCounts(learned), _damages(learned, rng)
        for row, text in enumerate(unseen):
            rows += [counts.signs(text), counts.signs(damages[row % len(damages)](text))]
            human += [1.0, 0.0]
    signs, labels = np.array(rows), np.array(human)
    centre, spread = signs.mean(0), signs.std(0) + 1e-6
    weights = _logistic(_design(signs, centre, spread), labels)
    return (*centre.tolist(), *spread.tolist(), *weights.tolist())


def _design(signs: NDArray[np.float64], centre: NDArray[np.float64], spread: NDArray[np.float64]) -> NDArray[np.float64]:
    scaled = np.clip((signs - centre) / spread, -_LARGEST, _LARGEST)
    return np.hstack([np.ones((len(signs), 1)), scaled, scaled**2])


def _logistic(design: NDArray[np.float64], labels: NDArray[np.float64]) -> NDArray[np.float64]:
    """Newton's method with a Gaussian prior on all weights but the constant."""
    prior = np.full(design.shape[1], _PRIOR)
    prior[0] = 1e-6
    weights = np.zeros(design.shape[1])
    for _ in range(25):
        p = 1.0 / (1.0 + np.exp(-np.clip(design @ weights, -30.0, 30.0)))
        gradient = design.T @ (p - labels) + prior * weights
        hessian = (design * (p * (1.0 - p))[:, None]).T @ design + np.diag(prior)
        weights = weights - np.linalg.solve(hessian, gradient)
    return weights


def _damages(texts: Sequence[Words], rng: np.random.Generator) -> list[Callable[[Words], list[str]]]:
    """Ways to spoil a text: words swapped, neighbours swapped, words lost, two texts spliced, words drawn from pairs or at random."""
    said = [word for text in texts for word in text]
    after: dict[str, list[str]] = {}
    for text in texts:
        for first, second in zip((_BEGIN, *text), (*text, _END), strict=True):
            after.setdefault(first, []).append(second)

    def any_of(words: Words) -> int:
        return int(rng.integers(len(words)))

    def swapped(text: Words) -> list[str]:
        found = list(text)
        for _ in range(max(1, len(found) // 12)):
            one, other = any_of(found), any_of(found)
            found[one], found[other] = found[other], found[one]
        return found

    def neighbours(text: Words) -> list[str]:
        found = list(text)
        for _ in range(max(1, len(found) // 12)):
            at = any_of(found)
            found[at : at + 2] = found[at : at + 2][::-1]
        return found

    def lost(text: Words) -> list[str]:
        found = [word for word in text if rng.random() > 0.12]
        return found if found and len(found) < len(text) else list(text[1:]) or list(text)

    def spliced(text: Words) -> list[str]:
        other = texts[int(rng.integers(len(texts)))]
        cut = 1 + any_of(text)
        return [*text[:cut], *other[any_of(other) :]][: max(len(text), cut + 1)]

    def drawn(noise: float) -> Callable[[Words], list[str]]:
        def draw(text: Words) -> list[str]:
            found: list[str] = []
            word = _BEGIN
            while len(found) < len(text):
                choices = said if rng.random() < noise else after[word]
                word = choices[any_of(choices)]
                if word == _END:
                    word = _BEGIN
                    continue
                found.append(word)
            return found

        return draw

    return [swapped, neighbours, lost, spliced, drawn(0.0), drawn(0.3), drawn(0.7), drawn(1.0)]
