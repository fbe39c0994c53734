"""Content-based recommenders over the user feature F and item features a_i: the linear and the cosine form."""

import math
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from core.errors import BundleError
from models.bundle import load_arrays, read_config, save_arrays, writing_bundle
from models.fusion import Fusion
from models.history import History
from models.recommender.base import EventRecommender
from models.recommender.catalogue import Catalogue
from models.recommender.events import EventBatch
from models.recommender.nearest import Graph
from models.recommender.shortlist import Indexable, Shortlist, nearest
from models.recommender.weights import load_state, state_of


def content_logits(feature: Tensor, items: Tensor, weight: Tensor, score: Tensor, bias: Tensor) -> Tensor:
    """a_iᵀ W F + v · a_i + b_i; with one-hot item rows and W's rows as item weights this is the plain W·F + A + b.

    Args:
        feature: (batch, dim) user features F.
        items: (n_items, dim_a) item features a_i.
        weight: (dim_a, dim) W.
        score: (dim_a,) v, what makes an item good for everyone (A = v · a_i).
        bias: (n_items,) b.

    Returns:
        (batch, n_items).
    """
    return (feature @ weight.T + score) @ items.T + bias


class ContentCosine(EventRecommender, Indexable):
    """softmax_i(cos(F, a_i) / τ); an empty history gives the uniform distribution."""

    name: ClassVar[str] = "content_cosine"

    def __init__(self, catalogue: Catalogue, max_events: int, network: "CosineNetwork") -> None:
        """Keep the network.

        Args:
            catalogue: the items.
            max_events: latest events that are read.
            network: fusion and τ.
        """
        super().__init__(catalogue, max_events)
        self.network = network.eval()
        self._vectors = torch.from_numpy(catalogue.vectors)
        self._text_of = torch.from_numpy(catalogue.text_of)

    @property
    def own_fusion(self) -> Fusion:
        """See `EventRecommender.own_fusion`."""
        return self.network.fusion

    def logits(self, batch: EventBatch, at: Tensor, feature: Tensor | None = None) -> Tensor:
        """See `EventRecommender.logits`."""
        feature = self.network.fusion(batch.vectors, batch.kind, batch.time, at[:, None])[:, 0]  # (batch, dim)
        scores: Tensor = self.network(feature, self._vectors)[:, self._text_of]
        return scores

    def item_rows(self, codes: np.ndarray) -> np.ndarray:
        """See `Indexable.item_rows`: the items' features."""
        return self.catalogue.features(codes)

    def shortlists(self, graph: Graph, histories: Sequence[History], moments: np.ndarray, size: int) -> list[Shortlist]:
        """See `Indexable.shortlists`."""
        feature = self.features(self.network.fusion, histories, moments)
        return nearest(self, graph, self.network(feature, torch.eye(self.catalogue.dim)).detach().numpy(), size)

    def save(self, path: Path) -> None:
        """See `Recommender.save`."""
        with writing_bundle(path, self.name, {"max_events": self.max_events, "dim": self.catalogue.dim}) as draft:
            save_arrays(state_of(self.network), draft / "weights.safetensors")

    @classmethod
    def load(cls, path: Path, catalogue: Catalogue) -> "ContentCosine":
        """See `Recommender.load`."""
        config = read_config(path, cls.name)
        network = CosineNetwork(config["dim"])
        load_state(network, load_arrays(path / "weights.safetensors"), path)
        return cls(catalogue, config["max_events"], network)


class CosineNetwork(nn.Module):
    """Fusion and a temperature."""

    def __init__(self, dim: int) -> None:
        """Start at τ = 0.1.

        Args:
            dim: length of the text vectors.
        """
        super().__init__()
        self.fusion = Fusion(dim)
        self.log_scale = nn.Parameter(torch.tensor(math.log(10.0)))  # log 1/τ

    def forward(self, feature: Tensor, items: Tensor) -> Tensor:
        """cos(F, a_i) / τ.

        Args:
            feature: (..., dim) user features.
            items: (n, dim) unit item features.

        Returns:
            (..., n).
        """
        norm = feature.norm(dim=-1, keepdim=True)
        scores: Tensor = self.log_scale.exp() * (feature / norm.clamp(min=1e-6)) @ items.T
        return scores


class LinearNetwork(nn.Module):
    """W, v and b of `content_logits`."""

    def __init__(self, dim: int, n_items: int) -> None:
        """Start as ten times the inner product.

        Args:
            dim: length of the text vectors.
            n_items: size of the catalogue.
        """
        super().__init__()
        self.weight = nn.Parameter(10.0 * torch.eye(dim))
        self.score = nn.Parameter(torch.zeros(dim))
        self.bias = nn.Parameter(torch.zeros(n_items))

    def forward(self, feature: Tensor, items: Tensor, columns: Tensor) -> Tensor:
        """Logits of some items.

        Args:
            feature: (batch, dim) user features.
            items: (n, dim) their features.
            columns: (n,) int64 their columns.

        Returns:
            (batch, n).
        """
        bias = nn.functional.embedding(columns, self.bias[:, None])[:, 0]
        return content_logits(feature, items, self.weight, self.score, bias)


