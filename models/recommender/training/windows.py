"""Training events as windows with prediction points: what was seen, and which item came strictly later."""

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from core.columns import Columns
from core.errors import TrainingError
from models.history import TARGET_TYPES, event_order, in_order, micros
from models.recommender.catalogue import Catalogue
from models.recommender.events import KIND_CODES, EventBatch

SESSION_GAP = 30 * 60 * 1_000_000
"""Microseconds without an event after which a new visit begins."""
WITHIN_VISIT = 0.25
"""How much rarer a point within a visit is drawn than the start of one: at a random moment the next event is nearly always a start."""


@dataclass(frozen=True)
class EventTable:
    """Events of the training window in one flat order: by user, then time.

    Attributes:
        user: (n,) int32 code of the user; ``user_ids`` names it.
        item, kind, time: (n,) int32, int8 and int64 as in `EventBatch`, in as few bytes as they need.
        text: (n,) int32 row of the event's text in ``vectors``.
        vectors: (m, d) float32: the catalogue's distinct texts, then the queries.
        user_ids: by code.
    """

    user: np.ndarray
    item: np.ndarray
    kind: np.ndarray
    time: np.ndarray
    text: np.ndarray
    vectors: np.ndarray
    user_ids: tuple[str, ...]

    @classmethod
    def of(cls, events: pd.DataFrame, catalogue: Catalogue) -> "EventTable":
        """The table of some events; those of unknown items are left out.

        Args:
            events: the events table.
            catalogue: the items.
        """
        user, users = in_order(events[Columns.USER])
        item = catalogue.codes_of(events[Columns.ITEM])
        query, texts = in_order(events[Columns.QUERY])
        asked = [str(text) for text in texts if text]
        written = np.array([*(bool(text) for text in texts), False])  # (texts + 1,) the last stands for null
        code_of = len(catalogue.vectors) + np.cumsum(written) - 1
        queries = catalogue.featurise(asked) if asked else np.zeros((0, catalogue.dim), np.float32)
        kind, kinds = in_order(events[Columns.EVENT_TYPE])
        rows = event_order(events)
        rows = rows[(item[rows] >= 0) | written[query[rows]]]
        item = item[rows]
        return cls(
            user=user[rows].astype(np.int32),
            item=item,
            kind=np.array([KIND_CODES[name] for name in kinds], dtype=np.int8)[kind[rows]],
            time=micros(events[Columns.TIMESTAMP])[rows],
            text=np.where(item >= 0, catalogue.text_of[item], code_of[query[rows]]).astype(np.int32),
            vectors=np.concatenate([catalogue.vectors, queries]),
            user_ids=tuple(str(name) for name in users),
        )

    def sample(self, most: int) -> "EventTable":
        """The events of some users, always the same ones; the codes stay.

        Args:
            most: events at the most, but for the chance of who is drawn.

        Returns:
            This very table where it has no more.
        """
        if len(self.user) <= most:
            return self
        drawn = np.random.default_rng(0).random(len(self.user_ids)) < most / len(self.user)
        return self.rows(drawn[self.user])

    def rows(self, kept: np.ndarray) -> "EventTable":
        """Some of the events; the codes stay.

        Args:
            kept: (n,) bool.
        """
        of = {name: getattr(self, name)[kept] for name in ("user", "item", "kind", "time", "text")}
        return replace(self, **of)

    def target_mask(self) -> np.ndarray:
        """(n,) bool: events whose item is to be foreseen: views and purchases, or all item events where there are neither."""
        wanted = [KIND_CODES[kind] for kind in TARGET_TYPES]
        mask: np.ndarray = np.isin(self.kind, wanted) & (self.item >= 0)
        return mask if mask.any() else self.item >= 0


def _changes(column: np.ndarray) -> np.ndarray:
    """(n,) bool: rows that differ from the row before, the first row too."""
    return np.append(np.ones(min(1, len(column)), dtype=bool), column[1:] != column[:-1])


@dataclass(frozen=True)
class Points:
    """Prediction points of a batch of windows.

    Attributes:
        events: the windows' events.
        seen: (batch, points) int64 how many events of the window the point may look at.
        at: (batch, points) int64 the target's time; later than every event the point looks at.
        target: (batch, points) int64 column of the target item.
        valid: (batch, points) bool; False for filling.
    """

    events: EventBatch
    seen: Tensor
    at: Tensor
    target: Tensor
    valid: Tensor


