"""Raw tables in, clean tables out: every row ends in exactly one of clean and quarantine."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypedDict

import pandas as pd

from core.columns import Columns
from core.errors import SchemaError
from core.identity import check_fingerprint, fingerprint
from core.lineage import CollectedFacts, Has, LeftOut, Lineage
from core.params import PrepareParams
from core.schemas import check_clean, missing_columns
from core.tables import SOURCE_TABLES
from tasks.cleaning import rows as judge
from tasks.cleaning.rows import Rows
from tasks.cleaning.split import Split, split_by_time


class TableReport(TypedDict):
    """What became of one table's rows; `reasons` counts a row once for each of its reasons."""

    rows: int
    accepted: int
    refused: int
    set_aside: int
    reasons: dict[str, int]
    nulls: dict[str, int]


class DataReport(TypedDict):
    """`data_report.json` (docs/data-contract.md)."""

    source: str
    tables: dict[str, TableReport]
    users: int
    event_types: dict[str, int]
    first: str | None
    last: str | None
    splits: dict[str, dict[str, int]]
    late_conversions: int
    feedback: dict[str, int]
    missing: list[str]
    left_out: list[LeftOut]


@dataclass(frozen=True)
class Cleaned:
    """What `clean` makes of raw tables.

    Attributes:
        tables: clean tables by name, checked against the contract.
        quarantine: rows that are not in them, with reasons.
        report: counts.
        split: the two times.
    """

    tables: dict[str, pd.DataFrame]
    quarantine: pd.DataFrame
    report: DataReport
    split: Split


def clean(raw: Mapping[str, pd.DataFrame], facts: CollectedFacts, params: PrepareParams, key: bytes) -> Cleaned:
    """Judge every row of every table.

    Args:
        raw: the five tables by name.
        facts: `source.json`.
        params: shares, window, cap.
        key: user ids are hashed with it.

    Returns:
        Clean tables and quarantine. Too large a quarantine is not refused here: see `require_enough`.

    Raises:
        SchemaError: columns are missing (all named), no item is left, or times cannot be split.
        IdentityError: feedback was hashed with another key.
    """
    absent = missing_columns(dict(raw))
    if absent:
        raise SchemaError(
            f"missing columns: {', '.join(absent)}. "
            "Map them (docs/own-data.md), or mend the source; docs/data-contract.md says what they hold."
        )
    if facts["feedback"]["user_key_fingerprint"] is not None:
        check_fingerprint(facts["feedback"]["user_key_fingerprint"], key)
    until, window = pd.Timestamp(facts["collected_until"]), pd.Timedelta(days=params.conversion_window_days)
    tables = {name: judge.read_rows(name, raw[name].reset_index(drop=True)) for name in SOURCE_TABLES}
    items, events, copies, impressions = (tables[name] for name in ("items", "events", "copies", "impressions"))
    for shown in (events, impressions):
        judge.hide_users(shown, judge.pseudonyms_with(key))
    judge.judge_duplicates(items)
    known = items.columns[Columns.ITEM][items.accepted]
    judge.judge_events(events)
    for table in (events, copies, impressions):
        judge.judge_items(table, known)
    judge.judge_times(events, [Columns.TIMESTAMP], until)
    judge.judge_times(impressions, [Columns.TIMESTAMP], until)
    judge.judge_shown(impressions)
    campaigns = tables["campaigns"]
    campaigns.refuse(f"{Columns.END}: not after {Columns.START}", campaigns.columns[Columns.END] <= campaigns.columns[Columns.START])
    for table in (events, copies, impressions, campaigns):
        judge.judge_duplicates(table)
    judge.cap_events(events, params.max_events_per_user)
    if "feedback_until" in facts:
        _put_open_windows_aside(impressions, pd.Timestamp(facts["feedback_until"]), window)
    late = judge.late_conversions(impressions, window)
    if not items.accepted.any():
        raise SchemaError(
            f"items: none of {len(items.raw)} rows is accepted{_worst(items)}. Nothing can be advertised; mend the catalogue."
        )
    cleaned = {name: rows.clean() for name, rows in tables.items()}
    for name in ("events", "impressions"):
        cleaned[name] = cleaned[name].sort_values(Columns.TIMESTAMP, kind="stable", ignore_index=True)
    for name, frame in cleaned.items():
        check_clean(name, frame)
    split = split_by_time(
        [cleaned["events"][Columns.TIMESTAMP], cleaned["impressions"][Columns.TIMESTAMP]], params.validation_share, params.test_share
    )
    return Cleaned(cleaned, judge.quarantine_of(tables), _report(tables, cleaned, facts, split, late), split)


