"""What the service is asked and what it answers; OpenAPI is made from these."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field, StrictBool
from pydantic_core import PydanticCustomError, PydanticKnownError

from core.tables import LARGEST_WHOLE
from models.retrieval import CauseKind

EventKind = Literal["view", "search", "cart", "favourite", "purchase"]
ToneName = Literal["lively", "warm", "expert"]
SceneName = Literal["product", "promotion", "brand", "cross_sell"]
ChannelName = Literal["onsite", "social", "search"]


def _number(value: object) -> object:
    if isinstance(value, bool | str | bytes):
        raise PydanticKnownError("int_type")
    return value


def _moment(value: object) -> object:
    if isinstance(value, int | float) or (isinstance(value, str) and value.strip().lstrip("+-").replace(".", "", 1).isdecimal()):
        raise PydanticCustomError("datetime_type", "Input should be a date and time with a zone, such as 2026-01-31T08:00:00Z")
    return value


Whole = Annotated[int, BeforeValidator(_number)]
"""A JSON number without a fraction; pydantic alone would take true for 1 and "3" for 3."""
Moment = Annotated[AwareDatetime, BeforeValidator(_moment)]
"""Text, as the document says; pydantic alone would take a number for seconds or milliseconds since 1970, as its size suggests."""
Id = Annotated[str, Field(min_length=1, max_length=128, pattern=r"^[^\x00]*$")]
Money = Annotated[int, Field(ge=0, le=LARGEST_WHOLE), BeforeValidator(_number)]
Part = Literal["log", "state"]
DEGRADED = Field(description="servers that are away; the answer was made with what is in memory")
MAX_SLATE = 10
MAX_HISTORY = 200
MAX_EVENTS = 500
MAX_COPIES = 4


class Body(BaseModel):
    """A request's body: unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class PastEvent(Body):
    """One event of an anonymous shopper's history."""

    type: EventKind = Field(description="what the shopper did")
    item_id: Id | None = Field(default=None, description="the product; required unless type is search")
    query: str | None = Field(default=None, min_length=1, max_length=200, description="the words; required for a search, and only there")
    timestamp: Moment | None = Field(default=None, description="when; without it, events are taken to lie a minute apart")


class AdsRequest(Body):
    """For whom, where and how many. Give a user_id, or a history, or neither for somebody unknown."""

    user_id: Id | None = Field(default=None, description="your id of the shopper; pseudonymised before anything is stored or logged")
    history: list[PastEvent] | None = Field(
        default=None, max_length=MAX_HISTORY, description="what an anonymous shopper did, oldest first; it is not stored"
    )
    scene: SceneName = Field(default="product", description="why an ad is shown")
    channel: ChannelName = Field(default="onsite", description="where it is shown; sets the length limit of the copy")
    k: Whole = Field(default=3, ge=1, le=MAX_SLATE, description="positions to fill; serving.max_slate is the limit")
    exclude: list[Id] = Field(default=[], max_length=1000, description="items that must not be shown")
    brand: str | None = Field(
        default=None,
        min_length=1,
        max_length=100,
        description="only this brand's items, in scene brand; without it, brands near the shopper",
    )
    consent: StrictBool = Field(default=True, description="False: the shopper's behaviour is not looked at, and the decision names nobody")
    cards: StrictBool = Field(default=False, description="True: each ad comes with its card as SVG")

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"user_id": "u002475", "scene": "product", "channel": "onsite", "k": 3},
                {"history": [{"type": "search", "query": "马拉松"}], "scene": "promotion", "k": 2, "cards": True},
            ]
        }
    )


class CampaignAnswer(BaseModel):
    """The campaign that an ad belongs to."""

    campaign_id: str
    name: str
    start: datetime
    end: datetime


class Why(BaseModel):
    """What carried an item into the slate, for pages that tell it in their own words."""

    kind: CauseKind = Field(description="how the shopper's event and the item are related; promotion, brand and popular have no event")
    deed: EventKind | None = Field(description="type of the event")
    title: str | None = Field(description="of the event's product")
    category: str | None = Field(description="that the event's product and the item share")
    query: str | None = Field(description="of a search")
    timestamp: datetime | None = Field(description="of the event")


class Ad(BaseModel):
    """One position of a slate."""

    position: int = Field(description="0 is the topmost; clicks and conversions name it")
    creative_id: str
    item_id: str
    title: str
    category: str
    brand: str | None
    price_micros: int | None
    text: str = Field(description="the copy")
    origin: str = Field(description="who wrote it: human, template, clause, retrieval, ngram, gpt, vae, gan or hf")
    ai_label: bool = Field(description="True when a machine wrote it: show it as such")
    p_click: float = Field(description="predicted probability of a click, at position 0")
    p_convert: float = Field(description="predicted probability of a conversion after a click")
    probability: float = Field(description="P(item | shopper) over the candidates' items")
    propensity: float = Field(description="P(this creative here | the positions above); the product over positions is the slate's")
    marginal: float | None = Field(description="P(this creative at this position); null from position 3 on")
    bid_micros: int = Field(description="worth of a click")
    ecpm_micros: int = Field(description="1000 · p_click · bid")
    campaign: CampaignAnswer | None
    reason: str = Field(description="why this item, in one line")
    why: Why
    card_svg: str | None = Field(description="the card, when it was asked for")


class Versions(BaseModel):
    """What made an answer."""

    policy: str
    model: str
    retrieval: str
    bundles: dict[str, str] = Field(description="kind → SHA-256 of the bundle's files")
    registered: dict[str, int | None] = Field(description="kind → version in the registry; null when served from a folder")


class Audience(BaseModel):
    """A cluster of shoppers."""

    audience_id: str
    name: str


