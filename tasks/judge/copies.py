"""Judges generated copy against held-out human copy: one table row a generator, the same in training and in evaluation."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from evaluation import text as metrics
from evaluation.intervals import Interval, bootstrap_mean, bootstrap_ratio
from models.generator.belonging import Belonging
from models.generator.bundle import GeneratorBundle
from models.generator.facts import Facts
from models.generator.ngram import NgramModel
from models.generator.quality import Review, Reviewer
from models.generator.request import CopyRequest

SCORE = "score"
"""The metric of single texts, nobody having chosen among several."""
MAIN = "shown_score"
"""What generators are compared by: the score of the texts that would be shown, each the first choice among `SHOWN_OF`."""
SHOWN_OF = 4
REPLICATIONS = 500
PER = 10_000
"""Violations are counted per so many copies."""
_PERPLEXITY_ORDER = 3
SIGNATURE = f"perplexity:char,{_PERPLEXITY_ORDER}-gram,witten-bell,other half of the held-out human copy"
"""What perplexity rests on; stands behind `evaluation.text.signature`."""


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


def as_shown(bundle: GeneratorBundle, name: str, requests: Sequence[CopyRequest], rng: np.random.Generator) -> list[str]:
    """What a generator would have shown: of `SHOWN_OF` texts a request the first choice.

    A network's slips are refused or chosen against, and a choice makes little of texts that are nearly the same; both are seen only so.

    Args:
        bundle: holds the generator and chooses.
        name: of the generator.
        requests: the orders.
        rng: the stream that sampling draws from.

    Returns:
        One text a request; empty where there is none.
    """
    written = bundle.generators[name].write(requests, SHOWN_OF, rng)
    return [(bundle.best_first(request, texts) or [""])[0] for request, texts in zip(requests, written, strict=True)]


def row_measures(
    texts: Sequence[str], requests: Sequence[CopyRequest], references: Sequence[str], reviewer: Reviewer, *, human: bool = False
) -> dict[str, NDArray[np.float64]]:
    """The metrics that a text has by itself.

    Args:
        texts: one generated copy a request.
        requests: held-out requests.
        references: the human copy of each.
        reviewer: as in the generator bundle.
        human: see `judge`.

    Returns:
        Metric → (n,); nan where it has no sense, such as coverage of a product without attributes.
    """
    found = judge(texts, requests, references, reviewer, human=human)
    overlaps = reviewer.spans.overlaps(texts)
    copied = metrics.copying([o.longest for o in overlaps], [o.covered for o in overlaps], [o.length for o in overlaps])
    blocked = [bool(reviewer.compliance.blocks(text, request.category)) for text, request in zip(texts, requests, strict=True)]
    refused = {
        reason.replace(" ", "_"): np.array([review.reason == reason for review in found.reviews], float)
        for reason in ("length", "form", "compliance", "fact", "foreign word", "copied")
    }
    return {
        SCORE: found.score,
        "accepted": np.array([review.accepted for review in found.reviews], float),
        "quality": np.array([review.quality for review in found.reviews]),
        "fluency": np.array([review.fluency for review in found.reviews]),
        "novelty": np.array([review.novelty for review in found.reviews]),
        "bleu_4": metrics.bleu_4(texts, references),
        **metrics.rouge(texts, references),
        "copy_rate": copied.copied.astype(float),
        "span_share": copied.share,
        "longest_span": np.array([overlap.longest for overlap in overlaps], float),
        "attribute_coverage": metrics.attribute_coverage(texts, [request.attributes for request in requests]),
        "contradiction_rate": contradicting(texts, requests, reviewer.facts).astype(float),
        "foreign_word_rate": misplaced(texts, requests, reviewer.belonging).astype(float),
        "violations_per_10k": PER * np.array(blocked, float),
        **{f"refused_{reason}": values for reason, values in refused.items()},
    }


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
    rows = row_measures(texts, requests, references, reviewer, human=human)
    longest = rows.pop("longest_span").max(initial=0.0)
    table: dict[str, dict[str, float]] = {}
    for name, values in rows.items():
        held = ~np.isnan(values)
        if held.any():
            table[name] = bootstrap_mean(values[held], groups[held], REPLICATIONS, rng).as_dict()
    perplexity = held_out_perplexity(texts, references, groups, rng)
    if perplexity is not None:
        table["perplexity"] = perplexity.as_dict()
    whole = {
        "sacrebleu_zh": metrics.sacrebleu_zh(texts, references),
        "distinct_1": metrics.distinct(texts, 1),
        "distinct_2": metrics.distinct(texts, 2),
        "self_bleu_4": metrics.self_bleu_4(texts),
        "longest_span": float(longest),
    }
    return table | {name: {"value": value, "low": value, "high": value} for name, value in whole.items()}


def contradicting(texts: Sequence[str], requests: Sequence[CopyRequest], facts: Facts) -> NDArray[np.bool_]:
    """Whether each text says another type, colour, length, brand, price or number than its product has (exclusive.yaml).

    Args:
        texts: one a request.
        requests: the products.
        facts: of the generator bundle.

    Returns:
        (n,) bool.
    """
    return np.array([bool(facts.contradictions(text, request)) for text, request in zip(texts, requests, strict=True)], bool)


def misplaced(texts: Sequence[str], requests: Sequence[CopyRequest], belonging: Belonging) -> NDArray[np.bool_]:
    """Whether each text says what belongs to other kinds of product than its own.

    Args:
        texts: one a request.
        requests: the products.
        belonging: of the generator bundle's reviewer.

    Returns:
        (n,) bool.
    """
    return np.array([belonging.refuses(text, request) is not None for text, request in zip(texts, requests, strict=True)], bool)


def held_out_perplexity(
    texts: Sequence[str], references: Sequence[str], groups: NDArray[np.object_], rng: np.random.Generator
) -> Interval | None:
    """Perplexity a character under an n-gram model of human copy that no generator has read.

    The groups are dealt into two halves; the model of one half's human copies judges the texts for the other half's products.

    Args:
        texts: one a request.
        references: the held-out human copy of each.
        groups: the group of each request.
        rng: the bootstrap's stream.

    Returns:
        exp(−Σ log P / Σ characters, ends counted), with an interval over groups; None for fewer than two groups.
    """
    names = {group: number % 2 for number, group in enumerate(sorted(set(groups.tolist())))}
    if len(names) < 2:
        return None
    half = np.array([names[group] for group in groups.tolist()])
    losses, sizes = np.zeros(len(texts)), np.array([len(text) + 1.0 for text in texts])
    for side in (0, 1):
        model = NgramModel(_PERPLEXITY_ORDER, [list(references[row]) for row in np.flatnonzero(half != side).tolist()])
        for row in np.flatnonzero(half == side).tolist():
            losses[row] = -model.log_probability(list(texts[row])) * sizes[row]
    found = bootstrap_ratio(losses, sizes, groups, REPLICATIONS, rng)
    return Interval(*(float(np.exp(end)) for end in (found.value, found.low, found.high)))
