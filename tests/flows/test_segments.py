"""What serving logged comes into data/feedback exactly once, whenever the flow is killed."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pandas as pd
import pytest

import flows.segments
from core.columns import Columns
from core.errors import IdentityError
from core.files import read_json
from core.schemas import empty_table
from flows.segments import WATERMARK, take
from serving.export import Exported
from tasks.sources.feedback import read_feedback

WINDOW = timedelta(days=3)


class Log:
    """What serving has: events numbered from 1."""

    def __init__(self) -> None:
        self.events: list[str] = []
        self.key = "0123abcd"

    def new_events(self, database: Path, after: int = 0) -> Exported:
        frame = empty_table("events")
        for number, name in enumerate(self.events[after:], start=after):
            frame.loc[len(frame)] = {
                Columns.EVENT: name, Columns.USER: "u" * 32, Columns.ITEM: "i1", Columns.EVENT_TYPE: "view", Columns.VALUE: 0,
                Columns.CHANNEL: "onsite", Columns.TIMESTAMP: pd.Timestamp("2026-11-01", tz="UTC") + timedelta(minutes=number),
                Columns.QUERY: None, Columns.BASKET: None,
            }  # fmt: skip
        return Exported(frame.astype(empty_table("events").dtypes.to_dict()), len(self.events), self.key)

    def closed_impressions(self, database: Path, until: datetime, *, window: timedelta, after: int = 0) -> Exported:
        return Exported(empty_table("impressions"), after, self.key)


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> Iterator[Log]:
    made = Log()
    monkeypatch.setattr(flows.segments, "new_events", made.new_events)
    monkeypatch.setattr(flows.segments, "closed_impressions", made.closed_impressions)
    monkeypatch.setattr(flows.segments, "service_now", lambda database: datetime(2026, 11, 9, tzinfo=UTC))
    return made


def names(folder: Path) -> list[str]:
    segments = read_feedback(folder)
    return sorted(segments.tables["events"][Columns.EVENT]) if "events" in segments.tables else []


def test_each_row_comes_once_and_segments_never_change(log: Log, tmp_path: Path) -> None:
    log.events = ["e1", "e2"]
    assert take(tmp_path / "x", tmp_path, window=WINDOW).events == 2
    first = {path.name: path.read_bytes() for path in tmp_path.glob("*.parquet")}
    assert take(tmp_path / "x", tmp_path, window=WINDOW).segments == ()
    log.events.append("e3")
    assert take(tmp_path / "x", tmp_path, window=WINDOW).events == 1
    assert names(tmp_path) == ["e1", "e2", "e3"]
    assert all((tmp_path / name).read_bytes() == content for name, content in first.items())
    assert read_json(tmp_path / WATERMARK)["until"] == "2026-11-01T00:02:00+00:00"


@pytest.mark.parametrize("when", ["before the watermark", "after the watermark"])
def test_a_killed_run_is_completed_or_forgotten_but_never_doubled(
    log: Log, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    log.events = ["e1", "e2"]

    def killed(*arguments: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        if when == "before the watermark":
            patch.setattr(flows.segments, "write_json", killed)
        else:
            finish, calls = flows.segments._finish, []

            def second(folder: Path, mark: dict[str, object]) -> None:
                calls.append(1)
                killed() if len(calls) == 2 else finish(folder, mark)

            patch.setattr(flows.segments, "_finish", second)
        with pytest.raises(KeyboardInterrupt):
            take(tmp_path / "x", tmp_path, window=WINDOW)
    assert names(tmp_path) == [], "nothing half-taken is ever read"
    log.events.append("e3")
    take(tmp_path / "x", tmp_path, window=WINDOW)
    assert names(tmp_path) == ["e1", "e2", "e3"]
    assert not list(tmp_path.glob(".*.ready"))


def test_rows_of_another_key_are_refused(log: Log, tmp_path: Path) -> None:
    log.events = ["e1"]
    take(tmp_path / "x", tmp_path, window=WINDOW)
    log.key, log.events = "ffff0000", ["e1", "e2"]
    with pytest.raises(IdentityError, match=r"0123abcd.*ffff0000"):
        take(tmp_path / "x", tmp_path, window=WINDOW)


def test_a_service_that_never_ran_gives_nothing(tmp_path: Path) -> None:
    assert take(tmp_path / "none.sqlite", tmp_path, window=WINDOW).segments == ()
    assert not (tmp_path / WATERMARK).exists()
