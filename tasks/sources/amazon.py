"""Source `amazon`: review sequences in two published forms: Beauty (ids with attributes) and Games (English titles)."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from core.columns import Columns
from core.errors import SourceError
from core.lineage import SourceFacts
from core.vocabulary import Channel, EventType
from tasks.sources.base import RawTables, filled
from tasks.sources.reading import find_files, read_file

LAST_DAY = pd.Timestamp("2014-07-23", tz="UTC")
"""The last day of the published reviews; every user's last review is put there."""

_ORDER_ONLY = (
    "events: no times, only an order; each user's reviews are put a day apart, the last one on the last day of the collection, "
    "so that the split by time is the published leave-the-last-out. Gaps between them mean nothing"
)
_LACKS = ["no copies", "no impressions", "no campaigns", "events: reviews stand for purchases; no values, no channel (onsite stands in)"]


def read_amazon(path: str | None) -> RawTables:
    """Read review sequences.

    Args:
        path: `collect.path`: a folder with ``*.item`` and ``*.inter`` files (titles), or with a ``*.txt`` file of lines
            ``user item item …`` and perhaps a ``*_item2attributes.json`` beside it.

    Returns:
        Items and purchases.

    Raises:
        SourceError: no path, or files of neither form.
    """
    if path is None or not Path(path).is_dir():
        raise SourceError(f"source amazon needs `collect.path`: a folder with *.item and *.inter, or with *.txt; found {path!r}.")
    folder = Path(path)
    if any(folder.glob("*.inter")):
        return read_titled(find_files(folder, "*.inter"), find_files(folder, "*.item"), folder.name)
    beside = sorted(folder.glob("*_item2attributes.json"))
    return read_numbered(find_files(folder, "*.txt")[0], beside[0] if beside else None)


def read_titled(line_files: Sequence[Path], item_files: Sequence[Path], category: str) -> RawTables:
    """Read sequences whose items have titles.

    Args:
        line_files: tables ``user_id:token item_id_list:token_seq item_id:token``, separated by tabs.
        item_files: tables ``item_id:token title:token_seq``.
        category: stands in for the category.

    Returns:
        Items and purchases, in time order within a user.

    Raises:
        SourceError: a column is missing.
    """
    items = pd.concat([read_file(file, form="csv", separator="\t") for file in item_files], ignore_index=True)
    lines = pd.concat([read_file(file, form="csv", separator="\t") for file in line_files], ignore_index=True)
    needed = ({"item_id:token", "title:token_seq"} - set(items)) | (
        {"user_id:token", "item_id_list:token_seq", "item_id:token"} - set(lines)
    )
    if needed:
        raise SourceError(f"{line_files[0].parent}: the files lack the columns {', '.join(sorted(needed))} of the published form.")
    sequences = (lines["item_id_list:token_seq"].fillna("") + " " + lines["item_id:token"]).str.split()
    catalogue = {Columns.ITEM: items["item_id:token"], Columns.TITLE: items["title:token_seq"], Columns.CATEGORY: category}
    missing = [_ORDER_ONLY, "items: titles only; the folder's name stands in for the category; no brands, prices or stock", *_LACKS]
    return _tables(filled("items", catalogue), lines["user_id:token"], sequences, missing)


def read_numbered(file: Path, attributes: Path | None) -> RawTables:
    """Read sequences of item numbers.

    Args:
        file: one line a user: ``user item item …`` in time order.
        attributes: JSON object from item to a list of attribute numbers; None where there is none.

    Returns:
        Items and purchases, in time order within a user.
    """
    lines = pd.Series(file.read_text(encoding="utf-8").splitlines(), dtype="str").str.split()
    lines = lines[[len(line) > 1 for line in lines]].reset_index(drop=True)
    sequences = lines.str[1:]
    ids = pd.Series(sorted(set(sequences.explode()), key=lambda name: (len(name), name)), dtype="str")
    known: dict[str, list[int]] = json.loads(attributes.read_text(encoding="utf-8")) if attributes is not None else {}
    pairs = [[{"key": "attribute", "value": str(number)} for number in known.get(item, [])] for item in ids]
    catalogue = {
        Columns.ITEM: ids,
        Columns.TITLE: "item " + ids,
        Columns.CATEGORY: "unknown",
        Columns.ATTRIBUTES: pd.Series(pairs, dtype="object"),
    }
    missing = [_ORDER_ONLY, "items: no titles; ids and numbered categories and brands, which say nothing to a text encoder", *_LACKS]
    return _tables(filled("items", catalogue), lines.str[0], sequences, missing)


def _tables(items: pd.DataFrame, users: pd.Series, sequences: pd.Series, missing: list[str]) -> RawTables:
    counts = np.array([len(sequence) for sequence in sequences], dtype=np.int64)
    row = np.repeat(np.arange(len(counts)), counts)
    place = np.arange(len(row)) - np.repeat(np.cumsum(counts) - counts, counts)
    days_before_last = np.repeat(counts, counts) - 1 - place
    item = sequences.explode().astype("str").reset_index(drop=True)
    user = users.iloc[row].astype("str").reset_index(drop=True)
    events = {
        Columns.EVENT: "review-" + pd.Series(range(len(row))).astype("str"),
        Columns.USER: user,
        Columns.ITEM: item,
        Columns.EVENT_TYPE: str(EventType.PURCHASE),
        Columns.VALUE: 0,
        Columns.CHANNEL: str(Channel.ONSITE),
        Columns.TIMESTAMP: LAST_DAY - pd.Series(pd.to_timedelta(days_before_last, unit="D")),
    }
    until = (LAST_DAY + pd.Timedelta(days=1)).isoformat()
    facts = SourceFacts(source="amazon", synthetic=False, missing=missing, collected_until=until)
    return RawTables(source=facts, items=items, events=filled("events", events))
