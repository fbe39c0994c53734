"""Raw tables as Parquet: every column of one type, whatever mixture the source has."""

import json

import numpy as np
import pandas as pd
import pyarrow

from core.tables import TABLES, ColumnSpec


def storable(name: str, frame: pd.DataFrame) -> tuple[pd.DataFrame, pyarrow.Schema]:
    """Give each column one Parquet type: the contract's for lists and for columns without values, else its own; mixtures become text.

    Args:
        name: the table.
        frame: raw rows; columns that the contract does not know are dropped.

    Returns:
        The table and its types.
    """
    spec = TABLES[name]
    columns: dict[str, pd.Series] = {}
    fields = []
    for column in (*spec.columns, *spec.raw_extras):
        if column.name not in frame:
            continue
        values, kind = _one_type(frame[column.name].reset_index(drop=True), column)
        columns[column.name] = values
        fields.append((column.name, kind))
    return pd.DataFrame(columns), pyarrow.schema(fields)


def _one_type(values: pd.Series, column: ColumnSpec) -> tuple[pd.Series, pyarrow.DataType]:
    if values.isna().all() and column.kind not in ("names", "pairs"):
        empty = pd.Series(None, index=values.index, dtype="str" if column.dtype == "bool" else column.dtype.replace("int64", "Int64"))
        return empty, pyarrow.string() if column.dtype == "bool" else column.arrow
    if values.dtype == object:
        return _of_objects(values, column)
    if isinstance(values.dtype, pd.CategoricalDtype):
        return _one_type(values.astype(pd.api.types.pandas_dtype(values.dtype.categories.dtype)), column)
    if isinstance(values.dtype, pd.DatetimeTZDtype):
        return values, pyarrow.timestamp(values.dtype.unit, tz=str(values.dtype.tz))
    if isinstance(values.dtype, pd.StringDtype):
        return values, pyarrow.string()
    if pd.api.types.is_bool_dtype(values.dtype):
        return values, pyarrow.bool_()
    if pd.api.types.is_integer_dtype(values.dtype):
        return values, pyarrow.int64()
    if pd.api.types.is_float_dtype(values.dtype):
        return values, pyarrow.float64()
    return values.astype("str").where(values.notna()), pyarrow.string()


def _of_objects(values: pd.Series, column: ColumnSpec) -> tuple[pd.Series, pyarrow.DataType]:
    if column.kind == "names" and all(_is_names(value) for value in values):
        return values, column.arrow
    if column.kind == "pairs" and all(_is_pairs(value) for value in values):
        return values, column.arrow
    inferred = pd.api.types.infer_dtype(values, skipna=True)
    if inferred == "boolean":
        return values.astype("boolean"), pyarrow.bool_()
    if inferred == "integer" and max(abs(int(value)) for value in values.dropna()) < 2**63:
        return values.astype("Int64"), pyarrow.int64()
    if inferred in ("floating", "mixed-integer-float") and column.kind not in ("id", "text", "word"):
        return values.where(values.notna(), np.nan).astype("float64"), pyarrow.float64()
    return pd.Series([_as_text(value) for value in values], dtype="str"), pyarrow.string()


def _is_names(value: object) -> bool:
    return isinstance(value, (list, np.ndarray)) and all(isinstance(name, str) for name in value)


def _is_pairs(value: object) -> bool:
    return isinstance(value, (list, np.ndarray)) and all(
        isinstance(pair, dict) and pair.keys() == {"key", "value"} and all(isinstance(part, str) for part in pair.values())
        for pair in value
    )


def _as_text(value: object) -> str | None:
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if isinstance(value, str) or value is None:
        return value
    if isinstance(value, (list, dict)):
        return json.dumps(value, ensure_ascii=False, default=str)
    if value is pd.NA or value is pd.NaT or (isinstance(value, float) and np.isnan(value)):
        return None
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)
