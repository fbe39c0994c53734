"""Columns as a source has them → columns of the contract, vectorised; what cannot be read is marked with its reason."""

import json
import unicodedata
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow
import pyarrow.compute as pc

from core.moments import moments
from core.tables import LARGEST_WHOLE, ColumnSpec, Kind

Mask = npt.NDArray[np.bool_]
Faults = dict[str, Mask]

_YES = ("true", "1", "1.0", "yes", "t", "y")
_NO = ("false", "0", "0.0", "no", "f", "n")
_SPACES = r"[\s\p{Z}\p{Cc}]+"
_TIME_LIMITS = (pd.Timestamp("1970-01-01", tz="UTC"), pd.Timestamp("2200-01-01", tz="UTC"))


@dataclass(frozen=True)
class Parsed:
    """One parsed column.

    Attributes:
        values: of the contract's dtype; null where the raw value is null or faulty.
        faults: reason → the rows that it holds for, ``(n_rows,)``.
    """

    values: pd.Series
    faults: Faults


def parse_column(raw: pd.Series, spec: ColumnSpec, refused: Mapping[str, Mask] | None = None) -> Parsed:
    """Read one raw column as the contract wants it.

    Text is put in Unicode NFC and stripped; in free text every run of white space and control characters becomes one space;
    empty text is null. Numbers and times may be given as text. Times without an offset are UTC. A cell that the source refused is not
    read.

    Args:
        raw: the column as found, any dtype.
        spec: what the contract says about it.
        refused: reason → the rows whose cell the source refused, ``(n_rows,)``.

    Returns:
        The column and its faults, the missing values of a column that may not be null among them.
    """
    refused, raw = refused or {}, raw.reset_index(drop=True)
    raw = raw.mask(any_of(refused.values(), len(raw))) if refused else raw
    if raw.dtype == object and spec.kind not in ("names", "pairs"):
        kind = pd.api.types.infer_dtype(raw, skipna=True)
        raw = raw.astype("str").where(raw.notna()) if kind in ("string", "empty") else raw
    values, faults = _PARSERS[spec.kind](raw, spec)
    for reason, mask in refused.items():
        faults[reason] = mask | faults.get(reason, False)
    if not spec.nullable:
        faults["missing"] = values.isna().to_numpy(dtype=bool) & ~any_of(faults.values(), len(raw))
    return Parsed(values, {f"{spec.name}: {reason}": mask for reason, mask in faults.items() if mask.any()})


def any_of(masks: Iterable[Mask], size: int) -> Mask:
    """Rows for which at least one mask holds.

    Args:
        masks: none or more, each ``(size,)``.
        size: number of rows.
    """
    found = np.zeros(size, dtype=bool)
    for mask in masks:
        found |= mask
    return found


def plain_text(raw: pd.Series, *, free: bool) -> tuple[pd.Series, Mask]:
    """Text of the contract's form.

    Args:
        raw: text, whole numbers (ids), or a mixture of both.
        free: white space inside is normalised too.

    Returns:
        The text, and which rows hold something that is no text (a list, an object, bytes, true or false).
    """
    text, bad = _as_text(raw)
    array = pyarrow.array(text, type=pyarrow.large_string(), from_pandas=True)
    if isinstance(array, pyarrow.ChunkedArray):  # what a Parquet file of several row groups was read into
        array = array.combine_chunks()
    array = _composed(array)
    if free:
        array = pc.replace_substring_regex(array, pattern=_SPACES, replacement=" ")
    array = pc.utf8_trim(pc.utf8_trim_whitespace(array), characters=" \ufeff\u200b")
    array = pc.if_else(pc.equal(pc.utf8_length(array), 0), None, array)
    return pd.Series(array.to_pandas(), dtype="str"), bad


def _composed(array: pyarrow.Array) -> pyarrow.Array:
    """Unicode NFC. Text in ASCII is so already; Arrow's own utf8_normalize leaves "e" + U+0301 in two pieces."""
    odd = pc.fill_null(pc.invert(pc.string_is_ascii(array)), False)
    if not pc.any(odd).as_py():
        return array
    composed = [unicodedata.normalize("NFC", text) for text in array.filter(odd).to_pylist()]
    return pc.replace_with_mask(array, odd, pyarrow.array(composed, type=array.type))


