"""Stage train_ranker: p_click and p_convert from logged impressions, or a bundle that says why there is none."""

import logging
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from core.columns import Columns
from core.files import read_json, read_table
from core.params import RankerParams
from core.tracking import Tracker
from models.embeddings import Embeddings
from models.features import FeatureSpace, logged_candidates, requests_of
from models.ranker import RankerBundle
from models.ranker.training import NotEnoughImpressionsError, Rows, train_scorers
from models.recommender import RecommenderBundle

log = logging.getLogger(__name__)
_REQUESTS_FOR_AXES = 4000


def train_ranker(
    params: RankerParams,
    *,
    rng: np.random.Generator,
    tracker: Tracker,
    copies: Path,
    events: Path,
    impressions: Path,
    lineage: Path,
    embeddings: Path,
    recommender: Path,
    ranker: Path,
) -> None:
    """Train on impressions before train_end; stop early, calibrate and choose on those before validation_end.

    Args:
        params: sizes and training.
        rng: the stage's stream.
        tracker: receives losses of each epoch and the validation log loss of each model.
        copies: the copies table.
        events: the events table; later ones than validation_end are not looked at.
        impressions: the impressions table; later ones than validation_end are not looked at.
        lineage: the split.
        embeddings: raw vectors of copies and queries.
        recommender: the recommender bundle; a copy goes into the ranker's.
        ranker: written: the ranker bundle; untrained, with the reason, when there is too little to learn from.

    Raises:
        TrainingError: training diverged.
        BundleError: a bundle cannot be read, or a text was never encoded.
    """
    facts = read_json(lineage)
    train_end, validation_end = (pd.Timestamp(datetime.fromisoformat(facts[name])) for name in ("train_end", "validation_end"))
    bundle = RecommenderBundle.load(recommender)
    texts, known = read_table(copies), read_table(events)
    known = known[known[Columns.TIMESTAMP] < validation_end]
    shown = usable(read_table(impressions), texts, bundle, before=validation_end)
    try:
        trained = _train(params, rng, tracker, data=Data(shown, known, texts, train_end), bundle=bundle, held=Embeddings.load(embeddings))
    except NotEnoughImpressionsError as nothing_to_learn_from:
        log.warning("ranker not trained: %s", nothing_to_learn_from)
        trained = RankerBundle(bundle, reason=f"not trained: {nothing_to_learn_from}")
    tracker.set_tags({"ranker": trained.chosen if trained.trained else trained.reason})
    trained.save(ranker, recommender=recommender)


def usable(impressions: pd.DataFrame, copies: pd.DataFrame, bundle: RecommenderBundle, *, before: pd.Timestamp) -> pd.DataFrame:
    """Impressions that a ranker can learn from: early enough, of a known item, with a known text.

    Args:
        impressions: the impressions table.
        copies: the copies table.
        bundle: knows the items.
        before: first moment that is left out.

    Returns:
        The rows by time, request and position.
    """
    early = impressions[impressions[Columns.TIMESTAMP] < before]
    known = early[Columns.ITEM].isin(bundle.champion.item_ids) & early[Columns.CREATIVE].isin(copies[Columns.COPY])
    if not known.all():
        log.info(
            "%d of %d impressions show an item or a copy that is not in the tables; they are left out", int((~known).sum()), len(early)
        )
    return early[known].sort_values([Columns.TIMESTAMP, Columns.REQUEST, Columns.POSITION], kind="stable", ignore_index=True)


