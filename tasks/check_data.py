"""`adloom check-data`: what collect and prepare would accept and what not, before anything runs; nothing is written."""

import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from core.columns import Columns
from core.errors import AdloomError, IdentityError
from core.identity import user_key
from core.lineage import CollectedFacts
from core.params import Params
from core.stage import path_of
from tasks.cleaning.clean import Cleaned, DataReport, clean, too_much_refused
from tasks.collect import gather

EXAMPLES = 2
EARLY = pd.Timestamp("2000-01-01", tz="UTC")
_RECORD_WIDTH = 160


@dataclass(frozen=True)
class Example:
    """A refused row.

    Attributes:
        table: where it stands.
        row: its place in the raw table, 0-based.
        reason: all its reasons.
        record: the row as found, user id hidden, as JSON.
    """

    table: str
    row: int
    reason: str
    record: str


@dataclass(frozen=True)
class DataCheck:
    """The answer of `check_data`.

    Attributes:
        source: `collect.source`.
        report: counts, or None when the data could not even be read.
        examples: refused and set-aside rows, a few for each reason.
        splits: the two times in words, or None.
        problems: why the loop could not run; empty when it could.
        limits: what the loop would have to do without.
        remarks: what is odd about the data and yet accepted.
    """

    source: str
    report: DataReport | None
    examples: tuple[Example, ...]
    splits: str | None
    problems: tuple[str, ...]
    limits: tuple[str, ...]
    remarks: tuple[str, ...]

    @property
    def could_run(self) -> bool:
        """Whether the loop could run on these data."""
        return not self.problems

    def render(self) -> str:
        """The answer as plain text, one fact a line."""
        lines = [f"source: {self.source}"]
        if self.report is not None:
            lines += _counts(self.report)
            lines += [f"split: {self.splits}"] if self.splits else []
        if self.examples:
            lines += ["", "rows that would go to quarantine (row 1 is a table's first row of data; several files count on):"]
            lines += [f"  {one.table} row {one.row + 1}: {one.reason}\n    {_short(one)}" for one in self.examples]
        if self.limits:
            lines += ["", "the loop would do without:", *(f"  - {limit}" for limit in self.limits)]
        if self.remarks:
            lines += ["", "accepted, but worth a look:", *(f"  - {remark}" for remark in self.remarks)]
        verdict = "the loop could run on these data." if self.could_run else "the loop could NOT run on these data:"
        return "\n".join([*lines, "", verdict, *(f"  - {problem}" for problem in self.problems)])


def check_data(params: Params, *, feedback: Path | None = None, own: Path | None = None) -> DataCheck:
    """Read the source and judge every row, as collect and prepare would, without writing anything.

    Args:
        params: params.yaml.
        feedback: the folder of fed-back segments; dvc.yaml's when None.
        own: the folder of the user's own data; dvc.yaml's when None.

    Returns:
        Counts, reasons, example rows and the verdict. Errors that would stop collect or prepare are problems of the answer, not raised.
    """
    try:
        folders = {"feedback": feedback or path_of("feedback"), "own": own or path_of("own")}
        raw, _, facts = gather(params.collect, params.market, **folders)
        key, problems = _key_or_problem(facts)
        cleaned = clean(raw.tables, facts, params.prepare, key)
    except AdloomError as error:
        return DataCheck(params.collect.source, None, (), None, (f"{type(error).__name__}: {error}",), (), ())
    report = cleaned.report
    problems += too_much_refused(report, params.prepare.max_quarantine_share)
    if report["tables"]["events"]["accepted"] == 0:
        problems.append(
            "events: none, so that no recommender can be trained. Build the market on this catalogue (market.catalogue), or add a log."
        )
    said = [f"{entry['rows']} rows left out: {entry['what']}" for entry in facts["left_out"]]
    return DataCheck(
        params.collect.source,
        report,
        tuple(_examples(cleaned.quarantine)),
        _split_words(cleaned),
        tuple(problems),
        (*facts["missing"], *said),
        tuple(_early(cleaned.tables) if params.collect.source == "files" else ()),
    )


def _early(tables: Mapping[str, pd.DataFrame]) -> list[str]:
    """Tables with rows from before shops were on line; public data sets, whose units are known, may have some."""
    found = []
    for name in ("events", "impressions"):
        times = tables[name][Columns.TIMESTAMP]
        early = int((times < EARLY).sum())
        if early:
            found.append(
                f"{name}: {early} of {len(times)} lie before {EARLY:%Y-%m-%d} (the first: {times.min().isoformat()}). Look at `time_unit` "
                "in the mapping: seconds that are read as ms fall into January 1970 (docs/own-data.md)."
            )
    return found


def _key_or_problem(facts: CollectedFacts) -> tuple[bytes, list[str]]:
    """The user key; where there is none, a random one for this look only, and the problem in words."""
    try:
        return user_key(synthetic=facts["synthetic"]), []
    except IdentityError as error:
        if facts["feedback"]["segments"]:
            raise
        return secrets.token_bytes(32), [str(error)]


def _examples(quarantine: pd.DataFrame) -> list[Example]:
    first = quarantine.groupby([Columns.TABLE, Columns.REASON], sort=False).head(EXAMPLES)
    return [
        Example(str(row[Columns.TABLE]), int(row[Columns.ROW]), str(row[Columns.REASON]), str(row[Columns.RECORD]))
        for row in first.sort_values([Columns.TABLE, Columns.REASON, Columns.ROW]).to_dict("records")
    ]


def _split_words(cleaned: Cleaned) -> str | None:
    split = cleaned.split
    if cleaned.report["first"] is None:
        return None
    parts = [f"{name} {counts['train']} / {counts['validation']} / {counts['test']}" for name, counts in cleaned.report["splits"].items()]
    return (
        f"training until {split.train_end:%Y-%m-%d %H:%M}, validation until {split.validation_end:%Y-%m-%d %H:%M}, then test; "
        + ", ".join(parts)
    )


def _counts(report: DataReport) -> list[str]:
    lines = ["", f"{'table':<12}{'rows':>10}{'accepted':>10}{'refused':>10}{'set aside':>11}"]
    for name, table in report["tables"].items():
        lines.append(f"{name:<12}{table['rows']:>10}{table['accepted']:>10}{table['refused']:>10}{table['set_aside']:>11}")
        lines += [f"    {count:>8} × {reason}" for reason, count in sorted(table["reasons"].items(), key=lambda pair: (-pair[1], pair[0]))]
    kinds = ", ".join(f"{count} {kind}" for kind, count in report["event_types"].items())
    lines += ["", f"users: {report['users']}", f"events: {kinds or 'none'}", f"time: {report['first'] or '-'} to {report['last'] or '-'}"]
    return lines + ([f"late conversions taken back: {report['late_conversions']}"] if report["late_conversions"] else [])


def _short(example: Example) -> str:
    """The record in one line, the cells that the reason speaks of first, so that they are not cut off."""
    values = {name: value for name, value in json.loads(example.record).items() if value is not None}
    spoken = [name for name in values if f"; {name}: " in f"; {example.reason}"]
    text = json.dumps({name: values[name] for name in (*spoken, *(name for name in values if name not in spoken))}, ensure_ascii=False)
    return text if len(text) <= _RECORD_WIDTH else text[: _RECORD_WIDTH - 1] + "…"
