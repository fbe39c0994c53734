"""Copy for one product and audience, now: written, reviewed, the best that passed first."""

from dataclasses import dataclass

import numpy as np

from core.vocabulary import Origin
from models.generator.bundle import GeneratorBundle
from models.generator.quality import Review
from models.generator.request import CopyRequest

SPARE = 3
"""Candidates written for each text that is wanted: some will be refused."""


@dataclass(frozen=True)
class Passed:
    """A text that the review accepted.

    Attributes:
        text: the copy.
        origin: who wrote it.
        quality: of the review, in [0, 1].
        worth: what the order goes by (`GeneratorBundle.worth`).
    """

    text: str
    origin: str
    quality: float
    worth: float


def write_reviewed(
    bundle: GeneratorBundle, order: CopyRequest, n: int, rng: np.random.Generator, *, kind: str | None = None
) -> tuple[list[Passed], list[Review]]:
    """Write, review, and give what passed.

    When none of the generator's candidates passes, the template writes: it states the product's own facts only.

    Args:
        bundle: the generators.
        order: what to write for.
        n: texts wanted, at least 1.
        rng: draws the candidates.
        kind: which generator; the chosen one when None.

    Returns:
        At most ``n`` texts, best first, none when even the template's break the rules; and the reviews of the refused ones.

    Raises:
        ValueError: n below 1.
    """
    if n < 1:
        raise ValueError(f"n is {n}; at least 1 text must be wanted")
    passed: list[Passed] = []
    refused: list[Review] = []
    for name in dict.fromkeys((kind or bundle.chosen, str(Origin.TEMPLATE))):
        for text in dict.fromkeys(bundle.write([order], n * SPARE, rng, name)[0]):
            review = bundle.review(order, text)
            if review.accepted:
                passed.append(Passed(text, name, review.quality, bundle.worth(order, text, review.quality)))
            else:
                refused.append(review)
        if passed:
            break
    passed.sort(key=lambda copy: -copy.worth)
    return passed[:n], refused
