"""How fresh a shopper's latest interest is: the age of the last event of the item's category, kind and brand, and of the item.

Sums over events (`models.features.profiles`) say how much of the past an item shares; they cannot tell one view a minute ago
from ten a week ago. What somebody came for just now is a maximum, not a sum.
"""

from models.features.blocks import Column, Joined
from models.features.likeness import SAME, WAYS
from models.features.profiles import FRESH

HALF_LIVES = (("12 hours", 0.5), ("2 days", 2.0))
"""In days."""


def latest(batch: Joined) -> dict[str, Column]:
    """0.5^(age / half-life) of the latest event that shares the category, brand or kind of the candidate, or is of the item; 0 without.

    Args:
        batch: the batch.
    """
    newest = batch.met.newest[:, batch.met.pair]  # (SAME, n)
    fresh = {way: newest ** (FRESH / days) for way, days in HALF_LIVES}
    return {f"latest of {name}: {way}": held[place] for place, name in enumerate(WAYS[:SAME]) for way, held in fresh.items()}
