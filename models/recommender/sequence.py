"""The default recommender: a causal transformer over the event sequence, beside the fused sources and the counted links."""

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor

from core.errors import BundleError
from models.bundle import load_arrays, read_config, save_arrays, writing_bundle
from models.fusion import Fusion
from models.recommender.base import EventRecommender
from models.recommender.catalogue import Catalogue
from models.recommender.content import ContentLinear
from models.recommender.covisits import Markov
from models.recommender.events import EventBatch
from models.recommender.network import SequenceNetwork, SequenceSizes
from models.recommender.newcomers import placed, text_scores
from models.recommender.reader import FusionReader, SequenceReader
from models.recommender.weights import load_state, state_of


class SequenceRecommender(EventRecommender):
    """The trained network with its item vectors computed once, and a term for the links that Markov counted.

    logit_i = network_i + weight · log(1 + share_i / floor), where share_i is what the links alone would show: the network and the
    counts as a product of experts, in which an item without links is no worse than one with a share far below the floor. Items without
    training events stand where their text puts them (`models.recommender.newcomers`).
    """

    name: ClassVar[str] = "sequence"

    def __init__(
        self,
        catalogue: Catalogue,
        content: ContentLinear,
        markov: Markov,
        network: SequenceNetwork,
        *,
        weight: float,
        floor: float,
        promotion: float = 1.0,
    ) -> None:
        """Keep the network.

        Args:
            catalogue: the items.
            content: the linear recommender whose F, W and item scores the network reads.
            markov: the counted links.
            network: see `SequenceNetwork`.
            weight: of the links; 0 for none.
            floor: share at which a link begins to count.
            promotion: factor of a newcomer's rank by text.

        Raises:
            BundleError: the network was trained on another number of items or tags.
        """
        super().__init__(catalogue, network.sizes.max_events)
        held, wanted = (network.sizes.items, network.sizes.tags), (len(catalogue), catalogue.n_tags)
        if held != wanted:
            raise BundleError(
                f"sequence was trained on {held[0]} items and {held[1]} tags, the catalogue has {wanted[0]} and {wanted[1]}. Train again."
            )
        self.content, self.markov = content, markov
        self.network = network
        self.weight, self.floor, self.promotion = weight, floor, promotion
        self.new = torch.from_numpy(markov.counts == 0)  # items without training events
        self.epochs = 0  # of training, where this process trained it
        self._scores = torch.from_numpy(content.item_scores())
        self.refresh()

    def refresh(self) -> None:
        """Compute the item vectors anew, after the weights have changed."""
        network, catalogue = self.network, self.catalogue
        network.eval()
        with torch.no_grad():
            nothing = torch.zeros(len(catalogue), network.sizes.text_dim)
            made = network.item_vectors(torch.arange(len(catalogue)), nothing, torch.from_numpy(catalogue.tags))
            made += network.item_text(torch.from_numpy(catalogue.vectors))[torch.from_numpy(catalogue.text_of)]  # each text once
        self._items = made.T.contiguous()  # (dim, n_items)
        self._reader = SequenceReader(network, made.numpy())
        self._fused = FusionReader(self.content.fusion)

    @property
    def reads(self) -> Fusion:
        """See `EventRecommender.reads`."""
        return self.content.fusion

    def logits(self, batch: EventBatch, at: Tensor, feature: Tensor | None = None) -> Tensor:
        """See `EventRecommender.logits`."""
        if feature is None:
            feature = self.feature(batch, at)
        return self.with_newcomers(self.linked_logits(batch, at, feature), feature)

    def with_newcomers(self, scores: Tensor, feature: Tensor) -> Tensor:
        """Logits with the items in their places that have no training events.

        Args:
            scores: (batch, n_items) what `linked_logits` gives.
            feature: (batch, text_dim) F.

        Returns:
            (batch, n_items); the same where every item has events, or none has.
        """
        if not self.new.any() or self.new.all():
            return scores
        some = feature.abs().sum(dim=1) > 0  # without a history there is nothing that a text could be like
        return torch.where(some[:, None], placed(scores, self.by_text(feature), self.new, self.promotion), scores)

    def linked_logits(self, batch: EventBatch, at: Tensor, feature: Tensor) -> Tensor:
        """The network's logits and the links, before newcomers are placed.

        Args:
            batch: see `logits`.
            at: see `logits`.
            feature: see `logits`.

        Returns:
            (batch, n_items).
        """
        found = self.network_logits(batch, at, feature)
        if self.weight:
            found += self._linked(batch)
        return found

    def by_text(self, feature: Tensor) -> Tensor:
        """How well the text of each item fits.

        Args:
            feature: see `logits`.

        Returns:
            (batch, n_items).
        """
        return text_scores(self.content.likeness(feature), self.content.personal(feature))

    def feature(self, batch: EventBatch, at: Tensor) -> Tensor:
        """F of the content recommender's fusion.

        Args:
            batch: see `logits`.
            at: see `logits`.

        Returns:
            (batch, text_dim).
        """
        return torch.from_numpy(self._fused(batch, at.numpy()))

    def network_logits(self, batch: EventBatch, at: Tensor, feature: Tensor | None = None) -> Tensor:
        """What the network says without the links.

        Args:
            batch: see `logits`.
            at: see `logits`.
            feature: see `logits`.

        Returns:
            (batch, n_items).
        """
        terms = self._terms(batch, at, feature)
        _, scores = next(terms)
        for _, term in terms:
            scores += term
        added: Tensor = scores.scatter_add_(1, batch.item.clamp(min=0), self._repeats(batch, at))
        return added

    def summands(self, batch: EventBatch, at: Tensor, feature: Tensor | None = None) -> Iterator[tuple[str, Tensor]]:
        """See `EventRecommender.summands`: state and item vector, fused sources, the item's own score, this very item, links."""
        yield from self._terms(batch, at, feature)
        repeats = self._repeats(batch, at)
        yield "repeats", torch.zeros(len(at), len(self.catalogue)).scatter_add_(1, batch.item.clamp(min=0), repeats)
        if self.weight:
            yield "links", self._linked(batch)

    def _terms(self, batch: EventBatch, at: Tensor, feature: Tensor | None) -> Iterator[tuple[str, Tensor]]:
        """The terms that are dense over items, each made when it is asked for."""
        state, bucket = self._state(batch, at)
        if feature is None:
            feature = self.feature(batch, at)
        of_state, of_feature, of_score = torch.from_numpy(self._reader.scales[:, bucket.numpy(), None])  # (n, 1) each
        yield "network", (of_state * state) @ self._items
        yield "content", self.content.personal(of_feature * feature)
        yield "popularity", of_score * self._scores

    def _state(self, batch: EventBatch, at: Tensor) -> tuple[Tensor, Tensor]:
        """(n, dim) state after all events, and (n,) bucket of the time since the last one."""
        return torch.from_numpy(self._reader.state(batch)), torch.from_numpy(self._reader.last_gap(batch, at.numpy()))

    def _repeats(self, batch: EventBatch, at: Tensor) -> Tensor:
        """What each event adds to its own item, (n, events)."""
        return torch.from_numpy(self._reader.repeats(batch, at.numpy()))

    def _linked(self, batch: EventBatch) -> Tensor:
        """What the links add, (n, n_items)."""
        return self.weight * torch.from_numpy(self.markov.shares(batch)).div_(self.floor).log1p_()

    def save(self, path: Path) -> None:
        """See `Recommender.save`."""
        config = asdict(self.network.sizes) | {"weight": self.weight, "floor": self.floor, "promotion": self.promotion}
        with writing_bundle(path, self.name, config) as draft:
            save_arrays(state_of(self.network), draft / "weights.safetensors")
            self.content.save(draft / "content")
            self.markov.save(draft / "markov")

    @classmethod
    def load(cls, path: Path, catalogue: Catalogue) -> "SequenceRecommender":
        """See `Recommender.load`."""
        config = read_config(path, cls.name)
        network = SequenceNetwork(SequenceSizes(**{name: config[name] for name in SequenceSizes.__dataclass_fields__}))
        load_state(network, load_arrays(path / "weights.safetensors"), path)
        markov = Markov.load(path / "markov", catalogue)
        content = ContentLinear.load(path / "content", catalogue)
        promotion = config.get("promotion", 1.0)  # bundles of before there were newcomers
        return cls(catalogue, content, markov, network, weight=config["weight"], floor=config["floor"], promotion=promotion)
