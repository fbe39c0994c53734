"""A body holds the kinds of values that the OpenAPI document says: no text or truth value passes for a number, nor a number for a time."""

import json

import pytest
from pydantic import ValidationError

from serving.api import AdsRequest, Body, CreativesRequest, EventsRequest
from serving.console.api import SlatesRequest


def of(kind: type[Body], path: str, value: object) -> dict[str, object]:
    """A right body, but for the value at a path."""
    event = {"type": "click", "event_id": "e", "request_id": "r", "position": 0}
    bodies: dict[type[Body], dict[str, object]] = {
        AdsRequest: {"history": [{"type": "view", "item_id": "p1"}]},
        EventsRequest: {"events": [event, event | {"type": "conversion"}]},
        CreativesRequest: {"product": {"title": "t", "category": "c"}},
        SlatesRequest: {"history": [{"type": "view", "item_id": "p1"}]},
    }
    body = json.loads(json.dumps(bodies[kind]))
    held, *names = body, *path.split(".")
    for name in names[:-1]:
        held = held[int(name) if name.isdecimal() else name]
    held[names[-1]] = value
    return body


NUMBERS = [
    (AdsRequest, "k"),
    (EventsRequest, "events.0.position"),
    (EventsRequest, "events.1.position"),
    (EventsRequest, "events.1.value_micros"),
    (CreativesRequest, "n"),
    (CreativesRequest, "product.price_micros"),
    (SlatesRequest, "k"),
]
FLAGS = [(AdsRequest, "consent"), (AdsRequest, "cards"), (SlatesRequest, "preview")]
TIMES = [(AdsRequest, "history.0.timestamp"), (EventsRequest, "events.0.timestamp"), (SlatesRequest, "history.0.timestamp")]
WRONG = [
    *((kind, path, value, "valid integer") for kind, path in NUMBERS for value in (True, "1", "0", 1.5)),
    *((kind, path, value, "valid boolean") for kind, path in FLAGS for value in (1, 0, "true", "no")),
    *((kind, path, value, "a date and time with a zone") for kind, path in TIMES for value in (1_700_000_000, 1.5, "1700000000", True)),
]
RIGHT = [
    *((kind, path, value) for kind, path in NUMBERS for value in (1, 1.0)),
    *((kind, path, value) for kind, path in FLAGS for value in (True, False)),
    *((kind, path, value) for kind, path in TIMES for value in ("2026-01-31T08:00:00Z", "2026-01-31T08:00:00.5+08:00", None)),
]


@pytest.mark.parametrize(("kind", "path", "value", "words"), WRONG)
def test_a_value_of_another_kind_is_refused_both_ways_a_body_is_read(kind: type[Body], path: str, value: object, words: str) -> None:
    body = of(kind, path, value)
    for read in (kind.model_validate, lambda found: kind.model_validate_json(json.dumps(found))):
        with pytest.raises(ValidationError) as caught:
            read(body)
        (fault,) = caught.value.errors()
        assert words in fault["msg"]
        assert [part for part in fault["loc"] if part not in {"click", "conversion"}] == [
            int(name) if name.isdecimal() else name for name in path.split(".")
        ]


@pytest.mark.parametrize(("kind", "path", "value"), RIGHT)
def test_a_value_of_its_kind_is_taken_both_ways(kind: type[Body], path: str, value: object) -> None:
    body = of(kind, path, value)
    assert kind.model_validate(body) == kind.model_validate_json(json.dumps(body))
