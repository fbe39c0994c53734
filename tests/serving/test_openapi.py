"""What the OpenAPI document promises holds for any request that it allows, and for many that it does not."""

import dataclasses

import pytest
import schemathesis
import tiny_shop as tiny
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis.core.failures import FailureGroup
from service_runs import running

from models.encoder import TextEncoder
from serving.tokens import Tokens

SERVE = "s" * 24
TOKENS = Tokens.of_environment({"ADLOOM_TOKENS_SERVE": SERVE})
CHECKS = (
    schemathesis.checks.not_a_server_error,
    schemathesis.checks.status_code_conformance,
    schemathesis.checks.content_type_conformance,
    schemathesis.checks.response_schema_conformance,
)


def ask(app, cases: int, headers: dict[str, str]) -> int:
    """Ask each operation so often; returns how many answers were looked at."""

    async def started(scope, receive, send) -> None:  # the service runs already: its threads start once
        if scope["type"] != "lifespan":
            await app(scope, receive, send)

    schema = schemathesis.openapi.from_asgi("/openapi.json", started)
    asked = 0
    for found in schema.get_all_operations():
        operation = found.ok()

        @settings(
            max_examples=cases,
            deadline=None,
            database=None,
            derandomize=True,
            phases=[Phase.explicit, Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(case=st.one_of(operation.as_strategy(), operation.as_strategy(generation_mode=schemathesis.GenerationMode.NEGATIVE)))
        def one(case) -> None:
            nonlocal asked
            asked += 1
            try:
                case.call_and_validate(headers=headers, checks=CHECKS)
            except FailureGroup as group:
                raise AssertionError("\n".join(map(str, group.exceptions))) from None

        one()
    return asked


@pytest.fixture(autouse=True)
def any_query_is_encoded(shop, monkeypatch):
    """The tiny shop's encoder has no network: it knows six queries. Strangers' words need vectors too."""
    monkeypatch.setattr(TextEncoder, "features", lambda self, texts: tiny.vectors(texts))


@pytest.mark.parametrize("token", [None, SERVE])
def test_no_request_breaks_the_service_or_gets_an_answer_that_is_not_documented(shop, token):
    with running(dataclasses.replace(tiny.settings_in(shop), tokens=TOKENS if token else Tokens())) as client:
        assert ask(client.app, 15, {"authorization": f"Bearer {token}"} if token else {}) >= 45


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("token", [None, SERVE])
def test_ten_thousand_requests_neither(shop, token):
    with running(dataclasses.replace(tiny.settings_in(shop), tokens=TOKENS if token else Tokens())) as client:
        assert ask(client.app, 1700, {"authorization": f"Bearer {token}"} if token else {}) >= 5000
