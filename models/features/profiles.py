"""What a shopper's past says about an item: weighted sums over events, compared with what the item is.

Every event of a history counts with weight = source weight · 0.5^(age / half-life). For a group such as the category, the
affinity of a request to an item is the weight of events whose item shares the group's label, and the feature is the log of
affinity over what an item of no special interest would get,

    lift = log((affinity + κ · b) / ((total + κ) · b))        b = mean agreement of two items, κ = `PRIOR_EVENTS`

so that it is 0 without events, and a little behaviour moves it a little.
"""

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from core.vocabulary import EventType
from models.features.batch import Requests
from models.features.catalogue import GROUPS, LOOKALIKES, Catalogue
from models.features.likeness import SAME, WAYS
from models.features.runs import Runs

Profiles = NDArray[np.float64]
"""``(requests, labels)`` sums."""
PRIOR_EVENTS = 1.0
DAY = 86_400_000_000.0
_ALL: dict[str, float] = {EventType.VIEW: 1.0, EventType.CART: 2.0, EventType.FAVOURITE: 2.0, EventType.PURCHASE: 2.0}
WEIGHTINGS: tuple[tuple[str, float, dict[str, float]], ...] = (
    ("6 hours", 0.25, _ALL),
    ("1 day", 1.0, _ALL),
    ("4 days", 4.0, _ALL),
    ("16 days", 16.0, _ALL),
    ("ever", 1000.0, _ALL),
    ("viewed", 16.0, {EventType.VIEW: 1.0}),
    ("carted", 16.0, {EventType.CART: 1.0}),
    ("favoured", 16.0, {EventType.FAVOURITE: 1.0}),
    ("purchased", 16.0, {EventType.PURCHASE: 1.0}),
)
"""Name, half-life in days, and weight by source of each way to add a history up."""
EVER = 4
_SOURCE = {str(kind): place for place, kind in enumerate(_ALL)}
_HALF_LIVES = np.array([half_life for _, half_life, _ in WEIGHTINGS], dtype=np.float32)
_BY_SOURCE = np.array([[weights.get(kind, 0.0) for kind in (*_ALL, "")] for _, _, weights in WEIGHTINGS], dtype=np.float32)
"""Weight of each source in each weighting; the last column is of sources that do not count."""
QUERY_HALF_LIVES = (("1 day", 1.0), ("8 days", 8.0))


@dataclass(frozen=True)
class Events:
    """The item events of many requests in one line, request by request.

    Attributes:
        request: ``(e,)`` request of each.
        item: ``(e,)`` item row of each.
        days: ``(e,)`` age of each.
        weights: ``(weightings, e)``.
        totals: ``(weightings, requests)`` sums of the weights.
    """

    request: NDArray[np.int64]
    item: NDArray[np.int64]
    days: NDArray[np.float32]
    weights: NDArray[np.float32]
    totals: NDArray[np.float32]


def events_of(requests: Requests, catalogue: Catalogue) -> Events:
    """Flatten histories and weigh their events.

    Args:
        requests: ``r`` of them.
        catalogue: items; events of other items are left out.
    """
    r = len(requests)
    request = np.repeat(np.arange(r), [len(history) for history in requests.histories])
    item = catalogue.rows_of([item for history in requests.histories for item in history.item_ids])
    source = _SOURCE.get
    code = np.array([source(kind, len(_ALL)) for history in requests.histories for kind in history.event_types], dtype=np.int64)
    times = np.concatenate([np.zeros(0, np.int64), *[history.timestamps for history in requests.histories]])
    kept = np.flatnonzero(item >= 0)
    if len(kept) < len(item):
        request, item, times, code = request[kept], item[kept], times[kept], code[kept]
    days = ((requests.timestamps[request] - times) / DAY).astype(np.float32)
    weights = _BY_SOURCE[:, code] * np.exp2(-days / _HALF_LIVES[:, None])  # (weightings, e)
    ways = len(WEIGHTINGS)
    cells = (np.arange(ways)[:, None] * r + request).ravel()
    totals = np.bincount(cells, weights=weights.ravel(), minlength=ways * r).reshape(ways, r).astype(np.float32)
    return Events(request, item, days, weights, totals)


@dataclass(frozen=True)
class Met:
    """What shoppers met, beside the candidates' items: sums over events, and over answers to ads, of how alike the two items are.

    Attributes:
        request: ``(p,)`` request of each pair of request and item.
        item: ``(p,)`` item row of each.
        pair: ``(n,)`` pair of each candidate.
        events: ``(ways of likeness, weightings, p)`` Σ weight · likeness over the request's events.
        answers: ``(ways of likeness, p)`` Σ surprise · likeness over the request's earlier ads.
        newest: ``(SAME, p)`` the largest 0.5^(age / `FRESH` days) of an event that shares the category, brand, kind, item; 0 without one.
    """

    request: NDArray[np.int64]
    item: NDArray[np.int64]
    pair: NDArray[np.int64]
    events: NDArray[np.float32]
    answers: NDArray[np.float32]
    newest: NDArray[np.float32]


FRESH = 2.0
"""Days."""
_CELLS = 1 << 18
"""Pairs of a met item and a candidate's that are looked up at a time."""


