"""What a candidate must pass before it is shown, and how good it is: coverage, fluency, novelty."""

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from models.generator.belonging import NO_BELONGING, Belonging
from models.generator.clause_index import ClauseIndex
from models.generator.compliance import Compliance
from models.generator.facts import Facts
from models.generator.fluency import FluencyJudge
from models.generator.ngram import symbols
from models.generator.request import CopyRequest
from models.generator.slots import NOUN, delexicalise, slots_of
from models.generator.spans import SpanIndex
from models.generator.training_copies import Copy
from models.generator.vocabulary import Vocabulary

MIN_LENGTH = 5
_FLOOR = 0.05
_OPEN_ENDS = "，,、；;：:的和与及"
_CLOSING = "，,、；;：:。！？!?）)】》」”～~…%"
_TAG = re.compile(r"#[^#]*#")
_MARKS = re.compile(r"[^\w]")
_LEAST_BESIDE_TAGS = 6
"""Characters that a text with hashtags has beside them; of 5,095 human copies of the market the shortest has 7."""
_EMPTY_CLAUSE = re.compile(r"[，,、；;：:]{2}|[。！？!?][，,、；;：:。]|[，,、；;：:][。！？!?]")
"""Two marks with nothing said between them."""
ANY_NUMBER = 1_000
_STUTTER = re.compile(r"([\u4e00-\u9fff])(?<![哈嘿呵嘻哇])\1\1+|(?!一.一.|.[着啦呀]|.一.一)([\u4e00-\u9fff]{2,4})\2")
"""A word said twice running, or a character thrice: a slip of a network. People say 一步一步, 用着用着, 来啦来啦 and 哈哈哈."""


@dataclass(frozen=True)
class Review:
    """The judgement on one candidate.

    Attributes:
        accepted: it may be shown.
        reason: why not: length, form, compliance, fact, foreign word or copied; empty when accepted.
        rule: the rule within the reason, such as a compliance rule's id; of a foreign word the kind of product that it belongs to.
        found: the words that decided; of a foreign word with the counts that speak against it.
        quality: geometric mean of the three below, in [0, 1].
        coverage: facts of the product stated, against what human copy of the same scene and channel states, at most 1.
        fluency: twice the share of held-out human copies that hang together less (`FluencyJudge`), at most 1.
        novelty: 1 − (longest span shared with training copy / longest allowed)², at least 0.
    """

    accepted: bool
    reason: str
    rule: str
    found: str
    quality: float
    coverage: float
    fluency: float
    novelty: float


@dataclass(frozen=True)
class Reviewer:
    """Judges candidates; the same in training, in `generate` and in the service.

    Attributes:
        facts: what the catalogue bears out.
        compliance: the list.
        spans: training texts.
        clauses: the training texts' clauses, by kind of product.
        vocabulary: cuts texts into words.
        language: tells human copy from damaged copy.
        levels: levels of held-out human copies, ascending; empty without copies: fluency is then 1.
        targets: (scene, channel) → facts that human copy states on average.
        max_copied_span: a longer span shared with training copy refuses a text.
        repeats: how often a text may state one attribute value (`usual_repeats`).
        noun_repeats: how often it may say what the product is.
        belonging: which words belong to which kind of product.
    """

    facts: Facts
    compliance: Compliance
    spans: SpanIndex
    clauses: ClauseIndex
    vocabulary: Vocabulary
    language: FluencyJudge
    levels: tuple[float, ...]
    targets: dict[tuple[str, str], float]
    max_copied_span: int
    repeats: int = 1
    noun_repeats: int = ANY_NUMBER
    belonging: Belonging = NO_BELONGING

    def review(self, text: str, request: CopyRequest, *, may_copy: bool = False) -> Review:
        """Judge one candidate.

        Args:
            text: the candidate.
            request: what it was written for.
            may_copy: True for human copy, which training copy is.
        """
        reason, rule, found = self._fault(text, request)
        overlap = self.spans.overlap(text)
        if not reason and not may_copy and overlap.longest > self.max_copied_span:
            reason, rule, found = "copied", "span", str(overlap.longest)
        goal = self.targets.get((request.scene, request.channel), 1.0)
        coverage = min(1.0, (self.facts.coverage(text, request) + 0.5) / (goal + 0.5))
        fluency = self.fluency(text, request)
        novelty = max(0.0, 1.0 - (overlap.longest / self.max_copied_span) ** 2)
        quality = float(np.prod([max(part, _FLOOR) for part in (coverage, fluency, novelty)]) ** (1 / 3))
        return Review(not reason, reason, rule, found, quality, coverage, fluency, novelty)

    def _fault(self, text: str, request: CopyRequest) -> tuple[str, str, str]:
        limit = request.max_length
        if not MIN_LENGTH <= len(text) <= limit:
            return "length", "too_short" if len(text) < MIN_LENGTH else "too_long", str(len(text))
        form = _form(text, request, self.repeats, self.noun_repeats)
        if form:
            return "form", *form
        violations = self.compliance.blocks(text, request.category)
        if violations:
            return "compliance", violations[0].rule, violations[0].found
        faults = self.facts.check(text, request)
        if faults:
            return "fact", faults[0].rule, faults[0].found
        foreign = self.belonging.refuses(text, request)
        if foreign is not None:
            return "foreign word", foreign.home, str(foreign)
        return "", "", ""

    def fluency(self, text: str, request: CopyRequest) -> float:
        """How well a text hangs together beside held-out human copy: 1 from their median on.

        Args:
            text: the text.
            request: its product.
        """
        if not self.levels:
            return 1.0
        return min(1.0, 2.0 * float(np.searchsorted(self.levels, self.level(text, request), side="right")) / len(self.levels))

    def new_pairs(self, text: str, request: CopyRequest) -> float:
        """Share of a text's neighbouring words that no training copy has side by side (`PairCounts`).

        Args:
            text: the text.
            request: its product.
        """
        slots = slots_of(request)
        return self.language.counts.signs(symbols(delexicalise(text, slots), slots, self.vocabulary))[0]

    def level(self, text: str, request: CopyRequest) -> float:
        """How much more a text is like human copy than like damaged copy, in log-odds (`FluencyJudge`).

        Args:
            text: the text.
            request: its product.
        """
        slots = slots_of(request)
        return self.language.level(symbols(delexicalise(text, slots), slots, self.vocabulary))