def request_weights(shown: pd.DataFrame, *, most: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """How many impressions each one stands for when not all can be read.

    Clicks are rare and carry most of what can be learned: requests with a click are all kept, with weight 1; of the others
    as many as there is room for are drawn, and stand for the rest.

    Args:
        shown: impressions.
        most: requests to keep; at least a tenth of it goes to requests without a click.
        rng: draws.

    Returns:
        ``(n,)``, 0 for a row that is left out. Weighted sums are those of all rows in expectation.
    """
    request, names = pd.factorize(shown[Columns.REQUEST])
    clicked = np.bincount(request, weights=shown[Columns.CLICK].to_numpy(dtype=np.float64), minlength=len(names)) > 0
    others = np.flatnonzero(~clicked)
    room = max(most - int(clicked.sum()), most // 10, 1)
    weights = clicked.astype(np.float32)
    kept = others if len(others) <= room else rng.choice(others, room, replace=False)
    weights[kept] = len(others) / max(len(kept), 1)
    return np.asarray(weights[request])


@dataclass(frozen=True)
class Data:
    """What a ranker learns from; nothing in it is as late as validation_end.

    Attributes:
        shown: impressions, see `usable`.
        events: the events table.
        copies: the copies table.
        train_end: impressions from here on are for stopping, calibration and choice.
    """

    shown: pd.DataFrame
    events: pd.DataFrame
    copies: pd.DataFrame
    train_end: pd.Timestamp


@dataclass(frozen=True)
class Learnable:
    """Features and outcomes.

    Attributes:
        known: impressions before train_end.
        held: later ones.
        names: of the features.
        space: how the features were made.
    """

    known: Rows
    held: Rows
    names: tuple[str, ...]
    space: FeatureSpace


def features_of(params: RankerParams, rng: np.random.Generator, *, data: Data, bundle: RecommenderBundle, held: Embeddings) -> Learnable:
    """Features of the impressions that are read.

    Args:
        params: how many requests are read.
        rng: draws them.
        data: what there is.
        bundle: of the recommender.
        held: raw vectors.

    Raises:
        NotEnoughImpressionsError: there are none.
        BundleError: a text was never encoded.
    """
    shown, copies = data.shown, data.copies
    if shown.empty:
        raise NotEnoughImpressionsError("no impressions")
    texts = dict(zip(copies[Columns.COPY].astype(str), copies[Columns.TEXT].astype(str), strict=True))
    weights = request_weights(shown, most=params.max_requests, rng=rng)
    everything, shown, weights = shown, shown[weights > 0].reset_index(drop=True), weights[weights > 0]
    requests, place = requests_of(shown, data.events, texts, earlier=everything)
    learning = (shown[Columns.TIMESTAMP] < data.train_end).to_numpy()
    axes_from = int(min(_REQUESTS_FOR_AXES, max(place[learning].max(initial=0) + 1, 1)))
    space = FeatureSpace.fit(
        bundle,
        lambda wanted: bundle.encoder.centre(held.vectors_of(wanted)),
        events=data.events,
        impressions=everything,
        copies=copies,
        requests=requests.rows(0, axes_from),
    )
    features, names = space.compute(requests, logged_candidates(shown, place, texts))
    clicks = shown[Columns.CLICK].to_numpy(dtype=np.float32)
    rows = Rows(
        features=features,
        clicks=clicks,
        conversions=shown[Columns.CONVERSION].to_numpy(dtype=np.float32) * clicks,
        users=shown[Columns.USER].astype(str).to_numpy(dtype=object),
        weights=weights,
    )
    log.info("%d features of %d impressions, %d clicked", len(names), len(rows.clicks), int(rows.clicks.sum()))
    return Learnable(rows.where(learning), rows.where(~learning), names, space)


def _train(
    params: RankerParams, rng: np.random.Generator, tracker: Tracker, *, data: Data, bundle: RecommenderBundle, held: Embeddings
) -> RankerBundle:
    told = features_of(params, rng, data=data, bundle=bundle, held=held)
    scorers = train_scorers(
        told.known,
        told.held,
        told.names,
        params,
        seed=int(rng.integers(2**31)),
        on_epoch=lambda epoch, found: tracker.log_metrics({f"ranker/{name}": value for name, value in found.items()}, step=epoch),
    )
    tracker.log_metrics({f"ranker/validation_log_loss/{name}": value for name, value in scorers.validation_log_loss.items()})
    return RankerBundle(bundle, scorers=scorers, space=told.space)
