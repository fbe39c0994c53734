"""Stage collect: pull raw rows from the source that params.yaml names, and append what serving fed back."""

import hashlib
import logging
from dataclasses import replace
from pathlib import Path

import pandas as pd

from core.columns import Columns
from core.files import write_json, write_table
from core.lineage import NO_TIME, CollectedFacts, Has
from core.params import CollectParams, MarketParams
from tasks.sources.advertisegen import read_advertisegen
from tasks.sources.amazon import read_amazon
from tasks.sources.base import RawTables, TruthTables, write_truth
from tasks.sources.complete_journey import read_complete_journey
from tasks.sources.feedback import Segments, read_feedback, with_feedback
from tasks.sources.files import read_files
from tasks.sources.market import read_market
from tasks.sources.open_bandit import read_open_bandit
from tasks.sources.retailrocket import read_retailrocket
from tasks.sources.storing import storable

_log = logging.getLogger(__name__)


def collect(
    params: CollectParams,
    market: MarketParams,
    *,
    feedback: Path,
    own: Path,
    raw_items: Path,
    raw_events: Path,
    raw_copies: Path,
    raw_impressions: Path,
    raw_campaigns: Path,
    source: Path,
    truth: Path,
) -> None:
    """Write the source's rows, unchecked, under our column names.

    Args:
        params: which source, where, how many users.
        market: the embedded marketplace, read when it is the source.
        feedback: folder of segments that serving fed back.
        own: folder of the user's own data, read by source `files`.
        raw_items: table to write.
        raw_events: table to write.
        raw_copies: table to write.
        raw_impressions: table to write.
        raw_campaigns: table to write.
        source: what the source has and lacks, to write.
        truth: folder to write; holds only none.json for real sources.

    Raises:
        SourceError: the source or the feedback cannot be read.
        SchemaError: the source's files lack columns.
        ParamsError: the mapping of source `files` is wrong.
    """
    raw, true, facts = gather(params, market, feedback=feedback, own=own)
    paths = {"items": raw_items, "events": raw_events, "copies": raw_copies, "impressions": raw_impressions, "campaigns": raw_campaigns}
    for name, path in paths.items():
        frame, schema = storable(name, raw.tables[name])
        write_table(frame, path, schema)
    write_truth(true, truth)
    write_json(facts, source)
    _log.info("collected %s", ", ".join(f"{len(frame)} {name}" for name, frame in raw.tables.items()))


def gather(
    params: CollectParams, market: MarketParams, *, feedback: Path, own: Path
) -> tuple[RawTables, TruthTables | None, CollectedFacts]:
    """Read source and feedback without writing anything.

    Args:
        params: see `collect`.
        market: see `collect`.
        feedback: see `collect`.
        own: see `collect`.

    Returns:
        Raw tables, the truth if there is one, and the content of source.json.

    Raises:
        SourceError: see `collect`.
        SchemaError: see `collect`.
        ParamsError: see `collect`.
    """
    raw, true = _read(params, market, own)
    if params.max_users is not None:
        raw = keep_users(raw, params.max_users)
    segments = read_feedback(feedback)
    facts = _facts(raw, segments, has_truth=true is not None)
    return with_feedback(raw, segments), true, facts


def _read(params: CollectParams, market: MarketParams, own: Path) -> tuple[RawTables, TruthTables | None]:
    if params.source == "market":
        return read_market(market)
    if params.source == "files":
        return read_files(params, own), None
    if params.source == "complete_journey":
        return read_complete_journey(), None
    readers = {"open_bandit": read_open_bandit, "retailrocket": read_retailrocket, "amazon": read_amazon, "advertisegen": read_advertisegen}
    return readers[params.source](params.path), None


def keep_users(raw: RawTables, limit: int) -> RawTables:
    """A sample of users, the same in every table and every run: those whose ids' SHA-256 are the smallest.

    Args:
        raw: of a source, before feedback (whose users are pseudonyms already and stay).
        limit: users to keep; rows without a readable user stay, for prepare to refuse.

    Returns:
        The rows of these users; catalogue, copies and campaigns whole.
    """
    ids = {name: raw.tables[name][Columns.USER] for name in ("events", "impressions")}
    users = {str(user): user for user in pd.concat(list(ids.values())).dropna().unique()}
    kept = [users[name] for name in sorted(users, key=lambda name: hashlib.sha256(name.encode()).digest())[:limit]]
    masks = {name: (user.isin(kept) | user.isna()).to_numpy(dtype=bool) for name, user in ids.items()}
    return replace(
        raw,
        events=raw.events[masks["events"]].reset_index(drop=True),
        impressions=raw.impressions[masks["impressions"]].reset_index(drop=True),
    )


def _facts(raw: RawTables, segments: Segments, *, has_truth: bool) -> CollectedFacts:
    said = raw.source
    until = pd.Timestamp(said["collected_until"]) if "collected_until" in said else _latest(raw)
    if segments.until is not None:
        until = max(until, segments.until)
    facts = CollectedFacts(
        source=said["source"],
        synthetic=said["synthetic"],
        missing=list(said["missing"]),
        has=Has(copies=len(raw.copies) > 0, impressions=len(raw.impressions) > 0, campaigns=len(raw.campaigns) > 0, truth=has_truth),
        left_out=list(said.get("left_out", [])),
        collected_until=until.isoformat(),
        feedback=segments.facts,
    )
    if "feedback_until" in said:
        facts["feedback_until"] = said["feedback_until"]
    return facts


def _latest(raw: RawTables) -> pd.Timestamp:
    times = [raw.tables[name][Columns.TIMESTAMP] for name in ("events", "impressions")]
    known = [pd.Timestamp(column.max()) for column in times if pd.api.types.is_datetime64_any_dtype(column.dtype) and len(column)]
    return max(known, default=NO_TIME)