def meet(
    events: Events,
    answers: tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]],
    candidates: tuple[NDArray[np.int64], NDArray[np.int64]],
    catalogue: Catalogue,
) -> Met:
    """Hold what shoppers met against the candidates.

    Args:
        events: of ``r`` requests.
        answers: request, item row and surprise of each earlier ad whose item is known, request by request.
        candidates: request and item row of each candidate, request by request; those of one item best stand together.
        catalogue: the items.
    """
    ways, r = events.totals.shape
    request, item = candidates
    new = np.ones(len(item), dtype=bool)
    new[1:] = (request[1:] != request[:-1]) | (item[1:] != item[:-1])
    pair, (asked, wanted) = np.cumsum(new) - 1, (request[new], item[new])
    done, seen, theirs = Runs(events.request, r), Runs(answers[0], r), Runs(asked, r)
    met = np.concatenate([done.spread(events.item), seen.spread(answers[1])], axis=1)  # (r, e)
    weights = np.zeros((r, met.shape[1], ways + 1), np.float32)
    weights[:, : done.width, :ways] = done.spread(np.ascontiguousarray(events.weights.T))
    weights[:, done.width :, ways] = seen.spread(answers[2])
    fresh = done.spread(np.exp2(events.days * np.float32(-1 / FRESH)))[:, :, None]  # (r, e of events, 1)
    wished = theirs.spread(wanted)  # (r, c)
    sums = np.empty((r, ways + 1, theirs.width, len(WAYS)), np.float32)
    newest = np.empty((r, theirs.width, len(WAYS)), np.float32)
    step = max(1, _CELLS // (met.shape[1] * theirs.width))
    for start in range(0, r, step):
        part = slice(start, start + step)
        alike = catalogue.likeness.between(met[part], wished[part])  # (part, e, c · ways of likeness)
        sums[part] = (weights[part].swapaxes(1, 2) @ alike).reshape(len(alike), ways + 1, theirs.width, -1)
        newest[part] = (alike[:, : done.width] * fresh[part]).max(axis=1).reshape(len(alike), theirs.width, -1)
    found = theirs.gathered(sums.swapaxes(1, 2)).transpose(2, 1, 0)  # (ways of likeness, weightings + 1, p)
    return Met(asked, wanted, pair, found[:, :ways], found[:, ways], theirs.gathered(newest)[:, :SAME].T)


def lifts(met: Met, totals: NDArray[np.float32], catalogue: Catalogue) -> NDArray[np.float32]:
    """Lifts of each pair by kind of likeness (`LIFTED`) and weighting.

    Args:
        met: of ``r`` requests.
        totals: ``(weightings, r)``.
        catalogue: the items.

    Returns:
        ``(len(LIFTED), weightings, p)``.
    """
    alone = 1 / max(len(catalogue), 1)
    bases = np.array([*catalogue.agreement.tolist(), LOOKALIKES * alone, alone], dtype=np.float32)[:, None, None]
    prior = np.float32(PRIOR_EVENTS)
    return np.asarray(np.log((met.events[_LIFTED] + prior * bases) / ((totals[:, met.request] + prior) * bases)), dtype=np.float32)


LIFTED: tuple[str, ...] = (*GROUPS, "lookalike", "item")
"""Kinds of likeness that are compared with what an item of no special interest would get."""
_LIFTED = np.array([WAYS.index(name) for name in LIFTED])


def profiles(request: NDArray[np.int64], rows: NDArray[np.int64], weights: NDArray[np.float32], of: sp.csr_matrix, r: int) -> Profiles:
    """Weighted sums of rows of a sparse matrix, request by request.

    Args:
        request: ``(m,)``.
        rows: ``(m,)`` rows of ``of``.
        weights: ``(m,)``.
        of: sparse ``(rows, labels)``.
        r: how many requests.

    Returns:
        ``(r, labels)``.
    """
    place, label, value = entries(of, rows)
    width = of.shape[1]
    summed = np.bincount(request[place] * width + label, weights=weights[place] * value, minlength=r * width)
    return summed.astype(np.float64, copy=False).reshape(r, width)


def entries(matrix: sp.csr_matrix, rows: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
    """The stored entries of some rows of a sparse matrix.

    Args:
        matrix: sparse.
        rows: ``(n,)``.

    Returns:
        Place in ``rows``, column and value of each entry, ``(entries,)``.
    """
    starts = matrix.indptr[rows]
    sizes = matrix.indptr[rows + 1] - starts
    place = np.repeat(np.arange(len(rows)), sizes)
    at = np.arange(len(place)) + np.repeat(starts - np.cumsum(sizes) + sizes, sizes)
    return place, matrix.indices[at].astype(np.int64), matrix.data[at]


def price_level(events: Events, catalogue: Catalogue, requests: int) -> NDArray[np.float32]:
    """How dear a shopper likes things: the weighted mean price level of what was looked at, shrunk towards 0.

    Args:
        events: of the requests.
        catalogue: the items.
        requests: how many.

    Returns:
        ``(requests,)`` in standard deviations of the log price within a category.
    """
    price, known, _ = np.take(catalogue.priced, events.item, axis=1)
    weight = known * events.weights[EVER]
    above = np.bincount(events.request, weights=weight * price, minlength=requests)
    return np.asarray(above / (np.bincount(events.request, weights=weight, minlength=requests) + 2), dtype=np.float32)


def latest_queries(requests: Requests) -> tuple[NDArray[np.int64], list[str], NDArray[np.float32]]:
    """The last few queries of each request.

    Args:
        requests: ``r`` of them.

    Returns:
        Request, text and age in days of each query, ``(q,)``; at most `_QUERIES` a request.
    """
    request: list[int] = []
    texts: list[str] = []
    ages: list[float] = []
    for row, history in enumerate(requests.histories):
        searched = [place for place in range(len(history) - 1, -1, -1) if history.queries[place]][:_QUERIES]
        for place in searched:
            request.append(row)
            texts.append(history.queries[place])
            ages.append((int(requests.timestamps[row]) - int(history.timestamps[place])) / DAY)
    return np.array(request, dtype=np.int64), texts, np.array(ages, dtype=np.float32)


_QUERIES = 5