class AdsAnswer(BaseModel):
    """A slate. The decision behind it is on disk when this is sent."""

    request_id: str = Field(description="clicks and conversions name it")
    slate: list[Ad] = Field(description="topmost first; empty when no creative fits")
    candidates: int = Field(description="creatives that could have been drawn")
    audience: Audience | None
    versions: Versions
    unknown_items: list[str] = Field(description="items of history and exclude that the catalogue does not have; they were left out")
    degraded: list[Part] = DEGRADED


class _Told(Body):
    event_id: Id = Field(description="yours; sending the same event again changes nothing")
    timestamp: Moment | None = Field(default=None, description="when it happened; now when left out")


class ItemEvent(_Told):
    """A shopper did something with a product."""

    type: Literal["view", "cart", "favourite", "purchase"]
    user_id: Id
    item_id: Id
    channel: ChannelName = "onsite"
    value_micros: Money = Field(default=0, description="of a purchase; 0 for others")
    basket_id: Id | None = Field(default=None, description="purchases of one basket share it")


class SearchEvent(_Told):
    """A shopper searched."""

    type: Literal["search"]
    user_id: Id
    query: str = Field(min_length=1, max_length=200)
    channel: ChannelName = "search"


class ClickEvent(_Told):
    """An ad was clicked."""

    type: Literal["click"]
    request_id: Id = Field(description="of the answer that held the ad")
    position: Whole = Field(ge=0, lt=MAX_SLATE)


class ConversionEvent(_Told):
    """A click led to a purchase."""

    type: Literal["conversion"]
    request_id: Id = Field(description="of the answer that held the ad")
    position: Whole = Field(ge=0, lt=MAX_SLATE)
    value_micros: Money = Field(default=0, description="what was bought for")


AnyEvent = Annotated[ItemEvent | SearchEvent | ClickEvent | ConversionEvent, Field(discriminator="type")]


class EventsRequest(Body):
    """Events; all are stored or none."""

    events: list[AnyEvent] = Field(min_length=1, max_length=MAX_EVENTS)

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"events": [{"type": "view", "event_id": "e-1", "user_id": "u002475", "item_id": "p0001"}]},
                {"events": [{"type": "click", "event_id": "e-2", "request_id": "…", "position": 0}]},
            ]
        }
    )


class EventsAnswer(BaseModel):
    """What became of events. They are on disk when this is sent, and count in the next answer."""

    accepted: int = Field(description="stored now")
    duplicates: int = Field(description="stored before, not counted again")


class Product(Body):
    """A product that the catalogue need not have."""

    title: str = Field(min_length=1, max_length=200)
    category: str = Field(min_length=1, max_length=100)
    brand: str | None = Field(default=None, min_length=1, max_length=100)
    price_micros: Money | None = None
    attributes: list[tuple[Id, Annotated[str, Field(min_length=1, max_length=200)]]] = Field(
        default=[], max_length=50, description="pairs of key and value; a key may stand more than once"
    )


class CreativesRequest(Body):
    """Copy for one product and audience, now. Give an item_id of the catalogue, or a product."""

    item_id: Id | None = Field(default=None, description="a product of the catalogue")
    product: Product | None = Field(default=None, description="or a product as it is")
    scene: SceneName = "product"
    channel: ChannelName = "onsite"
    audience_id: Id | None = Field(default=None, description="write for this audience; or for user_id's; or for everyone")
    user_id: Id | None = Field(default=None, description="write for this shopper's own taste")
    tone: ToneName | None = Field(default=None, description="how it shall speak; any tone if left out")
    n: Whole = Field(default=1, ge=1, le=MAX_COPIES, description="texts wanted")
    generator: str | None = Field(
        default=None, max_length=32, description="template, clause, retrieval, ngram, gpt, vae, gan or hf; the chosen one if left out"
    )

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"item_id": "p0001", "channel": "social", "n": 2},
                {"product": {"title": "轻便跑鞋", "category": "运动", "attributes": [["鞋底", "缓震"]]}},
            ]
        }
    )


class Copy(BaseModel):
    """A text that passed the compliance list and the facts check."""

    text: str
    origin: str
    ai_label: bool = Field(description="True when a machine wrote it: show it as such")
    quality: float = Field(description="in [0, 1]: coverage of the product's facts, fluency, novelty")


class Refusal(BaseModel):
    """A candidate that was not let through."""

    reason: str = Field(description="length, form, compliance, fact, foreign word or copied")
    rule: str
    found: str = Field(description="the words that decided")


class CreativesAnswer(BaseModel):
    """Copy, best first; fewer than asked for when candidates were refused."""

    creatives: list[Copy]
    refused: list[Refusal]
    audience: Audience | None
    generator: str = Field(description="the generator that was asked; a creative's origin names the one that wrote it")
    generator_version: str


class Fault(BaseModel):
    """One thing that is wrong with a request."""

    field: str = Field(description="where, such as events.0.item_id")
    problem: str = Field(description="what, and what would be right")


class ErrorAnswer(BaseModel):
    """Why a request was not done; nothing was stored."""

    code: str
    message: str
    faults: list[Fault]
    request_id: str


class Health(BaseModel):
    """The process lives."""

    status: Literal["ok"]
    degraded: list[Part] = DEGRADED
    spilled: int = Field(description="slates that this process stored on its own machine because the log's server was away")


class Readiness(BaseModel):
    """Whether ads can be served, and if not, what is missing and the next step."""

    ready: bool
    problem: str = Field(description='"" when all is well; may be set while older champions serve')
    versions: Versions | None
    degraded: list[Part] = DEGRADED
    now: datetime = Field(description="the service's time; the market's shoppers live in a time of their own")
