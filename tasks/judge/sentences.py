"""The compliance list on sentences that were labelled by hand."""

import json

from evaluation.detection import Detection, detection
from models.generator.compliance import RULES, Compliance

SENTENCES = RULES.with_name("sentences.jsonl")


def labelled_detections(compliance: Compliance) -> dict[str, Detection]:
    """Counts by round and half of the set, and of the violations by kind of disguise.

    Args:
        compliance: the list.

    Returns:
        Group → counts; a kind of disguise has no fine sentences, so that its precision says nothing.
    """
    rows = [json.loads(line) for line in SENTENCES.read_text(encoding="utf-8").splitlines() if line]
    found: dict[str, tuple[list[bool], list[bool]]] = {}
    for row in rows:
        violation, stopped = row["label"] == "violation", bool(compliance.blocks(row["text"], row["category"]))
        kinds = [f"violations, {row['kind']}"] if violation else []
        for name in (f"round {row.get('round', 1)}, {row['half'].replace('_', ' ')} half", *kinds):
            labels, verdicts = found.setdefault(name, ([], []))
            labels.append(violation)
            verdicts.append(stopped)
    return {name: detection(*found[name]) for name in sorted(found)}
