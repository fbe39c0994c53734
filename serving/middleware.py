"""Around every request: an id, a limit on its body, a count, a log line."""

import json
import logging
import time
import uuid
from contextlib import suppress

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.logs import request_id
from serving.metrics import Metrics

_log = logging.getLogger(__name__)

UNKNOWN = "unknown"
"""Route of a path that the service does not have: paths of strangers are no labels."""


class TooLargeError(Exception):
    """A body above the limit."""


class Around:
    """Gives each request an id, refuses large bodies, counts and logs."""

    def __init__(self, app: ASGIApp, *, metrics: Metrics, body_limit: int) -> None:
        """Args: the application, where to count, and the largest body in bytes."""
        self._app = app
        self._metrics = metrics
        self._body_limit = body_limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See the ASGI specification."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        made = uuid.uuid4().hex
        request_id.set(made)
        scope.setdefault("state", {})["request_id"] = made
        started = time.perf_counter()
        status = 500
        answered = False
        size = 0

        async def counted() -> Message:
            nonlocal size
            message = await receive()
            size += len(message.get("body", b""))
            if size > self._body_limit:
                raise TooLargeError
            return message

        async def marked(message: Message) -> None:
            nonlocal status, answered
            if size > self._body_limit and not answered:
                return  # what the application makes of a body that was cut off is not told
            await told(message)

        async def told(message: Message) -> None:
            nonlocal status, answered
            if message["type"] == "http.response.start":
                status, answered = message["status"], True
                message["headers"] = [*message.get("headers", []), (b"x-request-id", made.encode())]
            await send(message)

        try:
            if _declared(scope) <= self._body_limit:
                with suppress(TooLargeError):
                    await self._app(scope, counted, marked)
            if not answered:
                await _refuse(told, self._body_limit, made)
        finally:
            seconds = time.perf_counter() - started
            route = getattr(scope.get("route"), "path", UNKNOWN)
            self._metrics.count_request(route, scope["method"] if route != UNKNOWN else UNKNOWN, status, seconds)
            _log.info("%s %s", scope["method"], route, extra={"status": status, "ms": round(1000 * seconds, 2), "request_id": made})


def _declared(scope: Scope) -> int:
    for name, value in scope["headers"]:
        if name == b"content-length" and value.isdigit():
            return int(value)
    return 0


async def _refuse(send: Send, limit: int, made: str) -> None:
    problem = f"the body is larger than {limit} bytes; send fewer events at a time"
    body = json.dumps({"code": "too_large", "message": problem, "faults": [], "request_id": made}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode()), (b"connection", b"close")]
    await send({"type": "http.response.start", "status": 413, "headers": headers})
    await send({"type": "http.response.body", "body": body})
