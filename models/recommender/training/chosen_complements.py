"""Complements for the bundle: how to count is chosen on later baskets, then all baskets are counted."""

import logging
from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd

from core.columns import Columns
from core.moments import DAY
from models.recommender.catalogue import Catalogue
from models.recommender.complements import OF_CART, OF_SHOPPER, Complements
from models.recommender.training.baskets import BasketTable, hold_out
from models.recommender.training.complements import choose_shape, count_complements, weigh
from models.recommender.training.validation import RankingRule

log = logging.getLogger(__name__)

LEAST_BASKETS = 150
"""Baskets of two items or more below which nothing is learned: a third of them chooses ten weights."""
CHOOSING_SHARE = 1 / 3
MOST_CHOOSING = 1500
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def learn_complements(events: pd.DataFrame, catalogue: Catalogue, *, rng: np.random.Generator, rule: RankingRule) -> Complements | None:
    """Choose on the latest third of the baskets what the others taught, then count all of them.

    Args:
        events: training events.
        catalogue: the items.
        rng: draws the held-out items.
        rule: how a ranking is judged.

    Returns:
        None when there are too few baskets.
    """
    table = BasketTable.of(events, catalogue)
    times = np.sort(table.time[np.diff(table.held.indptr) >= 2])
    if len(times) < LEAST_BASKETS:
        log.info(
            "complements: %d baskets hold two items or more, %d are needed; cross-sell goes by the champion", len(times), LEAST_BASKETS
        )
        return None
    split = int(times[len(times) - max(1, int(CHOOSING_SHARE * len(times)))])
    start, end = (EPOCH + timedelta(microseconds=moment) for moment in (split, int(times[-1]) + 1))
    earlier = events[events[Columns.TIMESTAMP] < pd.Timestamp(start)]
    before = BasketTable.of(earlier, catalogue)
    if not len(before) or int(np.diff(before.held.indptr).max()) < 2:
        log.info("complements: all baskets of two items or more lie within one moment; cross-sell goes by the champion")
        return None
    carts = hold_out(events, catalogue, start=start, end=end, most=MOST_CHOOSING, rng=rng, rule=rule)
    shape = choose_shape(before, catalogue, carts)
    weights = weigh(count_complements(before, catalogue, shape, {}), carts, (*OF_CART, *OF_SHOPPER)).weights
    log.info("complements: %d baskets, chosen on %d of the last %.0f days", len(times), len(carts), (times[-1] - split) / DAY)
    return count_complements(table, catalogue, shape, weights)
