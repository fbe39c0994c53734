"""A gate, and the verdict over all gates of one challenger; as promotion.json and the ledger hold them."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from evaluation.intervals import Interval


@dataclass(frozen=True)
class Gate:
    """One condition.

    Attributes:
        name: what it asks.
        passed: whether it holds.
        reason: the finding in words, with value and limit; without clock times or durations.
        difference: challenger minus champion (or baseline) on the main metric, positive when the challenger is better.
        against: what the difference is to.
    """

    name: str
    passed: bool
    reason: str
    difference: Interval | None = None
    against: str = ""

    def as_dict(self) -> dict[str, Any]:
        """As promotion.json holds it."""
        compared = {"difference": self.difference.as_dict(), "against": self.against} if self.difference is not None else {}
        return {"gate": self.name, "passed": self.passed, "reason": self.reason, **compared}


@dataclass(frozen=True)
class Verdict:
    """All gates of one challenger.

    Attributes:
        kind: recommender, generator, ranker or pool.
        bundle_hash: the challenger's files.
        champion_hash: the champion's files that it was compared with; None when there was no champion.
        gates: every gate, also those after a failed one.
        notes: what else a person should know.
    """

    kind: str
    bundle_hash: str
    champion_hash: str | None
    gates: tuple[Gate, ...]
    notes: Sequence[str] = field(default=())

    @property
    def passed(self) -> bool:
        """Whether the champion moves."""
        return all(gate.passed for gate in self.gates)

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why: the failed gates when one failed, else the comparison on the main metric, and the notes."""
        told = [gate.reason for gate in self.gates if not gate.passed]
        told = told or [gate.reason for gate in self.gates if gate.difference is not None]
        return (*(told or [gate.reason for gate in self.gates][:1]), *self.notes)

    def as_dict(self) -> dict[str, Any]:
        """As promotion.json holds it."""
        return {
            "bundle_hash": self.bundle_hash,
            "champion_before": self.champion_hash,
            "verdict": "promoted" if self.passed else "refused",
            "reasons": list(self.reasons),
            "gates": [gate.as_dict() for gate in self.gates],
        }


def difference_gate(difference: Interval, *, metric: str, against: str) -> Gate:
    """The gate on the main metric: the lower end of the difference's 95 % interval is not below 0.

    Args:
        difference: challenger minus the other, positive when the challenger is better.
        metric: the main metric's name.
        against: what it is compared with.
    """
    told = f"{metric} against {against}: {difference.value:+.4g} [{difference.low:+.4g}, {difference.high:+.4g}]"
    passed = difference.low >= 0
    return Gate("main metric", passed, told if passed else f"{told}; the lower end must not be below 0", difference, against)
