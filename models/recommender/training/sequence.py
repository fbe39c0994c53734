"""Training of the sequence recommender: next item by sampled softmax."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from models.recommender.catalogue import Catalogue
from models.recommender.content import ContentLinear
from models.recommender.sequence import SequenceNetwork, SequenceRecommender, SequenceSizes, last_gap
from models.recommender.training.content import Materials
from models.recommender.training.fit import fit
from models.recommender.training.objective import sampled_cross_entropy
from models.recommender.training.windows import Points

POINTS = 16
"""Prediction points a window that enter the softmax; the transformer runs over the whole window."""


@dataclass(frozen=True)
class SequenceShape:
    """The sizes that params.yaml decides: dim, layers, heads, dropout, as `SequenceSizes` has them."""

    dim: int
    layers: int
    heads: int
    dropout: float


def train_sequence(materials: Materials, linear: ContentLinear, shape: SequenceShape, seed: int) -> SequenceRecommender:
    """Learn the transformer beside the linear content recommender: what F cannot say.

    Args:
        materials: events, items, settings.
        linear: trained; stays as it is.
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
    start_from_text(network, catalogue, materials.counts)
    recommender = SequenceRecommender(catalogue, linear, network)
    batches = materials.validation.batches(catalogue, materials.max_events)

    def loss(epoch: int, number: int) -> Tensor:
        rows, rng = materials.rows(settings, epoch, number)
        points = materials.windows.batch(rows, points=POINTS, rng=rng)
        candidates, included = materials.sampler.draw(rng)
        return sequence_loss(network, linear, points, candidates=candidates, log_included=included)

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


def start_from_text(network: SequenceNetwork, catalogue: Catalogue, counts: np.ndarray) -> None:
    """Begin with the catalogue's main directions as text projections; items without events have no id part.

    Args:
        network: changed in place.
        catalogue: the items.
        counts: (n_items,) training events of each item.
    """
    vectors = catalogue.vectors.astype(np.float64)
    directions = np.linalg.eigh(vectors.T @ vectors)[1][:, ::-1][:, : network.sizes.dim].T  # (≤ dim, text_dim)
    signs = np.where(directions[np.arange(len(directions)), np.abs(directions).argmax(axis=1)] < 0, -1.0, 1.0)
    main = np.zeros((network.sizes.dim, network.sizes.text_dim), np.float32)
    main[: len(directions)] = directions * signs[:, None]
    with torch.no_grad():
        network.item_text.weight.copy_(torch.from_numpy(main))
        network.event_text.weight.copy_(torch.from_numpy(main))
        network.item_id.weight.masked_fill_(torch.from_numpy(counts == 0)[:, None], 0.0)
        network.norm.weight.fill_(0.1)


def sequence_loss(network: SequenceNetwork, linear: ContentLinear, points: Points, *, candidates: Tensor, log_included: Tensor) -> Tensor:
    """Sampled cross entropy of the points' targets.

    Args:
        network: trained.
        linear: the content recommender beside it; not trained here.
        points: windows with prediction points.
        candidates: (c,) ascending columns that compete.
        log_included: (c,) see `Sampler.draw`.

    Returns:
        Scalar.
    """
    events, valid, catalogue = points.events, points.valid, linear.catalogue
    states = network.states(events)  # (batch, events + 1, dim)
    batch_row, _ = torch.nonzero(valid, as_tuple=True)
    target, scores = points.target[valid], torch.from_numpy(linear.item_scores())
    of_target, of_candidates = (torch.from_numpy(catalogue.features(codes.numpy())) for codes in (target, candidates))
    with torch.no_grad():
        feature = linear.fusion(events.vectors, events.kind, events.time, points.at)[valid]  # (n, text_dim)
        wish = feature @ linear.network.weight.T  # (n, text_dim)
        content_of_target, content = (wish * of_target).sum(dim=-1), wish @ of_candidates.T
    bucket = last_gap(events, points.at, points.seen)[valid]
    users = network.state_scale(bucket) * states[torch.arange(len(states))[:, None], points.seen][valid]  # (n, dim)
    by_content, by_score = network.fused_scale(bucket), network.score_scale(bucket)  # (n, 1)
    repeats = network.repeats(events, points.at, points.seen)[valid]  # (n, events)
    seen_items = events.item[batch_row]  # (n, events)

    own = (users * network.item_vectors(target, of_target)).sum(dim=-1)
    own = own + by_content[:, 0] * content_of_target + by_score[:, 0] * scores[target]
    own = own + (repeats * (seen_items == target[:, None])).sum(dim=-1)

    logits = users @ network.item_vectors(candidates, of_candidates).T + by_content * content + by_score * scores[candidates]
    column = torch.searchsorted(candidates, seen_items.clamp(min=0)).clamp(max=len(candidates) - 1)
    among = (candidates[column] == seen_items).to(repeats.dtype)
    logits = logits.scatter_add(1, column, repeats * among)
    return sampled_cross_entropy(own, logits, log_included, target[:, None] == candidates)
