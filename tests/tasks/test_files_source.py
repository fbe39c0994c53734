import gzip
import json
import os
import re
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from raw_samples import KEY, cleaned

from core.errors import ParamsError, SchemaError, SourceError
from core.params import CollectParams, load_params
from tasks.check_data import check_data
from tasks.cleaning.clean import Cleaned
from tasks.sources.base import RawTables
from tasks.sources.files import read_files
from tasks.sources.mapping import load_mapping
from tasks.sources.storing import storable

ITEMS = "items: {path: items.csv, columns: {item_id: id, title: name, category: cat, price_micros: price}}\n"
EVENTS = (
    "events: {path: log.csv, constants: {channel: onsite}, "
    "columns: {user_id: u, item_id: i, event_type: what, timestamp: t, value_micros: paid}"
)
ROOT = Path(__file__).parents[2]
PARAMS = CollectParams(source="files", path=None, mapping=None, max_users=None)


def write(folder: Path, **files: str | bytes) -> None:
    folder.mkdir(exist_ok=True)
    for name, content in files.items():
        path = folder / name.replace("__", ".")
        path.write_bytes(content if isinstance(content, bytes) else content.encode())


def shop(folder: Path, *, mapping: str = ITEMS + EVENTS + "}\n", **changes: str | bytes) -> RawTables:
    files: dict[str, str | bytes] = {
        "mapping__yaml": mapping,
        "items__csv": "id,name,cat,price\n1,跑鞋,运动,299.90\n2,NA,Sports,\n",
        "log__csv": "u,i,what,t,paid\nann,1,view,2026-09-01T10:00:00Z,\nbob,2,purchase,2026-09-02T10:00:00+08:00,24.9\n",
    }
    write(folder, **(files | changes))
    return read_files(PARAMS, folder)


def test_mapped_csv_becomes_raw_tables_without_guessing(tmp_path: Path) -> None:
    raw = shop(tmp_path)
    assert raw.items["title"].tolist() == ["跑鞋", "NA"]  # a product may be called NA
    assert raw.items["price_micros"].tolist() == [299_900_000, pd.NA]
    assert raw.events["value_micros"].tolist() == [0, 24_900_000]
    assert raw.events["timestamp"].tolist() == [pd.Timestamp("2026-09-01 10:00", tz="UTC"), pd.Timestamp("2026-09-02 02:00", tz="UTC")]
    assert raw.events["event_id"].tolist() == ["events-0", "events-1"]
    assert raw.source["missing"] == [
        "no copies",
        "no impressions",
        "no campaigns",
        "events: no ids; the row number stands in, so repeated rows cannot be told from repeated actions",
    ]


def test_cells_that_cannot_be_converted_stay_as_found(tmp_path: Path) -> None:
    raw = shop(tmp_path, log__csv="u,i,what,t,paid\nann,1,view,gestern,\nbob,2,purchase,2026-09-02T10:00:00Z,much\n")
    assert raw.events["timestamp"].tolist() == ["gestern", "2026-09-02T10:00:00.000000+0000"]
    assert raw.events["value_micros"].tolist() == [0, "much"]


def test_money_that_is_no_number_is_refused_as_such_where_fractions_are_allowed(tmp_path: Path) -> None:
    raw = shop(tmp_path, mapping=ITEMS, items__csv="id,name,cat,price\n1,a,b,299.5\n2,a,b,teuer\n3,a,b,NaN\n")
    result = _clean(raw)
    assert result.tables["items"]["price_micros"].tolist() == [299_500_000]
    assert result.quarantine["reason"].tolist() == ["price_micros: not a number"] * 2


