"""Source `files`: Parquet, CSV or JSON-lines logs and catalogue of the user's own, with a mapping of columns (docs/own-data.md)."""

import json
from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from core.columns import Columns
from core.errors import SchemaError, SourceError
from core.lineage import SourceFacts
from core.moments import ISO, moments
from core.params import CollectParams
from core.tables import LARGEST_WHOLE, TABLES, ColumnSpec
from core.vocabulary import MICROS, Channel, EventType, Origin
from tasks.sources.base import RawTables, filled
from tasks.sources.mapping import FilesMapping, TableMapping, load_mapping
from tasks.sources.reading import find_files, is_json_lines, other_separator

MONEY = (Columns.PRICE, Columns.VALUE, Columns.DAILY_BUDGET, Columns.BID, Columns.ECPM)
DEFAULT_MAPPING = "mapping.yaml"
Faults = dict[str, npt.NDArray[np.bool_]]
"""Reason → the rows whose cell is refused for it, ``(n_rows,)``."""

_OFFSET = r"(?:Z|[T ]\d[\d:.]*\s?[+-]\d{2}(?::?\d{2})?)$"
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
        The tables under our column names; cells that could not be converted stay as found, and `refused_cells` tells prepare why.

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
    found = {name: {path: table.read(path) for path in files[name]} for name, table in mapping.tables.items()}
    mapped_columns_missing({name: (parts, mapping.tables[name]) for name, parts in found.items()})
    tables = {name: map_columns(name, _joined(list(parts.values())), mapping.tables[name]) for name, parts in found.items()}
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


def mapped_columns_missing(found: Mapping[str, tuple[Mapping[Path, pd.DataFrame], TableMapping]]) -> None:
    """Refuse files that lack what their mapping names, and mappings that leave out what the contract requires.

    Args:
        found: by table, the rows of each of its files, and its mapping.

    Raises:
        SchemaError: one line a missing column and file, all tables at once.
    """
    faults = [fault for name, (parts, table) in found.items() for fault in _column_faults(name, parts, table)]
    if faults:
        lines = "\n".join(f"  {fault}" for fault in faults)
        raise SchemaError(f"{len(faults)} missing column{'s' if len(faults) > 1 else ''}; mend the mapping (docs/own-data.md):\n{lines}")


def _joined(frames: list[pd.DataFrame]) -> pd.DataFrame:
    """The rows of a table's files, one after the other."""
    return frames[0] if len(frames) == 1 else pd.concat(frames, ignore_index=True)


def _newest_day(paths: list[Path]) -> pd.Timestamp:
    """The end of the UTC day on which the newest file was last written: no record can be later than its file.

    It is the one thing that depends on a file's date and not on its content; clean tables differ by it only where rows lie in between.
    """
    return pd.Timestamp(max(path.stat().st_mtime for path in paths), unit="s", tz="UTC").floor("D") + pd.Timedelta(days=1)


def _given(table: TableMapping, column: str) -> bool:
    return column in table.columns or column in table.constants


def _column_faults(name: str, parts: Mapping[Path, pd.DataFrame], table: TableMapping) -> list[str]:
    wanted = [(theirs, f"for {ours}") for ours, theirs in table.columns.items()] + [
        (theirs, "for attributes") for theirs in table.attributes
    ]
    groups, faults = _by_columns(parts, table), []
    for columns, paths in groups.items():
        others = len(paths) - 1
        where = table.path if len(groups) == 1 else paths[0].name + (f" (and {others} more like it)" if others else "")
        missing = [(theirs, use) for theirs, use in wanted if theirs not in columns]
        hint = other_separator(columns) if missing else ""
        if hint:
            faults.append(f"{name}: {where}: {hint}")
            continue
        for theirs, use in missing:
            remedy = ". Other files have it: add it there, empty if need be" if any(theirs in held for held in groups) else ""
            faults.append(f"{name}: {where} has no column {theirs!r} {use}; it has {', '.join(columns)}{remedy}")
    needed = [column for column in TABLES[name].required if not _given(table, column) and (name, column) not in _STAND_INS]
    return faults + [f"{name}: {column} is neither in columns nor in constants" for column in needed]


def _by_columns(parts: Mapping[Path, pd.DataFrame], table: TableMapping) -> dict[tuple[str, ...], list[Path]]:
    """A table's files by the columns that they have; JSON lines leave keys out that hold nothing, so theirs are counted together."""
    lines = [path for path in parts if is_json_lines(path, table.format)]
    keys = tuple(dict.fromkeys(str(column) for path in lines for column in parts[path].columns))
    found = {keys: lines} if lines else {}
    for path in parts.keys() - set(lines):
        found.setdefault(tuple(map(str, parts[path].columns)), []).append(path)
    return {columns: sorted(paths) for columns, paths in sorted(found.items(), key=lambda item: min(item[1]))}


def map_columns(name: str, found: pd.DataFrame, table: TableMapping) -> pd.DataFrame:
    """Put a file's rows under our column names; money becomes micros, times become UTC, words become ours.

    Args:
        name: our table.
        found: the file's rows.
        table: its mapping, whose columns are all there.

    Returns:
        All columns of the contract; what could not be converted stays as found, and `refused_cells` says why.
    """
    spec = TABLES[name]
    columns: dict[str, pd.Series] = {}
    refused: dict[str, Faults] = {}
    for column in (*spec.columns, *spec.raw_extras):
        if column.name in table.columns:
            columns[column.name], refused[column.name] = _converted(found[table.columns[column.name]], column, table)
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
        refused[Columns.VALUE] = {reason: mask & bought.to_numpy(dtype=bool) for reason, mask in refused.get(Columns.VALUE, {}).items()}
    notes = _notes(refused, found.index)
    if notes.notna().any():
        frame[Columns.REFUSED_CELLS] = notes
    return frame


