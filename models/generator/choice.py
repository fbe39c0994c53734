"""Which of several candidates for one order to show: accepted by the reviewer, stating the product's facts, and what the others agree on.

The consensus of a candidate is its mean similarity to the other candidates: minimum Bayes risk decoding (Kumar & Byrne 2004; Eikema & Aziz
2020) with character n-grams as utility. What a model says in most of its samples is what it knows; what it says once is often a slip.
"""

from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from models.generator.quality import Reviewer
from models.generator.request import CopyRequest

_LONGEST_GRAM = 4
_COVERAGE_WEIGHT = 0.25
"""What stating every fact of the product is worth, beside full agreement with the other candidates."""


def consensus(texts: Sequence[str]) -> NDArray[np.float64]:
    """Mean similarity of each text to the others.

    Args:
        texts: candidates for one order.

    Returns:
        (n,) in [0, 1]: mean over the others, and over n-grams of 1 to 4 characters, of the F1 of shared n-grams (as chrF, Popović 2015);
        0 for a single text.
    """
    grams = [
        [Counter(text[at : at + size] for at in range(len(text) - size + 1)) for size in range(1, _LONGEST_GRAM + 1)] for text in texts
    ]
    totals = np.array([[max(counter.total(), 1) for counter in counters] for counters in grams], dtype=np.float64)
    found = np.zeros((len(texts), len(texts)))
    for a in range(len(texts)):
        for b in range(a + 1, len(texts)):
            shared = np.array([(mine & other).total() for mine, other in zip(grams[a], grams[b], strict=True)])
            found[a, b] = found[b, a] = float((2 * shared / (totals[a] + totals[b])).mean())
    return np.asarray(found.sum(1) / max(len(texts) - 1, 1))


def best_first(texts: Sequence[str], request: CopyRequest, reviewer: Reviewer) -> list[str]:
    """Candidates in the order in which to show them; refused ones last, for a caller that must say something.

    Args:
        texts: candidates; equal ones count once, and speak for their content twice.
        request: their order.
        reviewer: judges each.
    """
    if not texts:
        return []
    agreed = consensus(texts)
    score: dict[str, tuple[bool, float]] = {}
    for row, text in enumerate(texts):
        if text not in score:
            review = reviewer.review(text, request)
            score[text] = (review.accepted, float(agreed[row]) + _COVERAGE_WEIGHT * review.coverage)
    return sorted(score, key=lambda text: (not score[text][0], -score[text][1], text))
