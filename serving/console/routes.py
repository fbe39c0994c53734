"""Routes of the console: its files, which are open, and its data, which need the scope admin."""

import asyncio
import hashlib
import uuid
from pathlib import Path
from typing import Annotated, Literal

from fastapi import FastAPI, Query, Request, Response
from fastapi.responses import RedirectResponse
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException

from serving.access import bearer
from serving.api import AdsRequest, ChannelName, Fault
from serving.clock import moment, wall_clock
from serving.console.api import (
    MAX_LISTED,
    BoardAnswer,
    ChannelSlate,
    CreativesFound,
    ProductsAnswer,
    ReviewAnswer,
    ReviewDone,
    ReviewRequest,
    ShoppersAnswer,
    SlatesAnswer,
    SlatesRequest,
    TrailAnswer,
    WorldAnswer,
)
from serving.console.board import Board
from serving.console.shoppers import Shoppers, products, told
from serving.errors import ERRORS, REFUSALS, invalid
from serving.metrics import Metrics
from serving.reviews import Review, Reviews
from serving.service import Ads, Answered, Asked, Parts
from serving.turns import Turns

STATIC = Path(__file__).parent / "static"
TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".json": "application/json", ".svg": "image/svg+xml"}
HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "cache-control": "no-cache",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
}
BRANDS_TOLD = 1_000
CHANNELS: tuple[ChannelName, ...] = ("onsite", "social", "search")
ANSWERS = REFUSALS | {status: ERRORS[status] for status in (422, 503)}
Words = Annotated[str, Query(max_length=100, description="words that must all be held")]
Limit = Annotated[int, Query(ge=1, le=MAX_LISTED)]


def add_console(app: FastAPI, parts: Parts, ads: Ads, turns: Turns[Asked, Answered], metrics: Metrics) -> None:
    """Add the console to the application.

    Args:
        app: gets the routes.
        parts: what to work with.
        ads: checks requests for slates.
        turns: decides them, together with everybody's.
        metrics: counts of this process.
    """
    reviews = parts.storage.reviews
    _add_page(app)
    _add_shoppers(app, parts, ads, turns, metrics)
    _add_board(app, parts, Board(parts, metrics, reviews))
    _add_reviews(app, parts, reviews)


def _add_page(app: FastAPI) -> None:
    files = {path.name: path for path in STATIC.iterdir() if path.suffix in TYPES}

    @app.get("/", include_in_schema=False)
    def start() -> RedirectResponse:
        return RedirectResponse("/console/")

    @app.get("/console", include_in_schema=False)
    def folder() -> RedirectResponse:
        return RedirectResponse("/console/")

    @app.get("/console/", include_in_schema=False)
    def page() -> Response:
        return file("index.html")

    @app.get("/console/{name}", include_in_schema=False)
    def file(name: str) -> Response:
        path = files.get(name)
        if path is None:
            raise HTTPException(404, "no such file of the console")
        return Response(path.read_bytes(), media_type=TYPES[path.suffix], headers=HEADERS)


