"""The HTTP service: routes, and how errors are told."""

import logging
import sqlite3
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse
from starlette.exceptions import HTTPException

from core.errors import AdloomError
from serving.access import Access, Rates, describe
from serving.api import (
    AdsAnswer,
    AdsRequest,
    CreativesAnswer,
    CreativesRequest,
    ErrorAnswer,
    EventsAnswer,
    EventsRequest,
    Fault,
    Health,
    Readiness,
)
from serving.behaviour import Behaviour
from serving.champions import Champions, FolderSource, Found, RegistrySource, Source
from serving.clock import moment, wall_clock
from serving.condition import RETRY_AFTER_S, Condition
from serving.console.routes import add_console
from serving.errors import ERRORS, REFUSALS, RefusedError
from serving.learning import Learner
from serving.metrics import Metrics, Stopwatch
from serving.middleware import Around
from serving.model_set import ModelSet, load_models
from serving.pacing import Ticker
from serving.page import reference_page
from serving.quick import QuickRoute
from serving.service import Ads, Answered, Asked, Parts
from serving.settings import BODY_LIMIT, GATHER_SECONDS, GROUP, Settings
from serving.storage import Storage
from serving.store import UnavailableError
from serving.turns import Turns
from serving.world import World
from serving.writing import Writing

_log = logging.getLogger(__name__)


def create_app(settings: Settings, *, wall: Callable[[], int] = wall_clock) -> FastAPI:
    """The service over one log, one online state and one source of bundles.

    Args:
        settings: where everything is.
        wall: the wall clock; tests give another.

    Returns:
        The application; models are loaded in the background once it has started.

    Raises:
        ServiceError: the database or a server cannot be opened.
    """
    storage = Storage.open(settings)
    source: Source = FolderSource(settings.bundles) if settings.bundles else RegistrySource(settings.root, settings.fetched)

    def load(bundles: Mapping[str, Found], path: Callable[[Found], Path]) -> ModelSet:
        world = World.open(storage.store, settings.data, wall)
        storage.state.renew()  # shoppers' pasts may have been read anew
        return load_models(bundles, path, params=settings.params, world=world, storage=storage, before=champions.current)

    champions: Champions[ModelSet] = Champions(source, load, poll_seconds=settings.params.poll_seconds)
    learner = Learner(lambda: champions.current.learning if champions.current else None)
    ticker = Ticker(lambda: champions.current.pacing if champions.current else None)
    metrics = Metrics()
    parts = Parts(settings, storage, champions)
    ads_door = Ads(parts, Stopwatch(metrics.stages, metrics.stages_cpu, metrics.groups))
    turns: Turns[Asked, Answered] = Turns(ads_door.answer_all, most=GROUP, name="decisions", gather_seconds=GATHER_SECONDS)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        storage.start()
        champions.start()
        turns.start()
        learner.start()
        ticker.start()
        yield
        learner.stop()
        turns.stop()
        ticker.stop()
        champions.stop()
        storage.close()

    app = FastAPI(
        title="Adloom",
        version="1",
        summary="Personalised ads: slates with exact propensities, events that count at once, copy on request.",
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        telemetry={"tracing": False, "metrics": False, "logs": False},  # /metrics and the log say it, and nobody else is told
    )
    app.state.champions, app.state.storage, app.state.learner, app.state.ticker = champions, storage, learner, ticker
    app.add_middleware(Access, tokens=settings.tokens, rates=Rates(settings.params.requests_per_second))
    app.add_middleware(Around, metrics=metrics, body_limit=BODY_LIMIT)
    _add_error_handlers(app, metrics)
    _add_routes(app, parts, ads_door, turns, metrics)
    add_console(app, parts, ads_door, turns, metrics)
    _add_pages(app, champions, metrics, storage.condition)
    describe(app, settings.tokens)
    return app


def _add_routes(app: FastAPI, parts: Parts, ads_door: Ads, turns: Turns[Asked, Answered], metrics: Metrics) -> None:
    behaviour, writing = Behaviour(parts), Writing(parts)

    async def ads(body: AdsRequest, request: Request) -> Response:
        """Draw a slate. Every position comes with its exact propensity, and its record is on disk before this answers."""
        ads_door.check(body)
        found = await turns.ask(Asked(body, request.state.request_id))
        metrics.count_decision(found.decision, body.scene, body.channel)
        return Response(found.json, media_type="application/json")

    app.router.add_api_route(
        "/v1/ads",
        ads,
        methods=["POST"],
        response_model=AdsAnswer,
        responses=ERRORS,
        summary="Choose ads for a shopper",
        route_class_override=QuickRoute,
    )

    @app.post("/v1/events", response_model=EventsAnswer, responses=ERRORS, summary="Tell what shoppers did")
    def events(body: EventsRequest) -> EventsAnswer:
        """Views, searches, carts, favourites, purchases, and the clicks and conversions of ads; idempotent by event_id."""
        answer, stored = behaviour.accept(body.events)
        metrics.count_events((held.kind for held in stored), answer.duplicates)
        return answer

    @app.post("/v1/creatives", response_model=CreativesAnswer, responses=ERRORS, summary="Write copy now")
    def creatives(body: CreativesRequest, request: Request) -> CreativesAnswer:
        """Write copy for one product and audience; what breaks the compliance list or states what the product lacks is refused."""
        answer = writing.write(body, request.state.request_id)
        metrics.creatives.labels("accepted").inc(len(answer.creatives))
        metrics.creatives.labels("refused").inc(len(answer.refused))
        return answer


