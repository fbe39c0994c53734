import numpy as np
import pytest

from models.features.catalogue import kinds_of, price_levels
from models.features.recency import youngest


def test_the_age_is_that_of_the_latest_event_of_the_code_in_the_same_request():
    request, code = np.array([0, 0, 0, 1, 1]), np.array([2, 2, 0, 2, -1])
    days = np.array([3.0, 0.5, 1.0, 7.0, 0.1], np.float32)
    asked, wanted = np.array([0, 0, 0, 1, 1, 2, 1]), np.array([2, 0, 1, 2, 0, 2, -1])
    assert youngest(request, code, days, asked, wanted) == pytest.approx([0.5, 1.0, np.inf, 7.0, np.inf, np.inf, np.inf])


def test_without_events_every_age_is_infinite():
    none = np.zeros(0, np.int64)
    assert np.isinf(youngest(none, none, np.zeros(0, np.float32), np.array([0, 1]), np.array([3, -1]))).all()


def test_it_agrees_with_a_search_through_all_events():
    rng = np.random.default_rng(0)
    request, code, days = rng.integers(0, 6, 80), rng.integers(-1, 5, 80), rng.random(80).astype(np.float32)
    asked, wanted = rng.integers(0, 7, 50), rng.integers(-1, 6, 50)
    slow = [min([d for r, c, d in zip(request, code, days, strict=True) if (r, c) == (a, w) and w >= 0], default=np.inf)
            for a, w in zip(asked, wanted, strict=True)]  # fmt: skip
    assert youngest(request, code, days, asked, wanted) == pytest.approx(slow)


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
