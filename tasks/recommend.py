"""Items for one shopper, with the reason for each: the events that carried it, the gates of the sources, the parts of its score."""

import csv
import io
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from core.columns import Columns
from core.errors import SourceError
from core.files import read_json, read_table
from core.identity import check_fingerprint, pseudonymise, user_key
from core.vocabulary import EVENT_TYPES, EventType, Scene
from models.history import GAP, History, histories
from models.pool import Campaign
from models.recommender import RecommenderBundle
from models.recommender.explanation import explain

MOST_CARRIED = 3
"""Events named for each item."""
_FILES = (".csv", ".json", ".jsonl", ".parquet", ".txt")
GRAMMAR = "write view:ITEM, cart:ITEM, favourite:ITEM, purchase:ITEM or search:WORDS, separated by commas, oldest first"


@dataclass(frozen=True)
class Question:
    """What is asked.

    Attributes:
        scene: why the items are shown.
        top: how many.
        exclude: items that must not be shown.
        brand: only this brand's items, in scene brand.
        moment: microseconds since 1970 UTC.
    """

    scene: str
    top: int
    exclude: tuple[str, ...]
    brand: str | None
    moment: int


@dataclass(frozen=True)
class Row:
    """One item of the answer.

    Attributes:
        rank: from 1.
        item_id: the item.
        title: its title.
        category: its category.
        score: its logit less the mean of all items' logits.
        probability: softmax of the logits over the items that might have been shown.
        events: what carried it: words, and by how much the score falls without the event.
        parts: what the score is the sum of.
        campaign: name and dates of the campaign that advertises it, in scene promotion.
    """

    rank: int
    item_id: str
    title: str
    category: str
    score: float
    probability: float
    events: tuple[tuple[str, float], ...]
    parts: dict[str, float]
    campaign: str | None


@dataclass(frozen=True)
class Answer:
    """Items and reasons.

    Attributes:
        model: the recommender that ranked.
        bundle: what it was loaded from: a folder, or a version of the registry with what it is there.
        scene: asked for.
        events: how many of the shopper's events are known to the catalogue or are searches.
        later_events: how many lie at or after the moment that is asked for; they were not read.
        caution: the same in words, and what to do; empty where there are none.
        unknown: items of the history that the catalogue does not hold.
        unknown_excluded: items to exclude that it does not hold.
        gates: share of each behaviour source in F; empty where the recommender reads none.
        rows: the items.
    """

    model: str
    bundle: str
    scene: str
    events: int
    later_events: int
    caution: str
    unknown: tuple[str, ...]
    unknown_excluded: tuple[str, ...]
    gates: dict[str, float]
    rows: tuple[Row, ...]

    def as_dict(self) -> dict[str, Any]:
        """As JSON holds it."""
        return asdict(self)


