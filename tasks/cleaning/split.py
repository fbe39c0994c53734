"""One pair of times for all tables: before the first is training, up to the second validation, then test."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from core.errors import SchemaError
from core.lineage import NO_TIME


@dataclass(frozen=True)
class Split:
    """Where training ends, where validation ends, and the first moment after the last row.

    Attributes:
        train_end: training is before it.
        validation_end: validation is from `train_end` until before it; test from it on.
        end: no row is at it or later.
    """

    train_end: pd.Timestamp
    validation_end: pd.Timestamp
    end: pd.Timestamp

    def counts(self, times: pd.Series) -> dict[str, int]:
        """Rows of each part.

        Args:
            times: timestamps of a table, UTC.
        """
        train, validation = int((times < self.train_end).sum()), int((times < self.validation_end).sum())
        return {"train": train, "validation": validation - train, "test": len(times) - validation}


def split_by_time(tables: Sequence[pd.Series], validation_share: float, test_share: float) -> Split:
    """Choose the times so that the mean share over tables is as asked.

    Every table with rows weighs the same, however many rows it has; rows of one moment stay together, and no part is left empty.

    Args:
        tables: timestamps of each table, UTC; empty ones do not count.
        validation_share: in (0, 0.5).
        test_share: in (0, 0.5).

    Returns:
        The split; `NO_TIME` in all places when no table has rows.

    Raises:
        SchemaError: the rows lie at fewer than three moments.
    """
    filled = [times.to_numpy(dtype="datetime64[us]").astype("int64") for times in tables if len(times)]
    if not filled:
        return Split(NO_TIME, NO_TIME, NO_TIME)
    times = np.concatenate(filled)
    order = np.argsort(times, kind="stable")
    times = times[order]
    weights = np.concatenate([np.full(len(part), 1 / (len(part) * len(filled))) for part in filled])[order]
    before = np.cumsum(weights) - weights  # share strictly before each row
    moments, first = np.unique(times, return_index=True)
    if len(moments) < 3:
        raise SchemaError(
            f"events and impressions lie at {len(moments)} distinct times from {_stamp(moments[0])} to {_stamp(moments[-1])}: "
            f"too few for a training, a validation ({validation_share:g}) and a test part ({test_share:g}). Give finer times, or more data."
        )
    shares = before[first]
    train = 1 + int(np.argmin(np.abs(shares[1:-1] - (1 - validation_share - test_share))))
    validation = train + 1 + int(np.argmin(np.abs(shares[train + 1 :] - (1 - test_share))))
    return Split(_stamp(moments[train]), _stamp(moments[validation]), _stamp(int(moments[-1]) + 1))


def _stamp(micros: int | np.int64) -> pd.Timestamp:
    return pd.Timestamp(int(micros), unit="us", tz="UTC")
