"""Which of several candidates for one order to show: accepted by the reviewer, stating facts, reading well, agreed on by the others.

The consensus of a candidate is its mean agreement with the other candidates and with what people wrote for similar products: minimum Bayes
risk decoding (Kumar & Byrne 2004; Eikema & Aziz 2020). What a model says in most of its samples is what it knows; what it says once is
often a slip. Since what everybody says is agreed on most, stock phrases count against a candidate; so do words of other kinds of product,
and clauses that resemble none of those that people wrote for this kind.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.cues import tone_of
from models.generator.agreement import agreement
from models.generator.quality import Review, Reviewer
from models.generator.request import CopyRequest
from models.generator.slots import NOUN, PRICE, slots_of

_COVERAGE_WEIGHT = 0.1
"""What stating as many facts as human copy does is worth, and once more what stating all of them is."""
STOCK_WEIGHT = 0.4
"""What a text of stock phrases alone loses, where nobody has measured how variously people write (`GeneratorBundle.stock_weight`)."""
_FLUENCY_WEIGHT = 0.1
"""What reading like human copy is worth."""
_FOREIGN_WEIGHT = 0.1
"""What a unit of log-odds that words belong to other kinds of product costs (`Belonging.level`): a reviewer refuses for much of it only."""
_SUPPORT_WEIGHT = 1.0
"""What clauses like those of people are worth where all their clauses come again (`ClauseIndex.repeated`)."""
_TONE_WEIGHT = 0.5
"""What speaking in the tone that was asked for is worth: more than candidates usually differ by."""
_OTHER_TONE, _NO_TONE = 0.1, 0.5
SIMILAR = 16
"""Human copies of similar products that candidates are compared with."""


class Merit(NamedTuple):
    """What speaks for a candidate, and what part of it are stock phrases.

    Attributes:
        told: agreed on, stating facts, in clauses like people's, in the tone asked for.
        stock: in [0, 1] (`SpanIndex.stock`).
    """

    told: float
    stock: float

    def at(self, stock_weight: float) -> float:
        """The score; higher is better, differences are what counts.

        Args:
            stock_weight: what a text of stock phrases alone loses.
        """
        return self.told - stock_weight * self.stock


def consensus(texts: Sequence[str], reviewer: Reviewer, similar: Sequence[str] = ()) -> NDArray[np.float64]:
    """Mean agreement of each text with the other texts, and with the similar ones, one half each.

    Args:
        texts: candidates for one order.
        reviewer: cuts texts into words.
        similar: human copies of similar products, in this product's words.

    Returns:
        (n,) in [0, 5] (`models.generator.agreement`); 0 for a single text without similar ones.
    """
    words = [reviewer.vocabulary.words(text) for text in (*texts, *similar)]
    found = agreement(texts, [*texts, *similar], words[: len(texts)], words)
    n = len(texts)
    own = (found[:, :n].sum(1) - np.diagonal(found)) / max(n - 1, 1)
    return np.asarray((own + found[:, n:].mean(1)) / 2 if similar else own)


def tone_fit(text: str, tone: str) -> float:
    """How well a text speaks in a tone.

    Args:
        text: the text.
        tone: one of `core.vocabulary.TONES`.

    Returns:
        1 in that tone, less without any, little in another.
    """
    found = tone_of(text)
    return 1.0 if found == tone else _NO_TONE if found is None else _OTHER_TONE


def merits(
    texts: Sequence[str], request: CopyRequest, reviewer: Reviewer, similar: Sequence[str], reviews: Mapping[str, Review]
) -> dict[str, Merit]:
    """How well each candidate speaks for its order: agreed on, stating facts, in clauses like people's, in the tone asked for.

    Args:
        texts: candidates; equal ones count once, and speak for their content twice.
        request: their order.
        reviewer: cuts and weighs words.
        similar: human copies of similar products, in this product's words.
        reviews: text → what the reviewer says of it.

    Returns:
        Each distinct text → merit.
    """
    if not texts:
        return {}
    agreed = consensus(texts, reviewer, similar)
    facts = sum(slot.name not in (NOUN, PRICE) for slot in slots_of(request))
    supported = _SUPPORT_WEIGHT * reviewer.clauses.repeated * reviewer.clauses.support(texts, request)
    found: dict[str, Merit] = {}
    for row, text in enumerate(texts):
        if text not in found:
            review = reviews[text]
            share = reviewer.facts.coverage(text, request) / facts if facts else 1.0
            foreign = _FOREIGN_WEIGHT * reviewer.belonging.level(text, request)
            told = _COVERAGE_WEIGHT * (review.coverage + share) + _FLUENCY_WEIGHT * review.fluency
            told += _TONE_WEIGHT * tone_fit(text, request.tone) if request.tone else 0.0
            found[text] = Merit(float(agreed[row] + supported[row]) + told - foreign, reviewer.spans.stock(text))
    return found


def best_first(
    texts: Sequence[str],
    request: CopyRequest,
    reviewer: Reviewer,
    similar: Sequence[str] = (),
    reviews: Mapping[str, Review] | None = None,
    *,
    stock_weight: float = STOCK_WEIGHT,
) -> list[str]:
    """Candidates in the order in which to show them; refused ones last, for a caller that must say something.

    Args:
        texts: candidates; equal ones count once, and speak for their content twice.
        request: their order.
        reviewer: judges each.
        similar: human copies of similar products, in this product's words.
        reviews: what it has said of them already; None: it is asked.
        stock_weight: what a text of stock phrases alone loses.
    """
    known = reviews or {text: reviewer.review(text, request) for text in dict.fromkeys(texts)}
    return in_order(merits(texts, request, reviewer, similar, known), known, stock_weight)


def in_order(found: Mapping[str, Merit], reviews: Mapping[str, Review], stock_weight: float) -> list[str]:
    """Candidates by merit, refused ones last.

    Args:
        found: text → merit.
        reviews: text → what the reviewer says of it.
        stock_weight: what a text of stock phrases alone loses.
    """
    return sorted(found, key=lambda text: (not reviews[text].accepted, -found[text].at(stock_weight), text))
