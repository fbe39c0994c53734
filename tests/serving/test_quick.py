"""A body that is read in one step is the body that FastAPI reads, and what is wrong with another one is told in FastAPI's words."""

import json

from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from serving.api import AdsRequest
from serving.quick import QuickRoute


def echo(route_class: type[APIRoute]) -> TestClient:
    app, router = FastAPI(), APIRouter(route_class=route_class)

    @router.post("/v1/ads")
    async def ads(body: AdsRequest, request: Request) -> Response:
        return Response(body.model_dump_json() + f" {request.url.path}", media_type="application/json")

    @app.exception_handler(RequestValidationError)
    async def told(request: Request, error: RequestValidationError) -> Response:
        return Response("; ".join(f"{fault['loc']} {fault['type']} {fault['msg']}" for fault in error.errors()), status_code=422)

    app.include_router(router)
    return TestClient(app)


QUICK, PLAIN = echo(QuickRoute), echo(APIRoute)
VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-2, 12),
    st.floats(allow_nan=False),
    st.sampled_from(["u1", "", "\x00", "product", "social", "yes", "3", "3.0", "x" * 200, "2026-01-01T00:00:00Z"]),
    st.lists(st.sampled_from(["p1", "", 3, None]), max_size=3),
    st.lists(
        st.fixed_dictionaries(
            {"type": st.sampled_from(["view", "search", "read"])},
            optional={
                "item_id": st.sampled_from(["p1", "", None, 4]),
                "query": st.sampled_from(["马拉松", "", None]),
                "timestamp": st.sampled_from(["2026-01-01T00:00:00+08:00", "2026-01-01T00:00:00", 1_700_000_000, 1.5, "soon"]),
            },
        ),
        max_size=3,
    ),
)
BODIES = st.dictionaries(st.sampled_from([*AdsRequest.model_fields, "colour"]), VALUES, max_size=5).map(json.dumps)
RAW = st.sampled_from(
    [
        *(b"", b"{", b"[]", b"null", b'"k"', b'{"k": 2, "k": 3}', b'{"k": NaN}', b'{"k": 1e400}', b'{"user_id": "\\ud800"}', b"\xff{}"),
        *('{"user_id": "é"}'.encode("utf-16"), b"\xef\xbb\xbf{}", b'{"k": 2} {"k": 3}', b'{"k": 99999999999999999999999}', b"{'k': 2}"),
    ]
)
TYPES = st.sampled_from(["application/json", "application/json; charset=utf-8", "application/vnd.api+json", "text/plain", None])


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(body=st.one_of(BODIES.map(str.encode), RAW), kind=st.one_of(st.just("application/json"), TYPES))
@example(body=b'{"user_id": "u1", "k": 3}', kind="application/json")
def test_both_ways_give_one_answer(body, kind):
    headers = {} if kind is None else {"content-type": kind}
    quick, plain = (client.post("/v1/ads", content=body, headers=headers) for client in (QUICK, PLAIN))
    assert (quick.status_code, quick.text) == (plain.status_code, plain.text)


def test_both_ways_have_one_document():
    quick, plain = (client.get("/openapi.json").json() for client in (QUICK, PLAIN))
    assert quick == plain
    assert "AdsRequest" in json.dumps(quick)


def test_a_body_that_is_right_does_not_go_the_long_way(monkeypatch):
    def long_way(*args, **named):
        raise AssertionError("the long way")

    monkeypatch.setattr("fastapi.routing.solve_dependencies", long_way)
    assert QUICK.post("/v1/ads", json={"user_id": "u1", "k": 2}).status_code == 200
