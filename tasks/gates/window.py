"""What challenger and champion are compared on: the held-out window's tables and what `evaluate` measured there."""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from core.files import read_json, read_table
from core.lineage import Lineage
from core.params import PromoteParams


@dataclass(frozen=True)
class HeldOut:
    """The held-out window.

    Attributes:
        params: limits.
        items: clean items.
        events: clean events.
        copies: clean human copies.
        impressions: clean logged ads.
        train_end: end of the training window, UTC.
        start: first moment of the held-out window, UTC.
        metrics: metrics.json.
        report: the folder of judged rows that `evaluate` wrote.
        rng: draws bootstraps and texts.
    """

    params: PromoteParams
    items: pd.DataFrame
    events: pd.DataFrame
    copies: pd.DataFrame
    impressions: pd.DataFrame
    train_end: datetime
    start: datetime
    metrics: dict[str, Any]
    report: Path
    rng: np.random.Generator

    @classmethod
    def read(
        cls,
        params: PromoteParams,
        rng: np.random.Generator,
        *,
        items: Path,
        events: Path,
        copies: Path,
        impressions: Path,
        lineage: Path,
        metrics: Path,
        report: Path,
    ) -> "HeldOut":
        """Read the tables.

        Args:
            params: limits.
            rng: draws bootstraps and texts.
            items: clean items.
            events: clean events.
            copies: clean human copies.
            impressions: clean logged ads.
            lineage: lineage.json.
            metrics: metrics.json.
            report: the folder of judged rows.
        """
        facts: Lineage = read_json(lineage)  # type: ignore[assignment]
        return cls(
            params=params,
            items=read_table(items),
            events=read_table(events),
            copies=read_table(copies),
            impressions=read_table(impressions),
            train_end=datetime.fromisoformat(facts["train_end"]),
            start=datetime.fromisoformat(facts["validation_end"]),
            metrics=read_json(metrics),
            report=report,
            rng=rng,
        )
