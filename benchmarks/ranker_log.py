"""The market's log at the size of profile `bench`, and what the ranker needs beside it; every step is kept and read again."""

import hashlib
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm import tqdm

from core.columns import Columns
from core.errors import ParamsError
from core.files import read_json, read_table
from core.identity import pseudonymise, user_key
from core.params import Params, check_params
from core.seeding import stage_rng
from core.tracking import NullTracker
from core.yaml_settings import read_yaml
from flows.overrides import profile_values
from models.ranker import RankerBundle
from tasks.collect import collect
from tasks.encode import encode
from tasks.judge.rankers import judge_ranker, window
from tasks.prepare import prepare
from tasks.sources.market.truth import Truth
from tasks.train_ranker import train_ranker
from tasks.train_recommender import train_recommender

REQUESTS_AT_ONCE = 12_000
_TABLES = ("items", "events", "copies", "impressions", "campaigns")


def bench_params(root: Path, *, impressions: int | None, seed: int | None, changes: Sequence[str] = ()) -> Params:
    """params.yaml under profile `bench`.

    Args:
        root: the project.
        impressions: about how many to log; the profile's number when None.
        seed: of the market; the committed one when None.
        changes: further ones, each ``section.key=value``.

    Raises:
        ParamsError: a file or a change is missing or wrong.
    """
    values = read_yaml(root / "params.yaml")
    for section, keys in profile_values("bench", root / "profiles.yaml").items():
        values[section] = {**values[section], **keys}
    for change in changes:
        where, _, value = change.partition("=")
        section, _, key = where.partition(".")
        if key not in values.get(section, {}) or not value:
            raise ParamsError(f"--set {change!r}: params.yaml has no such key; write section.key=value, such as market.shoppers=500.")
        values[section][key] = json.loads(value)
    market = values["market"]
    if impressions is not None:
        market["requests_per_day"] = impressions / (market["slate"] * market["shoppers"] * market["days"])
    if seed is not None:
        market["seed"] = seed
    return check_params(values, where="params.yaml under profile bench")


@dataclass(frozen=True)
class Log:
    """A prepared log.

    Attributes:
        folder: where its files lie.
        params: it was made with.
    """

    folder: Path
    params: Params

    def paths(self, *names: str) -> dict[str, Path]:
        """Arguments of a stage: stem → path.

        Args:
            names: stems.
        """
        ends = {
            **dict.fromkeys([*_TABLES, "quarantine", "user_features", *(f"raw_{name}" for name in _TABLES)], ".parquet"),
            **dict.fromkeys(["source", "lineage", "data_report"], ".json"),
        }
        return {name: self.folder / f"{name}{ends.get(name, '')}" for name in names}


def build_log(params: Params, cache: Path) -> Log:
    """Simulate, clean, encode, and train the recommender; a step that has been done with these parameters is not done again.

    Args:
        params: all sections.
        cache: folder for logs, one a set of parameters.
    """
    read = (params.market, params.prepare, params.encode, params.train_recommender)
    key = hashlib.sha256("\0".join([str(params.seed), *(section.model_dump_json() for section in read)]).encode()).hexdigest()[:12]
    log = Log(cache / key, params)
    for name in ("feedback", "own"):
        (log.folder / name).mkdir(parents=True, exist_ok=True)
    raw = [f"raw_{name}" for name in _TABLES]
    known = ("items", "events", "lineage", "embeddings", "encoder")
    steps: dict[str, tuple[str, Callable[[], None]]] = {
        "simulate": (
            "truth/truth.json",
            lambda: collect(params.collect, params.market, **log.paths("feedback", "own", *raw, "source", "truth")),
        ),
        "clean": (
            "data_report.json",
            lambda: prepare(params.prepare, **log.paths(*raw, "source", *_TABLES, "quarantine", "lineage", "data_report")),
        ),
        "encode": (
            "embeddings/vectors.safetensors",
            lambda: encode(params.encode, rng=_stream(params, "encode"), tracker=NullTracker(), **log.paths(*known, "copies")),
        ),
        "recommender": (
            "user_features.parquet",
            lambda: train_recommender(
                params.train_recommender,
                rng=_stream(params, "train_recommender"),
                tracker=NullTracker(),
                **log.paths(*known, "recommender", "user_features"),
            ),
        ),
    }
    with tqdm(total=len(steps), file=sys.stderr) as bar:
        for name, (made, step) in steps.items():
            bar.set_description(name)
            if not (log.folder / made).exists():
                step()
            bar.update()
    return log


def train(log: Log) -> RankerBundle:
    """Train ranker and baselines with the project's own stage, on impressions before the test window only.

    Args:
        log: prepared.
    """
    wanted = ("copies", "events", "impressions", "lineage", "embeddings", "recommender", "ranker")
    params = log.params
    train_ranker(params.train_ranker, rng=_stream(params, "train_ranker"), tracker=NullTracker(), **log.paths(*wanted))
    return RankerBundle.load(log.folder / "ranker")


def judge(log: Log, bundle: RankerBundle) -> pd.DataFrame:
    """Predict every impression of the test window.

    Args:
        log: prepared.
        bundle: trained.

    Returns:
        Rows of `tasks.judge.rankers.judge_ranker`, and the true probabilities as p_click:truth and p_convert:truth.
    """
    tables = {name: read_table(path) for name, path in log.paths("impressions", "events", "copies").items()}
    impressions = tables["impressions"].drop(columns=Columns.CANDIDATES)
    shown = window(impressions, datetime.fromisoformat(read_json(log.folder / "lineage.json")["validation_end"]))
    truth = Truth.load(log.folder / "truth")
    raw_ids = dict(zip(pseudonymise(truth.user_ids, user_key(synthetic=True)), truth.user_ids, strict=True))
    texts = dict(zip(tables["copies"][Columns.COPY], tables["copies"][Columns.TEXT], strict=True))
    found = []
    for users in tqdm(list(_groups(shown)), desc="judge", file=sys.stderr):  # by users: nobody else's past is read for theirs
        part, theirs, past = (table[table[Columns.USER].isin(users)] for table in (shown, tables["events"], impressions))
        frame, _ = judge_ranker(bundle, part.reset_index(drop=True), impressions=past, events=theirs, copies=tables["copies"])
        effects = truth.effects(
            frame[Columns.USER].map(raw_ids).tolist(), frame[Columns.ITEM].tolist(), frame[Columns.CREATIVE].map(texts).tolist(),
            frame[Columns.SCENE].tolist(), frame[Columns.CHANNEL].tolist(), frame[Columns.POSITION].tolist(), frame[Columns.TIMESTAMP],
        )  # fmt: skip
        found.append(frame.assign(**{"p_click:truth": truth.click_given(effects), "p_convert:truth": truth.conversion_given(effects)}))
    return pd.concat(found, ignore_index=True)


def _groups(shown: pd.DataFrame) -> Iterator[set[str]]:
    requests = shown.drop_duplicates(Columns.REQUEST)[Columns.USER].value_counts(sort=False).sort_index()
    group = np.cumsum(requests.to_numpy()) // REQUESTS_AT_ONCE
    for number in np.unique(group):
        yield set(requests.index[group == number])


def _stream(params: Params, stage: str) -> np.random.Generator:
    return stage_rng(params.seed, stage)
