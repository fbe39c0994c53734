"""A route for a JSON body that is nearly always right: it is read in one step, and only what is wrong goes the framework's long way."""

from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, cast

from fastapi import Request, Response
from fastapi.routing import APIRoute
from pydantic import BaseModel, ValidationError

Endpoint = Callable[[BaseModel, Request], Awaitable[Response]]


class QuickRoute(APIRoute):
    """Calls an endpoint ``(body, request) → response`` with the body that its JSON says.

    The document, and what is told of a request that cannot be read, are FastAPI's: whatever the model does not take at once is left to it.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """See FastAPI's documentation of custom route classes."""
        thorough = super().get_route_handler()
        if self.body_field is None or self.dependant.dependencies:
            return thorough
        endpoint = cast(Endpoint, self.endpoint)
        read = cast(type[BaseModel], self.body_field.field_info.annotation).__pydantic_validator__.validate_json

        async def handle(request: Request) -> Response:
            if _plain(request):
                try:
                    body = read(await request.body())
                except ValidationError:
                    return await thorough(request)
                return await endpoint(body, request)
            return await thorough(request)

        return handle


def _plain(request: Request) -> bool:
    return any(name == b"content-type" and value == b"application/json" for name, value in request.scope["headers"])
