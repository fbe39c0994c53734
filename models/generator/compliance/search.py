"""Many patterns over one text: only those are tried of which one or two characters stand in it that each match must hold."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from operator import add

_LITERAL = re.compile(r"[^\\\[\](){}.*+?|^$]+")
_SIMPLE_CLASS = re.compile(r"\[([^\]\\^-]+)\]")
_ANY_CLASS = re.compile(r"\[[^\]]*\]")
_TIMES = re.compile(r"\*|\+|\{[\d,]+\}")
_CHINESE = re.compile("[\u4e00-\u9fff]+")
_MAYBE = re.compile(r"\?|\*|\{[\d,]+\}")
_GAP = "\0"
_LOOKBEHIND = re.compile(r"\(\?<[!=]")


@dataclass(frozen=True)
class Prepared:
    """A pattern, compiled, with what stands in every match of it.

    Attributes:
        pattern: compiled.
        needles: see `needles`.
    """

    pattern: re.Pattern[str]
    needles: frozenset[str] | None


def prepare(expressions: Iterable[str]) -> tuple[Prepared, ...]:
    """Compile the patterns of a rule, each branch that can be found by its own needles for itself.

    Args:
        expressions: regular expressions.
    """
    return tuple(Prepared(re.compile(part), needles(part)) for expression in expressions for part in _parts(expression))


class PatternIndex:
    """Patterns of numbered rules, kept by what stands in every match of them."""

    def __init__(self, rules: Mapping[int, Iterable[Prepared]]) -> None:
        """Sort the patterns by their needles.

        Args:
            rules: prepared patterns by the number of their rule.
        """
        self._by_needle: dict[str, list[tuple[int, re.Pattern[str]]]] = {}
        self._always: list[tuple[int, re.Pattern[str]]] = []
        for number, patterns in rules.items():
            for prepared in patterns:
                entry = (number, prepared.pattern)
                if prepared.needles is None:
                    self._always.append(entry)
                for needle in prepared.needles or ():
                    self._by_needle.setdefault(needle, []).append(entry)
        self._single = frozenset(needle for needle in self._by_needle if len(needle) == 1)
        self._double = frozenset(self._by_needle) - self._single

    def search(self, text: str) -> dict[int, list[tuple[int, int]]]:
        """Spans of all matches by rule number.

        Args:
            text: what to search.
        """
        held = *self._single.intersection(text), *self._double.intersection(map(add, text, text[1:]))
        tried = {entry for needle in held for entry in self._by_needle[needle]}
        hits: dict[int, set[tuple[int, int]]] = {}
        for number, pattern in (*tried, *self._always):
            for match in pattern.finditer(text):
                if match.end() > match.start():
                    hits.setdefault(number, set()).add(match.span())
        return {number: sorted(spans) for number, spans in hits.items()}


def needles(expression: str) -> frozenset[str] | None:
    """Strings of one or two characters, one of which stands in every match, as far as the expression shows them plainly.

    Args:
        expression: a regular expression.

    Returns:
        The strings, of two characters and few where there is a choice; None when a match need not hold any.
    """
    found: set[str] = set()
    for branch in _split(expression):
        choices = [begins for at in _needed(branch) if (begins := _begins(branch[at:])) is not None]
        if not choices:
            return None
        found |= min(choices, key=lambda begins: (sum(40 if len(needle) == 1 else 1 for needle in begins), sorted(begins)))
    return frozenset(found) if found else None


def _needed(branch: str) -> Iterator[int]:
    """Places in a branch where something begins that every match has."""
    at = 0
    while at < len(branch):
        start, sure = at, True
        if branch[at] == "(":
            sure = branch.startswith("(?:", at)
            at += _closing(branch[at:]) + 1
        elif (listed := _ANY_CLASS.match(branch, at)) is not None:
            at = listed.end()
        elif branch[at] == "\\":
            at += 2
        elif (literal := _LITERAL.match(branch, at)) is not None:
            at = literal.end()
            if branch[at : at + 1] in ("?", "*", "{") and at - start > 1:
                at -= 1
        else:
            sure, at = False, at + 1
        if (times := _MAYBE.match(branch, at)) is not None:
            sure, at = False, times.end()
        if sure:
            yield start


def words_of(expression: str, longest: int = 6) -> frozenset[str]:
    """The Chinese words of two characters or more that the expression spells out, alternatives joined where they follow one another.

    Args:
        expression: a regular expression.
        longest: characters of the longest word that is kept.
    """
    found: set[str] = set()
    for run in _runs(expression, found):
        found.update(run.split(_GAP))
    return frozenset(word for word in found if 2 <= len(word) <= longest and _CHINESE.fullmatch(word))


def _runs(expression: str, found: set[str]) -> set[str]:
    """What the expression can spell, with a gap where anything may stand; words between two gaps go into `found`."""
    return {run for branch in _split(expression) for run in _spelt(branch, found)}


def _spelt(branch: str, found: set[str]) -> set[str]:
    runs, at = {""}, 0
    while at < len(branch):
        piece = {_GAP}
        if branch.startswith("(?:", at):
            close = at + _closing(branch[at:])
            piece, at = _runs(branch[at + 3 : close], found), close + 1
        elif branch[at] == "(":
            at += _closing(branch[at:]) + 1
        elif (listed := _ANY_CLASS.match(branch, at)) is not None:
            small = _SIMPLE_CLASS.fullmatch(listed.group())
            piece, at = (set(small[1]) if small and len(small[1]) <= 12 else piece), listed.end()
        elif branch[at] == "\\":
            at += 2
        elif (literal := _LITERAL.match(branch, at)) is not None:
            whole = literal.group()
            cut = whole if len(whole) == 1 or branch[literal.end() : literal.end() + 1] not in ("?", "*", "{", "+") else whole[:-1]
            piece, at = {cut}, at + len(cut)
        else:
            at += 1
        if branch[at : at + 1] == "?":
            piece, at = piece | {""}, at + 1
        elif (times := _TIMES.match(branch, at)) is not None:
            piece, at = {_GAP}, times.end()
        if len(runs) * len(piece) > 4000:
            found.update(word for run in runs | piece for word in run.split(_GAP))
            runs, piece = {_GAP}, {""}
        runs = {_shortened(run + part, found) for run in runs for part in piece}
    return runs


def _shortened(run: str, found: set[str]) -> str:
    first, *middle = run.split(_GAP)
    if len(middle) < 2:
        return run
    found.update(middle[:-1])
    return first + _GAP + middle[-1]


def _heads(expression: str) -> frozenset[str] | None:
    """What a match begins with; None when that may be anything."""
    begun = [_begins(branch) for branch in _split(expression)]
    return None if any(begins is None for begins in begun) else frozenset().union(*(begins or () for begins in begun))


def _begins(branch: str) -> frozenset[str] | None:
    if _LOOKBEHIND.match(branch):
        return _begins(branch[_closing(branch) + 1 :])
    if branch.startswith("(?:"):
        close = _closing(branch)
        after = branch[close + 1 :]
        inner = _heads(branch[3:close])
        if inner is None or after[:1] in ("*", "{"):
            return None
        if not after.startswith("?"):
            return _followed(inner, after) if all(len(part) == 1 for part in _split(branch[3:close])) else inner
        rest = _begins(after[1:])
        return None if rest is None else inner | rest
    if branch.startswith("\\d"):
        begins, after = frozenset("0123456789"), branch[2:]
    elif (listed := _SIMPLE_CLASS.match(branch)) is not None:
        begins, after = frozenset(listed[1]), branch[listed.end() :]
    elif (literal := _LITERAL.match(branch)) is not None:
        after = branch[literal.end() :]
        sure = literal.group()[:-1] if after[:1] in ("?", "*", "{") else literal.group()
        if len(sure) == 1 and len(literal.group()) == 1:
            return _followed(frozenset(sure), after)
        return frozenset({sure[:2]}) if sure else None
    else:
        return None
    return None if after[:1] in ("?", "*", "{") else _followed(begins, after)


def _followed(begins: frozenset[str], after: str) -> frozenset[str]:
    """Single characters with what follows them, where that is plain."""
    second = None if after[:1] in ("", "+", "?", "*", "{") or after.startswith("(?!") else _begins(after)
    return begins if second is None else frozenset(c + then[0] for c in begins for then in second)


def _parts(expression: str) -> Iterator[str]:
    """The branches of an expression, and of one that is a single group: each is found by its own beginning."""
    for branch in _split(expression):
        if branch.startswith("(?:") and _closing(branch) == len(branch) - 1:
            yield from _parts(branch[3:-1])
        else:
            yield branch


def _split(expression: str) -> list[str]:
    """The branches of the outermost |."""
    cuts = [at for at, depth, c in _brackets(expression) if c == "|" and not depth]
    return [expression[start + 1 : end] for start, end in zip([-1, *cuts], [*cuts, len(expression)], strict=True)]


def _closing(expression: str) -> int:
    """Where the bracket that opens the expression closes."""
    return next(at for at, depth, c in _brackets(expression) if c == ")" and not depth)


def _brackets(expression: str) -> Iterator[tuple[int, int, str]]:
    """Place, depth and character of what is outside of classes and escapes; a closing bracket counts as outside of its group."""
    depth, at, listed = 0, 0, False
    while at < len(expression):
        c = expression[at]
        if c == "\\":
            at += 1
        elif listed:
            listed = c != "]"
        elif c == "[":
            listed = True
        else:
            depth += (c == "(") - (c == ")")
            yield at, depth, c
        at += 1
