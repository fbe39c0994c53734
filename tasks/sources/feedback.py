"""The segments that the feedback flow leaves in data/feedback (docs/data-contract.md): served impressions and new behaviour."""

from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from core.columns import Columns
from core.errors import SourceError
from core.files import read_json
from core.lineage import Feedback
from tasks.sources.base import RawTables
from tasks.sources.reading import read_file

WATERMARK = "watermark.json"
SEGMENTED = ("events", "impressions")


@dataclass(frozen=True)
class Segments:
    """All segments of a folder.

    Attributes:
        tables: rows by table, none of a table without segments; user ids are pseudonyms.
        until: no row is later; None when there are no segments.
        facts: what source.json says about them.
    """

    tables: dict[str, pd.DataFrame]
    until: pd.Timestamp | None
    facts: Feedback


def read_feedback(folder: Path) -> Segments:
    """Read every segment, in the order of their names.

    Args:
        folder: data/feedback.

    Returns:
        The rows, marked as pseudonymous.

    Raises:
        SourceError: segments without a watermark, a watermark that lacks a key, or an unreadable segment.
    """
    files = {name: sorted(folder.glob(f"{name}-*.parquet")) for name in SEGMENTED}
    counted = sum(len(paths) for paths in files.values())
    if not counted:
        return Segments({}, None, Feedback(segments=0, events=0, impressions=0, user_key_fingerprint=None))
    mark = folder / WATERMARK
    if not mark.is_file():
        raise SourceError(
            f"{folder}: {counted} segments, but no {WATERMARK} that says whose key hashed them. Restore it, or move the segments away."
        )
    said = read_json(mark)
    absent = [key for key in ("until", "user_key_fingerprint") if not isinstance(said.get(key), str)]
    if absent:
        raise SourceError(f"{mark}: lacks {', '.join(absent)}. Let the feedback flow write it anew, or move the segments away.")
    tables = {name: pd.concat([read_file(path) for path in paths], ignore_index=True) for name, paths in files.items() if paths}
    tables = {name: frame.assign(**{Columns.PSEUDONYMOUS: True}) for name, frame in tables.items()}
    rows = {name: len(tables.get(name, ())) for name in SEGMENTED}
    facts = Feedback(
        segments=counted, events=rows["events"], impressions=rows["impressions"], user_key_fingerprint=said["user_key_fingerprint"]
    )
    return Segments(tables, pd.Timestamp(said["until"]), facts)


def with_feedback(raw: RawTables, segments: Segments) -> RawTables:
    """A source's rows, and behind them the feedback's.

    Args:
        raw: of the source.
        segments: see `read_feedback`.
    """
    tables = raw.tables
    for name, frame in segments.tables.items():
        before = tables[name]
        tables[name] = frame if before.empty else pd.concat([before.assign(**{Columns.PSEUDONYMOUS: False}), frame], ignore_index=True)
    return replace(raw, events=tables["events"], impressions=tables["impressions"])
