"""Items that no training event has: ranked among the others by what their text says, as far up as validation found right."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

REACH = 1000
"""Places from the top that a newcomer can take."""
PROMOTIONS = (1.0, 0.7, 0.5, 0.35, 0.25)
"""Factors of a newcomer's rank by text that validation chooses from; the first is no promotion."""
PARITY = 0.6
"""Hit rate of newcomers that is aimed at, as a share of that of items with events."""
FOLDS, FOLD_SHARE, LEAST = 5, 0.05, 100
"""Known items that play newcomers in turn, share of the items in each part, and targets among them without which nothing is chosen."""
HIT = 10


def placed(scores: Tensor, content: Tensor, new: Tensor, promotion: float) -> Tensor:
    """Scores in which newcomers stand where their text puts them.

    An item without events has no links and no vector of its own: on the scale of the others' scores it stands far below where it belongs.
    Its rank by text among all items is on no scale. So it is put just above the known item at that rank, times the promotion.

    Args:
        scores: (n, items) logits.
        content: (n, items) scores by text alone, of all items.
        new: (items,) bool.
        promotion: factor of the rank, in (0, 1].

    Returns:
        (n, items); those of known items as they were.
    """
    return placed_at(scores, standing(content, new), new, promotion)


@dataclass(frozen=True)
class Standing:
    """Where newcomers stand by text; it depends on no promotion and on no other score.

    Attributes:
        columns: (new,) the newcomers.
        above: (n, new) int64 items that the text puts higher, as far as the first `REACH`.
        depth: how many items were looked at.
    """

    columns: Tensor
    above: Tensor
    depth: int


def standing(content: Tensor, new: Tensor) -> Standing:
    """Rank newcomers by text among all items.

    Args:
        content: (n, items) scores by text alone, of all items.
        new: (items,) bool.
    """
    columns = torch.nonzero(new)[:, 0]
    text = content.topk(min(REACH, content.shape[1]), dim=1).values
    return Standing(columns, torch.searchsorted(-text, -content[:, columns].contiguous()), text.shape[1])


def placed_at(scores: Tensor, stand: Standing, new: Tensor, promotion: float) -> Tensor:
    """What `placed` does, with the ranks by text found before.

    Args:
        scores: (n, items) logits.
        stand: of the newcomers.
        new: (items,) bool.
        promotion: factor of the rank, in (0, 1].

    Returns:
        (n, items); those of known items as they were.
    """
    reach = min(REACH, scores.shape[1] - len(stand.columns))
    if not len(stand.columns) or reach < 1:
        return scores
    best = scores.masked_fill(new, -torch.inf).topk(reach, dim=1).values  # (n, reach)
    place = (promotion * stand.above).long()
    order = 1e-3 * (1 - stand.above / (stand.depth + 1))  # two newcomers at one place go by their text, and both above who stood there
    found = torch.gather(best, 1, place.clamp(max=reach - 1)) + order - (place >= reach).to(scores.dtype)
    return scores.index_copy(1, stand.columns, found)


def text_scores(cosine: Tensor, wish: Tensor) -> Tensor:
    """The two content recommenders' scores together, each of them with mean 0 and deviation 1 over the items.

    Args:
        cosine: (n, items) cos(F, a_i).
        wish: (n, items) a_iᵀ W F.
    """

    def standard(scores: Tensor) -> Tensor:
        return (scores - scores.mean(dim=1, keepdim=True)) / scores.std(dim=1, keepdim=True).clamp(min=1e-6)

    return standard(cosine) + standard(wish)


def text_wish(cosine: Tensor, wish: Tensor, mean: Tensor, products: Tensor) -> Tensor:
    """The vector whose product with an item's text vector is `text_scores` but for a constant of the shopper's.

    Args:
        cosine: (n, d) F / |F|.
        wish: (n, d) W F.
        mean: (d,) of the items' text vectors.
        products: (d, d) mean of their outer products.

    Returns:
        (n, d).
    """

    def scaled(vector: Tensor) -> Tensor:
        variance = ((vector @ products) * vector).sum(dim=1, keepdim=True) - (vector @ mean)[:, None] ** 2
        return vector / variance.clamp(min=0).sqrt().clamp(min=1e-6)

    return scaled(cosine) + scaled(wish)


def placed_among(best: np.ndarray, text: np.ndarray, codes: np.ndarray, new: np.ndarray, promotion: float) -> tuple[np.ndarray, np.ndarray]:
    """What `placed` does, for one shopper and as far as the lists go.

    Args:
        best: (r,) logits of known items, falling.
        text: (t,) scores by text, falling.
        codes: (t,) whose.
        new: (items,) bool.
        promotion: factor of the rank, in (0, 1].

    Returns:
        Columns of newcomers and their logits; those whose places lie beyond the lists are left out.
    """
    held = np.flatnonzero(new[codes])
    above = np.searchsorted(-text, -text[held], side="left")
    place = (promotion * above).astype(np.int64)
    held, above, place = (column[place < len(best)] for column in (held, above, place))
    found: np.ndarray = best[place] + 1e-3 * (1 - above / (min(REACH, len(new)) + 1))
    return codes[held], found


def parts_of(known: np.ndarray) -> list[np.ndarray]:
    """Known items that play newcomers, part by part, always the same ones.

    Args:
        known: (items,) bool.

    Returns:
        (items,) bool each; no item in two of them.
    """
    columns = np.random.default_rng(0).permutation(np.flatnonzero(known))
    size = max(1, round(FOLD_SHARE * len(columns)))
    parts = [columns[start : start + size] for start in range(0, FOLDS * size, size)]
    return [np.isin(np.arange(len(known)), part) for part in parts if len(part)]


def chosen_promotion(hits: Sequence[tuple[float, float]], new_targets: int) -> float:
    """The mildest promotion at which newcomers reach `PARITY`, or else the one at which they are hit most often.

    Args:
        hits: one of `PROMOTIONS` each: hit rate of those who play newcomers, and of the others.
        new_targets: targets that the first rests on.

    Returns:
        One of `PROMOTIONS`; the first where there are too few targets to tell.
    """
    if new_targets < LEAST:
        return PROMOTIONS[0]
    for promotion, (new, known) in zip(PROMOTIONS, hits, strict=True):
        if new >= PARITY * known:
            return promotion
    return PROMOTIONS[int(np.argmax([new for new, _ in hits]))]
