"""What is said of a score is true of the model that gave it."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_recommenders import CATALOGUE, EVENTS, NAMES, NOW, N, untrained

from models.history import History
from models.recommender.base import EventRecommender
from models.recommender.explanation import Explanation, explain, without

MODELS = {name: untrained(name) for name in NAMES}


def centred(name: str, history: History, code: int) -> float:
    scores = MODELS[name].score([history], NOW + 1)[0].astype(np.float64)
    return float(scores[code] - scores.mean())


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=15, deadline=None)
@given(events=EVENTS.filter(bool), code=st.integers(0, N - 1))
def test_no_other_event_is_missed_more_than_the_one_named_first(name: str, events: list[tuple[str, str]], code: int) -> None:
    history = History.of(events, end=NOW)
    (told,) = explain(MODELS[name], history, [code], NOW + 1)
    assert told.score == pytest.approx(centred(name, history, code), abs=1e-4)
    lowest = min(centred(name, without(history, place), code) for place in range(len(history)))
    carried = told.carried(len(events))
    if carried:
        assert centred(name, without(history, carried[0][0]), code) == pytest.approx(lowest, abs=1e-4)
        assert [weight for _, weight in carried] == sorted((weight for _, weight in carried), reverse=True)
    else:
        assert lowest >= told.score - 2e-4
    for place, weight in carried:
        assert told.score - centred(name, without(history, place), code) == pytest.approx(weight, abs=1e-4)


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=15, deadline=None)
@given(events=EVENTS)
def test_the_parts_of_a_score_sum_to_it(name: str, events: list[tuple[str, str]]) -> None:
    history = History.of(events, end=NOW)
    found = MODELS[name].parts(history, NOW + 1)
    np.testing.assert_allclose(sum(found.values()), MODELS[name].score([history], NOW + 1)[0], rtol=1e-4, atol=1e-4)
    for told in explain(MODELS[name], history, [0, 5], NOW + 1):
        assert sum(told.parts.values()) == pytest.approx(told.score, abs=1e-4)


def test_the_sequence_says_what_each_of_its_terms_adds() -> None:
    found = MODELS["sequence"].parts(History.of([("view", "p001"), ("purchase", "p004")], end=NOW), NOW + 1)
    assert list(found) == ["network", "content", "popularity", "repeats", "links"]
    assert np.flatnonzero(found["repeats"]).tolist() == [1, 4]
    assert found["links"].min() >= 0


@pytest.mark.parametrize("name", NAMES)
def test_gates_are_the_shares_of_the_sources_in_the_feature(name: str) -> None:
    model = MODELS[name]
    gates = model.gates(History.of([("view", "p001"), ("search", "厨房"), ("view", "p002")], end=NOW), NOW + 1)
    if not (isinstance(model, EventRecommender) and model.own_fusion):
        assert gates == {}
        return
    assert gates["view"] + gates["search"] == pytest.approx(1)
    assert min(gates["view"], gates["search"]) > 0
    assert gates["purchase"] == 0
    only = model.gates(History.of([("cart", "p001")], end=NOW), NOW + 1)
    assert only["cart"] == pytest.approx(1)
    assert sum(model.gates(History.empty(), NOW).values()) == 0


@pytest.mark.parametrize("name", NAMES)
def test_events_that_the_recommender_does_not_read_carry_nothing(name: str) -> None:
    model = MODELS[name]
    events = [("view", item) for item in CATALOGUE.item_ids[:9]]
    history = History.of(events, end=NOW)
    (told,) = explain(model, history, [3], NOW + 1)
    read = model.max_events if isinstance(model, EventRecommender) else len(events)
    assert told.events.tolist() == list(range(9 - read, 9))
    (nothing,) = explain(model, History.of([("view", "not here")], end=NOW), [3], NOW + 1)
    assert len(nothing.events) == 0
    assert nothing.carried(3) == []


def test_an_event_that_is_not_missed_carried_nothing() -> None:
    told = Explanation(0, 1.0, {}, np.array([4, 7, 9]), np.array([1e-6, 0.003, -0.2]))
    assert told.carried(3) == [(7, 0.003)]
