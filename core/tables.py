"""The tables of docs/data-contract.md: what each column is called, what its values are, and which columns name a row."""

from dataclasses import dataclass
from typing import Literal

import pyarrow

from core.columns import Columns
from core.vocabulary import CHANNELS, EVENT_TYPES, ORIGINS, SCENES

Kind = Literal["id", "text", "word", "whole", "share", "score", "flag", "time", "names", "pairs"]
"""id: trimmed text. text: free text. word: of a closed list. whole: integer, 0 or more. share: number in [0, 1]. score: finite number.
flag: yes or no. time: UTC. names: list of texts. pairs: list of {key, value}."""

TIME_DTYPE = "datetime64[us, UTC]"
PSEUDONYM = r"[0-9a-f]{32}"
LARGEST_WHOLE = 2**53
"""Largest whole number that every reader of a table (JSON and floats included) carries exactly."""


@dataclass(frozen=True)
class ColumnSpec:
    """One column of the contract.

    Attributes:
        name: spelled in `core.columns`.
        kind: what its values are.
        nullable: True where null means unknown; a null list becomes an empty one in the clean table.
        words: the closed list of a ``word``.
        positive: a ``share`` that may not be 0 (a propensity).
    """

    name: str
    kind: Kind
    nullable: bool = False
    words: tuple[str, ...] = ()
    positive: bool = False

    @property
    def dtype(self) -> str:
        """The pandas dtype in a clean table."""
        if self.kind in ("names", "pairs"):
            return "object"
        if self.kind == "whole":
            return "int64" if self.name == Columns.POSITION else "Int64"
        if self.kind == "flag":
            return "boolean" if self.nullable else "bool"
        return {"share": "float64", "score": "float64", "time": TIME_DTYPE}.get(self.kind, "str")

    @property
    def arrow(self) -> pyarrow.DataType:
        """The Parquet type."""
        pairs = pyarrow.list_(pyarrow.struct([("key", pyarrow.string()), ("value", pyarrow.string())]))
        lists = {"names": pyarrow.list_(pyarrow.string()), "pairs": pairs}
        numbers = {"whole": pyarrow.int64(), "share": pyarrow.float64(), "score": pyarrow.float64()}
        others = {"flag": pyarrow.bool_(), "time": pyarrow.timestamp("us", tz="UTC")}
        return (lists | numbers | others).get(self.kind, pyarrow.string())


@dataclass(frozen=True)
class TableSpec:
    """One table of the contract.

    Attributes:
        name: the file's stem.
        columns: in the order they are written.
        key: columns that together name a row.
        raw_extras: columns that only the raw table may have (see docs/data-contract.md, "Raw tables").
    """

    name: str
    columns: tuple[ColumnSpec, ...]
    key: tuple[str, ...]
    raw_extras: tuple[ColumnSpec, ...] = ()

    @property
    def names(self) -> list[str]:
        """Column names in order."""
        return [column.name for column in self.columns]

    @property
    def required(self) -> list[str]:
        """Names of the columns that may not be null."""
        return [column.name for column in self.columns if not column.nullable]


_SCENE = ColumnSpec(Columns.SCENE, "word", words=SCENES)
_CHANNEL = ColumnSpec(Columns.CHANNEL, "word", words=CHANNELS)
_PSEUDONYMOUS = ColumnSpec(Columns.PSEUDONYMOUS, "flag", nullable=True)
_REFUSED_CELLS = ColumnSpec(Columns.REFUSED_CELLS, "text", nullable=True)

