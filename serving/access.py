"""Who may ask for what: bearer tokens with scopes, and how often one of them may ask."""

import hashlib
import json
import math
import time
from collections.abc import Callable
from typing import Any

from fastapi import FastAPI
from starlette.types import ASGIApp, Receive, Scope, Send

from serving.tokens import SCOPES, Tokens

NEEDED = {"/v1/ads": "serve", "/v1/creatives": "serve", "/v1/events": "events", "/metrics": "admin"} | {
    f"/v1/console/{name}": "admin" for name in ("world", "shoppers", "products", "slates", "board", "creatives", "reviews")
}
"""Scope that a path needs; paths that are not named are open."""
BURST_SECONDS = 2.0
"""Seconds' worth of requests that may come at once."""
REMEMBERED = 10_000
"""Askers whose rate is remembered; the one that has been quiet longest is forgotten first."""


class Rates:
    """A token bucket for each asker."""

    def __init__(self, per_second: float, clock: Callable[[], float] = time.monotonic) -> None:
        """Args: requests a second, 0 for no limit; the clock, which tests set."""
        self._per_second, self._clock = per_second, clock
        self.limited = per_second > 0
        self._burst = max(1.0, per_second * BURST_SECONDS)
        self._held: dict[str, tuple[float, float]] = {}  # asker → what is left, and when it was counted

    def wait_of(self, asker: str) -> float:
        """Take one request out of the asker's bucket.

        Args:
            asker: a digest or an address.

        Returns:
            0, or the seconds until there is one again.
        """
        if not self.limited:
            return 0.0
        now = self._clock()
        left, since = self._held.pop(asker, (self._burst, now))
        left = min(self._burst, left + (now - since) * self._per_second)
        taken = left >= 1.0
        self._held[asker] = (left - taken, now)  # at the end: the first ones have been quiet longest
        if len(self._held) > REMEMBERED:
            del self._held[next(iter(self._held))]
        return 0.0 if taken else (1.0 - left) / self._per_second


class Access:
    """Lets a request through, or answers 401, 403 or 429 in its place."""

    def __init__(self, app: ASGIApp, *, tokens: Tokens, rates: Rates) -> None:
        """Args: the application, who may ask, and how often."""
        self._app, self._tokens, self._rates = app, tokens, rates

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See the ASGI specification."""
        needed = NEEDED.get(scope["path"]) if scope["type"] == "http" else None
        if needed is None or not (self._tokens or self._rates.limited):
            await self._app(scope, receive, send)
            return
        token = bearer(scope)
        if self._tokens:
            scopes = self._tokens.scopes_of(token) if token is not None else frozenset()
            if not scopes:
                problem = "no token" if token is None else "unknown token"
                message = f"{problem}: send the header `Authorization: Bearer TOKEN` with one of {SCOPES[needed]}"
                await _refuse(scope, send, 401, "unauthorised", message, (b"www-authenticate", b"Bearer"))
                return
            if not scopes & {needed, "admin"}:
                message = f"this token may {', '.join(sorted(scopes))}; {scope['path']} needs {needed}"
                await _refuse(scope, send, 403, "forbidden", message)
                return
        asker = hashlib.sha256(token.encode("utf-8", "surrogateescape")).hexdigest() if self._tokens and token else str(_address(scope))
        wait = self._rates.wait_of(asker)
        if wait:
            seconds = str(math.ceil(wait)).encode()
            message = f"too many requests: ask again in {wait:.1f} s (serving.requests_per_second)"
            await _refuse(scope, send, 429, "too_many", message, (b"retry-after", seconds))
            return
        await self._app(scope, receive, send)


def describe(app: FastAPI, tokens: Tokens) -> None:
    """Put the tokens' scheme into the OpenAPI document, on the paths that need one.

    Args:
        app: with all its routes.
        tokens: who may ask; without any the document stays as it is.
    """
    if not tokens:
        return
    plain = app.openapi

    def with_security() -> dict[str, Any]:
        if app.openapi_schema is None:
            document = plain()
            document.setdefault("components", {})["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
            for path, operations in document["paths"].items():
                for operation in operations.values():
                    if path in NEEDED:
                        operation["security"] = [{"token": []}]
            app.openapi_schema = document
        return app.openapi_schema

    app.openapi = with_security  # type: ignore[method-assign]


def bearer(scope: Scope) -> str | None:
    """The token that a request came with.

    Args:
        scope: of the request.
    """
    for name, value in scope["headers"]:
        if name == b"authorization":
            kind, _, token = value.decode("latin-1").partition(" ")
            return token.strip() if kind.lower() == "bearer" and token.strip() else None
    return None


def _address(scope: Scope) -> str:
    client = scope.get("client")
    return client[0] if client else ""


async def _refuse(scope: Scope, send: Send, status: int, code: str, message: str, *more: tuple[bytes, bytes]) -> None:
    made = scope.get("state", {}).get("request_id", "")
    body = json.dumps({"code": code, "message": message, "faults": [], "request_id": made}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode()), *more]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
