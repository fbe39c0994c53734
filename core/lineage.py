"""What is known about where data come from: `source.json` (collect) and `lineage.json` (prepare)."""

from typing import NotRequired, TypedDict

import pandas as pd

NO_TIME = pd.Timestamp(0, tz="UTC")
"""Stands for train_end, validation_end, end and collected_until when no table has times (a source of items and copies only)."""


class Has(TypedDict):
    """Which of the optional parts the data hold."""

    copies: bool
    impressions: bool
    campaigns: bool
    truth: bool


class LeftOut(TypedDict):
    """Rows of the source's own files that have no place in the contract."""

    rows: int
    what: str


class Feedback(TypedDict):
    """What `data/feedback` added to the source's rows."""

    segments: int
    events: int
    impressions: int
    user_key_fingerprint: str | None


class SourceFacts(TypedDict):
    """What a source says about its rows.

    Keys:
        source: its name in params.yaml.
        synthetic: True for the market, whose shoppers are nobody.
        has: what it holds; prepare counts again on the clean tables.
        missing: what the source lacks or what stands in for it, one sentence each.
        left_out: rows of the source's files that were not taken over, with the reason; none when absent.
        collected_until: ISO 8601 UTC; nothing in the data can be later. Never the wall clock. When absent, the latest time in the tables.
        feedback_until: clicks and conversions are known until then; impressions whose window ends later are set aside. When absent,
            feedback is complete.
    """

    source: str
    synthetic: bool
    missing: list[str]
    has: NotRequired[Has]
    left_out: NotRequired[list[LeftOut]]
    collected_until: NotRequired[str]
    feedback_until: NotRequired[str]


class CollectedFacts(TypedDict):
    """`source.json`: a source's facts, all of them, and the feedback added to its rows."""

    source: str
    synthetic: bool
    missing: list[str]
    has: Has
    left_out: list[LeftOut]
    collected_until: str
    feedback_until: NotRequired[str]
    feedback: Feedback


class Lineage(TypedDict):
    """`lineage.json` (docs/data-contract.md)."""

    source: str
    synthetic: bool
    has: Has
    missing: list[str]
    user_key_fingerprint: str
    train_end: str
    validation_end: str
    end: str
    data_version: str