_JOINED = "(?:和|与|配|加|跟|及|、|＋|\\+|&)(?:这款|一款|一件|一个)?"
"""What stands between two things that are shown together; a product is not shown with itself."""


def _form(text: str, request: CopyRequest, repeats: int, noun_repeats: int) -> tuple[str, str] | None:
    unfinished = _unfinished(text)
    if unfinished is not None:
        return "unfinished", unfinished
    for left, right in ("（）", "“”", "《》", "【】"):
        if text.count(left) != text.count(right):
            return "unbalanced", left
    if text.count("#") % 2:
        return "unbalanced", "#"
    own = {slot.value for slot in slots_of(request)}
    stutter = next((found[0] for found in _STUTTER.finditer(text) if not any(found[0] in value for value in own)), None)
    if stutter is not None:
        return "repetition", stutter
    for size in (6, 8):
        seen: set[str] = set()
        for start in range(len(text) - size + 1):
            span = text[start : start + size]
            if span in seen and not any(span in value for value in own):
                return "repetition", span
            seen.add(span)
    noun = next((slot.value for slot in slots_of(request) if slot.name == NOUN), "")
    paired = re.search(f"{re.escape(noun)}{_JOINED}{re.escape(noun)}", text) if noun else None
    if paired is not None:
        return "repetition", paired[0]
    for slot in slots_of(request):
        allowed = noun_repeats if slot.name == NOUN else repeats if slot.name.startswith("@") else ANY_NUMBER
        if text.count(slot.value) > allowed:
            return "repetition", slot.value
    return None


def _unfinished(text: str) -> str | None:
    """Where something is missing: at the end, at the beginning, beside the hashtags, between two marks."""
    if text[-1] in _OPEN_ENDS:
        return text[-1]
    if text[0] in _CLOSING:
        return text[0]
    tags = _TAG.findall(text)
    if tags and len(_MARKS.sub("", _TAG.sub("", text))) < _LEAST_BESIDE_TAGS:
        return str(tags[0])
    empty = _EMPTY_CLAUSE.search(text)
    return None if empty is None else empty[0]


def usual_repeats(copies: Sequence[Copy]) -> int:
    """How often human copy states one attribute value of its product: the most that at least one copy in twenty does.

    Args:
        copies: training copies.

    Returns:
        At least 1.
    """
    most = [
        max((copy.text.count(slot.value) for slot in slots_of(copy.request) if slot.name.startswith("@")), default=0) for copy in copies
    ]
    return max(1, int(np.quantile(most, 0.95, method="lower"))) if most else 1


def usual_noun_repeats(copies: Sequence[Copy]) -> int:
    """How often a text may say what its product is: once more than the most that at least one human copy in a hundred does.

    Args:
        copies: training copies.

    Returns:
        At least 2; any number where there is no copy.
    """
    most = [max((copy.text.count(slot.value) for slot in slots_of(copy.request) if slot.name == NOUN), default=0) for copy in copies]
    return 1 + max(1, int(np.quantile(most, 0.99, method="lower"))) if most else ANY_NUMBER


def fit_targets(copies: Sequence[Copy], facts: Facts) -> dict[tuple[str, str], float]:
    """How many facts human copy states, by scene and channel.

    Args:
        copies: training copies.
        facts: counts them.
    """
    counts: dict[tuple[str, str], list[int]] = defaultdict(list)
    for copy in copies:
        counts[copy.request.scene, copy.request.channel].append(facts.coverage(copy.text, copy.request))
    return {place: float(np.mean(found)) for place, found in sorted(counts.items())}
