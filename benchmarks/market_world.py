"""A market whose last days have not been trained on, and its shoppers' true answers in them."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.serving.world import CLEAN, train, write_generator, write_pool
from core.columns import Columns as C
from core.files import read_json, read_table, write_json, write_table
from core.identity import DEVELOPMENT_KEY, pseudonymise
from core.params import ServingParams, load_params
from core.schemas import arrow_schema
from core.stage import PARAMS_FILE
from models.history import micros
from serving.settings import CleanData, Settings
from tasks.sources.market.truth import Truth

DAYS = 10
OVERRIDES = (
    "market.shoppers=2000",
    "market.days=40",
    "market.requests_per_day=1.0",
    "prepare.test_share=0.25",
    "train_recommender.epochs=8",
    "train_ranker.epochs=10",
    "train_ranker.max_requests=120000",
)
"""Over profile ci: thirty days to train on and ten to serve, a quarter of the rows; networks are trained as long as by default, and rankers
read every request, the champion's as those of the nights: else a night would differ from the champion in more than what it has seen."""


@dataclass(frozen=True)
class Asking:
    """The requests of the days that are served, in time order; every array ``(n,)``.

    Attributes:
        user: raw ids.
        time: microseconds since 1970 UTC.
        scene: of each.
        channel: of each.
        day: from 0.
    """

    user: np.ndarray
    time: np.ndarray
    scene: np.ndarray
    channel: np.ndarray
    day: np.ndarray


@dataclass(frozen=True)
class Market:
    """Bundles, clean tables and truth.

    Attributes:
        folder: holds models and clean tables.
        truth: what shoppers answer by.
        asking: all requests of the days that are served.
        start: microseconds since 1970 UTC, the end of what was trained on.
    """

    folder: Path
    truth: Truth
    asking: Asking
    start: int

    def settings(self, live: Path, params: ServingParams) -> Settings:
        """The service's settings.

        Args:
            live: folder of its database.
            params: of the service.
        """
        data = CleanData(*(self.folder / "clean" / name for name in CLEAN))
        database = live / "serving.sqlite"
        return Settings(self.folder, params, timedelta(days=3), data, database, live / "fetched", self.folder / "models")


def serving_params() -> ServingParams:
    """Those of this project's params.yaml."""
    return load_params(Path(PARAMS_FILE)).serving


def market(root: Path, folder: Path, *, fresh: bool) -> Market:
    """The market; what is there already is used again.

    The service knows what shoppers do as time passes: their events are in its tables, and it reads those before each request. Impressions
    after the start are left out. The pool has no campaigns, so that a click is worth the same everywhere and eCPM orders by p_click.

    Args:
        root: the project, whose committed state trains the champions.
        folder: where everything is written.
        fresh: train anew.

    Raises:
        CalledProcessError: a stage of the loop failed; its output is on stderr.
    """
    project = folder / "project"
    if fresh or not (folder / "market.json").exists():
        (folder / "market.json").unlink(missing_ok=True)
        _write(train(root, project, OVERRIDES) / "data", folder)
    data = project / "data"
    start = int(micros(pd.Timestamp(read_json(folder / "clean" / "lineage.json")["end"]))[0])
    truth = Truth.load(data / "truth")
    return Market(folder, truth, _asking(read_table(data / "clean" / "impressions.parquet"), truth.user_ids, start), start)


def _write(data: Path, folder: Path) -> None:
    for name in ("models", "clean"):
        shutil.rmtree(folder / name, ignore_errors=True)
        (folder / name).mkdir(parents=True)
    for kind in ("recommender", "ranker"):
        shutil.copytree(data / "models" / kind, folder / "models" / kind)
    write_pool(data, folder / "models" / "pool")
    campaigns = read_table(folder / "models" / "pool" / "campaigns.parquet")
    write_table(campaigns.iloc[:0], folder / "models" / "pool" / "campaigns.parquet", arrow_schema("campaigns"))
    write_generator(data, folder / "models" / "generator")
    lineage = read_json(data / "clean" / "lineage.json")
    cut = pd.Timestamp(lineage["validation_end"])
    for name in ("events", "copies"):
        shutil.copyfile(data / "clean" / f"{name}.parquet", folder / "clean" / f"{name}.parquet")
    impressions = read_table(data / "clean" / "impressions.parquet")
    write_table(impressions[impressions[C.TIMESTAMP] < cut], folder / "clean" / "impressions.parquet", arrow_schema("impressions"))
    write_json({**lineage, "end": cut.isoformat()}, folder / "clean" / "lineage.json")
    write_json({"overrides": list(OVERRIDES)}, folder / "market.json")


def _asking(impressions: pd.DataFrame, users: Sequence[str], start: int) -> Asking:
    names = dict(zip(pseudonymise(list(users), DEVELOPMENT_KEY), users, strict=True))
    first = impressions[impressions[C.POSITION] == 0].sort_values(C.TIMESTAMP, kind="stable")
    time = micros(first[C.TIMESTAMP])
    kept = time > start
    first, time = first[kept], time[kept]
    columns = (first[name].to_numpy(dtype=object) for name in (C.SCENE, C.CHANNEL))
    day = np.minimum((time - start) * DAYS // (time.max() + 1 - start), DAYS - 1)
    return Asking(np.array([names[user] for user in first[C.USER]], dtype=object), time, *columns, day)


def some(asking: Asking, a_day: int, rng: np.random.Generator) -> Asking:
    """So many requests of each day.

    Args:
        asking: all.
        a_day: at the most.
        rng: the stream to draw from.
    """
    chosen = [np.flatnonzero(asking.day == day) for day in range(DAYS)]
    kept = np.sort(np.concatenate([rng.permutation(rows)[:a_day] for rows in chosen]))
    return replace(asking, **{name: held[kept] for name, held in vars(asking).items()})
