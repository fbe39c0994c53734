"""Interpolated n-gram language model over delexicalised words: the 3-gram baseline, and the judge of fluency."""

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from core.vocabulary import Origin
from models.generator.request import CopyRequest
from models.generator.slots import Piece, Slot, lexicalise, slots_of
from models.generator.training_copies import Copy
from models.generator.vocabulary import Vocabulary

_END = "</s>"


def symbols(pieces: Sequence[Piece], slots: Sequence[Slot], vocabulary: Vocabulary) -> list[str]:
    """Words and slot names of a text; a slot is named in braces.

    Args:
        pieces: a delexicalised text.
        slots: its product's slots.
        vocabulary: cuts runs into words.
    """
    found: list[str] = []
    for piece in pieces:
        found.extend([f"{{{slots[piece].name}}}"] if isinstance(piece, int) else vocabulary.words(piece))
    return found


class NgramModel:
    """P(word | the order − 1 words before it), Witten–Bell interpolated down to a uniform distribution.

    Args:
        order: 1 or more.
        texts: lists of symbols, without begin and end.

    Source:
        P(w | h) = (c(h, w) + T(h) · P(w | h′)) / (c(h) + T(h)), T(h) the distinct words after h (Witten & Bell 1991).
    """

    def __init__(self, order: int, texts: Sequence[Sequence[str]]) -> None:
        self.order = order
        counts: defaultdict[tuple[str, ...], dict[str, int]] = defaultdict(dict)
        for text in texts:
            padded = ("<s>",) * (order - 1) + (*text, _END)
            for place in range(order - 1, len(padded)):
                word = padded[place]
                for size in range(order):
                    following = counts[padded[place - size : place]]
                    following[word] = following.get(word, 0) + 1
        self.counts = dict(counts)
        self.totals = {history: sum(counter.values()) for history, counter in self.counts.items()}
        self.size = len(self.counts.get((), ())) + 1
        self._choices: dict[tuple[tuple[str, ...], float], tuple[list[str], np.ndarray]] = {}

    def probability(self, word: str, history: tuple[str, ...]) -> float:
        """P(word | history).

        Args:
            word: a symbol, or the end.
            history: at most order − 1 symbols.
        """
        p = 1.0 / self.size
        for size in range(len(history) + 1):
            counter = self.counts.get(history[len(history) - size :])
            if counter is None:
                break
            total, kinds = self.totals[history[len(history) - size :]], len(counter)
            p = (counter.get(word, 0) + kinds * p) / (total + kinds)
        return p

    def log_probability(self, text: Sequence[str]) -> float:
        """Mean log-probability a symbol, the end included, in nats.

        Args:
            text: symbols.
        """
        logs = self._logs(text)
        return sum(logs) / len(logs)

    def _logs(self, text: Sequence[str]) -> list[float]:
        padded = ("<s>",) * (self.order - 1) + (*text, _END)
        return [
            math.log(self.probability(padded[place], padded[place - self.order + 1 : place]))
            for place in range(self.order - 1, len(padded))
        ]

    def draw(self, rng: np.random.Generator, allowed: frozenset[str], limit: int, temperature: float = 1.0) -> list[str]:
        """Sample a text: at each place from the counts of the history, or with Witten–Bell's weight from a shorter one.

        Args:
            rng: the stream.
            allowed: slot names that the product has; each is used once at the most.
            limit: symbols at most.
            temperature: above 0; counts and weights are raised to its inverse, so that colder is likelier and less varied.
        """
        text: list[str] = []
        free = set(allowed)
        padded = ["<s>"] * (self.order - 1)
        while len(text) < limit:
            for _ in range(20):
                word = self._next(tuple(padded[len(padded) - self.order + 1 :]), rng, temperature)
                if not (word.startswith("{") and word.endswith("}")) or word in free:
                    break
            else:
                return text
            if word == _END:
                return text
            free.discard(word)
            text.append(word)
            padded.append(word)
        return text

    def _next(self, history: tuple[str, ...], rng: np.random.Generator, temperature: float) -> str:
        while history:
            counter = self.counts.get(history)
            if counter is not None:
                shorter = (len(counter) / self.totals[history]) ** (1 / temperature)  # Witten–Bell's odds of a shorter history
                if rng.random() < 1 / (1 + shorter):
                    break
            history = history[1:]
        place = (history, temperature)
        if place not in self._choices:
            counter = self.counts[history]
            counts = np.array(list(counter.values()), float)
            self._choices[place] = (list(counter), np.cumsum((counts / counts.max()) ** (1 / temperature)))
        words, cumulative = self._choices[place]
        return words[min(int(np.searchsorted(cumulative, rng.random() * cumulative[-1], side="right")), len(words) - 1)]


@dataclass(frozen=True)
class NgramGenerator:
    """The 3-gram baseline: one model a scene and channel, over delexicalised words.

    Attributes:
        models: by (scene, channel); ("", "") is all copies together, for places without copies of their own.
        temperature: see `NgramModel.draw`.
    """

    models: dict[tuple[str, str], NgramModel]
    temperature: float = 1.0
    name: str = Origin.NGRAM

    def write(self, requests: Sequence[CopyRequest], n: int, rng: np.random.Generator) -> list[list[str]]:
        """See `CopyGenerator.write`.

        Args:
            requests: the orders.
            n: texts a request.
            rng: the stream.
        """
        found = []
        for request in requests:
            slots = slots_of(request)
            place = {f"{{{slot.name}}}": index for index, slot in enumerate(slots)}
            model = self.models.get((request.scene, request.channel), self.models[("", "")])
            drawn = [model.draw(rng, frozenset(place), 120, self.temperature) for _ in range(n)]
            found.append([lexicalise([place.get(word, word) for word in text], slots) for text in drawn])
        return found

    def save(self, folder: Path) -> None:
        """Nothing of its own: it is counted again from the bundle's training copies.

        Args:
            folder: not used.
        """


def fit_ngram(copies: Sequence[Copy], vocabulary: Vocabulary) -> NgramGenerator:
    """Count the baseline's 3-grams.

    Args:
        copies: training copies, at least one.
        vocabulary: cuts runs into words.
    """
    texts = [symbols(copy.pieces, slots_of(copy.request), vocabulary) for copy in copies]
    groups: dict[tuple[str, str], list[list[str]]] = {("", ""): texts}
    for copy, text in zip(copies, texts, strict=True):
        groups.setdefault((copy.request.scene, copy.request.channel), []).append(text)
    return NgramGenerator({place: NgramModel(3, group) for place, group in groups.items()})
