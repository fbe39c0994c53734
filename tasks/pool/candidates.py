"""What there is to say of texts by themselves: a second process may say it while this one writes (`core.beside`)."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from core.vocabulary import Origin
from models.generator.bundle import GeneratorBundle
from models.generator.compliance import Violation
from models.generator.quality import Review
from models.generator.request import CopyRequest


@dataclass(frozen=True)
class Looked:
    """What there is to say of a slot's candidates.

    Attributes:
        reviews: text → review.
        weights: accepted text → how much it is to be preferred (`GeneratorBundle.weights`).
        rules: accepted text → compliance rules that warn of it.
    """

    reviews: dict[str, Review]
    weights: dict[str, float]
    rules: dict[str, list[str]]


def judging(bundle: GeneratorBundle) -> GeneratorBundle:
    """What judges texts, without what writes them.

    Args:
        bundle: the whole.
    """
    kept = {name: generator for name, generator in bundle.generators.items() if name == Origin.RETRIEVAL}
    return replace(bundle, generators=kept, copies=())


def rules_of(bundle: GeneratorBundle, text: str, request: CopyRequest) -> list[str]:
    """Compliance rules that warn of a text.

    Args:
        bundle: judges.
        text: of a creative.
        request: what it was written for.
    """
    return sorted({found.rule for found in bundle.reviewer.compliance.check(text, request.category)})


def look_at(bundle: GeneratorBundle, requests: Sequence[CopyRequest], found: Sequence[Sequence[str]]) -> list[Looked]:
    """Review the candidates of some slots.

    Args:
        bundle: judges.
        requests: the slots.
        found: candidates of each.
    """
    looked = []
    for request, texts in zip(requests, found, strict=True):
        reviews = bundle.reviewed(request, texts)
        accepted = [text for text, review in reviews.items() if review.accepted]
        weights = bundle.weights(request, texts, reviews) if len(accepted) > 1 else dict.fromkeys(accepted, 1.0)
        looked.append(Looked(reviews, weights, {text: rules_of(bundle, text, request) for text in accepted}))
    return looked


def look_at_human(bundle: GeneratorBundle, requests: Sequence[CopyRequest], texts: Sequence[str]) -> list[tuple[Violation | None, Review]]:
    """Of each human copy what it is blocked for, and its review, which does not bind it.

    Args:
        bundle: judges.
        requests: the place of each.
        texts: the copies.
    """
    reviewer = bundle.reviewer
    return [
        (next(iter(reviewer.compliance.blocks(text, request.category)), None), reviewer.review(text, request, may_copy=True))
        for request, text in zip(requests, texts, strict=True)
    ]
