"""Every recommender on the next item of each user: full ranking over all items, intervals, seconds and memory.

    python -m benchmarks.recommend --data FILE [--attributes FILE] [--titles FILE] [--test FILE] [--seeds 3]

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
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
import torch
from rich.console import Console
from rich.table import Table
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer

from benchmarks.held_out import HeldOut, read_held_out
from core.environment import limit_threads, project_root
from core.params import load_params
from core.tracking import NullTracker
from evaluation.intervals import bootstrap_mean
from evaluation.ranking import metrics_of_ranks, target_ranks
from models.encoder import TextEncoder
from models.recommender.base import EventRecommender, Recommender
from models.recommender.catalogue import Catalogue
from models.recommender.content import ContentCosine, ContentLinear
from models.recommender.covisits import Markov
from models.recommender.popularity import log_popularity
from models.recommender.training.content import Materials, train_cosine, train_linear
from models.recommender.training.covisits import count_item_knn, count_markov, train_item_knn, train_markov
from models.recommender.training.factorisation import train_als
from models.recommender.training.fit import FitSettings
from models.recommender.training.objective import Sampler
from models.recommender.training.popularity import target_counts, train_popularity
from models.recommender.training.sequence import SequenceShape, train_sequence
from models.recommender.training.validation import Validation
from models.recommender.training.windows import EventTable, Windows
from tasks.train_recommender import RULE

CUTS = (5, 10, 20)
MAX_EVENTS, BATCH, NEGATIVES, DIM = 50, 128, 1024, 128
EPOCHS, LEARNING_RATE, DROPOUT, ID_DROPOUT = 20, 1e-3, 0.5, 0.1
"""Chosen on the validation item of Amazon Beauty, and used for every file."""
TAG_DIM, STOPPING_USERS = 64, 4000


@dataclass(frozen=True)
class Judged:
    """One recommender on the test targets.

    Attributes:
        ranks: (n,) of the targets, 1 is best.
        shown: distinct items among everyone's first ten.
        fit_s: seconds of both fits.
        peak_mb: largest memory of the process meanwhile, over what it held before.
    """

    ranks: np.ndarray
    shown: int
    fit_s: float
    peak_mb: float


class Peak:
    """The largest resident memory of this process while it is watched."""

    def __enter__(self) -> "Peak":
        """Begin to watch."""
        self._process = psutil.Process()
        self.start = self.most = self._process.memory_info().rss
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._began = time.perf_counter()
        self._thread.start()
        return self

    def _watch(self) -> None:
        while not self._ended.wait(0.02):
            self.most = max(self.most, self._process.memory_info().rss)

    def __exit__(self, *_: object) -> None:
        """End, and keep the seconds."""
        self.seconds = time.perf_counter() - self._began
        self._ended.set()
        self._thread.join()
        self.most = max(self.most, self._process.memory_info().rss)

    @property
    def added_mb(self) -> float:
        """Megabytes over the start."""
        return float(self.most - self.start) / 2**20


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
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    options = parser.parse_args(arguments)
    params = load_params(project_root() / "params.yaml")
    limit_threads(params.threads)
    held = read_held_out(options.data, options.attributes, options.titles, options.test)
    catalogue = Catalogue.of(held.items, featuriser(held, params.encode))
    n_users = len(held.test.users)
    print(f"{n_users} users, {len(catalogue)} items, {len(held.events)} events before the test", file=sys.stderr, flush=True)
    found = judge_all(held, catalogue, seeds=options.seeds, epochs=options.epochs)
    print_table(found, len(catalogue), options.data.name, options.seeds)
    print(json.dumps({"recommenders": {name: summary(runs) for name, runs in found.items()}}))
    return 0


def featuriser(held: HeldOut, settings: object) -> Callable[[Sequence[str]], np.ndarray]:
    """Vectors of item texts: by the encoder where titles are words, else by the attributes that items share.

    Args:
        held: the log.
        settings: section `encode` of params.yaml.
    """

    def by_encoder(texts: Sequence[str]) -> np.ndarray:
        wanted = {name: getattr(settings, name) for name in ("prefix", "max_tokens", "batch_tokens", "precision")}
        raw = TextEncoder.open(settings.model, **wanted).encode(list(texts))  # type: ignore[attr-defined]
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


class Bench:
    """One log: early events to choose by, all events to fit the chosen on."""

    def __init__(self, held: HeldOut, catalogue: Catalogue, epochs: int) -> None:
        """Cut both logs into windows.

        Args:
            held: the log.
            catalogue: its items.
            epochs: of `sequence`.
        """
        self.held, self.catalogue, self.epochs = held, catalogue, epochs
        self.validation = held.targets(held.validation, held.early, catalogue, RULE)
        self.test = held.targets(held.test, held.events, catalogue, RULE)
        self.stopping = self.validation.sample(STOPPING_USERS)
        self.early, self.all = EventTable.of(held.early, catalogue), EventTable.of(held.events, catalogue)

    def materials(self, *, early: bool, epochs: int) -> Materials:
        """What the networks are trained from.

        Args:
            early: events before the validation targets with those for early stopping; else all events and no early stopping.
            epochs: at the most.
        """
        events, table = (self.held.early, self.early) if early else (self.held.events, self.all)
        counts = target_counts(events, self.catalogue)
        return Materials(
            catalogue=self.catalogue,
            windows=Windows(table, MAX_EVENTS),
            sampler=Sampler.of(counts, NEGATIVES),
            counts=counts,
            validation=self.stopping if early else self.stopping.sample(0),
            max_events=MAX_EVENTS,
            batch_size=BATCH,
            windows_per_epoch=10**9,
            settings=FitSettings("", epochs, 4, 0, LEARNING_RATE, 0.0, 0),
            checkpoints=None,
            tracker=NullTracker(),
        )


def judge_all(held: HeldOut, catalogue: Catalogue, *, seeds: int, epochs: int) -> dict[str, list[Judged]]:
    """Fit every recommender, twice: to choose, and with what was chosen; then look at the test once.

    Args:
        held: the log.
        catalogue: its items.
        seeds: trainings of `sequence`.
        epochs: of `sequence` at the most.

    Returns:
        By name; one entry a seed for `sequence`, one for the others.
    """
    bench = Bench(held, catalogue, epochs)
    found: dict[str, list[Judged]] = {}
    made: dict[str, Recommender] = {}

    def run(name: str, fit: Callable[[], Recommender], *, before: Sequence[str] = ()) -> None:
        print(f"{name} …", file=sys.stderr, flush=True)
        with Peak() as peak:
            model = fit()
        made[name] = model
        earlier = [found[other][0] for other in before]
        seconds = peak.seconds + sum(judged.fit_s for judged in earlier)
        megabytes = max([peak.added_mb, *(judged.peak_mb for judged in earlier)])
        ranks, shown = judge(model, bench.test)
        found.setdefault(name, []).append(Judged(ranks, shown, seconds, megabytes))
        print(f"{name}: HR@10 {(ranks <= 10).mean():.4f}, {peak.seconds:.0f} s", file=sys.stderr, flush=True)

    validation = bench.validation
    early_markov: list[Markov] = []

    def popularity() -> Recommender:
        half_life = train_popularity(held.early, catalogue, validation).half_life_days
        return train_popularity(held.events, catalogue, validation.sample(0), half_lives=(half_life,))

    def item_knn() -> Recommender:
        reading = train_item_knn(bench.early, catalogue, validation, MAX_EVENTS).reading
        return count_item_knn(bench.all, catalogue, MAX_EVENTS, reading)

    def markov() -> Recommender:
        first = train_markov(bench.early, catalogue, validation, MAX_EVENTS)
        early_markov.append(first)
        return count_markov(bench.all, catalogue, MAX_EVENTS, first.shape, first.reading)

    run("popularity", popularity)
    run("item_knn", item_knn)
    run("markov", markov)
    rng = np.random.default_rng(0)
    run("als", lambda: train_als(held.events, catalogue, bench.stopping.sample(0), dim=DIM, rng=rng, tracker=NullTracker()))
    early, late = bench.materials(early=True, epochs=4), bench.materials(early=False, epochs=4)
    cosines: dict[bool, ContentCosine] = {}

    def cosine() -> Recommender:
        cosines.update({True: train_cosine(early, 1), False: train_cosine(late, 1)})
        return cosines[False]

    linears: dict[bool, ContentLinear] = {}

    def linear() -> Recommender:
        linears[True] = train_linear(early, cosines[True], log_popularity(early.counts), 2)
        linears[False] = train_linear(late, cosines[False], log_popularity(late.counts), 2)
        return linears[False]

    run("content_cosine", cosine)
    run("content_linear", linear, before=["content_cosine"])
    shape = SequenceShape(DIM, 2, 4, DROPOUT, ID_DROPOUT, MAX_EVENTS)
    for seed in range(seeds):

        def sequence(seed: int = seed) -> Recommender:
            links = made["markov"]
            assert isinstance(links, Markov)
            first = train_sequence(bench.materials(early=True, epochs=epochs), linears[True], early_markov[0], shape, 10 + seed)
            last = train_sequence(bench.materials(early=False, epochs=first.epochs), linears[False], links, shape, 10 + seed)
            last.weight, last.floor = first.weight, first.floor
            return last

        run("sequence", sequence, before=["markov", "content_linear"])
    return found


def judge(model: Recommender, test: Validation) -> tuple[np.ndarray, int]:
    """Ranks of the targets and the number of distinct items among everyone's first ten.

    Args:
        model: the recommender.
        test: the targets.
    """
    ranks = np.zeros(len(test), np.int64)
    shown: set[int] = set()
    batches = test.batches(model.catalogue, MAX_EVENTS) if isinstance(model, EventRecommender) else None
    for number, start in enumerate(range(0, len(test), 256)):
        rows = slice(start, start + 256)
        if isinstance(model, EventRecommender) and batches is not None:
            with torch.inference_mode():
                scores = model.logits(batches[number], torch.from_numpy(test.moments[rows].copy())).numpy()
        else:
            scores = model.score(test.histories[rows], test.moments[rows])
        scores = test.without_met(scores, rows, model.catalogue)
        ranks[rows] = target_ranks(scores, test.targets[rows])
        shown.update(torch.from_numpy(scores).topk(10).indices.flatten().tolist())
    return ranks, len(shown)


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
