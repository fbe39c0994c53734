"""What the nightly refresh does, in a market that is played: the ranker learns from the service's own log, and takes its place."""

import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.market_world import Market
from benchmarks.serving.world import CLEAN
from core.columns import Columns as C
from core.files import read_json, read_table, write_json, write_table
from core.params import load_params
from core.schemas import arrow_schema
from core.seeding import stage_rng
from core.stage import PARAMS_FILE
from core.tracking import NullTracker
from models.bundle import load_arrays
from models.embeddings import Embeddings
from registry.models import KINDS
from serving.export import closed_impressions
from tasks.train_ranker import train_ranker


class Nights:
    """Trains rankers from the market's log and the service's.

    The impressions that the service logged join those that the champions were trained on, as the segments of the feedback flow do; the
    windows of training and validation move along, and the stage trains as it does in the loop. The recommender, its audiences and the
    pool stay. A policy that learns counts the decisions of the ranker that serves: after a night it begins anew over a prior that
    has seen yesterday's clicks.
    """

    def __init__(self, place: Market, work: Path) -> None:
        """Lay out what every night needs.

        Args:
            place: the market.
            work: an empty folder; ``models`` in it is what the service shall serve from.
        """
        self.models = work / "models"
        project = place.folder / "project"
        self._work, self._data = work, project / "data"
        self._params = load_params(project / PARAMS_FILE)  # those of the champions
        self._clean = {Path(name).stem: place.folder / "clean" / name for name in CLEAN}
        self.models.mkdir(parents=True)
        for kind in KINDS:
            if kind == "ranker":
                shutil.copytree(place.folder / "models" / kind, self.models / kind)
            else:
                (self.models / kind).symlink_to(place.folder / "models" / kind, target_is_directory=True)
        pool = read_table(place.folder / "models" / "pool" / "creatives.parquet")
        shown = pd.DataFrame({C.COPY: pool[C.CREATIVE], **{name: pool[name] for name in (C.ITEM, C.SCENE, C.CHANNEL, C.TEXT)}})
        human = read_table(self._clean["copies"])
        copies = pd.concat([human, shown[~shown[C.COPY].isin(human[C.COPY])].assign(**{C.ORIGIN: pool[C.ORIGIN]})], ignore_index=True)
        write_table(copies, work / "copies.parquet", arrow_schema("copies"))
        _with_pool(self._data / "features" / "embeddings", place.folder / "models" / "pool", pool[C.TEXT].astype(str)).save(
            work / "embeddings"
        )

    def train(self, database: Path, moment: int, *, night: int) -> int:
        """Train on all that was logged before a moment, and put the ranker where the service looks.

        Args:
            database: the service's log.
            moment: µs UTC.
            night: from 1; has its own stream of random numbers.

        Returns:
            How many impressions of the service were learned from.
        """
        now = datetime.fromtimestamp(moment / 1e6, UTC)
        mine = closed_impressions(database, now, window=timedelta(0)).rows
        before = read_table(self._clean["impressions"])
        write_table(pd.concat([before, mine], ignore_index=True), self._work / "impressions.parquet", arrow_schema("impressions"))
        said = read_json(self._clean["lineage"])
        held = datetime.fromisoformat(said["validation_end"]) - datetime.fromisoformat(said["train_end"])
        write_json({**said, "train_end": (now - held).isoformat(), "validation_end": now.isoformat()}, self._work / "lineage.json")
        new = self._work / f"ranker-{night}"
        train_ranker(
            self._params.train_ranker,
            rng=np.random.default_rng(stage_rng(self._params.seed, "train_ranker").integers(2**31) + night),
            tracker=NullTracker(),
            copies=self._work / "copies.parquet",
            events=self._clean["events"],
            impressions=self._work / "impressions.parquet",
            lineage=self._work / "lineage.json",
            embeddings=self._work / "embeddings",
            recommender=self.models / "recommender",
            ranker=new,
        )
        shutil.rmtree(self.models / "ranker")
        new.rename(self.models / "ranker")
        return len(mine)


def _with_pool(embeddings: Path, pool: Path, texts: pd.Series) -> Embeddings:
    """Raw vectors of the loop's texts and of the pool's."""
    known = Embeddings.load(embeddings)
    more = ~texts.isin(known.texts) & ~texts.duplicated()
    vectors = load_arrays(pool / "vectors.safetensors")["vectors"][more.to_numpy()]
    return Embeddings((*known.texts, *texts[more]), np.concatenate([known.vectors, vectors.astype(known.vectors.dtype)]))
