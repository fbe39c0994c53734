"""A judge of sentences that has learnt from the labelled ones: it sees what no listed word tells, and lets pass what a word wrongly hits.

The list (`rules`) knows words; of sentences by another hand it found three quarters, because a promise can be said in endless ways. The
judge weighs one to three characters, words, pairs of words and the category: L2-regularised logistic regression on tf-idf, read as a linear
score of what stands in the sentence, so that it can name the place that carries its verdict.
"""

import hashlib
import json
import logging
import math
import re
import uuid
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path

import numpy as np
from scipy.sparse import csr_matrix, diags, hstack, vstack
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression

from models.cache import cache_folder
from models.generator.compliance.sounds import cut

_log = logging.getLogger(__name__)

SENTENCES = Path(__file__).with_name("sentences.jsonl")
"""The labelled sentences."""
HELD_OUT = (9, 25, 28, 37)
"""Rounds of the sentences that the judge never learns from: 28 is long copy."""
LONGEST, LEAST = 50, 10
"""Longer texts are judged piece by piece; a piece is cut at a comma no earlier than this."""
SHORT, FEWEST = 12, 5
"""Characters below which the judge has to be surer, and below which it says nothing."""
_LENGTHS = (1, 2, 3)
_CATEGORY = 0.15
"""Length of the category's part beside those of characters and words."""
_STRENGTH = 50.0
_INNOCENT = -1.0
"""Log-odds below which a clause of a sentence that breaks the law is taken for one that does not."""
_DAMPING = 40.0
"""Length of a tf-idf row at which it counts for 1 / √2: of a few characters little can be said."""
Weighed = tuple[float, float, str]
_HAN = re.compile(r"[\u4e00-\u9fff]")
_ENDS = re.compile(r"[。！？!?；;\n]+")
_COMMA = re.compile(r"[，,、 ]")
_CLAUSE_ENDS = re.compile(r"[。！？!?；;：:，,～~…#\n ]+")


@dataclass(frozen=True)
class Sentence:
    """A labelled sentence, as it reads.

    Attributes:
        text: half width, simplified, undisguised.
        category: of the product.
        family: of the breach; None when the sentence is fine.
    """

    text: str
    category: str
    family: str | None


@dataclass(frozen=True)
class Opinion:
    """What the judge thinks of a piece of a text.

    Attributes:
        start, end: the piece.
        margin: log-odds that it breaks the law.
        doubt: by how much the margin has to pass nought, either way, before the judge's word stands alone against the list's.
    """

    start: int
    end: int
    margin: float
    doubt: float


