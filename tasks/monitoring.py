"""What the monitor looks at: drift of behaviour and ads against the training window, and calibration on closed windows."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd

from core.columns import Columns
from core.files import read_json, read_table
from evaluation.calibration import calibration, log_losses
from evaluation.drift import category_drift, number_drift
from tasks.sources.feedback import read_feedback

ENOUGH = 30
"""Rows of a sample below which nothing is said about it."""


@dataclass(frozen=True)
class Reading:
    """One look.

    Attributes:
        window: ``served`` when feedback segments were looked at, else ``held out``.
        metrics: name → number; what there are too few rows for is absent.
    """

    window: str
    metrics: dict[str, float]


def look(*, events: Path, impressions: Path, items: Path, lineage: Path, feedback: Path, days: float) -> Reading:
    """Compare recent behaviour and ads with the training window.

    Args:
        events: clean events.
        impressions: clean impressions.
        items: clean items.
        lineage: lineage.json.
        feedback: the folder of segments.
        days: how far back the latest feedback counts as recent.

    Returns:
        Drift (population stability index; above 0.25 has moved), click-through, calibration. Without feedback the held-out
        window of the clean data stands for what is recent.

    Raises:
        SourceError: the segments cannot be read.
    """
    facts = read_json(lineage)
    tables = {"events": read_table(events), "impressions": read_table(impressions)}
    train_end = pd.Timestamp(datetime.fromisoformat(str(facts["train_end"])))
    reference = {name: table[table[Columns.TIMESTAMP] < train_end] for name, table in tables.items()}
    segments = read_feedback(feedback)
    if segments.until is not None:
        since = segments.until - timedelta(days=days)
        recent = {name: table[table[Columns.TIMESTAMP] >= since] for name, table in segments.tables.items()}
        window = "served"
    else:
        held_out = pd.Timestamp(datetime.fromisoformat(str(facts["validation_end"])))
        recent = {name: table[table[Columns.TIMESTAMP] >= held_out] for name, table in tables.items()}
        window = "held out"
    category = read_table(items, [Columns.ITEM, Columns.CATEGORY]).set_index(Columns.ITEM)[Columns.CATEGORY]
    metrics = _behaviour(reference["events"], recent.get("events"), category) | _ads(reference["impressions"], recent.get("impressions"))
    return Reading(window, metrics)


def _behaviour(reference: pd.DataFrame, recent: pd.DataFrame | None, category: "pd.Series[str]") -> dict[str, float]:
    if recent is None or min(len(reference), len(recent)) < ENOUGH:
        return {}
    found = {
        f"drift/{name}": category_drift(reference[name].tolist(), recent[name].tolist()) for name in (Columns.EVENT_TYPE, Columns.CHANNEL)
    }
    seen = [rows[Columns.ITEM].dropna().map(category).fillna("unknown").tolist() for rows in (reference, recent)]
    if all(len(sample) >= ENOUGH for sample in seen):
        found["drift/category"] = category_drift(seen[0], seen[1])
    return found | {"events": float(len(recent))}


def _ads(reference: pd.DataFrame, recent: pd.DataFrame | None) -> dict[str, float]:
    if recent is None or len(recent) < ENOUGH:
        return {}
    clicks = recent[Columns.CLICK].to_numpy(np.float64)
    found = {"impressions": float(len(recent)), "ctr": float(clicks.mean())}
    if clicks.sum() > 0:
        found["cvr"] = float(recent[Columns.CONVERSION].to_numpy(np.float64)[clicks > 0].mean())
    if len(reference) >= ENOUGH:
        found |= {
            f"drift/ads_{name}": category_drift(reference[name].tolist(), recent[name].tolist())
            for name in (Columns.SCENE, Columns.CHANNEL)
        }
    predicted = recent[Columns.P_CLICK].to_numpy(np.float64, na_value=np.nan)
    known = np.isfinite(predicted)
    if known.sum() >= ENOUGH:
        found["calibration_error"] = float(calibration(predicted[known], clicks[known]).error)
        found["log_loss"] = float(log_losses(predicted[known], clicks[known]).mean())
        found["predicted_ctr"] = float(predicted[known].mean())
        before = reference[Columns.P_CLICK].to_numpy(np.float64, na_value=np.nan)
        if np.isfinite(before).sum() >= ENOUGH:
            found["drift/p_click"] = number_drift(before, predicted)
    return found
