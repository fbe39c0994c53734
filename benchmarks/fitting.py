"""Fits of every recommender for `benchmarks.recommend`: once to choose, once with what was chosen, and one look at the test."""

import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import psutil
import torch

from benchmarks.held_out import HeldOut
from core.columns import Columns as C
from core.tracking import NullTracker
from evaluation.ranking import target_ranks
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

MAX_EVENTS, BATCH, NEGATIVES, DIM = 50, 128, 1024, 128
EPOCHS, LEARNING_RATE, DROPOUT, ID_DROPOUT = 20, 1e-3, 0.5, 0.1
"""Chosen on the validation item of Amazon Beauty, and used for every file."""
STOPPING_USERS = 4000


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


class Bench:
    """One log: early events to choose by, all events to fit the chosen on."""

    def __init__(self, held: HeldOut, catalogue: Catalogue) -> None:
        """Cut both logs into windows.

        Args:
            held: the log.
            catalogue: its items.
        """
        self.held, self.catalogue = held, catalogue
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


class Fits:
    """Fits of one log, each judged on the test; what `sequence` rests on is kept."""

    def __init__(self, held: HeldOut, catalogue: Catalogue, epochs: int) -> None:
        """Begin with nothing fitted.

        Args:
            held: the log.
            catalogue: its items.
            epochs: of `sequence` at the most.
        """
        self.bench, self.epochs = Bench(held, catalogue), epochs
        self.found: dict[str, list[Judged]] = {}
        self.cosines: dict[bool, ContentCosine] = {}  # by whether it was fitted to the early events
        self.linears: dict[bool, ContentLinear] = {}
        self.markovs: dict[bool, Markov] = {}

    def run(self, name: str, fit: Callable[[], Recommender], *, before: Sequence[str] = ()) -> None:
        """Fit one and judge it.

        Args:
            name: of the row.
            fit: both fits.
            before: recommenders that it rests on, whose seconds and memory count too.
        """
        print(f"{name} …", file=sys.stderr, flush=True)
        with Peak() as peak:
            model = fit()
        earlier = [self.found[other][0] for other in before]
        seconds = peak.seconds + sum(judged.fit_s for judged in earlier)
        megabytes = max([peak.added_mb, *(judged.peak_mb for judged in earlier)])
        ranks, shown = judge(model, self.bench.test)
        self.found.setdefault(name, []).append(Judged(ranks, shown, seconds, megabytes))
        print(f"{name}: HR@10 {(ranks <= 10).mean():.4f}, {peak.seconds:.0f} s", file=sys.stderr, flush=True)

    def popularity(self) -> Recommender:
        """Half-life by validation."""
        bench = self.bench
        half_life = train_popularity(bench.held.early, bench.catalogue, bench.validation).half_life_days
        return train_popularity(bench.held.events, bench.catalogue, bench.validation.sample(0), half_lives=(half_life,))

    def item_knn(self) -> Recommender:
        """Votes by validation."""
        bench = self.bench
        reading = train_item_knn(bench.early, bench.catalogue, bench.validation, MAX_EVENTS).reading
        return count_item_knn(bench.all, bench.catalogue, MAX_EVENTS, reading)

    def markov(self) -> Recommender:
        """Links and votes by validation."""
        bench = self.bench
        first = train_markov(bench.early, bench.catalogue, bench.validation, MAX_EVENTS)
        self.markovs = {True: first, False: count_markov(bench.all, bench.catalogue, MAX_EVENTS, first.shape, first.reading)}
        return self.markovs[False]

    def als(self) -> Recommender:
        """Fixed settings; the last round stays."""
        bench, rng = self.bench, np.random.default_rng(0)
        return train_als(bench.held.events, bench.catalogue, bench.stopping.sample(0), dim=DIM, rng=rng, tracker=NullTracker())

    def cosine(self) -> Recommender:
        """Fusion and its temperature."""
        self.cosines = {early: train_cosine(self.bench.materials(early=early, epochs=4), 1) for early in (True, False)}
        return self.cosines[False]

    def linear(self) -> Recommender:
        """W, v and b over that fusion."""
        for early in (True, False):
            materials = self.bench.materials(early=early, epochs=4)
            self.linears[early] = train_linear(materials, self.cosines[early], log_popularity(materials.counts), 2)
        return self.linears[False]

    def sequence(self, seed: int, shape: SequenceShape) -> Recommender:
        """Epoch and weight of the links by validation, then anew on all events.

        Args:
            seed: decides first weights, batches, negatives and dropout.
            shape: of the network.
        """
        bench = self.bench
        first = train_sequence(bench.materials(early=True, epochs=self.epochs), self.linears[True], self.markovs[True], shape, 10 + seed)
        again = bench.materials(early=False, epochs=first.epochs)
        last = train_sequence(again, self.linears[False], self.markovs[False], shape, 10 + seed)
        last.weight, last.floor, last.promotion = first.weight, first.floor, first.promotion
        return last

    def forget_text(self) -> None:
        """Go on with items of which nothing but the id is known; votes and shape of the links stay."""
        old, links = self.bench, self.markovs[True]
        self.bench = bench = Bench(old.held, without_text(old.catalogue))
        tables = {True: bench.early, False: bench.all}
        self.markovs = {
            early: count_markov(table, bench.catalogue, MAX_EVENTS, links.shape, links.reading) for early, table in tables.items()
        }
        self.cosine()
        self.linear()


