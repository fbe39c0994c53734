"""YAML files of settings: read by one set of rules, and what a model refuses of them in words."""

import re
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from core.errors import ParamsError

_DATE = re.compile(r"(?<![\d-])(\d{4})-(\d{1,2})-(\d{1,2})(?!\d)")
_HOLDER = re.compile(r"(list|dict|nullable|literal|function-[a-z]+)\[")
_KIND = re.compile(r"(str|int|float|bool|date|datetime)$|" + _HOLDER.pattern)


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML mapping with ruamel's safe YAML 1.2 rules.

    Args:
        path: the file.

    Raises:
        ParamsError: no such file, not YAML, not UTF-8, or not a mapping.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ParamsError(f"{path}: no such file. Run from the project's folder, or restore it with `git checkout {path.name}`.") from None
    except UnicodeDecodeError as error:
        raise ParamsError(f"{path}: not UTF-8 at byte {error.start}. Save it as UTF-8.") from None
    try:
        value = YAML(typ="safe", pure=True).load(text)
    except YAMLError as error:
        raise ParamsError(f"{path}: not YAML: {error}") from None
    except ValueError as error:  # of what is written like a date and is none
        raise ParamsError(f"{path}: {_impossible_date(text)}: {error}. Mend it, or put it in quotation marks if it is no date.") from None
    if not isinstance(value, dict):
        raise ParamsError(f"{path}: holds {type(value).__name__}; a mapping of sections is needed.")
    return value


def _impossible_date(text: str) -> str:
    """Line and words of the first date that the calendar does not have."""
    for number, line in enumerate(text.splitlines(), start=1):
        for found in _DATE.finditer(line):
            try:
                date(*map(int, found.groups()))
            except ValueError:
                return f"line {number}: {found[0]} is not a date"
    return "a value cannot be read"


def faults_of(error: ValidationError, *, page: str) -> list[str]:
    """What a model refused, one line a value, with the value found.

    Where a value may be of several kinds, pydantic tells a fault for each of them, with the kind at the end of its place: they become one
    line, and none where the value is of one of the kinds and the fault lies inside it.

    Args:
        error: pydantic's.
        page: the file that says what the keys are.
    """
    values: dict[tuple[tuple[int | str, ...], int], list[Any]] = {}
    inside = set()
    for fault in error.errors():
        place = fault["loc"]
        values.setdefault((place[:-1] if _KIND.match(str(place[-1])) else place, id(fault.get("input"))), []).append(fault)
        inside |= {place[:end] for end, part in enumerate(place[:-1]) if _HOLDER.match(str(part))}
    told = {}
    for (place, _), faults in values.items():
        first, kinds = faults[0], dict.fromkeys(fault["msg"].removeprefix("Input should be ") for fault in faults)
        if len(faults) == 1 and not _HOLDER.match(str(first["loc"][-1])):
            told[_named(first["loc"])] = _fault(first, page)
        elif place not in inside:
            told[_named(place)] = _fault(first | {"msg": f"Input should be {' or '.join(kinds)}"}, page)
    return [f"{place}: {words}" for place, words in told.items()]


def _named(place: Sequence[int | str]) -> str:
    return ".".join(str(part) for part in place if not _HOLDER.match(str(part)))


def _fault(fault: Any, page: str) -> str:
    kind, value = fault["type"], fault.get("input")
    if kind == "missing":
        return f"missing; add it ({page} says what it is)"
    if kind == "extra_forbidden":
        return f"unknown key (value {value!r}); remove it or mend its spelling"
    return f"{fault['msg'][0].lower()}{fault['msg'][1:]}; found {value!r} ({type(value).__name__})"
