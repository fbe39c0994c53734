"""Stage train_recommender: all recommenders, the user feature F and the audiences."""

import hashlib
import logging
import shutil
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from core.columns import Columns
from core.files import content_hash, read_json, read_table, write_table
from core.params import RecommenderParams
from core.tracking import Tracker
from evaluation.ranking import metrics_of_ranks, target_ranks
from models.cache import cache_folder
from models.embeddings import Embeddings
from models.encoder import TextEncoder
from models.history import histories
from models.recommender import training as trainers
from models.recommender.audiences import Audiences, make_audiences
from models.recommender.base import Recommender
from models.recommender.bundle import RecommenderBundle
from models.recommender.catalogue import Catalogue
from models.recommender.popularity import log_popularity
from models.recommender.training.chosen_complements import learn_complements
from models.recommender.training.content import Materials, train_cosine, train_linear
from models.recommender.training.covisits import train_item_knn, train_markov
from models.recommender.training.factorisation import train_als
from models.recommender.training.fit import FitSettings
from models.recommender.training.objective import Sampler
from models.recommender.training.popularity import target_counts, train_popularity
from models.recommender.training.sequence import SequenceShape, train_sequence
from models.recommender.training.validation import RankingRule, Validation
from models.recommender.training.windows import EventTable, Windows

log = logging.getLogger(__name__)

WINDOWS_PER_EPOCH = 8192
"""More windows than this are drawn anew each epoch, so that an epoch's time has a limit on large logs."""
TOP_K = 10
RULE = RankingRule(rank=target_ranks, gain=lambda ranks: metrics_of_ranks(ranks, k=TOP_K).ndcg)
"""Early stopping looks at NDCG@10 against all items."""
VALIDATION_USERS = 2000
EVENT_COLUMNS = [Columns.USER, Columns.TIMESTAMP, Columns.EVENT, Columns.ITEM, Columns.EVENT_TYPE, Columns.QUERY, Columns.BASKET]
"""What training reads of an event; a long log costs memory by the column."""


def train_recommender(
    params: RecommenderParams,
    *,
    rng: np.random.Generator,
    tracker: Tracker,
    items: Path,
    events: Path,
    lineage: Path,
    embeddings: Path,
    encoder: Path,
    recommender: Path,
    user_features: Path,
) -> None:
    """Train the challenger and its baselines on events before the training window's end.

    Args:
        params: sizes and training.
        rng: the stage's stream.
        tracker: receives losses and validation scores of each epoch.
        items: the items table.
        events: the events table; validation reads [train_end, validation_end), later events are not looked at.
        lineage: the split.
        embeddings: raw vectors of item texts and queries.
        encoder: the encoder bundle.
        recommender: written: the recommender bundle.
        user_features: written: F and audience of each user at train_end.

    Raises:
        TrainingError: no training events, or training diverged.
        BundleError: texts that were never encoded.
    """
    paths = RecommenderInputs(items, events, lineage, embeddings, encoder)
    materials, held = paths.read(params, rng, tracker)
    code = sorted(Path(trainers.__path__[0]).parents[1].rglob("*.py"))  # a checkpoint of other code is never taken up
    inputs = [content_hash(path) for path in (items, events, lineage, embeddings, encoder, *code)]
    made_from = [params.model_dump_json(), str(rng.bit_generator.state), str(torch.__version__), str(torch.get_num_threads()), *inputs]
    key = hashlib.sha256("\0".join(made_from).encode()).hexdigest()[:24]
    materials = replace(materials, checkpoints=cache_folder("checkpoints") / f"recommender-{key}")
    facts, training, catalogue, train_end = held.facts, held.training, materials.catalogue, held.train_end
    trained = train_models(materials, training, params, rng)
    _report(trained, materials.validation, tracker)
    fusion = trained["content_cosine"].network.fusion  # type: ignore[attr-defined]
    audience_seed = int(rng.integers(2**31))
    user_ids = sorted(set(training[Columns.USER].astype(str)))
    bundle = RecommenderBundle(
        catalogue=catalogue,
        encoder=held.encoder,
        fusion=fusion,
        audiences=Audiences(("a0",), ("",), np.zeros((1, catalogue.dim), np.float32), np.zeros(1, np.int64)),
        models=trained,
        champion=params.kind,
        max_events=params.max_events,
    )
    known = histories(training, user_ids, train_end)
    features = bundle.user_feature(known, int(pd.Timestamp(train_end).timestamp() * 1_000_000))
    category = dict(zip(catalogue.item_ids, catalogue.items[Columns.CATEGORY].astype(str), strict=True))
    touched = [[category[item] for item in history.item_ids if item in category] for history in known]
    bundle.audiences = make_audiences(features, touched, count=params.audiences, seed=audience_seed)
    bundle = bundle.completed_by(learn_complements(training, catalogue, rng=rng, rule=RULE)).indexed(params.exact_up_to)
    config = {"data_version": facts["data_version"], "user_key_fingerprint": facts["user_key_fingerprint"], "train_end": facts["train_end"]}
    bundle.save(
        recommender, encoder=encoder, queries=dict(zip(held.queries, held.vectors.vectors_of(held.queries), strict=True)), config=config
    )
    table = {Columns.USER: user_ids, Columns.AUDIENCE: bundle.audience_of(features), "feature": list(features)}
    write_table(pd.DataFrame(table), user_features)
    if materials.checkpoints is not None:
        shutil.rmtree(materials.checkpoints, ignore_errors=True)


