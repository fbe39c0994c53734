"""Counting of links between items; how far they reach and how a history votes is chosen on the validation users."""

from collections.abc import Sequence
from dataclasses import replace
from typing import TypeVar

import numpy as np
from scipy.sparse import csr_matrix, diags_array
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


SHAPES: dict[str, Sequence[float]] = {
    "to_power": (0.0, 0.25, 0.5, 0.7),
    "decay": (0.5, 0.7, 0.85, 1.0),
    "backward": (0.0, 0.25, 0.5, 1.0),
    "fading": (0.0, 0.15, 0.3),
}
RECENCIES = (0.5, 0.65, 0.8, 0.9, 1.0)


def train_markov(table: EventTable, catalogue: Catalogue, validation: Validation, max_events: int) -> Markov:
    """Links by order; one choice after the other, each the best on validation when the others stay.

    Args:
        table: training events.
        catalogue: the items.
        validation: chooses.
        max_events: latest events that are read.
    """
    some = validation.sample(TRIED_USERS)
    batches = some.batches(catalogue, max_events)
    best = _best_reading(count_markov(table, catalogue, max_events, LinkShape(), Reading(0.8, LEVEL)), some, batches)
    score = some.score(best, batches)
    for name, values in tqdm(SHAPES.items(), desc="markov", unit="choice", leave=False):
        for value in values:
            tried = replace(best.shape, **{name: value})
            if tried == best.shape or not len(some):
                continue
            model = count_markov(table, catalogue, max_events, tried, best.reading)
            found = some.score(model, batches)
            if found > score:
                best, score = model, found
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
    held = table.item >= 0
    item, user, time = table.item[held], table.user[held], table.time[held]
    total = csr_matrix((len(counts), len(counts)), dtype=np.float32)
    for distance in range(1, REACH + 1):
        weight = shape.decay ** (distance - 1)
        if weight < 1e-3 or distance >= len(item):
            break
        together = (user[:-distance] == user[distance:]) & (item[:-distance] != item[distance:])
        earlier, later = item[:-distance][together], item[distance:][together]
        apart = (time[distance:] - time[:-distance])[together] / HOUR
        weights = (weight * (1.0 + apart) ** -shape.fading).astype(np.float32)
        forward = csr_matrix((weights, (earlier, later)), shape=total.shape)
        total = total + forward + np.float32(shape.backward) * forward.T.tocsr()
    damped = np.maximum(counts, 1.0)
    scaled = diags_array(damped**-shape.from_power) @ total @ diags_array(damped**-shape.to_power)
    return strongest(csr_matrix(scaled, dtype=np.float32), NEIGHBOURS)


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
    links = csr_matrix(unit.T @ unit, dtype=np.float32)
    links.setdiag(0.0)
    links.eliminate_zeros()
    return strongest(links, NEIGHBOURS)


def strongest(links: csr_matrix, most: int) -> csr_matrix:
    """The largest entries of each row.

    Args:
        links: any.
        most: entries a row that stay.

    Returns:
        A matrix with sorted indices.
    """
    sizes = np.diff(links.indptr)
    if len(sizes) and sizes.max() > most:
        row = np.repeat(np.arange(links.shape[0]), sizes)
        order = np.lexsort((links.indices, -links.data, row))
        place = np.arange(len(row)) - np.repeat(links.indptr[:-1], sizes)
        kept = order[place < most]
        links = csr_matrix((links.data[kept], (row[kept], links.indices[kept])), shape=links.shape)
    links.sort_indices()
    return links


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