class Windows:
    """Every user's events cut into windows of the latest ``max_events``, the one before, and so on."""

    def __init__(self, table: EventTable, max_events: int) -> None:
        """Cut the windows and find each point's targets.

        Point p of a window looks at its first p events. Its targets are the items of the very next moment, all at one time (a
        basket); a point whose next moment has none (a search) is left out, for the point after that moment foresees more honestly.

        Args:
            table: the training events.
            max_events: events a window.

        Raises:
            TrainingError: no event has an item.
        """
        self.table = table
        self.targets = np.flatnonzero(table.target_mask()).astype(np.int32)
        if not len(self.targets):
            raise TrainingError(
                f"none of {len(table.user)} training events has an item of the catalogue; recommenders need some. Check `events`."
            )
        new_user = _changes(table.user)
        first = np.flatnonzero(new_user)
        size = np.diff(first, append=len(table.user))
        counts = -(-size // max_events)
        owner = np.repeat(np.arange(len(first)), counts)
        number = np.arange(len(owner)) - np.repeat(np.cumsum(counts) - counts, counts)
        self.end = (first + size)[owner] - number * max_events
        self.start = np.maximum(first[owner], self.end - max_events)
        new_moment = new_user | _changes(table.time)
        moment = np.cumsum(new_moment, dtype=np.int32) - np.int32(1)  # (n,) one user, one time
        self._moment = np.append(moment, np.int32(-1))
        begins = np.append(np.flatnonzero(new_moment), len(moment)).astype(np.int32)
        self._next = begins[moment + 1]  # (n,) first event after the event's own moment
        last = np.append(_changes(moment[self.targets])[1:], True)
        ends = np.flatnonzero(last).astype(np.int32) + np.int32(1)
        self._basket_end = np.repeat(ends, np.diff(ends, prepend=np.int32(0)))  # (targets,)

    def __len__(self) -> int:
        return len(self.start)

    def batch(self, rows: np.ndarray, *, points: int, rng: np.random.Generator) -> Points:
        """Windows with some prediction points each, starts of visits preferred.

        Args:
            rows: (batch,) which windows.
            points: points a window at the most.
            rng: draws the points, and the target within a basket.

        Returns:
            Tensors; see `Points`.
        """
        table, sizes = self.table, (self.end - self.start)[rows]
        width = int(sizes.max())
        real = np.arange(width) < sizes[:, None]  # (batch, width)
        place = np.where(real, self.start[rows][:, None] + np.arange(width), 0)
        events = EventBatch(
            item=torch.from_numpy(np.where(real, table.item[place], -1).astype(np.int64)),
            kind=torch.from_numpy(np.where(real, table.kind[place], -1).astype(np.int64)),
            time=torch.from_numpy(np.where(real, table.time[place], 0)),
            vectors=torch.from_numpy(table.vectors[table.text[place]] * real[:, :, None]),
        )
        coming = np.concatenate(
            [self.start[rows][:, None], np.where(real, self._next[place], len(table.user))], axis=1
        )  # (batch, width + 1)
        low = np.minimum(np.searchsorted(self.targets, coming), len(self.targets) - 1)
        usable = self._moment[self.targets[low]] == self._moment[coming]
        usable &= table.user[self.targets[low]] == table.user[self.start[rows]][:, None]
        drawn = low + (rng.random(low.shape) * (self._basket_end[low] - low)).astype(np.int64)
        chosen = self.targets[drawn]  # (batch, width + 1)
        at = table.time[chosen]
        gap = np.concatenate([np.full((len(rows), 1), SESSION_GAP), at[:, 1:] - table.time[place]], axis=1)
        weight = np.where(gap >= SESSION_GAP, 1.0, WITHIN_VISIT)
        keys = np.where(usable, np.log(weight) + rng.gumbel(size=weight.shape), -np.inf)
        picked = np.sort(np.argsort(-keys, axis=1, kind="stable")[:, :points], axis=1)  # (batch, points)
        valid = np.take_along_axis(usable, picked, axis=1)
        return Points(
            events=events,
            seen=torch.from_numpy(np.where(valid, picked, 0)),
            at=torch.from_numpy(np.where(valid, np.take_along_axis(at, picked, axis=1), 0)),
            target=torch.from_numpy(np.where(valid, np.take_along_axis(table.item[chosen], picked, axis=1), 0).astype(np.int64)),
            valid=torch.from_numpy(valid),
        )