@dataclass(frozen=True)
class Held:
    """What was read beside the materials.

    Attributes:
        facts: lineage.json.
        train_end: end of training.
        queries: what was searched for before the end of validation, sorted.
        training: those before the end of training.
        vectors: raw vectors of item texts and queries.
        encoder: the encoder bundle.
    """

    facts: dict[str, Any]
    train_end: datetime
    queries: tuple[str, ...]
    training: pd.DataFrame
    vectors: Embeddings
    encoder: TextEncoder


@dataclass(frozen=True)
class RecommenderInputs:
    """The files that recommenders are trained on; see `train_recommender`."""

    items: Path
    events: Path
    lineage: Path
    embeddings: Path
    encoder: Path

    def read(self, params: RecommenderParams, rng: np.random.Generator, tracker: Tracker) -> tuple[Materials, Held]:
        """Events, items and validation users as arrays; events after the end of validation are not looked at.

        Args:
            params: sizes and training.
            rng: draws the validation users.
            tracker: goes into the materials.

        Raises:
            TrainingError: no training events.
            BundleError: texts that were never encoded.
        """
        facts = read_json(self.lineage)
        train_end, validation_end = (datetime.fromisoformat(facts[name]) for name in ("train_end", "validation_end"))
        events = read_table(self.events, EVENT_COLUMNS, below=(Columns.TIMESTAMP, pd.Timestamp(validation_end)))
        vectors, opened = Embeddings.load(self.embeddings), TextEncoder.load(self.encoder)
        catalogue = Catalogue.of(read_table(self.items), lambda texts: opened.centre(vectors.vectors_of(texts)))
        validation = Validation.of(events, catalogue, start=train_end, end=validation_end, most=VALIDATION_USERS, rng=rng, rule=RULE)
        queries = tuple(sorted(str(query) for query in events[Columns.QUERY].dropna().unique()))
        training = events[events[Columns.TIMESTAMP] < pd.Timestamp(train_end)].reset_index(drop=True)
        del events  # of a long log one copy is enough
        counts = target_counts(training, catalogue)
        materials = Materials(
            catalogue=catalogue,
            windows=Windows(EventTable.of(training, catalogue), params.max_events),
            sampler=Sampler.of(counts, params.negatives),
            counts=counts,
            validation=validation,
            max_events=params.max_events,
            batch_size=params.batch_size,
            windows_per_epoch=WINDOWS_PER_EPOCH,
            settings=FitSettings("", params.epochs, params.patience, 0, params.learning_rate, params.weight_decay, 0),
            checkpoints=None,
            tracker=tracker,
        )
        return materials, Held(facts, train_end, queries, training, vectors, opened)


def train_models(
    materials: Materials, training: pd.DataFrame, params: RecommenderParams, rng: np.random.Generator, *, baselines: bool = True
) -> dict[str, Recommender]:
    """Train the recommenders.

    Args:
        materials: of `RecommenderInputs.read`.
        training: events before the end of training.
        params: sizes and training.
        rng: the stage's stream.
        baselines: whether item_knn and als are wanted, which no other recommender reads.

    Returns:
        By name.
    """
    seeds = [int(seed) for seed in rng.integers(2**31, size=3)]
    popular = train_popularity(training, materials.catalogue, materials.validation)
    logits = log_popularity(popular.counts)
    cosine = train_cosine(materials, seeds[0])
    linear = train_linear(materials, cosine, logits, seeds[1])
    table, validation = materials.windows.table, materials.validation
    found: list[Recommender] = [popular]
    if baselines:
        factorised = train_als(training, materials.catalogue, materials.validation, dim=params.dim, rng=rng, tracker=materials.tracker)
        found.append(train_item_knn(table, materials.catalogue, validation, params.max_events))
    markov = train_markov(table, materials.catalogue, validation, params.max_events)
    found += [markov, linear, cosine]
    found += [factorised] if baselines else []
    shape = SequenceShape(params.dim, params.layers, params.heads, params.dropout, params.id_dropout, params.points)
    found.append(train_sequence(materials, linear, markov, shape, seeds[2]))
    return {model.name: model for model in found}


def _report(trained: dict[str, Recommender], validation: Validation, tracker: Tracker) -> None:
    if not len(validation):
        log.warning("no validation targets: training ran its full length without early stopping")
        return
    for name, model in trained.items():
        found = metrics_of_ranks(validation.ranks(model), k=TOP_K)
        means = {f"{name}_{metric}_validation": float(values.mean()) for metric, values in found.as_dict().items()}
        tracker.log_metrics(means)
        log.info("%s: %s", name, ", ".join(f"{metric} {value:.4f}" for metric, value in means.items()))
