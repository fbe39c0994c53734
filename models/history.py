"""What one shopper did before a moment: the only form in which behaviour reaches a model."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import pandas as pd

from core.columns import Columns
from core.vocabulary import EVENT_TYPES, EventType

TARGET_TYPES: tuple[str, ...] = (EventType.VIEW, EventType.PURCHASE)
"""Event types whose items a recommender is asked to foresee."""
GAP = 60_000_000
"""Microseconds between two events whose times are not told."""


@dataclass(frozen=True)
class History:
    """The events of one shopper, oldest first; all four fields have one length.

    Attributes:
        item_ids: the item of each event; "" for a search.
        event_types: one of `core.vocabulary.EVENT_TYPES` each.
        queries: the query of a search; "" for other events.
        timestamps: (n,) int64, microseconds since 1970 UTC, not decreasing.
    """

    item_ids: tuple[str, ...]
    event_types: tuple[str, ...]
    queries: tuple[str, ...]
    timestamps: np.ndarray

    def __post_init__(self) -> None:
        sizes = {len(self.item_ids), len(self.event_types), len(self.queries), len(self.timestamps)}
        if len(sizes) > 1:
            raise ValueError(f"a history's fields have lengths {sorted(sizes)}; they must be equal")
        if self.timestamps.dtype != np.int64:
            raise ValueError(f"timestamps are {self.timestamps.dtype}; int64 microseconds are needed")
        if len(self.timestamps) > 1 and bool((np.diff(self.timestamps) < 0).any()):
            raise ValueError("a history's timestamps decrease; sort its events, oldest first")

    def __len__(self) -> int:
        return len(self.item_ids)

    @classmethod
    def empty(cls) -> "History":
        """The history of someone who did nothing yet."""
        return cls((), (), (), np.zeros(0, np.int64))

    @classmethod
    def of(cls, events: Sequence[tuple[str, str]], *, end: int = 0, gap: int = GAP) -> "History":
        """A history written by hand, such as an anonymous shopper's.

        Args:
            events: (event type, item id or, for a search, query), oldest first.
            end: time of the last event, microseconds since 1970 UTC.
            gap: microseconds between two events.

        Raises:
            ValueError: an event type is unknown.
        """
        return cls.empty().extended(events, [end - gap * (len(events) - 1 - row) for row in range(len(events))])

    def extended(self, events: Sequence[tuple[str, str]], timestamps: Sequence[int]) -> "History":
        """This history with further events; they take their places in time.

        Args:
            events: (event type, item id or, for a search, query).
            timestamps: microseconds since 1970 UTC, one an event.

        Raises:
            ValueError: an event type is unknown, or the lengths differ.
        """
        unknown = sorted({kind for kind, _ in events} - set(EVENT_TYPES))
        if unknown:
            raise ValueError(f"unknown event types {unknown}; known are {', '.join(EVENT_TYPES)}")
        if len(events) != len(timestamps):
            raise ValueError(f"{len(events)} events but {len(timestamps)} timestamps")
        searched = [kind == EventType.SEARCH for kind, _ in events]
        items = (*self.item_ids, *("" if search else value for search, (_, value) in zip(searched, events, strict=True)))
        queries = (*self.queries, *(value if search else "" for search, (_, value) in zip(searched, events, strict=True)))
        kinds = (*self.event_types, *(str(kind) for kind, _ in events))
        times = np.concatenate([self.timestamps, np.asarray(timestamps, dtype=np.int64)])
        order = np.argsort(times, kind="stable")
        return History(
            tuple(items[row] for row in order), tuple(kinds[row] for row in order), tuple(queries[row] for row in order), times[order]
        )

    def before(self, moment: int) -> "History":
        """The events strictly before a moment.

        Args:
            moment: microseconds since 1970 UTC.
        """
        end = int(self.timestamps.searchsorted(moment, side="left"))
        if end == len(self):
            return self
        return History(self.item_ids[:end], self.event_types[:end], self.queries[:end], self.timestamps[:end])

    def latest(self, n: int) -> "History":
        """The last ``n`` events.

        Args:
            n: at least 1.
        """
        return History(self.item_ids[-n:], self.event_types[-n:], self.queries[-n:], self.timestamps[-n:])


def micros(times: datetime | pd.Series) -> np.ndarray:
    """Moments as int64 microseconds since 1970 UTC.

    Args:
        times: one moment or a column of them; a naive datetime counts as UTC.

    Returns:
        (n,) int64; n is 1 for a single moment.
    """
    column = pd.to_datetime(times if isinstance(times, pd.Series) else pd.Series([times]), utc=True)
    return column.astype("datetime64[us, UTC]").astype("int64").to_numpy()


def in_order(column: pd.Series) -> tuple[np.ndarray, np.ndarray]:
    """The distinct values of a column, and which of them stands in each row; what is compared later are small numbers, never texts.

    Args:
        column: of texts.

    Returns:
        (n,) int64 place of each row's value among the distinct ones, the largest place for null; (m,) object, these ascending.
    """
    places, names = pd.factorize(column, sort=True)
    places[places < 0] = len(names)
    return places, np.asarray(names, dtype=object)


def texts_of(column: pd.Series) -> np.ndarray:
    """A column's texts, each distinct one held once.

    Args:
        column: of texts.

    Returns:
        (n,) object, "" for null.
    """
    places, names = in_order(column)
    found: np.ndarray = np.append(names, "")[places]
    return found


def event_order(events: pd.DataFrame) -> np.ndarray:
    """Rows by user, then time, then event id.

    Args:
        events: the events table.

    Returns:
        (n,) int64; rows that are equal in all three stay in the table's order.
    """
    user, time = in_order(events[Columns.USER])[0], micros(events[Columns.TIMESTAMP])
    order = np.lexsort((time, user))
    as_before = (np.diff(user[order]) == 0) & (np.diff(time[order]) == 0)
    tied = np.append(as_before, False) | np.append(False, as_before)  # ids are looked at only where they decide
    if tied.any():
        moment = np.cumsum(np.append(True, ~as_before))[tied]
        rows = order[tied]
        order[tied] = rows[np.lexsort((in_order(events[Columns.EVENT].iloc[rows])[0], moment))]
    return order


def sort_events(events: pd.DataFrame) -> pd.DataFrame:
    """Events by user, then time, then event id: the order that every model reads.

    Args:
        events: the events table.
    """
    return events.take(event_order(events)).reset_index(drop=True)


def histories(events: pd.DataFrame, user_ids: Sequence[str], before: datetime | np.ndarray) -> list[History]:
    """What each of these users did strictly before a moment.

    Args:
        events: the events table, in any order.
        user_ids: whose histories; an unknown user has an empty one. A user may stand here several times.
        before: one moment for all, or (n,) int64 microseconds, one for each of ``user_ids``.

    Returns:
        One history for each of ``user_ids``, in order.

    Raises:
        ValueError: ``before`` has another length than ``user_ids``.
    """
    limits = before if isinstance(before, np.ndarray) else np.repeat(micros(before), len(user_ids))
    if limits.shape != (len(user_ids),):
        raise ValueError(f"`before` has shape {limits.shape}; ({len(user_ids)},) is needed, one moment a user")
    wanted = events[events[Columns.USER].isin(sorted(set(user_ids)))]
    ordered = sort_events(wanted[[Columns.USER, Columns.TIMESTAMP, Columns.EVENT, Columns.ITEM, Columns.EVENT_TYPE, Columns.QUERY]])
    times = micros(ordered[Columns.TIMESTAMP])
    items, kinds, queries = (texts_of(ordered[name]) for name in (Columns.ITEM, Columns.EVENT_TYPE, Columns.QUERY))
    codes, users = in_order(ordered[Columns.USER])
    bounds = [0, *np.cumsum(np.bincount(codes, minlength=len(users))).tolist()]
    place = {str(name): between for name, between in zip(users, itertools.pairwise(bounds), strict=True)}
    found: list[History] = []
    for user, limit in zip(user_ids, limits.tolist(), strict=True):
        start, end = place.get(str(user), (0, 0))
        stop = start + int(np.searchsorted(times[start:end], limit, side="left"))
        found.append(History(tuple(items[start:stop]), tuple(kinds[start:stop]), tuple(queries[start:stop]), times[start:stop]))
    return found


def next_items(events: pd.DataFrame, start: datetime, end: datetime | None = None) -> pd.DataFrame:
    """The next thing each user viewed or purchased: the target of the recommenders' evaluation.

    Args:
        events: the events table.
        start: the first moment that counts.
        end: the first moment that no longer counts; None for no limit.

    Returns:
        One row a user that has such an event in [start, end): user_id, item_id, event_type, timestamp; sorted by user.
    """
    times = micros(events[Columns.TIMESTAMP])
    inside = (
        (times >= micros(start)[0]) & events[Columns.EVENT_TYPE].isin(TARGET_TYPES).to_numpy() & events[Columns.ITEM].notna().to_numpy()
    )
    if end is not None:
        inside &= times < micros(end)[0]
    columns = [Columns.USER, Columns.TIMESTAMP, Columns.EVENT, Columns.ITEM, Columns.EVENT_TYPE]
    first = sort_events(events.loc[inside, columns]).drop_duplicates(Columns.USER, keep="first", ignore_index=True)
    return first[[Columns.USER, Columns.ITEM, Columns.EVENT_TYPE, Columns.TIMESTAMP]]
