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
    """The item events of many requests in one line.

    Attributes:
        request: ``(e,)`` request of each.
        item: ``(e,)`` item row of each.
        days: ``(e,)`` age of each.
        weights: ``(weightings, e)``.
        totals: ``(weightings, requests)`` sums of the weights.
        matrix: sparse ``(weightings · requests, items)``; row k · requests + r.
    """

    request: NDArray[np.int64]
    item: NDArray[np.int64]
    days: NDArray[np.float32]
    weights: NDArray[np.float32]
    totals: NDArray[np.float32]
    matrix: sp.csr_matrix


def events_of(requests: Requests, catalogue: Catalogue) -> Events:
    """Flatten histories and weigh their events.

    Args:
        requests: ``r`` of them.
        catalogue: items; events of other items are left out.
    """
    sizes = np.array([len(history) for history in requests.histories], dtype=np.int64)
    request = np.repeat(np.arange(len(requests)), sizes)
    item = catalogue.rows_of([item for history in requests.histories for item in history.item_ids])
    kinds = [kind for history in requests.histories for kind in history.event_types]
    times = np.concatenate([np.zeros(0, np.int64), *[history.timestamps for history in requests.histories]])
    kept = item >= 0
    request, item, times = request[kept], item[kept], times[kept]
    days = ((requests.timestamps[request] - times) / DAY).astype(np.float32)
    code = np.fromiter((_SOURCE.get(kind, len(_ALL)) for kind in kinds), np.int64, len(kinds))[kept]
    weights = _BY_SOURCE[:, code] * np.exp2(-days / _HALF_LIVES[:, None])  # (weightings, e)
    r = len(requests)
    totals = np.stack([np.bincount(request, weights=row, minlength=r) for row in weights]).astype(np.float32)
    rows = (np.arange(len(WEIGHTINGS))[:, None] * r + request).ravel()
    shape = (len(WEIGHTINGS) * r, len(catalogue))
    matrix = sp.csr_matrix((weights.ravel(), (rows, np.tile(item, len(WEIGHTINGS)))), shape=shape, dtype=np.float32)
    return Events(request, item, days, weights, totals, matrix)


def affinities(events: Events, catalogue: Catalogue, request: NDArray[np.int64], item: NDArray[np.int64]) -> dict[str, NDArray[np.float32]]:
    """Lifts of each candidate by group and weighting.

    Args:
        events: of ``r`` requests.
        catalogue: the items.
        request: ``(n,)`` request of each candidate.
        item: ``(n,)`` item row of each candidate, at least 0.

    Returns:
        Feature name → ``(n,)``.
    """
    ways, r = events.totals.shape
    rows = np.arange(ways)[:, None] * r + request  # (ways, n)
    totals = events.totals[:, request]
    shared = agreements(sp.csr_matrix(events.matrix @ catalogue.labels), rows, catalogue, item)  # (groups, ways, n)
    columns = np.broadcast_to(item, rows.shape)
    kin = sp.csr_matrix(events.matrix @ catalogue.lookalikes)
    alone = 1 / max(len(catalogue), 1)
    kinds = [(name, shared[row], float(catalogue.agreement[row])) for row, name in enumerate(GROUPS)]
    kinds += [("lookalike", lookup(kin, rows, columns), LOOKALIKES * alone), ("item", lookup(events.matrix, rows, columns), alone)]
    found: dict[str, NDArray[np.float32]] = {}
    for name, affinity, base in kinds:
        lift = np.log((affinity + PRIOR_EVENTS * base) / ((totals + PRIOR_EVENTS) * base))
        found.update({f"{name}: {way[0]}": lift[row] for row, way in enumerate(WEIGHTINGS)})
    return found


