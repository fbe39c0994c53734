"""Facts: generated copy states no attribute value, brand, number, price, date or offer that its product does not have.

The lexicon is the catalogue's own: attribute values (those that human copy uses for products that have them; a value such as 时尚, which
human copy says of any product, is a word and no fact), brands, and the numbers of each product; and which products go together (`topics`).
Of which keys a product has one value, so that another contradicts it, is listed in exclusive.yaml.
"""

import logging
import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from ruamel.yaml import YAML

from core.files import read_json, write_json
from models.generator.request import CopyRequest
from models.generator.slots import price_text, slots_of
from models.generator.topics import NO_TOPICS, Topics, any_of, calibrate_topics, finds, own_words
from models.generator.training_copies import DATE, OFFER, Copy

logger = logging.getLogger(__name__)

_UNLISTED = 0.1
"""Share of human copies up to which a value that the product does not list is that copy's slip, and not the catalogue's."""
_NUMBER = re.compile(r"[0-9]+(?:\.[0-9]+)?")
_CHINESE_COUNT = re.compile(
    r"[一二三四五六七八九十百千两半]+(?:折|元|块钱|毫升|升|克|千克|公斤|斤|小时|分钟|毫米|厘米|寸|瓦|毫安|年质保|倍|成)"
)


@cache
def exclusive_list() -> tuple[re.Pattern[str], frozenset[str]]:
    """exclusive.yaml: a pattern of the attribute keys, and the rules of what is no attribute."""
    held = YAML(typ="safe", pure=True).load(Path(__file__).with_name("exclusive.yaml").read_text(encoding="utf-8"))
    return re.compile("|".join(f"(?:{key})" for key in held["attributes"])), frozenset(held["statements"])


@dataclass(frozen=True)
class Fault:
    """One statement that the product does not bear out.

    Attributes:
        rule: contradiction (another value of an exclusive key), attribute, brand, number, price, offer, date or companion.
        found: the words.
    """

    rule: str
    found: str


@dataclass(frozen=True)
class Facts:
    """What may be said of a product, judged by the catalogue.

    Attributes:
        values: attribute value → keys it stands under.
        exclusive: the catalogue's keys that exclusive.yaml lists.
        brands: all brands of the catalogue.
        topics: which products copy names together.
        clashing: value → exclusive keys; it contradicts a product that states one of them and has not the value.
        listed: the catalogue lists what copy says; when it does not, an attribute value that the product lacks is no fault by itself, and
            only contradictions are.
    """

    values: dict[str, tuple[str, ...]]
    exclusive: frozenset[str]
    brands: tuple[str, ...]
    topics: Topics
    clashing: dict[str, tuple[str, ...]]
    listed: bool = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "_values", any_of([*self.values, *(value for value in self.clashing if value not in self.values)]))
        object.__setattr__(self, "_brands", any_of(self.brands))

    def check(self, text: str, request: CopyRequest) -> list[Fault]:
        """Every statement that the product does not bear out.

        Args:
            text: a copy.
            request: its product.

        Returns:
            Faults; empty when there is none.
        """
        return self._statements(text, request) + [Fault("companion", other) for other in self.topics.foreign(text, request)]

    def contradictions(self, text: str, request: CopyRequest) -> list[Fault]:
        """Statements of which the product has another: values of exclusive keys, brand, price, number (exclusive.yaml).

        Args:
            text: a copy.
            request: its product.
        """
        counted = exclusive_list()[1] | {"contradiction"}
        return [fault for fault in self._statements(text, request) if fault.rule in counted]

    def _statements(self, text: str, request: CopyRequest) -> list[Fault]:
        own = own_words(request)
        keys = {key for key, _ in request.attributes}
        faults: list[Fault] = []
        for found in finds(self._values, text):  # type: ignore[attr-defined]
            if found not in own:
                if any(key in keys for key in self.clashing.get(found, ())):
                    faults.append(Fault("contradiction", found))
                elif found in self.values and self.listed:
                    faults.append(Fault("attribute", found))
        faults += [Fault("brand", found) for found in finds(self._brands, text) if found not in own]  # type: ignore[attr-defined]
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
        return faults + [Fault("date", match.group()) for match in DATE.finditer(text) if match.group() not in own]

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
        held = {
            "values": self.values,
            "exclusive": sorted(self.exclusive),
            "brands": self.brands,
            "topics": self.topics.as_json(),
            "clashing": self.clashing,
            "listed": self.listed,
        }
        write_json(held, path)

    @classmethod
    def load(cls, path: Path) -> "Facts":
        """Read facts.json.

        Args:
            path: the file.
        """
        held = read_json(path)
        values, clashing = ({value: tuple(keys) for value, keys in held[name].items()} for name in ("values", "clashing"))
        topics, listed = Topics.from_json(held["topics"]), bool(held["listed"])
        return cls(values, frozenset(held["exclusive"]), tuple(held["brands"]), topics, clashing, listed)


def fit_facts(products: Sequence[CopyRequest], copies: Sequence[Copy], held_out: Sequence[Copy]) -> Facts:
    """Read the lexicon off the catalogue and off training copy.

    Args:
        products: the catalogue.
        copies: training copies; none is fine.
        held_out: human copies that training does not read; without them topics are not judged.

    Returns:
        The facts. A value counts when it has two characters or more and at least half of the training copies that say it
        (one added on either side) belong to products that have it; a value of an exclusive key clashes by the same rule over the
        copies of products that state the key. The catalogue counts as incomplete (``listed``) when more than one copy in ten states a
        value that its product lacks.
    """
    keys: dict[str, set[str]] = defaultdict(set)
    for product in products:
        for key, value in product.attributes:
            if len(value) >= 2:
                keys[value].add(key)
    exclusive = frozenset(key for found in keys.values() for key in found if exclusive_list()[0].fullmatch(key))
    single = {value: tuple(sorted(found & exclusive)) for value, found in sorted(keys.items()) if found & exclusive}
    said: Counter[str] = Counter()
    meant: Counter[str] = Counter()
    clashed: Counter[str] = Counter()
    pattern = any_of(keys)
    for copy in copies:
        own, stated = own_words(copy.request), {key for key, _ in copy.request.attributes}
        for value in sorted(set(finds(pattern, copy.text))):
            said[value] += 1
            meant[value] += value in own
            clashed[value] += value not in own and any(key in stated for key in single.get(value, ()))
    kept = {value: tuple(sorted(found)) for value, found in sorted(keys.items()) if 2 * (meant[value] + 1) >= said[value] + 2}
    clashing = {value: found for value, found in single.items() if meant[value] >= clashed[value]}
    brands = tuple(sorted({product.brand for product in products if product.brand and len(product.brand) >= 2}))
    topics = calibrate_topics(products, copies, held_out) if held_out else NO_TOPICS
    return Facts(kept, exclusive, brands, topics, clashing, _listed(copies, kept))


def _listed(copies: Sequence[Copy], values: Mapping[str, tuple[str, ...]]) -> bool:
    """Whether few copies state a value that their product does not list."""
    pattern = any_of(values)
    unlisted = sum(any(found not in own_words(copy.request) for found in finds(pattern, copy.text)) for copy in copies)
    if unlisted <= _UNLISTED * len(copies):
        return True
    logger.warning(
        "%d of %d copies state attribute values that their product does not list: the lists are taken as incomplete, and generated copy is "
        "refused for contradictions only",
        unlisted,
        len(copies),
    )
    return False