def judge_all(held: HeldOut, catalogue: Catalogue, *, seeds: int, epochs: int, parts: bool) -> dict[str, list[Judged]]:
    """Fit every recommender, twice: to choose, and with what was chosen; then look at the test once.

    Args:
        held: the log.
        catalogue: its items.
        seeds: trainings of `sequence`.
        epochs: of `sequence` at the most.
        parts: whether `sequence` by ids alone and by text and tags alone is fitted too.

    Returns:
        By name; one entry a seed for `sequence`, one for the others.
    """
    fits = Fits(held, catalogue, epochs)
    for name, fit in (("popularity", fits.popularity), ("item_knn", fits.item_knn), ("markov", fits.markov), ("als", fits.als)):
        fits.run(name, fit)
    fits.run("content_cosine", fits.cosine)
    fits.run("content_linear", fits.linear, before=["content_cosine"])
    shape, parts_of = SequenceShape(DIM, 2, 4, DROPOUT, ID_DROPOUT, MAX_EVENTS), ["markov", "content_linear"]
    for seed in range(seeds):
        fits.run("sequence", lambda seed=seed: fits.sequence(seed, shape), before=parts_of)  # type: ignore[misc]
    if parts:
        fits.run("sequence_text", lambda: fits.sequence(0, replace(shape, id_dropout=1.0)), before=parts_of)
        fits.forget_text()
        fits.run("sequence_ids", lambda: fits.sequence(0, shape), before=parts_of)
    return fits.found


def without_text(catalogue: Catalogue) -> Catalogue:
    """The same items, of which nothing but the id is known.

    Args:
        catalogue: any.
    """
    bare = catalogue.items.assign(**{C.CATEGORY: "unknown", C.BRAND: None, C.ATTRIBUTES: [[] for _ in range(len(catalogue))]})
    return Catalogue(bare, np.zeros((1, 1), np.float32), np.zeros(len(catalogue), np.int64), catalogue.featurise)


def judge(model: Recommender, test: Validation) -> tuple[np.ndarray, int]:
    """Ranks of the targets and the number of distinct items among everyone's first ten.

    Args:
        model: the recommender.
        test: the targets.
    """
    ranks = np.zeros(len(test), np.int64)
    shown: set[int] = set()
    batches = test.batches(model.catalogue, MAX_EVENTS) if isinstance(model, EventRecommender) else None
    for number, (rows, at) in enumerate(test.cuts(model.catalogue)):
        if isinstance(model, EventRecommender) and batches is not None:
            with torch.inference_mode():
                scores = model.logits(batches[number], at).numpy()
        else:
            scores = model.score(test.histories[rows], test.moments[rows])
        scores = test.without_met(scores, rows, model.catalogue)
        ranks[rows] = target_ranks(scores, test.targets[rows])
        shown.update(torch.from_numpy(scores).topk(10).indices.flatten().tolist())
    return ranks, len(shown)
