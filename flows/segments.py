"""What serving logged, taken into data/feedback exactly once: immutable content-named segments and a watermark.

A segment is written under a hidden name, then the watermark names it, then it gets its visible name. A run that is killed
before the watermark leaves nothing that anyone reads; one killed after it is completed by the next run.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pandas as pd

from core.columns import Columns
from core.errors import IdentityError
from core.files import read_json, write_json, write_table
from serving.export import Exported, Log, closed_impressions, log_id, new_events, service_now

WATERMARK = "watermark.json"


@dataclass(frozen=True)
class Taken:
    """What one run took.

    Attributes:
        impressions: rows of closed windows.
        events: rows of behaviour.
        left_out: decisions that cannot be learned from (anonymous shoppers with a history).
        segments: names of the new segments.
    """

    impressions: int
    events: int
    left_out: int
    segments: tuple[str, ...]


def take(database: Log, folder: Path, *, window: timedelta) -> Taken:
    """Take over what is new since the watermark.

    Args:
        database: the service's log; another one than last time is read from its beginning.
        folder: data/feedback.
        window: how long after an impression its feedback counts.

    Returns:
        What was taken; nothing when nothing was new.

    Raises:
        IdentityError: the service hashes users with another key than the segments.
        ServiceError: the database cannot be read.
    """
    mark = _turned(_mark(folder), log_id(database))
    _finish(folder, mark)
    impressions = closed_impressions(database, service_now(database), window=window, after=mark["impressions_after"])
    events = new_events(database, after=mark["events_after"])
    key = impressions.key_fingerprint or events.key_fingerprint
    if mark["user_key_fingerprint"] is not None and key is not None and key != mark["user_key_fingerprint"]:
        raise IdentityError(
            f"{folder}: its segments were hashed with key {mark['user_key_fingerprint']}, the service uses key {key}. "
            "Set the old key again, or move the segments away."
        )
    exported = {"impressions": impressions, "events": events}
    if all(found.watermark == mark[f"{name}_after"] for name, found in exported.items()):
        return Taken(0, 0, 0, ())
    new = {name: _hide(folder, name, found.rows) for name, found in exported.items() if len(found.rows)}
    write_json(_moved(mark, exported, new, key), folder / WATERMARK)
    _finish(folder, _mark(folder))
    return Taken(len(impressions.rows), len(events.rows), impressions.left_out, tuple(new.values()))


def _mark(folder: Path) -> dict[str, Any]:
    empty: dict[str, Any] = {"impressions_after": 0, "events_after": 0, "until": None, "user_key_fingerprint": None, "segments": []}
    empty |= {"log": None, "logs": {}}
    return empty | (read_json(folder / WATERMARK) if (folder / WATERMARK).exists() else {})


def _turned(mark: Mapping[str, Any], log: str | None) -> dict[str, Any]:
    """The mark, with row numbers of this log: those of one log mean nothing in another, and are kept for its return."""
    if log is None or mark["log"] in (None, log):
        return {**mark, "log": log or mark["log"]}
    kept = {**mark["logs"], mark["log"]: [mark["impressions_after"], mark["events_after"]]}
    impressions, events = kept.pop(log, [0, 0])
    return {**mark, "log": log, "logs": kept, "impressions_after": impressions, "events_after": events}


def _moved(mark: Mapping[str, Any], exported: Mapping[str, Exported], new: Mapping[str, str], key: str | None) -> dict[str, Any]:
    times = [found.rows[Columns.TIMESTAMP].max() for found in exported.values() if len(found.rows)]
    times += [pd.Timestamp(mark["until"])] if mark["until"] else []
    return {
        **{f"{name}_after": found.watermark for name, found in exported.items()},
        "until": max(times).isoformat() if times else None,
        "user_key_fingerprint": mark["user_key_fingerprint"] or key,
        "log": mark["log"],
        "logs": mark["logs"],
        "segments": [*mark["segments"], *new.values()],
    }


def _hide(folder: Path, table: str, rows: pd.DataFrame) -> str:
    draft = folder / f".{table}.new"
    write_table(rows, draft)
    with draft.open("rb") as handle:
        name = f"{table}-{hashlib.file_digest(handle, 'sha256').hexdigest()[:16]}.parquet"
    draft.replace(folder / f".{name}.ready")
    return name


def _finish(folder: Path, mark: Mapping[str, Any]) -> None:
    """Show the segments that the watermark names, and drop hidden ones that it does not."""
    for hidden in folder.glob(".*.ready"):
        name = hidden.name.removeprefix(".").removesuffix(".ready")
        if name in mark["segments"]:
            hidden.replace(folder / name)
        else:
            hidden.unlink()
