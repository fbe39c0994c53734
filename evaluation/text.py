"""How good copy is, by its references, by itself and by its training texts. Strings in, numbers out, one a text where that has a sense.

BLEU-4 and ROUGE follow the protocol in which AdvertiseGen results are published (ChatGLM-6B's P-tuning script): ROUGE-1/2/L F1 on
jieba's words by rouge_chinese, BLEU-4 on characters by NLTK with smoothing method 3, both a sentence, then averaged, in per cent.
"""

import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from typing import Any

import numpy as np

_LIBRARIES = ("jieba", "rouge-chinese", "nltk", "sacrebleu")
SIGNATURE = "chatglm-advertisegen|bleu4:char,nltk-method3|rouge:jieba,f1|" + "|".join(f"{name}:{version(name)}" for name in _LIBRARIES)
"""What the numbers rest on; printed beside them (`signature` adds how many texts they are of)."""

COPIED_SPAN = 20
"""A text that shares a span of so many characters with a training text counts as copied."""
SELF_BLEU_TEXTS = 1000
"""Texts that Self-BLEU compares with each other, at the most."""


def signature(texts: int) -> str:
    """What numbers over so many texts, one a row of the test set, rest on.

    Args:
        texts: how many.
    """
    measures = f"n:{texts}|self-bleu4:char,nltk-method3,n:{min(texts, SELF_BLEU_TEXTS)}|copied:{COPIED_SPAN}+|spans:8+"
    return f"{SIGNATURE}|numpy:{version('numpy')}|scipy:{version('scipy')}|{measures}"


@cache
def _jieba() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # jieba's source holds invalid escapes, reported when it is first compiled
        import jieba
    jieba.setLogLevel(60)
    return jieba


@cache
def _rouge() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # rouge_chinese's source holds invalid escapes too
        from rouge_chinese import Rouge
    return Rouge()


def _words(text: str) -> list[str]:
    return [word for word in _jieba().cut(text) if word.strip()]


def bleu_4(texts: Sequence[str], references: Sequence[str]) -> np.ndarray:
    """Sentence BLEU-4 on characters with NLTK's smoothing method 3.

    Args:
        texts: generated copies.
        references: one human copy a text.

    Returns:
        (n,) in per cent, 0 to 100; 0 for an empty text.

    Raises:
        ValueError: the lists differ in length.
    """
    from nltk.translate.bleu_score import SmoothingFunction, sentence_bleu

    smooth = SmoothingFunction().method3
    scores = [
        100.0 * float(sentence_bleu([list(reference)], list(text), smoothing_function=smooth)) if text and reference else 0.0
        for text, reference in zip(texts, references, strict=True)
    ]
    return np.array(scores)


def rouge(texts: Sequence[str], references: Sequence[str]) -> dict[str, np.ndarray]:
    """ROUGE-1, ROUGE-2 and ROUGE-L F1 on jieba's words.

    Args:
        texts: generated copies.
        references: one human copy a text.

    Returns:
        ``rouge_1``, ``rouge_2`` and ``rouge_l``, each (n,) in per cent; 0 for an empty text.

    Raises:
        ValueError: the lists differ in length.
    """
    judge = _rouge()
    names = {"rouge_1": "rouge-1", "rouge_2": "rouge-2", "rouge_l": "rouge-l"}
    scores: dict[str, list[float]] = {name: [] for name in names}
    for text, reference in zip(texts, references, strict=True):
        ours, theirs = " ".join(_words(text)), " ".join(_words(reference))
        found = judge.get_scores(ours, theirs)[0] if ours and theirs else None
        for name, key in names.items():
            scores[name].append(100.0 * found[key]["f"] if found else 0.0)
    return {name: np.array(values) for name, values in scores.items()}


def sacrebleu_zh(texts: Sequence[str], references: Sequence[str]) -> float:
    """Corpus BLEU with sacreBLEU's zh tokeniser.

    Args:
        texts: generated copies, at least one.
        references: one human copy a text.

    Returns:
        In per cent.
    """
    from sacrebleu.metrics.bleu import BLEU

    return float(BLEU(tokenize="zh").corpus_score(list(texts), [list(references)]).score)


