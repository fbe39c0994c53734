import numpy as np
import pytest
from ad_log import make_ad_log, vectors_of

from models.features.catalogue import Catalogue, kinds_of, price_levels
from models.features.likeness import SAME, WAYS
from models.features.profiles import FRESH, Events, meet


@pytest.fixture(scope="module")
def catalogue():
    items = make_ad_log().items
    return Catalogue.of(items, vectors_of(list(items["title"])))


def newest(catalogue, events, asked):
    """0.5^(age / FRESH) of the latest event that shares it, (SAME, n); events are (request, item, days), asked are (request, item)."""
    request, item, days = (np.array(column) for column in zip(*events, strict=True)) if events else (np.zeros(0, np.int64),) * 3
    requests = 1 + max(row for row, *_ in [*events, *asked])
    held = Events(request, item, days.astype(np.float32), np.ones((2, len(request)), np.float32), np.ones((2, requests), np.float32))
    none = (np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, np.float32))
    found = meet(held, none, tuple(np.array(column) for column in zip(*asked, strict=True)), catalogue)
    return found.newest[:, found.pair]


def shared(catalogue, one, other):
    """Which of category, brand, kind and item two items share."""
    kinds = kinds_of(catalogue.categories, catalogue.attributes)
    brand = catalogue.brands[one] == catalogue.brands[other] != ""
    return [catalogue.categories[one] == catalogue.categories[other], brand, kinds[one] == kinds[other], one == other]


def test_the_age_is_that_of_the_latest_event_of_the_item_in_the_same_request(catalogue):
    events = [(0, 2, 3.0), (0, 2, 0.5), (0, 0, 1.0), (1, 2, 7.0), (1, 1, 0.1)]
    found = newest(catalogue, events, [(0, 2), (0, 0), (0, 1), (1, 2), (1, 0), (2, 2)])[WAYS.index("item")]
    assert found == pytest.approx([2 ** (-0.5 / FRESH), 2 ** (-1 / FRESH), 0, 2 ** (-7 / FRESH), 0, 0])


def test_without_events_nothing_is_fresh(catalogue):
    assert (newest(catalogue, [], [(0, 3), (1, 1)]) == 0).all()


def test_it_agrees_with_a_search_through_all_events(catalogue):
    rng = np.random.default_rng(0)
    events = sorted(
        (int(r), int(i), float(d)) for r, i, d in zip(rng.integers(0, 6, 80), rng.integers(0, 18, 80), rng.random(80), strict=True)
    )
    asked = sorted((int(r), int(i)) for r, i in zip(rng.integers(0, 7, 50), rng.integers(0, 18, 50), strict=True))
    slow = [
        [max([2 ** (-d / FRESH) for r, i, d in events if r == a and shared(catalogue, i, w)[way]], default=0) for a, w in asked]
        for way in range(SAME)
    ]
    assert newest(catalogue, events, asked) == pytest.approx(np.array(slow))


def test_items_of_a_kind_share_category_and_attribute_keys_whatever_the_order():
    pairs = [
        [("size", "M"), ("colour", "red")],
        [("colour", "blue"), ("size", "L")],
        [("size", "M")],
        [("size", "M"), ("colour", "red")],
        [],
    ]
    kinds = kinds_of(["shoes", "shoes", "shoes", "tea", "tea"], pairs)
    assert kinds[0] == kinds[1]
    assert len(set(kinds)) == 4


def test_a_price_is_compared_with_its_kind_where_enough_of_it_are_known_and_else_with_its_category():
    import pandas as pd

    prices = pd.Series([1, 10, 100, 1000, 5, 7, None], dtype="Int64") * 1000
    category, kind = np.zeros(7, np.int64), np.array([0, 0, 0, 0, 1, 1, 1])
    plain, fine = price_levels(prices, category), price_levels(prices, category, kind)
    logs = np.log([1, 10, 100, 1000])
    assert fine[:4] == pytest.approx((logs - logs.mean()) / logs.std(ddof=1), rel=1e-5)
    assert fine[4:6] == pytest.approx(plain[4:6])
    assert np.isnan(fine[6])
