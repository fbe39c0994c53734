"""Training of the sequence recommender: next item by sampled softmax, then the weight of the counted links by validation."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from models.device import bfloat16_pays
from models.recommender.catalogue import Catalogue
from models.recommender.content import ContentLinear
from models.recommender.covisits import Markov
from models.recommender.events import EventBatch
from models.recommender.network import SequenceNetwork, SequenceSizes, last_gap
from models.recommender.newcomers import HIT, PROMOTIONS, chosen_promotion, parts_of, placed_at, standing
from models.recommender.sequence import SequenceRecommender
from models.recommender.training.content import Materials
from models.recommender.training.fit import fit
from models.recommender.training.objective import sampled_cross_entropy
from models.recommender.training.validation import Validation
from models.recommender.training.windows import Points

WEIGHTS = (0.0, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 8.0, 13.0)
FLOORS = (1e-5, 1e-4, 1e-3)
"""Weights of the links and shares where they begin to count that validation chooses from."""
TEXT_SCALE = 0.1
"""Length of an item's text part at the start: of the size of its id part, so that neither decides alone."""


@dataclass(frozen=True)
class SequenceShape:
    """The sizes that params.yaml decides, as `SequenceSizes` has them, and the prediction points a window that enter the softmax.

    The transformer runs over the whole window whatever ``points`` is.
    """

    dim: int
    layers: int
    heads: int
    dropout: float
    id_dropout: float
    points: int


def train_sequence(materials: Materials, linear: ContentLinear, markov: Markov, shape: SequenceShape, seed: int) -> SequenceRecommender:
    """Learn the transformer beside the linear content recommender, what F cannot say; then how much the links count.

    Args:
        materials: events, items, settings.
        linear: trained; stays as it is.
        markov: counted; stays as it is.
        shape: the network's sizes.
        seed: decides first weights, batches, negatives and dropout.
    """
    torch.manual_seed(seed)
    catalogue, settings = materials.catalogue, replace(materials.fit_settings("sequence", seed), bf16=bfloat16_pays(), falling=True)
    sizes = SequenceSizes(
        dim=shape.dim,
        layers=shape.layers,
        heads=shape.heads,
        max_events=materials.max_events,
        text_dim=catalogue.dim,
        items=len(catalogue),
        tags=catalogue.n_tags,
        dropout=shape.dropout,
        id_dropout=shape.id_dropout,
    )
    network = SequenceNetwork(sizes)
    start_from_text(network, catalogue, materials.counts)
    recommender = SequenceRecommender(catalogue, linear, markov, network, weight=0.0, floor=FLOORS[0])
    batches, own_scores = materials.validation.batches(catalogue, materials.max_events), torch.from_numpy(linear.item_scores())

    def loss(epoch: int, number: int) -> Tensor:
        rows, rng = materials.rows(settings, epoch, number)
        points = materials.windows.batch(rows, points=shape.points, rng=rng)
        candidates, included = materials.sampler.draw(rng)
        return sequence_loss(network, linear, points, item_scores=own_scores, candidates=candidates, log_included=included)

    def validate() -> float:
        recommender.refresh()
        return materials.validation.score(recommender, batches)

    fitted = fit(
        network,
        loss=loss,
        validate=validate,
        settings=settings,
        checkpoint=materials.checkpoint("sequence"),
        tracker=materials.tracker,
    )
    recommender.epochs = fitted.best_epoch
    recommender.refresh()
    recommender.weight, recommender.floor = chosen = choose_links(recommender, materials.validation, batches)
    if recommender.new.any():
        recommender.promotion = choose_promotion(recommender, materials.validation, batches)
    materials.tracker.log_metrics({"sequence_links_weight": chosen[0], "sequence_newcomers_promotion": recommender.promotion})
    return recommender


def choose_links(recommender: SequenceRecommender, validation: Validation, batches: Sequence[EventBatch]) -> tuple[float, float]:
    """Weight and floor of the links with the largest gain; the network is asked once for all of them.

    Args:
        recommender: trained; stays as it is.
        validation: the targets.
        batches: their histories, see `Validation.batches`.

    Returns:
        Weight and floor; no weight where there are no targets, or where no links help.
    """
    pairs = [(0.0, FLOORS[0]), *((weight, floor) for floor in FLOORS for weight in WEIGHTS[1:])]
    ranks = np.ones((len(pairs), len(validation)), np.int64)
    for (rows, at), batch in zip(validation.cuts(recommender.catalogue), batches, strict=True):
        users = np.arange(len(validation))[rows]
        with torch.inference_mode():
            feature = recommender.feature(batch, at)
            alone = recommender.network_logits(batch, at, feature)
            shares = torch.from_numpy(recommender.markov.shares(batch))
            counted = {floor: (shares / floor).log1p_() for floor in FLOORS}
            stand = recommender.newcomers_stand(feature)
            for place, (weight, floor) in enumerate(pairs):
                scores = alone + weight * counted[floor] if weight else alone
                scores = scores if stand is None else recommender.placed(scores, feature, stand)
                ranks[place, rows] = validation.ranks_of(scores.numpy(), users, recommender.catalogue)
    gains = [float(validation.rule.gain(row).mean()) if len(validation) else 0.0 for row in ranks]
    return pairs[int(np.argmax(gains))]