def _attributes(row: Mapping[Hashable, Any]) -> list[dict[str, str]]:
    return [{"key": str(key), "value": str(value)} for key, value in row.items() if pd.notna(value)]


def _converted(cells: pd.Series, column: ColumnSpec, table: TableMapping) -> tuple[pd.Series, Faults]:
    words = table.values.get(column.name)
    if words is not None:
        cells = cells.map(lambda cell: words.get(str(cell).strip(), cell), na_action="ignore")
    if column.name in MONEY:
        return to_micros(cells, table.money)
    return to_times(cells, table) if column.kind == "time" else (cells, {})


def _notes(refused: Mapping[str, Faults], index: pd.Index) -> pd.Series:
    """What `refused_cells` of the data contract says: for each row with a refused cell a JSON object, column → reason."""
    rows: dict[int, dict[str, str]] = {}
    for column, faults in refused.items():
        for reason, mask in faults.items():
            for row in np.flatnonzero(mask).tolist():
                rows.setdefault(row, {})[column] = reason
    notes = np.full(len(index), None, dtype="object")
    for row, reasons in rows.items():
        notes[row] = json.dumps(reasons, ensure_ascii=False)
    return pd.Series(notes, index=index, dtype="str")


def to_micros(cells: pd.Series, money: str) -> tuple[pd.Series, Faults]:
    """Money as whole micros.

    Args:
        cells: numbers, or text that holds them.
        money: what they count: unit, cent or micro.

    Returns:
        Int64 where all cells are numbers or null; else a mixture, with the cells that are no number, or one beyond what tables carry
        exactly, as found; and these, by reason.
    """
    factor = _MICROS_A_UNIT[money]
    numbers = pd.to_numeric(cells, errors="coerce").astype("float64") * factor
    fine = numbers.abs() <= LARGEST_WHOLE
    whole = numbers.where(fine).round().astype("Int64")
    faults = {
        "not a number": _is_given(cells) & numbers.isna(),
        "negative": numbers < -LARGEST_WHOLE,
        f"above {LARGEST_WHOLE} micros ({LARGEST_WHOLE // factor} where money is counted in {money})": numbers > LARGEST_WHOLE,
    }
    return _as_found(whole, cells, faults)


def to_times(cells: pd.Series, table: TableMapping) -> tuple[pd.Series, Faults]:
    """Times as UTC.

    Args:
        cells: times, text, or numbers since 1970 when the table has a time unit.
        table: unit, format and zone.

    Returns:
        Times where all cells are times or null; else a mixture, with the cells that are no time as found; and these, by reason. A
        clock time that the zone skips or repeats is no time.
    """
    given = _is_given(cells)
    skipped = pd.Series(False, index=cells.index)
    how = ""
    if pd.api.types.is_datetime64_any_dtype(cells.dtype):
        times, skipped = (cells.dt.tz_convert("UTC"), skipped) if cells.dt.tz is not None else _localized(cells, table.time_zone)
    elif table.time_unit is not None:
        how = f" (time_unit: {table.time_unit})"
        times = pd.to_datetime(pd.to_numeric(cells, errors="coerce"), unit=table.time_unit, errors="coerce", utc=True)
    elif pd.api.types.is_numeric_dtype(cells.dtype):
        return cells, {"unparsable time (a number without time_unit)": given.to_numpy(dtype=bool)}
    else:
        how = "" if table.time_format is None else f" (time_format: {table.time_format})"
        times, skipped = _text_times(cells.astype("str").where(given).str.strip(), table)
    faults = {
        f"unparsable time{how}": given & times.isna() & ~skipped,
        f"a clock time that {table.time_zone} skips or repeats": skipped,
    }
    found = times.dt.as_unit("us")
    if any(mask.any() for mask in faults.values()):
        found = found.dt.strftime("%Y-%m-%dT%H:%M:%S.%f%z")
    return _as_found(found, cells, faults)


def _as_found(converted: pd.Series, cells: pd.Series, faults: Mapping[str, pd.Series]) -> tuple[pd.Series, Faults]:
    """The converted cells, the refused ones among them as found."""
    masks = {reason: mask.to_numpy(dtype=bool, na_value=False) for reason, mask in faults.items()}
    odd = np.logical_or.reduce(list(masks.values()))
    return (converted.astype("object").mask(odd, cells.astype("object")) if odd.any() else converted), masks


def _is_given(cells: pd.Series) -> pd.Series:
    """Cells that hold something; blank text is nothing."""
    plain = pd.api.types.is_numeric_dtype(cells.dtype) or pd.api.types.is_datetime64_any_dtype(cells.dtype)
    return cells.notna() if plain else cells.notna() & (cells.astype("str").str.strip() != "")


def _localized(naive: pd.Series, zone: str) -> tuple[pd.Series, pd.Series]:
    """Clock times of a zone in UTC, and which of them it skips or repeats."""
    times = naive.dt.tz_localize(zone, ambiguous="NaT", nonexistent="NaT").dt.tz_convert("UTC")
    return times, naive.notna() & times.isna()


def _text_times(text: pd.Series, table: TableMapping) -> tuple[pd.Series, pd.Series]:
    form = table.time_format or ISO
    if table.time_zone == "UTC":
        return moments(text, form), pd.Series(False, index=text.index)
    offset = text.str.contains(_OFFSET, na=False) if table.time_format is None else text.notna() & ("%z" in form.lower())
    local, skipped = _localized(moments(text.mask(offset), form, utc=False), table.time_zone)
    return local.where(local.notna(), moments(text.where(offset), form)), skipped
