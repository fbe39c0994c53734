"""The compliance list: what an ad text must not say, as rules with clause, scope, severity and a suggested rewrite."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from functools import cache, lru_cache
from pathlib import Path

from models.generator.compliance.denial import denied
from models.generator.compliance.disguise import reader
from models.generator.compliance.judge import SENTENCES, Judge, LabelledSentences, Opinion
from models.generator.compliance.reading import Reading
from models.generator.compliance.rules import BLOCK, RULES, WARN, Rule, read_rules
from models.generator.compliance.search import PatternIndex, prepare, words_of

OWN_RULES = "compliance.yaml"
"""Under this name a pool bundle carries the user's own rules."""
RESEMBLES = "resembles"
"""The rule of what the judge finds and no rule of the list does. An own rule of this id and severity `warn` makes it a note."""
GENERAL_CLAUSE, GENERAL_SUGGESTION = "广告法第四条", "只写可以查证的事实与感受"
"""Of what the judge finds where no rule of the list is of that family."""
REMEMBERED = 1 << 14
"""Texts whose findings are kept at hand: a text is asked about when it is reviewed, when it is shelved and when the pool is judged."""
NEAR = 5
"""Characters on either side of a hit, within its clause, that are read by themselves (decision 0012 says what they were chosen on)."""
NEARBY = -1.5
"""Log-odds at which the clause of a hit, or what stands near it, makes a hit stand: most clauses are fine, nought asks too much."""
HIT = 3.0
"""Log-odds that a hit of the list adds to the judge's (decision 0012 says what it was chosen on)."""
DENIED = 3.0
"""`NEARBY` of a hit that its own clause denies, which adds nothing to the judge's log-odds (decision 0012)."""


@dataclass(frozen=True)
class Violation:
    """One place where a text breaks a rule.

    Attributes:
        rule: the rule's id.
        clause: the clause.
        severity: block or warn.
        found: the words that break it, as the text writes them.
        start: where they begin in the text as it was given.
        suggestion: what to write instead.
    """

    rule: str
    clause: str
    severity: str
    found: str
    start: int
    suggestion: str


