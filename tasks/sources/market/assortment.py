"""What the market sells: products with their types, seasons and human copies, from the embedded catalogue or a real one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from core.columns import Columns as C
from core.vocabulary import MICROS, Origin
from tasks.sources.market.catalogue import Brand, Category, ProductType

FLAT_SEASON = (1.0,) * 12


@dataclass(frozen=True)
class Kind:
    """A type of product.

    Attributes:
        category: the category it belongs to.
        name: the type's name, unique within its category.
        complements: names of types that go with it.
        queries: what shoppers type who look for it.
    """

    category: str
    name: str
    complements: tuple[str, ...]
    queries: tuple[str, ...]


@dataclass(frozen=True)
class Product:
    """One product on the shelf; None means unknown.

    Attributes:
        item_id: its id.
        title: the full title of the catalogue.
        short_title: brand, one attribute and type: how copy calls it.
        kind: its type.
        brand: the brand's name.
        price_micros: list price.
        attributes: pairs of key and value.
        points: value → clauses that copy may say of it.
        stock: pieces left.
        consumable: whether one buys it again.
    """

    item_id: str
    title: str
    short_title: str
    kind: Kind
    brand: str | None
    price_micros: int | None
    attributes: tuple[tuple[str, str], ...]
    points: Mapping[str, tuple[str, ...]]
    stock: int | None
    consumable: bool | None

    @property
    def values(self) -> tuple[str, ...]:
        """The attribute values, without keys."""
        return tuple(value for _, value in self.attributes)


@dataclass(frozen=True)
class Copy:
    """A human copy of one product for one slot."""

    item_id: str
    scene: str
    channel: str
    text: str


@dataclass(frozen=True)
class Assortment:
    """Everything the market sells and says.

    Attributes:
        products: the shelf.
        copies: human copies, each text within its channel's limit.
        seasons: category → demand by month, January first.
        origin: what lineage calls the catalogue.
        missing: what the catalogue lacks, in words.
    """

    products: tuple[Product, ...]
    copies: tuple[Copy, ...]
    seasons: Mapping[str, Sequence[float]]
    origin: str
    missing: tuple[str, ...] = field(default=())

    @property
    def kinds(self) -> list[Kind]:
        """The types on the shelf, each once, in the order of their first product."""
        return list({(product.kind.category, product.kind.name): product.kind for product in self.products}.values())

    def items_table(self) -> pd.DataFrame:
        """The catalogue under the data contract's columns."""
        shelf = self.products
        return pd.DataFrame(
            {
                C.ITEM: pd.array([p.item_id for p in shelf], dtype="str"),
                C.TITLE: pd.array([p.title for p in shelf], dtype="str"),
                C.CATEGORY: pd.array([p.kind.category for p in shelf], dtype="str"),
                C.BRAND: pd.array([p.brand for p in shelf], dtype="str"),
                C.PRICE: pd.array([p.price_micros for p in shelf], dtype="Int64"),
                C.ATTRIBUTES: pd.Series([[{"key": k, "value": v} for k, v in p.attributes] for p in shelf], dtype=object),
                C.STOCK: pd.array([p.stock for p in shelf], dtype="Int64"),
                C.CONSUMABLE: pd.array([p.consumable for p in shelf], dtype="boolean"),
                C.IMAGE: pd.array([None] * len(shelf), dtype="str"),
            }
        )

    def copies_table(self) -> pd.DataFrame:
        """The copies under the data contract's columns; ids are `h00001`, `h00002`, …."""
        return pd.DataFrame(
            {
                C.COPY: pd.array([f"h{number + 1:05d}" for number in range(len(self.copies))], dtype="str"),
                C.ITEM: pd.array([copy.item_id for copy in self.copies], dtype="str"),
                C.SCENE: pd.array([copy.scene for copy in self.copies], dtype="str"),
                C.CHANNEL: pd.array([copy.channel for copy in self.copies], dtype="str"),
                C.TEXT: pd.array([copy.text for copy in self.copies], dtype="str"),
                C.ORIGIN: pd.array([str(Origin.HUMAN)] * len(self.copies), dtype="str"),
            }
        )


