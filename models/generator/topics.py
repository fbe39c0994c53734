"""What belongs to what: words that training copy uses for other kinds of product only, products that it never names together.

A word that human copy uses often, and for a few kinds only, is out of place in copy for another kind: 茶叶 does not 包裹脚背. How
often "often" is, is chosen so that few true human copies are refused (`calibrate_topics`).
"""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from models.generator.request import CopyRequest
from models.generator.slots import NOUN, slots_of
from models.generator.training_copies import Copy
from models.generator.vocabulary import Vocabulary

WORD_COUNTS = (5, 8, 12, 18, 27, 40, 60)
"""How often training copy must use a word before its absence from a kind of product says something."""
MOST_REFUSED = 0.03
"""Largest share of true held-out human copies that each of the three rules may refuse."""
_ENOUGH = {"category": 30, "noun": 10}
_WIDE = {"category": 4, "noun": 16}


@dataclass(frozen=True)
class Topics:
    """Where words and products belong.

    Attributes:
        category_homes: word → categories that use it, for words that few categories use.
        noun_homes: word → nouns (`noun_of`) that use it, for words that few nouns use.
        categories: categories with enough training copy to judge by.
        nouns: nouns with enough training copy to judge by.
        companions: noun → other nouns that its training copy names; absent: not judged.
        catalogue_nouns: every noun of the catalogue.
    """

    category_homes: dict[str, tuple[str, ...]]
    noun_homes: dict[str, tuple[str, ...]]
    categories: frozenset[str]
    nouns: frozenset[str]
    companions: dict[str, tuple[str, ...]]
    catalogue_nouns: tuple[str, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "_nouns", any_of(self.catalogue_nouns))

    def foreign(self, text: str, request: CopyRequest, vocabulary: Vocabulary) -> list[tuple[str, str]]:
        """Words and products that do not belong.

        Args:
            text: a copy.
            request: its product.
            vocabulary: cuts the text into words.

        Returns:
            (rule, word) pairs; the rule is foreign_word or companion.
        """
        own, noun = own_words(request), _noun(request)
        found: list[tuple[str, str]] = []
        words = [word for word in _plain_words(text, request, vocabulary) if word not in own]
        if request.category in self.categories:
            found += [
                ("foreign_word", word) for word in words if request.category not in self.category_homes.get(word, (request.category,))
            ]
        if noun in self.nouns:
            found += [("foreign_word", word) for word in words if noun not in self.noun_homes.get(word, (noun,))]
        if noun in self.companions:
            named = finds(self._nouns, text)  # type: ignore[attr-defined]
            found += [("companion", other) for other in named if other not in own and other not in self.companions[noun]]
        return found

    def as_json(self) -> dict[str, Any]:
        """For facts.json."""
        return {
            "category_homes": {word: list(homes) for word, homes in self.category_homes.items()},
            "noun_homes": {word: list(homes) for word, homes in self.noun_homes.items()},
            "categories": sorted(self.categories),
            "nouns": sorted(self.nouns),
            "companions": {noun: list(others) for noun, others in self.companions.items()},
            "catalogue_nouns": list(self.catalogue_nouns),
        }

    @classmethod
    def from_json(cls, held: dict[str, Any]) -> "Topics":
        """Undo `as_json`.

        Args:
            held: what it gave.
        """
        tables = [{word: tuple(homes) for word, homes in held[name].items()} for name in ("category_homes", "noun_homes", "companions")]
        return cls(tables[0], tables[1], frozenset(held["categories"]), frozenset(held["nouns"]), tables[2], tuple(held["catalogue_nouns"]))


def calibrate_topics(
    products: Sequence[CopyRequest], copies: Sequence[Copy], held_out: Sequence[Copy], vocabulary: Vocabulary, *, most: float = MOST_REFUSED
) -> Topics:
    """The strictest topics that refuse few true human copies, rule by rule.

    Args:
        products: the catalogue.
        copies: training copies.
        held_out: human copies that were not counted.
        vocabulary: cuts copies into words.
        most: largest share of held-out copies that each rule may refuse.
    """
    nouns = tuple(sorted({_noun(product) for product in products} - {""}))
    used: dict[str, dict[str, Counter[str]]] = {"category": defaultdict(Counter), "noun": defaultdict(Counter)}
    sizes: dict[str, Counter[str]] = {"category": Counter(), "noun": Counter()}
    named: dict[str, set[str]] = defaultdict(set)
    pattern = any_of(nouns)
    for copy in copies:
        places = {"category": copy.request.category, "noun": _noun(copy.request)}
        words = sorted({word for piece in copy.pieces if isinstance(piece, str) for word in vocabulary.cut(piece) if len(word) > 1})
        for level, place in places.items():
            sizes[level][place] += 1
            for word in words:
                used[level][word][place] += 1
        for other in finds(pattern, copy.text):
            named[places["noun"]].add(other)
            named[other].add(places["noun"])
    enough = {level: frozenset(place for place, n in count.items() if place and n >= _ENOUGH[level]) for level, count in sizes.items()}

    def homes(level: str) -> dict[str, tuple[str, ...]]:
        for least in WORD_COUNTS if len(enough[level]) > 2 else ():
            widest = max(1, len(enough[level]) // _WIDE[level])
            rare = {word: tuple(sorted(n)) for word, n in sorted(used[level].items()) if n.total() >= least and len(n) <= widest}
            only = Topics(
                rare if level == "category" else {}, rare if level == "noun" else {}, enough["category"], enough["noun"], {}, nouns
            )
            if _refused(only, held_out, vocabulary) <= most * len(held_out):
                return rare
        return {}

    companions = {noun: tuple(sorted(others)) for noun, others in sorted(named.items()) if noun in enough["noun"]}
    if _refused(Topics({}, {}, frozenset(), frozenset(), companions, nouns), held_out, vocabulary) > most * len(held_out):
        companions = {}
    return Topics(homes("category"), homes("noun"), enough["category"], enough["noun"], companions, nouns)


def _refused(topics: Topics, copies: Sequence[Copy], vocabulary: Vocabulary) -> int:
    return sum(bool(topics.foreign(copy.text, copy.request, vocabulary)) for copy in copies)


def _noun(request: CopyRequest) -> str:
    return next((slot.value for slot in slots_of(request) if slot.name == NOUN), "")


def _plain_words(text: str, request: CopyRequest, vocabulary: Vocabulary) -> list[str]:
    for slot in sorted(slots_of(request), key=lambda slot: -len(slot.value)):
        text = text.replace(slot.value, "\n")
    return [word for word in vocabulary.cut(text) if len(word) > 1]


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


NO_TOPICS = Topics({}, {}, frozenset(), frozenset(), {}, ())
"""Judges nothing: for a source without copies."""
