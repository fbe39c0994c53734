"""Gates of the recommender: its ranking of the next item against the champion's, shopper by shopper, and its latency."""

from pathlib import Path

import numpy as np
import pandas as pd

from core.columns import Columns
from core.files import read_table
from evaluation.intervals import bootstrap_paired_difference
from models.history import histories
from models.recommender import RecommenderBundle
from tasks.gates.latency import latency_gate
from tasks.gates.verdict import Gate, difference_gate
from tasks.gates.window import HeldOut
from tasks.judge.recommenders import judge_recommenders

BASELINE = "popularity"
CHAMPION = "the champion"
FEWEST = 20
"""Shoppers below which an interval over shoppers says nothing."""


def recommender_gates(challenger: Path, champion: Path | None, held_out: HeldOut) -> tuple[Gate, ...]:
    """Judge a challenger.

    Args:
        challenger: its bundle.
        champion: the champion's bundle; None when there is none: the baseline stands in.
        held_out: what they are compared on.

    Raises:
        BundleError: a bundle cannot be read.
    """
    bundle = RecommenderBundle.load(challenger)
    rows = read_table(held_out.report / "recommenders.parquet")
    mine = _ndcg(rows, bundle.champion.name)
    metric = str(held_out.metrics["recommender"].get("main") or "ndcg")
    if mine.empty:
        comparison = Gate("main metric", champion is None, "no shopper has an item event in the held-out window: nothing to compare on")
    elif champion is not None:
        comparison = _against_champion(mine, champion, held_out, metric)
    elif bundle.champion.name == BASELINE:
        comparison = Gate("main metric", True, f"first champion, and the baseline {BASELINE} itself")
    else:
        comparison = _compare(mine, _ndcg(rows, BASELINE), held_out, metric, f"the baseline {BASELINE}")
    user = str(held_out.events[Columns.USER].mode().iloc[0]) if len(held_out.events) else ""
    history = histories(held_out.events, [user], held_out.start)
    latency = latency_gate("ranking all items for one shopper", lambda: bundle.top_k(history, 50), held_out.params.max_latency_ms)
    return comparison, latency


def _against_champion(mine: "pd.Series[float]", champion: Path, held_out: HeldOut, metric: str) -> Gate:
    other = RecommenderBundle.load(champion)
    digits = "".join(letter for letter in metric if letter.isdigit())
    rows = judge_recommenders(
        other,
        held_out.events,
        start=held_out.start,
        end=None,
        train_end=held_out.train_end,
        k=int(digits or 10),
        models=[other.champion.name],
    )
    return _compare(mine, _ndcg(rows, other.champion.name), held_out, metric, CHAMPION)


def _compare(mine: "pd.Series[float]", other: "pd.Series[float]", held_out: HeldOut, metric: str, against: str) -> Gate:
    users = mine.index.intersection(other.index).sort_values()
    if against == CHAMPION and len(users) < FEWEST:
        told = f"{len(users)} shoppers in the held-out window; {FEWEST} are needed to compare {metric} with {against}, who stays"
        return Gate("main metric", False, told)
    ours, theirs = (series.loc[users].to_numpy(np.float64) for series in (mine, other))
    difference = bootstrap_paired_difference(ours, theirs, None, held_out.params.bootstrap, held_out.rng)
    return difference_gate(difference, metric=metric, against=against)


def _ndcg(rows: pd.DataFrame, model: str) -> "pd.Series[float]":
    return rows[rows["model"] == model].set_index(Columns.USER)["ndcg"].astype(float)