def recommend(
    bundle: RecommenderBundle, history: History, question: Question, running: Mapping[str, Campaign], *, loaded_from: str = ""
) -> Answer:
    """The best items that the rules allow and the scene is about, each explained.

    Args:
        bundle: the recommenders.
        history: what the shopper did.
        question: see `Question`.
        running: category → campaign that advertises it now; read in scene promotion.
        loaded_from: where the bundle is from, for the answer.

    Raises:
        SourceError: none of the history's events is known, or no item has the brand that is asked for.
    """
    catalogue, rules, moment = bundle.catalogue, bundle.scenes, question.moment
    before = history.before(moment)
    unknown = tuple(dict.fromkeys(item for item in before.item_ids if item and item not in catalogue.index))
    known = sum(bool(query) or item in catalogue.index for item, query in zip(before.item_ids, before.queries, strict=True))
    if len(before) and not known:
        raise SourceError(
            f"none of {len(before)} events is of the {len(catalogue)} items of the bundle, the first is of {unknown[0]!r}; "
            f"its ids look like {catalogue.item_ids[0]!r}."
        )
    if question.brand is not None and not (rules.brand == question.brand).any():
        named = sorted({name for name in rules.brand.tolist() if name})
        raise SourceError(f"no item is of brand {question.brand!r}; the bundle's {len(named)} brands are {', '.join(named[:8])}, …")
    shown = bundle.top_k(
        [before], question.top, question.exclude, moment, scene=question.scene, promoted=tuple(running), brand=question.brand
    )[0]
    ranker, read = rules.ranked_by(question.scene, bundle.champion, before, moment)
    allowed = bundle.allowed([before], moment)[0]
    allowed[[code for code in catalogue.codes(question.exclude).tolist() if code >= 0]] = False
    allowed &= rules.candidates(question.scene, before, moment, promoted=tuple(running), brand=question.brand)
    logits = np.where(allowed, ranker.score([read], moment)[0].astype(np.float64), -np.inf)
    shares = np.exp(logits - logits.max()) if allowed.any() else np.zeros(len(logits))

    def reading(told: History) -> History:
        return rules.ranked_by(question.scene, bundle.champion, told, moment)[1]

    explained = explain(ranker, before, catalogue.codes(shown).tolist(), moment, reading=reading)
    rows = []
    for rank, told in enumerate(explained, start=1):
        item = catalogue.items.iloc[told.code]
        category = str(item[Columns.CATEGORY])
        campaign = running.get(category) if question.scene == Scene.PROMOTION else None
        rows.append(
            Row(
                rank=rank,
                item_id=catalogue.item_ids[told.code],
                title=str(item[Columns.TITLE]),
                category=category,
                score=told.score,
                probability=float(shares[told.code] / shares.sum()),
                events=tuple((_words(bundle, before, place), weight) for place, weight in told.carried(MOST_CARRIED)),
                parts=told.parts,
                campaign=f"{campaign.name} {campaign.start:%Y-%m-%d} – {campaign.end:%Y-%m-%d}" if campaign else None,
            )
        )
    strange = tuple(dict.fromkeys(item for item in question.exclude if item not in catalogue.index))
    later = len(history) - len(before)
    return Answer(
        model=ranker.name,
        bundle=loaded_from,
        scene=question.scene,
        events=known,
        later_events=later,
        caution=_caution(later, len(history), moment),
        unknown=unknown,
        unknown_excluded=strange,
        gates=ranker.gates(read, moment),
        rows=tuple(rows),
    )


