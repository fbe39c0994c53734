"""Judges generated copy against held-out human copy: one table row a generator, the same in training and in evaluation."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from evaluation import text as metrics
from evaluation.intervals import bootstrap_mean
from models.generator.quality import Review, Reviewer
from models.generator.request import CopyRequest

MAIN = "score"
REPLICATIONS = 500


@dataclass(frozen=True)
class Judgement:
    """One generator's texts, judged.

    Attributes:
        score: (n,) quality of each text that would be shown, 0 where it would be refused or stands twice, times the set's variety.
        reviews: one a text.
    """

    score: NDArray[np.float64]
    reviews: tuple[Review, ...]


def judge(
    texts: Sequence[str], requests: Sequence[CopyRequest], references: Sequence[str], reviewer: Reviewer, *, human: bool = False
) -> Judgement:
    """The score by which generators are compared.

    A text scores its quality (geometric mean of coverage, fluency and novelty; `models.generator.quality`) when the reviewer
    accepts it and no earlier text of the set equals it, else 0. The set's variety, distinct-2 over the references' distinct-2, at
    most 1, multiplies every score.

    Args:
        texts: one generated copy a request.
        requests: held-out requests.
        references: the human copy of each.
        reviewer: as in the generator bundle.
        human: True when the texts are the human copies themselves, which share phrases with training copy by right.
    """
    reviews = tuple(reviewer.review(text, request, may_copy=human) for text, request in zip(texts, requests, strict=True))
    seen: set[str] = set()
    score = np.zeros(len(texts))
    for row, (text, review) in enumerate(zip(texts, reviews, strict=True)):
        if review.accepted and text not in seen:
            score[row] = review.quality
        seen.add(text)
    variety = min(1.0, metrics.distinct(texts, 2) / max(metrics.distinct(references, 2), 1e-9))
    return Judgement(score * variety, reviews)


def measure(
    texts: Sequence[str],
    requests: Sequence[CopyRequest],
    references: Sequence[str],
    groups: NDArray[np.object_],
    *,
    reviewer: Reviewer,
    rng: np.random.Generator,
    human: bool = False,
) -> dict[str, dict[str, float]]:
    """All metrics of one generator, with intervals over groups where a metric is a mean over texts.

    Args:
        texts: one generated copy a request, at least one.
        requests: held-out requests.
        references: the human copy of each.
        groups: the group of each request (`split_groups`), drawn as a whole by the bootstrap.
        reviewer: as in the generator bundle.
        rng: the bootstrap's stream.
        human: see `judge`.

    Returns:
        Metric → ``{"value", "low", "high"}``; measures of the whole set carry their value three times.
    """
    found = judge(texts, requests, references, reviewer, human=human)
    overlaps = reviewer.spans.overlaps(texts)
    copied = metrics.copying(
        [o.longest for o in overlaps], [o.covered for o in overlaps], [o.length for o in overlaps], copied_span=reviewer.max_copied_span
    )
    attributes = [request.attributes for request in requests]
    coverage = metrics.attribute_coverage(texts, attributes)
    lexicon = _exclusive_values(reviewer)
    refused = {
        reason: np.array([review.reason == reason for review in found.reviews], float)
        for reason in ("length", "form", "compliance", "fact", "copied")
    }
    rows = {
        MAIN: found.score,
        "accepted": np.array([review.accepted for review in found.reviews], float),
        "quality": np.array([review.quality for review in found.reviews]),
        "fluency": np.array([review.fluency for review in found.reviews]),
        "novelty": np.array([review.novelty for review in found.reviews]),
        "bleu_4": metrics.bleu_4(texts, references),
        **metrics.rouge(texts, references),
        "copy_rate": copied.copied.astype(float),
        "span_share": copied.share,
        "attribute_coverage": coverage,
        "contradiction_rate": metrics.contradictions(texts, attributes, lexicon).astype(float),
        **{f"refused_{reason}": values for reason, values in refused.items()},
    }
    table: dict[str, dict[str, float]] = {}
    for name, values in rows.items():
        held = ~np.isnan(values)
        if held.any():
            table[name] = bootstrap_mean(values[held], groups[held], REPLICATIONS, rng).as_dict()
    whole = {
        "sacrebleu_zh": metrics.sacrebleu_zh(texts, references),
        "distinct_1": metrics.distinct(texts, 1),
        "distinct_2": metrics.distinct(texts, 2),
        "self_bleu_4": metrics.self_bleu_4(texts),
        "longest_span": float(copied.longest),
    }
    return table | {name: {"value": value, "low": value, "high": value} for name, value in whole.items()}


def _exclusive_values(reviewer: Reviewer) -> dict[str, list[str]]:
    lexicon: dict[str, list[str]] = {key: [] for key in sorted(reviewer.facts.exclusive)}
    for value, keys in reviewer.facts.values.items():
        for key in keys:
            if key in lexicon:
                lexicon[key].append(value)
    return lexicon