@pytest.mark.parametrize(
    ("extra", "cell", "utc"),
    [
        (", time_unit: s", "1433221969", "2015-06-02 05:12:49"),
        (", time_unit: ms", "1433221969000", "2015-06-02 05:12:49"),
        (", time_zone: Asia/Shanghai", "2026-09-01 08:00:00", "2026-09-01 00:00:00"),
        (", time_zone: Asia/Shanghai", "2026-09-01T08:00:00Z", "2026-09-01 08:00:00"),
        (", time_zone: Asia/Shanghai", "2026-09-01 08:00:00+02", "2026-09-01 06:00:00"),
        (", time_zone: Asia/Shanghai", "2026-09-01", "2026-08-31 16:00:00"),
        (', time_format: "%d.%m.%Y %H:%M"', "01.09.2026 08:00", "2026-09-01 08:00:00"),
        (', time_format: "%d.%m.%Y %H:%M", time_zone: Europe/Berlin', "01.09.2026 08:00", "2026-09-01 06:00:00"),
    ],
)
def test_times_of_every_kind_become_utc(tmp_path: Path, extra: str, cell: str, utc: str) -> None:
    raw = shop(tmp_path, mapping=ITEMS + EVENTS + extra + "}\n", log__csv=f"u,i,what,t,paid\nann,1,view,{cell},\n")
    assert raw.events["timestamp"].tolist() == [pd.Timestamp(utc, tz="UTC")]


@pytest.mark.parametrize(("cell", "extra"), [("2026-03-29 02:30:00", ", time_zone: Europe/Berlin"), ("1433221969", "")])
def test_a_time_that_is_none_stays_as_found(tmp_path: Path, cell: str, extra: str) -> None:
    raw = shop(tmp_path, mapping=ITEMS + EVENTS + extra + "}\n", log__csv=f"u,i,what,t,paid\nann,1,view,{cell},\n")
    assert raw.events["timestamp"].tolist() == [cell]


BERLIN = ", time_zone: Europe/Berlin"
DAY_FIRST = ', time_format: "%Y-%d-%m"'
SKIPPED = "a clock time that Europe/Berlin skips or repeats"


@pytest.mark.parametrize(
    ("extra", "cell", "reason"),
    [
        (BERLIN, "2026-10-25 02:30", SKIPPED),
        (BERLIN, "2026-03-29 02:30", SKIPPED),
        (BERLIN, "gestern", "unparsable time"),
        (BERLIN + ', time_format: "%d.%m.%Y %H:%M"', "25.10.2026 02:30", SKIPPED),
        (BERLIN + ', time_format: "%d.%m.%Y %H:%M"', "2026-09-25 02:30", "unparsable time (time_format: %d.%m.%Y %H:%M)"),
        (DAY_FIRST, "2026-01-13", "unparsable time (time_format: %Y-%d-%m)"),
        (DAY_FIRST, "now", "unparsable time (time_format: %Y-%d-%m)"),
        (", time_unit: ms", "2026-09-01", "unparsable time (time_unit: ms)"),
        ("", "now", "unparsable time"),
        ("", "today", "unparsable time"),
        ("", "2026", "unparsable time"),
        ("", "2026-09", "unparsable time"),
        ("", "1433221969", "unparsable time"),
    ],
)
def test_a_time_that_the_mapping_cannot_read_is_refused_and_never_read_by_other_rules(
    tmp_path: Path, extra: str, cell: str, reason: str
) -> None:
    good = "0{}.02.2026 03:00" if "%d." in extra else "176722560{}000" if "unit" in extra else " 2026-02-0{} "
    cells = "".join(f"ann,1,view,{when},\n" for when in (cell, *(good.format(day) for day in (1, 2, 3))))
    result = _clean(shop(tmp_path, mapping=ITEMS + EVENTS + extra + "}\n", log__csv="u,i,what,t,paid\n" + cells))
    assert len(result.tables["events"]) == 3
    assert result.quarantine["reason"].tolist() == [f"timestamp: {reason}"]
    assert json.loads(result.quarantine["record"].iloc[0])["timestamp"] == cell


def test_clock_times_in_parquet_that_the_zone_repeats_are_refused(tmp_path: Path) -> None:
    tmp_path.mkdir(exist_ok=True)
    whens = pd.to_datetime([f"2026-10-2{day} 02:30" for day in range(2, 6)])
    pd.DataFrame({"u": "ann", "i": 1, "what": "view", "t": whens, "paid": 0}).to_parquet(tmp_path / "log.parquet")
    mapping = "collected_until: 2026-12-24\n" + ITEMS + EVENTS.replace("log.csv", "log.parquet") + BERLIN + "}\n"
    result = _clean(shop(tmp_path, mapping=mapping))
    assert result.tables["events"]["timestamp"].tolist() == [pd.Timestamp(f"2026-10-2{day} 00:30", tz="UTC") for day in range(2, 5)]
    assert result.quarantine["reason"].tolist() == [f"timestamp: {SKIPPED}"]
    assert "2026-10-25T02:30:00" in result.quarantine["record"].iloc[0]


