"""The mapping file of source `files`: which of the user's columns is which of ours (docs/own-data.md)."""

import re
from collections.abc import Collection, Sequence
from datetime import date, datetime
from pathlib import Path
from typing import Any, Literal

import pandas as pd
from pydantic import Field, ValidationError

from core.errors import ParamsError
from core.moments import ISO, moments
from core.params import Section
from core.tables import SOURCE_TABLES, TABLES
from core.yaml_settings import faults_of, read_yaml
from tasks.sources.reading import FileForm

_STAND_INS: dict[str, object] = {"path": "unsaid", "columns": {}}  # of a table whose own were refused, so that its other keys are checked


class TableMapping(FileForm):
    """How one table is read; how its file is written stands in `FileForm`.

    Attributes:
        path: file or glob, relative to the data folder.
        columns: our column → the user's column.
        constants: our column → one value for every row.
        values: our column → {the user's word: ours}.
        attributes: the user's columns that become key/value attributes of an item.
        money: what one of the user's money numbers counts.
        time_unit: times are numbers that count these since 1970-01-01 UTC.
        time_format: strptime format of times that are not ISO 8601.
        time_zone: of times without an offset.
    """

    path: str
    columns: dict[str, str]
    constants: dict[str, str | int | float | bool | list[str]] = Field(default={})
    values: dict[str, dict[str, str]] = Field(default={})
    attributes: list[str] = Field(default=[])
    money: Literal["unit", "cent", "micro"] = "unit"
    time_unit: Literal["s", "ms", "us"] | None = None
    time_format: str | None = None
    time_zone: str = "UTC"


class FilesMapping(Section):
    """The whole mapping file.

    Attributes:
        collected_until: nothing in the data can be later; when absent, the end of the day (UTC) of the newest file's modification time.
        missing: what the user wants said about the data, carried into the report.
        items: the catalogue.
        events: behaviour.
        copies: ad texts.
        impressions: logged ads.
        campaigns: booked campaigns.
    """

    items: TableMapping
    events: TableMapping | None = None
    copies: TableMapping | None = None
    impressions: TableMapping | None = None
    campaigns: TableMapping | None = None
    collected_until: str | date | datetime | None = None
    missing: list[str] = Field(default=[])

    @property
    def tables(self) -> dict[str, TableMapping]:
        """The mapped tables by name, in the contract's order."""
        found = {name: getattr(self, name) for name in SOURCE_TABLES}
        return {name: table for name, table in found.items() if table is not None}

    @property
    def until(self) -> pd.Timestamp | None:
        """`collected_until` in UTC."""
        if self.collected_until is None:
            return None
        stamp = pd.Timestamp(self.collected_until)
        return stamp.tz_localize("UTC") if stamp.tzinfo is None else stamp.tz_convert("UTC")


def load_mapping(path: Path) -> FilesMapping:
    """Read and check a mapping file.

    Args:
        path: the YAML file.

    Raises:
        ParamsError: no such file, no YAML, or unknown, missing or ill-typed keys, columns that we do not have, a path that names no
            file, an unknown time zone or format or an unparsable time; all faults in one message.
    """
    values, faults = read_yaml(path), []
    try:
        FilesMapping.model_validate(values)
    except ValidationError as error:
        faults = faults_of(error, page="docs/own-data.md")
        values = _sound(values, [fault["loc"] for fault in error.errors()])
    for name in SOURCE_TABLES:
        if isinstance(values.get(name), dict):
            faults += _table_faults(name, TableMapping.model_validate(_STAND_INS | values[name]))
    faults += _until_faults(values.get("collected_until"))
    if faults:
        lines = "\n".join(f"  {fault}" for fault in faults)
        raise ParamsError(
            f"{path}: {len(faults)} fault{'s' if len(faults) > 1 else ''}; mend them (docs/own-data.md) and run again:\n{lines}"
        )
    return FilesMapping.model_validate(values)


def _sound(values: dict[str, Any], places: Sequence[tuple[int | str, ...]]) -> dict[str, Any]:
    """The values without those that pydantic refused, so that the rest can be checked too.

    Args:
        values: the mapping file.
        places: `loc` of each fault.
    """
    refused = {place[: 3 if place[0] in SOURCE_TABLES else 1] for place in places}  # table, key, column: what lies deeper goes with them
    refused |= {(place[0], "values") for place in refused if place[1:2] == ("columns",)}  # their columns cannot be looked up
    return _without(values, refused)


def _without(values: dict[str, Any], places: Collection[tuple[int | str, ...]]) -> dict[str, Any]:
    kept = {}
    for key, value in values.items():
        inner = [place[1:] for place in places if place[0] == key]
        if not inner:
            kept[key] = value
        elif isinstance(value, dict) and all(inner):
            kept[key] = _without(value, inner)
    return kept


def _until_faults(until: str | date | datetime | None) -> list[str]:
    known = until is None or bool(moments(pd.Series([str(until)])).notna().all())
    return [] if known else [f"collected_until: unparsable time {until!r}; write 2026-10-31T00:00:00Z"]


def _table_faults(name: str, table: TableMapping) -> list[str]:
    spec = TABLES[name]
    ours = [*spec.names, *(column.name for column in spec.raw_extras if column.kind == "time")]
    named = [("columns", key) for key in table.columns] + [("constants", key) for key in table.constants]
    faults = [f"{name}.{part}: we have no column {key!r}; ours are {', '.join(ours)}" for part, key in named if key not in ours]
    faults += _path_faults(name, table.path)
    faults += [f"{name}.values: {key!r} is not in columns" for key in table.values if key not in table.columns]
    faults += [f"{name}: {key!r} is in columns and in constants" for key in table.constants if key in table.columns]
    try:
        pd.Timestamp(0, tz=table.time_zone)
    except (ValueError, KeyError, IndexError, OSError):  # a name that is none, "", a folder of zones
        faults.append(f"{name}.time_zone: unknown zone {table.time_zone!r}; write UTC, Asia/Shanghai, …")
    try:
        if table.time_format == "mixed":
            raise ValueError("pandas would guess, and take the day of the wall clock where there is none")
        moments(pd.Series(["some text"]), table.time_format or ISO)
    except (ValueError, LookupError, re.error) as error:
        faults.append(f"{name}.time_format: no strptime format {table.time_format!r} ({error}); write one such as %d.%m.%Y %H:%M")
    return faults


def _path_faults(name: str, path: str) -> list[str]:
    if not Path(path).name:
        return [f"{name}.path: {path!r} names no file; write a file or a pattern such as log-*.csv"]
    if any("**" in part and part != "**" for part in Path(path).parts):
        return [f"{name}.path: in {path!r} ** is not a whole folder; write folder/**/*.csv"]
    return []
