"""Cells of a user's own table as words and as numbers."""

import pandas as pd


def as_words(cells: pd.Series) -> pd.Series:
    """Text without space around it, None where nothing is; 1.0 of a column of numbers is 1.

    Args:
        cells: a column of any type.
    """
    real = pd.api.types.is_float_dtype(cells.dtype)
    text = cells.map(lambda cell: str(int(cell)) if real and float(cell).is_integer() else str(cell).strip(), na_action="ignore")
    text = text.astype("object")
    return text.where(text.notna() & (text != ""), None)


def as_numbers(cells: pd.Series) -> pd.Series:
    """Numbers, true and false being 1 and 0; NaN where a cell is none.

    Args:
        cells: a column of any type.
    """
    flags = {"true": 1, "false": 0}
    plain = cells if pd.api.types.is_numeric_dtype(cells.dtype) else cells.map(lambda cell: flags.get(str(cell).strip().lower(), cell))
    return pd.to_numeric(plain, errors="coerce").astype("float64")
