"""Audiences as generators know them: their F. Which copy speaks to whom: `models.generator.response`."""

import numpy as np
import pandas as pd

from core.columns import Columns as C

FEATURE = "feature"


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
