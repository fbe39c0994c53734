"""Every recommender on the next item of each user: full ranking over all items, intervals, seconds and memory.

    python -m benchmarks.recommend --data FILE [--attributes FILE] [--titles FILE] [--test FILE] [--seeds 3] [--parts]

FILE is one of the published forms: ``*.txt`` with lines ``user item item …`` (the last item of each line is the test, the one before it
validation; ``*attributes.json`` beside it is read), ``*.inter`` with user, history and next item (``*.item`` with titles beside it), or
``*.csv`` with user, item, behavior, timestamp (``test.csv`` with the held-out next purchases beside it; the last purchase before is
validation). Items that a user has met are not ranked. Every choice (votes and links of the counting models, epoch, weight of the links)
is made on the validation targets; then each model is fitted anew to all events before the test targets with those choices, and the test
is looked at once. The purchases of a ``*.csv`` have no times, so a history is all that the log has of the user. `fit_s` and `peak_mb`
hold both fits, and for `sequence` what it rests on too (links, content); it is trained once a seed, and its metrics are means over seeds.
Untitled items get vectors from the attributes they share. Last line: one JSON object.
"""

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer

from benchmarks.fitting import EPOCHS, Judged, judge_all
from benchmarks.held_out import HeldOut, part_of, read_held_out
from core.columns import Columns as C
from core.environment import limit_threads, project_root
from core.params import EncodeParams, load_params
from evaluation.intervals import bootstrap_mean
from evaluation.ranking import metrics_of_ranks
from models.encoder import TextEncoder
from models.recommender.catalogue import Catalogue

TAG_DIM = 64
CUTS = (5, 10, 20)


def main(arguments: Sequence[str] | None = None) -> int:
    """Fit, judge, print.

    Args:
        arguments: of the command line; the process's own when None.

    Returns:
        0.
    """
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--attributes", type=Path, help="JSON from item to attribute numbers; default: what lies beside the data")
    parser.add_argument("--titles", type=Path, help="table item_id, title; default: the *.item file beside the data")
    parser.add_argument("--test", type=Path, help="for *.csv: table user, item; default: test.csv beside the data")
    parser.add_argument("--seeds", type=int, default=3, help="trainings of `sequence`, whose mean is reported")
    parser.add_argument("--epochs", type=int, default=EPOCHS, help="of `sequence` at the most")
    parser.add_argument("--parts", action="store_true", help="`sequence` by ids alone and by text and tags alone, too")
    parser.add_argument("--users", type=int, help="a part of the users, drawn once, for a quicker run")
    parser.add_argument("--hide", type=float, default=0.0, help="share of items whose events are left out before the test: new items")
    options = parser.parse_args(arguments)
    params = load_params(project_root() / "params.yaml")
    limit_threads(params.threads)
    held = read_held_out(options.data, options.attributes, options.titles, options.test)
    held = part_of(held, users=options.users, hide=options.hide)
    catalogue = Catalogue.of(held.items, featuriser(held, params.encode))
    n_users = len(held.test.users)
    print(f"{n_users} users, {len(catalogue)} items, {len(held.events)} events before the test", file=sys.stderr, flush=True)
    found = judge_all(held, catalogue, seeds=options.seeds, epochs=options.epochs, parts=options.parts)
    print_table(found, len(catalogue), options.data.name, options.seeds)
    print_new(found, new_targets(held, catalogue))
    print(json.dumps({"recommenders": {name: summary(runs) for name, runs in found.items()}}))
    return 0


def featuriser(held: HeldOut, settings: EncodeParams) -> Callable[[Sequence[str]], np.ndarray]:
    """Vectors of item texts: by the encoder where titles are words, else by the attributes that items share.

    Args:
        held: the log.
        settings: section `encode` of params.yaml.
    """

    def by_encoder(texts: Sequence[str]) -> np.ndarray:
        wanted = {name: getattr(settings, name) for name in ("prefix", "max_tokens", "batch_tokens", "precision")}
        raw = TextEncoder.open(settings.model, **wanted).encode(list(texts))
        return unit(raw - raw.mean(axis=0))

    def by_attributes(texts: Sequence[str]) -> np.ndarray:
        try:
            counted = TfidfVectorizer(token_pattern=r"attribute:\S+").fit_transform(texts)
        except ValueError:  # no attributes at all
            return np.zeros((len(texts), 1), np.float32)
        made = TruncatedSVD(min(TAG_DIM, counted.shape[1] - 1), random_state=0).fit_transform(counted)
        return unit(made - made.mean(axis=0))

    return by_encoder if held.titled else by_attributes


