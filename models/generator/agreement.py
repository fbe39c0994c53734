"""How much texts for one order say the same: BLEU-4 and ROUGE-L of each against each, for minimum Bayes risk decoding."""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

_ORDERS = range(1, 5)
_BLEU_WEIGHT, _ROUGE_WEIGHT = 3.0, 2.0
"""Among copies of one product BLEU-4 is about a third of ROUGE-L: three of it weigh as much. ROUGE-L counts twice: its mean is the less
certain one of the two against what is asked of it (decision 0017)."""


def agreement(
    texts: Sequence[str], others: Sequence[str], words: Sequence[Sequence[str]], other_words: Sequence[Sequence[str]]
) -> NDArray[np.float64]:
    """The utility of each text if each other text were the one a person had written.

    Args:
        texts: candidates.
        others: what they are compared with.
        words: the candidates' words.
        other_words: the others' words.

    Returns:
        (texts, others), 3 · BLEU-4 + 2 · ROUGE-L, in [0, 5].
    """
    return np.asarray(_BLEU_WEIGHT * bleu_4_each(texts, others) + _ROUGE_WEIGHT * rouge_l_each(words, other_words))


def bleu_4_each(texts: Sequence[str], others: Sequence[str]) -> NDArray[np.float64]:
    """Sentence BLEU-4 on characters of each text against each other text.

    An n-gram counts twice at the most, which makes the counts a matrix product. An order without a match counts as 2^(1 − order) matches.

    Args:
        texts: (n) candidates.
        others: (m) references.

    Returns:
        (n, m) in [0, 1]; 0 where no character is shared.

    Source:
        exp(Σ_k ¼ log p_k) · min(1, exp(1 − |reference| / |text|)) (Papineni et al. 2002).
    """
    lengths, wanted = (np.array([len(text) for text in side], np.float64) for side in (texts, others))
    logs = np.zeros((len(texts), len(others)))
    nothing = np.zeros(logs.shape, bool)
    for order, counts in zip(_ORDERS, _counts([*texts, *others]), strict=True):
        hits = counts[: len(texts)] @ counts[len(texts) :].T  # (n, m)
        total = np.maximum(lengths - order + 1, 1.0)[:, None]
        logs += 0.25 * np.log(np.where(hits > 0, hits, 2.0 ** (1 - order)) / total)
        nothing |= (order == 1) & (hits == 0)
    penalty = np.minimum(1.0, np.exp(1.0 - wanted[None] / np.maximum(lengths, 1.0)[:, None]))
    return np.where(nothing, 0.0, penalty * np.exp(logs))


def _counts(texts: Sequence[str]) -> Iterator[NDArray[np.float32]]:
    """For each order (texts, 2 · n-grams): whether a text has an n-gram once, and whether twice."""
    characters = np.frombuffer("".join(texts).encode("utf-32-le"), np.uint32)
    lengths = np.array([len(text) for text in texts], np.int64)
    row, left = np.repeat(np.arange(len(texts)), lengths), np.concatenate([np.arange(size, 0, -1) for size in lengths] or [lengths])
    _, letter = np.unique(characters, return_inverse=True)
    letters, gram = int(letter.max(initial=0)) + 1, letter  # gram: the number of the n-gram that begins at a character
    for order in _ORDERS:
        if order > 1:
            longer = gram[:-1] * letters + letter[order - 1 :] if len(gram) > 1 else gram[:0]
            _, gram = np.unique(longer, return_inverse=True)
        whole = left[: len(gram)] >= order
        size = int(gram.max(initial=-1)) + 1
        counted = np.bincount(row[: len(gram)][whole] * size + gram[whole], minlength=len(texts) * size).reshape(len(texts), size)
        yield np.concatenate([counted > 0, counted > 1], axis=1).astype(np.float32)


def rouge_l_each(words: Sequence[Sequence[str]], others: Sequence[Sequence[str]]) -> NDArray[np.float64]:
    """F1 of the longest common subsequence of words, of each text against each other text.

    Args:
        words: (n) candidates, as words.
        others: (m) references, as words.

    Returns:
        (n, m) in [0, 1].

    Source:
        2 · LCS / (|text| + |reference|) (Lin 2004), the LCS by bit-parallel rows (Hyyrö 2004).
    """
    found = np.zeros((len(words), len(others)))
    for column, reference in enumerate(others):
        places: dict[str, int] = {}
        for place, word in enumerate(reference):
            places[word] = places.get(word, 0) | (1 << place)
        full = (1 << len(reference)) - 1
        for row, text in enumerate(words):
            free = full  # a cleared bit: one more word of the reference is matched
            for word in text:
                hit = free & places.get(word, 0)
                free = ((free + hit) | (free - hit)) & full
            found[row, column] = 2 * (len(reference) - free.bit_count()) / max(len(text) + len(reference), 1)
    return found
