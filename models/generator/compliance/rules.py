"""Rules of the compliance list as data: read from YAML, classes of words filled in, faults told with file and line."""

import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from core.errors import ParamsError

RULES, CLASSES = Path(__file__).with_name("rules"), Path(__file__).with_name("classes.yaml")
BLOCK, WARN = "block", "warn"
_CLASS = re.compile(r"\{([a-z_]+)\}")
_REPEATED_TWICE = re.compile(r"\((?:\?:)?[^()]*[^\\()][+*][^()]*\)(?:[+*]|\{\d+,\})")


class Rule(BaseModel):
    """One rule of the list.

    Attributes:
        id: its name.
        family: what kind of breach it is, for reports; its id when none is given.
        clause: the clause that a text breaks which matches.
        severity: block or warn.
        patterns: regular expressions, any of which matches the text as it reads (`reading.Reading`): simplified, half width, small letters.
        exceptions: regular expressions; a match that one of them overlaps does not count.
        categories: regular expression of the categories it holds for; None: all.
        not_categories: regular expression of the categories it does not hold for; None: none.
        suggestion: what to write instead.
    """

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    id: str
    family: str = ""
    clause: str
    severity: str = Field(pattern=f"^({BLOCK}|{WARN})$")
    patterns: list[str] = Field(min_length=1)
    exceptions: list[str] = []
    categories: str | None = None
    not_categories: str | None = None
    suggestion: str

    def holds_for(self, category: str) -> bool:
        """Whether the rule covers a category.

        Args:
            category: the product's category, simplified.
        """
        if self.not_categories and re.search(self.not_categories, category):
            return False
        return self.categories is None or re.search(self.categories, category) is not None


def read_rules(path: Path) -> list[Rule]:
    """The rules of a file, or of a folder's files in the order of their names; `{name}` in a pattern is filled in from classes.yaml.

    Args:
        path: a YAML list of rules, or a folder of such files.

    Raises:
        ParamsError: a file is missing, no YAML list, or a rule is ill-formed; with file and line.
    """
    if not path.exists():
        raise ParamsError(f"{path}: no such file of compliance rules; correct the path, or leave it null for the list of this package.")
    paths = sorted(path.glob("*.yaml")) if path.is_dir() else [path]
    if not paths:
        raise ParamsError(f"{path}: the folder holds no *.yaml; put at least one list of rules there.")
    rules: dict[str, Rule] = {}
    for file in paths:
        for line, rule in _rules_of(file):
            if rule.id in rules:
                raise ParamsError(f"{file}, line {line}: the rule id {rule.id} stands twice; give this rule another id.")
            rules[rule.id] = rule
    return list(rules.values())


def _rules_of(path: Path) -> list[tuple[int, Rule]]:
    try:
        text = path.read_text(encoding="utf-8")
        entries = YAML(typ="safe", pure=True).load(text)
    except MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise ParamsError(f"{path}, line {line}: no YAML: {error.problem}.") from None
    except (OSError, UnicodeDecodeError, YAMLError) as error:
        raise ParamsError(f"{path}: no YAML: {error}") from None
    if not isinstance(entries, list) or not entries:
        raise ParamsError(f"{path}, line 1: a list of rules is needed, each beginning with `- id: ...`.")
    lines = [mark + 1 for mark in _starts(text)]
    found: list[tuple[int, Rule]] = []
    faults: list[str] = []
    for line, entry in zip(lines, entries, strict=True):
        name = f"rule {entry['id']}" if isinstance(entry, dict) and "id" in entry else "rule"
        try:
            found.append((line, _filled(Rule.model_validate(entry))))
        except ValidationError as error:
            told = "; ".join(f"{'.'.join(map(str, fault['loc'])) or 'entry'}: {fault['msg']}" for fault in error.errors())
            faults.append(f"{path}, line {line}: {name}: {told}.")
        except ValueError as error:
            faults.append(f"{path}, line {line}: {name}: {error}.")
    if faults:
        raise ParamsError("\n".join(faults))
    return found


def _starts(text: str) -> list[int]:
    """The line, from 0, where each entry of a YAML list begins."""
    return [node.start_mark.line for node in YAML(typ="safe", pure=True).compose(text).value]


def _filled(rule: Rule) -> Rule:
    """The rule with classes filled in; ValueError for an unknown class, or an ill-formed, empty or runaway expression."""

    def whole(key: str, expression: str) -> str:
        filled = fill(expression)
        try:
            compiled = re.compile(filled)
        except re.error as error:
            raise ValueError(f"{key}: {expression!r} is no regular expression: {error}") from None
        if compiled.search(""):
            raise ValueError(f"{key}: {expression!r} matches every text, the empty one too; let it name a character at least")
        if _REPEATED_TWICE.search(filled):
            raise ValueError(f"{key}: {expression!r} repeats a repetition, which may take for ever; write it with one, a+ for (a+)+")
        return filled

    scopes = {key: None if (scope := getattr(rule, key)) is None else whole(key, scope) for key in ("categories", "not_categories")}
    lists = {key: [whole(key, expression) for expression in getattr(rule, key)] for key in ("patterns", "exceptions")}
    return rule.model_copy(update={**scopes, **lists, "family": rule.family or rule.id})


def fill(expression: str) -> str:
    """An expression with each {name} replaced by the words of that class.

    Args:
        expression: as it stands in a rule.

    Raises:
        ValueError: no such class.
    """

    def words(match: re.Match[str]) -> str:
        if match[1] not in _classes():
            raise ValueError(f"no class {match[0]}; there are {', '.join(sorted(_classes()))} (classes.yaml)")
        return _classes()[match[1]]

    return _CLASS.sub(words, expression)


@cache
def _classes() -> Mapping[str, str]:
    try:
        classes: dict[str, str] = {}
        for name, words in YAML(typ="safe", pure=True).load(CLASSES.read_text(encoding="utf-8")).items():
            whole = words[0] if len(words) == 1 else f"(?:{'|'.join(map(str, words))})"
            classes[name] = _CLASS.sub(lambda match: classes[match[1]], whole)
        return classes
    except (OSError, YAMLError, AttributeError, TypeError, KeyError) as error:
        raise ParamsError(f"{CLASSES}: {error}; restore it with `git checkout`.") from None
