"""The network of the sequence recommender: events in, a state after each of them, and the vectors of items."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from core.vocabulary import EVENT_TYPES
from models.dropout import Dropout
from models.fusion import HOUR
from models.recommender.events import EventBatch
from models.recommender.layers import GatedLayer

GAPS = 32
"""Buckets of a time gap: 0 for none, else 1 + log2 of seconds, at the most 31."""


@dataclass(frozen=True)
class SequenceSizes:
    """What the network is made of.

    Attributes:
        dim: width of states and item vectors.
        layers: transformer layers.
        heads: attention heads.
        max_events: latest events that are read.
        text_dim: length of the text vectors.
        items: size of the catalogue.
        tags: tags of the catalogue.
        dropout: share of inputs and outputs that training drops.
        id_dropout: share of item id embeddings that training drops, so that text and tags learn to stand alone; 1: there are no ids.
    """

    dim: int
    layers: int
    heads: int
    max_events: int
    text_dim: int
    items: int
    tags: int
    dropout: float
    id_dropout: float


def gap_bucket(gap: Tensor) -> Tensor:
    """The bucket of a gap in time.

    Args:
        gap: int64 microseconds; negative where there is no gap.

    Returns:
        int64 in [0, GAPS), of the same shape.
    """
    seconds = gap.clamp(min=0).double() / 1e6
    bucket = (1 + torch.log2(1 + seconds)).long().clamp(max=GAPS - 1)
    return torch.where(gap < 0, torch.zeros_like(bucket), bucket)


def last_gap(batch: EventBatch, at: Tensor, seen: Tensor) -> Tensor:
    """Bucket of the time since the last event that counts.

    Args:
        batch: (n, events) of them.
        at: (n, moments) int64 microseconds.
        seen: (n, moments) how many events count.

    Returns:
        (n, moments) int64 in [0, GAPS).
    """
    last = torch.gather(batch.time, 1, (seen - 1).clamp(min=0))
    return gap_bucket(torch.where(seen > 0, at - last, torch.full_like(at, -1)))


class SequenceNetwork(nn.Module):
    """State after p events, moment and F → logits.

    The vector of an item is id embedding + projected text + mean of its tags' embeddings, so an item without events is ranked by its
    text and tags. The input of an event is the item's vector, or the projected text of a search, + event type + gap; the first slot
    stands for "nothing yet". Three plain terms join the inner product of state and item vector: a_iᵀ W F over the fused sources, the
    item's own score v · a_i + b_i, both as the linear content recommender learned them, and what the shopper did with this very item,
    fading as a power of time. How long ago the last event was scales the first three.
    """

    def __init__(self, sizes: SequenceSizes) -> None:
        """Make the network.

        Args:
            sizes: see `SequenceSizes`.

        Raises:
            ValueError: dim is no multiple of heads.
        """
        super().__init__()
        if sizes.dim % sizes.heads:
            raise ValueError(f"dim {sizes.dim} is no multiple of heads {sizes.heads}")
        self.sizes = sizes
        kinds = len(EVENT_TYPES)
        self.item_id = nn.Embedding(sizes.items, sizes.dim)
        self.item_text = nn.Linear(sizes.text_dim, sizes.dim, bias=False)
        self.tag = nn.Embedding(sizes.tags + 1, sizes.dim)
        self.query_text = nn.Linear(sizes.text_dim, sizes.dim, bias=False)
        self.kind = nn.Embedding(kinds, sizes.dim)
        self.gap = nn.Embedding(GAPS, sizes.dim)
        self.start = nn.Parameter(torch.zeros(sizes.dim))
        self.input_norm = nn.LayerNorm(sizes.dim)
        self.layers = nn.ModuleList(GatedLayer(sizes.dim, sizes.heads, sizes.dropout) for _ in range(sizes.layers))
        self.norm = nn.LayerNorm(sizes.dim)
        self.state_scale = nn.Embedding(GAPS, 1)
        self.fused_scale = nn.Embedding(GAPS, 1)
        self.score_scale = nn.Embedding(GAPS, 1)
        self.repeat = nn.Parameter(torch.zeros(kinds))
        self.repeat_decay = nn.Parameter(torch.tensor(-1.0))
        self.dropout = Dropout(sizes.dropout)
        for table in (self.item_id, self.tag, self.kind, self.gap):
            nn.init.normal_(table.weight, std=0.02)
        for scale in (self.state_scale, self.fused_scale, self.score_scale):
            nn.init.ones_(scale.weight)

    def item_vectors(self, codes: Tensor, vectors: Tensor, tags: Tensor) -> Tensor:
        """Vectors of items; training drops some items' ids so that text and tags learn to stand alone.

        Args:
            codes: (n,) int64 columns.
            vectors: (n, text_dim) their text features.
            tags: (n, most) int64 their tags, 0 for none.

        Returns:
            (n, dim).
        """
        own = self.item_id(codes)
        if self.training and self.sizes.id_dropout:
            own = own * (torch.rand(len(codes), 1) >= self.sizes.id_dropout)
        held = (tags > 0).unsqueeze(-1)  # (n, most, 1)
        shared = (self.tag(tags) * held).sum(dim=1) / held.sum(dim=1).clamp(min=1)
        made: Tensor = own + shared + self.item_text(vectors)
        return made

    def states(self, batch: EventBatch, items: Tensor) -> Tensor:
        """The state after each number of events.

        Args:
            batch: (n, events) of them, at most ``max_events`` wide.
            items: (n, events, dim) vectors of the events' items; 0 for searches and padding.

        Returns:
            (n, events + 1, dim); slot p has seen the first p events and nothing later.
        """
        states = self._entered(batch, items)
        for layer in self.layers:
            states = layer(states)
        found: Tensor = self.norm(states)
        return found

    def _entered(self, batch: EventBatch, items: Tensor) -> Tensor:
        """What the first layer reads, (n, events + 1, dim)."""
        gap = torch.diff(batch.time, dim=1, prepend=batch.time[:, :1] + 1)  # the first event has no gap: -1
        inputs = items + self.kind(batch.kind.clamp(min=0)) + self.gap(gap_bucket(gap))
        searches = (batch.item < 0) & (batch.kind >= 0)
        if searches.any():
            asked = self.query_text(batch.vectors[searches]).to(inputs.dtype)
            inputs = inputs.index_put(torch.nonzero(searches, as_tuple=True), asked, accumulate=True)
        start = self.start.expand(len(inputs), 1, -1)
        entered: Tensor = self.dropout(self.input_norm(torch.cat([start, inputs], dim=1)))  # (n, events + 1, dim)
        return entered

    def repeats(self, batch: EventBatch, at: Tensor, seen: Tensor) -> Tensor:
        """What each event adds to the logit of its own item.

        Args:
            batch: (n, events) of them.
            at: (n, moments) int64 microseconds.
            seen: (n, moments) how many events count.

        Returns:
            (n, moments, events); 0 where an event does not count or has no item.
        """
        counted = (torch.arange(batch.item.shape[1]) < seen[:, :, None]) & (batch.item >= 0)[:, None, :]
        age = ((at[:, :, None] - batch.time[:, None, :]).clamp(min=0).double() / HOUR).float()
        fading = (-nn.functional.softplus(self.repeat_decay) * torch.log1p(age)).exp()
        return self.repeat[batch.kind.clamp(min=0)][:, None, :] * fading * counted
