"""How the compliance list and its judge do on labelled sentences of another hand.

    python -m benchmarks.compliance [--sentences FILE.jsonl]

Each round of the package's sentences from 6 on is judged by what all other rounds taught, rounds 9, 25, 28 (long copy) and 37 by a
judge that never learns from them; the list alone stands beside. The list was mended by rounds 1 to 5 and has seen none of the later
ones. With `--sentences`, a file of your own (JSON lines: text, category, label `violation` or `fine`) is judged as the gate would.
Shares with 95 % Wilson intervals. Last line: one JSON object.
"""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from tqdm import tqdm

from evaluation.detection import Detection, detection, wilson
from evaluation.intervals import Interval
from models.generator.compliance import Compliance, labelled
from models.generator.compliance.judge import HELD_OUT, SENTENCES, Judge
from tasks.judge.compliance import LISTED

Row = Mapping[str, Any]


def main(arguments: Sequence[str] | None = None) -> int:
    """Judge, print.

    Args:
        arguments: of the command line; the process's own when None.
    """
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sentences", type=Path, help="labelled sentences of your own")
    options = parser.parse_args(arguments)
    rules = Compliance.load()
    told: dict[str, tuple[Detection, Detection]] = {}
    if options.sentences is not None:
        told[options.sentences.name] = found(rules, read(options.sentences), labelled().judge)
    else:
        rows = read(SENTENCES)
        rounds = sorted({row["round"] for row in rows if row["round"] > LISTED})
        for number in tqdm(rounds, unit="round", leave=False):
            judge = labelled().judge if number in HELD_OUT else Judge.learnt(labelled().learnt_from(without=number))
            name = f"round {number}" + (", never learnt from" if number in HELD_OUT else "")
            told[name] = found(rules, [row for row in rows if row["round"] == number], judge)
    table = Table(title="Compliance: share of violations found, share of findings that are violations, share of fine ones stopped")
    for column in ("", "sentences", "violations", "", "recall", "precision", "fine stopped"):
        table.add_column(column)
    for name, both in told.items():
        for who, counts in zip(("list and judge", "list alone"), both, strict=True):
            broken, fine = counts.found + counts.missed, counts.wronged + counts.passed
            shares = [shown(counts.recall), shown(counts.precision)] if broken else ["–", "–"]
            table.add_row(name, str(broken + fine), str(broken), who, *shares, shown(wilson(counts.wronged, fine)) if fine else "–")
    Console(width=150).print(table)
    print(json.dumps({name: {"judged": as_shares(one), "list": as_shares(other)} for name, (one, other) in told.items()}))
    return 0


def read(path: Path) -> list[Row]:
    """Labelled sentences.

    Args:
        path: JSON lines.
    """
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]


def found(rules: Compliance, rows: Sequence[Row], judge: Judge) -> tuple[Detection, Detection]:
    """What list and judge find together, and the list alone.

    Args:
        rules: the list.
        rows: labelled sentences.
        judge: speaks beside it.
    """
    labels = [row["label"] == "violation" for row in rows]
    lists = (replace(rules, judge=judge), replace(rules, judged=False))
    both, alone = (detection(labels, [bool(one.blocks(row["text"], row["category"])) for row in rows]) for one in lists)
    return both, alone


def shown(share: Interval) -> str:
    """A share with its interval.

    Args:
        share: see `wilson`.
    """
    return f"{share.value:.3f} [{share.low:.3f}, {share.high:.3f}]"


def as_shares(counts: Detection) -> dict[str, float | None]:
    """Recall, precision and the share of fine sentences that are stopped; None where there is nothing to count.

    Args:
        counts: of a part.
    """
    broken, fine, stopped = counts.found + counts.missed, counts.wronged + counts.passed, counts.found + counts.wronged
    return {
        "recall": round(counts.found / broken, 4) if broken else None,
        "precision": round(counts.found / stopped, 4) if broken and stopped else None,
        "fine_stopped": round(counts.wronged / fine, 4) if fine else None,
    }


if __name__ == "__main__":
    sys.exit(main())
