"""The data contract of docs/data-contract.md as code: pandera schemas and Parquet types of every table in `core.tables`.

`CLEAN` is what leaves prepare; `RAW` is what prepare accepts: the columns that may not be null must be there, their content is
judged row by row; `arrow_schema` gives the Parquet types, for empty tables too.
"""

import numpy as np
import pandas as pd
import pandera.pandas as pa
import pyarrow

from core.errors import SchemaError
from core.tables import LARGEST_WHOLE, SOURCE_TABLES, TABLES, ColumnSpec, TableSpec


def _checks(column: ColumnSpec) -> list[pa.Check]:
    if column.kind == "word":
        return [pa.Check.isin(column.words, error=f"{column.name}: not one of {', '.join(column.words)}")]
    if column.kind == "whole":
        return [pa.Check.ge(0, error=f"{column.name}: negative"), pa.Check.le(LARGEST_WHOLE, error=f"{column.name}: above {LARGEST_WHOLE}")]
    if column.kind == "share":
        low = (
            pa.Check.gt(0, error=f"{column.name}: outside (0, 1]")
            if column.positive
            else pa.Check.ge(0, error=f"{column.name}: outside [0, 1]")
        )
        return [low, pa.Check.le(1, error=low.error)]
    if column.kind == "score":
        return [pa.Check(np.isfinite, error=f"{column.name}: not finite")]
    if column.kind in ("names", "pairs"):
        return [pa.Check(lambda value: isinstance(value, (list, np.ndarray)), element_wise=True, error=f"{column.name}: not a list")]
    return [pa.Check.str_length(min_value=1, error=f"{column.name}: empty")] if column.dtype == "str" and not column.nullable else []


def _clean_schema(table: TableSpec) -> pa.DataFrameSchema:
    columns = {c.name: pa.Column(c.dtype, checks=_checks(c), nullable=c.nullable and c.dtype != "object") for c in table.columns}
    return pa.DataFrameSchema(columns, unique=list(table.key), strict=True, ordered=True, name=table.name)


CLEAN: dict[str, pa.DataFrameSchema] = {name: _clean_schema(table) for name, table in TABLES.items()}
"""Schema of every clean table: columns, order, types, ranges, closed lists, unique key. User ids: `tasks.cleaning.rows.hide_users`."""

RAW: dict[str, pa.DataFrameSchema] = {
    name: pa.DataFrameSchema({column: pa.Column(None, nullable=True) for column in TABLES[name].required}, strict=False, name=f"raw_{name}")
    for name in SOURCE_TABLES
}
"""Schema of every raw table: the columns that may not be null are there. Their content is judged row by row in prepare."""


def arrow_schema(name: str) -> pyarrow.Schema:
    """The Parquet types of a table.

    Args:
        name: a key of `TABLES`.

    Returns:
        One field a column, in order.
    """
    return pyarrow.schema([(column.name, column.arrow) for column in TABLES[name].columns])


def empty_table(name: str) -> pd.DataFrame:
    """A table with the right columns and types, and no rows: what a source writes for what it lacks.

    Args:
        name: a key of `TABLES`.
    """
    return pd.DataFrame({column.name: pd.Series([], dtype=column.dtype) for column in TABLES[name].columns})


def check_clean(name: str, frame: pd.DataFrame) -> None:
    """Hold a clean table against the contract.

    Args:
        name: a key of `TABLES`.
        frame: the table.

    Raises:
        SchemaError: a column is missing, in excess or of another type, or a value breaks its check; all faults in one message.
    """
    try:
        CLEAN[name].validate(frame.reset_index(drop=True), lazy=True)
    except pa.errors.SchemaErrors as error:
        cases = error.failure_cases.drop_duplicates(["column", "check"])
        lines = [f"  {case['column']}: {case['check']} (first: {case['failure_case']!r})" for case in cases.to_dict("records")]
        raise SchemaError(f"{name}: {len(lines)} breaches of docs/data-contract.md:\n" + "\n".join(lines)) from None


def missing_columns(tables: dict[str, pd.DataFrame]) -> list[str]:
    """What raw tables lack of the columns that the contract requires.

    Args:
        tables: raw tables by name.

    Returns:
        ``table.column``, in the contract's order.
    """
    found: list[str] = []
    for name, frame in tables.items():
        try:
            RAW[name].validate(frame.head(0), lazy=True)
        except pa.errors.SchemaErrors as error:
            found += [f"{name}.{column}" for column in error.failure_cases["failure_case"]]
    return found
