"""What every source hands to `collect`: raw tables under our column names, and the truth where there is one."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from core.files import write_beside, write_json, write_table


@dataclass(frozen=True)
class RawTables:
    """Rows as the source has them, under the column names of the data contract, unchecked.

    Attributes:
        items: the catalogue.
        events: behaviour of shoppers.
        copies: ad copy; zero rows when the source has none.
        impressions: logged ads with propensities; zero rows when the source has none.
        campaigns: zero rows when the source has none.
        source: what the source is and lacks: `source`, `synthetic`, `has`, `missing` (docs/data-contract.md).
    """

    items: pd.DataFrame
    events: pd.DataFrame
    copies: pd.DataFrame
    impressions: pd.DataFrame
    campaigns: pd.DataFrame
    source: dict[str, Any]


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
