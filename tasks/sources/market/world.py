"""From an assortment and parameters to the latents of a market: shoppers, products, and the scales of taste."""

import numpy as np
import numpy.typing as npt

from core.params import MarketParams
from tasks.sources.market import terms, traits
from tasks.sources.market.assortment import Assortment, Kind, Product
from tasks.sources.market.clock import micros, season_table
from tasks.sources.market.shoppers import draw_shoppers
from tasks.sources.market.terms import World
from tasks.sources.market.traits import Signals

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


def draw_world(assortment: Assortment, params: MarketParams, rng: np.random.Generator) -> World:
    """Draw the latents; sessions come later.

    Args:
        assortment: what is sold.
        params: sizes, start and drift.
        rng: the stream to draw from.

    Returns:
        A world without sessions.
    """
    shelf, kinds = assortment.products, assortment.kinds
    categories = list(dict.fromkeys(kind.category for kind in kinds))
    brands = list(dict.fromkeys(product.brand for product in shelf if product.brand is not None))
    item_type = np.array([kinds.index(product.kind) for product in shelf], dtype=np.int64)
    item_category = np.array([categories.index(product.kind.category) for product in shelf], dtype=np.int64)
    item_brand = np.array([len(brands) if product.brand is None else brands.index(product.brand) for product in shelf], dtype=np.int64)
    shoppers = draw_shoppers(params.shoppers, categories=len(categories), types=len(kinds), brands=len(brands), days=params.days, rng=rng)
    mean, sd = terms.taste_scale(shoppers, item_category, item_type, item_brand)
    none = np.zeros(0, dtype=np.int64)
    return World(
        shoppers=shoppers,
        item_category=item_category,
        item_type=item_type,
        item_brand=item_brand,
        price_z=price_scores(shelf, item_type),
        appeal=np.clip(rng.normal(size=len(shelf)), -2.5, 2.5),
        type_relation=type_relation(kinds),
        seasons=season_table([assortment.seasons[category] for category in categories]),
        taste_mean=mean,
        taste_sd=sd,
        drift_share=terms.drift_share(params.strengths.drift),
        start=micros(params.start),
        session_user=none,
        session_time=none,
        session_type=none,
    )


def price_scores(shelf: tuple[Product, ...], item_type: Ints) -> Floats:
    """Log price standardised within the type, within ±2; nan when unknown, 0 when a type has one price. (items,).

    Args:
        shelf: the products.
        item_type: (items,).
    """
    logs = np.array([np.nan if product.price_micros is None else np.log(product.price_micros) for product in shelf])
    scores = np.full(len(shelf), np.nan)
    for index in range(int(item_type.max(initial=-1)) + 1):
        rows = np.flatnonzero((item_type == index) & ~np.isnan(logs))
        if len(rows):
            spread = logs[rows].std()
            scores[rows] = 0.0 if spread == 0 else np.clip((logs[rows] - logs[rows].mean()) / spread, -2, 2)
    return scores


def type_relation(kinds: list[Kind]) -> Floats:
    """Interest that a session about the row's type raises in the column's. (types, types).

    Args:
        kinds: the types, in the world's order.
    """
    relation = np.zeros((len(kinds), len(kinds)))
    for row, one in enumerate(kinds):
        for column, other in enumerate(kinds):
            if row == column:
                relation[row, column] = terms.SAME_TYPE
            elif other.name in one.complements:
                relation[row, column] = terms.COMPLEMENT
            elif one.category == other.category:
                relation[row, column] = terms.SAME_CATEGORY
    return relation


def signals_of(product: Product) -> Signals:
    """What names each attribute of a product in a text: the value and the clauses that copy may say of it.

    A value that stands in the name of the type or category (裤 in 阔腿裤) is no selling point.

    Args:
        product: any product.
    """
    return tuple(
        (traits.theme_of(key), (value, *product.points.get(value, ())))
        for key, value in product.attributes
        if value not in product.kind.name and value not in product.kind.category
    )
