"""Search for better parameters of one stage, on the validation window alone: what is searched, what a trial is worth, the best as YAML."""

import hashlib
import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import ClassVar, Protocol

import optuna
import pandas as pd
from optuna.trial import TrialState
from ruamel.yaml import YAML

from core.columns import Columns
from core.errors import TrainingError
from core.files import content_hash, read_json, read_table, write_beside
from core.params import Params, RankerParams, RecommenderParams
from core.seeding import seed_globals, stage_rng
from core.tracking import Tracker
from core.vocabulary import Target
from models.embeddings import Embeddings
from models.ranker.training import train_scorers
from models.recommender import RecommenderBundle
from tasks.train_ranker import Data, Learnable, features_of, usable
from tasks.train_recommender import RecommenderInputs, train_models

log = logging.getLogger(__name__)

Value = int | float
DIGITS = 3
"""Significant digits of a number between two bounds; what is tried is what is written."""
VALUES = "values"


@dataclass(frozen=True)
class Between:
    """A number between two bounds.

    Attributes:
        low, high: the bounds; they make room for the present value.
        log: whether it is searched on the logarithm's scale.
    """

    low: float
    high: float
    log: bool = False


Space = Mapping[str, Between | tuple[int, ...]]
"""Key of the section → bounds, or the values to choose from."""
SPACES: Mapping[Target, Space] = {
    Target.RECOMMENDER: {
        "learning_rate": Between(5e-4, 8e-3, log=True),
        "weight_decay": Between(1e-3, 0.3, log=True),
        "dropout": Between(0.05, 0.5),
        "id_dropout": Between(0.0, 0.5),
        "dim": (32, 64, 128),
        "layers": (1, 2, 3),
        "negatives": (128, 256, 512, 1024),
    },
    Target.RANKER: {
        "learning_rate": Between(1e-4, 3e-3, log=True),
        "weight_decay": Between(0.01, 1.0, log=True),
        "dropout": Between(0.0, 0.5),
        "dim": (8, 16, 32),
        "cross_layers": (1, 2, 3),
        "hidden_dim": (32, 64, 128),
        "batch_size": (512, 1024, 2048),
    },
}
SECTIONS: Mapping[Target, str] = {Target.RECOMMENDER: "train_recommender", Target.RANKER: "train_ranker"}


class Objective(Protocol):
    """What a trial is worth on the validation window; the test window is never read."""

    @property
    def metric(self) -> str:
        """What is measured."""

    @property
    def higher_is_better(self) -> bool:
        """Of the metric."""

    def files(self) -> list[Path]:
        """What the answer depends on."""

    def measure(self, values: Mapping[str, Value], tracker: Tracker) -> float:
        """Train with these values in the stage's section and measure.

        Args:
            values: key → value.
            tracker: receives the figures of each epoch.

        Raises:
            TrainingError: training diverged, or these values do not go together.
        """


@dataclass(frozen=True)
class RecommenderObjective:
    """NDCG@10 of the next item of the validation users, by the recommender that params.yaml asks for."""

    params: Params
    inputs: RecommenderInputs
    metric: ClassVar[str] = "ndcg10"
    higher_is_better: ClassVar[bool] = True

    def files(self) -> list[Path]:
        """See `Objective.files`."""
        held = self.inputs
        return [held.items, held.events, held.lineage, held.embeddings, held.encoder]

    def measure(self, values: Mapping[str, Value], tracker: Tracker) -> float:
        """See `Objective.measure`."""
        stage = SECTIONS[Target.RECOMMENDER]
        params = RecommenderParams.model_validate(self.params.train_recommender.model_dump() | dict(values))
        if params.dim % params.heads:
            raise TrainingError(f"dim {params.dim} is no multiple of heads {params.heads}.")
        seed_globals(self.params.seed, stage)
        rng = stage_rng(self.params.seed, stage)
        materials, held = self.inputs.read(params, rng, tracker)
        if not len(materials.validation):
            raise TrainingError("no shopper views or buys anything in the validation window; widen prepare.validation_share.")
        trained = train_models(materials, held.training, params, rng, baselines=params.kind in {"als", "item_knn"})
        return float(materials.validation.score(trained[params.kind]))


@dataclass(frozen=True)
class RankerObjective:
    """Log loss of clicks of the network on the validation window."""

    params: Params
    copies: Path
    events: Path
    impressions: Path
    lineage: Path
    embeddings: Path
    recommender: Path
    metric: ClassVar[str] = "log_loss"
    higher_is_better: ClassVar[bool] = False

    def files(self) -> list[Path]:
        """See `Objective.files`."""
        return [self.copies, self.events, self.impressions, self.lineage, self.embeddings, self.recommender]

    @cached_property
    def learnable(self) -> Learnable:
        """Features, which no searched parameter changes: made once."""
        facts = read_json(self.lineage)
        train_end, end = (pd.Timestamp(datetime.fromisoformat(facts[name])) for name in ("train_end", "validation_end"))
        bundle, texts, known = RecommenderBundle.load(self.recommender), read_table(self.copies), read_table(self.events)
        shown = usable(read_table(self.impressions), texts, bundle, before=end)
        data = Data(shown, known[known[Columns.TIMESTAMP] < end], texts, train_end)
        rng = stage_rng(self.params.seed, SECTIONS[Target.RANKER])
        return features_of(self.params.train_ranker, rng, data=data, bundle=bundle, held=Embeddings.load(self.embeddings))

    def measure(self, values: Mapping[str, Value], tracker: Tracker) -> float:
        """See `Objective.measure`."""
        stage = SECTIONS[Target.RANKER]
        params = RankerParams.model_validate(self.params.train_ranker.model_dump() | dict(values))
        told = self.learnable
        seed_globals(self.params.seed, stage)
        seed = int(stage_rng(self.params.seed, f"{stage}/tune").integers(2**31))
        found = train_scorers(
            told.known,
            told.held,
            told.names,
            params,
            seed=seed,
            on_epoch=lambda epoch, figures: tracker.log_metrics(figures, step=epoch),
        )
        return float(found.validation_log_loss["cross"])


