"""Rules that hold for every recommender and in every scene, whatever a shopper did."""

import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from synthetic import THEMES, shop_items
from test_recommenders import CATALOGUE, EVENTS, NAMES, NOW, N, bundle

from core.columns import Columns
from core.vocabulary import SCENES, Scene
from models.history import History
from models.recommender.bundle import KINDS
from models.recommender.complements import OF_CART, BasketShape, Complements
from models.recommender.training.baskets import BasketTable
from models.recommender.training.complements import count_complements

ITEMS = shop_items().set_index(Columns.ITEM)
SOLD_OUT = set(ITEMS.index[ITEMS[Columns.STOCK].fillna(-1) == 0])
CONSUMABLE = set(ITEMS.index[ITEMS[Columns.CONSUMABLE]])


def complements() -> Complements:
    from synthetic import START, events_of

    rows = [(f"u{row}", CATALOGUE.item_ids[(row * step) % N], "purchase", None, START) for row in range(40) for step in (1, 3, 7)]
    return count_complements(BasketTable.of(events_of(rows), CATALOGUE), CATALOGUE, BasketShape(), dict.fromkeys(OF_CART, 0.5))


BUNDLE = bundle().completed_by(complements())


def test_the_rules_are_tried_on_every_recommender_of_the_interface() -> None:
    assert set(NAMES) == {kind.name for kind in KINDS}


@pytest.mark.parametrize("scene", SCENES)
@pytest.mark.parametrize("name", [None, *NAMES])
@settings(max_examples=12, deadline=None)
@given(
    events=EVENTS,
    k=st.integers(1, N),
    exclude=st.lists(st.sampled_from([*CATALOGUE.item_ids, "unknown"]), max_size=5),
    promoted=st.sets(st.sampled_from(THEMES)),
)
def test_no_list_breaks_a_rule(
    name: str | None, scene: str, *, events: list[tuple[str, str]], k: int, exclude: list[str], promoted: set[str]
) -> None:
    history = History.of(events, end=NOW)
    (shown,) = BUNDLE.top_k([history], k, exclude, NOW + 1, scene=scene, promoted=promoted, model=name)
    assert len(shown) == len(set(shown)) <= k
    assert not set(shown) & SOLD_OUT
    assert not set(shown) & set(exclude)
    bought = {item for kind, item in events if kind == "purchase"}
    assert not (set(shown) & bought) - CONSUMABLE
    possible = BUNDLE.allowed([history], NOW + 1)[0] & BUNDLE.scenes.candidates(scene, history, NOW + 1, promoted=promoted)
    possible[[code for code in CATALOGUE.codes(exclude).tolist() if code >= 0]] = False
    assert len(shown) == min(k, int(possible.sum()))
    if scene == Scene.PROMOTION:
        assert set(ITEMS.loc[shown, Columns.CATEGORY]) <= promoted
    most = math.ceil(k / 2)
    held = Counter(ITEMS.loc[shown, Columns.CATEGORY])
    on_offer = Counter(ITEMS.loc[[CATALOGUE.item_ids[code] for code in np.flatnonzero(possible)], Columns.CATEGORY])
    if any(count > most for count in held.values()):  # only where the others have no more to give
        assert sum(min(most, count) for count in on_offer.values()) < k


@pytest.mark.parametrize("name", NAMES)
def test_a_rule_that_is_left_out_is_found(name: str) -> None:
    # the same check against the bare scores must fail, or it checks nothing
    history = History.of([("purchase", item) for item in CATALOGUE.item_ids[:6]], end=NOW)
    bare = np.argsort(-BUNDLE.models[name].score([history], NOW + 1)[0])
    assert {CATALOGUE.item_ids[code] for code in bare} & SOLD_OUT
    assert {CATALOGUE.item_ids[code] for code in bare} & set(CATALOGUE.item_ids[:6]) - CONSUMABLE
