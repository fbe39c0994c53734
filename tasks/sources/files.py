"""Source `files`: Parquet, CSV or JSON-lines logs and catalogue of the user's own, with a mapping of columns (docs/own-data.md)."""

from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from core.columns import Columns
from core.errors import SchemaError, SourceError
from core.lineage import SourceFacts
from core.params import CollectParams
from core.tables import TABLES, ColumnSpec
from core.vocabulary import MICROS, Channel, EventType, Origin
from tasks.sources.base import RawTables, filled
from tasks.sources.mapping import FilesMapping, TableMapping, load_mapping
from tasks.sources.reading import find_files, read_file

MONEY = (Columns.PRICE, Columns.VALUE, Columns.DAILY_BUDGET, Columns.BID, Columns.ECPM)
DEFAULT_MAPPING = "mapping.yaml"

_MICROS_A_UNIT = {"unit": MICROS, "cent": MICROS // 100, "micro": 1}
_STAND_INS: dict[tuple[str, str], tuple[object, str]] = {
    ("events", Columns.EVENT): (None, "events: no ids; the row number stands in, so repeated rows cannot be told from repeated actions"),
    ("events", Columns.VALUE): (0, "events: no purchase values; 0 stands in"),
    ("events", Columns.CHANNEL): (str(Channel.ONSITE), "events: no channel; onsite stands in"),
    ("copies", Columns.COPY): (None, "copies: no ids; the row number stands in"),
    ("copies", Columns.ORIGIN): (str(Origin.HUMAN), "copies: no origin; human stands in"),
}


def read_files(params: CollectParams, own: Path) -> RawTables:
    """Read the user's own data.

    Args:
        params: `collect.path` (a folder, ``own`` when null) and `collect.mapping` (a file, mapping.yaml in that folder when null).
        own: the folder whose content DVC watches (data/own).

    Returns:
        The tables under our column names; cells that could not be converted stay as found, for prepare to refuse.

    Raises:
        SourceError: a file cannot be read.
        SchemaError: a mapped column is not in its file, or a column that we need is neither mapped nor constant; all at once.
        ParamsError: the mapping is wrong.
    """
    folder = Path(params.path) if params.path else own
    if not folder.is_dir():
        raise SourceError(f"collect.path is {str(folder)!r}: no such folder. Put your files there, or mend the path.")
    path = Path(params.mapping) if params.mapping else folder / DEFAULT_MAPPING
    if not path.is_file():
        raise SourceError(
            f"{path}: no such file. Write a mapping of your columns (docs/own-data.md has one to copy), or set collect.mapping."
        )
    return read_mapped(load_mapping(path), folder, source="files")


def read_mapped(mapping: FilesMapping, folder: Path, *, source: str, missing: tuple[str, ...] = ()) -> RawTables:
    """Read the tables of a mapping.

    Args:
        mapping: checked.
        folder: where its relative paths start.
        source: the name for source.json.
        missing: what the source lacks, in words.

    Raises:
        SourceError: a file cannot be read.
        SchemaError: columns are missing; all at once.
    """
    files = {name: find_files(folder, table.path) for name, table in mapping.tables.items()}
    found = {name: _read(files[name], table) for name, table in mapping.tables.items()}
    mapped_columns_missing({name: (frame, mapping.tables[name]) for name, frame in found.items()})
    tables = {name: map_columns(name, frame, mapping.tables[name]) for name, frame in found.items()}
    stand_ins = [words for (name, column), (_, words) in _STAND_INS.items() if name in found and not _given(mapping.tables[name], column)]
    lacks = [f"no {name}" for name in ("events", "copies", "impressions", "campaigns") if name not in tables]
    until = (mapping.until or _newest_day([file for several in files.values() for file in several])).isoformat()
    facts = SourceFacts(
        source=source,
        synthetic=False,
        missing=[*missing, *mapping.missing, *lacks, *stand_ins],
        collected_until=until,
        feedback_until=until,
    )
    return RawTables(source=facts, **tables)


def mapped_columns_missing(found: Mapping[str, tuple[pd.DataFrame, TableMapping]]) -> None:
    """Refuse files that lack what their mapping names, and mappings that leave out what the contract requires.

    Args:
        found: by table, the file's rows and its mapping.

    Raises:
        SchemaError: one line a missing column, all tables at once.
    """
    faults = [fault for name, (frame, table) in found.items() for fault in _column_faults(name, frame, table)]
    if faults:
        lines = "\n".join(f"  {fault}" for fault in faults)
        raise SchemaError(f"{len(faults)} missing column{'s' if len(faults) > 1 else ''}; mend the mapping (docs/own-data.md):\n{lines}")


def _read(paths: list[Path], table: TableMapping) -> pd.DataFrame:
    frames = [read_file(path, form=table.format, encoding=table.encoding, separator=table.separator, nulls=table.nulls) for path in paths]
    return frames[0] if len(frames) == 1 else pd.concat(frames, ignore_index=True)


def _newest_day(paths: list[Path]) -> pd.Timestamp:
    """The end of the UTC day on which the newest file was last written: no record can be later than its file.

    It is the one thing that depends on a file's date and not on its content; clean tables differ by it only where rows lie in between.
    """
    return pd.Timestamp(max(path.stat().st_mtime for path in paths), unit="s", tz="UTC").floor("D") + pd.Timedelta(days=1)


def _given(table: TableMapping, column: str) -> bool:
    return column in table.columns or column in table.constants


def _column_faults(name: str, frame: pd.DataFrame, table: TableMapping) -> list[str]:
    has = ", ".join(map(str, frame.columns))
    wanted = [(theirs, f"for {ours}") for ours, theirs in table.columns.items()] + [
        (theirs, "for attributes") for theirs in table.attributes
    ]
    faults = [f"{name}: {table.path} has no column {theirs!r} {use}; it has {has}" for theirs, use in wanted if theirs not in frame]
    needed = [column for column in TABLES[name].required if not _given(table, column) and (name, column) not in _STAND_INS]
    return faults + [f"{name}: {column} is neither in columns nor in constants" for column in needed]


def map_columns(name: str, found: pd.DataFrame, table: TableMapping) -> pd.DataFrame:
    """Put a file's rows under our column names; money becomes micros, times become UTC, words become ours.

    Args:
        name: our table.
        found: the file's rows.
        table: its mapping, whose columns are all there.

    Returns:
        All columns of the contract; what could not be converted stays as found.
    """
    spec = TABLES[name]
    columns: dict[str, pd.Series] = {}
    for column in (*spec.columns, *spec.raw_extras):
        if column.name in table.columns:
            columns[column.name] = _converted(found[table.columns[column.name]], column, table)
        elif column.name in table.constants:
            columns[column.name] = pd.Series([table.constants[column.name]] * len(found), index=found.index)
        elif (name, column.name) in _STAND_INS:
            value = _STAND_INS[name, column.name][0]
            columns[column.name] = pd.Series([f"{name}-{row}" if value is None else value for row in range(len(found))], index=found.index)
    if table.attributes:
        cells = found[table.attributes].to_dict("records")
        columns[Columns.ATTRIBUTES] = pd.Series([_attributes(row) for row in cells], index=found.index, dtype="object")
    frame = filled(name, columns)
    for column in spec.raw_extras:
        if column.name in columns:
            frame[column.name] = columns[column.name]
    if name == "events":
        bought = frame[Columns.EVENT_TYPE] == EventType.PURCHASE
        frame[Columns.VALUE] = frame[Columns.VALUE].where(bought, 0)
    return frame


def _attributes(row: Mapping[Hashable, Any]) -> list[dict[str, str]]:
    return [{"key": str(key), "value": str(value)} for key, value in row.items() if pd.notna(value)]


def _converted(cells: pd.Series, column: ColumnSpec, table: TableMapping) -> pd.Series:
    words = table.values.get(column.name)
    if words is not None:
        cells = cells.map(lambda cell: words.get(str(cell).strip(), cell), na_action="ignore")
    if column.name in MONEY:
        return to_micros(cells, _MICROS_A_UNIT[table.money])
    return to_times(cells, table) if column.kind == "time" else cells


def to_micros(cells: pd.Series, factor: int) -> pd.Series:
    """Money as whole micros.

    Args:
        cells: numbers, or text that holds them.
        factor: micros in one of them.

    Returns:
        Int64 where all cells are numbers or null; else a mixture, with the cells that are no number as found.
    """
    numbers = pd.to_numeric(cells, errors="coerce").astype("float64") * factor
    fine = np.isfinite(numbers) & (numbers.abs() < 2**62)
    whole = numbers.where(fine).round().astype("Int64")
    odd = cells.notna() & ~fine
    return whole if not odd.any() else whole.astype("object").mask(odd, cells.astype("object"))


def to_times(cells: pd.Series, table: TableMapping) -> pd.Series:
    """Times as UTC.

    Args:
        cells: times, text, or numbers since 1970 when the table has a time unit.
        table: unit, format and zone.

    Returns:
        Times where all cells are times or null; else a mixture, with the cells that are no time as found. A clock time that the
        zone skips or repeats is no time.
    """
    if pd.api.types.is_datetime64_any_dtype(cells.dtype):
        local = cells.dt.tz_localize(table.time_zone, ambiguous="NaT", nonexistent="NaT") if cells.dt.tz is None else cells
        times: pd.Series = local.dt.tz_convert("UTC")
    elif table.time_unit is not None:
        times = pd.to_datetime(pd.to_numeric(cells, errors="coerce"), unit=table.time_unit, errors="coerce", utc=True)
    elif pd.api.types.is_numeric_dtype(cells.dtype):
        return cells  # a number without a unit is no time
    else:
        times = _text_times(cells.astype("str").where(cells.notna()), table)
    odd = cells.notna() & times.isna()
    found: pd.Series = times.dt.as_unit("us")
    if odd.any():
        found = found.dt.strftime("%Y-%m-%dT%H:%M:%S.%f%z").astype("object").mask(odd, cells.astype("object"))
    return found


def _text_times(text: pd.Series, table: TableMapping) -> pd.Series:
    form = table.time_format or "ISO8601"
    if table.time_zone == "UTC":
        return pd.to_datetime(text, errors="coerce", format=form, utc=True)
    offset = text.str.contains(r"(?:Z|[+-]\d{2}:?\d{2})\s*$", na=False) if table.time_format is None else text.notna() & ("%z" in form)
    naive = pd.to_datetime(text.mask(offset), errors="coerce", format=form)
    local: pd.Series = naive.dt.tz_localize(table.time_zone, ambiguous="NaT", nonexistent="NaT").dt.tz_convert("UTC")
    return local.where(local.notna(), pd.to_datetime(text.where(offset), errors="coerce", format=form, utc=True))
