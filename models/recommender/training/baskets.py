"""Baskets: purchases of one moment, as a matrix to count and as carts with one item held out."""

from dataclasses import dataclass, replace
from datetime import datetime

import numpy as np
import pandas as pd
from scipy.sparse import csr_matrix

from core.columns import Columns
from core.vocabulary import EventType
from models.history import History, histories, micros, sort_events
from models.recommender.catalogue import Catalogue
from models.recommender.training.validation import RankingRule, Validation


@dataclass(frozen=True)
class BasketTable:
    """Purchases as baskets × items.

    Attributes:
        held: (baskets, n_items) float32, 1 for each item in the basket, however often it was bought.
        user_ids: (baskets,) whose.
        time: (baskets,) int64 microseconds.
    """

    held: csr_matrix
    user_ids: np.ndarray
    time: np.ndarray

    @classmethod
    def of(cls, events: pd.DataFrame, catalogue: Catalogue) -> "BasketTable":
        """What each shopper bought at one moment; where the log names baskets, what has one name.

        Args:
            events: the events table; what is no purchase of the catalogue's items is left out.
            catalogue: the items.
        """
        bought = events[(events[Columns.EVENT_TYPE] == EventType.PURCHASE) & events[Columns.ITEM].notna()]
        bought = sort_events(bought[[Columns.USER, Columns.TIMESTAMP, Columns.EVENT, Columns.ITEM, Columns.BASKET]])
        item = catalogue.codes(bought[Columns.ITEM].to_numpy(dtype=object))
        bought, item = bought[item >= 0], item[item >= 0]
        time = micros(bought[Columns.TIMESTAMP])
        moment = pd.Series(time.astype(str), index=bought.index)
        names = pd.DataFrame({"user": bought[Columns.USER], "basket": bought[Columns.BASKET].fillna(moment)})
        basket = names.groupby(["user", "basket"], sort=False).ngroup().to_numpy()
        size = int(basket.max(initial=-1)) + 1
        first = np.unique(basket, return_index=True)[1]
        held = csr_matrix((np.ones(len(item), np.float32), (basket, item)), shape=(size, len(catalogue)))
        held.sum_duplicates()
        held.data[:] = 1.0
        return cls(held, bought[Columns.USER].to_numpy(dtype=object)[first].astype(str), time[first])

    def __len__(self) -> int:
        return len(self.time)


@dataclass(frozen=True)
class Completion(Validation):
    """Baskets with one item held out: the others lie in the cart, and that one is to be found. It may have been bought before."""

    def without_met(self, scores: np.ndarray, rows: slice | np.ndarray, catalogue: Catalogue) -> np.ndarray:
        """Scores with -inf for what lies in the cart already.

        Args:
            scores: (n, items).
            rows: whose, of these users.
            catalogue: the items.
        """
        left = scores.copy()
        for row, user in enumerate(np.arange(len(self))[rows].tolist()):
            history, moment = self.histories[user], int(self.moments[user])
            now = history.timestamps == moment - 1
            carted = [
                item for item, kind, here in zip(history.item_ids, history.event_types, now, strict=True) if here and kind == EventType.CART
            ]
            left[row, catalogue.codes(carted)] = -np.inf
        return left

    def carts_alone(self) -> "Completion":
        """The same baskets of shoppers of whom nothing else is known."""
        kept = []
        for history in self.histories:
            rows = [row for row, kind in enumerate(history.event_types) if kind == EventType.CART]
            empty = ("",) * len(rows)
            items, kinds = (tuple(column[row] for row in rows) for column in (history.item_ids, history.event_types))
            kept.append(History(items, kinds, empty, history.timestamps[rows]))
        return replace(self, histories=tuple(kept))


def hold_out(
    events: pd.DataFrame,
    catalogue: Catalogue,
    *,
    start: datetime,
    end: datetime,
    most: int,
    rng: np.random.Generator,
    rule: RankingRule,
) -> Completion:
    """Baskets of a window with one item each held out at random.

    Args:
        events: all purchases before ``end``; a shopper's history reaches to the basket's moment.
        catalogue: the items; others are taken out of the baskets, and baskets of fewer than two are left out.
        start: the first moment that counts.
        end: the first moment that no longer counts.
        most: keep this many baskets at the most.
        rng: draws baskets and items.
        rule: how a ranking is judged.
    """
    times = micros(events[Columns.TIMESTAMP])
    before = events[times < micros(end)[0]]
    table = BasketTable.of(events[(times >= micros(start)[0]) & (times < micros(end)[0])], catalogue)
    fit = np.flatnonzero(np.diff(table.held.indptr) >= 2)
    fit = np.sort(rng.permutation(fit)[:most])
    moments = table.time[fit]
    before_each = histories(before[before[Columns.EVENT_TYPE] == EventType.PURCHASE], table.user_ids[fit].tolist(), moments)
    made: list[History] = []
    targets = np.zeros(len(fit), np.int64)
    for row, (basket, history, moment) in enumerate(zip(fit, before_each, moments.tolist(), strict=True)):
        items = table.held.indices[table.held.indptr[basket] : table.held.indptr[basket + 1]]
        out = int(rng.integers(len(items)))
        targets[row] = items[out]
        cart = tuple(catalogue.item_ids[code] for code in np.delete(items, out))
        size = len(cart)
        made.append(
            History(
                (*history.item_ids, *cart),
                (*history.event_types, *(str(EventType.CART),) * size),
                (*history.queries, *("",) * size),
                np.concatenate([history.timestamps, np.full(size, moment - 1, np.int64)]),
            )
        )
    return Completion(tuple(table.user_ids[fit].tolist()), tuple(made), moments, targets, rule, repeats=False)
