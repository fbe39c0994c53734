"""The two stages on files: what they write, what they leave standing when they fail, and feedback."""

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from raw_samples import KEY, PREPARE, cleaned, raw_tables

import core.files
from core.errors import IdentityError, SourceError, StorageError
from core.files import content_hash, read_json, read_table
from core.identity import fingerprint, pseudonymise
from core.params import CollectParams, MarketParams, load_params
from core.schemas import arrow_schema, check_clean
from core.tables import SOURCE_TABLES
from tasks.check_data import check_data
from tasks.collect import collect, keep_users
from tasks.prepare import prepare
from tasks.report.build import data_chapter
from tasks.sources.base import RawTables

ROOT = Path(__file__).parents[2]
MARKET = load_params(ROOT / "params.yaml").market
MAPPING = """
collected_until: 2026-12-01
items: {path: items.csv, columns: {item_id: id, title: name}, constants: {category: all}}
events: {path: log.csv, columns: {user_id: u, item_id: i, event_type: what, timestamp: t}}
"""


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ADLOOM_USER_KEY", KEY.decode())


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    own, feedback = tmp_path / "own", tmp_path / "feedback"
    own.mkdir()
    feedback.mkdir()
    (own / "mapping.yaml").write_text(MAPPING)
    (own / "items.csv").write_text("id,name\n1,shoe\n2,bag\n")
    rows = [f"user{row % 5},{row % 2 + 1},view,2026-09-01T{row:02d}:00:00Z" for row in range(20)]
    (own / "log.csv").write_text("\n".join(["u,i,what,t", *rows, "user1,9,view,2026-09-02"]) + "\n")
    return tmp_path


def run_collect(root: Path, *, market: MarketParams = MARKET, **changes: Any) -> None:
    params = CollectParams(source="files", path=None, mapping=None, max_users=None).model_copy(update=changes)
    raw = {f"raw_{name}": root / f"raw_{name}.parquet" for name in SOURCE_TABLES}
    collect(params, market, feedback=root / "feedback", own=root / "own", source=root / "source.json", truth=root / "truth", **raw)


def run_prepare(root: Path) -> None:
    raw = {f"raw_{name}": root / f"raw_{name}.parquet" for name in SOURCE_TABLES}
    clean = {name: root / f"{name}.parquet" for name in (*SOURCE_TABLES, "quarantine")}
    prepare(PREPARE, source=root / "source.json", lineage=root / "lineage.json", data_report=root / "data_report.json", **raw, **clean)


def contents(root: Path) -> dict[str, str]:
    return {path.name: content_hash(path) for path in sorted(root.iterdir()) if path.is_file()}


def test_own_files_become_clean_tables_with_lineage_and_report(shop: Path) -> None:
    run_collect(shop)
    run_prepare(shop)
    for name in (*SOURCE_TABLES, "quarantine"):
        check_clean(name, read_table(shop / f"{name}.parquet"))
    lineage, report = read_json(shop / "lineage.json"), read_json(shop / "data_report.json")
    assert lineage["has"] == {"copies": False, "impressions": False, "campaigns": False, "truth": False}
    assert lineage["user_key_fingerprint"] == fingerprint(KEY)
    assert (shop / "truth" / "none.json").is_file()
    counts = report["tables"]["events"]
    assert [counts[name] for name in ("rows", "accepted", "refused", "set_aside")] == [21, 20, 1, 0]
    assert counts["reasons"] == {"item_id: unknown item": 1}
    assert counts["nulls"] == {"query": 20, "basket_id": 20}
    assert sum(report["splits"]["events"].values()) == 20
    assert lineage["train_end"] < lineage["validation_end"] < lineage["end"]


def test_the_report_page_counts_the_rows_as_prepare_wrote_them(shop: Path) -> None:
    run_collect(shop)
    run_prepare(shop)
    chapter = data_chapter(read_json(shop / "data_report.json"), read_table(shop / "quarantine.parquet"), 0)
    counts, reasons = chapter.tables
    assert counts.head == ("table", "rows read", "rows kept", "refused", "set aside")
    assert ("events", "21", "20", "1", "0") in counts.rows
    assert ("items", "2", "2", "0", "0") in counts.rows
    assert reasons.rows == (("events", "item_id: unknown item", "1"),)


def test_equal_data_give_equal_bytes(shop: Path) -> None:
    run_collect(shop)
    run_prepare(shop)
    before = contents(shop)
    run_collect(shop)
    run_prepare(shop)
    assert contents(shop) == before


