"""Histories as arrays: what the networks read."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from core.vocabulary import EVENT_TYPES
from models.history import History
from models.recommender.catalogue import Catalogue

KIND_CODES = {name: code for code, name in enumerate(EVENT_TYPES)}


@dataclass(frozen=True)
class EventBatch:
    """The latest events of several shoppers, left-aligned, oldest first.

    Attributes:
        item: (batch, events) int64 column of the item; -1 for a search and for padding.
        kind: (batch, events) int64 index into EVENT_TYPES; -1 for padding.
        time: (batch, events) int64 microseconds; 0 for padding.
        vectors: (batch, events, dim) float32 unit text vector of the item or the query; 0 for padding.
    """

    item: Tensor
    kind: Tensor
    time: Tensor
    vectors: Tensor

    @property
    def sizes(self) -> Tensor:
        """(batch,) events of each shopper."""
        return (self.kind >= 0).sum(dim=1)

    def part(self, rows: slice) -> "EventBatch":
        """Some of the shoppers.

        Args:
            rows: which.
        """
        return EventBatch(self.item[rows], self.kind[rows], self.time[rows], self.vectors[rows])


def moments_of(histories: Sequence[History], now: int | np.ndarray | None) -> np.ndarray:
    """The moment that each history is looked at.

    Args:
        histories: n of them.
        now: one moment for all, (n,) moments, or None: just after each history's last event.

    Returns:
        (n,) int64 microseconds.

    Raises:
        ValueError: ``now`` has another length.
    """
    if now is None:
        return np.array([int(history.timestamps[-1]) + 1 if len(history) else 0 for history in histories], dtype=np.int64)
    moments = np.broadcast_to(np.asarray(now, dtype=np.int64), (len(histories),)) if np.ndim(now) == 0 else np.asarray(now, dtype=np.int64)
    if moments.shape != (len(histories),):
        raise ValueError(f"{len(histories)} histories but moments of shape {moments.shape}")
    return moments


def event_batch(histories: Sequence[History], moments: np.ndarray, catalogue: Catalogue, max_events: int) -> EventBatch:
    """The last events of each history strictly before its moment.

    Events of items that the catalogue does not hold are left out.

    Args:
        histories: n of them.
        moments: (n,) int64 microseconds.
        catalogue: items and text features.
        max_events: how many events at the most.

    Returns:
        A batch whose width is the longest kept history, at least 1.
    """
    rows = [_latest(history, moment, catalogue, max_events) for history, moment in zip(histories, moments.tolist(), strict=True)]
    width = max([1, *[len(row[0]) for row in rows]])
    item = np.full((len(rows), width), -1, np.int64)
    kind = np.full((len(rows), width), -1, np.int64)
    time = np.zeros((len(rows), width), np.int64)
    vectors = np.zeros((len(rows), width, catalogue.dim), np.float32)
    searched: list[tuple[int, int, str]] = []
    for row, (items, kinds, times, queries) in enumerate(rows):
        size = len(items)
        item[row, :size], kind[row, :size], time[row, :size] = items, kinds, times
        # a search has −1, some other item's vector, for one moment
        np.take(catalogue.vectors, catalogue.text_of[items], axis=0, out=vectors[row, :size], mode="clip")
        searched += [(row, place, query) for place, query in queries]
    if searched:
        told, places, texts = zip(*searched, strict=True)
        asked = sorted(set(texts))
        found = dict(zip(asked, catalogue.featurise(asked), strict=True))
        vectors[told, places] = [found[text] for text in texts]
    return EventBatch(torch.from_numpy(item), torch.from_numpy(kind), torch.from_numpy(time), torch.from_numpy(vectors))


def _latest(
    history: History, moment: int, catalogue: Catalogue, max_events: int
) -> tuple[list[int], list[int], np.ndarray, list[tuple[int, str]]]:
    """Columns, kinds and times of the last events before a moment whose item is known or that are searches; place and query of these."""
    end = int(history.timestamps.searchsorted(moment, side="left"))
    start = max(0, end - max_events)
    column = catalogue.index.get
    while True:
        items = [column(name, -1) for name in history.item_ids[start:end]]
        queries = history.queries[start:end]
        kept = [place for place, code in enumerate(items) if code >= 0 or queries[place]]
        if len(kept) >= max_events or not start:
            break
        start = 0
    kinds, times = [KIND_CODES[kind] for kind in history.event_types[start:end]], history.timestamps[start:end]
    if len(kept) > max_events or len(kept) < len(items):
        kept = kept[-max_events:]
        items, kinds, times = [items[place] for place in kept], [kinds[place] for place in kept], times[kept]
        queries = tuple([queries[place] for place in kept])
    return items, kinds, times, [(place, queries[place]) for place, code in enumerate(items) if code < 0]
