"""The sequence recommender beside RecTools' SASRec: seconds an epoch, and NDCG@10 at equal wall time.

    python -m benchmarks.rectools --data Beauty.txt --peer-python ENV/bin/python [--epochs 8] [--loss softmax]

The peer needs an environment of its own, for it needs older libraries:
`python -m venv ENV && ENV/bin/pip install torch==2.13.0 "rectools[torch]==0.19.0" "numpy<2"`.
Both read the same events (ids alone: no attributes, no titles), with the same dimension, layers, heads, window, batch and threads, one
after the other. Ours is fitted as `benchmarks.recommend` fits it: links and content first, `--epochs` epochs on the early events to choose
by, then anew on all events; all of that is its wall time. The peer trains on all events for as long, and once more for three epochs, for
its seconds an epoch. Items met are not ranked. Last line: one JSON object.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from rich.console import Console
from rich.table import Table

from benchmarks.fitting import BATCH, DIM, DROPOUT, ID_DROPOUT, MAX_EVENTS, Fits, judge, without_text
from benchmarks.held_out import HeldOut, part_of, read_held_out
from core.columns import Columns as C
from core.environment import limit_threads, project_root
from core.params import load_params
from core.tracking import NullTracker
from evaluation.intervals import bootstrap_mean
from evaluation.ranking import metrics_of_ranks
from models.history import micros
from models.recommender.catalogue import Catalogue
from models.recommender.training.sequence import SequenceShape, train_sequence

PEER = Path(__file__).with_name("rectools_sasrec.py")
TIMED = 3
"""Epochs that are timed beside each other."""


class Epochs(NullTracker):
    """When each epoch of a network ended."""

    def __init__(self) -> None:
        """Begin with none."""
        self.ended: list[float] = []

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Keep the time of what is told at an epoch's end."""
        if any(name.endswith("_loss") for name in metrics):
            self.ended.append(time.perf_counter())


def main(arguments: Sequence[str] | None = None) -> int:
    """Fit both, compare, print.

    Args:
        arguments: of the command line; the process's own when None.

    Returns:
        0; 1 when ours takes more than a third of the peer's seconds an epoch or has no better NDCG@10.
    """
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="as benchmarks.recommend takes it")
    parser.add_argument("--peer-python", type=Path, required=True, help="python of an environment that has RecTools")
    parser.add_argument("--epochs", type=int, default=8, help="of ours")
    parser.add_argument("--loss", default="softmax", help="of the peer: softmax (its default), sampled_softmax, BCE or gBCE")
    parser.add_argument("--users", type=int, help="a part of the users, for a quick look")
    options = parser.parse_args(arguments)
    threads = load_params(project_root() / "params.yaml").threads
    limit_threads(threads)
    held = part_of(read_held_out(options.data, None, None, None), users=options.users, hide=0.0)
    catalogue = without_text(Catalogue.of(held.items, lambda texts: np.zeros((len(texts), 1), np.float32)))
    began = time.perf_counter()
    ranks = fit_ours(held, catalogue, options.epochs)
    took = time.perf_counter() - began
    epoch_s = time_ours(held, catalogue)
    timed = peer(held, options.peer_python, options.loss, epochs=TIMED, threads=threads)
    equal = peer(held, options.peer_python, options.loss, seconds=took, threads=threads)
    rows = {
        "ours": (ranks, epoch_s, took),
        f"rectools_{options.loss}": (np.array(equal["ranks"]), float(np.median(timed["epoch_s"])), float(equal["fit_s"])),
    }
    table = Table(title=f"{options.data.name}: ids alone, dim {DIM}, {threads} threads; 95 % over users")
    for column in ("", "s an epoch", "s in all", "NDCG@10", "HR@10"):
        table.add_column(column, justify="right" if column else "left")
    told: dict[str, dict[str, float]] = {}
    for name, (found, seconds, whole) in rows.items():
        metrics = metrics_of_ranks(found, k=10)
        ndcg, hits = (bootstrap_mean(values, replications=500) for values in (metrics.ndcg, metrics.hit_rate))
        table.add_row(name, f"{seconds:.1f}", f"{whole:.0f}", *(f"{i.value:.4f} [{i.low:.4f}, {i.high:.4f}]" for i in (ndcg, hits)))
        told[name] = {"epoch_s": round(seconds, 2), "fit_s": round(whole, 1), "ndcg10": round(ndcg.value, 5), "hr10": round(hits.value, 5)}
    Console(width=160).print(table)
    (ours, theirs) = told.values()
    ratio = theirs["epoch_s"] / ours["epoch_s"]
    print(f"seconds an epoch: theirs / ours = {ratio:.2f}; epochs of theirs in equal time: {len(equal['epoch_s'])}")
    print(json.dumps({"epoch_ratio": round(ratio, 3), "recommenders": told}))
    return 0 if ratio >= 3 and ours["ndcg10"] > theirs["ndcg10"] else 1


def fit_ours(held: HeldOut, catalogue: Catalogue, epochs: int) -> np.ndarray:
    """(n,) ranks of the test targets by the sequence recommender.

    Args:
        held: the log.
        catalogue: its items, of which nothing but the id is known.
        epochs: at the most.
    """
    fits = Fits(held, catalogue, epochs)
    for fit in (fits.markov, fits.cosine, fits.linear):
        fit()
    return judge(fits.sequence(0, SHAPE), fits.bench.test)[0]


def time_ours(held: HeldOut, catalogue: Catalogue) -> float:
    """Median seconds of an epoch on all events.

    Args:
        held: see `fit_ours`.
        catalogue: see `fit_ours`.
    """
    fits, clock = Fits(held, catalogue, TIMED + 1), Epochs()
    for fit in (fits.markov, fits.cosine, fits.linear):
        fit()
    materials = fits.bench.materials(early=False, epochs=TIMED + 1)
    train_sequence(replace(materials, tracker=clock), fits.linears[False], fits.markovs[False], SHAPE, 10)
    return float(np.median(np.diff(clock.ended)))


def peer(held: HeldOut, python: Path, loss: str, *, threads: int, epochs: int = 10_000, seconds: float = 1e9) -> dict[str, list[float]]:
    """What the peer wrote.

    Args:
        held: the log.
        python: of its environment.
        loss: its training objective.
        threads: of the processor.
        epochs: at the most.
        seconds: at the most.
    """
    with tempfile.TemporaryDirectory() as folder:
        events, targets, out = (Path(folder) / name for name in ("events.csv", "targets.csv", "out.json"))
        times = micros(held.events[C.TIMESTAMP])
        pd.DataFrame({"user": held.events[C.USER], "item": held.events[C.ITEM], "time": times}).to_csv(events, index=False)
        pd.DataFrame({"user": held.test.users, "item": held.test.items}).to_csv(targets, index=False)
        given = [events, targets, out, epochs, seconds, threads, DIM, MAX_EVENTS, BATCH, loss]
        subprocess.run([str(python), "-P", str(PEER), *map(str, given)], check=True, stdout=subprocess.DEVNULL)
        found: dict[str, list[float]] = json.loads(out.read_text(encoding="utf-8"))
    return found


SHAPE = SequenceShape(DIM, 2, 4, DROPOUT, ID_DROPOUT, MAX_EVENTS)


if __name__ == "__main__":
    sys.exit(main())
