"""The mapping file of source `files`: which of the user's columns is which of ours (docs/own-data.md)."""

from datetime import date, datetime
from pathlib import Path
from typing import Literal

import pandas as pd
from pydantic import Field, ValidationError

from core.errors import ParamsError
from core.params import Section, read_yaml
from core.tables import SOURCE_TABLES, TABLES
from tasks.sources.reading import Format


class TableMapping(Section):
    """How one table is read.

    Attributes:
        path: file or glob, relative to the data folder.
        format: by the file's ending when absent.
        encoding: of CSV and JSON lines.
        separator: of CSV.
        nulls: CSV cells that mean "unknown" besides the empty one.
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
    format: Format | None = None
    encoding: str = "utf-8"
    separator: str | None = Field(default=None, min_length=1)
    nulls: list[str] = Field(default=[])
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
        ParamsError: no such file, no YAML, or unknown, missing or ill-typed keys, columns that we do not have, an unknown
            time zone or an unparsable time; all faults in one message.
    """
    try:
        mapping = FilesMapping.model_validate(read_yaml(path))
    except ValidationError as error:
        faults = [f"{'.'.join(str(part) for part in fault['loc'])}: {fault['msg']}" for fault in error.errors()]
        raise _faulty(path, faults) from None
    faults = [fault for name, table in mapping.tables.items() for fault in _table_faults(name, table)]
    try:
        mapping.until  # noqa: B018 - parsed to be checked
    except ValueError:
        faults.append(f"collected_until: unparsable time {mapping.collected_until!r}; write 2026-10-31T00:00:00Z")
    if faults:
        raise _faulty(path, faults)
    return mapping


def _faulty(path: Path, faults: list[str]) -> ParamsError:
    lines = "\n".join(f"  {fault}" for fault in faults)
    return ParamsError(f"{path}: {len(faults)} fault{'s' if len(faults) > 1 else ''}; mend them (docs/own-data.md) and run again:\n{lines}")


def _table_faults(name: str, table: TableMapping) -> list[str]:
    spec = TABLES[name]
    ours = [*spec.names, *(column.name for column in spec.raw_extras if column.kind == "time")]
    named = [("columns", key) for key in table.columns] + [("constants", key) for key in table.constants]
    faults = [f"{name}.{part}: we have no column {key!r}; ours are {', '.join(ours)}" for part, key in named if key not in ours]
    faults += [f"{name}.values: {key!r} is not in columns" for key in table.values if key not in table.columns]
    faults += [f"{name}: {key!r} is in columns and in constants" for key in table.constants if key in table.columns]
    try:
        pd.Timestamp(0, tz=table.time_zone)
    except (ValueError, KeyError):
        faults.append(f"{name}.time_zone: unknown zone {table.time_zone!r}; write UTC, Asia/Shanghai, …")
    return faults
