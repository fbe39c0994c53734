"""The market as a source: assortment → shoppers → sessions → logged ads → raw tables and truth."""

from pathlib import Path

import numpy as np
import pandas as pd

from core.columns import Columns as C
from core.lineage import SourceFacts
from core.params import MarketParams
from core.vocabulary import SCENES
from tasks.sources.base import RawTables, TruthTables
from tasks.sources.market import delivery
from tasks.sources.market.assortment import Assortment, draw_products
from tasks.sources.market.campaigns import plan_campaigns
from tasks.sources.market.catalogue import load_categories, load_shared
from tasks.sources.market.clock import DAY, iso, micros
from tasks.sources.market.copywriting import write_copies
from tasks.sources.market.delivery import deliver
from tasks.sources.market.real_catalogue import read_real_catalogue
from tasks.sources.market.sessions import simulate_sessions
from tasks.sources.market.tables import events_table, show
from tasks.sources.market.truth import Truth
from tasks.sources.market.world import draw_world, signals_of

FEEDBACK_DAYS = 3
"""Clicks and conversions of the last day are waited for this long after the simulated window; other behaviour is not."""


def read_market(params: MarketParams) -> tuple[RawTables, TruthTables]:
    """Simulate the market.

    Args:
        params: the `market` section; `params.seed` alone decides the randomness.

    Returns:
        The raw tables and the truth; equal parameters give equal tables.

    Raises:
        SourceError: the catalogue cannot be read, or the market is too small to have any session.
    """
    streams = np.random.default_rng(params.seed).spawn(5)  # one a step, so that a change in one leaves the others' draws alone
    assortment = stock(params, streams[0])
    bare = draw_world(assortment, params, streams[1])
    behaviour = simulate_sessions(bare, assortment, params, streams[2])
    copies = assortment.copies_table()
    requests = deliver(behaviour.world, assortment, events=behaviour.events, copies=copies, params=params, rng=streams[3])
    truth = Truth(
        world=behaviour.world,
        item_ids=tuple(product.item_id for product in assortment.products),
        signals=tuple(signals_of(product) for product in assortment.products),
        strengths={name: value for name, value in sorted(params.strengths.model_dump().items()) if name != "drift"},
        click_intercept=0.0,
        convert_intercept=0.0,
        notes=_notes(assortment, params),
    )
    shown = show(truth, assortment, copies=copies, requests=requests, params=params, rng=streams[4])
    raw = RawTables(
        items=assortment.items_table(),
        events=events_table(pd.concat([behaviour.events, shown.events], ignore_index=True), truth),
        copies=copies,
        impressions=shown.impressions,
        campaigns=plan_campaigns(load_shared().campaigns, sorted(assortment.seasons), params),
        source=_source(assortment, copies, shown.impressions, params),
    )
    return raw, shown.truth.tables()


def stock(params: MarketParams, rng: np.random.Generator) -> Assortment:
    """What the market sells: the embedded catalogue, or the real one that `market.catalogue` names.

    Args:
        params: catalogue and number of products.
        rng: the stream to draw from.

    Raises:
        SourceError: the catalogue cannot be read.
    """
    if params.catalogue is not None:
        return read_real_catalogue(Path(params.catalogue), params.products, rng)
    categories, shared = load_categories(), load_shared()
    products = draw_products(categories, shared.anchors, params.products, rng)
    return Assortment(
        products=products,
        copies=write_copies(categories, products, shared.offers, rng),
        seasons={category.category: category.season for category in categories},
        origin="simulated shoppers on the embedded catalogue",
    )


def _notes(assortment: Assortment, params: MarketParams) -> dict[str, object]:
    notes: dict[str, object] = {
        "categories": list(dict.fromkeys(kind.category for kind in assortment.kinds)),
        "types": [kind.name for kind in assortment.kinds],
        "brands": list(dict.fromkeys(product.brand for product in assortment.products if product.brand is not None)),
        "market_seed": params.seed,
        "base_ctr": params.base_ctr,
        "base_cvr": params.base_cvr,
        "logging_policy": {
            "policy_version": delivery.POLICY_VERSION,
            "retrieval_version": delivery.RETRIEVAL_VERSION,
            "retrieval_weights": {
                "popularity": delivery.POPULARITY_SHARE,
                "recent_categories": delivery.RECENT_SHARE,
                "uniform": delivery.UNIFORM_SHARE,
            },
            "popularity_weight": delivery.POPULARITY_WEIGHT,
            "exploration": delivery.EXPLORATION,
            "words": "without replacement from (1 - exploration) * softmax(weight * standardised log popularity) + exploration * uniform",
        },
    }
    return notes | {"note_keys": sorted([*notes, "note_keys"])}


def _source(assortment: Assortment, copies: pd.DataFrame, impressions: pd.DataFrame, params: MarketParams) -> SourceFacts:
    scenes = set(copies[C.SCENE])
    absent = [scene for scene in SCENES if scene not in scenes]
    missing = [f"no real shoppers; these are {assortment.origin}", *assortment.missing]
    if absent:
        missing.append(f"no human copy for scene {', '.join(absent)}")
    if impressions.empty:
        missing.append("impressions: too few products have copy to show a slate of them")
    return {
        "source": "market",
        "synthetic": True,
        "has": {"copies": not copies.empty, "impressions": not impressions.empty, "campaigns": True, "truth": True},
        "missing": missing,
        "collected_until": iso(micros(params.start) + (params.days + FEEDBACK_DAYS) * DAY),
    }
