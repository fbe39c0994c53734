"""How well the compliance list finds what it is for: recall and precision on the labelled sentences, for the copy report."""

import json
from collections.abc import Callable
from dataclasses import dataclass

from evaluation.detection import Detection, detection
from models.generator.compliance import SENTENCES, Compliance


@dataclass(frozen=True)
class Quality:
    """The list on one part of the labelled sentences.

    Attributes:
        part: which sentences, such as `round 3, held_out`; disguised ones of all parts come last.
        sentences: how many.
        violations: how many of them break a rule.
        counts: found, missed, wronged and passed; `counts.recall` and `counts.precision` are shares with 95 % Wilson intervals.
    """

    part: str
    sentences: int
    violations: int
    counts: Detection


def compliance_quality(compliance: Compliance | None = None) -> list[Quality]:
    """Recall and precision of a list on every part of the labelled sentences, on all of them, and on the disguised ones.

    Sentences of a round were committed before the rules were changed for them; later changes have seen those of earlier rounds.

    Args:
        compliance: the list; None: the one of this package.
    """
    rules = compliance or Compliance.load()
    rows = [json.loads(line) for line in SENTENCES.read_text(encoding="utf-8").splitlines() if line]
    verdicts = [bool(rules.blocks(row["text"], row["category"])) for row in rows]

    def of(part: str, wanted: Callable[[dict[str, object]], bool]) -> Quality:
        pairs = [(row["label"] == "violation", verdict) for row, verdict in zip(rows, verdicts, strict=True) if wanted(row)]
        labels = [label for label, _ in pairs]
        return Quality(part, len(pairs), sum(labels), detection(labels, [verdict for _, verdict in pairs]))

    parts = sorted({(row["round"], row["half"]) for row in rows})
    return [
        *(of(f"round {number}, {half}", lambda row, key=(number, half): (row["round"], row["half"]) == key) for number, half in parts),  # type: ignore[misc]
        of("all", lambda row: True),
        of("disguised", lambda row: row["kind"] != "plain"),
    ]
