"""The next item of each user, held out of published logs: what `benchmarks.recommend` fits and judges."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from core.columns import Columns as C
from core.errors import SourceError
from core.vocabulary import EventType
from models.history import histories, micros, sort_events
from models.recommender.catalogue import Catalogue
from models.recommender.training.validation import RankingRule, Validation
from tasks.sources.amazon import read_numbered, read_titled
from tasks.sources.retailrocket import read_retailrocket


@dataclass(frozen=True)
class NextItems:
    """Targets: one item a user, at a moment.

    Attributes:
        users, items: (n,) ids.
        moments: (n,) int64 microseconds; a history ends strictly before.
    """

    users: list[str]
    items: list[str]
    moments: np.ndarray


@dataclass(frozen=True)
class HeldOut:
    """A log with two targets a user: the one that choices are made by, and the one that is looked at once.

    Attributes:
        items: the items table.
        titled: whether its titles are words that an encoder can read.
        early: events to fit on while choices are made; nothing of the validation targets.
        events: every event before the test targets.
        validation, test: the targets.
    """

    items: pd.DataFrame
    titled: bool
    early: pd.DataFrame
    events: pd.DataFrame
    validation: NextItems
    test: NextItems

    def targets(self, of: NextItems, events: pd.DataFrame, catalogue: Catalogue, rule: RankingRule) -> Validation:
        """Targets with the histories before them; an item that was met before is not ranked.

        Args:
            of: ``validation`` or ``test``.
            events: ``early`` or ``events``.
            catalogue: the items; users whose target it does not hold are left out.
            rule: how a ranking is judged.
        """
        codes = catalogue.codes(of.items)
        kept = np.flatnonzero(codes >= 0)
        users, moments = [of.users[row] for row in kept], of.moments[kept]
        found = histories(events, users, moments)
        return Validation(tuple(users), tuple(found), moments, codes[kept], rule, repeats=False)


def read_held_out(data: Path, attributes: Path | None, titles: Path | None, test: Path | None) -> HeldOut:
    """Read a log in one of the published forms and hold the targets out.

    Args:
        data: ``*.txt`` (user item item …), ``*.inter`` (user, history, next item) or ``*.csv`` (user, item, behavior, timestamp).
        attributes: JSON from item to attribute numbers, for ``*.txt``; None: what lies beside the data.
        titles: ``*.item`` table for ``*.inter``; None: what lies beside the data.
        test: for ``*.csv``: table user, item of the held-out next purchases; None: test.csv beside the data.

    Raises:
        SourceError: a file is missing or of no known form.
    """
    for path in (data, attributes, titles, test):
        if path is not None and not path.is_file():
            raise SourceError(f"{path} is no file.")
    if data.suffix == ".csv":
        return _next_purchase(data, test or data.with_name("test.csv"))
    if data.suffix == ".inter":
        found = [titles] if titles is not None else sorted(data.parent.glob("*.item"))
        if not found:
            raise SourceError(f"{data} needs the titles of its items: --titles FILE, or a *.item file beside it.")
        raw, titled = read_titled([data], found, data.stem), True
    elif data.suffix == ".txt":
        beside = sorted(data.parent.glob(f"{data.stem}*attributes.json"))
        raw, titled = read_numbered(data, attributes or (beside[0] if beside else None)), False
    else:
        raise SourceError(f"{data}: unknown form {data.suffix!r}; .txt, .inter and .csv are known (see --help).")
    events = _typed(raw.events)
    from_end = events.groupby(C.USER, sort=False).cumcount(ascending=False).to_numpy()
    return HeldOut(
        items=raw.items,
        titled=titled,
        early=events[from_end >= 2].reset_index(drop=True),
        events=events[from_end >= 1].reset_index(drop=True),
        validation=_as_targets(events[from_end == 1]),
        test=_as_targets(events[from_end == 0]),
    )


def part_of(held: HeldOut, *, users: int | None, hide: float) -> HeldOut:
    """A smaller log, or one with items that nobody met before the test.

    Args:
        held: the log.
        users: how many stay, drawn by a fixed seed; None for all.
        hide: share of items, drawn alike, whose events before the test and validation targets are left out.
    """
    rng = np.random.default_rng(0)
    names = sorted(set(held.test.users))
    kept = set(names) if users is None else {names[row] for row in rng.permutation(len(names))[:users]}
    items = sorted(held.items[C.ITEM])
    hidden = {items[row] for row in rng.permutation(len(items))[: round(hide * len(items))]}

    def events(of: pd.DataFrame) -> pd.DataFrame:
        return of[of[C.USER].isin(kept) & ~of[C.ITEM].isin(hidden)].reset_index(drop=True)

    def targets(of: NextItems, without: set[str]) -> NextItems:
        rows = [row for row, (user, item) in enumerate(zip(of.users, of.items, strict=True)) if user in kept and item not in without]
        return NextItems([of.users[row] for row in rows], [of.items[row] for row in rows], of.moments[rows])

    return replace(
        held,
        early=events(held.early),
        events=events(held.events),
        validation=targets(held.validation, hidden),
        test=targets(held.test, set()),
    )


def _next_purchase(data: Path, test: Path) -> HeldOut:
    if not test.is_file():
        raise SourceError(f"{data} needs the held-out purchases: --test FILE, or test.csv beside it, with columns user, item.")
    raw = read_retailrocket(str(data))
    events = sort_events(_typed(raw.events))
    wanted = pd.read_csv(test, dtype=str)
    if not {"user", "item"} <= set(wanted.columns):
        raise SourceError(f"{test} has columns {', '.join(map(str, wanted.columns))}; user and item are needed.")
    bought = events[events[C.EVENT_TYPE] == EventType.PURCHASE].drop_duplicates(C.USER, keep="last")
    pairs = set(zip(bought[C.USER], bought[C.ITEM], strict=True))
    held = np.array([pair in pairs for pair in zip(events[C.USER], events[C.ITEM], strict=True)])
    last = events.groupby(C.USER)[C.TIMESTAMP].max()  # the test has no times: a history is all that the log has of the user
    ends = {str(user): moment + 1 for user, moment in zip(last.index, micros(last.reset_index(drop=True)).tolist(), strict=True)}
    known = pd.Index(raw.items[C.ITEM])
    extra = sorted(set(wanted["item"]) - set(known), key=lambda name: (len(name), name))
    row = raw.items.iloc[[0] * len(extra)].assign(**{C.ITEM: extra, C.TITLE: [f"item {name}" for name in extra]})
    return HeldOut(
        items=pd.concat([raw.items, row], ignore_index=True),
        titled=False,
        early=events[~held].reset_index(drop=True),
        events=events,
        validation=NextItems(bought[C.USER].tolist(), bought[C.ITEM].tolist(), np.array([ends[user] for user in bought[C.USER]])),
        test=NextItems(wanted["user"].tolist(), wanted["item"].tolist(), np.array([ends.get(user, 0) for user in wanted["user"]])),
    )


def _typed(events: pd.DataFrame) -> pd.DataFrame:
    return events.assign(**{C.TIMESTAMP: pd.to_datetime(events[C.TIMESTAMP], utc=True)})


def _as_targets(rows: pd.DataFrame) -> NextItems:
    return NextItems(rows[C.USER].astype(str).tolist(), rows[C.ITEM].astype(str).tolist(), micros(rows[C.TIMESTAMP]))