@dataclass(frozen=True)
class Compliance:
    """The list, ready to check texts.

    Attributes:
        rules: in the file's order.
        own: ids of the user's own rules, which the judge does not overrule.
        judged: whether a judge speaks too; False: the list alone.
        judge: which; None: the one that learnt from this package's sentences.
    """

    rules: tuple[Rule, ...]
    own: frozenset[str] = frozenset()
    judged: bool = True
    judge: Judge | None = None

    @classmethod
    def load(cls, path: Path = RULES, *, extra: Path | None = None) -> "Compliance":
        """Read a rules file.

        Args:
            path: YAML, a list of rules, or a folder of such files; the list of this package unless another is given.
            extra: a list of your own laid over it: a rule of the same id takes its place, others are added at the end.

        Raises:
            ParamsError: a file is missing, no YAML list, or a rule is ill-formed; with file and line.
        """
        if extra is None:
            return _loaded(path)
        rules, own = {rule.id: rule for rule in _loaded(path).rules}, read_rules(extra)
        rules.update((rule.id, rule) for rule in own)
        return cls(tuple(rules.values()), frozenset(rule.id for rule in own))

    @classmethod
    def of_bundle(cls, folder: Path) -> "Compliance":
        """The list that a pool was filled under: ours, with the own rules that the bundle carries.

        Args:
            folder: the bundle.

        Raises:
            ParamsError: see `load`.
        """
        own = folder / OWN_RULES
        return cls.load(extra=own if own.exists() else None)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_patterns", tuple(prepare(rule.patterns) for rule in self.rules))
        object.__setattr__(self, "_exceptions", {rule.id: tuple(map(re.compile, rule.exceptions)) for rule in self.rules})
        object.__setattr__(self, "_by_category", {})
        object.__setattr__(self, "_remembered", lru_cache(REMEMBERED)(self._examined))
        order = {rule.id: number for number, rule in enumerate(self.rules)}
        object.__setattr__(self, "_places_of", {**order, RESEMBLES: len(order)})
        hidden = {word for rule in self.rules if rule.severity == BLOCK for expression in rule.patterns for word in words_of(expression)}
        object.__setattr__(self, "_words", " ".join(sorted(hidden)))  # a string knows its hash

    def __reduce__(self) -> tuple[type["Compliance"], tuple[object, ...]]:  # what is at hand stays behind
        return Compliance, tuple(getattr(self, field.name) for field in fields(self))

    def _index(self, category: str) -> PatternIndex:
        known: dict[str, PatternIndex] = self._by_category  # type: ignore[attr-defined]
        if category not in known:
            plain, patterns = reader(self._words).plain(category).text, self._patterns  # type: ignore[attr-defined]
            known[category] = PatternIndex({number: patterns[number] for number, rule in enumerate(self.rules) if rule.holds_for(plain)})
        return known[category]

    def check(self, text: str, category: str = "") -> list[Violation]:
        """Every place where a text breaks a rule, disguised words among them, and what the judge makes of it.

        A hit of a blocking rule of this package counts `HIT` towards the judge's log-odds of the sentence it stands in; what stays below
        nought, and does so by itself in the clause that holds the hit, is a note (`warn`); a hit that its clause denies counts nothing. A
        sentence that the judge puts above nought, and no rule blocks, breaks the rule `RESEMBLES`. Where a rule of the user's own has
        spoken, blocking or not, it stands whatever the judge thinks.

        Args:
            text: the copy.
            category: the product's category; rules with a scope read it.

        Returns:
            Violations in the order of the rules, then of the text; empty when there is none.
        """
        remembered: tuple[Violation, ...] = self._remembered(text, category)  # type: ignore[attr-defined]
        return list(remembered)

    def _examined(self, text: str, category: str) -> tuple[Violation, ...]:
        index, reads = self._index(category), reader(self._words)  # type: ignore[attr-defined]
        plain = reads.plain(text)
        places = self._places(index, plain)
        through = reads.through(plain)
        if through is not None:
            seen = list(places)
            for number, start, end, span in self._places(index, through):
                disguised = any(place in through.changed for place in range(start, end)) or reads.broken(through, start, end)
                if disguised and not any(number == other and a < span[1] and span[0] < b for other, _, _, (a, b) in seen):
                    places.append((number, start, end, span))
        found = [
            Violation(rule.id, rule.clause, rule.severity, text[span[0] : span[1]], span[0], rule.suggestion)
            for number, span in sorted({(number, span) for number, _, _, span in places})
            for rule in (self.rules[number],)
        ]
        return tuple(self._judged(found, text, through or plain, reads.plain(category).text) if self.judged else found)

    def _judged(self, found: list[Violation], text: str, reading: Reading, category: str) -> list[Violation]:
        """What was found by the list, as the judge sees it, and what the judge finds besides."""
        judge = self.judge or labelled().judge
        told: list[Violation] = []
        left = list(found)
        for opinion in judge.opinions(reading.text, category):
            start, end = reading.original(opinion.start, opinion.end)
            here = [one for one in left if start <= one.start < end]
            left = [one for one in left if not start <= one.start < end]
            hit = any(one.severity == BLOCK for one in here)
            if hit and opinion.margin + opinion.doubt < 0:
                here = [self._weighed(one, judge, reading, opinion, category=category, hits=here) for one in here]
            told += here
            if not hit and opinion.margin > opinion.doubt and not any(one.rule in self.own for one in here):
                told.append(self._resembling(judge, reading, opinion, text, category))
        return sorted(told + left, key=lambda one: self._places_of[one.rule])  # type: ignore[attr-defined]

    def _weighed(
        self, one: Violation, judge: Judge, reading: Reading, opinion: Opinion, *, category: str, hits: Sequence[Violation]
    ) -> Violation:
        """A hit in a sentence that the judge takes for innocent: a note, if clause and nearest words read so by themselves as well.

        Among enough harmless words any claim looks harmless.
        """
        if one.rule in self.own:
            return one
        innocent = opinion.margin + HIT + opinion.doubt < 0
        for start, end in judge.clauses(reading.text, opinion):
            first = [reading.original(place, place + 1)[0] for place in range(start, end)]
            covers = [place for place, at in enumerate(first) if one.start <= at < one.start + len(one.found)]
            if not covers:
                continue
            found = {place for place, at in enumerate(first) for hit in hits if hit.start <= at < hit.start + len(hit.found)}
            limit = NEARBY
            if denied(reading.text[start:end], covers, found):
                innocent, limit = True, DENIED
            near = (max(start, start + covers[0] - NEAR), min(end, start + covers[-1] + 1 + NEAR))
            if any(judge.margin(reading.text[slice(*place)], category) >= limit for place in {(start, end), near}):
                return one
        return replace(one, severity=WARN) if innocent else one

    def _resembling(self, judge: Judge, reading: Reading, opinion: Opinion, text: str, category: str) -> Violation:
        start, end, family = judge.place(reading.text, opinion)
        first, last = reading.original(start, end)
        of_family = [rule for rule in self.rules if rule.family == family]
        rule = next((rule for rule in of_family if rule.holds_for(category)), of_family[0] if of_family else None)
        clause, suggestion = (rule.clause, rule.suggestion) if rule else (GENERAL_CLAUSE, GENERAL_SUGGESTION)
        named = next((rule for rule in self.rules if rule.id == RESEMBLES), None)
        return Violation(RESEMBLES, clause, named.severity if named else BLOCK, text[first:last], first, suggestion)

    def _places(self, index: PatternIndex, reading: Reading) -> list[tuple[int, int, int, tuple[int, int]]]:
        """Rule, start and end in the reading, and the span in the original, of every match that no exception covers."""
        found: list[tuple[int, int, int, tuple[int, int]]] = []
        for number, hits in index.search(reading.text).items():
            exceptions: tuple[re.Pattern[str], ...] = self._exceptions[self.rules[number].id]  # type: ignore[attr-defined]
            spared = [match.span() for pattern in exceptions for match in pattern.finditer(reading.text)]
            for start, end in hits:
                if not any(a < end and start < b for a, b in spared):
                    found.append((number, start, end, reading.original(start, end)))
        return found

    def blocks(self, text: str, category: str = "") -> list[Violation]:
        """The violations that keep a text from being shown.

        Args:
            text: the copy.
            category: the product's category.
        """
        return [violation for violation in self.check(text, category) if violation.severity == BLOCK]


@cache
def _loaded(path: Path) -> Compliance:
    return Compliance(tuple(read_rules(path)))


@cache
def labelled() -> LabelledSentences:
    """The labelled sentences of this package, read as its list reads texts, and their judge."""
    reads = reader(_loaded(RULES)._words)  # type: ignore[attr-defined]

    def read(text: str) -> str:
        plain = reads.plain(text)
        return (reads.through(plain) or plain).text

    return LabelledSentences(SENTENCES, read)
