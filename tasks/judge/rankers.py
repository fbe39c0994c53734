"""Judges rankers on logged impressions: what they predicted for what was shown, beside what happened."""

from datetime import datetime

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from core.columns import Columns
from models.features import Candidates, Requests, logged_candidates, requests_of
from models.ranker import RankerBundle


def window(impressions: pd.DataFrame, start: datetime, end: datetime | None = None) -> pd.DataFrame:
    """Impressions of [start, end), in order of time, request and position.

    Args:
        impressions: the impressions table.
        start: first moment, UTC.
        end: first moment after; None for no limit.
    """
    inside = impressions[Columns.TIMESTAMP] >= pd.Timestamp(start)
    if end is not None:
        inside &= impressions[Columns.TIMESTAMP] < pd.Timestamp(end)
    return impressions[inside].sort_values([Columns.TIMESTAMP, Columns.REQUEST, Columns.POSITION], kind="stable", ignore_index=True)


def texts_of(copies: pd.DataFrame) -> dict[str, str]:
    """The text of every human copy by creative id."""
    return dict(zip(copies[Columns.COPY].astype(str), copies[Columns.TEXT].astype(str), strict=True))


def judge_ranker(
    bundle: RankerBundle, shown: pd.DataFrame, *, impressions: pd.DataFrame, events: pd.DataFrame, copies: pd.DataFrame
) -> tuple[pd.DataFrame, tuple[Requests, Candidates]]:
    """Predict each held-out impression at the position where it was shown.

    Args:
        bundle: the ranker with its baselines.
        shown: the impressions to predict (see `window`).
        impressions: all impressions: earlier answers of a shopper are features.
        events: the events table.
        copies: the copies table.

    Returns:
        One row an impression: user_id, scene, channel, click, conversion, and p_click:MODEL, p_convert:MODEL for the
        ranker ("ranker") and each of its baselines; and the requests and candidates, for scoring them again.
    """
    texts = texts_of(copies)
    requests, place = requests_of(shown, events, texts, earlier=impressions)
    candidates = logged_candidates(shown, place, texts)
    columns: dict[str, NDArray[np.float64]] = {}
    for name, (p_click, p_convert) in bundle.predict_all(requests, candidates).items():
        columns[f"p_click:{name}"], columns[f"p_convert:{name}"] = p_click, p_convert
    kept = [Columns.REQUEST, Columns.POSITION, Columns.USER, Columns.SCENE, Columns.CHANNEL, Columns.CREATIVE, Columns.ITEM,
            Columns.CLICK, Columns.CONVERSION, Columns.PROPENSITY, Columns.TIMESTAMP]  # fmt: skip
    return shown[kept].assign(**columns), (requests, candidates)
