"""Candidates of slots, and what there is to say of texts by themselves: work that can be shared with a second process (`core.beside`)."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from core.vocabulary import Origin
from models.generator.bundle import GeneratorBundle
from models.generator.compliance import Violation
from models.generator.gpt import Sampling
from models.generator.quality import Review
from models.generator.request import CopyRequest


@dataclass(frozen=True)
class Candidates:
    """What was written for a slot, and what there is to say of it.

    Attributes:
        texts: as they were written; one may stand twice.
        reviews: text → review.
        weights: accepted text → how much it is to be preferred (`GeneratorBundle.weights`).
        rules: accepted text → compliance rules that warn of it.
    """

    texts: list[str]
    reviews: dict[str, Review]
    weights: dict[str, float]
    rules: dict[str, list[str]]


@dataclass(frozen=True)
class HumanCopy:
    """What there is to say of a text of the merchant's own.

    Attributes:
        violation: what it is blocked for; None when it is not.
        review: what the reviewer says of it.
        rules: compliance rules that speak of it.
    """

    violation: Violation | None
    review: Review
    rules: list[str]


def needed(bundle: GeneratorBundle) -> GeneratorBundle:
    """What writes and judges candidates, without the generators that were not chosen.

    Args:
        bundle: the whole.
    """
    kept = {name: generator for name, generator in bundle.generators.items() if name in (bundle.chosen, Origin.RETRIEVAL)}
    return replace(bundle, generators=kept, copies=())


def rules_of(bundle: GeneratorBundle, text: str, request: CopyRequest) -> list[str]:
    """Compliance rules that warn of a text.

    Args:
        bundle: judges.
        text: of a creative.
        request: what it was written for.
    """
    return sorted({found.rule for found in bundle.reviewer.compliance.check(text, request.category)})


def write(
    bundle: GeneratorBundle, sampling: Sampling | None, requests: Sequence[CopyRequest], *, n: int, rng: np.random.Generator
) -> list[Candidates]:
    """Write for some slots, and review what was written.

    Args:
        bundle: writes and judges.
        sampling: how the chosen generator draws; its own way when None.
        requests: the slots.
        n: candidates of each.
        rng: the stream that sampling draws from.
    """
    drawing = bundle if sampling is None else bundle.drawing(sampling)
    found = []
    for request, texts in zip(requests, drawing.write(requests, n, rng), strict=True):
        reviews = bundle.reviewed(request, texts)
        accepted = [text for text, review in reviews.items() if review.accepted]
        weights = bundle.weights(request, texts, reviews) if len(accepted) > 1 else dict.fromkeys(accepted, 1.0)
        found.append(Candidates(texts, reviews, weights, {text: rules_of(bundle, text, request) for text in accepted}))
    return found


def look_at_human(bundle: GeneratorBundle, requests: Sequence[CopyRequest], texts: Sequence[str]) -> list[HumanCopy]:
    """What there is to say of human copies, whose reviews do not bind them.

    Args:
        bundle: judges.
        requests: the place of each.
        texts: the copies.
    """
    reviewer = bundle.reviewer
    return [
        HumanCopy(
            next(iter(reviewer.compliance.blocks(text, request.category)), None),
            reviewer.review(text, request, may_copy=True),
            rules_of(bundle, text, request),
        )
        for request, text in zip(requests, texts, strict=True)
    ]
