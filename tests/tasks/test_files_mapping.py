"""Columns that files lack and mappings that cannot be meant: everything told at once, by name, with what to write instead."""

import json
from pathlib import Path

import pytest
from test_files_source import EVENTS, ITEMS, error_of, shop


def test_all_missing_columns_are_named_at_once_with_what_the_files_have(tmp_path: Path) -> None:
    message = error_of(tmp_path, items__csv="id,title,price\n1,a,2\n", log__csv="u,i,what,paid\nann,1,view,\n")
    assert "3 missing columns" in message
    assert "items: items.csv has no column 'name' for title; it has id, title, price" in message
    assert "'cat' for category" in message
    assert "events: log.csv has no column 't' for timestamp" in message
    message = error_of(tmp_path, mapping="items: {path: items.csv, columns: {item_id: id}}\n", items__csv="id\n1\n")
    assert "items: title is neither in columns nor in constants" in message
    assert "items: category is neither in columns nor in constants" in message


def test_all_faults_of_a_mapping_are_named_at_once(tmp_path: Path) -> None:
    message = error_of(tmp_path, mapping="items: {path: 3, colour: red}\nevent: {}\n")
    for part in ("items.path", "items.columns", "items.colour", "event:"):
        assert part in message
    message = error_of(
        tmp_path, mapping="collected_until: soon\n" + ITEMS.replace("title: name", "titel: name").replace("}}", "}, time_zone: Mars}")
    )
    for part in ("we have no column 'titel'", "unknown zone 'Mars'", "unparsable time 'soon'"):
        assert part in message


def test_faults_of_form_and_of_sense_are_named_together_with_the_value_found(tmp_path: Path) -> None:
    message = error_of(
        tmp_path,
        mapping=(
            "collected_until: ''\n"
            "items: {path: '', columns: {item_id: 3, titel: name}, values: {item_id: {a: b}}, constants: {colour: {a: b}}, nulls: [1],\n"
            "  time_zone: Mars, colour: red}\n"
            "events: {columns: {item: i}, time_format: '%Q%', money: euro}\n"
            "copies: 4\n"
        ),
    )
    for part in (
        "items.columns.item_id: input should be a valid string; found 3 (int)",
        "items.nulls.0: input should be a valid string; found 1 (int)",
        "items.colour: unknown key (value 'red'); remove it or mend its spelling",
        "items.columns: we have no column 'titel'",
        "items.path: '' names no file",
        "items.time_zone: unknown zone 'Mars'",
        "events.path: missing; add it (docs/own-data.md says what it is)",
        "events.money: input should be 'unit', 'cent' or 'micro'; found 'euro' (str)",
        "events.columns: we have no column 'item'",
        "events.time_format: no strptime format '%Q%'",
        "copies: input should be a valid dictionary or instance of TableMapping; found 4 (int)",
        "collected_until: unparsable time ''",
    ):
        assert part in message
    assert "is not in columns" not in message  # item_id is, though with a value that is none
    assert f"{message.count(chr(10))} faults" in message
    message = error_of(tmp_path, mapping="collected_until: {day: 1}\nitems: {path: '', columns: {}}\n")
    assert "found {'day': 1} (dict)" in message
    assert "items.path: '' names no file" in message


@pytest.mark.parametrize("path", ["", ".", "/", "/nowhere/a**b", "a**/items.csv"])
def test_a_path_that_can_name_no_file_is_a_fault_of_the_mapping(tmp_path: Path, path: str) -> None:
    message = error_of(tmp_path, mapping=ITEMS.replace("items.csv", f"'{path}'"))
    assert f"items.path: {path!r} names no file" in message or f"items.path: in {path!r} ** is not a whole folder" in message


@pytest.mark.parametrize("form", ["%Q%", "%", "%d.%d.%Y", "%Y %G %V", "%e.%m.%Y", "mixed"])
def test_a_time_format_that_is_none_is_a_fault_of_the_mapping(tmp_path: Path, form: str) -> None:
    message = error_of(tmp_path, mapping=ITEMS + EVENTS + f", time_format: '{form}'}}\n")
    assert f"events.time_format: no strptime format {form!r} (" in message
    assert "write one such as %d.%m.%Y %H:%M" in message


@pytest.mark.parametrize("until", ["now", "today", "2026-09"])
def test_the_end_of_the_data_is_a_day_and_never_the_wall_clock(tmp_path: Path, until: str) -> None:
    assert f"unparsable time {until!r}" in error_of(tmp_path, mapping=f"collected_until: {until}\n" + ITEMS)