def distinct(texts: Sequence[str], n: int) -> float:
    """Distinct-n: different character n-grams over all n-grams of the set (Li et al. 2016).

    Args:
        texts: generated copies.
        n: 1 or 2 as a rule.

    Returns:
        In [0, 1]; 0 when no text has n characters. Falls with the size of the set: compare sets of one size.
    """
    grams = Counter(text[start : start + n] for text in texts for start in range(len(text) - n + 1))
    total = grams.total()
    return len(grams) / total if total else 0.0


def self_bleu_4(texts: Sequence[str], *, sample: int = SELF_BLEU_TEXTS) -> float:
    """Mean BLEU-4 of each text against all others (Zhu et al. 2018), on characters, as NLTK computes it: high means all alike.

    Args:
        texts: generated copies.
        sample: the first so many are compared with each other; the number depends on it: compare sets of one size.

    Returns:
        In per cent; 0 for fewer than two texts.
    """
    rows = self_bleu_4_rows([text for text in texts if text][:sample])
    return float(rows.mean()) if len(rows) > 1 else 0.0


def self_bleu_4_rows(texts: Sequence[str]) -> np.ndarray:
    """BLEU-4 of each text against all others, whose mean is `self_bleu_4`.

    Args:
        texts: generated copies.

    Returns:
        (n,) in per cent; 0 for an empty text, and for one without others.
    """
    if len(texts) < 2:
        return np.zeros(len(texts))
    grams = [[Counter(text[start : start + n] for start in range(len(text) - n + 1)) for n in range(1, 5)] for text in texts]
    best: dict[str, tuple[int, int, int]] = {}  # n-gram → its highest count, the text that has it, the highest count elsewhere
    for row, counts in enumerate(grams):
        for gram, count in (pair for counter in counts for pair in counter.items()):
            first, owner, second = best.get(gram, (0, -1, 0))
            best[gram] = (count, row, first) if count > first else (first, owner, max(second, count))
    lengths = np.array([len(text) for text in texts])
    return 100.0 * np.array([_bleu_of_row(row, grams[row], best, lengths) if texts[row] else 0.0 for row in range(len(texts))])


def _bleu_of_row(row: int, counts: Sequence[Counter[str]], best: Mapping[str, tuple[int, int, int]], lengths: np.ndarray) -> float:
    logs = 0.0
    smoothing = 1
    for counter in counts:
        total = max(1, counter.total())
        hits = sum(min(count, best[gram][2] if best[gram][1] == row else best[gram][0]) for gram, count in counter.items())
        if not hits:
            if counter is counts[0]:
                return 0.0
            share, smoothing = 1 / (2**smoothing * total), smoothing + 1  # NLTK's method 3
        else:
            share = hits / total
        logs += 0.25 * float(np.log(share))
    others = np.delete(lengths, row)
    closest = int(min(others, key=lambda length: (abs(length - lengths[row]), length)))
    penalty = 1.0 if lengths[row] > closest else float(np.exp(1 - closest / lengths[row]))
    return penalty * float(np.exp(logs))


@dataclass(frozen=True)
class Copying:
    """How much of a set is copied from training texts.

    Attributes:
        copied: (n,) bool, texts that share a span of ``copied_span`` characters or more.
        share: (n,) share of each text's characters that lie in shared spans.
        longest: characters of the longest shared span of the set.
    """

    copied: np.ndarray
    share: np.ndarray
    longest: int


def copying(longest: Sequence[int], covered: Sequence[int], lengths: Sequence[int], *, copied_span: int = COPIED_SPAN) -> Copying:
    """Copy rate, span share and longest span, from each text's overlap with training texts (`models.generator.spans`).

    Args:
        longest: longest shared span a text, characters.
        covered: characters a text that lie in shared spans of 8 or more.
        lengths: characters a text.
        copied_span: shared spans from this length on count as copied.
    """
    size = np.maximum(np.asarray(lengths, float), 1.0)
    spans = np.asarray(longest, int)
    return Copying(spans >= copied_span, np.asarray(covered, float) / size, int(spans.max(initial=0)))


def attribute_coverage(texts: Sequence[str], attributes: Sequence[Sequence[tuple[str, str]]]) -> np.ndarray:
    """Share of the product's attribute values that stand in each text word for word.

    Args:
        texts: copies.
        attributes: (key, value) pairs of each text's product.

    Returns:
        (n,) in [0, 1]; nan for a product without attributes.
    """
    return np.array(
        [np.mean([value in text for _, value in pairs]) if len(pairs) else np.nan for text, pairs in zip(texts, attributes, strict=True)]
    )
