"""Human copies of the embedded catalogue: its writers' frames, filled with what is true of each product."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from core.vocabulary import CHANNELS, LENGTH_LIMITS, MICROS, TONES, Channel, Scene
from tasks.sources.market.assortment import Copy, Product
from tasks.sources.market.catalogue import Category, Offer, ProductType

ATTEMPTS = 60
"""Fillings tried for one slot before it stays empty."""
SECOND_CHANNEL, BRAND_SHARE, CROSS_SELL_SHARE, SECOND_COPY = 0.6, 0.75, 0.75, 0.3
"""Shares of products with: promotion copy for a second channel, brand copy, cross-sell copy, a second copy onsite."""


@dataclass(frozen=True)
class _Desk:
    """What a writer has before them for one product."""

    product: Product
    kind: ProductType
    category: Category
    offers: tuple[str, ...]
    complements: tuple[str, ...]
    stories: tuple[str, ...]
    foreign: tuple[str, ...]  # attribute values of the type that this product lacks


def write_copies(
    categories: Sequence[Category], products: Sequence[Product], offers: Sequence[Offer], rng: np.random.Generator
) -> tuple[Copy, ...]:
    """Write the human copies: every product for scene product on each channel, and a share of the other slots.

    No text occurs twice, exceeds its channel's limit, or names an attribute value of the type that its product lacks.

    Args:
        categories: the embedded catalogue.
        products: drawn from it.
        offers: what promotion copy may promise.
        rng: the stream to draw from.

    Returns:
        Copies in the order of products.
    """
    by_name = {category.category: category for category in categories}
    on_shelf = {product.kind.name for product in products}
    copies: list[Copy] = []
    taken: set[str] = set()
    for product in products:
        desk = _desk(product, by_name[product.kind.category], offers, on_shelf)
        for scene, channel in _slots(rng):
            text = _write(desk, scene, channel, taken, rng)
            if text is not None:
                taken.add(text)
                copies.append(Copy(product.item_id, scene, channel, text))
    return tuple(copies)


def _desk(product: Product, category: Category, offers: Sequence[Offer], on_shelf: set[str]) -> _Desk:
    kind = next(kind for kind in category.types if kind.name == product.kind.name)
    brand = next(brand for brand in category.brands if brand.name == product.brand)
    yuan = (product.price_micros or 0) / MICROS
    own = set(product.values)
    listed = [value for values in kind.attributes.values() for value in values]
    return _Desk(
        product=product,
        kind=kind,
        category=category,
        offers=tuple(offer.text for offer in offers if offer.min_price <= yuan <= offer.max_price),
        complements=tuple(name for name in kind.complements if name in on_shelf),
        stories=tuple(brand.story),
        foreign=tuple(value for value in listed if value not in own and not any(value in mine for mine in (*own, kind.name))),
    )


def _slots(rng: np.random.Generator) -> list[tuple[str, str]]:
    slots: list[tuple[str, str]] = [(Scene.PRODUCT, channel) for channel in CHANNELS]
    if rng.random() < SECOND_COPY:
        slots.append((Scene.PRODUCT, Channel.ONSITE))
    shuffled = [CHANNELS[index] for index in rng.permutation(len(CHANNELS))]
    slots += [(Scene.PROMOTION, channel) for channel in shuffled[: 1 + int(rng.random() < SECOND_CHANNEL)]]
    for scene, share in ((Scene.BRAND, BRAND_SHARE), (Scene.CROSS_SELL, CROSS_SELL_SHARE)):
        if rng.random() < share:
            slots.append((scene, CHANNELS[int(rng.integers(len(CHANNELS)))]))
    return slots


def _write(desk: _Desk, scene: str, channel: str, taken: set[str], rng: np.random.Generator) -> str | None:
    for _ in range(ATTEMPTS):
        tone = TONES[int(rng.integers(len(TONES)))]
        frames = desk.category.frames.get(scene, {}).get(tone, {}).get(channel, [])
        if not frames:
            continue
        frame = frames[int(rng.integers(len(frames)))]
        text = fill(frame, _words(desk, rng))
        if text is None or text in taken or len(text) > LENGTH_LIMITS[channel] or any(value in text for value in desk.foreign):
            continue
        return text
    return None


def _words(desk: _Desk, rng: np.random.Generator) -> dict[str, str]:
    def pick(options: Sequence[str]) -> str | None:
        return options[int(rng.integers(len(options)))] if options else None

    product = desk.product
    values = [value for value in product.values if value in product.points]
    order = [values[index] for index in rng.permutation(len(values))]
    benefits = [desk.kind.benefits[index] for index in rng.permutation(len(desk.kind.benefits))]
    words = {
        "brand": product.brand,
        "type": product.kind.name,
        "title": product.short_title,
        "point": pick(product.points[order[0]]) if order else None,
        "point2": pick(product.points[order[1]]) if len(order) > 1 else None,
        "moment": pick(desk.kind.moments),
        "benefit": benefits[0],
        "benefit2": benefits[1] if len(benefits) > 1 else None,
        "story": pick(desk.stories),
        "offer": pick(desk.offers),
        "complement": pick(desk.complements),
        "price": None if product.price_micros is None else price_words(product.price_micros),
    }
    return {slot: word for slot, word in words.items() if word is not None}


def fill(frame: str, words: Mapping[str, str]) -> str | None:
    """Fill a frame's slots.

    Args:
        frame: text with slots such as `{point}`.
        words: slot → word.

    Returns:
        The text, or None when a slot has no word.
    """
    try:
        return frame.format_map(words)
    except KeyError:
        return None


def price_words(price_micros: int) -> str:
    """A price as copy says it: `29.9元`, `149元`."""
    return f"{price_micros / MICROS:.2f}".rstrip("0").rstrip(".") + "元"