def closeness_profiles(events: Events, catalogue: Catalogue) -> NDArray[np.float32]:
    """Where in the projected text space the events of each request lie.

    Args:
        events: of ``r`` requests.
        catalogue: the items.

    Returns:
        ``(weightings, r, p)``: weighted means, shrunk towards 0.
    """
    ways, r = events.totals.shape
    summed = (events.matrix @ catalogue.vectors).reshape(ways, r, -1)
    return np.asarray(summed / (events.totals + PRIOR_EVENTS)[:, :, None], dtype=np.float32)


def agreements(profile: sp.csr_matrix, rows: NDArray[np.int64], catalogue: Catalogue, item: NDArray[np.int64]) -> NDArray[np.float32]:
    """Σ over an item's labels of profile[row, label] · labels[item, label], apart for each of `GROUPS`.

    Args:
        profile: sparse ``(m, labels)``.
        rows: ``(ways, n)`` rows of it.
        catalogue: the items.
        item: ``(n,)``.

    Returns:
        ``(groups, ways, n)``.
    """
    place, label, weight = entries(catalogue.labels, item)
    ways, n = rows.shape
    values = lookup(profile, rows[:, place], np.broadcast_to(label, (ways, len(label)))) * weight
    group = np.searchsorted(catalogue.bounds, label, side="right") - 1
    summed = [np.bincount(group * n + place, weights=row, minlength=len(GROUPS) * n) for row in values]
    return np.stack(summed).reshape(ways, len(GROUPS), n).transpose(1, 0, 2).astype(np.float32)


def named_sum(profile: sp.csr_matrix, request: NDArray[np.int64], named: sp.csr_matrix, creative: NDArray[np.int64]) -> NDArray[np.float32]:
    """Σ over the attribute values that a copy names of profile[request, value].

    Args:
        profile: sparse ``(requests, values)``.
        request: ``(n,)``.
        named: sparse ``(creatives, values)``.
        creative: ``(n,)``.

    Returns:
        ``(n,)``.
    """
    place, value, weight = entries(named, creative)
    held = lookup(profile, request[place], value) * weight
    return np.bincount(place, weights=held, minlength=len(request)).astype(np.float32)


def entries(matrix: sp.csr_matrix, rows: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
    """The stored entries of some rows of a sparse matrix.

    Args:
        matrix: sparse.
        rows: ``(n,)``.

    Returns:
        Place in ``rows``, column and value of each entry, ``(entries,)``.
    """
    sizes = np.diff(matrix.indptr)[rows]
    place = np.repeat(np.arange(len(rows)), sizes)
    offset = np.arange(len(place)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    at = matrix.indptr[rows][place] + offset
    return place, matrix.indices[at].astype(np.int64), matrix.data[at]


_DENSE = 100_000
"""Matrices of so many cells are looked up as plain arrays: a single request is then several times faster."""


def lookup(matrix: sp.csr_matrix, rows: NDArray[np.int64], columns: NDArray[np.int64]) -> NDArray[np.float32]:
    """Entries of a sparse matrix.

    Args:
        matrix: sparse.
        rows: any shape.
        columns: the same shape.

    Returns:
        The entries, in that shape.
    """
    if not rows.size or not matrix.nnz:
        return np.zeros(rows.shape, np.float32)
    if matrix.shape[0] * matrix.shape[1] <= _DENSE:
        return np.asarray(matrix.toarray()[rows, columns], dtype=np.float32)
    matrix.sum_duplicates()
    return np.asarray(matrix[rows.ravel(), columns.ravel()], dtype=np.float32).reshape(rows.shape)


def price_level(events: Events, catalogue: Catalogue, requests: int) -> NDArray[np.float32]:
    """How dear a shopper likes things: the weighted mean price level of what was looked at, shrunk towards 0.

    Args:
        events: of the requests.
        catalogue: the items.
        requests: how many.

    Returns:
        ``(requests,)`` in standard deviations of the log price within a category.
    """
    price = catalogue.price[events.item]
    weight = np.where(np.isnan(price), 0, events.weights[EVER])
    above = np.bincount(events.request, weights=weight * np.nan_to_num(price), minlength=requests)
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
