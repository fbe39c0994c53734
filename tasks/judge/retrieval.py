"""Judges approximate retrieval: how much of the exact list stands in the list that the graph gives."""

from datetime import datetime
from typing import Any

import numpy as np
import pandas as pd

from core.columns import Columns
from core.params import EvaluateParams
from evaluation.intervals import bootstrap_mean
from models.history import histories, micros, next_items
from models.recommender import RecommenderBundle

BUILT_UP_TO = 20_000
"""Items up to which a graph is built for the measurement where the bundle has none."""
SHOPPERS = 500


def judge_retrieval(
    bundle: RecommenderBundle, events: pd.DataFrame, *, start: datetime, params: EvaluateParams, rng: np.random.Generator
) -> dict[str, Any]:
    """Lists of held-out shoppers by the graph beside lists for which every item is scored, under the same rules.

    Args:
        bundle: the recommenders.
        events: the events table.
        start: first moment of the held-out window, UTC.
        params: the protocol.
        rng: draws the shoppers and the bootstrap.

    Returns:
        ``indexed``: whether the bundle answers by its graph; ``items``; ``k``; and where a graph could be asked: ``shoppers``,
        ``recall`` of the exact list with its interval, and ``exactly_answered``, the share for whom the rules left too little.
    """
    facts: dict[str, Any] = {"indexed": bundle.graph is not None, "items": len(bundle.catalogue), "k": params.top_k}
    asked = bundle if bundle.graph is not None or len(bundle.catalogue) > BUILT_UP_TO else bundle.indexed(0)
    targets = next_items(events, start)
    if asked.graph is None or not len(targets):
        return facts
    rows = np.sort(rng.permutation(len(targets))[:SHOPPERS])
    moments = micros(targets[Columns.TIMESTAMP])[rows]
    told = histories(events, targets[Columns.USER].iloc[rows].astype(str).tolist(), moments)
    found = asked.from_graph(told, moments, params.top_k)
    lists = asked.top_k(told, params.top_k, now=moments)
    exact = bundle.indexed(len(bundle.catalogue)).top_k(told, params.top_k, now=moments)
    recall = np.array([len(set(ours) & set(theirs)) / max(len(theirs), 1) for ours, theirs in zip(lists, exact, strict=True)])
    measured = bootstrap_mean(recall, None, params.bootstrap, rng).as_dict()
    return facts | {"shoppers": len(rows), "recall": measured, "exactly_answered": float(np.mean([own is None for own in found]))}
