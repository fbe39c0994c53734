"""The copy mechanism: a product's own words become slots, so that a generator points at them and never spells them.

A text is *delexicalised* into pieces: plain runs of characters, and slot numbers in place of the brand, the price, the
product's noun and its attribute values. A generator writes pieces; `lexicalise` puts the product's words back. What a
generator says of a product is then true by construction wherever it says it through a slot.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from core.vocabulary import MICROS
from models.generator.request import CopyRequest

MAX_SLOTS = 16
"""Slots a product has at most; further attributes are left to the reader of the card."""

BRAND, PRICE, NOUN = "brand", "price", "noun"
_SEPARATORS = re.compile(r"[\s/|·,，、\-_（）()【】\[\]]+")


@dataclass(frozen=True)
class Slot:
    """One fact that copy may state.

    Attributes:
        name: brand, price, noun, or ``@key`` of an attribute (``@key#2`` for its second value).
        value: how it stands in a text.
    """

    name: str
    value: str

    @property
    def key(self) -> str:
        """The name without its ordinal."""
        return self.name.split("#")[0]


Piece = str | int
"""A run of characters, or the number of a slot."""


def price_text(price_micros: int) -> str:
    """A price as copy states it: 299, 59.9.

    Args:
        price_micros: the price in micros.
    """
    return f"{price_micros / MICROS:.2f}".rstrip("0").rstrip(".")


def noun_of(title: str, brand: str | None, attributes: Sequence[tuple[str, str]]) -> str:
    """What kind of thing a title names: the last word that is neither the brand nor an attribute value.

    Args:
        title: the product's title.
        brand: its brand.
        attributes: its attributes.

    Returns:
        The noun; empty when the title holds nothing else.
    """
    rest = title
    for word in sorted({value for _, value in attributes} | ({brand} if brand else set()), key=lambda word: (-len(word), word)):
        rest = rest.replace(word, " ")
    words = [word for word in _SEPARATORS.split(rest) if 2 <= len(word) <= 12]
    return words[-1] if words else ""


def slots_of(request: CopyRequest) -> tuple[Slot, ...]:
    """The slots of a product: brand, noun, price, then its attribute values in order.

    Args:
        request: the order; only its product is read.

    Returns:
        At most `MAX_SLOTS` slots with distinct values of two characters or more.
    """
    return _slots_of(request.title, request.brand, request.price_micros, request.attributes)


@lru_cache(maxsize=1 << 15)
def _slots_of(title: str, brand: str | None, price_micros: int | None, attributes: tuple[tuple[str, str], ...]) -> tuple[Slot, ...]:
    found = [(BRAND, brand or ""), (NOUN, noun_of(title, brand, attributes))]
    if price_micros is not None:
        found.append((PRICE, price_text(price_micros)))
    found += [(f"@{key}", value) for key, value in attributes]
    slots: list[Slot] = []
    count: dict[str, int] = {}
    for name, value in found:
        if len(value) < 2 or any(slot.value == value for slot in slots):
            continue
        count[name] = count.get(name, 0) + 1
        slots.append(Slot(name if count[name] == 1 else f"{name}#{count[name]}", value))
    return tuple(slots[:MAX_SLOTS])


def delexicalise(text: str, slots: Sequence[Slot]) -> list[Piece]:
    """Replace a product's own words by slot numbers, the longest first.

    Args:
        text: a copy written for the product.
        slots: the product's slots.

    Returns:
        Pieces; no two neighbours are both strings.
    """
    pieces: list[Piece] = []
    position = 0
    for found in _pattern(tuple(slot.value for slot in slots)).finditer(text):
        if found.start() > position:
            pieces.append(text[position : found.start()])
        pieces.append(int(found.lastgroup[1:]))  # type: ignore[index]
        position = found.end()
    return [*pieces, text[position:]] if position < len(text) else pieces


@lru_cache(maxsize=1 << 12)
def _pattern(values: tuple[str, ...]) -> re.Pattern[str]:
    """Finds the values, the longest first, but none that is a part of a longer number or of a longer Latin word."""
    order = sorted(range(len(values)), key=lambda index: (-len(values[index]), index))
    return re.compile("|".join(f"(?P<_{index}>{_standing(values[index])})" for index in order) or "(?!)")


def _standing(value: str) -> str:
    before, after = ["[0-9.]"] * value[0].isdigit(), ["[0-9]"] * value[-1].isdigit()
    if value.isascii():
        before += ["[A-Za-z]"] * value[0].isalpha()
        after += ["[A-Za-z]"] * value[-1].isalpha()
    return "".join([*(f"(?<!{one})" for one in before), re.escape(value), *(f"(?!{one})" for one in after)])


def lexicalise(pieces: Sequence[Piece], slots: Sequence[Slot]) -> str:
    """Put a product's own words in place of its slots.

    Args:
        pieces: what a generator wrote.
        slots: the product's slots.

    Raises:
        ValueError: a piece points at a slot that the product does not have.
    """
    if any(isinstance(piece, int) and not 0 <= piece < len(slots) for piece in pieces):
        raise ValueError(f"pieces {list(pieces)} point beyond the product's {len(slots)} slots")
    return "".join(slots[piece].value if isinstance(piece, int) else piece for piece in pieces)
