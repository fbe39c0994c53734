"""Judges recommenders: where does the next item of each shopper stand among all items?"""

from collections.abc import Sequence
from datetime import datetime

import numpy as np
import pandas as pd

from core.columns import Columns
from evaluation.ranking import metrics_of_ranks, target_ranks
from models.history import histories, micros, next_items
from models.recommender import RecommenderBundle

_BATCH = 256


def judge_recommenders(
    bundle: RecommenderBundle,
    events: pd.DataFrame,
    *,
    start: datetime,
    end: datetime | None,
    train_end: datetime,
    k: int,
    models: Sequence[str] | None = None,
) -> pd.DataFrame:
    """Rank every shopper's next item by each recommender of a bundle.

    Args:
        bundle: the recommenders.
        events: the events table.
        start: first moment of the held-out window, UTC.
        end: first moment after it; None for no limit.
        train_end: what the recommenders learned from lies before; tells known users and items from new ones.
        k: cut-off of the metrics.
        models: which recommenders; all when None.

    Returns:
        One row a user and model: user_id, model, item_id, rank (an item that the bundle does not hold ranks last),
        hit_rate, ndcg, mrr, known_user, known_item, repeated (the shopper had met the item before).
    """
    targets = next_items(events, start, end)
    users = targets[Columns.USER].astype(str).tolist()
    moments = micros(targets[Columns.TIMESTAMP])
    known = histories(events, users, moments)
    before = events[events[Columns.TIMESTAMP] < pd.Timestamp(train_end)]
    facts = pd.DataFrame(
        {
            Columns.USER: users,
            Columns.ITEM: targets[Columns.ITEM].astype(str).to_numpy(dtype=object),
            "known_user": targets[Columns.USER].isin(before[Columns.USER]).to_numpy(),
            "known_item": targets[Columns.ITEM].isin(before[Columns.ITEM]).to_numpy(),
            "repeated": [item in history.item_ids for item, history in zip(targets[Columns.ITEM], known, strict=True)],
        }
    )
    frames = []
    for name in models if models is not None else list(bundle.models):
        recommender = bundle.models[name]
        place = {item: column for column, item in enumerate(recommender.item_ids)}
        columns = np.array([place.get(item, -1) for item in facts[Columns.ITEM]], dtype=np.int64)
        ranks = np.full(len(users), len(place) + 1, dtype=np.int64)
        for first in range(0, len(users), _BATCH):
            rows = slice(first, first + _BATCH)
            scores = recommender.score(known[rows], moments[rows])  # (batch, n_items)
            held = columns[rows] >= 0
            ranks[rows][held] = target_ranks(scores[held], columns[rows][held])
        found = metrics_of_ranks(ranks, k=k)
        frames.append(facts.assign(model=name, rank=ranks, hit_rate=found.hit_rate, ndcg=found.ndcg, mrr=found.mrr))
    return pd.concat(frames, ignore_index=True)