def choose_promotion(recommender: SequenceRecommender, validation: Validation, batches: Sequence[EventBatch]) -> float:
    """How far up newcomers go: known items play newcomers in turn, for whom the text speaks alone.

    Args:
        recommender: trained; stays as it is.
        validation: the targets.
        batches: their histories, see `Validation.batches`.
    """
    parts = [torch.from_numpy(part) for part in parts_of(~recommender.new.numpy())]
    new_hits, known_hits = np.zeros(len(PROMOTIONS)), np.zeros(len(PROMOTIONS))
    n_new = n_known = 0
    for (rows, at), batch in zip(validation.cuts(recommender.catalogue), batches, strict=True):
        targets = validation.targets[rows]
        with torch.inference_mode():
            feature = recommender.feature(batch, at)
            scores, content = recommender.linked_logits(batch, at, feature), recommender.by_text(feature)
            for number, part in enumerate(parts):
                playing = part.numpy()[targets]
                asked = np.ones(len(targets), bool) if number == 0 else playing  # the others are judged once
                if not asked.any():
                    continue
                held, new = torch.from_numpy(asked), part | recommender.new
                stand = standing(content[held], new)
                for place, promotion in enumerate(PROMOTIONS):
                    found = placed_at(scores[held], stand, new, promotion)
                    hit = validation.ranks_of(found.numpy(), np.arange(rows.start, rows.start + len(targets))[asked], recommender.catalogue)
                    hit = hit <= HIT
                    new_hits[place] += hit[playing[asked]].sum()
                    known_hits[place] += hit[~playing[asked]].sum()
                n_new, n_known = n_new + int(playing.sum()), n_known + (int((~playing).sum()) if number == 0 else 0)
    return chosen_promotion(list(zip(new_hits / max(n_new, 1), known_hits / max(n_known, 1), strict=True)), n_new)


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
    main[: len(directions)] = TEXT_SCALE * directions * signs[:, None]
    with torch.no_grad():
        network.item_text.weight.copy_(torch.from_numpy(main))
        network.query_text.weight.copy_(torch.from_numpy(main))
        hidden = (counts == 0) | (network.sizes.id_dropout >= 1)  # ids that no training reaches
        network.item_id.weight.masked_fill_(torch.from_numpy(hidden)[:, None], 0.0)


def sequence_loss(
    network: SequenceNetwork, linear: ContentLinear, points: Points, *, item_scores: Tensor, candidates: Tensor, log_included: Tensor
) -> Tensor:
    """Sampled cross entropy of the points' targets; the vector of each item of the batch is made once.

    Args:
        network: trained.
        linear: the content recommender beside it; not trained here.
        points: windows with prediction points.
        item_scores: (items,) ``linear.item_scores()``, the same in every batch.
        candidates: (c,) ascending columns that compete.
        log_included: (c,) see `Sampler.draw`.

    Returns:
        Scalar.
    """
    events, valid, catalogue = points.events, points.valid, linear.catalogue
    batch_row, _ = torch.nonzero(valid, as_tuple=True)
    target = points.target[valid]
    met = events.item >= 0
    codes = torch.unique(torch.cat([events.item[met], target, candidates]))
    text, tags = torch.from_numpy(catalogue.features(codes.numpy())), torch.from_numpy(catalogue.tags[codes.numpy()])
    vectors = network.item_vectors(codes, text, tags)  # (u, dim)
    place_of_target, place_of_candidate = torch.searchsorted(codes, target), torch.searchsorted(codes, candidates)
    held = torch.nn.functional.embedding(torch.searchsorted(codes, events.item.clamp(min=int(codes[0]))), vectors) * met.unsqueeze(-1)
    states = network.states(events, held)  # (batch, events + 1, dim)
    with torch.no_grad():
        feature = linear.fusion(events.vectors, events.kind, events.time, points.at)[valid]  # (n, text_dim)
        wish = feature @ linear.network.weight.T  # (n, text_dim)
        content_of_target, content = (wish * text[place_of_target]).sum(dim=-1), wish @ text[place_of_candidate].T
    bucket = last_gap(events, points.at, points.seen)[valid]
    users = network.state_scale(bucket) * states[torch.arange(len(states))[:, None], points.seen][valid]  # (n, dim)
    by_content, by_score = network.fused_scale(bucket), network.score_scale(bucket)  # (n, 1)
    repeats = network.repeats(events, points.at, points.seen)[valid]  # (n, events)
    seen_items = events.item[batch_row]  # (n, events)

    own = (users * torch.nn.functional.embedding(place_of_target, vectors)).sum(dim=-1).float()
    own = own + by_content[:, 0] * content_of_target + by_score[:, 0] * item_scores[target]
    own = own + (repeats * (seen_items == target[:, None])).sum(dim=-1)

    logits = (users @ torch.nn.functional.embedding(place_of_candidate, vectors).T).float()
    logits = logits + by_content * content + by_score * item_scores[candidates]
    column = torch.searchsorted(candidates, seen_items.clamp(min=0)).clamp(max=len(candidates) - 1)
    among = (candidates[column] == seen_items).to(repeats.dtype)
    logits = logits.scatter_add(1, column, repeats * among)
    return sampled_cross_entropy(own, logits, log_included, target[:, None] == candidates)
