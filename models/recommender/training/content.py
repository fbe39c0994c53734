"""Training of the content-based recommenders: first fusion and τ by the cosine form, then W, v and b over that F."""

from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from core.tracking import Tracker
from models.recommender.catalogue import Catalogue
from models.recommender.content import ContentCosine, ContentLinear, CosineNetwork, LinearNetwork
from models.recommender.training.fit import FitSettings, fit
from models.recommender.training.objective import Sampler, sampled_cross_entropy
from models.recommender.training.validation import Validation
from models.recommender.training.windows import Windows

POINTS = 6
"""Prediction points a window: these models have few weights."""
ALIKE = 32
"""Batches whose windows are sorted by length together."""
COSINE_EPOCHS, LINEAR_EPOCHS, PATIENCE = 4, 8, 2
"""Limits of the content models' training; more epochs than these never moved validation by a standard error."""


@dataclass(frozen=True)
class Materials:
    """What every network is trained from.

    Attributes:
        catalogue: the items.
        windows: training events.
        sampler: negatives.
        counts: (n_items,) training events of each item that are targets.
        validation: for early stopping.
        max_events: latest events that are read.
        batch_size: windows a batch.
        windows_per_epoch: windows an epoch at the most, drawn anew each epoch.
        settings: learning rate, patience and so on; each network sets its own name and seed.
        checkpoints: folder for checkpoints, or None.
        tracker: receives losses and scores.
    """

    catalogue: Catalogue
    windows: Windows
    sampler: Sampler
    counts: np.ndarray
    validation: Validation
    max_events: int
    batch_size: int
    windows_per_epoch: int
    settings: FitSettings
    checkpoints: Path | None
    tracker: Tracker
    _batches: dict[tuple[int, int], list[np.ndarray]] = field(default_factory=dict, init=False, repr=False, compare=False)

    def fit_settings(self, name: str, seed: int) -> FitSettings:
        """Settings of one network.

        Args:
            name: of the recommender.
            seed: its own.
        """
        return replace(self.settings, name=name, seed=seed, steps=-(-min(len(self.windows), self.windows_per_epoch) // self.batch_size))

    def rows(self, settings: FitSettings, epoch: int, number: int) -> tuple[np.ndarray, np.random.Generator]:
        """The windows of one batch and its random stream; they depend on seed, epoch and number alone.

        Args:
            settings: of the network.
            epoch: 0-based.
            number: of the batch within the epoch.
        """
        key = (settings.seed, epoch)
        if key not in self._batches:
            self._batches.clear()
            self._batches[key] = batches_of_like_length(
                self.windows.end - self.windows.start, self.batch_size, self.windows_per_epoch, np.random.default_rng([*key])
            )
        return self._batches[key][number], np.random.default_rng([settings.seed, epoch, number])

    def checkpoint(self, name: str) -> Path | None:
        """Folder of one network's checkpoint.

        Args:
            name: of the recommender.
        """
        return None if self.checkpoints is None else self.checkpoints / name


def batches_of_like_length(sizes: np.ndarray, batch_size: int, most: int, rng: np.random.Generator) -> list[np.ndarray]:
    """Batches in random order whose windows are of nearly one length, so that little of a batch is padding.

    Args:
        sizes: (n,) length of each window.
        batch_size: windows a batch.
        most: windows at the most, drawn anew by each call.
        rng: the stream.

    Returns:
        Rows of each batch; together each row once at the most.
    """
    order = rng.permutation(len(sizes))[:most]
    parts = [order[start : start + batch_size * ALIKE] for start in range(0, len(order), batch_size * ALIKE)]
    sorted_parts = [part[np.argsort(sizes[part], kind="stable")] for part in parts]
    batches = [part[start : start + batch_size] for part in sorted_parts for start in range(0, len(part), batch_size)]
    return [batches[place] for place in rng.permutation(len(batches))]


def train_cosine(materials: Materials, seed: int) -> ContentCosine:
    """Learn fusion and τ.

    Args:
        materials: events, items, settings.
        seed: decides batches and negatives.
    """
    torch.manual_seed(seed)
    catalogue, settings = materials.catalogue, materials.fit_settings("content_cosine", seed)
    settings = replace(settings, learning_rate=0.02, weight_decay=0.0, epochs=min(settings.epochs, COSINE_EPOCHS), patience=PATIENCE)
    network = CosineNetwork(catalogue.dim)
    recommender = ContentCosine(catalogue, materials.max_events, network)
    batches = materials.validation.batches(catalogue, materials.max_events)

    def loss(epoch: int, number: int) -> Tensor:
        rows, rng = materials.rows(settings, epoch, number)
        points = materials.windows.batch(rows, points=POINTS, rng=rng)
        events = points.events
        feature = network.fusion(events.vectors, events.kind, events.time, points.at)[points.valid]  # (n, dim)
        target, (candidates, included) = points.target[points.valid], materials.sampler.draw(rng)
        wanted = torch.from_numpy(catalogue.features(target.numpy()))
        others = torch.from_numpy(catalogue.features(candidates.numpy()))
        norm = feature.norm(dim=-1).clamp(min=1e-6)
        own = network.log_scale.exp() * (feature * wanted).sum(dim=-1) / norm
        return sampled_cross_entropy(own, network(feature, others), included, target[:, None] == candidates)

    fit(
        network,
        loss=loss,
        validate=lambda: materials.validation.score(recommender, batches),
        settings=settings,
        checkpoint=materials.checkpoint("content_cosine"),
        tracker=materials.tracker,
    )
    return recommender


def start_of_bias(log_popularity: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Where b starts: log popularity; an item without events has no popularity yet, and starts as the mean of those that have.

    Args:
        log_popularity: (n_items,) of the smoothed counts.
        counts: (n_items,) training events of each item.

    Returns:
        (n_items,) with mean zero over the items that have events. Unmet items are never negatives: they keep what they start with.
    """
    met = counts > 0
    mean = log_popularity[met].mean() if met.any() else 0.0
    start: np.ndarray = np.where(met, log_popularity - mean, 0.0).astype(np.float32)
    return start


def train_linear(materials: Materials, cosine: ContentCosine, log_popularity: np.ndarray, seed: int) -> ContentLinear:
    """Learn W, v and b over the F of the cosine form.

    Args:
        materials: events, items, settings.
        cosine: trained; its fusion is taken as it is.
        log_popularity: (n_items,) where b starts.
        seed: decides batches and negatives.
    """
    torch.manual_seed(seed)
    catalogue, fusion = materials.catalogue, cosine.network.fusion
    settings = materials.fit_settings("content_linear", seed)
    settings = replace(settings, learning_rate=0.01, epochs=min(settings.epochs, LINEAR_EPOCHS), patience=PATIENCE)
    network = LinearNetwork(catalogue.dim, len(catalogue))
    with torch.no_grad():
        network.bias.copy_(torch.from_numpy(start_of_bias(log_popularity, materials.counts)))
    recommender = ContentLinear(catalogue, materials.max_events, fusion, network)
    batches = materials.validation.batches(catalogue, materials.max_events)

    def loss(epoch: int, number: int) -> Tensor:
        rows, rng = materials.rows(settings, epoch, number)
        points = materials.windows.batch(rows, points=POINTS, rng=rng)
        events = points.events
        with torch.no_grad():
            feature = fusion(events.vectors, events.kind, events.time, points.at)[points.valid]  # (n, dim)
        target, (candidates, included) = points.target[points.valid], materials.sampler.draw(rng)
        wanted = torch.from_numpy(catalogue.features(target.numpy()))
        others = torch.from_numpy(catalogue.features(candidates.numpy()))
        bias = torch.nn.functional.embedding(target, network.bias[:, None])[:, 0]
        own = ((feature @ network.weight.T + network.score) * wanted).sum(dim=-1) + bias
        return sampled_cross_entropy(own, network(feature, others, candidates), included, target[:, None] == candidates)

    fit(
        network,
        loss=loss,
        validate=lambda: materials.validation.score(recommender, batches),
        settings=settings,
        checkpoint=materials.checkpoint("content_linear"),
        tracker=materials.tracker,
    )
    return recommender