def _caution(later: int, events: int, moment: int) -> str:
    if not later:
        return ""
    asked = datetime.fromtimestamp(moment // 1_000_000, tz=UTC)
    return (
        f"{later} of {events} events lie after {asked:%Y-%m-%dT%H:%M:%S} UTC, the moment asked for, and were not read; --at gives another."
    )


def history_of_user(user: str, *, events: Path, lineage: Path, moment: int) -> History:
    """What a shopper did, from the clean events.

    Args:
        user: an id as the source has it, or its pseudonym.
        events: the events table.
        lineage: says whose key hashed the ids.
        moment: microseconds since 1970 UTC; later events are not looked at.

    Raises:
        SourceError: nobody of that id has an event.
        IdentityError: another key than the ids were hashed with, or none.
    """
    facts, table = read_json(lineage), read_table(events)
    if not (table[Columns.USER] == user).any():
        key = user_key(synthetic=bool(facts["synthetic"]))
        check_fingerprint(str(facts["user_key_fingerprint"]), key)
        hashed = pseudonymise([user], key)[0]
        if not (table[Columns.USER] == hashed).any():
            raise SourceError(f"{events}: nobody of the id given has an event, as an id or as a pseudonym. A newcomer: give --history.")
        user = hashed
    return histories(table, [user], np.array([moment], dtype=np.int64))[0]


def read_history(given: str, moment: int) -> History:
    """A history written by hand, or in a file.

    Args:
        given: ``view:ITEM, search:WORDS, …``; or a JSON list of ``{"type", "item_id" or "query", "timestamp"}`` as ``POST /v1/ads`` takes
            it; or a file of either, of JSON lines, or CSV with these columns.
        moment: microseconds since 1970 UTC; events without times lie a minute apart, the last a minute before it.

    Raises:
        SourceError: something is no event, the message says which and how it is written; or a file is named that is not there.
    """
    try:
        file = Path(given) if len(given) < 1024 and Path(given).is_file() else None
    except OSError:
        file = None
    if file is None and _names_a_file(given):
        raise SourceError(f"--history: there is no file {given!r} (looked from {Path.cwd()}). Name one that is there, or {GRAMMAR}.")
    where = str(file) if file else "--history"
    try:
        text = file.read_text(encoding="utf-8-sig") if file else given
    except UnicodeDecodeError as error:
        raise SourceError(f"{where}: not UTF-8 at byte {error.start}. Save it as UTF-8.") from None
    if file is not None and file.suffix.lower() == ".csv":
        rows = _csv_rows(text, where)
    elif text.lstrip()[:1] in {"[", "{"}:
        rows = _json_rows(text, where)
    else:
        rows = [part.strip() for part in text.replace("\n", ",").replace(";", ",").split(",") if part.strip()]
    told = [_event(row, f"{where}, event {number}") for number, row in enumerate(rows, start=1)]
    times = [moment - GAP * (len(told) - place) if time is None else time for place, (_, _, time) in enumerate(told)]
    return History.empty().extended([(kind, what) for kind, what, _ in told], times)


def _names_a_file(given: str) -> bool:
    """Whether what is given can only have been meant as a file's path: it has its ending or a separator, and no event's form."""
    told = given.strip()
    if told.startswith(("[", "{")) or any(told.startswith(f"{kind}:") for kind in EVENT_TYPES):
        return False
    return told.lower().endswith(_FILES) or (":" not in told and ("/" in told or os.sep in told))


def _csv_rows(text: str, where: str) -> list[Any]:
    found = csv.DictReader(io.StringIO(text))
    named = list(found.fieldnames or [])
    if not {"type", Columns.EVENT_TYPE} & set(named) or not {"item_id", "query"} & set(named):
        told = ", ".join(map(repr, named)) or "none"
        raise SourceError(
            f"{where}: its columns are {told}; needed are type (or {Columns.EVENT_TYPE}), and item_id, query (of a search) or both; "
            "timestamp may be there. Commas separate them."
        )
    return list(found)


def _json_rows(text: str, where: str) -> list[Any]:
    above = 0
    try:
        if text.lstrip().startswith("["):
            rows: list[Any] = json.loads(text)
            return rows
        rows = []
        for line in text.splitlines():
            if line.strip():
                rows.append(json.loads(line))
            above += 1
        return rows
    except json.JSONDecodeError as error:
        place = f"line {above + error.lineno}, column {error.colno}"
        raise SourceError(f"{where}: not JSON at {place}: {error.msg}; or {GRAMMAR}.") from None


def _event(row: Any, where: str) -> tuple[str, str, int | None]:
    """Type, item or query, and time."""
    if isinstance(row, str):
        kind, _, what = (part.strip() for part in row.partition(":"))
        row = {"type": kind, ("query" if kind == EventType.SEARCH else "item_id"): what}
    if not isinstance(row, Mapping):
        raise SourceError(f"{where}: {row!r} is no event; {GRAMMAR}.")
    kind = str(row.get("type") or row.get(Columns.EVENT_TYPE) or "")
    what = str(row.get("query" if kind == EventType.SEARCH else "item_id") or "").strip()
    if kind not in EVENT_TYPES or not what:
        wrong = f"type {kind!r} is none of {', '.join(EVENT_TYPES)}" if kind not in EVENT_TYPES else f"{kind} of nothing"
        raise SourceError(f"{where}: {wrong}; {GRAMMAR}.")
    return kind, what, _time(row.get("timestamp"), where)


def _time(value: Any, where: str) -> int | None:
    if value in (None, ""):
        return None
    try:
        time = datetime.fromisoformat(str(value))
    except ValueError:
        raise SourceError(f"{where}: timestamp {value!r} is not ISO 8601, such as 2026-11-01T12:00:00+00:00.") from None
    return round((time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp() * 1_000_000)


def _words(bundle: RecommenderBundle, history: History, place: int) -> str:
    kind, item, query = history.event_types[place], history.item_ids[place], history.queries[place]
    code = bundle.catalogue.index.get(item, -1)
    return f"{kind} {query or bundle.scenes.titles[code]}"


def running_now(campaigns: Sequence[Campaign], categories: Sequence[str], *, audience: str | None, moment: int) -> dict[str, Campaign]:
    """The campaign that pays most for each category now, on any channel.

    Args:
        campaigns: all of them.
        categories: of the catalogue.
        audience: of the shopper.
        moment: microseconds since 1970 UTC.
    """
    now = datetime.fromtimestamp(moment / 1_000_000, tz=UTC)
    running: dict[str, Campaign] = {}
    for campaign in sorted(campaigns, key=lambda campaign: (campaign.bid_micros, campaign.campaign_id)):  # the later one pays more
        told = {"scene": Scene.PROMOTION, "audience": audience, "now": now}
        if any(campaign.runs(channel=channel, **told) for channel in (campaign.channels or {""})):  # type: ignore[arg-type]
            running.update(dict.fromkeys(campaign.categories or categories, campaign))
    return running
