"""A log of one's own randomised choices is read as its mapping says, and what is wrong is told."""

import io
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from core.errors import EvidenceError, ParamsError, SchemaError
from tasks.sources.choices import ChoiceLog, read_choices
from tasks.sources.choices_mapping import load_choices_mapping

MAPPING = """
columns: {action: mailing, reward: paid, propensity: p, user_id: who}
context: [age, town]
nulls: [NA]
"""
HEAD = "who,age,town,mailing,paid,p\n"


def row(number: int, **cells: str) -> str:
    plain = {"who": f"u{number}", "age": str(20 + number % 50), "town": "a b", "mailing": "AB"[number % 2], "paid": "1.5", "p": "0.5"}
    return ",".join((plain | cells).values()) + "\n"


def read(tmp_path: Path, text: str, mapping: str = MAPPING) -> ChoiceLog:
    (tmp_path / "log.csv").write_text(text, encoding="utf-8")
    (tmp_path / "mapping.yaml").write_text(mapping, encoding="utf-8")
    return read_choices(tmp_path / "log.csv", load_choices_mapping(tmp_path / "mapping.yaml"))


def rows(count: int) -> list[str]:
    return [row(number) for number in range(count)]


def test_a_log_is_read_with_kinds_by_its_cells_and_actions_as_words(tmp_path: Path):
    lines = rows(120)
    lines[3] = row(3, age="", town="NA")
    log = read(tmp_path, HEAD + "".join(lines))
    assert log.names == ("A", "B")
    assert log.kinds == {"age": "number", "town": "category"}
    assert np.isnan(log.contexts.loc[3, "age"])
    assert log.contexts.loc[3, "town"] is None
    assert log.contexts.loc[0, "town"] == "a b"
    assert log.rewards.tolist() == [1.5] * 120
    assert log.users is not None
    assert np.unique(log.users).size == 120
    assert log.quarantine == {}


def test_rows_that_cannot_be_used_are_counted_by_reason(tmp_path: Path):
    bad = [
        row(0, p="1.2"),
        row(1, p="0"),
        row(2, p=""),
        row(3, paid="inf"),
        row(4, paid="much"),
        row(5, paid=""),
        row(6, mailing=""),
        row(7, who=""),
        row(8, p="x"),
    ]
    log = read(tmp_path, HEAD + "".join(bad + rows(120)))
    assert len(log.actions) == 120
    assert log.quarantine == {
        "propensity: outside (0, 1]": 2,
        "propensity: missing": 1,
        "propensity: not a number": 1,
        "reward: not a finite number": 2,
        "reward: missing": 1,
        "action: missing": 1,
        "user_id: missing": 1,
    }


def test_a_word_in_a_column_that_is_called_a_number_is_left_out_and_in_a_list_makes_it_a_category(tmp_path: Path):
    text = HEAD + row(0, age="old") + "".join(rows(120))
    assert read(tmp_path, text).kinds["age"] == "category"
    log = read(tmp_path, text, MAPPING.replace("[age, town]", "{age: number, town: category}"))
    assert log.quarantine == {"age: not a finite number": 1}


def test_a_log_of_mostly_bad_rows_is_refused_with_its_reasons(tmp_path: Path):
    with pytest.raises(SchemaError, match=r"40 of 160 rows cannot be used, 25.0% \(limit 20%\)[\s\S]*propensity: outside \(0, 1\]: 40"):
        read(tmp_path, HEAD + "".join([row(number, p="7") for number in range(40)] + rows(120)))


def test_one_action_or_an_action_with_few_rows_is_refused(tmp_path: Path):
    with pytest.raises(EvidenceError, match=r"'mailing' holds one action only, 'A'; at least 2"):
        read(tmp_path, HEAD + "".join(row(number, mailing="A") for number in range(120)))
    with pytest.raises(EvidenceError, match=r"at least 50 rows an action are needed; 'C' has 1\."):
        read(tmp_path, HEAD + row(0, mailing="C") + "".join(rows(120)))


