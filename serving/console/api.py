"""What the console is asked and what it answers."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictBool

from serving.api import (
    MAX_HISTORY,
    MAX_SLATE,
    AdsAnswer,
    Audience,
    Body,
    ChannelName,
    EventKind,
    Id,
    PastEvent,
    SceneName,
    Versions,
    Whole,
)

MAX_LISTED = 100
Pseudonym = Annotated[str, Field(pattern="^[0-9a-f]{32}$")]


class WorldAnswer(BaseModel):
    """What the page must know before anything is asked."""

    synthetic: bool = Field(description="True for the market: its shoppers are nobody, so what is clicked here counts")
    now: datetime = Field(description="the service's time")
    versions: Versions
    policy: Literal["epsilon_greedy", "linear_thompson"]
    exploration_floor: float = Field(description="least probability of exploration under the policy that is champion")
    scenes: list[SceneName]
    brands: list[str] = Field(description="of the catalogue, by name, the first 1,000: what scene brand can be asked about")
    channels: list[ChannelName]
    max_slate: int


class ShopperSeen(BaseModel):
    """A shopper to pick: what they have done most lately. The pseudonym tells nobody's id."""

    shopper: str = Field(description="pseudonym, 32 hexadecimal digits")
    events: int = Field(description="that a decision would read")
    categories: list[str] = Field(description="of the latest events' products, most frequent first")
    queries: list[str] = Field(description="latest searches, newest first")
    last: datetime


class ShoppersAnswer(BaseModel):
    """Some shoppers, those who were active here first, then others at random."""

    shoppers: list[ShopperSeen]


class ProductAnswer(BaseModel):
    """A product that a composed shopper can have met."""

    item_id: str
    title: str
    category: str
    brand: str | None
    price_micros: int | None


class ProductsAnswer(BaseModel):
    """Products whose title, category or brand holds the words."""

    products: list[ProductAnswer]


class SlatesRequest(Body):
    """For whom, and why. The shopper is a picked one, one that is named, or one composed of events alone."""

    shopper: Pseudonym | None = Field(default=None, description="pseudonym of a picked shopper")
    user_id: Id | None = Field(default=None, description="or your id of the shopper; pseudonymised before anything is done with it")
    history: list[PastEvent] = Field(
        default=[], max_length=MAX_HISTORY, description="what a composed shopper did, or a picked one since; read, never stored"
    )
    scene: SceneName = "product"
    brand: str | None = Field(
        default=None, min_length=1, max_length=100, description="as of /v1/ads: this brand's items alone, in scene brand"
    )
    k: Whole = Field(default=3, ge=1, le=MAX_SLATE, description="positions to fill in each channel")
    preview: StrictBool = Field(default=False, description="True: decide and store nothing; always so where shoppers are real people")

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"history": [{"type": "search", "query": "马拉松"}], "scene": "product", "k": 3, "preview": True}]}
    )


class Deed(BaseModel):
    """One event of the history that the slates were chosen for."""

    type: EventKind
    item_id: str | None
    title: str | None
    category: str | None
    query: str | None
    timestamp: datetime


class ChannelSlate(BaseModel):
    """What one channel shows."""

    channel: ChannelName
    answer: AdsAnswer


class SlatesAnswer(BaseModel):
    """The slates of all channels, chosen for one shopper at one moment."""

    shopper: str | None = Field(description="pseudonym; null for a composed shopper without an id")
    recorded: bool = Field(description="True: the decisions are on disk, and clicks may name them")
    history: list[Deed] = Field(description="the latest events that were read, oldest first")
    history_length: int = Field(description="events that were read")
    audience: Audience | None
    slates: list[ChannelSlate]


class Rate(BaseModel):
    """A share, with the 95 % interval of its Beta posterior (Jeffreys' prior)."""

    successes: int
    trials: int
    value: float | None = Field(description="successes over trials; null without trials")
    low: float
    high: float


