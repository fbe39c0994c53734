"""What the trained networks say of histories, computed with plain arrays.

A service asks for few histories at a time, and then the way through a hundred small tensor operations costs more than what they compute.
The numbers are those of `models.fusion.Fusion` and of `models.recommender.network.SequenceNetwork`, but for their last digits.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from core.vocabulary import EVENT_TYPES
from models.fusion import HOUR, Fusion
from models.recommender.events import EventBatch
from models.recommender.layers import GatedLayer
from models.recommender.network import GAPS, SequenceNetwork

Array = NDArray[np.float32]
Whole = NDArray[np.int64]
_EPSILON = 1e-5
"""Of the layer norms, as torch has it."""


class FusionReader:
    """F of histories at one moment each."""

    def __init__(self, fusion: Fusion) -> None:
        """Args: the trained fusion."""
        with torch.no_grad():
            self._query = np.ascontiguousarray(fusion.query.numpy().T)  # (dim, sources)
            self._decay, self._gain = (nn.functional.softplus(held).numpy().copy() for held in (fusion.decay, fusion.gain))
            self._gate = fusion.gate.numpy().copy()

    def __call__(self, batch: EventBatch, at: Whole) -> Array:
        """F of each history.

        Args:
            batch: (n, events) of them; only those strictly before ``at`` count.
            at: (n,) microseconds.

        Returns:
            (n, dim).
        """
        kind, time, vectors = batch.kind.numpy(), batch.time.numpy(), batch.vectors.numpy()
        source = np.maximum(kind, 0)
        visible = (kind >= 0) & (time < at[:, None])
        age = (np.maximum(at[:, None] - time, 0) / HOUR).astype(np.float32)
        pull = np.take_along_axis(vectors @ self._query, source[:, :, None], axis=2)[:, :, 0]
        weight = np.exp(pull - self._decay[source] * np.log1p(age)) * visible  # (n, events)
        of_source = (source[:, :, None] == np.arange(len(EVENT_TYPES))).astype(np.float32)
        mass = (weight[:, None] @ of_source)[:, 0]  # (n, sources)
        present = mass > 0
        safe = np.where(present, mass, np.float32(1))
        gates = np.where(present, self._gate + self._gain * np.log(safe), np.float32(-1e9))
        gates = np.exp(gates - gates.max(axis=1, keepdims=True))
        gates *= present / gates.sum(axis=1, keepdims=True)
        share = np.take_along_axis((gates / safe).astype(np.float32), source, axis=1) * weight
        return np.asarray((share[:, None] @ vectors)[:, 0], dtype=np.float32)


@dataclass(frozen=True)
class _Linear:
    """x̂ W + b, with the scale and shift of the norm before it inside."""

    weight: Array
    bias: Array

    def __call__(self, x: Array) -> Array:
        found = x @ self.weight
        found += self.bias
        return found

    @classmethod
    def of(cls, parts: list[nn.Linear], norm: nn.LayerNorm | None = None) -> "_Linear":
        weight = torch.cat([part.weight for part in parts]).T  # (in, out)
        bias = torch.cat([part.bias for part in parts])
        if norm is not None:
            weight, bias = norm.weight[:, None] * weight, norm.bias @ weight + bias
        return cls(np.ascontiguousarray(weight.numpy()), bias.numpy().copy())


class _Layer:
    """`GatedLayer` for tokens that stand row after row, without padding."""

    def __init__(self, layer: GatedLayer, most: int) -> None:
        self.dim, self.heads = layer.mixed.in_features, layer.heads
        # queries, keys, values, and the gate on what attention has seen; then both halves of the perceptron and its gate
        self.mixed = _Linear.of([layer.mixed, layer.attention_gate], layer.attention_norm)
        self.attended = _Linear.of([layer.attended])
        self.inner = _Linear.of([layer.inner, layer.inner_gate], layer.inner_norm)
        self.outer = _Linear.of([layer.outer])
        scale = np.float32((self.dim // self.heads) ** -0.5)
        self.mixed.weight[:, : self.dim] *= scale
        self.mixed.bias[: self.dim] *= scale
        self.bias = layer._bias(most).mT.contiguous().numpy().copy()  # (heads, keys, queries)

    def __call__(self, tokens: Array, cells: Whole, shape: tuple[int, int]) -> Array:
        """All tokens, (tokens, dim); ``cells`` says where they stand in a rectangle of ``shape``."""
        dim, (rows, length) = self.dim, shape
        mixed = self.mixed(_normed(tokens))
        query, key, value = self._heads(_spread(mixed[:, : 3 * dim], cells, shape), 3)
        scores = key @ query.swapaxes(-1, -2)  # (rows, heads, keys, queries)
        scores += self.bias[:, :length, :length]
        seen = self._seen(scores, value).swapaxes(1, 2).reshape(rows * length, dim)[cells]
        return self._passed(tokens, mixed[:, 3 * dim :], seen)

    def last(self, tokens: Array, cells: Whole, shape: tuple[int, int], ends: Whole) -> Array:
        """The tokens at ``ends`` only, one a row: (rows, dim)."""
        dim, (rows, length) = self.dim, shape
        normed = _normed(tokens)
        kept = slice(dim, 3 * dim)
        key, value = self._heads(_spread(normed @ self.mixed.weight[:, kept] + self.mixed.bias[kept], cells, shape), 2)
        mine = normed[ends]
        query = (mine @ self.mixed.weight[:, :dim] + self.mixed.bias[:dim]).reshape(rows, self.heads, 1, -1)
        gate = mine @ self.mixed.weight[:, 3 * dim :] + self.mixed.bias[3 * dim :]
        sizes = ends.copy()
        sizes[1:] -= ends[:-1]
        sizes[0] += 1
        scores = key @ query.swapaxes(-1, -2)  # (rows, heads, keys, 1)
        scores += self.bias[:, :length, sizes - 1].transpose(2, 0, 1)[:, :, :, None]
        return self._passed(tokens[ends], gate, self._seen(scores, value).reshape(rows, dim))

    def _heads(self, mixed: Array, parts: int) -> Array:
        """(rows, length, parts · dim) → (parts, rows, heads, length, dim / heads)."""
        return mixed.reshape(*mixed.shape[:2], parts, self.heads, -1).transpose(2, 0, 3, 1, 4)

    def _seen(self, scores: Array, value: Array) -> Array:
        """Softmax over the keys, then the mean of the values: (rows, heads, queries, dim / heads)."""
        scores -= scores.max(axis=-2, keepdims=True)
        np.exp(scores, out=scores)
        scores /= scores.sum(axis=-2, keepdims=True)
        return np.asarray(scores.swapaxes(-1, -2) @ value)

    def _passed(self, tokens: Array, gate: Array, seen: Array) -> Array:
        """What follows attention, see `GatedLayer`."""
        tokens = tokens + _sigmoid(gate) * self.attended(seen)
        made = self.inner(_normed(tokens))
        half = (made.shape[1] - self.dim) // 2
        left, right, gate = made[:, :half], made[:, half : 2 * half], made[:, 2 * half :]
        hidden = _sigmoid(left)
        hidden *= left
        hidden *= right
        return np.asarray(tokens + _sigmoid(gate) * self.outer(hidden))


class SequenceReader:
    """State, scales and repeats of `SequenceNetwork` after all events of each history."""

    def __init__(self, network: SequenceNetwork, items: Array) -> None:
        """Args: the trained network, and the vectors of its items, (items, dim)."""
        network.eval()
        with torch.no_grad():
            held = {name: value.numpy().copy() for name, value in network.state_dict().items()}
            self._layers = [_Layer(layer, network.sizes.max_events + 1) for layer in network.layers if isinstance(layer, GatedLayer)]
            self._decay = float(nn.functional.softplus(network.repeat_decay))
        self._items, self._kind, self._gap, self._start = items, held["kind.weight"], held["gap.weight"], held["start"]
        self._query = np.ascontiguousarray(held["query_text.weight"].T)
        self._entry, self._end = (held["input_norm.weight"], held["input_norm.bias"]), (held["norm.weight"], held["norm.bias"])
        self._repeat = held["repeat"]
        self.scales = np.stack([held[f"{name}_scale.weight"][:, 0] for name in ("state", "fused", "score")])
        """How the time since the last event scales state, F and the items' own scores, (3, GAPS)."""

    def state(self, batch: EventBatch) -> Array:
        """The state after all events of each history.

        Args:
            batch: (n, events) of them, at most ``max_events`` wide.

        Returns:
            (n, dim).
        """
        kind = batch.kind.numpy()
        there = np.ones((len(kind), kind.shape[1] + 1), dtype=bool)
        there[:, 1:] = kind >= 0
        cells, sizes = np.flatnonzero(there), there.sum(axis=1)
        tokens, ends = self._entered(batch, there), np.cumsum(sizes) - 1
        for layer in self._layers[:-1]:
            tokens = layer(tokens, cells, there.shape)
        scale, shift = self._end
        return np.asarray(_normed(self._layers[-1].last(tokens, cells, there.shape, ends)) * scale + shift)

    def last_gap(self, batch: EventBatch, at: Whole) -> Whole:
        """Bucket of the time since the last event, (n,).

        Args:
            batch: (n, events) of them.
            at: (n,) microseconds.
        """
        sizes = (batch.kind.numpy() >= 0).sum(axis=1)
        last = batch.time.numpy()[np.arange(len(sizes)), np.maximum(sizes - 1, 0)]
        return _bucket(np.where(sizes > 0, at - last, -1))

    def repeats(self, batch: EventBatch, at: Whole) -> Array:
        """What each event adds to the logit of its own item.

        Args:
            batch: (n, events) of them.
            at: (n,) microseconds.

        Returns:
            (n, events); 0 where there is no item.
        """
        age = (np.maximum(at[:, None] - batch.time.numpy(), 0) / HOUR).astype(np.float32)
        fading = np.exp(np.log1p(age) * np.float32(-self._decay))
        return np.asarray(self._repeat[np.maximum(batch.kind.numpy(), 0)] * fading * (batch.item.numpy() >= 0))

    def _entered(self, batch: EventBatch, there: NDArray[np.bool_]) -> Array:
        """What the first layer reads: a start and the events of each history, row after row, (tokens, dim)."""
        item, kind, time = batch.item.numpy(), batch.kind.numpy(), batch.time.numpy()
        seen = there[:, 1:]
        codes, kinds = item[seen], kind[seen]
        gap = np.full(time.shape, -1)  # the first event has none
        gap[:, 1:] = time[:, 1:] - time[:, :-1]
        found = self._items[np.maximum(codes, 0)]
        searches = np.flatnonzero(codes < 0)
        if len(searches):
            found[searches] = batch.vectors.numpy()[np.nonzero(seen & (item < 0))] @ self._query
        found += self._kind[kinds]
        found += self._gap[_bucket(gap[seen])]
        tokens = np.empty((int(there.sum()), found.shape[1]), np.float32)
        event = np.ones(len(tokens), dtype=bool)
        starts = np.zeros(len(there), np.int64)
        starts[1:] = np.cumsum(there.sum(axis=1))[:-1]
        event[starts] = False
        tokens[starts], tokens[event] = self._start, found
        scale, shift = self._entry
        return np.asarray(_normed(tokens) * scale + shift)


def _bucket(gap: Whole) -> Whole:
    """`models.recommender.network.gap_bucket`."""
    seconds = np.maximum(gap, 0) / 1e6
    return np.where(gap < 0, 0, np.minimum((1 + np.log2(1 + seconds)).astype(np.int64), GAPS - 1))


def _spread(rows: Array, cells: Whole, shape: tuple[int, int]) -> Array:
    found = np.zeros((shape[0] * shape[1], rows.shape[1]), np.float32)
    found[cells] = rows
    return found.reshape(*shape, -1)


def _normed(x: Array) -> Array:
    """Rows with mean 0 and deviation 1."""
    share = np.full((x.shape[1], 1), 1 / x.shape[1], np.float32)
    moved = x - x @ share
    moved /= np.sqrt(moved**2 @ share + np.float32(_EPSILON))
    return np.asarray(moved)


def _sigmoid(x: Array) -> Array:
    found = np.exp(-x)
    found += 1
    return np.asarray(np.reciprocal(found, out=found))
