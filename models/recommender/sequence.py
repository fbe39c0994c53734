"""The default recommender: a causal transformer over the event sequence, beside the fused sources."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor, nn

from core.errors import BundleError
from core.vocabulary import EVENT_TYPES
from models.bundle import load_arrays, read_config, save_arrays, writing_bundle
from models.fusion import HOUR, Fusion
from models.recommender.base import EventRecommender
from models.recommender.catalogue import Catalogue
from models.recommender.content import ContentLinear
from models.recommender.events import EventBatch
from models.recommender.layers import GatedLayer, Spread
from models.recommender.weights import load_state, state_of

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
        dropout: share of outputs, and of item id embeddings, that training drops.
    """

    dim: int
    layers: int
    heads: int
    max_events: int
    text_dim: int
    items: int
    dropout: float


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


class SequenceNetwork(nn.Module):
    """State after p events, moment and F → logits.

    The input of an event is id embedding + projected text + event type + gap + place; the first slot stands for "nothing yet". The
    item vector is id embedding + projected text, so an item without events is ranked by its text. Three plain terms join the inner
    product of state and item vector: a_iᵀ W F over the fused sources, the item's own score v · a_i + b_i, both as the linear content
    recommender learned them, and what the shopper did with this very item, fading as a power of time. How long ago the last event
    was scales the first three.
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
        self.event_text = nn.Linear(sizes.text_dim, sizes.dim, bias=False)
        self.kind = nn.Embedding(kinds, sizes.dim)
        self.gap = nn.Embedding(GAPS, sizes.dim)
        self.place = nn.Embedding(sizes.max_events + 1, sizes.dim)
        self.start = nn.Parameter(torch.zeros(sizes.dim))
        self.layers = nn.ModuleList(GatedLayer(sizes.dim, sizes.heads, sizes.dropout) for _ in range(sizes.layers))
        self.norm = nn.LayerNorm(sizes.dim)
        self.state_scale = nn.Embedding(GAPS, 1)
        self.fused_scale = nn.Embedding(GAPS, 1)
        self.score_scale = nn.Embedding(GAPS, 1)
        self.repeat = nn.Parameter(torch.zeros(kinds))
        self.repeat_decay = nn.Parameter(torch.tensor(-1.0))
        self.dropout = nn.Dropout(sizes.dropout)
        for table in (self.item_id, self.kind, self.gap, self.place):
            nn.init.normal_(table.weight, std=0.02)
        for scale in (self.state_scale, self.fused_scale, self.score_scale):
            nn.init.ones_(scale.weight)

    def item_vectors(self, codes: Tensor, vectors: Tensor) -> Tensor:
        """Vectors of items; training drops some items' ids so that the text learns to stand alone.

        Args:
            codes: (n,) int64 columns.
            vectors: (n, text_dim) their text features.

        Returns:
            (n, dim).
        """
        made: Tensor = self._ids(codes) + self.item_text(vectors)
        return made

    def _ids(self, codes: Tensor) -> Tensor:
        found: Tensor = self.item_id(codes.clamp(min=0)) * (codes >= 0).unsqueeze(-1)
        if self.training and self.sizes.dropout:
            kept = torch.rand(codes.shape) >= self.sizes.dropout
            found = found * kept.unsqueeze(-1)
        return found

    def states(self, batch: EventBatch) -> Tensor:
        """The state after each number of events.

        Args:
            batch: (n, events) of them, at most ``max_events`` wide.

        Returns:
            (n, events + 1, dim); slot p has seen the first p events and nothing later.
        """
        states = self._entered(batch, self.event_text(batch.vectors))
        for layer in self.layers:
            states = layer(states)
        found: Tensor = self.norm(states)
        return found

    def last_state(self, batch: EventBatch, text: Tensor) -> Tensor:
        """The state after all events of each row: what `states` gives there, without the others.

        Args:
            batch: (n, events) of them.
            text: (n, events, dim) projected text of each event, as ``event_text`` gives it.

        Returns:
            (n, dim).
        """
        spread, layers = Spread(batch.sizes + 1), [layer for layer in self.layers if isinstance(layer, GatedLayer)]
        tokens = spread.packed(self._entered(batch, text))
        for layer in layers[:-1]:
            tokens = layer.packed(tokens, spread)
        found: Tensor = self.norm(layers[-1].last(tokens, spread))
        return found

    def _entered(self, batch: EventBatch, text: Tensor) -> Tensor:
        """What the first layer reads, (n, events + 1, dim)."""
        gap = torch.diff(batch.time, dim=1, prepend=batch.time[:, :1] + 1)  # the first event has no gap: -1
        inputs = self._ids(batch.item) + text + self.kind(batch.kind.clamp(min=0)) + self.gap(gap_bucket(gap))
        start = self.start.expand(len(inputs), 1, -1)
        states = torch.cat([start, inputs], dim=1)  # (n, events + 1, dim)
        entered: Tensor = self.dropout(states + self.place(torch.arange(states.shape[1])))
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


class SequenceRecommender(EventRecommender):
    """The trained network with its item vectors computed once."""

    name: ClassVar[str] = "sequence"

    def __init__(self, catalogue: Catalogue, content: ContentLinear, network: SequenceNetwork) -> None:
        """Keep the network.

        Args:
            catalogue: the items.
            content: the linear recommender whose F, W and item scores the network reads.
            network: see `SequenceNetwork`.

        Raises:
            BundleError: the network was trained on another number of items.
        """
        super().__init__(catalogue, network.sizes.max_events)
        if network.sizes.items != len(catalogue):
            raise BundleError(f"sequence was trained on {network.sizes.items} items, the catalogue has {len(catalogue)}. Train again.")
        self.content = content
        self.network = network
        self._scores = torch.from_numpy(content.item_scores())
        self.refresh()

    def refresh(self) -> None:
        """Compute the item vectors anew, after the weights have changed."""
        self.network.eval()
        with torch.no_grad():
            by_text = self.network.item_text(torch.from_numpy(self.catalogue.vectors))[torch.from_numpy(self.catalogue.text_of)]
            self._items = (self.network.item_id.weight + by_text).T.contiguous()  # (dim, n_items)
            self._event_text = self.network.event_text(torch.from_numpy(self.catalogue.vectors))[torch.from_numpy(self.catalogue.text_of)]

    @property
    def reads(self) -> Fusion:
        """See `EventRecommender.reads`."""
        return self.content.fusion

    def logits(self, batch: EventBatch, at: Tensor, feature: Tensor | None = None) -> Tensor:
        """See `EventRecommender.logits`."""
        network, seen = self.network, batch.sizes[:, None]
        text = self._event_text[batch.item.clamp(min=0)]  # (n, events, dim)
        searched = (batch.item < 0) & (batch.kind >= 0)
        text[searched] = network.event_text(batch.vectors[searched])
        state = network.last_state(batch, text)  # (n, dim)
        if feature is None:
            feature = self.content.fusion(batch.vectors, batch.kind, batch.time, at[:, None])[:, 0]  # (n, text_dim)
        bucket = last_gap(batch, at[:, None], seen)[:, 0]
        scores = (network.state_scale(bucket) * state) @ self._items
        scores += self.content.personal(network.fused_scale(bucket) * feature)
        scores += network.score_scale(bucket) * self._scores
        repeats = network.repeats(batch, at[:, None], seen)[:, 0]  # (n, events)
        added: Tensor = scores.scatter_add_(1, batch.item.clamp(min=0), repeats)
        return added

    def save(self, path: Path) -> None:
        """See `Recommender.save`."""
        with writing_bundle(path, self.name, asdict(self.network.sizes)) as draft:
            save_arrays(state_of(self.network), draft / "weights.safetensors")
            self.content.save(draft / "content")

    @classmethod
    def load(cls, path: Path, catalogue: Catalogue) -> "SequenceRecommender":
        """See `Recommender.load`."""
        config = read_config(path, cls.name)
        sizes = SequenceSizes(**{name: config[name] for name in SequenceSizes.__dataclass_fields__})
        network = SequenceNetwork(sizes)
        load_state(network, load_arrays(path / "weights.safetensors"), path)
        return cls(catalogue, ContentLinear.load(path / "content", catalogue), network)
