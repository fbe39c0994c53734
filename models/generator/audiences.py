"""Audiences as generators know them: their F, and which copy speaks to whom."""

from collections.abc import Sequence
from datetime import datetime

import numpy as np
import pandas as pd

from core.columns import Columns as C

FEATURE = "feature"
VIEW_WEIGHT = 0.05
"""What an impression without a click counts, beside a click, for which audience a copy speaks to."""
_EVERYWHERE = 1e-3


def audience_features(users: pd.DataFrame) -> dict[str, np.ndarray]:
    """Mean F of each audience.

    Args:
        users: user_features.parquet: user_id, audience_id, feature.

    Returns:
        Audience id → (d,) float32, by id; empty without shoppers.
    """
    if users.empty:
        return {}
    stacked = np.stack([np.asarray(feature, np.float32) for feature in users[FEATURE]])
    names = users[C.AUDIENCE].astype(str).to_numpy()
    return {name: stacked[names == name].mean(0) for name in sorted(set(names.tolist()))}


def copy_weights(copy_ids: Sequence[str], impressions: pd.DataFrame, users: pd.DataFrame, before: datetime) -> np.ndarray:
    """How likely each copy stands for each audience: by clicks, and a little by impressions, before a moment.

    Args:
        copy_ids: the copies.
        impressions: logged ads.
        users: user_features.parquet.
        before: impressions from this moment on are not read, UTC.

    Returns:
        (copies, audiences), rows sum to 1, columns in the order of `audience_features`; no columns without shoppers.
    """
    names = list(audience_features(users))
    weights = np.full((len(copy_ids), len(names)), _EVERYWHERE)
    if not names:
        return weights
    audience = pd.Series(users[C.AUDIENCE].astype(str).to_numpy(), index=users[C.USER].astype(str).to_numpy())
    logged = impressions[impressions[C.TIMESTAMP] < pd.Timestamp(before)]
    rows = pd.Series(np.arange(len(copy_ids)), index=list(copy_ids)).reindex(logged[C.CREATIVE].astype(str)).to_numpy()
    columns = logged[C.USER].astype(str).map(audience).map({name: place for place, name in enumerate(names)}).to_numpy(dtype=float)
    known = ~np.isnan(rows) & ~np.isnan(columns)
    worth = logged[C.CLICK].to_numpy(dtype=float) + VIEW_WEIGHT
    np.add.at(weights, (rows[known].astype(int), columns[known].astype(int)), worth[known])
    shares: np.ndarray = weights / weights.sum(1, keepdims=True)
    return shares
