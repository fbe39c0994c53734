"""Counting of links between items; how far they reach and how a history votes is chosen on the validation users."""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TypeVar

import numpy as np
from scipy.sparse import csr_matrix, diags_array, vstack
from tqdm import tqdm

from core.vocabulary import EventType
from models.recommender.catalogue import Catalogue
from models.recommender.covisits import CoVisits, ItemKnn, LinkShape, Markov, Reading
from models.recommender.events import EventBatch
from models.recommender.training.validation import Validation
from models.recommender.training.windows import EventTable

Model = TypeVar("Model", bound=CoVisits)

REACH = 12
"""Longest distance, in events, over which one item links to another."""
NEIGHBOURS = 400
"""Links kept of each item, the strongest ones."""
HOUR = 3_600_000_000
STRENGTHS: dict[str, float] = {EventType.VIEW: 1.0, EventType.FAVOURITE: 2.0, EventType.CART: 2.0, EventType.PURCHASE: 3.0}
LEVEL: dict[str, float] = {}
TRIED_USERS = 3000
"""Validation users that the choices are made by."""
TRIED_EVENTS = 1_000_000
"""Events at the most on which links are counted while their shape is chosen; then all are counted once."""
BLOCK_WORK = 1 << 25
"""Pairs of events that are held at a time; about half a gigabyte."""

SHAPES: dict[str, Sequence[float]] = {
    "to_power": (0.0, 0.25, 0.5, 0.7),
    "decay": (0.5, 0.7, 0.85, 1.0),
    "backward": (0.0, 0.25, 0.5, 1.0),
    "fading": (0.0, 0.15, 0.3),
}
RECENCIES = (0.5, 0.65, 0.8, 0.9, 1.0)


def train_markov(table: EventTable, catalogue: Catalogue, validation: Validation, max_events: int) -> Markov:
    """Links by order; one choice after the other, each the best on validation when the others stay.

    Of a long log, the shape is chosen on the links of some of the users.

    Args:
        table: training events.
        catalogue: the items.
        validation: chooses.
        max_events: latest events that are read.
    """
    some = validation.sample(TRIED_USERS)
    batches = some.batches(catalogue, max_events)
    fewer = table.sample(TRIED_EVENTS)
    best = _best_reading(count_markov(fewer, catalogue, max_events, LinkShape(), Reading(0.8, LEVEL)), some, batches)
    score = some.score(best, batches)
    for name, values in tqdm(SHAPES.items(), desc="markov", unit="choice", leave=False):
        for value in values:
            tried = replace(best.shape, **{name: value})
            if tried == best.shape or not len(some):
                continue
            model = count_markov(fewer, catalogue, max_events, tried, best.reading)
            found = some.score(model, batches)
            if found > score:
                best, score = model, found
    if fewer is not table:
        best = count_markov(table, catalogue, max_events, best.shape, best.reading)
    return _best_reading(best, some, batches)


def count_markov(table: EventTable, catalogue: Catalogue, max_events: int, shape: LinkShape, reading: Reading) -> Markov:
    """Links by order, with choices made before.

    Args:
        table: training events.
        catalogue: the items.
        max_events: latest events that are read.
        shape: how pairs are weighed.
        reading: how a history votes.
    """
    counts = item_counts(table, len(catalogue))
    return Markov(catalogue, max_events, ordered_links(table, counts, shape), counts, reading, shape=shape)


def train_item_knn(table: EventTable, catalogue: Catalogue, validation: Validation, max_events: int) -> ItemKnn:
    """Cosine links; how the history votes is chosen on validation.

    Args:
        table: training events.
        catalogue: the items.
        validation: chooses.
        max_events: latest events that are read.
    """
    some = validation.sample(TRIED_USERS)
    return _best_reading(count_item_knn(table, catalogue, max_events, Reading(0.8, LEVEL)), some, some.batches(catalogue, max_events))


def count_item_knn(table: EventTable, catalogue: Catalogue, max_events: int, reading: Reading) -> ItemKnn:
    """Cosine links, with choices made before.

    Args:
        table: training events.
        catalogue: the items.
        max_events: latest events that are read.
        reading: how a history votes.
    """
    n_items = len(catalogue)
    return ItemKnn(catalogue, max_events, cosine_links(table, n_items), item_counts(table, n_items), reading)


def item_counts(table: EventTable, n_items: int) -> np.ndarray:
    """(n_items,) training events of each item.

    Args:
        table: training events.
        n_items: size of the catalogue.
    """
    return np.bincount(table.item[table.item >= 0], minlength=n_items).astype(np.float64)


