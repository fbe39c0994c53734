"""How well a yes-or-no check finds what it is for: recall and precision with Wilson intervals."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt

from evaluation.intervals import Interval

_Z = 1.959964


@dataclass(frozen=True)
class Detection:
    """Counts of a check on labelled rows.

    Attributes:
        found: rows that break a rule and are found.
        missed: rows that break a rule and are not found.
        wronged: rows that break none and are found.
        passed: rows that break none and are not found.
    """

    found: int
    missed: int
    wronged: int
    passed: int

    @property
    def recall(self) -> Interval:
        """Share of the rows that break a rule which are found."""
        return wilson(self.found, self.found + self.missed)

    @property
    def precision(self) -> Interval:
        """Share of the rows found which break a rule. It depends on how many rows of each kind there are."""
        return wilson(self.found, self.found + self.wronged)


def detection(labels: Sequence[bool], verdicts: Sequence[bool]) -> Detection:
    """Count.

    Args:
        labels: (n,) whether a row breaks a rule.
        verdicts: (n,) whether the check says so.

    Raises:
        ValueError: lengths that differ.
    """
    pairs = list(zip(labels, verdicts, strict=True))
    return Detection(*(pairs.count(pair) for pair in ((True, True), (True, False), (False, True), (False, False))))


def wilson(successes: int, n: int) -> Interval:
    """A share with its 95 % Wilson interval.

    Args:
        successes: from 0 to n.
        n: trials, at least 1.

    Raises:
        ValueError: n below 1, or successes outside 0 to n.

    Source:
        Wilson, E. B. (1927). Probable inference, the law of succession, and statistical inference.
        (p + z²/2n ± z √(p(1 − p)/n + z²/4n²)) / (1 + z²/n), z = 1.96.
    """
    if n < 1 or not 0 <= successes <= n:
        raise ValueError(f"{successes} of {n} is no share; at least one trial is needed, and 0 to n successes")
    share = successes / n
    middle = (share + _Z**2 / (2 * n)) / (1 + _Z**2 / n)
    reach = _Z * sqrt(share * (1 - share) / n + _Z**2 / (4 * n**2)) / (1 + _Z**2 / n)
    return Interval(share, max(0.0, middle - reach), min(1.0, middle + reach))
