"""What everybody did, day by day: popularity, season and click rates as they were known at the start of each day."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from core.columns import Columns
from core.moments import DAY
from models.features.catalogue import Catalogue
from models.history import micros

TABLES: tuple[str, ...] = ("item share", "category share", "category trend", "item lift", "category lift")
"""Names of the tables, each ``(days + 1, items or categories)``."""
_MAX_CELLS = 20_000_000
_LONG, _SHORT = 28.0, 5.0  # half-lives in days
_PRIOR_EVENTS = 1.0
_PRIOR_IMPRESSIONS = {"item lift": 100.0, "category lift": 400.0}


@dataclass(frozen=True)
class Trends:
    """Day tables; row 0 is the first day, and a row knows of the days before it only.

    Attributes:
        first_day: days since 1970 of row 0.
        tables: by name of `TABLES`, log ratios: share of the recency-weighted events over an equal share; the last days'
            share over the last weeks'; click rate over the overall click rate, shrunk towards it.
    """

    first_day: int
    tables: dict[str, NDArray[np.float32]]

    @classmethod
    def fit(cls, events: pd.DataFrame, impressions: pd.DataFrame, catalogue: Catalogue) -> "Trends":
        """Count events and clicks by day.

        Args:
            events: those that may be known; rows without an item are left out.
            impressions: those that may be known; may be empty.
            catalogue: the items.
        """
        event_rows = catalogue.rows_of(events[Columns.ITEM].fillna("").to_numpy(dtype=object))
        event_days = micros(events[Columns.TIMESTAMP])[event_rows >= 0] // DAY
        event_rows = event_rows[event_rows >= 0]
        shown_rows = catalogue.rows_of(impressions[Columns.ITEM].to_numpy(dtype=object))
        shown_days = micros(impressions[Columns.TIMESTAMP])[shown_rows >= 0] // DAY
        clicks = impressions[Columns.CLICK].to_numpy(dtype=np.float32)[shown_rows >= 0]
        shown_rows = shown_rows[shown_rows >= 0]
        days = np.concatenate([event_days, shown_days])
        last = int(days.max()) if days.size else 0
        first = max(int(days.min()) if days.size else 0, last + 1 - max(_MAX_CELLS // max(len(catalogue), 1), 1))
        size = last - first + 1

        def by_day(rows: NDArray[np.int64], when: NDArray[np.int64], values: NDArray[np.float32] | None = None) -> NDArray[np.float64]:
            place = np.maximum(when - first, 0) * len(catalogue) + rows
            return np.bincount(place, weights=values, minlength=size * len(catalogue)).reshape(size, len(catalogue)).astype(np.float64)

        onto = catalogue.labels[:, : catalogue.bounds[1]]
        events_by_day, shown, clicked = (
            by_day(event_rows, event_days),
            by_day(shown_rows, shown_days),
            by_day(shown_rows, shown_days, clicks),
        )
        categories = np.asarray(events_by_day @ onto)
        long_run = _log_share(_decayed(categories, _LONG))
        tables = {
            "item share": _log_share(_decayed(events_by_day, _LONG)),
            "category share": long_run,
            "category trend": _log_share(_decayed(categories, _SHORT), prior=20.0) - _log_share(_decayed(categories, _LONG), prior=20.0),
            "item lift": _log_lift(shown, clicked, _PRIOR_IMPRESSIONS["item lift"]),
            "category lift": _log_lift(np.asarray(shown @ onto), np.asarray(clicked @ onto), _PRIOR_IMPRESSIONS["category lift"]),
        }
        return cls(first, {name: table.astype(np.float32) for name, table in tables.items()})

    def rows(self, timestamps: NDArray[np.int64]) -> NDArray[np.int64]:
        """Rows of the tables that know what was known at the start of a day; after the last day that was counted, all of it.

        Args:
            timestamps: ``(n,)`` µs UTC.

        Returns:
            ``(n,)``.
        """
        return np.clip(timestamps // DAY - self.first_day, 0, len(self.tables[TABLES[0]]) - 1)


def _decayed(counts: NDArray[np.float64], half_life: float) -> NDArray[np.float64]:
    """``(days, n)`` → ``(days + 1, n)``: row d is the sum of the days before d, each halved every ``half_life`` days."""
    keep = 0.5 ** (1 / half_life)
    known = np.zeros((len(counts) + 1, counts.shape[1]))
    for day, row in enumerate(counts):
        known[day + 1] = known[day] * keep + row
    return known


def _log_share(known: NDArray[np.float64], *, prior: float = _PRIOR_EVENTS) -> NDArray[np.float64]:
    raised = known + prior
    return np.asarray(np.log(raised / raised.mean(axis=1, keepdims=True)))


def _log_lift(shown: NDArray[np.float64], clicked: NDArray[np.float64], prior: float) -> NDArray[np.float64]:
    before = np.zeros((1, shown.shape[1]))
    seen, hits = (np.concatenate([before, counts.cumsum(axis=0)]) for counts in (shown, clicked))
    overall = (hits.sum(axis=1, keepdims=True) + 1) / (seen.sum(axis=1, keepdims=True) + 50)
    return np.asarray(np.log((hits + prior * overall) / (seen + prior) / overall))
