"""One cell of `benchmarks.scale`, in a process of its own: a recommender fitted on one generated log, its seconds and its memory.

    python -m benchmarks.scale_cell NAME FOLDER

Last line: one JSON object.
"""

import argparse
import json
import resource
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import numpy as np

from core.environment import limit_threads, project_root
from core.params import RecommenderParams, load_params
from core.seeding import seed_globals, stage_rng
from core.tracking import NullTracker
from models.recommender.base import Recommender
from models.recommender.popularity import log_popularity
from models.recommender.training.content import Materials, train_cosine, train_linear
from models.recommender.training.covisits import train_item_knn, train_markov
from models.recommender.training.factorisation import train_als
from models.recommender.training.popularity import train_popularity
from models.recommender.training.sequence import SequenceShape, train_sequence
from tasks.train_recommender import Held, RecommenderInputs

Model = TypeVar("Model", bound=Recommender)

NAMES = ("popularity", "item_knn", "markov", "als", "content", "sequence")
SCORED = 256
"""Histories that are scored against all items."""


class Cell:
    """The fits that `train_models` runs, one of them at a time, by the same functions with the same parameters; of networks one epoch.

    Args:
        folder: of the log.
        params: of `train_recommender`.
        rng: the stage's stream.
        full: whether an epoch reads every window; else as many as the stage draws.
    """

    def __init__(self, folder: Path, params: RecommenderParams, rng: np.random.Generator, *, full: bool) -> None:
        self.params, self.rng = params.model_copy(update={"epochs": 1}), rng
        self.parts: dict[str, float] = {}
        self.cpu_parts: dict[str, float] = {}
        files = (folder / name for name in ("items.parquet", "events.parquet", "lineage.json", "embeddings", "encoder"))
        began, began_cpu = time.perf_counter(), time.process_time()
        read = RecommenderInputs(*files).read(self.params, rng, NullTracker())
        self.read_s, self.read_cpu_s = time.perf_counter() - began, time.process_time() - began_cpu
        self.materials: Materials = replace(read[0], windows_per_epoch=10**12) if full else read[0]
        self.held: Held = read[1]

    def _timed(self, name: str, fit: Callable[[], Model]) -> Model:
        print(f"  {name} …", file=sys.stderr, flush=True)
        began, began_cpu = time.perf_counter(), time.process_time()
        made = fit()
        self.parts[name], self.cpu_parts[name] = time.perf_counter() - began, time.process_time() - began_cpu
        return made

    def fit(self, name: str) -> Recommender:
        """Fit one, and what it rests on.

        Args:
            name: one of `NAMES`.
        """
        materials, held, params, table = self.materials, self.held, self.params, self.materials.windows.table
        catalogue, validation = materials.catalogue, materials.validation
        if name == "item_knn":
            return self._timed(name, lambda: train_item_knn(table, catalogue, validation, params.max_events))
        if name == "markov":
            return self._timed(name, lambda: train_markov(table, catalogue, validation, params.max_events))
        if name == "als":
            return self._timed(
                name, lambda: train_als(held.training, catalogue, validation, dim=params.dim, rng=self.rng, tracker=NullTracker())
            )
        popular = self._timed("popularity", lambda: train_popularity(held.training, catalogue, validation))
        if name == "popularity":
            return popular
        cosine = self._timed("content_cosine", lambda: train_cosine(materials, 1))
        linear = self._timed("content_linear", lambda: train_linear(materials, cosine, log_popularity(popular.counts), 2))
        if name == "content":
            return linear
        markov = self._timed("markov", lambda: train_markov(table, catalogue, validation, params.max_events))
        shape = SequenceShape(params.dim, params.layers, params.heads, params.dropout, params.id_dropout, params.points)
        return self._timed("sequence", lambda: train_sequence(materials, linear, markov, shape, 3))


def peak_mb() -> float:
    """The largest resident memory that this process ever had, in megabytes."""
    status = Path("/proc/self/status")
    if status.is_file():  # the other figure starts with what the parent had when it forked
        lines = status.read_text(encoding="ascii", errors="replace").splitlines()
        found = [line.split()[1] for line in lines if line.startswith("VmHWM:")]
        if found:
            return int(found[0]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 1024)


def main(arguments: Sequence[str] | None = None) -> int:
    """Fit, score, tell.

    Args:
        arguments: of the command line; the process's own when None.

    Returns:
        0.
    """
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=NAMES)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--capped", action="store_true", help="windows an epoch as many as the stage draws at the most, not all")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args(arguments)
    params = load_params(project_root() / "params.yaml")
    limit_threads(options.threads)
    seed_globals(params.seed, "train_recommender")
    began_mb = peak_mb()
    cell = Cell(options.folder, params.train_recommender, stage_rng(params.seed, "train_recommender"), full=not options.capped)
    read_mb = peak_mb()
    model = cell.fit(options.name)
    fit_mb = peak_mb()
    known = cell.materials.validation.sample(SCORED)
    began_cpu = time.process_time()
    model.score(known.histories, known.moments)
    score_ms = 1000 * (time.process_time() - began_cpu) / max(len(known), 1)
    found = {"read_s": cell.read_s, "read_cpu_s": cell.read_cpu_s}
    found |= {"fit_s": sum(cell.parts.values()), "fit_cpu_s": sum(cell.cpu_parts.values()), "score_cpu_ms": score_ms}
    found |= {"libraries_mb": began_mb, "read_mb": read_mb, "peak_mb": fit_mb, "items": len(cell.materials.catalogue)}
    found |= {"windows": len(cell.materials.windows), "users": len(cell.materials.windows.table.user_ids)}
    rounded: dict[str, object] = {name: round(value, 4) for name, value in found.items()}
    print(json.dumps(rounded | {"cpu_parts": {name: round(value, 4) for name, value in cell.cpu_parts.items()}}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
