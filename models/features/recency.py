"""How fresh a shopper's latest interest is: the age of the last event of the item's category, kind and brand, and of the item.

Sums over events (`models.features.profiles`) say how much of the past an item shares; they cannot tell one view a minute ago
from ten a week ago. What somebody came for just now is a maximum, not a sum.
"""

import numpy as np
from numpy.typing import NDArray

from models.features.blocks import Column, Joined

HALF_LIVES = (("12 hours", 0.5), ("2 days", 2.0))
"""In days."""


def latest(batch: Joined) -> dict[str, Column]:
    """0.5^(age / half-life) of the latest event that shares the category, kind or brand of the candidate, or is of the item; 0 without.

    Args:
        batch: the batch.
    """
    labels = batch.catalogue.labels
    groups: dict[str, NDArray[np.int64]] = {}
    for place, name in enumerate(("category", "brand", "kind")):
        groups[name] = _codes(labels.indptr, labels.indices, int(batch.catalogue.bounds[place]), int(batch.catalogue.bounds[place + 1]))
    groups["item"] = np.arange(len(batch.catalogue), dtype=np.int64)
    found: dict[str, Column] = {}
    for name, codes in groups.items():
        age = youngest(batch.events.request, codes[batch.events.item], batch.events.days, batch.request, codes[batch.item])
        found |= {f"latest of {name}: {way}": np.exp2(-age / np.float32(days)) for way, days in HALF_LIVES}
    return found


def youngest(
    request: NDArray[np.int64], code: NDArray[np.int64], days: NDArray[np.float32], asked: NDArray[np.int64], wanted: NDArray[np.int64]
) -> NDArray[np.float32]:
    """Age of the latest event of a code in a request.

    Args:
        request: ``(e,)`` request of each event.
        code: ``(e,)`` code of each event, −1 for none.
        days: ``(e,)`` age of each event.
        asked: ``(n,)`` request of each candidate.
        wanted: ``(n,)`` code of each candidate, −1 for none.

    Returns:
        ``(n,)`` days; infinite where there is no such event.
    """
    width = np.int64(max(int(code.max(initial=-1)), int(wanted.max(initial=-1))) + 2)
    key, own = request * width + code, asked * width + wanted
    order = np.lexsort((days, key))
    sorted_keys = key[order]
    place = np.searchsorted(sorted_keys, own)
    at = np.minimum(place, max(len(order) - 1, 0))
    if not len(order):
        return np.full(len(asked), np.inf, np.float32)
    hit = (place < len(order)) & (sorted_keys[at] == own) & (wanted >= 0)
    return np.where(hit, days[order][at], np.float32(np.inf)).astype(np.float32)


def _codes(starts: NDArray[np.int32], columns: NDArray[np.int32], first: int, stop: int) -> NDArray[np.int64]:
    """The label between ``first`` and ``stop`` that each item carries, counted from ``first``; −1 for none."""
    rows = np.repeat(np.arange(len(starts) - 1), np.diff(starts))
    inside = (columns >= first) & (columns < stop)
    codes = np.full(len(starts) - 1, -1, np.int64)
    codes[rows[inside]] = columns[inside] - first
    return codes