def _as_text(raw: pd.Series) -> tuple[pd.Series, Mask]:
    none = np.zeros(len(raw), dtype=bool)
    if isinstance(raw.dtype, pd.StringDtype):
        return raw, none
    if isinstance(raw.dtype, pd.CategoricalDtype):
        return _as_text(raw.astype(raw.dtype.categories.dtype))
    if pd.api.types.is_bool_dtype(raw.dtype):
        return pd.Series(None, index=raw.index, dtype="str"), raw.notna().to_numpy(dtype=bool)
    if pd.api.types.is_integer_dtype(raw.dtype):
        return raw.astype("str").where(raw.notna()), none
    if pd.api.types.is_float_dtype(raw.dtype):
        whole = raw.notna() & (raw == np.floor(raw)) & (raw.abs() < LARGEST_WHOLE)
        text = raw.astype("str").where(raw.notna())
        text[whole] = raw[whole].astype("int64").astype("str")  # ids that a missing value turned into floats
        return text, none
    if pd.api.types.is_datetime64_any_dtype(raw.dtype):
        return pd.Series(None, index=raw.index, dtype="str"), raw.notna().to_numpy(dtype=bool)
    cells = [_cell_text(value) for value in raw]
    bad = np.fromiter((cell is _NO_TEXT for cell in cells), dtype=bool, count=len(cells))
    return pd.Series([None if cell is _NO_TEXT else cell for cell in cells], index=raw.index, dtype="str"), bad


_NO_TEXT: Any = object()


def _cell_text(value: object) -> Any:
    if isinstance(value, str):
        return value
    if value is None or value is pd.NA or value is pd.NaT:
        return None
    if isinstance(value, float):
        return None if np.isnan(value) else str(int(value)) if value.is_integer() else repr(value)
    return str(value) if isinstance(value, (int, np.integer)) and not isinstance(value, bool) else _NO_TEXT


def _text(raw: pd.Series, spec: ColumnSpec) -> tuple[pd.Series, Faults]:
    values, bad = plain_text(raw, free=spec.kind == "text")
    return values, {"not text": bad}


def _word(raw: pd.Series, spec: ColumnSpec) -> tuple[pd.Series, Faults]:
    values, bad = plain_text(raw, free=False)
    unknown = (values.notna() & ~values.isin(spec.words)).to_numpy(dtype=bool)
    return values, {"not text": bad, f"unknown; known are {', '.join(spec.words)}": unknown}


def _numbers(raw: pd.Series) -> tuple[pd.Series, Mask]:
    if pd.api.types.is_numeric_dtype(raw.dtype) and not pd.api.types.is_bool_dtype(raw.dtype):
        return raw, np.zeros(len(raw), dtype=bool)
    text, bad = _as_text(raw)
    numbers = pd.to_numeric(text.str.strip(), errors="coerce")
    given = text.notna() & (text.str.strip() != "")
    return numbers, bad | (given & numbers.isna()).to_numpy(dtype=bool)


def _whole(raw: pd.Series, spec: ColumnSpec) -> tuple[pd.Series, Faults]:
    numbers, bad = _numbers(raw)
    floats = numbers.to_numpy(dtype="float64", na_value=np.nan)
    known = ~np.isnan(floats)
    broken = ~bad & ((known & (floats != np.floor(floats))) | np.isinf(floats))
    negative = known & ~broken & (floats < 0)
    large = known & ~broken & (floats > LARGEST_WHOLE)
    good = known & ~broken & ~negative & ~large
    values = pd.array(np.where(good, floats, 0).astype("int64"), dtype="Int64")
    values[~good] = pd.NA
    return pd.Series(values), {"not a number": bad, "not a whole number": broken, "negative": negative, f"above {LARGEST_WHOLE}": large}


def _real(raw: pd.Series, spec: ColumnSpec) -> tuple[pd.Series, Faults]:
    numbers, bad = _numbers(raw)
    floats = numbers.to_numpy(dtype="float64", na_value=np.nan)
    infinite = np.isinf(floats)
    outside = np.zeros(len(raw), dtype=bool)
    if spec.kind == "share":
        low = floats <= 0 if spec.positive else floats < 0
        outside = ~infinite & (low | (floats > 1))
    values = pd.Series(np.where(bad | infinite | outside, np.nan, floats))
    return values, {"not a number": bad, "not finite": infinite, f"outside {'(' if spec.positive else '['}0, 1]": outside}