def draw_products(categories: Sequence[Category], anchors: Sequence[str], count: int, rng: np.random.Generator) -> tuple[Product, ...]:
    """Stock the shelf from the embedded catalogue.

    Every type gets about the same share, anchors at least four products; no two products agree in brand and all attribute values.

    Args:
        categories: the embedded catalogue.
        anchors: names of types that must have several products.
        count: products wanted; fewer come when the types' combinations run out.
        rng: the stream to draw from.

    Returns:
        Products in the order of their ids `p0001`, `p0002`, ….
    """
    kinds = [(category, kind) for category in categories for kind in category.types]
    quotas = _quotas([kind.name in anchors for _, kind in kinds], count, rng)
    shelf: list[Product] = []
    for (category, kind), quota in zip(kinds, quotas, strict=True):
        taken: set[tuple[str, ...]] = set()
        for _ in range(20 * quota):
            if len(taken) == quota:
                break
            brand = category.brands[int(rng.integers(len(category.brands)))]
            attributes = tuple((key, values[int(rng.integers(len(values)))]) for key, values in kind.attributes.items())
            signature = (brand.name, *(value for _, value in attributes))
            if signature not in taken:
                taken.add(signature)
                shelf.append(_product(f"p{len(shelf) + 1:04d}", category, kind, brand=brand, attributes=attributes, rng=rng))
    return tuple(shelf)


def _quotas(anchored: Sequence[bool], count: int, rng: np.random.Generator) -> list[int]:
    least = np.where(anchored, 4, 1)
    if least.sum() >= count:
        order = np.argsort(~np.array(anchored), kind="stable")  # anchors first, when there is room for few types
        quotas = np.zeros(len(least), dtype=int)
        for index in order:
            quotas[index] = min(least[index], count - quotas.sum())
        return [int(quota) for quota in quotas]
    wanted = rng.uniform(0.7, 1.3, len(least))
    quotas = np.maximum(least, np.floor(wanted / wanted.sum() * count).astype(int))
    order = rng.permutation(len(least))
    step = 0
    while quotas.sum() != count:
        index = order[step % len(order)]
        change = 1 if quotas.sum() < count else -1
        if quotas[index] + change >= least[index]:
            quotas[index] += change
        step += 1
    return [int(quota) for quota in quotas]


def _product(
    item_id: str,
    category: Category,
    kind: ProductType,
    *,
    brand: Brand,
    attributes: tuple[tuple[str, str], ...],
    rng: np.random.Generator,
) -> Product:
    leading = [value for _, value in attributes if value[-1] != kind.name[-1] and kind.name not in value] or [attributes[0][1]]
    lead = leading[int(rng.integers(min(2, len(leading))))]
    rest = [value for _, value in attributes if value != lead]
    low, high = kind.price
    place = float(np.clip(0.65 * brand.tier + 0.35 * rng.random() + rng.normal(0, 0.06), 0, 1))
    return Product(
        item_id=item_id,
        title=" ".join([brand.name, f"{lead}{kind.name}", *rest]),
        short_title=f"{brand.name}{lead}{kind.name}",
        kind=Kind(category.category, kind.name, tuple(kind.complements), tuple(kind.queries)),
        brand=brand.name,
        price_micros=_tag_price(low * (high / low) ** place) * MICROS // 10,
        attributes=attributes,
        points={value: tuple(kind.points[value]) for _, value in attributes if value in kind.points},
        stock=0 if rng.random() < 0.02 else int(np.ceil(rng.lognormal(4.5, 1.0))),
        consumable=category.consumable,
    )


def _tag_price(yuan: float) -> int:
    """A price as shops write it, in tenths of a yuan: 29.9, 149, 2399."""
    if yuan < 60:
        return max(int(yuan), 1) * 10 + 9
    step = 10 if yuan < 1000 else 100
    return max(round(yuan / step) * step - 1, 1) * 10