@pytest.mark.parametrize("price", ["9999999999999", "4999999999999", "1e13", "inf"])
def test_money_above_the_limit_is_refused_and_never_taken_for_micros(tmp_path: Path, price: str) -> None:
    result = _clean(shop(tmp_path, mapping=ITEMS, items__csv=f"id,name,cat,price\n1,a,b, 299.5 \n2,a,b,{price}\n3,a,b,9007199254\n"))
    assert result.tables["items"]["price_micros"].tolist() == [299_500_000, 9_007_199_254_000_000]
    assert result.quarantine["reason"].tolist() == [
        "price_micros: above 9007199254740992 micros (9007199254 where money is counted in unit)"
    ]
    assert json.loads(result.quarantine["record"].iloc[0])["price_micros"] == price


def test_money_far_below_zero_is_negative_and_blank_money_is_unknown(tmp_path: Path) -> None:
    result = _clean(shop(tmp_path, mapping=ITEMS, items__csv='id,name,cat,price\n1,a,b,"  "\n2,a,b,-9999999999999\n3,a,b,-1\n'))
    assert result.tables["items"]["price_micros"].tolist() == [pd.NA]
    assert result.quarantine["reason"].tolist() == ["price_micros: negative"] * 2


def test_every_refused_cell_of_a_row_is_told_and_money_of_what_was_not_bought_is_none(tmp_path: Path) -> None:
    log = "u,i,what,t,paid\nann,1,purchase,now,1e13\n" + "".join(f"ann,1,view,2026-09-0{day},1e13\n" for day in (1, 2, 3))
    raw = shop(tmp_path, log__csv=log)
    result = _clean(raw)
    (reasons,) = result.quarantine["reason"]
    assert reasons.startswith("value_micros: above 9007199254740992 micros (")
    assert reasons.endswith("; timestamp: unparsable time")
    assert result.report["tables"]["events"]["accepted"] == 3
    frame, schema = storable("events", raw.events)
    assert _clean(replace(raw, events=frame)).quarantine["reason"].tolist() == [reasons]
    assert "refused_cells" in schema.names
    assert "refused_cells" not in shop(tmp_path).events


@pytest.mark.parametrize(("money", "micros"), [("unit", 12_340_000), ("cent", 123_400), ("micro", 12)])
def test_money_is_counted_in_micros(tmp_path: Path, money: str, micros: int) -> None:
    raw = shop(tmp_path, mapping=ITEMS.replace("}}", f"}}, money: {money}}}"), items__csv="id,name,cat,price\n1,a,b,12.34\n")
    assert raw.items["price_micros"].tolist() == [micros]


def test_json_lines_parquet_and_patterns_are_read(tmp_path: Path) -> None:
    tmp_path.mkdir(exist_ok=True)
    mapping = (
        "items: {path: items.jsonl.gz, columns: {item_id: id, title: name, category: cat, attributes: features}}\n"
        "events: {path: 'log-*.parquet', columns: {event_id: e, user_id: u, item_id: i, event_type: what, timestamp: t}}\n"
    )
    (tmp_path / "items.jsonl.gz").write_bytes(
        gzip.compress('{"id": 1, "name": "跑鞋", "cat": "运动", "features": {"色": "白"}}\n\n'.encode())
    )
    for part, when in enumerate(("2026-09-01", "2026-09-02")):
        frame = pd.DataFrame({"e": [part], "u": [7], "i": [1], "what": ["view"], "t": pd.to_datetime([when])})
        frame.to_parquet(tmp_path / f"log-{part}.parquet")
    raw = shop(tmp_path, mapping=mapping)
    assert raw.items["attributes"].tolist() == [{"色": "白"}]
    assert raw.events["timestamp"].tolist() == [pd.Timestamp("2026-09-01", tz="UTC"), pd.Timestamp("2026-09-02", tz="UTC")]


