"""The market's truth as the judges ask for it; the only place outside the simulator that does."""

from collections.abc import Mapping
from datetime import datetime

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from core.columns import Columns
from evaluation.intervals import Interval, bootstrap_mean
from models.features import Candidates, Requests
from models.pool import Pool
from tasks.judge.policies import TrueClick
from tasks.judge.rankers import texts_of, window
from tasks.sources.market.truth import Truth

IMPRESSIONS = 3000


def true_click_of(truth: Truth, raw_ids: Mapping[str, str]) -> TrueClick:
    """True click probabilities by pseudonym.

    Args:
        truth: the market's.
        raw_ids: pseudonym → the simulator's id.

    Returns:
        See `tasks.judge.policies.TrueClick`.
    """

    def true_click(users: list[str], requests: Requests, candidates: Candidates) -> NDArray[np.float64]:
        row = candidates.request
        raw = np.array([raw_ids[user] for user in users], dtype=object)
        scenes, channels = np.array(requests.scenes, dtype=object), np.array(requests.channels, dtype=object)
        return truth.p_click(
            list(raw[row]), list(candidates.item_ids), list(candidates.texts), list(scenes[row]), list(channels[row]),
            candidates.positions, requests.timestamps[row],
        )  # fmt: skip

    return true_click


def true_clicks_of_copy(
    known: tuple[Truth, Mapping[str, str]],
    impressions: pd.DataFrame,
    copies: pd.DataFrame,
    pool: Pool,
    *,
    start: datetime,
    replications: int,
    rng: np.random.Generator,
) -> dict[str, Interval]:
    """True click-through of the pool's copy beside human copy: same shopper, product, scene, channel, moment and position.

    Args:
        known: the truth, and pseudonym → the simulator's id.
        impressions: all impressions; those of position 0 from ``start`` on are read.
        copies: human copy.
        pool: the creative pool.
        start: first moment, UTC.
        replications: of the bootstrap over users.
        rng: draws impressions and copies.

    Returns:
        ``human`` (the copy that was shown) and ``pool`` (a machine-written creative for the same slot, drawn at random),
        over the impressions whose slot has one; empty when none has.
    """
    truth, raw_ids = known
    rows = window(impressions, start)
    rows = rows[rows[Columns.POSITION] == 0]
    rows = rows.iloc[np.sort(rng.choice(len(rows), min(IMPRESSIONS, len(rows)), replace=False))]
    texts = texts_of(copies)
    written = pool.creatives[Columns.AI_LABEL].to_numpy(dtype=bool)
    kept, drawn = [], []
    for place, (item, scene, channel) in enumerate(zip(rows[Columns.ITEM], rows[Columns.SCENE], rows[Columns.CHANNEL], strict=True)):
        own = [row for row in pool.creatives_of(str(item), scene=str(scene), channel=str(channel), audience=None) if written[row]]
        if own:
            kept.append(place)
            drawn.append(own[int(rng.integers(len(own)))])
    if not kept:
        return {}
    rows = rows.iloc[kept]
    users = rows[Columns.USER].astype(str).to_numpy(dtype=object)

    def clicks(shown: list[str]) -> Interval:
        values = truth.p_click(
            [raw_ids[user] for user in users], rows[Columns.ITEM].astype(str).tolist(), shown, rows[Columns.SCENE].astype(str).tolist(),
            rows[Columns.CHANNEL].astype(str).tolist(), np.zeros(len(rows), np.int64), rows[Columns.TIMESTAMP],
        )  # fmt: skip
        return bootstrap_mean(values, users, replications, rng)

    return {"human": clicks([texts[str(name)] for name in rows[Columns.CREATIVE]]), "pool": clicks([str(pool.text[row]) for row in drawn])}
