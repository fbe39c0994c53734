"""Turning a value changes the bytes of that value and no other, or it is not done this way at all."""

import pytest
from ruamel.yaml import YAML

from flows.yaml_lines import turned

TEXT = """\
# head
plain: 7   # a number
empty:
none: null      # unknown
quoted: "a: b"
single: 'it''s'
flow: [1, 2.0,
  three]   # two lines
block:
  - 0.5
  # between
  - 0.7
# after the block

inner:  { deep: x, wide: 'y' }
last:
  leaf:   old"""


def loaded(text: str):
    return YAML(typ="safe", pure=True).load(text)


def with_value(path: str, value: object):
    values = loaded(TEXT)
    *above, key = path.split(".")
    held = values
    for name in above:
        held = held[name]
    held[key] = value
    return values


@pytest.mark.parametrize(
    ("path", "value", "old", "new"),
    [
        ("plain", 12, "plain: 7   # a", "plain: 12  # a"),
        ("plain", 123456, "plain: 7   # a", "plain: 123456 # a"),
        ("plain", 7.0, "plain: 7   # a", "plain: 7.0 # a"),
        ("empty", "x", "empty:\n", "empty: x\n"),
        ("none", "#", "none: null      #", "none: '#'       #"),
        ("none", "null", "none: null      #", "none: 'null'    #"),
        ("quoted", None, 'quoted: "a: b"', "quoted: null"),
        ("quoted", "c", 'quoted: "a: b"', 'quoted: "c"'),
        ("single", "don't", "'it''s'", "'don''t'"),
        ("flow", ["a, b", True], "[1, 2.0,\n  three]   # two", "['a, b', true] # two"),
        ("block", [1e-5], "- 0.5\n  # between\n  - 0.7\n# after", "[1e-05]\n# after"),
        ("inner.wide", "é", "{ deep: x, wide: 'y' }", "{ deep: x, wide: 'é' }"),
        ("last.leaf", ["new"], "leaf:   old", "leaf:   [new]"),
        ("last.leaf", {"a": 1}, "leaf:   old", "leaf:   {a: 1}"),
    ],
)
@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
def test_only_the_turned_value_changes(path: str, value: object, old: str, new: str, line_end: str) -> None:
    assert TEXT.count(old) == 1
    values = with_value(path, value)
    found = turned(TEXT.replace("\n", line_end), values)
    assert found is not None
    assert found.replace("\r\n", "\n") == TEXT.replace(old, new)
    assert repr(loaded(found)) == repr(values)


def test_several_values_are_turned_at_once_and_none_changes_nothing() -> None:
    assert turned(TEXT, loaded(TEXT)) == TEXT
    values = with_value("plain", 1) | {"single": "s"}
    assert turned(TEXT, values) == TEXT.replace("plain: 7 ", "plain: 1 ").replace("'it''s'", "'s'")


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("a: 1\n", {"a": 1, "b": 2}),
        ("a: 1\nb: 2\n", {"a": 1}),
        ("a: &same 1\nb: *same\n", {"a": 1, "b": 2}),
        ("a: &same {x: 1}\nb: *same\n", {"a": {"x": 1}, "b": {"x": 2}}),
    ],
)
def test_what_is_no_value_written_over_is_left_to_others(text: str, values: dict[str, object]) -> None:
    assert turned(text, values) is None
