from pathlib import Path

import pandas as pd
import pytest

from core.errors import SchemaError
from core.files import read_table, write_table
from core.schemas import CLEAN, RAW, arrow_schema, check_clean, empty_table, missing_columns
from core.tables import SOURCE_TABLES, TABLES


@pytest.mark.parametrize("name", TABLES)
def test_an_empty_table_keeps_its_columns_and_types_through_parquet(name: str, tmp_path: Path) -> None:
    write_table(empty_table(name), tmp_path / "t.parquet", arrow_schema(name))
    back = read_table(tmp_path / "t.parquet")
    check_clean(name, back)
    assert [str(dtype) for dtype in back.dtypes] == [column.dtype for column in TABLES[name].columns]


@pytest.mark.parametrize("name", TABLES)
def test_every_table_has_a_schema_over_its_columns_and_key(name: str) -> None:
    assert list(CLEAN[name].columns) == TABLES[name].names
    assert CLEAN[name].unique == list(TABLES[name].key)
    assert set(TABLES[name].key) <= set(TABLES[name].names)


@pytest.mark.parametrize("name", TABLES)
def test_the_contract_page_names_every_column(name: str) -> None:
    page = Path(__file__).parents[2].joinpath("docs/data-contract.md").read_text(encoding="utf-8")
    row = next(line for line in page.splitlines() if line.startswith(f"| {name} |"))
    own = [
        column for column in TABLES[name].names if not (name == "creatives" and column in {"item_id", "scene", "channel", "text", "origin"})
    ]
    assert [column for column in own if column not in row] == []


def test_all_missing_columns_of_all_tables_are_found_at_once() -> None:
    tables = {name: empty_table(name) for name in SOURCE_TABLES}
    tables["items"] = tables["items"].drop(columns=["title", "brand"])
    tables["events"] = tables["events"].drop(columns=["timestamp"])
    assert missing_columns(tables) == ["items.title", "events.timestamp"]
    assert set(RAW) == set(SOURCE_TABLES)


def _copies(**changes: object) -> pd.DataFrame:
    row = {"copy_id": "c1", "item_id": "i1", "scene": "product", "channel": "onsite", "text": "跑鞋", "origin": "human"}
    return pd.DataFrame([row | changes]).astype("str")


def test_a_right_table_passes() -> None:
    check_clean("copies", _copies())


@pytest.mark.parametrize(
    ("frame", "words"),
    [
        (_copies(scene="shop"), "scene: scene: not one of product, promotion, brand, cross_sell (first: 'shop')"),
        (_copies(text=""), "text: text: empty"),
        (pd.concat([_copies(), _copies()]), "copy_id: multiple_fields_uniqueness (first: 'c1')"),
        (_copies().drop(columns="text"), "text"),
        (_copies(extra="x"), "extra"),
    ],
)
def test_a_breach_is_named_with_its_column_and_value(frame: pd.DataFrame, words: str) -> None:
    with pytest.raises(SchemaError) as caught:
        check_clean("copies", frame)
    assert words in str(caught.value)