def test_nothing_can_be_later_than_the_end_of_the_day_of_the_newest_file(tmp_path: Path) -> None:
    shop(tmp_path)
    for name, day in (("items.csv", "2026-09-01T10:00:00"), ("log.csv", "2026-09-03T10:00:00")):
        moment = pd.Timestamp(day, tz="UTC").timestamp()
        os.utime(tmp_path / name, (moment, moment))
    assert read_files(PARAMS, tmp_path).source["collected_until"] == "2026-09-04T00:00:00+00:00"
    said = shop(tmp_path, mapping="collected_until: 2026-12-24\n" + ITEMS).source
    assert said["collected_until"] == "2026-12-24T00:00:00+00:00"


def error_of(folder: Path, **changes: str | bytes) -> str:
    with pytest.raises((SourceError, SchemaError, ParamsError)) as caught:
        shop(folder, **changes)  # type: ignore[arg-type]
    return str(caught.value)


def test_an_empty_file_is_an_error_that_names_it(tmp_path: Path) -> None:
    assert "log.csv: the file is empty (0 bytes)" in error_of(tmp_path, log__csv="")
    assert "log.csv: the file is empty" in error_of(tmp_path, log__csv="\n\n")
    assert "log.csv: the file holds no rows, only 5 column names" in error_of(tmp_path, log__csv="u,i,what,t,paid\n")