def _put_open_windows_aside(impressions: Rows, until: pd.Timestamp, window: pd.Timedelta) -> None:
    own = ~impressions.columns[Columns.PSEUDONYMOUS].fillna(False).astype(bool)  # feedback segments hold closed windows only
    still_open = own & (impressions.columns[Columns.TIMESTAMP] + window > until)
    impressions.put_aside(
        f"{Columns.CONVERSION}: its window of {window.days + window.seconds / 86400:g} days was still open when the data were collected",
        still_open,
    )


def _worst(rows: Rows) -> str:
    counts = sorted(((int(mask.sum()), reason) for reason, mask in rows.refused.items()), reverse=True)
    return "".join(f"; {count} × {reason}" for count, reason in counts[:3])


def _report(tables: Mapping[str, Rows], cleaned: Mapping[str, pd.DataFrame], facts: CollectedFacts, split: Split, late: int) -> DataReport:
    events, impressions = cleaned["events"], cleaned["impressions"]
    times = pd.concat([events[Columns.TIMESTAMP], impressions[Columns.TIMESTAMP]])
    users = pd.concat([events[Columns.USER], impressions[Columns.USER]])
    report: dict[str, TableReport] = {}
    for name, rows in tables.items():
        kept, read = int(rows.accepted.sum()), len(rows.raw)
        sound = len(rows.raw) - int(rows.broken.sum())
        reasons = {reason: int(mask.sum()) for reason, mask in (*rows.refused.items(), *rows.set_aside.items())}
        nulls = {str(column): int(count) for column, count in cleaned[name].isna().sum().items() if count}
        report[name] = TableReport(rows=read, accepted=kept, refused=read - sound, set_aside=sound - kept, reasons=reasons, nulls=nulls)
    return DataReport(
        source=facts["source"],
        tables=report,
        users=int(users.nunique()),
        event_types={str(kind): int(count) for kind, count in events[Columns.EVENT_TYPE].value_counts().items()},
        first=times.min().isoformat() if len(times) else None,
        last=times.max().isoformat() if len(times) else None,
        splits={"events": split.counts(events[Columns.TIMESTAMP]), "impressions": split.counts(impressions[Columns.TIMESTAMP])},
        late_conversions=late,
        feedback={name: facts["feedback"][name] for name in ("segments", "events", "impressions")},
        missing=facts["missing"],
        left_out=facts["left_out"],
    )


def too_much_refused(report: DataReport, limit: float) -> list[str]:
    """Tables of which too large a share was refused (rows that were set aside do not count).

    Args:
        report: see `clean`.
        limit: `prepare.max_quarantine_share`.

    Returns:
        One sentence a table.
    """
    found = []
    for name, table in report["tables"].items():
        if table["rows"] and table["refused"] > limit * table["rows"]:
            worst = sorted(table["reasons"].items(), key=lambda pair: (-pair[1], pair[0]))[:3]
            why = "; ".join(f"{count} × {reason}" for reason, count in worst)
            share = f"{table['refused'] / table['rows']:.1%}, at most {limit:.1%}"
            found.append(f"{name}: {table['refused']} of {table['rows']} rows refused ({share}): {why}")
    return found


def require_enough(report: DataReport, limit: float) -> None:
    """Stop when too much was refused to go on.

    Args:
        report: see `clean`.
        limit: `prepare.max_quarantine_share`.

    Raises:
        SchemaError: names every such table, its counts and reasons.
    """
    found = too_much_refused(report, limit)
    if found:
        lines = "\n".join(f"  {line}" for line in found)
        raise SchemaError(
            f"too many rows break the data contract:\n{lines}\n"
            "Look at them with `adloom check-data`, mend the source or its mapping, or raise prepare.max_quarantine_share."
        )


def lineage_of(cleaned: Cleaned, facts: CollectedFacts, key: bytes, data_version: str) -> Lineage:
    """What the later stages are told about the data.

    Args:
        cleaned: see `clean`.
        facts: `source.json`.
        key: the user key; only its fingerprint is kept.
        data_version: SHA-256 of the clean tables.
    """
    filled: dict[str, bool] = {name: bool(len(frame)) for name, frame in cleaned.tables.items()}
    emptied = [name for name in SOURCE_TABLES if not filled[name] and cleaned.report["tables"][name]["rows"]]
    return Lineage(
        source=facts["source"],
        synthetic=facts["synthetic"],
        has=Has(copies=filled["copies"], impressions=filled["impressions"], campaigns=filled["campaigns"], truth=facts["has"]["truth"]),
        missing=[*facts["missing"], *(f"{name}: every row went to quarantine" for name in emptied)],
        user_key_fingerprint=fingerprint(key),
        train_end=cleaned.split.train_end.isoformat(),
        validation_end=cleaned.split.validation_end.isoformat(),
        end=cleaned.split.end.isoformat(),
        data_version=data_version,
    )
