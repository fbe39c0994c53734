"""What every source hands to `collect`: raw tables under our column names, and the truth where there is one."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from core.files import write_beside, write_json, write_table
from core.lineage import SourceFacts
from core.schemas import empty_table
from core.tables import SOURCE_TABLES, TABLES


@dataclass(frozen=True)
class RawTables:
    """Rows as the source has them, under the column names of the data contract, unchecked; what it lacks has no rows.

    Attributes:
        items: the catalogue.
        source: what the source says about itself.
        events: behaviour of shoppers.
        copies: ad copy.
        impressions: logged ads with propensities. May carry ``conversion_timestamp``: prepare does not count conversions
            later than `prepare.conversion_window_days`.
        campaigns: what advertisers book.
    """

    items: pd.DataFrame
    source: SourceFacts
    events: pd.DataFrame = field(default_factory=lambda: empty_table("events"))
    copies: pd.DataFrame = field(default_factory=lambda: empty_table("copies"))
    impressions: pd.DataFrame = field(default_factory=lambda: empty_table("impressions"))
    campaigns: pd.DataFrame = field(default_factory=lambda: empty_table("campaigns"))

    @property
    def tables(self) -> dict[str, pd.DataFrame]:
        """The five tables by name, in the contract's order."""
        return {name: getattr(self, name) for name in SOURCE_TABLES}


def filled(name: str, columns: Mapping[str, object]) -> pd.DataFrame:
    """A raw table from the columns that a source has; the others are null, or empty lists where the contract has a list.

    Args:
        name: a key of `core.schemas.TABLES`.
        columns: Series or arrays of one length, or a single value for every row.

    Returns:
        All columns of the contract, in its order.
    """
    frame = pd.DataFrame(dict(columns))
    for column in TABLES[name].columns:
        if column.name in frame:
            continue
        if column.kind in ("names", "pairs"):
            frame[column.name] = pd.Series([[] for _ in range(len(frame))], index=frame.index, dtype="object")
        else:
            frame[column.name] = pd.Series(None, index=frame.index, dtype=column.dtype if column.nullable else "object")
    return frame[TABLES[name].names]


@dataclass(frozen=True)
class TruthTables:
    """The true parameters of a simulated source.

    Attributes:
        truth: scalars, names and descriptions; becomes `truth.json`.
        tables: latents by table name; each becomes `<name>.parquet`.
    """

    truth: Mapping[str, Any]
    tables: Mapping[str, pd.DataFrame] = field(default_factory=dict)


def write_truth(truth: TruthTables | None, folder: Path) -> None:
    """Write the truth folder, whole or not at all.

    Args:
        truth: of a simulated source; None for a real one, which gets only `none.json`.
        folder: the folder to make.
    """
    with write_beside(folder) as draft:
        draft.mkdir()
        if truth is None:
            write_json({"truth": None, "why": "a real source: nobody knows the true probabilities"}, draft / "none.json")
            return
        write_json(dict(truth.truth), draft / "truth.json")
        for name in sorted(truth.tables):
            write_table(truth.tables[name], draft / f"{name}.parquet")
