"""The one text that an item is encoded as, and the reading of the attributes column."""

from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd

from core.columns import Columns


def attributes_of(value: object) -> list[tuple[str, str]]:
    """The attributes column's value as pairs, in the order they stand in.

    Args:
        value: what Parquet gives for one row: an array or list of ``{"key", "value"}`` records or of pairs, a mapping, or None.

    Returns:
        ``(key, value)`` pairs; attributes without a value are left out.
    """
    if value is None or isinstance(value, float):
        return []
    if isinstance(value, Mapping):
        return [(str(key), str(held)) for key, held in value.items() if held is not None and str(held)]
    if not isinstance(value, Iterable) or isinstance(value, str):
        raise ValueError(f"attributes are {type(value).__name__}; a list of key/value records is needed")
    pairs: list[tuple[str, str]] = []
    for record in value:
        key, held = (record.get("key"), record.get("value")) if isinstance(record, Mapping) else record
        if key is not None and held is not None and str(held):
            pairs.append((str(key), str(held)))
    return pairs


def item_text(row: Mapping[str, Any] | Any) -> str:
    """Title, category, brand and attributes of an item as one text; used wherever an item is encoded.

    Two items that differ in nothing but id, price and stock have one text, and are encoded once.

    Args:
        row: one row of the items table: a Series or a mapping by column name.

    Returns:
        The text, its parts joined by spaces; unknown parts are left out.
    """
    parts = [_word(row.get(Columns.TITLE)), _word(row.get(Columns.CATEGORY)), _word(row.get(Columns.BRAND))]
    pairs = attributes_of(row.get(Columns.ATTRIBUTES))
    return " ".join([part for part in parts if part] + [f"{key}:{value}" for key, value in pairs])


def item_texts(items: pd.DataFrame) -> list[str]:
    """`item_text` of every row.

    Args:
        items: the items table.

    Returns:
        One text a row, in order.
    """
    columns = [name for name in (Columns.TITLE, Columns.CATEGORY, Columns.BRAND, Columns.ATTRIBUTES) if name in items.columns]
    return [item_text({str(key): value for key, value in row.items()}) for row in items[columns].to_dict("records")]


def _word(value: object) -> str:
    return "" if value is None or value is pd.NA or isinstance(value, float) else str(value).strip()
