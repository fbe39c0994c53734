"""Source `retailrocket`: events.csv with user, item, behavior (view, cart, buy) and timestamp in seconds; no catalogue."""

from pathlib import Path

import pandas as pd

from core.columns import Columns
from core.errors import SourceError
from core.lineage import SourceFacts
from tasks.sources.base import RawTables, filled
from tasks.sources.files import map_columns, mapped_columns_missing
from tasks.sources.mapping import TableMapping
from tasks.sources.reading import read_file

COLLECTED_UNTIL = "2015-09-19T00:00:00+00:00"
"""The published log runs from 3 May to 18 September 2015."""

_EVENTS = TableMapping(
    path="events.csv",
    columns={Columns.USER: "user", Columns.ITEM: "item", Columns.EVENT_TYPE: "behavior", Columns.TIMESTAMP: "timestamp"},
    values={Columns.EVENT_TYPE: {"buy": "purchase", "addtocart": "cart", "transaction": "purchase"}},
    time_unit="s",
)


def read_retailrocket(path: str | None) -> RawTables:
    """Read the log.

    Args:
        path: `collect.path`: the folder with events.csv, or the file.

    Returns:
        Events, and the items that they name, which have no texts: content-based models have nothing to read.

    Raises:
        SourceError: no path, or the file cannot be read.
        SchemaError: the file lacks a column.
    """
    if path is None:
        raise SourceError("source retailrocket needs `collect.path`: the folder with events.csv.")
    place = Path(path)
    file = place / _EVENTS.path if place.is_dir() else place
    found = read_file(file)
    mapped_columns_missing({"events": ({file: found}, _EVENTS)})
    events = map_columns("events", found, _EVENTS)
    ids = pd.Series(sorted(events[Columns.ITEM].dropna().unique(), key=lambda name: (len(name), name)), dtype="str")
    items = filled("items", {Columns.ITEM: ids, Columns.TITLE: "item " + ids, Columns.CATEGORY: "unknown"})
    facts = SourceFacts(
        source="retailrocket",
        synthetic=False,
        missing=[
            "items: no catalogue; titles are the ids and say nothing, no categories, brands, prices or stock",
            "events: no searches and no favourites, no purchase values (0 stands in), no channel (onsite stands in), no ids (row numbers)",
            "no copies",
            "no impressions",
            "no campaigns",
        ],
        collected_until=COLLECTED_UNTIL,
    )
    return RawTables(source=facts, items=items, events=events)