def test_real_users_without_a_key_are_refused(shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run_collect(shop)
    monkeypatch.delenv("ADLOOM_USER_KEY")
    with pytest.raises(IdentityError, match="ADLOOM_USER_KEY"):
        run_prepare(shop)
    assert not (shop / "events.parquet").exists()


def test_a_full_disk_leaves_what_stood_before(shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run_collect(shop)
    run_prepare(shop)
    before = contents(shop)
    (shop / "own" / "items.csv").write_text("id,name\n1,other\n2,bag\n")

    def full(frame: pd.DataFrame, path: Path, **_: object) -> None:
        path.write_bytes(b"half a file")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(core.files.pd.DataFrame, "to_parquet", full)
    with pytest.raises(StorageError, match=r"cannot be written: no space is left on the disk .* MB free"):
        run_collect(shop)
    with pytest.raises(StorageError, match=r"cannot be written: no space is left on the disk .* MB free"):
        run_prepare(shop)
    assert contents(shop) == before
    assert [path.name for path in shop.iterdir() if path.name.startswith(".")] == []


def test_a_truncated_raw_table_is_named(shop: Path) -> None:
    run_collect(shop)
    whole = (shop / "raw_events.parquet").read_bytes()
    (shop / "raw_events.parquet").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(SourceError, match=r"raw_events\.parquet: cannot be read as Parquet .* Collect anew"):
        run_prepare(shop)


def _feedback(folder: Path, *, key: bytes = KEY, mark: bool = True) -> None:
    user = pseudonymise(["user1"], key)[0]
    tables = raw_tables(events=1)
    event = {"event_id": "s1", "user_id": user, "item_id": "2", "timestamp": pd.Timestamp("2026-12-24 10:00", tz="UTC")}
    shown = {"user_id": user, "item_id": "2", "timestamp": pd.Timestamp("2026-12-23", tz="UTC")}
    tables["events"].assign(**event).to_parquet(folder / "events-aa.parquet")
    tables["impressions"].assign(**shown).to_parquet(folder / "impressions-bb.parquet", schema=arrow_schema("impressions"))
    if mark:
        (folder / "watermark.json").write_text(json.dumps({"until": "2026-12-25T00:00:00Z", "user_key_fingerprint": fingerprint(key)}))


def test_feedback_is_appended_and_its_pseudonyms_meet_the_source_s_users(shop: Path) -> None:
    _feedback(shop / "feedback")
    run_collect(shop)
    run_prepare(shop)
    events, impressions = read_table(shop / "events.parquet"), read_table(shop / "impressions.parquet")
    user = pseudonymise(["user1"], KEY)[0]
    assert events[events["event_id"] == "s1"]["user_id"].tolist() == [user]
    assert (events["user_id"] == user).sum() == 5  # four of the log, one fed back
    assert impressions["user_id"].tolist() == [user]
    assert read_json(shop / "lineage.json")["has"]["impressions"] is True
    facts = read_json(shop / "source.json")
    assert facts["feedback"] == {"segments": 2, "events": 1, "impressions": 1, "user_key_fingerprint": fingerprint(KEY)}
    assert facts["collected_until"] == "2026-12-25T00:00:00+00:00"


def test_feedback_of_another_key_is_refused(shop: Path) -> None:
    _feedback(shop / "feedback", key=b"some other key, long enough")
    run_collect(shop)
    with pytest.raises(IdentityError, match="set the old key again, or collect anew"):
        run_prepare(shop)


def test_feedback_without_a_watermark_is_refused(shop: Path) -> None:
    _feedback(shop / "feedback", mark=False)
    with pytest.raises(SourceError, match=r"2 segments, but no watermark\.json"):
        run_collect(shop)


def test_a_sample_of_users_is_the_same_in_every_table_and_grows_with_its_size() -> None:
    events = pd.DataFrame({"user_id": [f"u{row % 50}" for row in range(500)]})
    raw = RawTables(
        items=pd.DataFrame(), source={"source": "files", "synthetic": False, "missing": []}, events=events, impressions=events.iloc[:300]
    )
    few, more = keep_users(raw, 10), keep_users(raw, 20)
    assert few.events["user_id"].nunique() == 10
    assert set(few.impressions["user_id"]) <= set(few.events["user_id"]) < set(more.events["user_id"])
    assert len(few.events) == 100


def test_check_data_counts_without_writing(shop: Path) -> None:
    params = load_params(ROOT / "params.yaml")
    params = params.model_copy(
        update={"collect": CollectParams(source="files", path=None, mapping=None, max_users=None), "prepare": PREPARE}
    )
    before = sorted(path for path in shop.rglob("*"))
    check = check_data(params, feedback=shop / "feedback", own=shop / "own")
    assert check.could_run
    text = check.render()
    assert "events              21        20         1          0" in text
    assert "1 × item_id: unknown item" in text
    assert "events row 21: item_id: unknown item" in text  # the 21st below the header
    assert text.count("row 1 is a table's first row of data") == 1
    assert "the loop could run" in text
    assert "user1" not in text
    assert sorted(path for path in shop.rglob("*")) == before


def test_check_data_says_why_the_loop_could_not_run(shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    params = load_params(ROOT / "params.yaml")
    params = params.model_copy(
        update={"collect": CollectParams(source="files", path=None, mapping=None, max_users=None), "prepare": PREPARE}
    )
    monkeypatch.delenv("ADLOOM_USER_KEY")
    check = check_data(params, feedback=shop / "feedback", own=shop / "own")
    assert not check.could_run
    assert check.report is not None  # counts are shown all the same
    assert "set ADLOOM_USER_KEY" in check.render()
    (shop / "own" / "log.csv").write_text("u,i,what\n1,2,3\n")
    check = check_data(params, feedback=shop / "feedback", own=shop / "own")
    assert check.report is None
    assert "log.csv has no column 't' for timestamp" in check.problems[0]


@pytest.mark.slow
def test_a_million_events_of_one_user_are_capped_in_seconds() -> None:
    size = 1_000_000
    tables = raw_tables()
    columns = {"user_id": "crawler", "item_id": "i1", "event_type": "view", "channel": "onsite", "value_micros": 0}
    times = pd.Timestamp("2026-09-01", tz="UTC") + pd.Series(pd.to_timedelta(np.arange(size), unit="s"))
    tables["events"] = pd.DataFrame({"event_id": pd.Series(np.arange(size)).astype("str"), "timestamp": times}).assign(**columns)
    started = time.process_time()
    result = cleaned(tables)
    assert time.process_time() - started < 60
    assert len(result.tables["events"]) == 1000
    assert len(result.quarantine) == size - 1000
    assert result.tables["events"]["event_id"].iloc[0] == str(size - 1000)