@pytest.mark.parametrize("zone", ["Mars", "", "Asia", "../x", "UTC+8"])
def test_a_time_zone_that_is_none_is_a_fault_of_the_mapping(tmp_path: Path, zone: str) -> None:
    assert f"events.time_zone: unknown zone {zone!r}" in error_of(tmp_path, mapping=ITEMS + EVENTS + f", time_zone: '{zone}'}}\n")


CATALOGUE = "items: {path: 'items-*.csv', columns: {item_id: id, title: name, category: cat, price_micros: price}}\n"
FULL, SHORT = "id,name,cat,price\n{},跑鞋,运动,3\n", "id,name,cat\n{},跑鞋,运动\n"


def test_a_column_that_one_of_several_files_lacks_is_told_with_the_name_of_that_file(tmp_path: Path) -> None:
    parts = {f"items-{part}__csv": (SHORT if part in {2, 4} else FULL).format(part) for part in range(1, 6)}
    message = error_of(tmp_path, mapping=CATALOGUE, **parts)
    assert "1 missing column;" in message
    assert (
        "items: items-2.csv (and 1 more like it) has no column 'price' for price_micros; it has id, name, cat. Other files have it"
        in message
    )
    whole = {name: FULL.format(name[6]) for name in parts}
    assert len(shop(tmp_path / "whole", mapping=CATALOGUE, **whole).items) == 5


def test_json_lines_may_leave_a_key_out_as_long_as_one_of_the_files_has_it(tmp_path: Path) -> None:
    mapping = CATALOGUE.replace("csv", "jsonl")
    bare = {"id": "1", "name": "跑鞋", "cat": "运动"}
    parts = {"items-1__jsonl": json.dumps(bare), "items-2__jsonl": json.dumps(bare | {"id": "2", "price": 3})}
    assert shop(tmp_path, mapping=mapping, **parts).items["price_micros"].fillna(0).tolist() == [0, 3_000_000]
    parts["items-2__jsonl"] = json.dumps(bare | {"id": "2"})
    assert "items: items-*.jsonl has no column 'price'" in error_of(tmp_path, mapping=mapping, **parts)


@pytest.mark.parametrize(("mark", "written"), [(";", '";"'), ("\t", '"\\t"'), ("|", '"|"')])
def test_another_separator_is_named_once_instead_of_every_column(tmp_path: Path, mark: str, written: str) -> None:
    message = error_of(tmp_path, mapping=ITEMS, items__csv=FULL.format(1).replace(",", mark))
    assert f"set `separator: {written}`" in message
    assert "has no column" not in message
    mapping = ITEMS.replace("}}", f"}}, separator: {written}}}")
    assert shop(tmp_path, mapping=mapping, items__csv=FULL.format(1).replace(",", mark)).items["title"].tolist() == ["跑鞋"]


@pytest.mark.parametrize("separator", ["||", "\\n", ""])
def test_a_separator_is_one_character(tmp_path: Path, separator: str) -> None:
    message = error_of(tmp_path, mapping=ITEMS.replace("}}", f'}}, separator: "{separator}"}}'))
    assert "items.separator: one character is needed" in message


def test_a_value_of_no_possible_kind_is_one_fault(tmp_path: Path) -> None:
    message = error_of(tmp_path, mapping="collected_until: 2026\n" + ITEMS.replace("}}", "}, constants: {stock: null, brand: [1, a]}}"))
    assert "3 faults" in message
    assert "collected_until: input should be a valid string or a valid date or a valid datetime; found 2026 (int)" in message
    assert "items.constants.stock: input should be a valid string or a valid integer or" in message
    assert "items.constants.brand.0: input should be a valid string; found 1 (int)" in message


def test_a_day_that_the_calendar_does_not_have_is_told_with_its_line(tmp_path: Path) -> None:
    message = error_of(tmp_path, mapping="# until\ncollected_until: 2026-09-31\n" + ITEMS)
    assert "line 2: 2026-09-31 is not a date: day is out of range for month" in message


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        (
            "items.json",
            '[\n {"id": 1}\n]\n',
            "it holds a JSON array; one JSON object a line is needed: cat items.json | jq -c '.[]' > items.lines.jsonl",
        ),
        (
            "items.jsonl",
            '{"id": 1, "price": NaN}\n',
            ": line 1 column 20 (char 19)). JSON has no NaN: write null",
        ),
        ("items.jsonl", '{"id" 1}\n{"id": 1}\n', "Write it again."),
        ("items.xlsx", "PK", "cannot tell the format from the ending '.xlsx'. Save the sheet as CSV UTF-8."),
    ],
)
def test_a_file_of_another_form_says_how_to_make_it_one_of_ours(tmp_path: Path, name: str, text: str, said: str) -> None:
    message = error_of(tmp_path, mapping=ITEMS.replace("items.csv", name), **{name.replace(".", "__"): text})
    assert said in message
    assert "truncated" not in message
