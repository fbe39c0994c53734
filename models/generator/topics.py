"""Which products copy names together: what training copy never names beside a kind of product is out of place there.

Words that belong to other kinds of product are another matter (`belonging`).
"""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from models.generator.request import CopyRequest
from models.generator.slots import NOUN, slots_of
from models.generator.training_copies import Copy

MOST_REFUSED = 0.03
"""Largest share of true held-out human copies that may be refused."""
_ENOUGH = 10


@dataclass(frozen=True)
class Topics:
    """Which products belong together.

    Attributes:
        companions: noun (`noun_of`) → other nouns that its training copy names; absent: not judged.
        catalogue_nouns: every noun of the catalogue.
    """

    companions: dict[str, tuple[str, ...]]
    catalogue_nouns: tuple[str, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "_nouns", any_of(self.catalogue_nouns))

    def foreign(self, text: str, request: CopyRequest) -> list[str]:
        """Products that training copy never names beside this one.

        Args:
            text: a copy.
            request: its product.
        """
        noun = _noun(request)
        if noun not in self.companions:
            return []
        own, friends = own_words(request), self.companions[noun]
        return [other for other in finds(self._nouns, text) if other not in own and other not in friends]  # type: ignore[attr-defined]

    def as_json(self) -> dict[str, Any]:
        """For facts.json."""
        return {
            "companions": {noun: list(others) for noun, others in self.companions.items()},
            "catalogue_nouns": list(self.catalogue_nouns),
        }

    @classmethod
    def from_json(cls, held: dict[str, Any]) -> "Topics":
        """Undo `as_json`.

        Args:
            held: what it gave.
        """
        return cls({noun: tuple(others) for noun, others in held["companions"].items()}, tuple(held["catalogue_nouns"]))


def calibrate_topics(
    products: Sequence[CopyRequest], copies: Sequence[Copy], held_out: Sequence[Copy], *, most: float = MOST_REFUSED
) -> Topics:
    """Which products training copy names together; nothing is judged when that would refuse too many true human copies.

    Args:
        products: the catalogue.
        copies: training copies.
        held_out: human copies that were not counted.
        most: largest share of held-out copies that may be refused.
    """
    nouns = tuple(sorted({_noun(product) for product in products} - {""}))
    sizes = Counter(_noun(copy.request) for copy in copies)
    named: dict[str, set[str]] = defaultdict(set)
    pattern = any_of(nouns)
    for copy in copies:
        noun = _noun(copy.request)
        for other in finds(pattern, copy.text):
            named[noun].add(other)
            named[other].add(noun)
    topics = Topics({noun: tuple(sorted(others)) for noun, others in sorted(named.items()) if noun and sizes[noun] >= _ENOUGH}, nouns)
    refused = sum(bool(topics.foreign(copy.text, copy.request)) for copy in held_out)
    return topics if refused <= most * len(held_out) else Topics({}, nouns)


def _noun(request: CopyRequest) -> str:
    return next((slot.value for slot in slots_of(request) if slot.name == NOUN), "")


def own_words(request: CopyRequest) -> str:
    """Everything that the catalogue says of a product, as one text to look words up in.

    Args:
        request: the product.
    """
    return " ".join([request.title, request.brand or "", request.category, *[value for _, value in request.attributes]])


def any_of(words: Iterable[str]) -> re.Pattern[str] | None:
    """A pattern of words, the longest first; None for no words.

    Args:
        words: the words.
    """
    ordered = sorted(words, key=lambda word: (-len(word), word))
    return re.compile("|".join(map(re.escape, ordered))) if ordered else None


def finds(pattern: re.Pattern[str] | None, text: str) -> list[str]:
    """What a pattern of `any_of` finds in a text.

    Args:
        pattern: the pattern.
        text: the text.
    """
    return pattern.findall(text) if pattern else []


NO_TOPICS = Topics({}, ())
"""Judges nothing: for a source without copies."""
