"""The default recommender: a causal transformer over the event sequence, beside the fused sources and the counted links."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from scipy.sparse import csr_matrix
from torch import Tensor

from core.errors import BundleError
from models.bundle import load_arrays, read_config, save_arrays, writing_bundle
from models.fusion import Fusion
from models.history import History
from models.recommender.base import EventRecommender
from models.recommender.catalogue import Catalogue
from models.recommender.content import ContentLinear
from models.recommender.covisits import Markov
from models.recommender.events import EventBatch, event_batch
from models.recommender.nearest import Graph
from models.recommender.network import SequenceNetwork, SequenceSizes
from models.recommender.newcomers import REACH, Standing, placed_among, placed_at, standing, text_scores, text_wish
from models.recommender.reader import FusionReader, SequenceReader
from models.recommender.shortlist import Indexable, Shortlist
from models.recommender.weights import load_state, state_of


class SequenceRecommender(EventRecommender, Indexable):
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
        stand = self.newcomers_stand(feature)
        return scores if stand is None else self.placed(scores, feature, stand)

    def newcomers_stand(self, feature: Tensor) -> Standing | None:
        """Where the items without training events stand by text; None where every item has events, or none has.

        Args:
            feature: (batch, text_dim) F.
        """
        if not self.new.any() or self.new.all():
            return None
        return standing(self.by_text(feature), self.new)

    def placed(self, scores: Tensor, feature: Tensor, stand: Standing) -> Tensor:
        """See `with_newcomers`; where newcomers stand was found before.

        Args:
            scores: see `with_newcomers`.
            feature: see `with_newcomers`.
            stand: what `newcomers_stand` gives.
        """
        some = feature.abs().sum(dim=1) > 0  # without a history there is nothing that a text could be like
        return torch.where(some[:, None], placed_at(scores, stand, self.new, self.promotion), scores)

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

    def summands(self, batch: EventBatch, at: Tensor) -> Iterator[tuple[str, Tensor]]:
        """See `EventRecommender.summands`: state and item vector, fused sources, the item's own score, this very item, links."""
        yield from self._terms(batch, at, None)
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

    def item_rows(self, codes: np.ndarray) -> np.ndarray:
        """See `Indexable.item_rows`: the network's vectors, the items' features, and the items' own scores."""
        rows = torch.from_numpy(np.asarray(codes, dtype=np.int64))
        text = self.content.wish_scale * self.catalogue.features(codes)
        return np.concatenate([self._state_length * self._items.T[rows].numpy(), text, self._scores[rows].numpy()[:, None]], axis=1)

    @property
    def _state_length(self) -> float:
        """Of a state, which is normalised by coordinate."""
        return math.sqrt(self.network.sizes.dim)

    def shortlists(self, graph: Graph, histories: Sequence[History], moments: np.ndarray, size: int) -> list[Shortlist]:
        """See `Indexable.shortlists`.

        What the graph finds is joined by the history's own items and by those with the strongest links, which it cannot know. New items
        are asked for by text alone, in the same graph, and take their places among what was found.
        """
        network, some_new = self.network, bool(self.new.any()) and not bool(self.new.all())
        with torch.inference_mode():
            at = torch.from_numpy(moments.copy())
            batch = event_batch(histories, moments, self.catalogue, self.max_events)
            feature = self.feature(batch, at)
            state, bucket = self._state(batch, at)
            wish = (network.fused_scale(bucket) * feature) @ self.content.network.weight.T
            state = network.state_scale(bucket) * state / self._state_length
            users = torch.cat([state, wish / self.content.wish_scale, network.score_scale(bucket)], dim=1).numpy()
            repeats, item = self._repeats(batch, at).numpy(), batch.item.numpy()
        links = self.markov.linked(batch) if self.weight else csr_matrix((len(users), len(self.catalogue)), dtype=np.float32)
        found, new = graph.search(users, size), self.new.numpy()
        texts = self._texts(graph, feature, size) if some_new else [None] * len(users)
        lists = []
        for row, (user, text) in enumerate(zip(users, texts, strict=True)):
            linked, votes = links[row].indices, links[row].data
            strongest = linked[np.argsort(-votes, kind="stable")[:size]]
            codes = np.unique(np.concatenate([found[row], strongest, item[row]]))
            codes = codes[codes >= 0]
            extra = np.zeros(len(self.catalogue), np.float32)
            extra[linked] = self.weight * np.log1p(votes / (max(votes.sum(), 1e-30) * self.floor))
            np.add.at(extra, item[row][item[row] >= 0], repeats[row][item[row] >= 0])
            codes = codes[~new[codes]] if text is not None else codes
            known = Shortlist.of(codes, self.item_rows(codes) @ user + extra[codes])
            if text is not None:
                newcomers, logits = placed_among(known.scores, text.scores, text.codes, new, self.promotion)
                known = Shortlist.of(np.append(known.codes, newcomers), np.append(known.scores, logits))
            lists.append(known)
        return lists

    def _texts(self, graph: Graph, feature: Tensor, size: int) -> list[Shortlist | None]:
        """For each shopper, the items that fit best by text, as far as newcomers among them can come; None without a history."""
        with torch.inference_mode():
            cosine = feature / feature.norm(dim=-1, keepdim=True).clamp(min=1e-6)
            asked = text_wish(cosine, feature @ self.content.network.weight.T, *self._moments)
            dense = torch.nn.functional.pad(asked / self.content.wish_scale, (self.network.sizes.dim, 1)).numpy()
            some = (feature.abs().sum(dim=1) > 0).tolist()
        found = graph.search(dense, min(REACH, math.ceil(size / self.promotion)))
        texts = [
            Shortlist.of(own[own >= 0], self.catalogue.features(own[own >= 0]) @ vector)
            for own, vector in zip(found, asked.numpy(), strict=True)
        ]
        return [text if has else None for text, has in zip(texts, some, strict=True)]

    @cached_property
    def _moments(self) -> tuple[Tensor, Tensor]:
        """Mean and mean outer product of the items' text vectors."""
        counts = np.bincount(self.catalogue.text_of, minlength=len(self.catalogue.vectors)).astype(np.float32)
        vectors, total = self.catalogue.vectors, max(float(counts.sum()), 1.0)
        return torch.from_numpy(counts @ vectors / total), torch.from_numpy((vectors * counts[:, None]).T @ vectors / total)

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