@dataclass(frozen=True)
class Judge:
    """Weights by gram.

    Attributes:
        bias: of every sentence.
        characters, words, category: gram → inverse document frequency, weight of it in the score, family that it mostly stands for.
    """

    bias: float
    characters: Mapping[str, "Weighed"]
    words: Mapping[str, "Weighed"]
    category: Mapping[str, "Weighed"]

    @classmethod
    def learnt(cls, sentences: Sequence[Sentence]) -> "Judge":
        """Fit: to whole sentences first, then to their clauses beside them, since in long copy one clause breaks the law.

        Of a sentence that breaks it, the clause that the first fit speaks against most is taken for the breach, unless it takes it for
        `_INNOCENT`; those that it takes for that are learnt as fine, as are all clauses of fine sentences.

        Args:
            sentences: of both labels.

        Source:
            tf-idf with sublinear counts, and ridge logistic regression: scikit-learn's. Which part of a labelled whole carries its label:
            multiple-instance learning (Dietterich et al. 1997), here in one step.
        """
        parts = [(row, clause) for row, one in enumerate(sentences) for clause in _clauses_of(one.text)]
        whole = [(one.text, one.category) for one in sentences]
        clauses = [(clause, sentences[row].category) for row, clause in parts]
        vectorisers = {
            name: TfidfVectorizer(sublinear_tf=True, analyzer=of, norm=None, min_df=1 if name == "category" else 2)
            for name, of in _ANALYSERS.items()
        }
        matrices = {name: _damped(vectoriser.fit_transform(whole)) for name, vectoriser in vectorisers.items()}
        together = hstack([matrices[name] * _SCALES[name] for name in _ANALYSERS]).tocsr()
        broken = np.array([one.family is not None for one in sentences])
        model = LogisticRegression(C=_STRENGTH, solver="liblinear", random_state=0).fit(together, broken)
        if parts:
            cut = hstack([_damped(vectorisers[name].transform(clauses)) * _SCALES[name] for name in _ANALYSERS]).tocsr()
            carries, used = _carriers(model.decision_function(cut), np.array([row for row, _ in parts]), broken)
            both, labels = vstack([together, cut[used]]).tocsr(), np.concatenate([broken, carries[used]])
            # the odds of clauses are to be those of sentences
            fine = 1.0 if carries[used].all() else _odds(carries[used]) / _odds(broken)
            weight = np.concatenate([np.ones(len(broken)), np.where(carries[used], 1.0, fine)])
            model = LogisticRegression(C=_STRENGTH, solver="liblinear", random_state=0).fit(both, labels, sample_weight=weight)
        families = sorted({one.family for one in sentences if one.family is not None})
        of_family = np.array([[one.family == family for one in sentences] for family in families], dtype=np.float64)
        blocks: dict[str, dict[str, Weighed]] = {}
        at = 0
        for name, vectoriser in vectorisers.items():
            grams = vectoriser.get_feature_names_out()
            weights = model.coef_[0, at : at + len(grams)] * _SCALES[name]
            mostly = np.asarray(of_family @ (matrices[name] > 0)).argmax(axis=0)
            rows = zip(grams, vectoriser.idf_, weights, mostly, strict=True)
            blocks[name] = {str(gram): (float(idf), float(weight), families[family]) for gram, idf, weight, family in rows}
            at += len(grams)
        return cls(float(model.intercept_[0]), **blocks)

    def margin(self, text: str, category: str = "") -> float:
        """Log-odds that a sentence breaks the law, where as many do as among those that were learnt from.

        Args:
            text: as it reads.
            category: of the product, simplified.
        """
        one = (text, category)
        parts = ((self.characters, _characters(one)), (self.words, _words(one)), (self.category, _category(one)))
        return self.bias + sum(_score(table, grams) for table, grams in parts)

    def opinions(self, text: str, category: str = "") -> list[Opinion]:
        """A short text as it stands, a long one piece by piece.

        Of n pieces each has to be ln n surer, for it had n chances; so has a piece of fewer than `SHORT` characters, by a quarter for each
        that it lacks. Fewer than `FEWEST` Chinese ones say nothing to the judge, who has read Chinese only.

        Args:
            text: as it reads.
            category: see `margin`.
        """
        found = pieces(text)
        return [
            Opinion(start, end, self.margin(text[start:end], category), math.log(len(found)) + max(0, SHORT - (end - start)) / 4)
            for start, end in found
            if len(_HAN.findall(text, start, end)) >= FEWEST
        ]

    def clauses(self, text: str, opinion: Opinion) -> list[tuple[int, int]]:
        """Where the clauses of a piece begin and end.

        Args:
            text: as it reads.
            opinion: of a piece of it.
        """
        marks = [match.span() for match in _CLAUSE_ENDS.finditer(text, opinion.start, opinion.end)]
        starts, ends = [opinion.start, *(end for _, end in marks)], [*(start for start, _ in marks), opinion.end]
        return [(start, end) for start, end in zip(starts, ends, strict=True) if start < end]

    def place(self, text: str, opinion: Opinion) -> tuple[int, int, str]:
        """What carries a verdict: the span whose grams add most, and the family that most of what speaks against it stands for.

        Args:
            text: as it reads.
            opinion: of a piece of it.
        """
        piece = text[opinion.start : opinion.end]
        known = _weights(self.characters, _characters((piece, "")))
        carried = np.zeros(len(piece))
        for n in _LENGTHS:
            for at in range(len(piece) - n + 1):
                carried[at : at + n] += known.get(piece[at : at + n], 0.0) / n
        votes: defaultdict[str, float] = defaultdict(float)
        for gram, weight in known.items():
            votes[self.characters[gram][2]] += max(weight, 0.0)
        family = max(votes, key=lambda name: votes[name], default="")
        best, start, end, total, began = -math.inf, 0, len(piece), 0.0, 0
        for place, one in enumerate(carried.tolist()):
            if total <= 0:
                total, began = 0.0, place
            total += one
            if total > best:
                best, start, end = total, began, place + 1
        return opinion.start + start, opinion.start + end, family


@dataclass(frozen=True)
class LabelledSentences:
    """The sentences of the package, and the judge that has learnt from them.

    Attributes:
        path: JSON lines.
        read: a text as it reads, undisguised.
    """

    path: Path
    read: Callable[[str], str]

    @cached_property
    def judge(self) -> Judge:
        """The judge, from the cache when these very sentences were learnt before."""
        kept = cache_folder("compliance") / f"judge-{_taught_by(self.path)}.json"
        try:
            return Judge(**json.loads(kept.read_text(encoding="utf-8")))
        except FileNotFoundError:
            pass
        except (OSError, ValueError, TypeError) as error:
            _log.warning("%s cannot be read (%s): the judge learns anew", kept, error)
        made = Judge.learnt(self.learnt_from())
        draft = kept.with_suffix(f".{uuid.uuid4().hex}.draft")  # others may be learning at the same moment
        try:
            kept.parent.mkdir(parents=True, exist_ok=True)
            draft.write_text(json.dumps(asdict(made), ensure_ascii=False), encoding="utf-8")
            draft.replace(kept)
        except OSError as error:
            with suppress(OSError):
                draft.unlink()
            _log.warning("%s cannot be written (%s): the judge is learnt anew by each process", kept, error)
        return made

    def learnt_from(self, *, without: int | None = None) -> list[Sentence]:
        """The sentences of the rounds that are learnt from.

        Args:
            without: a round that is left out, to be judged by what the others taught.
        """
        rows = [json.loads(line) for line in self.path.read_text(encoding="utf-8").splitlines() if line]
        return [
            Sentence(self.read(row["text"]), self.read(row["category"]), row["family"])
            for row in rows
            if row["round"] not in (*HELD_OUT, without)
        ]


