"""Training of the popularity baseline: counts, fading with the half-life that validates best."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from core.columns import Columns
from core.moments import DAY
from models.history import TARGET_TYPES, micros
from models.recommender.catalogue import Catalogue
from models.recommender.popularity import Popularity
from models.recommender.training.validation import Validation

HALF_LIVES: tuple[float | None, ...] = (None, 28.0, 14.0, 7.0, 3.0)
"""Days tried; None counts all events alike."""


def train_popularity(
    events: pd.DataFrame, catalogue: Catalogue, validation: Validation, half_lives: Sequence[float | None] = HALF_LIVES
) -> Popularity:
    """Count views and purchases; the half-life with the best validation NDCG stays.

    Args:
        events: training events.
        catalogue: the items.
        validation: chooses the half-life.
        half_lives: days to choose from.
    """
    item, times = _targets(events, catalogue)
    made = [Popularity(catalogue, _counted(item, times, len(catalogue), days), days) for days in half_lives]
    return made[int(np.argmax([_gain(model.counts, validation) for model in made]))]


def _gain(counts: np.ndarray, validation: Validation) -> float:
    """Mean gain of one ranking for all, without a row of scores for each user."""
    if not len(validation):
        return 0.0
    ranks = len(counts) - np.searchsorted(np.sort(counts), counts[validation.targets], side="left")  # ties count against the target
    return float(validation.rule.gain(ranks).mean())


def target_counts(events: pd.DataFrame, catalogue: Catalogue, half_life_days: float | None = None) -> np.ndarray:
    """Views and purchases of each item, or all its events where there are neither.

    Args:
        events: training events.
        catalogue: the items.
        half_life_days: days before the last event after which an event counts half; None: all count alike.

    Returns:
        (n_items,) float64.
    """
    return _counted(*_targets(events, catalogue), len(catalogue), half_life_days)


def _targets(events: pd.DataFrame, catalogue: Catalogue) -> tuple[np.ndarray, np.ndarray]:
    """Column and time of each event that counts; times are before the log's last event, in microseconds."""
    item = catalogue.codes_of(events[Columns.ITEM])
    kept = (item >= 0) & events[Columns.EVENT_TYPE].isin(TARGET_TYPES).to_numpy()
    kept = kept if kept.any() else item >= 0
    times = micros(events[Columns.TIMESTAMP])
    return item[kept], times.max(initial=0) - times[kept]


def _counted(item: np.ndarray, before: np.ndarray, n_items: int, half_life_days: float | None) -> np.ndarray:
    weight = None if half_life_days is None else 0.5 ** (before / (half_life_days * DAY))
    return np.bincount(item, weights=weight, minlength=n_items).astype(np.float64)