def objective_of(target: Target, params: Params, path: Callable[[str], Path]) -> Objective:
    """What is measured for a target.

    Args:
        target: what is tuned.
        params: the present parameters; the searched ones of the target's section give way.
        path: file stem → path, as dvc.yaml has it.
    """
    if target == Target.RECOMMENDER:
        return RecommenderObjective(params, RecommenderInputs(*(path(n) for n in ("items", "events", "lineage", "embeddings", "encoder"))))
    names = ("copies", "events", "impressions", "lineage", "embeddings", "recommender")
    return RankerObjective(params, **{name: path(name) for name in names})


class Search:
    """A study in a file: trials in their order, the present parameters first; a killed one goes on.

    Another study is begun when data, parameters or the space differ.
    """

    def __init__(self, target: Target, objective: Objective, params: Params, folder: Path) -> None:
        """Open the study, or begin it.

        Args:
            target: what is tuned.
            objective: what a trial is worth.
            params: the present parameters.
            folder: where studies are kept.

        Raises:
            TrainingError: a file is missing.
        """
        absent = [str(path) for path in objective.files() if not path.exists()]
        if absent:
            raise TrainingError(f"nothing to tune on: {', '.join(absent)} is missing. Run the loop first: `make run`.")
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.target, self.objective = target, objective
        self.section = SECTIONS[target]
        held = getattr(params, self.section).model_dump()
        self.present: dict[str, Value] = {key: held[key] for key in SPACES[target]}
        told = json.dumps([params.seed, held, {key: str(value) for key, value in SPACES[target].items()}], sort_keys=True)
        made_from = [told, *(content_hash(path) for path in objective.files())]
        self.name = f"{target}-{hashlib.sha256(chr(0).join(made_from).encode()).hexdigest()[:12]}"
        folder.mkdir(parents=True, exist_ok=True)
        self.study = optuna.create_study(
            study_name=self.name,
            storage=f"sqlite:///{(folder / 'studies.sqlite').resolve().as_posix()}",
            direction="maximize" if objective.higher_is_better else "minimize",
            load_if_exists=True,
        )
        self._seed = params.seed
        for trial in self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):  # of a killed search
            self.study.tell(trial.number, state=TrialState.FAIL)
            self.study.enqueue_trial(trial.params)
        if not self.study.trials:
            self.study.enqueue_trial(self.present)

    @property
    def done(self) -> int:
        """Trials that have ended, those that diverged included."""
        return len(self.study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED)))

    def ask(self) -> tuple[int, dict[str, Value]]:
        """The next trial: its number and its values."""
        self.study.sampler = optuna.samplers.TPESampler(seed=self._seed + len(self.study.trials), n_startup_trials=8)
        trial = self.study.ask()
        values = {key: self._suggested(trial, key, bounds) for key, bounds in SPACES[self.target].items()}
        trial.set_user_attr(VALUES, values)
        return trial.number, values

    def tell(self, number: int, value: float | None) -> None:
        """What a trial was worth.

        Args:
            number: of `ask`.
            value: None when it diverged.
        """
        if value is None:
            self.study.tell(number, state=TrialState.PRUNED)
        else:
            self.study.tell(number, value)

    def best(self) -> tuple[float, dict[str, Value]]:
        """The best trial's worth and values; of equals the first.

        Raises:
            TrainingError: every trial diverged.
        """
        if not self.study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)):
            raise TrainingError(f"none of {self.done} trials ended with a number; look at {self.section} in params.yaml.")
        found = self.study.best_trial
        return float(found.value or 0.0), dict(found.user_attrs[VALUES])

    def of_present(self) -> float | None:
        """What the present parameters are worth; None when they diverged or were not tried."""
        found = [t for t in self.study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)) if t.user_attrs[VALUES] == self.present]
        return float(found[0].value or 0.0) if found else None

    def _suggested(self, trial: optuna.Trial, key: str, bounds: Between | tuple[int, ...]) -> Value:
        present = self.present[key]
        if isinstance(bounds, tuple):
            return int(trial.suggest_categorical(key, sorted({*bounds, int(present)})))
        reached = present if present > 0 or not bounds.log else bounds.low
        low, high = min(bounds.low, reached), max(bounds.high, reached)
        return float(f"{trial.suggest_float(key, low, high, log=bounds.log):.{DIGITS}g}")


def write_fragment(search: Search, file: Path) -> dict[str, Value]:
    """The best values as a part of params.yaml, with what they are worth in a comment.

    Args:
        search: with at least one trial that ended well.
        file: the YAML file.

    Returns:
        The values that differ from the present ones.

    Raises:
        TrainingError: every trial diverged.
    """
    worth, values = search.best()
    present = search.of_present()
    changed = {key: value for key, value in values.items() if value != search.present[key]}
    told = f"{search.objective.metric} on the validation window {worth:.5f}"
    told += f", {present:.5f} before" if present is not None else ""
    with write_beside(file) as draft, draft.open("w", encoding="utf-8") as handle:
        handle.write(
            f"# adloom tune --target {search.target}: {told}; best of {search.done} trials. Lay it on: adloom run --params {file}\n"
        )
        YAML().dump({search.section: values}, handle)
    return changed