def _taught_by(sentences: Path) -> str:
    """A hash of all that decides what the judge learns: the sentences, and how this package reads texts."""
    package = Path(__file__).parent
    files = sorted(path for path in package.rglob("*") if path.suffix in (".py", ".yaml"))
    return hashlib.sha256(b"".join(path.read_bytes() for path in (sentences, *files))).hexdigest()[:16]


def pieces(text: str) -> list[tuple[int, int]]:
    """The text itself, or the sentences of a long one, of which long ones are cut at commas.

    Args:
        text: any.
    """
    if len(text) <= LONGEST:
        return [(0, len(text))] if text else []
    found: list[tuple[int, int]] = []
    at = 0
    for start, end in [*(match.span() for match in _ENDS.finditer(text)), (len(text), len(text))]:
        while start - at > LONGEST:
            commas = [match.start() for match in _COMMA.finditer(text, at + LEAST, at + LONGEST)]
            stop = commas[-1] if commas else at + LONGEST
            found.append((at, stop))
            at = stop + bool(commas)
        if start > at:
            found.append((at, start))
        at = end
    return found


def _characters(one: tuple[str, str]) -> list[str]:
    text = one[0]
    return [text[at : at + n] for n in _LENGTHS for at in range(len(text) - n + 1)]


def _words(one: tuple[str, str]) -> list[str]:
    words = [word for word in cut(one[0]) if not word.isspace()]
    return [*words, *(f"{first} {second}" for first, second in pairwise(words))]


def _category(one: tuple[str, str]) -> list[str]:
    text = one[1]
    return [text[at : at + n] for n in (1, 2) for at in range(len(text) - n + 1)]


def _damped(rows: csr_matrix) -> csr_matrix:
    """Rows of a length below one, the nearer to it the more there is to go by."""
    lengths = np.sqrt(np.asarray(rows.multiply(rows).sum(axis=1)).ravel() + _DAMPING**2)
    return diags(1 / lengths) @ rows


def _clauses_of(text: str) -> list[str]:
    """The clauses of a text that has more than one, without those that are too short to say anything."""
    found = [clause for clause in _CLAUSE_ENDS.split(text) if clause]
    return [clause for clause in found if len(_HAN.findall(clause)) >= FEWEST] if len(found) > 1 else []


def _carriers(margins: np.ndarray, row_of: np.ndarray, broken: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Which clauses carry a breach, and which say clearly enough whether they do to be learnt from.

    Args:
        margins: (clauses,) of the first fit.
        row_of: (clauses,) the sentence that each is of.
        broken: (sentences,) bool.
    """
    most = np.full(len(broken), -np.inf)
    np.maximum.at(most, row_of, margins)
    carries = broken[row_of] & (margins == most[row_of]) & (margins > _INNOCENT)
    return carries, carries | ~broken[row_of] | ((margins < most[row_of]) & (margins < _INNOCENT))


def _odds(labels: np.ndarray) -> float:
    share = float(labels.mean())
    return share / (1 - share)


_ANALYSERS = {"characters": _characters, "words": _words, "category": _category}
_SCALES = {"characters": 1.0, "words": 1.0, "category": _CATEGORY}


def _score(table: Mapping[str, Weighed], grams: Sequence[str]) -> float:
    """The sum of `_weights`, in one pass: this is what every text waits for."""
    counts: dict[str, int] = {}
    for gram in grams:
        if gram in table:
            counts[gram] = counts.get(gram, 0) + 1
    total, length = 0.0, _DAMPING**2
    for gram, count in counts.items():
        idf, weight, _ = table[gram]
        value = idf if count == 1 else (1 + math.log(count)) * idf
        total += value * weight
        length += value * value
    return total / math.sqrt(length)


def _weights(table: Mapping[str, Weighed], grams: Sequence[str]) -> dict[str, float]:
    """What each known gram adds to the score: its share of the damped tf-idf row, times its weight."""
    counts = Counter(gram for gram in grams if gram in table)
    values = {gram: (1 + math.log(count)) * table[gram][0] for gram, count in counts.items()}
    norm = math.sqrt(_DAMPING**2 + sum(value * value for value in values.values()))
    return {gram: value / norm * table[gram][1] for gram, value in values.items()}
