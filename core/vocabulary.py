"""The closed word lists of the domain: event types, scenes, channels, tones, origins."""

from enum import StrEnum


class EventType(StrEnum):
    """What a shopper did; also the names of the behaviour sources that the fusion reads."""

    VIEW = "view"
    SEARCH = "search"
    CART = "cart"
    FAVOURITE = "favourite"
    PURCHASE = "purchase"


class Scene(StrEnum):
    """Why an ad is shown."""

    PRODUCT = "product"
    PROMOTION = "promotion"
    BRAND = "brand"
    CROSS_SELL = "cross_sell"


class Channel(StrEnum):
    """Where an ad is shown."""

    ONSITE = "onsite"
    SOCIAL = "social"
    SEARCH = "search"


class Tone(StrEnum):
    """How a copy speaks."""

    LIVELY = "lively"
    WARM = "warm"
    EXPERT = "expert"


class Origin(StrEnum):
    """Who wrote a copy."""

    HUMAN = "human"
    TEMPLATE = "template"
    CLAUSE = "clause"
    RETRIEVAL = "retrieval"
    NGRAM = "ngram"
    GPT = "gpt"
    VAE = "vae"
    GAN = "gan"
    HF = "hf"


class FeedbackKind(StrEnum):
    """What came back for an impression."""

    CLICK = "click"
    CONVERSION = "conversion"


class Target(StrEnum):
    """What `adloom tune` tunes."""

    RECOMMENDER = "recommender"
    RANKER = "ranker"


EVENT_TYPES: tuple[str, ...] = tuple(EventType)
SCENES: tuple[str, ...] = tuple(Scene)
CHANNELS: tuple[str, ...] = tuple(Channel)
TONES: tuple[str, ...] = tuple(Tone)
ORIGINS: tuple[str, ...] = tuple(Origin)

LENGTH_LIMITS: dict[str, int] = {Channel.ONSITE: 60, Channel.SOCIAL: 120, Channel.SEARCH: 30}
"""Longest copy, in characters, that a slot of each channel shows, unless params.yaml says otherwise (`channels`)."""

MICROS = 1_000_000
"""Micros in one unit of currency."""
