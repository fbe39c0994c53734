"""Many patterns over one text: only those are tried whose first one or two characters stand in it."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from operator import add

_LITERAL = re.compile(r"[^\\\[\](){}.*+?|^$]+")
_SIMPLE_CLASS = re.compile(r"\[([^\]\\^-]+)\]")
_LOOKBEHIND = re.compile(r"\(\?<[!=]")


@dataclass(frozen=True)
class Prepared:
    """A pattern, compiled, with what a match of it can begin with.

    Attributes:
        pattern: compiled.
        heads: see `heads`.
    """

    pattern: re.Pattern[str]
    heads: frozenset[str] | None


def prepare(expressions: Iterable[str]) -> tuple[Prepared, ...]:
    """Compile the patterns of a rule, each branch that can be found by its own beginning for itself.

    Args:
        expressions: regular expressions.
    """
    return tuple(Prepared(re.compile(part), heads(part)) for expression in expressions for part in _parts(expression))


class PatternIndex:
    """Patterns of numbered rules, kept by what a match of them can begin with."""

    def __init__(self, rules: Mapping[int, Iterable[Prepared]]) -> None:
        """Sort the patterns by their heads.

        Args:
            rules: prepared patterns by the number of their rule.
        """
        self._by_head: dict[str, list[tuple[int, re.Pattern[str]]]] = {}
        self._always: list[tuple[int, re.Pattern[str]]] = []
        for number, patterns in rules.items():
            for prepared in patterns:
                entry = (number, prepared.pattern)
                if prepared.heads is None:
                    self._always.append(entry)
                for head in prepared.heads or ():
                    self._by_head.setdefault(head, []).append(entry)

    def search(self, text: str) -> dict[int, list[tuple[int, int]]]:
        """Spans of all matches by rule number.

        Args:
            text: what to search.
        """
        begun = self._by_head.keys() & {*text, *map(add, text, text[1:])}
        tried = [entry for head in begun for entry in self._by_head[head]]
        hits: dict[int, set[tuple[int, int]]] = {}
        for number, pattern in [*tried, *self._always]:
            for match in pattern.finditer(text):
                if match.end() > match.start():
                    hits.setdefault(number, set()).add(match.span())
        return {number: sorted(spans) for number, spans in hits.items()}


def heads(expression: str) -> frozenset[str] | None:
    """Beginnings, of one or two characters, one of which every match has, as far as the expression shows them plainly.

    Args:
        expression: a regular expression.

    Returns:
        The beginnings; None when a match may begin with anything.
    """
    found: set[str] = set()
    for branch in _split(expression):
        begins = _begins(branch)
        if begins is None:
            return None
        found |= begins
    return frozenset(found) if found else None


def _begins(branch: str) -> frozenset[str] | None:
    if _LOOKBEHIND.match(branch):
        return _begins(branch[_closing(branch) + 1 :])
    if branch.startswith("(?:"):
        close = _closing(branch)
        after = branch[close + 1 :]
        inner = heads(branch[3:close])
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
