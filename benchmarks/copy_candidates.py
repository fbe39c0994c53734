"""What a generator writes for a row, and which of it is shown: the choice that `benchmarks.copy` sets on its held-out rows."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from tqdm import tqdm

from evaluation import text as metrics
from models.generator import GeneratorBundle
from models.generator.choice import Merit, in_order
from models.generator.quality import Review
from models.generator.request import CopyRequest

ALIKE = 0.10
"""Self-BLEU-4 above the human copy's, at the most."""
RESERVE = 0.015
"""How much less the choice aims at: on other rows the difference is up to .01 larger than on the few that set it (docs/copy.md)."""
STOCK_WEIGHTS = tuple(round(0.05 * step, 2) for step in range(2, 21))
"""What a text of stock phrases alone may lose in the choice."""


@dataclass(frozen=True)
class Candidates:
    """What was written for a row.

    Attributes:
        title: of the product; stands where nothing was written.
        merits: text → merit.
        reviews: text → review.
    """

    title: str
    merits: Mapping[str, Merit]
    reviews: Mapping[str, Review]


def write(bundle: GeneratorBundle, name: str, requests: Sequence[CopyRequest], n: int) -> tuple[list[Candidates], float]:
    """Candidates for each row.

    Args:
        bundle: the generators.
        name: which of them.
        requests: the orders.
        n: texts written for each.

    Returns:
        What was written, and characters a second of all of it, judging not counted.
    """
    rng = np.random.default_rng(11)
    rows, seconds, characters = [], 0.0, 0
    for first in tqdm(range(0, len(requests), 100), desc=name, unit="batch", leave=False):
        some = requests[first : first + 100]
        started = time.perf_counter()
        drawn = bundle.write(some, n, rng, name)
        seconds += time.perf_counter() - started
        characters += sum(len(text) for found in drawn for text in found)
        for request, found in zip(some, drawn, strict=True):
            texts = [text for text in found if text]
            reviews = {text: bundle.review(request, text) for text in dict.fromkeys(texts)}
            rows.append(Candidates(request.title, bundle.merits(request, texts, reviews), reviews))
    return rows, characters / max(seconds, 1e-9)


def first_choices(rows: Sequence[Candidates], stock_weight: float) -> list[str]:
    """The text of each row that would be shown.

    Args:
        rows: candidates.
        stock_weight: see `GeneratorBundle.stock_weight`.
    """
    return [(in_order(row.merits, row.reviews, stock_weight) or [row.title])[0] for row in rows]


def stock_weight_of(rows: Sequence[Candidates], human: Sequence[str]) -> float:
    """The least weight of stock phrases at which the choices are nearly as various as what people wrote for the same rows.

    Args:
        rows: candidates.
        human: copy that people wrote.

    Returns:
        Of `STOCK_WEIGHTS`; the largest where none is enough.
    """
    limit = alikeness(human) + ALIKE - RESERVE
    various = (weight for weight in STOCK_WEIGHTS if alikeness(first_choices(rows, weight)) <= limit)
    return next(various, STOCK_WEIGHTS[-1])


def alikeness(texts: Sequence[str]) -> float:
    """Self-BLEU-4 of at most 1,000 of the texts, in [0, 1].

    Args:
        texts: one a row.
    """
    return metrics.self_bleu_4(texts, sample=1000) / 100
