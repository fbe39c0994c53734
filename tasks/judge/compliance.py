"""How well the compliance list finds what it is for: recall and precision on the labelled sentences, for the copy report."""

import json
from collections.abc import Callable
from dataclasses import dataclass

from evaluation.detection import Detection, detection
from models.generator.compliance import Compliance
from models.generator.compliance.judge import HELD_OUT, SENTENCES

LISTED = 5
"""The last round that the list was mended by; later ones teach the judge."""


@dataclass(frozen=True)
class Quality:
    """The list on one part of the labelled sentences.

    Attributes:
        part: which sentences, such as `round 3, learnt from`; of these the figures say how well they were learnt, of `never learnt from`
            how the list and its judge do on sentences of another hand. Disguised ones of all parts come last.
        sentences: how many.
        violations: how many of them break a rule.
        counts: found, missed, wronged and passed; `counts.recall` and `counts.precision` are shares with 95 % Wilson intervals.
    """

    part: str
    sentences: int
    violations: int
    counts: Detection


def compliance_quality(compliance: Compliance | None = None) -> list[Quality]:
    """Recall and precision of a list and its judge, by round, on all of these sentences, and on the disguised ones.

    The rounds that the list was mended by, and those that are never learnt from; those that were written to teach the judge say nothing.

    Sentences of a round were committed before anything was changed for them; later changes have seen those of earlier rounds.

    Args:
        compliance: the list; None: the one of this package.
    """
    rules = compliance or Compliance.load()
    every = [json.loads(line) for line in SENTENCES.read_text(encoding="utf-8").splitlines() if line]
    rows = [row for row in every if row["round"] <= LISTED or row["round"] in HELD_OUT]
    verdicts = [bool(rules.blocks(row["text"], row["category"])) for row in rows]

    def of(part: str, wanted: Callable[[dict[str, object]], bool]) -> Quality:
        pairs = [(row["label"] == "violation", verdict) for row, verdict in zip(rows, verdicts, strict=True) if wanted(row)]
        labels = [label for label, _ in pairs]
        return Quality(part, len(pairs), sum(labels), detection(labels, [verdict for _, verdict in pairs]))

    def name(row: dict[str, object]) -> str:
        return f"round {row['round']:>2}, {'never ' if row['round'] in HELD_OUT else ''}learnt from"

    return [
        *(of(part, lambda row, part=part: name(row) == part) for part in sorted(set(map(name, rows)))),  # type: ignore[misc]
        of("all", lambda row: True),
        of("disguised", lambda row: row["kind"] != "plain"),
    ]