def _add_shoppers(app: FastAPI, parts: Parts, ads: Ads, turns: Turns[Asked, Answered], metrics: Metrics) -> None:
    shoppers = Shoppers(parts)

    @app.get("/v1/console/world", response_model=WorldAnswer, responses=ANSWERS, summary="What the console must know first")
    def world() -> WorldAnswer:
        """Whose shoppers these are, what serves, and by which policy."""
        models, params = parts.models(), parts.settings.params
        return WorldAnswer(
            synthetic=models.world.synthetic,
            now=moment(models.world.now()),
            versions=models.versions,
            policy=models.policies.champion.name,
            exploration_floor=models.policies.champion.exploration,
            scenes=["product", "promotion", "brand", "cross_sell"],
            brands=list(models.decider.retrieval.rules.brands[:BRANDS_TOLD]),
            channels=list(CHANNELS),
            max_slate=params.max_slate,
        )

    @app.get("/v1/console/shoppers", response_model=ShoppersAnswer, responses=ANSWERS, summary="Shoppers to pick")
    def some(count: Annotated[int, Query(ge=1, le=30)] = 8) -> ShoppersAnswer:
        """Some shoppers by pseudonym: those lately active, and others at random."""
        parts.storage.condition.need("log")
        return ShoppersAnswer(shoppers=shoppers.some(count))

    @app.get("/v1/console/products", response_model=ProductsAnswer, responses=ANSWERS, summary="Find products")
    def found(query: Words = "", limit: Limit = 20) -> ProductsAnswer:
        """Products whose title, category or brand holds the words; without words, one of each category first."""
        return ProductsAnswer(products=products(query, limit, parts.models()))

    @app.post("/v1/console/slates", response_model=SlatesAnswer, responses=ANSWERS | ERRORS, summary="Slates of all channels for a shopper")
    async def slates(body: SlatesRequest, request: Request) -> SlatesAnswer:
        """What each channel shows one shopper now. Stored as decisions where shoppers are synthetic, unless it is a preview.

        Like /v1/ads it answers while a server is away, and its answers say so.
        """
        models = parts.models()
        recorded = models.world.synthetic and not body.preview
        shopper = await run_in_threadpool(shoppers.of, body, request.state.request_id)
        asked = [
            Asked(
                AdsRequest(history=body.history, scene=body.scene, brand=body.brand, channel=name, k=body.k),
                uuid.uuid4().hex,
                shopper,
                recorded,
            )
            for name in CHANNELS
        ]
        for one in asked:
            ads.check(one.body)
        found = await asyncio.gather(*(turns.ask(one) for one in asked))
        if recorded:
            for one, answered in zip(asked, found, strict=True):
                metrics.count_decision(answered.decision, one.body.scene, one.body.channel)
        return SlatesAnswer(
            shopper=shopper.user_id if body.shopper or body.user_id else None,
            recorded=recorded,
            history=told(shopper.past.history, models),
            history_length=len(shopper.past.history),
            audience=found[0].answer.audience,
            slates=[ChannelSlate(channel=name, answer=answered.answer) for name, answered in zip(CHANNELS, found, strict=True)],
        )


def _add_board(app: FastAPI, parts: Parts, board: Board) -> None:
    @app.get("/v1/console/board", response_model=BoardAnswer, responses=ANSWERS, summary="The live board")
    def look(
        days: Annotated[int, Query(ge=1, le=366, description="UTC days that rates count, today included")] = 1, limit: Limit = 12
    ) -> BoardAnswer:
        """CTR, CVR, spend against plan, exploration, and what is believed of the creatives that were shown most."""
        parts.storage.condition.need("log")
        return board.look(days, limit)

    @app.get("/v1/console/creatives", response_model=CreativesFound, responses=ANSWERS, summary="Find creatives to review")
    def found(query: Words = "", only: Literal["all", "shown", "blocked"] = "all", limit: Limit = 20) -> CreativesFound:
        """Creatives of the pool, blocked ones first, then the most shown."""
        parts.storage.condition.need("log")
        return board.find(query, only, limit)


def _add_reviews(app: FastAPI, parts: Parts, reviews: Reviews) -> None:
    def answer(review: Review) -> ReviewAnswer:
        pool = parts.models().pool
        text = next((str(pool.text[row]) for row in pool.rows_of([review.creative_id])), None)
        return ReviewAnswer(**{**vars(review), "timestamp": moment(review.timestamp), "text": text})

    @app.post("/v1/console/reviews", response_model=ReviewDone, responses=ANSWERS | ERRORS, summary="Block a creative, or allow it again")
    def review(body: ReviewRequest, request: Request) -> ReviewDone:
        """A blocked creative is in no slate that is decided from this answer on, in any process on this log, nor after a restart."""
        parts.storage.condition.need("log")
        if not parts.models().pool.rows_of([body.creative_id]):
            raise invalid(Fault(field="creative_id", problem=f"no creative {body.creative_id!r} in the pool that serves"))
        token = bearer(request.scope) if parts.settings.tokens else None
        reviewer = "open" if token is None else hashlib.sha256(token.encode("utf-8", "surrogateescape")).hexdigest()[:8]
        line, changed = reviews.record(
            body.creative_id,
            body.verdict,
            note=body.note,
            timestamp=wall_clock(),
            request_id=request.state.request_id,
            reviewer=reviewer,
        )
        return ReviewDone(changed=changed, review=answer(line))

    @app.get("/v1/console/reviews", response_model=TrailAnswer, responses=ANSWERS, summary="The audit trail of reviews")
    def trail(limit: Limit = 20) -> TrailAnswer:
        """Who blocked or allowed what, when and why; lines are only ever added."""
        parts.storage.condition.need("log")
        return TrailAnswer(reviews=[answer(line) for line in reviews.trail(limit)])