def _add_pages(app: FastAPI, champions: Champions[ModelSet], metrics: Metrics, condition: Condition) -> None:
    @app.get("/healthz", response_model=Health, summary="Does the process live?")
    def healthz() -> Health:
        """Says ok as long as the process answers, and which servers it does without."""
        return Health(status="ok", degraded=condition.degraded, spilled=condition.spilled)

    @app.get("/readyz", response_model=Readiness, responses={503: {"model": Readiness}}, summary="Can ads be served?")
    def readyz(response: Response) -> Readiness:
        """503 without champions, with what is missing and the next step."""
        models = champions.current
        response.status_code = 200 if models else 503
        return Readiness(
            ready=models is not None,
            problem="; ".join(told for told in (champions.problem, condition.problem) if told),
            degraded=condition.degraded,
            versions=models.versions if models else None,
            now=moment(models.world.now() if models else wall_clock()),
        )

    @app.get("/metrics", response_class=Response, summary="Prometheus metrics", responses=REFUSALS | {200: {"content": {"text/plain": {}}}})
    def metrics_page() -> Response:
        """Requests, latency, decisions, events, exploration, champions, failures to store."""
        models = champions.current
        return Response(
            metrics.page(models.versions if models else None, champions.swaps, condition),
            media_type="text/plain; version=0.0.4; charset=utf-8",
        )

    @app.get("/docs", include_in_schema=False)
    def docs() -> HTMLResponse:
        return HTMLResponse(reference_page(app.openapi()))


def _add_error_handlers(app: FastAPI, metrics: Metrics) -> None:
    def told(request: Request, status: int, code: str, message: str, faults: tuple[Fault, ...] = ()) -> JSONResponse:
        answer = ErrorAnswer(code=code, message=message, faults=list(faults), request_id=request.state.request_id)
        return JSONResponse(answer.model_dump(), status_code=status)

    @app.exception_handler(RefusedError)
    async def refused(request: Request, error: RefusedError) -> JSONResponse:
        return told(request, error.status, error.code, error.message, error.faults)

    @app.exception_handler(RequestValidationError)
    async def unreadable(request: Request, error: RequestValidationError) -> JSONResponse:
        sent = request.headers.get("content-type")
        found = error.errors()
        if not (sent or "").partition(";")[0].strip().endswith("json") and any(fault["loc"] == ("body",) for fault in found):
            faults: tuple[Fault, ...] = (Fault(field="content-type", problem=f"application/json is needed, this is {sent or 'missing'}"),)
        else:
            faults = tuple(_fault(fault) for fault in found)
        return told(request, 422, "invalid", "; ".join(f"{fault.field}: {fault.problem}" for fault in faults), faults)

    @app.exception_handler(HTTPException)
    async def http(request: Request, error: HTTPException) -> JSONResponse:
        answer = told(request, error.status_code, "http", str(error.detail))
        answer.headers.update(error.headers or {})
        return answer

    @app.exception_handler(AdloomError)
    async def unable(request: Request, error: AdloomError) -> JSONResponse:
        _log.error("%s: %s", type(error).__name__, error)
        return told(request, 503, "unable", str(error))

    @app.exception_handler(UnavailableError)
    async def away(request: Request, error: UnavailableError) -> JSONResponse:
        metrics.log_failures.inc()
        answer = told(request, 503, "unavailable", f"{error}; nothing is acknowledged, ask again in {RETRY_AFTER_S} s")
        answer.headers["retry-after"] = str(RETRY_AFTER_S)
        return answer

    @app.exception_handler(Exception)
    async def broken(request: Request, error: Exception) -> JSONResponse:
        return told(request, 500, "broken", "an error of the service's own; its log has the trace under this request_id")

    @app.exception_handler(sqlite3.Error)
    async def not_stored(request: Request, error: sqlite3.Error) -> JSONResponse:
        metrics.log_failures.inc()
        _log.error("the record could not be stored: %s", error)
        return told(request, 503, "not_stored", f"the record could not be stored ({error}); nothing was done, ask again")


def _fault(fault: Mapping[str, Any]) -> Fault:
    """What pydantic or the JSON reader refused; of broken JSON the place is that of its character."""
    if fault["type"] == "json_invalid":
        return Fault(field="body", problem=f"not JSON at character {fault['loc'][-1] + 1}: {fault['ctx']['error']}")
    return Fault(field=_field(fault["loc"]), problem=str(fault["msg"]))


def _field(location: tuple[int | str, ...]) -> str:
    """Where in the body, without pydantic's own names for the members of a union."""
    parts = [str(part) for part in location if part != "body"]
    return ".".join(part for place, part in enumerate(parts) if not (place == 2 and parts[0] == "events" and part in _UNION)) or "body"


_UNION = frozenset({"view", "cart", "favourite", "purchase", "search", "click", "conversion"})
