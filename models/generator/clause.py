"""The stitching baseline: for each of the product's facts one training clause that states it, the most similar product's first.

It is no language model: it cannot contradict the product and reads well within a clause, but all its words are somebody's. What it scores
shows how much of BLEU and ROUGE is had by copying.
"""

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from heapq import nsmallest
from pathlib import Path

import numpy as np

from core.vocabulary import Origin
from models.generator.request import CopyRequest
from models.generator.retrieval import features_of
from models.generator.slots import Piece, Slot, lexicalise, slots_of
from models.generator.training_copies import Copy

_ENDS = re.compile(r"(?<=[。！？!?；;，,、～~])")
_MARKS = "。！？!?；;，,、～~ "
_NEAREST = 5
"""Clauses among which one is drawn, those of the most similar products."""


@dataclass(frozen=True)
class _Clause:
    """One clause: its pieces, slots numbered in the order of ``names``; what its product says in them; where it stood, and for what."""

    number: int
    pieces: tuple[Piece, ...]
    names: tuple[str, ...]
    named: frozenset[str]
    values: frozenset[str]
    place: tuple[str, str]
    features: frozenset[str]


def clauses_of(pieces: Sequence[Piece]) -> list[tuple[Piece, ...]]:
    """Cut a delexicalised text behind its punctuation marks.

    Args:
        pieces: the text.
    """
    found: list[list[Piece]] = [[]]
    for piece in pieces:
        parts = [piece] if isinstance(piece, int) else _ENDS.split(piece)
        for number, part in enumerate(parts):
            if number:
                found.append([])
            if part != "":
                found[-1].append(part)
    return [tuple(clause) for clause in found if any(isinstance(piece, int) or piece.strip(_MARKS) for piece in clause)]


@dataclass(frozen=True)
class ClauseGenerator:
    """Training clauses by the slot that they state.

    Attributes:
        copies: training copies.
    """

    copies: tuple[Copy, ...]
    name: str = Origin.CLAUSE

    def __post_init__(self) -> None:
        by_name: dict[str, list[_Clause]] = defaultdict(list)
        by_fact: dict[str, list[_Clause]] = defaultdict(list)
        count = 0
        for copy in self.copies:
            slots = slots_of(copy.request)
            features = features_of(copy.request)
            for clause in clauses_of(copy.pieces):
                numbers = [piece for piece in clause if isinstance(piece, int)]
                names = tuple(slots[number].name for number in numbers)
                values = frozenset(f"{slots[number].name}={slots[number].value}" for number in numbers)
                place = (copy.request.scene, copy.request.channel)
                kept = _Clause(count, _named(clause, names), names, frozenset(names), values, place, features)
                count += 1
                for name in kept.named:
                    by_name[name].append(kept)
                for fact in values:
                    by_fact[fact].append(kept)
        object.__setattr__(self, "_by_name", dict(by_name))
        object.__setattr__(self, "_by_fact", dict(by_fact))

    def write(self, requests: Sequence[CopyRequest], n: int, rng: np.random.Generator) -> list[list[str]]:
        """See `CopyGenerator.write`; a product none of whose facts stands in training copy gets no text.

        Args:
            requests: the orders.
            n: texts a request.
            rng: the stream.
        """
        return [list(dict.fromkeys(filter(None, (self._stitch(request, rng) for _ in range(n))))) for request in requests]

    def _stitch(self, request: CopyRequest, rng: np.random.Generator) -> str:
        slots = slots_of(request)
        place = {slot.name: number for number, slot in enumerate(slots)}
        features, wanted = features_of(request), (request.scene, request.channel)
        said: set[str] = set()
        text = ""
        for slot in slots:
            if slot.name in said:
                continue
            nearest = self._nearest(slot, wanted, features, frozenset(place.keys() - said))
            if not nearest:
                continue
            clause = nearest[int(rng.integers(len(nearest)))]
            piece = lexicalise([place[clause.names[piece]] if isinstance(piece, int) else piece for piece in clause.pieces], slots)
            if len(text) + len(piece) > request.max_length:
                break
            text += piece.rstrip(_MARKS) + "，"
            said |= clause.named
        return text.rstrip(_MARKS) + "。" if text else ""

    def _nearest(self, slot: Slot, wanted: tuple[str, str], features: frozenset[str], free: frozenset[str]) -> list[_Clause]:
        """At most `_NEAREST` clauses: those that state this very value first, then those of the place, then by likeness of the product.

        A slot has tens of thousands of clauses in a large corpus: they are gone through tier by tier, and never sorted whole.
        """
        own = f"{slot.name}={slot.value}"
        facts: dict[str, list[_Clause]] = self._by_fact  # type: ignore[attr-defined]
        names: dict[str, list[_Clause]] = self._by_name  # type: ignore[attr-defined]
        found: list[_Clause] = []
        for pool, stating in ((facts.get(own, []), True), (names.get(slot.name, []), False)):
            for placed in (True, False):
                tier = [
                    clause
                    for clause in pool
                    if (clause.place == wanted) == placed and (stating or own not in clause.values) and clause.named <= free
                ]
                found += nsmallest(_NEAREST - len(found), tier, key=lambda clause: (-_likeness(clause.features, features), clause.number))
                if len(found) == _NEAREST:
                    return found
        return found

    def save(self, folder: Path) -> None:
        """Nothing of its own: it reads the bundle's training copies.

        Args:
            folder: not used.
        """


def _named(clause: Sequence[Piece], names: Sequence[str]) -> tuple[Piece, ...]:
    """The clause with its slots numbered by their order in ``names``."""
    count = iter(range(len(names)))
    return tuple(next(count) if isinstance(piece, int) else piece for piece in clause)


def _likeness(first: frozenset[str], second: frozenset[str]) -> float:
    return len(first & second) / max(len(first | second), 1)
