from datetime import timedelta

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from synthetic import START, events_of, shop_events, shop_items

from core.columns import Columns
from models.history import History, histories, in_order, micros, next_items, sort_events, texts_of
from models.text import attributes_of, item_text, item_texts

MINUTE = timedelta(minutes=1)


def test_a_history_holds_only_events_strictly_before_the_moment() -> None:
    events = events_of(
        [("u", "a", "view", None, START), ("u", None, "search", "锅", START + MINUTE), ("u", "b", "purchase", None, START + 2 * MINUTE)]
    )
    (found,) = histories(events, ["u"], START + 2 * MINUTE)
    assert (found.item_ids, found.event_types, found.queries) == (("a", ""), ("view", "search"), ("", "锅"))
    (found,) = histories(events, ["u"], micros(START + 2 * MINUTE) + 1)
    assert found.item_ids == ("a", "", "b")


def test_events_are_read_oldest_first_whatever_their_order_and_others_histories_stay_apart() -> None:
    events = shop_events(shop_items(), users=7).sample(frac=1, random_state=1)
    moments = micros(START + timedelta(days=9))[0] + np.arange(8) * 10**9
    users = ["u003", "u001", "nobody", "u003", "u000", "u006", "u002", "u004"]
    for user, moment, found in zip(users, moments, histories(events, users, moments), strict=True):
        mine = events[(events[Columns.USER] == user) & (micros(events[Columns.TIMESTAMP]) < moment)].sort_values(Columns.TIMESTAMP)
        assert list(found.item_ids) == mine[Columns.ITEM].fillna("").tolist()
        assert (np.diff(found.timestamps) >= 0).all()


@given(rows=st.lists(st.tuples(st.sampled_from("uvw"), st.integers(0, 3), st.sampled_from(["e1", "e10", "e2", "é", "中"])), max_size=30))
def test_events_are_sorted_by_user_then_time_then_id_and_equal_ones_keep_their_order(rows: list[tuple[str, int, str]]) -> None:
    events = events_of([(user, f"i{place}", "view", None, START + time * MINUTE) for place, (user, time, _) in enumerate(rows)])
    events[Columns.EVENT] = pd.Series([name for _, _, name in rows], dtype="str")
    wanted = events.sort_values([Columns.USER, Columns.TIMESTAMP, Columns.EVENT], kind="stable", ignore_index=True)
    pd.testing.assert_frame_equal(sort_events(events), wanted)


def test_a_column_as_small_numbers_has_null_last_and_its_values_ascending() -> None:
    places, names = in_order(pd.Series(["b", None, "a", "b"], dtype="str"))
    assert (places.tolist(), names.tolist()) == ([1, 2, 0, 1], ["a", "b"])
    assert texts_of(pd.Series(["b", None], dtype="str")).tolist() == ["b", ""]


def test_the_next_item_is_the_first_view_or_purchase_in_the_window() -> None:
    events = events_of(
        [
            ("u", "a", "view", None, START),
            ("u", None, "search", "锅", START + MINUTE),
            ("u", "b", "cart", None, START + 2 * MINUTE),
            ("u", "c", "purchase", None, START + 3 * MINUTE),
            ("v", "a", "view", None, START + 9 * MINUTE),
        ]
    )
    found = next_items(events, START + MINUTE, START + 9 * MINUTE)
    assert found[[Columns.USER, Columns.ITEM]].to_numpy().tolist() == [["u", "c"]]
    assert next_items(events, START + MINUTE)[Columns.ITEM].tolist() == ["c", "a"]


@given(st.lists(st.tuples(st.sampled_from(["view", "search", "cart"]), st.sampled_from("abc"), st.integers(0, 99)), max_size=12))
def test_extending_keeps_order_in_time_and_loses_nothing(events: list[tuple[str, str, int]]) -> None:
    found = History.empty().extended([(kind, value) for kind, value, _ in events], [at for _, _, at in events])
    assert len(found) == len(events)
    assert (np.diff(found.timestamps) >= 0).all()
    assert sorted(found.timestamps.tolist()) == sorted(at for _, _, at in events)
    assert all((item == "") == (kind == "search") for item, kind in zip(found.item_ids, found.event_types, strict=True))
    assert len(found.before(50)) == sum(at < 50 for _, _, at in events)


def test_wrong_histories_are_refused() -> None:
    with pytest.raises(ValueError, match="unknown event types"):
        History.of([("click", "a")])
    with pytest.raises(ValueError, match="decrease"):
        History(("a", "b"), ("view", "view"), ("", ""), np.array([2, 1]))
    with pytest.raises(ValueError, match="one moment a user"):
        histories(shop_events(shop_items(), users=2), ["u000"], np.array([1, 2]))


def test_an_items_text_names_what_is_known_and_nothing_else() -> None:
    row = pd.Series(
        {
            "title": "跑鞋",
            "category": "运动",
            "brand": None,
            "attributes": np.array([{"key": "鞋底", "value": "橡胶"}, {"key": "色", "value": None}]),
        }
    )
    assert item_text(row) == "跑鞋 运动 鞋底:橡胶"
    assert attributes_of(None) == attributes_of(float("nan")) == []
    assert attributes_of({"a": "1"}) == attributes_of([("a", "1")]) == [("a", "1")]
    assert item_texts(pd.DataFrame([row, row]))[1] == item_text(row)
