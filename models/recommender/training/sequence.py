"""Training of the sequence recommender: next item by sampled softmax."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from models.fusion import Fusion
from models.recommender.catalogue import Catalogue
from models.recommender.content import ContentLinear
from models.recommender.sequence import SequenceNetwork, SequenceRecommender, SequenceSizes, last_gap
from models.recommender.training.content import Materials
from models.recommender.training.fit import fit
from models.recommender.training.objective import sampled_cross_entropy
from models.recommender.training.windows import Points

POINTS = 16
"""Prediction points a window that enter the softmax; the transformer runs over the whole window."""
START_LENGTH = 3.0
"""Length of an item's projected unit text vector at the start."""


@dataclass(frozen=True)
class SequenceShape:
    """The sizes that params.yaml decides: dim, layers, heads, dropout, as `SequenceSizes` has them."""

    dim: int
    layers: int
    heads: int
    dropout: float


def train_sequence(materials: Materials, linear: ContentLinear, shape: SequenceShape, seed: int) -> SequenceRecommender:
    """Learn the transformer beside a trained fusion, starting where the linear content recommender ended.

    Args:
        materials: events, items, settings.
        linear: trained; its fusion stays as it is, its W and item scores are where training starts.
        shape: the network's sizes.
        seed: decides first weights, batches, negatives and dropout.
    """
    torch.manual_seed(seed)
    catalogue, settings = materials.catalogue, materials.fit_settings("sequence", seed)
    sizes = SequenceSizes(
        dim=shape.dim,
        layers=shape.layers,
        heads=shape.heads,
        max_events=materials.max_events,
        text_dim=catalogue.dim,
        items=len(catalogue),
        dropout=shape.dropout,
    )
    network = SequenceNetwork(sizes)
    start_from_content(network, linear, materials.counts)
    fusion, item_scores = linear.fusion, linear.item_scores()
    recommender = SequenceRecommender(catalogue, fusion, network, item_scores)
    batches = materials.validation.batches(catalogue, materials.max_events)
    scores = torch.from_numpy(item_scores)

    def loss(epoch: int, number: int) -> Tensor:
        rows, rng = materials.rows(settings, epoch, number)
        points = materials.windows.batch(rows, points=POINTS, rng=rng)
        candidates, included = materials.sampler.draw(rng)
        return sequence_loss(network, fusion, catalogue, scores, points, candidates=candidates, log_included=included)

    def validate() -> float:
        recommender.refresh()
        return materials.validation.score(recommender, batches)

    fit(
        network,
        loss=loss,
        validate=validate,
        settings=settings,
        checkpoint=materials.checkpoint("sequence"),
        tracker=materials.tracker,
    )
    recommender.refresh()
    return recommender


def start_from_content(network: SequenceNetwork, linear: ContentLinear, counts: np.ndarray) -> None:
    """Begin as the linear content recommender, as far as ``dim`` directions carry it; items without events have no id part.

    With P the catalogue's main directions, a_iᵀ W F ≈ (P a_i)ᵀ (P W F).

    Args:
        network: changed in place.
        linear: trained.
        counts: (n_items,) training events of each item.
    """
    vectors = linear.catalogue.vectors.astype(np.float64)
    directions = np.linalg.eigh(vectors.T @ vectors)[1][:, ::-1][:, : network.sizes.dim].T  # (≤ dim, text_dim)
    signs = np.where(directions[np.arange(len(directions)), np.abs(directions).argmax(axis=1)] < 0, -1.0, 1.0)
    main = np.zeros((network.sizes.dim, network.sizes.text_dim), np.float32)
    main[: len(directions)] = directions * signs[:, None]
    start = torch.from_numpy(main)
    with torch.no_grad():
        network.item_text.weight.copy_(START_LENGTH * start)
        network.fused.weight.copy_(start @ linear.network.weight / START_LENGTH)
        network.event_text.weight.copy_(start)
        network.item_id.weight.masked_fill_(torch.from_numpy(counts == 0)[:, None], 0.0)
        network.norm.weight.fill_(0.1)


def sequence_loss(
    network: SequenceNetwork,
    fusion: Fusion,
    catalogue: Catalogue,
    item_scores: Tensor,
    points: Points,
    *,
    candidates: Tensor,
    log_included: Tensor,
) -> Tensor:
    """Sampled cross entropy of the points' targets.

    Args:
        network: trained.
        fusion: not trained here.
        catalogue: the items.
        item_scores: (n_items,) what makes an item good for everyone.
        points: windows with prediction points.
        candidates: (c,) ascending columns that compete.
        log_included: (c,) see `Sampler.draw`.

    Returns:
        Scalar.
    """
    events, valid = points.events, points.valid
    states = network.states(events)  # (batch, events + 1, dim)
    batch_row, _ = torch.nonzero(valid, as_tuple=True)
    state = states[torch.arange(len(states))[:, None], points.seen][valid]  # (n, dim)
    with torch.no_grad():
        fused = fusion(events.vectors, events.kind, events.time, points.at)[valid]  # (n, text_dim)
    bucket = last_gap(events, points.at, points.seen)[valid]
    users = network.users(state, fused, bucket)
    repeats = network.repeats(events, points.at, points.seen)[valid]  # (n, events)
    target = points.target[valid]
    favour = network.score_scale(bucket)  # (n, 1)

    wanted = network.item_vectors(target, torch.from_numpy(catalogue.features(target.numpy())))
    own = (users * wanted).sum(dim=-1) + favour[:, 0] * item_scores[target]
    seen_items = events.item[batch_row]  # (n, events)
    own = own + (repeats * (seen_items == target[:, None])).sum(dim=-1)

    others = network.item_vectors(candidates, torch.from_numpy(catalogue.features(candidates.numpy())))
    logits = users @ others.T + favour * item_scores[candidates]
    column = torch.searchsorted(candidates, seen_items.clamp(min=0)).clamp(max=len(candidates) - 1)
    among = (candidates[column] == seen_items).to(repeats.dtype)
    logits = logits.scatter_add(1, column, repeats * among)
    return sampled_cross_entropy(own, logits, log_included, target[:, None] == candidates)
