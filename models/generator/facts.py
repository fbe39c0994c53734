"""Facts: generated copy states no attribute value, brand, number, price, date or offer that its product does not have.

The lexicon is the catalogue's own: attribute values (those that human copy uses for products that have them; a value such as 时尚, which
human copy says of any product, is a word and no fact), brands, and the numbers of each product. Words that training copy uses for other
categories only are refused too: 茶叶 does not 包裹脚背.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from core.files import read_json, write_json
from models.generator.request import CopyRequest
from models.generator.slots import price_text, slots_of
from models.generator.training_copies import DATE, OFFER, Copy
from models.generator.vocabulary import Vocabulary

_NUMBER = re.compile(r"[0-9]+(?:\.[0-9]+)?")
_CHINESE_COUNT = re.compile(
    r"[一二三四五六七八九十百千两半]+(?:折|元|块钱|毫升|升|克|千克|公斤|斤|小时|分钟|毫米|厘米|寸|瓦|毫安|年质保|倍|成)"
)
_MIN_CATEGORY_COPIES = 30


@dataclass(frozen=True)
class Fault:
    """One statement that the product does not bear out.

    Attributes:
        rule: contradiction (another value of an exclusive key), attribute, brand, number, price, offer, date or foreign_word.
        found: the words.
    """

    rule: str
    found: str


@dataclass(frozen=True)
class Facts:
    """What may be said of a product, judged by the catalogue.

    Attributes:
        values: attribute value → keys it stands under.
        exclusive: keys of which a product has one value at most.
        brands: all brands of the catalogue.
        homes: word → categories whose training copy uses it, for frequent words of categories with enough copy.
        categories: the categories that have enough copy for `homes` to speak of them.
    """

    values: dict[str, tuple[str, ...]]
    exclusive: frozenset[str]
    brands: tuple[str, ...]
    homes: dict[str, tuple[str, ...]]
    categories: frozenset[str]

    def __post_init__(self) -> None:
        object.__setattr__(self, "_values", _any_of(self.values))
        object.__setattr__(self, "_brands", _any_of(self.brands))

    def check(self, text: str, request: CopyRequest, vocabulary: Vocabulary) -> list[Fault]:
        """Every statement that the product does not bear out.

        Args:
            text: a copy.
            request: its product.
            vocabulary: cuts the text into words.

        Returns:
            Faults; empty when there is none.
        """
        own = " ".join([request.title, request.brand or "", request.category, *[value for _, value in request.attributes]])
        keys = {key for key, _ in request.attributes}
        faults: list[Fault] = []
        for found in _finds(self._values, text):  # type: ignore[attr-defined]
            if found not in own:
                clash = any(key in keys and key in self.exclusive for key in self.values[found])
                faults.append(Fault("contradiction" if clash else "attribute", found))
        faults += [Fault("brand", found) for found in _finds(self._brands, text) if found not in own]  # type: ignore[attr-defined]
        allowed = set(_NUMBER.findall(own)) | ({price_text(request.price_micros)} if request.price_micros is not None else set())
        for match in _NUMBER.finditer(text):
            if match.group() not in allowed:
                faults.append(
                    Fault(
                        "price" if text[match.end() :].startswith(("元", "块")) or text[: match.start()].endswith("¥") else "number",
                        match.group(),
                    )
                )
        faults += [Fault("number", match.group()) for match in _CHINESE_COUNT.finditer(text) if match.group() not in own]
        faults += [Fault("offer", match.group()) for match in OFFER.finditer(text) if match.group() not in own]
        faults += [Fault("date", match.group()) for match in DATE.finditer(text) if match.group() not in own]
        if request.category in self.categories:
            faults += [
                Fault("foreign_word", word)
                for word in self._words(text, request, vocabulary)
                if word in self.homes and request.category not in self.homes[word] and word not in own
            ]
        return faults

    @staticmethod
    def _words(text: str, request: CopyRequest, vocabulary: Vocabulary) -> list[str]:
        for slot in slots_of(request):
            text = text.replace(slot.value, "\n")
        return [word for word in vocabulary.words(text) if len(word) > 1]

    def coverage(self, text: str, request: CopyRequest) -> int:
        """How many of the product's own facts a text states: attribute values and the brand.

        Args:
            text: a copy.
            request: its product.
        """
        return sum(slot.value in text for slot in slots_of(request) if slot.name not in ("noun", "price"))

    def save(self, path: Path) -> None:
        """Write facts.json.

        Args:
            path: the file.
        """
        write_json(
            {
                "values": {value: list(keys) for value, keys in self.values.items()},
                "exclusive": sorted(self.exclusive),
                "brands": list(self.brands),
                "homes": {word: list(homes) for word, homes in self.homes.items()},
                "categories": sorted(self.categories),
            },
            path,
        )

    @classmethod
    def load(cls, path: Path) -> "Facts":
        """Read facts.json.

        Args:
            path: the file.
        """
        held = read_json(path)
        return cls(
            {value: tuple(keys) for value, keys in held["values"].items()},
            frozenset(held["exclusive"]),
            tuple(held["brands"]),
            {word: tuple(homes) for word, homes in held["homes"].items()},
            frozenset(held["categories"]),
        )


def _any_of(words: Iterable[str]) -> re.Pattern[str] | None:
    ordered = sorted(words, key=lambda word: (-len(word), word))
    return re.compile("|".join(map(re.escape, ordered))) if ordered else None


def _finds(pattern: re.Pattern[str] | None, text: str) -> list[str]:
    return pattern.findall(text) if pattern else []


WORD_COUNTS = (5, 8, 12, 18, 27, 40, 60)
"""How often training copy must use a word before its absence from a category says something; `calibrate_facts` chooses."""


def calibrate_facts(
    products: Sequence[CopyRequest], copies: Sequence[Copy], held_out: Sequence[Copy], vocabulary: Vocabulary, *, most: float = 0.02
) -> Facts:
    """The strictest facts whose foreign-word rule refuses few true human copies.

    Args:
        products: the catalogue.
        copies: training copies.
        held_out: human copies that were not counted.
        vocabulary: cuts copies into words.
        most: largest share of held-out copies that the foreign-word rule may refuse.
    """
    for count in WORD_COUNTS:
        facts = fit_facts(products, copies, vocabulary, min_word_count=count)
        refused = [any(fault.rule == "foreign_word" for fault in facts.check(copy.text, copy.request, vocabulary)) for copy in held_out]
        if sum(refused) <= most * len(held_out):
            return facts
    return replace(facts, homes={})


def fit_facts(
    products: Sequence[CopyRequest], copies: Sequence[Copy], vocabulary: Vocabulary, *, min_word_count: int = WORD_COUNTS[0]
) -> Facts:
    """Read the lexicon off the catalogue and off training copy.

    Args:
        products: the catalogue.
        copies: training copies; none is fine.
        vocabulary: cuts copies into words.
        min_word_count: rarer words are never foreign.

    Returns:
        The facts. A value counts when it has two characters or more and at least half of the training copies that say it
        (one added on either side) belong to products that have it.
    """
    keys: dict[str, set[str]] = defaultdict(set)
    several: set[str] = set()
    for product in products:
        count = Counter(key for key, _ in product.attributes)
        several |= {key for key, n in count.items() if n > 1}
        for key, value in product.attributes:
            if len(value) >= 2:
                keys[value].add(key)
    said: Counter[str] = Counter()
    meant: Counter[str] = Counter()
    pattern = _any_of(keys)
    words: dict[str, Counter[str]] = defaultdict(Counter)
    sizes = Counter(copy.request.category for copy in copies)
    for copy in copies:
        own = " ".join([copy.request.title, *[value for _, value in copy.request.attributes]])
        for value in sorted(set(_finds(pattern, copy.text))):
            said[value] += 1
            meant[value] += value in own
        for word in sorted({word for piece in copy.pieces if isinstance(piece, str) for word in vocabulary.words(piece) if len(word) > 1}):
            words[word][copy.request.category] += 1
    kept = {value: tuple(sorted(found)) for value, found in sorted(keys.items()) if 2 * (meant[value] + 1) >= said[value] + 2}
    enough = frozenset(category for category, n in sizes.items() if n >= _MIN_CATEGORY_COPIES)
    homes = {
        word: tuple(sorted(count))
        for word, count in sorted(words.items())
        if sum(count.values()) >= min_word_count and len(enough) > 2 and len(count) <= max(1, len(enough) // 4)
    }
    exclusive = frozenset(key for key in {key for found in keys.values() for key in found} if key not in several)
    return Facts(
        kept, exclusive, tuple(sorted({product.brand for product in products if product.brand and len(product.brand) >= 2})), homes, enough
    )