def _flag(raw: pd.Series, spec: ColumnSpec) -> tuple[pd.Series, Faults]:
    if pd.api.types.is_bool_dtype(raw.dtype):
        return raw.astype("boolean"), {}
    cells = pd.Series([str(value) if isinstance(value, bool) else value for value in raw], dtype="object") if raw.dtype == object else raw
    text, bad = _as_text(cells)
    text = text.str.strip().str.lower()
    values = pd.Series(pd.NA, index=raw.index, dtype="boolean")
    values[text.isin(_YES).to_numpy()] = True
    values[text.isin(_NO).to_numpy()] = False
    given = text.notna() & (text != "")
    return values, {"not a yes or no": bad | (given & values.isna()).to_numpy(dtype=bool)}


def _time(raw: pd.Series, spec: ColumnSpec) -> tuple[pd.Series, Faults]:
    if pd.api.types.is_datetime64_any_dtype(raw.dtype):
        known, values = raw.notna(), pd.to_datetime(raw, utc=True)
    else:
        text, bad = _as_text(raw if raw.dtype != object else _moments_as_text(raw))
        if pd.api.types.is_numeric_dtype(raw.dtype):
            bad = raw.notna().to_numpy(dtype=bool)  # a number without a unit is no time
            text = text.where(~bad)
        text = text.str.strip()
        known = (text.notna() & (text != "")) | (pd.Series(bad) & raw.notna())
        values = moments(text)
    values = values.where((values >= _TIME_LIMITS[0]) & (values < _TIME_LIMITS[1])).dt.as_unit("us")
    return values, {"unparsable time": (known & values.isna()).to_numpy(dtype=bool)}


def _moments_as_text(raw: pd.Series) -> pd.Series:
    """Times and days among other things as text."""
    cells = [None if value is pd.NaT else value.isoformat() if isinstance(value, date) else value for value in raw]
    return pd.Series(cells, index=raw.index, dtype="object")


def _listed(raw: pd.Series, read: Callable[[object], list[Any] | None], *, empty: bool) -> tuple[pd.Series, Faults]:
    cells: list[list[Any] | None] = []
    bad = np.zeros(len(raw), dtype=bool)
    for row, value in enumerate(raw):
        found: object = value.tolist() if isinstance(value, np.ndarray) else value
        if isinstance(found, str):
            found = _json(found)
        if found is None or (isinstance(found, float) and np.isnan(found)) or found is pd.NA:
            cells.append([] if empty else None)
            continue
        cell = read(found)
        bad[row] = cell is None
        cells.append(cell)
    return pd.Series(cells, dtype="object"), {"not a list": bad}


def _json(text: str) -> object:
    if not text.strip():
        return None
    try:
        return json.loads(text)
    except ValueError:
        return text


def _names(raw: pd.Series, spec: ColumnSpec) -> tuple[pd.Series, Faults]:
    def read(value: object) -> list[str] | None:
        names = [_cell_text(name) for name in value] if isinstance(value, (list, tuple)) else [None]
        return None if any(name is None or name is _NO_TEXT for name in names) else [str(name).strip() for name in names]

    return _listed(raw, read, empty=spec.nullable)


def _pairs(raw: pd.Series, spec: ColumnSpec) -> tuple[pd.Series, Faults]:
    return _listed(raw, read_pairs, empty=True)


def read_pairs(value: object) -> list[dict[str, str]] | None:
    """Attributes in any of the usual forms.

    Args:
        value: ``{"colour": "red"}``, ``[{"key": "colour", "value": "red"}]`` or ``[["colour", "red"]]``.

    Returns:
        A list of ``{"key", "value"}`` without empty ones, or None when it is none of these.
    """
    if isinstance(value, dict):
        value = list(value.items())
    if not isinstance(value, (list, tuple)):
        return None
    pairs: list[dict[str, str]] = []
    for pair in value:
        both = (pair.get("key"), pair.get("value")) if isinstance(pair, dict) else tuple(pair) if isinstance(pair, (list, tuple)) else ()
        cells = [_cell_text(part) for part in both]
        if len(cells) != 2 or any(cell is _NO_TEXT for cell in cells):
            return None
        key, text = ("" if cell is None else " ".join(cell.split()) for cell in cells)
        if key and text:
            pairs.append({"key": key, "value": text})
    return pairs


_PARSERS: dict[Kind, Callable[[pd.Series, ColumnSpec], tuple[pd.Series, Faults]]] = {
    "id": _text,
    "text": _text,
    "word": _word,
    "whole": _whole,
    "share": _real,
    "score": _real,
    "flag": _flag,
    "time": _time,
    "names": _names,
    "pairs": _pairs,
}