def test_columns_that_are_not_there_are_told_all_at_once(tmp_path: Path):
    mapping = MAPPING.replace("mailing", "letter").replace("age", "years")
    with pytest.raises(SchemaError, match=r"2 missing columns; it has who, age[\s\S]*'letter' for action[\s\S]*'years' for the context"):
        read(tmp_path, HEAD + "".join(rows(120)), mapping)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("columns: {action: a, reward: r}\ncontext: [x]", "propensity is neither in columns nor in constants"),
        ("columns: {action: a, reward: r, propensity: p}\nconstants: {propensity: 0.5}\ncontext: [x]", "in columns and in constants"),
        ("columns: {action: a, reward: r}\nconstants: {propensity: 3/2}\ncontext: [x]", r"'3/2' lies outside \(0, 1\]"),
        ("columns: {action: a, reward: r}\nconstants: {propensity: 1/0}\ncontext: [x]", "'1/0' is no number"),
        ("columns: {action: a}\nconstants: {propensity: 0.5}\ncontext: [x]", "reward is missing"),
        (
            "columns: {action: a, reward: r, click: c}\nconstants: {propensity: 0.5}\ncontext: [x]",
            "no column 'click'; ours are action, reward",
        ),
        ("columns: {action: a, reward: r}\nconstants: {propensity: 0.5, reward: 1}\ncontext: [x]", "only propensity can"),
        ("columns: {action: a, reward: r}\nconstants: {propensity: 0.5}\ncontext: [r, x, x]", "'r' is the column of reward"),
        ("columns: {action: a, reward: r}\nconstants: {propensity: 0.5}\ncontext: [x, x]", "'x' is there twice"),
        ("columns: {action: a, reward: r}\nconstants: {propensity: 0.5}\ncontext: []", "name at least one"),
        ("columns: {action: a, reward: r}\nconstants: {propensity: 0.5}\ncontext: [x]\nvalues: {p: {a: b}}", "'p' is not action or reward"),
        ("columns: {action: a, reward: r}\nconstants: {propensity: 0.5}\ncontext: [x]\nfeatures: [y]", "unknown key"),
    ],
)
def test_a_wrong_mapping_is_told(tmp_path: Path, text: str, told: str):
    path = tmp_path / "mapping.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ParamsError, match=told):
        load_choices_mapping(path)


def test_parquet_types_are_read_as_their_text_would_be(tmp_path: Path):
    frame = pd.read_csv(io.StringIO(HEAD + "".join(rows(120)))).astype({"town": "category", "mailing": "category", "age": "Int64"})
    frame["paid"] = frame["age"] > 40
    frame["p"] = pd.array([0.5] * 119 + [None], dtype="Float64")
    frame.loc[0, "age"] = pd.NA
    frame.to_parquet(tmp_path / "log.parquet")
    (tmp_path / "mapping.yaml").write_text(MAPPING, encoding="utf-8")
    log = read_choices(tmp_path / "log.parquet", load_choices_mapping(tmp_path / "mapping.yaml"))
    assert log.kinds == {"age": "number", "town": "category"}
    assert np.isnan(log.contexts["age"]).tolist() == [True] + [False] * 118
    assert set(log.rewards.tolist()) == {0.0, 1.0}
    assert log.quarantine == {"propensity: missing": 1}


def test_words_become_ours_and_a_fraction_is_a_propensity(tmp_path: Path):
    mapping = """
columns: {action: mailing, reward: paid}
constants: {propensity: 1/2}
values: {action: {A: one}, reward: {yes: 1, no: 0}}
context: {town: category}
"""
    lines = [row(number, paid="yes" if number % 3 else "no") for number in range(120)]
    log = read(tmp_path, HEAD + "".join(lines), mapping)
    assert log.names == ("B", "one")
    assert set(log.rewards.tolist()) == {0.0, 1.0}
    assert set(log.propensity.tolist()) == {0.5}
    assert log.users is None