def test_a_truncated_parquet_is_an_error_that_names_it(tmp_path: Path) -> None:
    pd.DataFrame({"id": range(1000)}).to_parquet(tmp_path / "whole.parquet")
    whole = (tmp_path / "whole.parquet").read_bytes()
    message = error_of(tmp_path, mapping=ITEMS.replace("items.csv", "items.parquet"), items__parquet=whole[: len(whole) // 2])
    assert "items.parquet: cannot be read as Parquet" in message
    assert "truncated" in message


ROWS = {
    "csv": "id,name,cat,price\n" + "".join(f"{row},shoe {row * 7919},sports,3\n" for row in range(5000)),
    "jsonl": "".join(f'{{"id": {row}, "name": "shoe {row * 7919}", "cat": "sports", "price": 3}}\n' for row in range(5000)),
}


@pytest.mark.parametrize("form", ["csv", "jsonl"])
@pytest.mark.parametrize("damage", ["truncated", "cut in its head", "wrong in the middle", "wrong at its end", "not compressed"])
def test_a_damaged_compressed_file_is_an_error_that_names_it(tmp_path: Path, form: str, damage: str) -> None:
    whole = gzip.compress(ROWS[form].encode())
    middle = len(whole) // 2
    data = {
        "truncated": whole[:middle],
        "cut in its head": whole[:5],
        "wrong in the middle": whole[:middle] + b"\xff\x00\x13" * 10 + whole[middle + 30 :],
        "wrong at its end": whole[:-8] + b"\0" * 8,
        "not compressed": ROWS[form].encode(),
    }[damage]
    message = error_of(tmp_path, mapping=ITEMS.replace("items.csv", f"items.{form}.gz"), **{f"items__{form}__gz": data})
    assert f"items.{form}.gz: cannot be decompressed: " in message
    assert "Copy it again, or take .gz off its name." in message


@pytest.mark.parametrize(("encoding", "named"), [("gb18030", "GBK (GB18030)"), ("utf-16", "utf-16")])
def test_text_in_another_encoding_is_an_error_with_a_guess_and_the_remedy(tmp_path: Path, encoding: str, named: str) -> None:
    text = "id,name,cat,price\n" + "1,轻便透气跑步鞋,运动鞋服,299\n" * 50
    message = error_of(tmp_path, items__csv=text.encode(encoding))
    wrong, line = (0, 1) if encoding == "utf-16" else (20, 2)
    assert f"items.csv: not UTF-8 (byte 0x{text.encode(encoding)[wrong]:02X} in line {line} cannot be decoded)" in message
    assert f"looks like {named}" in message
    assert f"encoding: {encoding}" in message
    assert "iconv -f" in message
    again = shop(tmp_path, mapping=ITEMS.replace("}}", f"}}, encoding: {encoding}}}"), items__csv=text.encode(encoding))
    assert again.items["title"].iloc[0] == "轻便透气跑步鞋"


def test_gbk_json_lines_are_reported_as_such(tmp_path: Path) -> None:
    lines = '{"id": "0"}\n' * 2000 + '{"id": "1", "name": "轻便透气跑步鞋", "cat": "运动", "price": 3}\n'
    for name, data in {"items.jsonl": lines.encode("gbk"), "items.jsonl.gz": gzip.compress(lines.encode("gbk"))}.items():
        message = error_of(tmp_path, mapping=ITEMS.replace("items.csv", name), **{name.replace(".", "__"): data})
        assert f"{name}: not UTF-8 (byte 0xC7 in line 2001 cannot be decoded); it looks like GBK" in message


def test_the_line_of_a_wrong_byte_is_that_of_the_text_in_every_encoding(tmp_path: Path) -> None:
    text = "id,name,cat,price\n1,上海,运动,3\n2,\u0a0a,b,3\n3,"  # U+0A0A: bytes of a line feed that is none
    wide = text.encode("utf-16") + b"\x00\xdc"  # half a surrogate pair
    mapping = ITEMS.replace("}}", "}, encoding: utf-16}")
    assert "not UTF-16 (byte 0x00 in line 4 cannot be decoded)" in error_of(tmp_path, mapping=mapping, items__csv=wide)
    mapping = ITEMS.replace("}}", "}, encoding: gb18030}")
    wrong = text.encode("gb18030") + b"\xff\xff"
    assert "not GB18030 (byte 0xFF in line 4 cannot be decoded)" in error_of(tmp_path, mapping=mapping, items__csv=wrong)
    assert "not UTF-8 (byte 0xE4 in line 1 cannot be decoded)" in error_of(tmp_path, mapping=ITEMS, items__csv=b"id,\xe4")


def test_utf_16_without_a_byte_order_mark_is_an_error_that_says_so(tmp_path: Path) -> None:
    mapping = ITEMS.replace("}}", "}, encoding: utf-16}")
    message = error_of(tmp_path, mapping=mapping, items__csv="id,name,cat,price\n1,a,b,2\n".encode("utf-16-be"))
    assert "items.csv: not UTF-16 (UTF-16 stream does not start with BOM)" in message


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_json_lines_with_a_byte_order_mark_are_read(tmp_path: Path, encoding: str) -> None:
    mapping = ITEMS.replace("items.csv", "items.jsonl").replace("}}", "}, encoding: " + ("utf-16}" if encoding == "utf-16" else "utf-8}"))
    lines = "".join(f'{{"id": {row}, "name": "跑鞋\u2028", "cat": "运动", "price": 3}}\n' for row in (1, 2))
    assert shop(tmp_path, mapping=mapping, items__jsonl=lines.encode(encoding)).items["title"].tolist() == ["跑鞋\u2028"] * 2


def test_a_broken_line_is_named_by_its_number(tmp_path: Path) -> None:
    assert "line 3, saw 6" in error_of(tmp_path, items__csv="id,name,cat,price\n1,a,b,2\n1,a,b,2,3,4\n")
    mapping = ITEMS.replace("items.csv", "items.jsonl")
    assert "line 2 is not JSON" in error_of(tmp_path, mapping=mapping, items__jsonl='{"id": 1}\n{"id": 2, "na')
    assert "line 2 holds list" in error_of(tmp_path, mapping=mapping, items__jsonl='{"id": 1}\n[1]\n')


def test_a_repeated_column_name_is_an_error_that_names_it(tmp_path: Path) -> None:
    message = error_of(tmp_path, log__csv="\nu,i,what,t,t,paid,i,t\nann,1,view,2026-09-01,2026-09-02,,2,\n")
    assert "log.csv: the line with column names repeats 't' (3 times), 'i' (2 times). Give each column a name of its own." in message
    gaps = shop(tmp_path, log__csv="u,,i,what,t,paid,t.1,\nann,,1,view,2026-09-01,,x,\n")  # columns without a name are no one's
    assert gaps.events["timestamp"].tolist() == [pd.Timestamp("2026-09-01", tz="UTC")]


def test_a_compressed_tsv_is_separated_by_tabs(tmp_path: Path) -> None:
    rows = gzip.compress(b"id\tname\tcat\tprice\n1\ta, b\tc\t2\n")
    raw = shop(tmp_path, mapping=ITEMS.replace("items.csv", "items.tsv.gz"), items__tsv__gz=rows)
    assert raw.items["title"].tolist() == ["a, b"]


def test_a_missing_mapping_folder_or_file_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"mapping\.yaml: no such file\. Write a mapping"):
        read_files(PARAMS, tmp_path)
    with pytest.raises(SourceError, match="no such folder"):
        read_files(PARAMS.model_copy(update={"path": "nowhere"}), tmp_path)
    write(tmp_path, mapping__yaml=ITEMS)
    with pytest.raises(SourceError, match=r"items\.csv: no such file in .* \(there: mapping\.yaml\)"):
        read_files(PARAMS, tmp_path)


def test_the_worked_example_of_the_docs_does_what_they_say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (ROOT / "docs/own-data.md").read_text(encoding="utf-8")
    blocks = re.findall(r"`data/own/([\w.]+)`\n```\w+\n(.*?)```", page, flags=re.DOTALL)
    assert [name for name, _ in blocks] == ["catalogue.csv", "log.csv", "mapping.yaml"]
    write(tmp_path, **{name.replace(".", "__"): text for name, text in blocks})
    assert load_mapping(tmp_path / "mapping.yaml").items.money == "unit"
    result = _clean(read_files(PARAMS, tmp_path))
    assert {name: len(frame) for name, frame in result.tables.items()} == {
        "items": 3,
        "events": 10,
        "copies": 0,
        "impressions": 0,
        "campaigns": 0,
    }
    assert result.quarantine["reason"].tolist() == ["item_id: unknown item", "timestamp: unparsable time"]
    assert result.tables["events"]["timestamp"].iloc[0] == pd.Timestamp("2026-09-01 00:00", tz="UTC")
    monkeypatch.setenv("ADLOOM_USER_KEY", KEY.decode())
    committed = load_params(ROOT / "params.yaml").model_copy(update={"collect": PARAMS})
    check = check_data(committed, feedback=tmp_path / "feedback", own=tmp_path)
    assert check.problems == ()
    assert check.report is not None
    events, limit = check.report["tables"]["events"], committed.prepare.max_quarantine_share
    assert f"3 items; {events['accepted']} of {events['rows']} events. Row 6, `u2,S9`" in page
    assert f"{100 * events['refused'] / events['rows']:.1f} %; `prepare.max_quarantine_share` allows {100 * limit:.0f} %" in page
    for part in ("events row 6: item_id: unknown item", "events row 8: timestamp: unparsable time"):
        assert part in check.render()


@pytest.mark.parametrize(("unit", "early"), [("ms", True), ("s", False)])
def test_check_data_remarks_on_events_that_a_wrong_unit_puts_into_1970(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, unit: str, early: bool
) -> None:
    monkeypatch.setenv("ADLOOM_USER_KEY", KEY.decode())
    log = "u,i,what,t,paid\n" + "".join(f"ann,1,view,178822080{second},\n" for second in range(4))
    shop(tmp_path, mapping=ITEMS + EVENTS + f", time_unit: {unit}}}\n", log__csv=log)
    params = load_params(ROOT / "params.yaml").model_copy(update={"collect": PARAMS})
    check = check_data(params, feedback=tmp_path / "feedback", own=tmp_path)
    said = "events: 4 of 4 lie before 2000-01-01 (the first: 1970-01-21T16:43:40.800000+00:00). Look at `time_unit` in the mapping"
    assert (said in check.render()) == early
    assert len(check.remarks) == early
    assert check.could_run


def test_check_data_shows_the_refused_cell_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ADLOOM_USER_KEY", KEY.decode())
    log = "u,i,what,t,paid\nann,1,view,2026-10-25 02:30,\n" + "".join(f"ann,1,view,2026-09-0{day},\n" for day in range(1, 9))
    shop(tmp_path, mapping=ITEMS + EVENTS + BERLIN + "}\n", log__csv=log)
    params = load_params(ROOT / "params.yaml").model_copy(update={"collect": PARAMS})
    text = check_data(params, feedback=tmp_path / "feedback", own=tmp_path).render()
    assert f'events row 1: timestamp: {SKIPPED}\n    {{"timestamp": "2026-10-25 02:30", "event_id": "events-0", ' in text


def _clean(raw: RawTables) -> Cleaned:
    return cleaned(raw.tables, collected_until=raw.source["collected_until"])