class ContentLinear(EventRecommender, Indexable):
    """softmax_i(a_iᵀ W F + v · a_i + b_i)."""

    name: ClassVar[str] = "content_linear"

    def __init__(self, catalogue: Catalogue, max_events: int, fusion: Fusion, network: LinearNetwork) -> None:
        """Keep the network.

        Args:
            catalogue: the items.
            max_events: latest events that are read.
            fusion: makes F.
            network: W, v and b.

        Raises:
            BundleError: the network was trained on another number of items.
        """
        super().__init__(catalogue, max_events)
        if len(network.bias) != len(catalogue):
            raise BundleError(f"content_linear was trained on {len(network.bias)} items, the catalogue has {len(catalogue)}. Train again.")
        self.fusion = fusion.eval()
        self.network = network.eval()
        self._vectors = torch.from_numpy(catalogue.vectors)
        self._text_of = torch.from_numpy(catalogue.text_of)

    @property
    def own_fusion(self) -> Fusion:
        """See `EventRecommender.own_fusion`."""
        return self.fusion

    def summands(self, batch: EventBatch, at: Tensor) -> Iterator[tuple[str, Tensor]]:
        """See `EventRecommender.summands`."""
        yield "content", self.personal(self.fusion(batch.vectors, batch.kind, batch.time, at[:, None])[:, 0])
        own: Tensor = (self._vectors @ self.network.score)[self._text_of] + self.network.bias
        yield "popularity", own.expand(len(at), -1)

    def logits(self, batch: EventBatch, at: Tensor, feature: Tensor | None = None) -> Tensor:
        """See `EventRecommender.logits`."""
        feature = self.fusion(batch.vectors, batch.kind, batch.time, at[:, None])[:, 0]  # (batch, dim)
        network = self.network
        by_text = content_logits(feature, self._vectors, network.weight, network.score, torch.zeros(len(self._vectors)))  # (batch, texts)
        return by_text[:, self._text_of] + network.bias

    def item_rows(self, codes: np.ndarray) -> np.ndarray:
        """See `Indexable.item_rows`: the items' features times `wish_scale`, and v · a_i + b_i."""
        own = self._own[torch.from_numpy(np.asarray(codes, dtype=np.int64))]
        return np.concatenate([self.wish_scale * self.catalogue.features(codes), own.numpy()[:, None]], axis=1)

    def shortlists(self, graph: Graph, histories: Sequence[History], moments: np.ndarray, size: int) -> list[Shortlist]:
        """See `Indexable.shortlists`."""
        wish = self.features(self.fusion, histories, moments) @ self.network.weight.detach().T
        return nearest(self, graph, torch.cat([wish / self.wish_scale, torch.ones(len(wish), 1)], dim=1).numpy(), size)

    @cached_property
    def wish_scale(self) -> float:
        """How much longer W F is than F; see `Indexable.item_rows`."""
        return max(float(self.network.weight.detach().norm()) / math.sqrt(self.catalogue.dim), 1e-6)

    @cached_property
    def _own(self) -> Tensor:
        """(n_items,) what `summands` calls popularity; kept, as nothing is asked of a graph before training has ended."""
        with torch.no_grad():
            found: Tensor = (self._vectors @ self.network.score)[self._text_of] + self.network.bias
        return found

    def personal(self, feature: Tensor) -> Tensor:
        """The part of the logits that is the shopper's own, a_iᵀ W F.

        Args:
            feature: (batch, dim) user features F.

        Returns:
            (batch, n_items).
        """
        by_text: Tensor = (feature @ self.network.weight.T) @ self._vectors.T
        return by_text[:, self._text_of]

    def likeness(self, feature: Tensor) -> Tensor:
        """cos(F, a_i).

        Args:
            feature: (batch, dim) user features F.

        Returns:
            (batch, n_items).
        """
        by_text: Tensor = (feature / feature.norm(dim=-1, keepdim=True).clamp(min=1e-6)) @ self._vectors.T
        return by_text[:, self._text_of]

    def item_scores(self) -> np.ndarray:
        """What makes an item good for everyone, v · a_i + b_i; (n_items,) float32, with mean zero."""
        with torch.no_grad():
            scores = (self._vectors @ self.network.score)[self._text_of] + self.network.bias
            centred: np.ndarray = (scores - scores.mean()).numpy()
        return centred

    def save(self, path: Path) -> None:
        """See `Recommender.save`."""
        config = {"max_events": self.max_events, "dim": self.catalogue.dim, "items": len(self.catalogue)}
        with writing_bundle(path, self.name, config) as draft:
            save_arrays(state_of(self.network), draft / "weights.safetensors")
            save_arrays(state_of(self.fusion), draft / "fusion.safetensors")

    @classmethod
    def load(cls, path: Path, catalogue: Catalogue) -> "ContentLinear":
        """See `Recommender.load`."""
        config = read_config(path, cls.name)
        network, fusion = LinearNetwork(config["dim"], config["items"]), Fusion(config["dim"])
        load_state(network, load_arrays(path / "weights.safetensors"), path)
        load_state(fusion, load_arrays(path / "fusion.safetensors"), path)
        return cls(catalogue, config["max_events"], fusion, network)