def unit(vectors: np.ndarray) -> np.ndarray:
    """Rows of length one.

    Args:
        vectors: (n, d).
    """
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.maximum(norms, 1e-9), dtype=np.float32)


def new_targets(held: HeldOut, catalogue: Catalogue) -> np.ndarray:
    """(n,) bool: test targets whose item no event before the test has.

    Args:
        held: the log.
        catalogue: its items.
    """
    met = set(held.events[C.ITEM])
    return np.array([item not in met for item in held.test.items if item in catalogue.index])


def print_new(found: dict[str, list[Judged]], new: np.ndarray) -> None:
    """HR@10 of items that training never met beside that of the others.

    Args:
        found: by name.
        new: (n,) bool, see `new_targets`.
    """
    if not new.any():
        return
    table = Table(title=f"HR@10 of {int(new.sum())} targets that no event before the test has, and of the others")
    for column in ("", "new items", "known items", "ratio"):
        table.add_column(column, justify="right" if column else "left")
    for recommender, runs in found.items():
        hits = np.mean([run.ranks <= 10 for run in runs], axis=0)
        ratio = hits[new].mean() / hits[~new].mean() if hits[~new].any() else float("nan")
        interval = bootstrap_mean(hits[new], replications=500)
        table.add_row(
            recommender, f"{interval.value:.4f} [{interval.low:.4f}, {interval.high:.4f}]", f"{hits[~new].mean():.4f}", f"{ratio:.2f}"
        )
    Console(width=200).print(table)


def summary(runs: Sequence[Judged]) -> dict[str, float]:
    """Means over runs.

    Args:
        runs: of one recommender.
    """
    metrics = {f"hr{k}": float(np.mean([metrics_of_ranks(run.ranks, k=k).hit_rate.mean() for run in runs])) for k in CUTS}
    metrics |= {f"ndcg{k}": float(np.mean([metrics_of_ranks(run.ranks, k=k).ndcg.mean() for run in runs])) for k in CUTS}
    metrics |= {"fit_s": float(np.mean([run.fit_s for run in runs])), "peak_mb": float(np.max([run.peak_mb for run in runs]))}
    return {name: round(value, 5) for name, value in metrics.items()}


def print_table(found: dict[str, list[Judged]], n_items: int, name: str, seeds: int) -> None:
    """One row a recommender.

    Args:
        found: by name.
        n_items: size of the catalogue.
        name: of the data.
        seeds: trainings of `sequence`.
    """
    table = Table(title=f"{name}: next item among {n_items}, items met before left out; sequence: mean of {seeds}; 95 % over users")
    for column in ("", *(f"HR@{k}" for k in CUTS), *(f"NDCG@{k}" for k in CUTS), "coverage@10", "fit s", "peak MB"):
        table.add_column(column, justify="right" if column else "left")
    for recommender, runs in found.items():
        cells = []
        for metric in ("hit_rate", "ndcg"):
            for k in CUTS:
                values = np.mean([metrics_of_ranks(run.ranks, k=k).as_dict()[metric] for run in runs], axis=0)
                interval = bootstrap_mean(values, replications=500)
                cells.append(f"{interval.value:.4f} [{interval.low:.4f}, {interval.high:.4f}]" if k == 10 else f"{interval.value:.4f}")
        figures = summary(runs)
        shown = float(np.mean([run.shown for run in runs])) / n_items
        table.add_row(recommender, *cells, f"{shown:.2f}", f"{figures['fit_s']:.1f}", f"{figures['peak_mb']:.0f}")
    Console(width=200).print(table)


if __name__ == "__main__":
    sys.exit(main())
