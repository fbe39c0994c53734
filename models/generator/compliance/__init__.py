"""The compliance list: what an ad text must not say, as rules with clause, scope, severity and a suggested rewrite."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator
from ruamel.yaml import YAML

from core.errors import ParamsError

RULES = Path(__file__).with_name("rules.yaml")
BLOCK, WARN = "block", "warn"


class Rule(BaseModel):
    """One rule of the list.

    Attributes:
        id: its name.
        clause: the clause that a text breaks which matches.
        severity: block or warn.
        patterns: regular expressions, any of which matches.
        exceptions: regular expressions; a match that one of them overlaps does not count.
        categories: regular expression of the categories it holds for; None: all.
        not_categories: regular expression of the categories it does not hold for; None: none.
        suggestion: what to write instead.
    """

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    id: str
    clause: str
    severity: str = Field(pattern=f"^({BLOCK}|{WARN})$")
    patterns: list[str] = Field(min_length=1)
    exceptions: list[str] = []
    categories: str | None = None
    not_categories: str | None = None
    suggestion: str

    @field_validator("patterns", "exceptions")
    @classmethod
    def _compiles(cls, value: list[str]) -> list[str]:
        for pattern in value:
            try:
                re.compile(pattern)
            except re.error as error:
                raise ValueError(f"{pattern!r} is no regular expression: {error}") from None
        return value

    def holds_for(self, category: str) -> bool:
        """Whether the rule covers a category.

        Args:
            category: the product's category.
        """
        if self.not_categories and re.search(self.not_categories, category):
            return False
        return self.categories is None or re.search(self.categories, category) is not None


@dataclass(frozen=True)
class Violation:
    """One place where a text breaks a rule.

    Attributes:
        rule: the rule's id.
        clause: the clause.
        severity: block or warn.
        found: the words that break it.
        start: where they begin in the text.
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
    """

    rules: tuple[Rule, ...]

    @classmethod
    def load(cls, path: Path = RULES) -> "Compliance":
        """Read a rules file.

        Args:
            path: YAML, a list of rules; the list of this package unless another is given.

        Raises:
            ParamsError: the file is missing, no YAML list, or a rule is ill-formed.
        """
        if not path.is_file():
            raise ParamsError(f"{path}: no such file; restore the list with `git checkout {path.name}`.")
        entries = YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8"))
        if not isinstance(entries, list) or not entries:
            raise ParamsError(f"{path}: a list of rules is needed.")
        try:
            rules = tuple(Rule.model_validate(entry) for entry in entries)
        except ValidationError as error:
            raise ParamsError(f"{path}: {error}") from None
        twice = sorted({rule.id for rule in rules if sum(other.id == rule.id for other in rules) > 1})
        if twice:
            raise ParamsError(f"{path}: rule ids stand twice: {', '.join(twice)}.")
        return cls(rules)

    def __post_init__(self) -> None:
        compiled = {rule.id: tuple(tuple(map(re.compile, found)) for found in (rule.patterns, rule.exceptions)) for rule in self.rules}
        object.__setattr__(self, "_compiled", compiled)
        object.__setattr__(self, "_by_category", {})

    def _rules_for(self, category: str) -> tuple[Rule, ...]:
        known: dict[str, tuple[Rule, ...]] = self._by_category  # type: ignore[attr-defined]
        if category not in known:
            known[category] = tuple(rule for rule in self.rules if rule.holds_for(category))
        return known[category]

    def check(self, text: str, category: str = "") -> list[Violation]:
        """Every place where a text breaks a rule.

        Args:
            text: the copy.
            category: the product's category; rules with a scope read it.

        Returns:
            Violations in the order of the rules, then of the text; empty when there is none.
        """
        found: list[Violation] = []
        for rule in self._rules_for(category):
            patterns, exceptions = self._compiled[rule.id]  # type: ignore[attr-defined]
            matching = [pattern for pattern in patterns if pattern.search(text)]
            if not matching:
                continue
            spared = [match.span() for pattern in exceptions for match in pattern.finditer(text)]
            hits = sorted({match.span() for pattern in matching for match in pattern.finditer(text)})
            for start, end in hits:
                if not any(a < end and start < b for a, b in spared):
                    found.append(Violation(rule.id, rule.clause, rule.severity, text[start:end], start, rule.suggestion))
        return found

    def blocks(self, text: str, category: str = "") -> list[Violation]:
        """The violations that keep a text from being shown.

        Args:
            text: the copy.
            category: the product's category.
        """
        return [violation for violation in self.check(text, category) if violation.severity == BLOCK]


def compliance_rate(texts: Sequence[str], categories: Sequence[str], compliance: Compliance) -> float:
    """Share of texts without a blocking violation.

    Args:
        texts: copies.
        categories: one a text.
        compliance: the list.
    """
    return sum(not compliance.blocks(text, category) for text, category in zip(texts, categories, strict=True)) / max(len(texts), 1)
