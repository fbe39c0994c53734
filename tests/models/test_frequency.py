"""The frequency cap of one shopper and one creative."""

from collections import Counter

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from models.features import Responses
from models.frequency import WINDOW, within_cap
from models.retrieval import Found

ITEMS, TEXTS = ("a", "b", "c"), ("one", "two", "three", "four")
NOW = 10 * WINDOW
CANDIDATES = Found(np.array([0, 0, 1, 2, 2]), np.array([0, 1, 2, 3, 0]))


def seen(*ads: tuple[str, str, int]) -> Responses:
    ordered = sorted(ads, key=lambda ad: -ad[2])
    items, texts, ages = zip(*ordered, strict=True) if ordered else ((), (), ())
    times = np.array([NOW - age for age in ages], np.int64)
    return Responses(tuple(items), tuple(texts), ("onsite",) * len(items), np.zeros(len(items), np.float32), times)


def left(responses: Responses, cap: int) -> list[tuple[str, str]]:
    found = within_cap(CANDIDATES, responses, moment=NOW, cap=cap, item_ids=ITEMS, texts=TEXTS)
    return [(ITEMS[code], TEXTS[row]) for code, row in zip(found.codes, found.rows, strict=True)]


def test_a_creative_that_was_shown_often_enough_today_is_no_candidate():
    assert ("a", "one") not in left(seen(("a", "one", 5), ("a", "one", 9)), 2)
    assert ("a", "one") in left(seen(("a", "one", 5), ("a", "one", 9)), 3)
    assert ("a", "one") in left(seen(("a", "one", 5), ("a", "one", WINDOW + 1)), 2)
    assert ("c", "one") in left(seen(("a", "one", 5), ("a", "one", 9)), 2)  # the same words for another item


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(ITEMS), st.sampled_from(TEXTS), st.integers(1, 2 * WINDOW)), max_size=30),
    st.integers(0, 4),
)
def test_the_cap_holds_and_takes_nothing_else(ads, cap):
    whole = [(ITEMS[code], TEXTS[row]) for code, row in zip(CANDIDATES.codes, CANDIDATES.rows, strict=True)]
    today = Counter((item, text) for item, text, age in ads if age < WINDOW)
    assert left(seen(*ads), cap) == [pair for pair in whole if not cap or today[pair] < cap]