TABLES: dict[str, TableSpec] = {
    table.name: table
    for table in (
        TableSpec(
            "items",
            (
                ColumnSpec(Columns.ITEM, "id"),
                ColumnSpec(Columns.TITLE, "text"),
                ColumnSpec(Columns.CATEGORY, "text"),
                ColumnSpec(Columns.BRAND, "text", nullable=True),
                ColumnSpec(Columns.PRICE, "whole", nullable=True),
                ColumnSpec(Columns.ATTRIBUTES, "pairs", nullable=True),
                ColumnSpec(Columns.STOCK, "whole", nullable=True),
                ColumnSpec(Columns.CONSUMABLE, "flag", nullable=True),
                ColumnSpec(Columns.IMAGE, "id", nullable=True),
            ),
            key=(Columns.ITEM,),
            raw_extras=(_REFUSED_CELLS,),
        ),
        TableSpec(
            "events",
            (
                ColumnSpec(Columns.EVENT, "id"),
                ColumnSpec(Columns.USER, "id"),
                ColumnSpec(Columns.ITEM, "id", nullable=True),
                ColumnSpec(Columns.EVENT_TYPE, "word", words=EVENT_TYPES),
                ColumnSpec(Columns.QUERY, "text", nullable=True),
                ColumnSpec(Columns.BASKET, "id", nullable=True),
                ColumnSpec(Columns.VALUE, "whole"),
                _CHANNEL,
                ColumnSpec(Columns.TIMESTAMP, "time"),
            ),
            key=(Columns.EVENT,),
            raw_extras=(_PSEUDONYMOUS, _REFUSED_CELLS),
        ),
        TableSpec(
            "copies",
            (
                ColumnSpec(Columns.COPY, "id"),
                ColumnSpec(Columns.ITEM, "id"),
                _SCENE,
                _CHANNEL,
                ColumnSpec(Columns.TEXT, "text"),
                ColumnSpec(Columns.ORIGIN, "word", words=ORIGINS),
            ),
            key=(Columns.COPY,),
        ),
        TableSpec(
            "impressions",
            (
                ColumnSpec(Columns.REQUEST, "id"),
                ColumnSpec(Columns.POSITION, "whole"),
                ColumnSpec(Columns.TIMESTAMP, "time"),
                ColumnSpec(Columns.USER, "id"),
                _SCENE,
                _CHANNEL,
                ColumnSpec(Columns.CANDIDATES, "names"),
                ColumnSpec(Columns.CREATIVE, "id"),
                ColumnSpec(Columns.ITEM, "id"),
                ColumnSpec(Columns.PROPENSITY, "share", positive=True),
                ColumnSpec(Columns.PROPENSITY_MARGINAL, "share", nullable=True, positive=True),
                ColumnSpec(Columns.POLICY_VERSION, "id"),
                ColumnSpec(Columns.MODEL_VERSION, "id"),
                ColumnSpec(Columns.RETRIEVAL_VERSION, "id"),
                ColumnSpec(Columns.P_CLICK, "share", nullable=True),
                ColumnSpec(Columns.P_CONVERT, "share", nullable=True),
                ColumnSpec(Columns.BID, "whole", nullable=True),
                ColumnSpec(Columns.ECPM, "whole", nullable=True),
                ColumnSpec(Columns.CONSENT, "flag"),
                ColumnSpec(Columns.CLICK, "flag"),
                ColumnSpec(Columns.CONVERSION, "flag"),
                ColumnSpec(Columns.VALUE, "whole"),
            ),
            key=(Columns.REQUEST, Columns.POSITION),
            raw_extras=(_PSEUDONYMOUS, _REFUSED_CELLS, ColumnSpec(Columns.CONVERSION_TIME, "time", nullable=True)),
        ),
        TableSpec(
            "campaigns",
            (
                ColumnSpec(Columns.CAMPAIGN, "id"),
                ColumnSpec(Columns.NAME, "text"),
                ColumnSpec(Columns.START, "time"),
                ColumnSpec(Columns.END, "time"),
                ColumnSpec(Columns.DAILY_BUDGET, "whole", nullable=True),
                ColumnSpec(Columns.BID, "whole", nullable=True),
                ColumnSpec(Columns.TARGET_SCENES, "names", nullable=True),
                ColumnSpec(Columns.TARGET_CHANNELS, "names", nullable=True),
                ColumnSpec(Columns.TARGET_CATEGORIES, "names", nullable=True),
                ColumnSpec(Columns.TARGET_AUDIENCES, "names", nullable=True),
            ),
            key=(Columns.CAMPAIGN,),
            raw_extras=(_REFUSED_CELLS,),
        ),
        TableSpec(
            "creatives",
            (
                ColumnSpec(Columns.CREATIVE, "id"),
                ColumnSpec(Columns.ITEM, "id"),
                _SCENE,
                _CHANNEL,
                ColumnSpec(Columns.TEXT, "text"),
                ColumnSpec(Columns.ORIGIN, "word", words=ORIGINS),
                ColumnSpec(Columns.AUDIENCE, "id", nullable=True),
                ColumnSpec(Columns.GENERATOR_VERSION, "id"),
                ColumnSpec(Columns.QUALITY, "score"),
                ColumnSpec(Columns.VERDICT, "id"),
                ColumnSpec(Columns.AI_LABEL, "flag"),
            ),
            key=(Columns.CREATIVE,),
        ),
        TableSpec(
            "quarantine",
            (
                ColumnSpec(Columns.TABLE, "id"),
                ColumnSpec(Columns.ROW, "whole"),
                ColumnSpec(Columns.REASON, "text"),
                ColumnSpec(Columns.RECORD, "text"),
            ),
            key=(Columns.TABLE, Columns.ROW),
        ),
    )
}

SOURCE_TABLES = ("items", "events", "copies", "impressions", "campaigns")
"""The tables that a source delivers and prepare cleans."""
