"""Copy for one product and audience, now: written, reviewed, the best that passed first."""

from dataclasses import dataclass

import numpy as np

from core.vocabulary import Origin
from models.generator.bundle import ON_DEMAND, GeneratorBundle
from models.generator.quality import Review
from models.generator.request import CopyRequest

SPARE, FEWEST = 3, 8
"""Candidates written for each text that is wanted, and in all at the least: some will be refused, and the others speak for each other."""


@dataclass(frozen=True)
class Passed:
    """A text that the review accepted.

    Attributes:
        text: the copy.
        origin: who wrote it.
        quality: of the review, in [0, 1].
        weight: what the order goes by (`GeneratorBundle.weights`).
    """

    text: str
    origin: str
    quality: float
    weight: float


def write_reviewed(
    bundle: GeneratorBundle, order: CopyRequest, n: int, rng: np.random.Generator, *, kind: str | None = None
) -> tuple[list[Passed], list[Review]]:
    """Write, review, and give what passed.

    When none of the generator's candidates passes, or too little of each is like what people write for this kind of product, it writes
    once more; then the template writes, which states the product's own facts only. So it does at once where no training copy is about the
    product's kind (`GeneratorBundle.writer_for`). A generator that is asked for by name is not held to what people write.

    Args:
        bundle: the generators.
        order: what to write for.
        n: texts wanted, at least 1.
        rng: draws the candidates.
        kind: which generator; as `GeneratorBundle.writer_for` says when None.

    Returns:
        At most ``n`` texts, best first, none when even the template's break the rules; and the reviews of the refused ones.

    Raises:
        ValueError: n below 1.
    """
    if n < 1:
        raise ValueError(f"n is {n}; at least 1 text must be wanted")
    passed: list[Passed] = []
    refused: list[Review] = []
    first = bundle.writer_for(order, kind)
    for name in (first, first, str(Origin.TEMPLATE)) if first != Origin.TEMPLATE else (first,):
        texts = bundle.write([order], max(n * SPARE, FEWEST), rng, name)[0]
        reviews = bundle.reviewed(order, texts, share=ON_DEMAND if kind is None and name != Origin.TEMPLATE else 0.0)
        refused += [review for review in reviews.values() if not review.accepted]
        weights = bundle.weights(order, texts, reviews)
        passed = [Passed(text, name, reviews[text].quality, weight) for text, weight in weights.items()]
        if passed:
            break
    passed.sort(key=lambda copy: (-copy.weight, copy.text))
    return passed[:n], refused
