"""Recommenders that count: what was met together (item kNN) and what came next (Markov), read from the latest events backwards."""

import copy
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import numpy as np
import torch
from scipy.sparse import csr_matrix
from torch import Tensor

from core.errors import BundleError
from core.vocabulary import EVENT_TYPES
from models.bundle import load_arrays, read_config, save_arrays, writing_bundle
from models.recommender.base import EventRecommender
from models.recommender.catalogue import Catalogue
from models.recommender.events import EventBatch
from models.recommender.popularity import log_popularity

Model = TypeVar("Model", bound="CoVisits")

POPULARITY_SHARE = 0.02
"""Share of the probability that goes by popularity alone, so that every item has a logit."""


@dataclass(frozen=True)
class Reading:
    """How a history's events vote.

    Attributes:
        recency: weight of an event against the one after it, in (0, 1].
        kinds: weight of an event of each type; types that are not named count 1.
    """

    recency: float
    kinds: Mapping[str, float]

    def weights(self, batch: EventBatch) -> np.ndarray:
        """The vote of each event.

        Args:
            batch: (n, events) of them.

        Returns:
            (n, events) float64; 0 for searches and padding.
        """
        of_kind = np.array([self.kinds.get(kind, 1.0) for kind in EVENT_TYPES])
        item, kind = batch.item.numpy(), batch.kind.numpy()
        after = batch.sizes.numpy()[:, None] - 1 - np.arange(item.shape[1])[None, :]  # events after this one
        return np.where(item >= 0, self.recency ** np.maximum(after, 0) * of_kind[np.maximum(kind, 0)], 0.0)


@dataclass(frozen=True)
class LinkShape:
    """How links are counted.

    Attributes:
        decay: weight of a pair against one that is a place closer.
        backward: weight of a pair read against time.
        from_power, to_power: powers of the two items' event counts that a link is divided by.
        fading: a pair that is h hours apart weighs (1 + h) to minus this.
    """

    decay: float = 0.7
    backward: float = 0.5
    from_power: float = 0.5
    to_power: float = 0.25
    fading: float = 0.0


class CoVisits(EventRecommender):
    """P(i | history) = (1 − ε) · Σ_e w_e L[i_e, i] / Σ_j Σ_e w_e L[i_e, j] + ε · popularity(i).

    L are links between items and w_e the votes of the history's events. An empty history, or one of items without links, gives popularity.
    """

    def __init__(self, catalogue: Catalogue, max_events: int, links: csr_matrix, counts: np.ndarray, reading: Reading) -> None:
        """Keep the links.

        Args:
            catalogue: the items.
            max_events: latest events that are read.
            links: (n_items, n_items) float32, not negative, from the item that was met to the one that may follow.
            counts: (n_items,) training events of each item.
            reading: the votes.

        Raises:
            BundleError: links of other items.
        """
        super().__init__(catalogue, max_events)
        if links.shape[0] != len(catalogue):
            raise BundleError(f"{self.name} links {links.shape[0]} items, the catalogue has {len(catalogue)}. Train again.")
        self.links, self.counts, self.reading = links, counts.astype(np.float32), reading
        self._popularity = np.exp(log_popularity(self.counts))

    def read_by(self: Model, reading: Reading) -> Model:
        """The same links, read otherwise.

        Args:
            reading: the votes.
        """
        other = copy.copy(self)
        other.reading = reading
        return other

    def shares(self, batch: EventBatch) -> np.ndarray:
        """What the links alone say.

        Args:
            batch: (n, events) of them.

        Returns:
            (n, n_items) float32; rows sum to 1, or are 0 where no event has links.
        """
        found = self.linked(batch).toarray()
        total = found.sum(axis=1, keepdims=True)
        shares: np.ndarray = np.divide(found, total, out=np.zeros_like(found), where=total > 0)
        return shares

    def linked(self, batch: EventBatch) -> csr_matrix:
        """The votes that go along links, of the few items that have any.

        Args:
            batch: (n, events) of them.

        Returns:
            (n, n_items) float32; `shares` divides each row by its sum.
        """
        weights, item = self.reading.weights(batch), batch.item.numpy()
        row, column = np.nonzero(weights > 0)
        votes = csr_matrix((weights[row, column].astype(np.float32), (row, item[row, column])), shape=(len(item), len(self.catalogue)))
        return csr_matrix(votes @ self.links)

    def logits(self, batch: EventBatch, at: Tensor, feature: Tensor | None = None) -> Tensor:
        """See `EventRecommender.logits`."""
        shares = self.shares(batch)
        some = shares.any(axis=1, keepdims=True)
        mixed = np.where(some, (1 - POPULARITY_SHARE) * shares + POPULARITY_SHARE * self._popularity, self._popularity)
        return torch.from_numpy(np.log(mixed).astype(np.float32))

    def summands(self, batch: EventBatch, at: Tensor) -> Iterator[tuple[str, Tensor]]:
        """See `EventRecommender.summands`; the links' part is what they add to popularity."""
        popularity = torch.from_numpy(np.log(self._popularity)).expand(len(at), -1)
        yield "links", self.logits(batch, at) - popularity
        yield "popularity", popularity

    def facts(self) -> dict[str, Any]:
        """What the bundle's config.json says."""
        return {"max_events": self.max_events, "reading": {"recency": self.reading.recency, "kinds": dict(self.reading.kinds)}}

    def save(self, path: Path) -> None:
        """See `Recommender.save`."""
        arrays = {"data": self.links.data, "indices": self.links.indices, "indptr": self.links.indptr, "counts": self.counts}
        with writing_bundle(path, self.name, self.facts()) as draft:
            save_arrays(arrays, draft / "links.safetensors")


