import dataclasses

import pytest
import tiny_shop as tiny
from service_runs import running

from core.errors import ServiceError
from serving.access import NEEDED, Rates
from serving.server import check_host
from serving.tokens import SHORTEST, Tokens

SERVE, EVENTS, ADMIN = ("s" * 24, "e" * 24, "a" * 24)
TOKENS = Tokens.of_environment(
    {"ADLOOM_TOKENS_SERVE": f"{SERVE}, {'n' * 24}", "ADLOOM_TOKENS_EVENTS": EVENTS, "ADLOOM_TOKENS_ADMIN": ADMIN}
)
ADS = {"history": [{"type": "view", "item_id": "p0"}], "scene": "product", "channel": "onsite", "k": 1}
VIEW = {"events": [{"type": "view", "event_id": "e-1", "user_id": "u1", "item_id": "p0"}]}


@pytest.fixture
def guarded(shop):
    with running(dataclasses.replace(tiny.settings_in(shop), tokens=TOKENS)) as client:
        yield client


def bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


def test_without_a_token_or_with_an_unknown_one_nothing_is_served(guarded):
    for headers in ({}, bearer("x" * 24), {"authorization": f"Basic {SERVE}"}, {"authorization": "Bearer"}, bearer("鞋" * 24)):
        sent = {name: value.encode("utf-8") for name, value in headers.items()}
        answer = guarded.post("/v1/ads", json=ADS, headers=sent)
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"] == "Bearer"
        told = answer.json()
        assert "ADLOOM_TOKENS_SERVE" in told["message"]
        assert told["request_id"] == answer.headers["x-request-id"]


def test_a_token_opens_what_its_scope_says_and_admin_opens_all(guarded):
    assert guarded.post("/v1/ads", json=ADS, headers=bearer(SERVE)).status_code == 200
    assert guarded.post("/v1/ads", json=ADS, headers=bearer("n" * 24)).status_code == 200  # two tokens at a time: rotation
    refused = guarded.post("/v1/events", json=VIEW, headers=bearer(SERVE))
    assert (refused.status_code, refused.json()["code"]) == (403, "forbidden")
    assert "this token may serve; /v1/events needs events" in refused.json()["message"]
    assert guarded.post("/v1/events", json=VIEW, headers=bearer(EVENTS)).json()["accepted"] == 1
    assert guarded.get("/metrics", headers=bearer(EVENTS)).status_code == 403
    assert guarded.get("/metrics", headers=bearer(ADMIN)).status_code == 200
    assert guarded.post("/v1/ads", json=ADS, headers=bearer(ADMIN)).status_code == 200
    assert guarded.get("/healthz").status_code == 200  # a load balancer has no token


def test_every_route_that_reads_or_writes_needs_a_scope_and_the_document_says_so(guarded):
    document = guarded.get("/openapi.json").json()
    open_paths = {"/healthz", "/readyz"}
    assert set(document["paths"]) == set(NEEDED) | open_paths
    for path, operations in document["paths"].items():
        for operation in operations.values():
            assert ("security" in operation) == (path not in open_paths)
            assert path in open_paths or {"401", "403", "429"} <= set(operation["responses"])


def test_a_short_token_is_refused_at_the_start():
    with pytest.raises(ServiceError, match=rf"ADLOOM_TOKENS_ADMIN: a token has 5 characters, {SHORTEST} are needed"):
        Tokens.of_environment({"ADLOOM_TOKENS_ADMIN": "short"})


def test_tokens_are_not_kept_and_lead_nowhere_from_a_dump():
    assert SERVE not in repr(TOKENS)
    assert TOKENS.scopes_of(SERVE) == {"serve"}
    assert not TOKENS.scopes_of("")


def test_a_host_beyond_this_machine_needs_tokens():
    check_host("127.0.0.1", Tokens())
    check_host("0.0.0.0", TOKENS)
    with pytest.raises(ServiceError, match=r"0\.0\.0\.0 can be reached from other machines.*ADLOOM_TOKENS_SERVE"):
        check_host("0.0.0.0", Tokens())


def test_a_bucket_lets_a_burst_through_and_then_the_rate():
    now = [0.0]
    rates = Rates(5.0, clock=lambda: now[0])
    assert [rates.wait_of("a") for _ in range(10)] == [0.0] * 10  # two seconds' worth
    assert rates.wait_of("a") == pytest.approx(0.2)
    assert rates.wait_of("b") == 0.0  # another asker has a bucket of its own
    now[0] += 0.2
    assert rates.wait_of("a") == 0.0
    assert rates.wait_of("a") > 0
    assert Rates(0.0).wait_of("a") == 0.0


def test_too_many_requests_are_told_when_to_come_back(shop):
    settings = tiny.settings_in(shop)
    params = settings.params.model_copy(update={"requests_per_second": 1.0})
    with running(dataclasses.replace(settings, params=params)) as client:
        answers = [client.post("/v1/events", json=VIEW) for _ in range(4)]
        assert [answer.status_code for answer in answers[:2]] == [200, 200]
        late = next(answer for answer in answers if answer.status_code == 429)
        assert int(late.headers["retry-after"]) >= 1
        assert "serving.requests_per_second" in late.json()["message"]


def test_other_origins_get_no_permission(client):
    answer = client.options("/v1/ads", headers={"origin": "https://elsewhere.example", "access-control-request-method": "POST"})
    assert "access-control-allow-origin" not in answer.headers