class Spend(BaseModel):
    """What a campaign has spent today against its plan."""

    campaign_id: str
    name: str
    state: Literal["upcoming", "running", "ended"]
    start: datetime
    end: datetime
    bid_micros: int
    daily_budget_micros: int | None
    spent_micros: int = Field(description="today, by the shop's clock")
    given_micros: int = Field(description="worth of today's clicks that came when the budget was spent; they cost nothing")
    planned_micros: int | None = Field(description="that its plan would have spent by now; null without a budget")
    forecast_micros: int | None = Field(description="the most that it can spend today; null without pacing, and while little is known")
    short: bool = Field(description="True: on the evidence, there is not enough traffic for its budget")
    price: float | None = Field(description="of its money: a click must be worth so much more than what it displaces, in bids")
    plan: list[int] = Field(description="spend at each full hour of the shop's day by its plan, 25 values; empty without a budget")
    course: list[int] = Field(description="spend at each full hour so far, and now; empty where budgets are not paced")


class Exploration(BaseModel):
    """How often the policy tried something else than what it thinks best."""

    floor: float = Field(description="share of draws that is uniform over the candidates, whatever is believed")
    explored: int
    positions: int = Field(description="filled by this process since its start")
    share: float | None


class CreativeBelief(BaseModel):
    """A creative, what came of it, and the click rate that is believed of it."""

    creative_id: str
    item_id: str
    title: str
    category: str
    scene: SceneName
    channel: ChannelName
    text: str
    origin: str
    ai_label: bool
    blocked: bool
    impressions: int
    clicks: int
    predicted: float | None = Field(description="the ranker's mean p_click over its impressions")
    mean: float | None = Field(description="of the posterior; null when it was never shown")
    low: float | None
    high: float | None


class BoardAnswer(BaseModel):
    """The live board: counts of this service's own decision log."""

    now: datetime
    days: int
    ctr: Rate
    cvr: Rate = Field(description="conversions over clicks")
    channels: dict[ChannelName, Rate] = Field(description="CTR by channel")
    exploration: Exploration
    plan: Literal["even", "traffic"] = Field(
        description="how a budget is planned over the day; traffic: as requests are expected to come; even: in proportion to the time"
    )
    campaigns: list[Spend]
    posterior: Literal["linear_thompson", "beta"] = Field(
        description="where creatives' intervals come from: the policy's own posterior, or a Beta posterior of the creative's counts"
    )
    impressions: int = Field(description="of creatives of the pool, since ever")
    learnt: int | None = Field(description="impressions that the policy has learnt from so far; null when it does not learn")
    creatives: list[CreativeBelief] = Field(description="most shown first")


class CreativesFound(BaseModel):
    """Creatives of the pool for review."""

    total: int = Field(description="that fit; the list holds the first ones")
    creatives: list[CreativeBelief]


class ReviewRequest(Body):
    """What is said of a creative."""

    creative_id: Id
    verdict: Literal["blocked", "allowed"] = Field(description="blocked: never served again, until it is allowed again")
    note: str = Field(default="", max_length=300, description="why; kept in the audit trail")

    model_config = ConfigDict(json_schema_extra={"examples": [{"creative_id": "b0123456789ab", "verdict": "blocked", "note": "…"}]})


class ReviewAnswer(BaseModel):
    """One line of the audit trail."""

    seq: int
    creative_id: str
    verdict: Literal["blocked", "allowed"]
    note: str
    timestamp: datetime = Field(description="by the wall clock")
    request_id: str
    reviewer: str = Field(description='which token said so: the first digits of its digest; "open" where the service has no tokens')
    text: str | None = Field(description="the creative's text, when it is known")


class ReviewDone(BaseModel):
    """What a review has changed; on disk when this is sent."""

    changed: bool = Field(description="False: it was so already, and no line was added")
    review: ReviewAnswer


class TrailAnswer(BaseModel):
    """The audit trail, newest line first."""

    reviews: list[ReviewAnswer]