def ordered_links(table: EventTable, counts: np.ndarray, shape: LinkShape) -> csr_matrix:
    """Links from each item to those that came within `REACH` events of it.

    Args:
        table: training events.
        counts: (n_items,) events of each item.
        shape: how pairs are weighed.

    Returns:
        (n_items, n_items) float32, `NEIGHBOURS` a row at the most, without an item's link to itself.
    """
    met = table.rows(table.item >= 0)
    item = met.item
    n_items, damped = len(counts), np.maximum(counts, 1.0)
    order = np.argsort(item, kind="stable")
    ends = np.cumsum(np.bincount(item, minlength=n_items))
    blocks = []
    for rows in _blocks(np.diff(ends, prepend=0) * 2 * REACH):
        own = order[(ends[rows.start - 1] if rows.start else 0) : ends[rows.stop - 1]]  # events of these items
        total = csr_matrix((rows.stop - rows.start, n_items), dtype=np.float32)
        for distance in range(1, REACH + 1):
            weight = shape.decay ** (distance - 1)
            if weight < 1e-3 or distance >= len(item):
                break
            for step, share in ((distance, 1.0), (-distance, shape.backward)):
                if share:
                    total = total + np.float32(share) * _pairs(
                        met, own, step, weight=weight, fading=shape.fading, rows=rows, n_items=n_items
                    )
        scaled = diags_array(damped[rows] ** -shape.from_power) @ total @ diags_array(damped**-shape.to_power)
        blocks.append(strongest(csr_matrix(scaled, dtype=np.float32), NEIGHBOURS))
    return csr_matrix(vstack(blocks, format="csr"), dtype=np.float32)


def _pairs(met: EventTable, own: np.ndarray, step: int, *, weight: float, fading: float, rows: slice, n_items: int) -> csr_matrix:
    """How often the items of a block were met with which item so many events later; earlier, where ``step`` is negative."""
    item, user, time = met.item, met.user, met.time
    other = own + step
    kept = (other >= 0) & (other < len(item))
    own, other = own[kept], other[kept]
    kept = (user[own] == user[other]) & (item[own] != item[other])
    own, other = own[kept], other[kept]
    weights = np.full(len(own), weight, np.float32)
    if fading:
        apart = np.abs(time[other] - time[own]) / HOUR
        weights = (weight * (1.0 + apart) ** -fading).astype(np.float32)
    return csr_matrix((weights, (item[own] - rows.start, item[other])), shape=(rows.stop - rows.start, n_items))


def _blocks(work: np.ndarray) -> Iterator[slice]:
    """Neighbouring rows, so many that their work is at most `BLOCK_WORK`; one row may have more.

    Args:
        work: (n,) of each row, in entries that are held at a time.
    """
    part = np.cumsum(work) // BLOCK_WORK
    edges = [0, *(np.flatnonzero(np.diff(part)) + 1).tolist(), len(work)]
    for start, stop in itertools.pairwise(edges):
        if stop > start:
            yield slice(start, stop)


def cosine_links(table: EventTable, n_items: int) -> csr_matrix:
    """Cosine between the items' columns of the users × items incidence.

    Args:
        table: training events.
        n_items: size of the catalogue.

    Returns:
        (n_items, n_items) float32, `NEIGHBOURS` a row at the most, without an item's link to itself.
    """
    held = table.item >= 0
    met = csr_matrix((np.ones(int(held.sum()), np.float32), (table.user[held], table.item[held])), shape=(len(table.user_ids), n_items))
    met.data[:] = 1.0
    norm = np.sqrt(np.maximum(np.asarray(met.sum(axis=0)).ravel(), 1.0))
    unit = csr_matrix(met @ diags_array(1.0 / norm), dtype=np.float32)
    by_item, met_by = csr_matrix(unit.T), np.diff(unit.indptr)
    work = np.add.reduceat(np.append(met_by[by_item.indices], 0), by_item.indptr[:-1]) * (np.diff(by_item.indptr) > 0)
    blocks = []
    for rows in _blocks(work):
        links = csr_matrix(by_item[rows] @ unit, dtype=np.float32)
        links.setdiag(0.0, k=rows.start)
        links.eliminate_zeros()
        blocks.append(strongest(links, NEIGHBOURS))
    return csr_matrix(vstack(blocks, format="csr"), dtype=np.float32)


def strongest(links: csr_matrix, most: int) -> csr_matrix:
    """The largest entries of each row.

    Args:
        links: any.
        most: entries a row that stay.

    Returns:
        A matrix with sorted indices.
    """
    links.sort_indices()
    kept = np.ones(links.nnz, dtype=bool)
    for row in np.flatnonzero(np.diff(links.indptr) > most).tolist():
        own = slice(links.indptr[row], links.indptr[row + 1])
        data = links.data[own]
        limit = np.partition(data, len(data) - most)[len(data) - most]
        kept[own] = data > limit
        tied = np.flatnonzero(data == limit)[: most - int(kept[own].sum())]  # of equal links the first items' stay
        kept[own.start + tied] = True
    ends = np.append(0, np.cumsum(kept))[links.indptr]
    return csr_matrix((links.data[kept], links.indices[kept], ends), shape=links.shape)


def _best_reading(model: Model, validation: Validation, batches: list[EventBatch]) -> Model:
    if not len(validation):
        return model
    best, score = model, validation.score(model, batches)
    for recency in RECENCIES:
        for kinds in (LEVEL, STRENGTHS):
            tried = model.read_by(Reading(recency, kinds))
            found = validation.score(tried, batches)
            if found > score:
                best, score = tried, found
    return best
