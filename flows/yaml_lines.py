"""Values of a YAML file turned in place: every byte that does not hold one of them stays as it was."""

import io
from collections.abc import Iterator, Mapping
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError
from ruamel.yaml.nodes import CollectionNode, MappingNode, Node
from ruamel.yaml.scalarstring import DoubleQuotedScalarString, SingleQuotedScalarString

_QUOTED = {'"': DoubleQuotedScalarString, "'": SingleQuotedScalarString}


def turned(text: str, values: Mapping[str, Any]) -> str | None:
    """The text with the values that differ written over those it holds.

    Args:
        text: YAML, a mapping.
        values: all that it shall hold.

    Returns:
        The text; None when it cannot be had by writing over values: a key is new or gone, or two keys share one value (an alias).
    """
    try:
        held = YAML(typ="safe", pure=True).load(text)
        found = text
        places = sorted(_places(YAML().compose(text), text, held, values), key=lambda place: place[0], reverse=True)
        for start, end, written in places:
            found = _with_comment_in_place(found, start, end, written)
        return found if repr(YAML(typ="safe", pure=True).load(found)) == repr(dict(values)) else None
    except (KeyError, YAMLError):
        return None


def _places(node: Node, text: str, held: Any, values: Mapping[str, Any]) -> Iterator[tuple[int, int, str]]:
    """Where each value that differs begins and ends, and what to write there.

    Raises:
        KeyError: a key is new.
    """
    nodes = {key.value: (key, value) for key, value in node.value}
    for key, value in values.items():
        name, inner = nodes[str(key)]
        if isinstance(value, Mapping) and isinstance(inner, MappingNode):
            yield from _places(inner, text, held[key], value)
        elif repr(held[key]) != repr(value):
            start, end, written = inner.start_mark.index, _end(inner), _written(value, getattr(inner, "style", None))
            if start == end:  # nothing stands there, and the mark may lie lines below
                start = end = text.index(":", name.end_mark.index) + 1
                written = f" {written}"
            yield start, end, written


def _end(node: Node) -> int:
    """Where the text of a value ends; a block's own mark lies behind the comments and empty lines that follow it."""
    if not isinstance(node, CollectionNode) or node.flow_style or not node.value:
        return int(node.end_mark.index)
    last = node.value[-1]
    return _end(last[1] if isinstance(last, tuple) else last)


def _written(value: Any, style: str | None) -> str:
    yaml = YAML(typ="rt")
    yaml.default_flow_style, yaml.width, yaml.allow_unicode = True, 1_000_000, True
    stream = io.StringIO()
    many = isinstance(value, Mapping | list)
    yaml.dump(value if many else [_QUOTED[style](value) if style in _QUOTED and isinstance(value, str) else value], stream)
    return stream.getvalue().strip()[0 if many else 1 : None if many else -1]


def _with_comment_in_place(text: str, start: int, end: int, written: str) -> str:
    """The value written over, and a comment behind it kept in its column where there is room."""
    rest = text[end:]
    gap = len(rest) - len(rest.lstrip(" "))
    if gap and rest[gap : gap + 1] == "#":
        column, now = end - text.rfind("\n", 0, end) + gap, start - text.rfind("\n", 0, start) + len(written)
        rest = " " * max(1, column - now) + rest[gap:]
    return text[:start] + written + rest