def read_links(path: Path, name: str) -> tuple[dict[str, Any], csr_matrix, np.ndarray, Reading]:
    """The folder that `CoVisits.save` wrote.

    Args:
        path: the folder.
        name: kind of the recommender.

    Returns:
        config.json, links, counts and votes.
    """
    config = read_config(path, name)
    arrays = load_arrays(path / "links.safetensors")
    size = len(arrays["indptr"]) - 1
    links = csr_matrix((arrays["data"], arrays["indices"], arrays["indptr"]), shape=(size, size))
    return config, links, arrays["counts"], Reading(config["reading"]["recency"], config["reading"]["kinds"])


class ItemKnn(CoVisits):
    """L[i, j] = users who met both / √(users of i · users of j): the cosine of the items' columns, without order.

    Source:
        Sarwar et al. (2001), "Item-based collaborative filtering recommendation algorithms".
    """

    name: ClassVar[str] = "item_knn"

    @classmethod
    def load(cls, path: Path, catalogue: Catalogue) -> "ItemKnn":
        """See `Recommender.load`."""
        config, links, counts, reading = read_links(path, cls.name)
        return cls(catalogue, config["max_events"], links, counts, reading)


class Markov(CoVisits):
    """L[i, j] = Σ of decay^(d − 1) over a user's events i and then j, d places apart, and less for j before i; divided by powers of counts.

    Source:
        Rendle, Freudenthaler and Schmidt-Thieme (2010), "Factorizing personalized Markov chains", without the factors; skips after
        Ludewig and Jannach (2018), "Evaluation of session-based recommendation algorithms" (sequential rules).
    """

    name: ClassVar[str] = "markov"

    def __init__(
        self, catalogue: Catalogue, max_events: int, links: csr_matrix, counts: np.ndarray, reading: Reading, *, shape: LinkShape
    ) -> None:
        """Keep the links.

        Args:
            catalogue: the items.
            max_events: latest events that are read.
            links: see `CoVisits`.
            counts: (n_items,) training events of each item.
            reading: the votes.
            shape: how the links were counted.
        """
        super().__init__(catalogue, max_events, links, counts, reading)
        self.shape = shape

    def facts(self) -> dict[str, Any]:
        """See `CoVisits.facts`."""
        return super().facts() | {"shape": asdict(self.shape)}

    @classmethod
    def load(cls, path: Path, catalogue: Catalogue) -> "Markov":
        """See `Recommender.load`."""
        config, links, counts, reading = read_links(path, cls.name)
        return cls(catalogue, config["max_events"], links, counts, reading, shape=LinkShape(**config["shape"]))
