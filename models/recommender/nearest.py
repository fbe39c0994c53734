"""The best items of a dense score u·v: exact by blocks of matrix products, or approximate by an index when the catalogue is large."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from scipy.sparse import csr_matrix
from usearch.index import BatchMatches, Index

from core.errors import BundleError
from core.files import content_hash, write_beside

EXACT_UP_TO = 200_000
"""Items up to which `Nearest` computes every product: a thousand users take about a second, and building an index takes minutes."""
TILE = 64
"""Items that share one maximum; the best k items lie in the k tiles with the largest."""
BLOCK_SCORES = 1 << 23
"""Scores held at a time; 32 MB."""
ADDED = 1 << 16
"""Items that are added to a graph at a time."""
CONNECTIVITY, EXPANSION_ADD, EXPANSION_SEARCH = 32, 256, 1024
"""Of the graph; decision 0010 has what smaller ones find."""


@dataclass(frozen=True)
class Best:
    """The best items of each user, best first.

    Attributes:
        codes: (n, k) int64 row of the item; -1 where fewer are allowed.
        scores: (n, k) float32; -inf where fewer are allowed.
    """

    codes: np.ndarray
    scores: np.ndarray


def top_k(users: np.ndarray, items: np.ndarray, k: int, excluded: csr_matrix | None = None) -> Best:
    """The k items with the largest u·v for each user; every product is computed, none is kept for long.

    Neighbouring items form tiles, whose maxima are taken first. An item that is among the best k stands in one of the k tiles with the
    largest maxima, as each of these holds a score at least as large; so only k tiles are ever sorted.

    Args:
        users: (n, dim) float32.
        items: (n_items, dim) float32.
        k: at least 1.
        excluded: (n, n_items), an entry for each item that a user must not get; its value is not looked at.

    Returns:
        Equal scores come in the items' order.

    Raises:
        ValueError: k below 1, or shapes that do not fit.
    """
    _check(users, items, k, excluded)
    n, n_items = len(users), len(items)
    best = Best(np.full((n, k), -1, np.int64), np.full((n, k), -np.inf, np.float32))
    if not n_items:
        return best
    width = -(-n_items // TILE)  # number of tiles
    step = max(1, BLOCK_SCORES // (width * TILE))
    scores = np.full((min(step, n), TILE * width), -np.inf, np.float32)
    for start in range(0, n, step):
        rows = slice(start, min(start + step, n))
        held = scores[: rows.stop - start]
        np.matmul(users[rows], items.T, out=held[:, :n_items])
        if excluded is not None:
            _bar(held, excluded, start)
        _select(held, k, best, rows)
    return best


def _check(users: np.ndarray, items: np.ndarray, k: int, excluded: csr_matrix | None) -> None:
    if k < 1:
        raise ValueError(f"k is {k}; at least 1 is needed")
    if users.ndim != 2 or items.ndim != 2 or users.shape[1] != items.shape[1]:
        raise ValueError(f"users {users.shape} and items {items.shape} do not fit; (n, dim) and (n_items, dim) are needed")
    if excluded is not None and excluded.shape != (len(users), len(items)):
        raise ValueError(
            f"excluded has shape {excluded.shape}; one row a user and one column an item, {(len(users), len(items))}, are needed"
        )


def _bar(scores: np.ndarray, excluded: csr_matrix, start: int) -> None:
    pointers = excluded.indptr[start : start + len(scores) + 1]
    row = np.repeat(np.arange(len(scores)), np.diff(pointers))
    scores[row, excluded.indices[pointers[0] : pointers[-1]]] = -np.inf


def _select(scores: np.ndarray, k: int, best: Best, rows: slice) -> None:
    """Fill ``best`` from a block of scores, padded to whole tiles with -inf."""
    n, width = len(scores), scores.shape[1] // TILE
    tiled = torch.from_numpy(scores).view(n, width, TILE)
    tops = tiled.amax(dim=2)  # (n, width)
    kept = min(k, width)
    tiles = tops.topk(kept, dim=1, sorted=False).indices  # (n, kept)
    within = tiled[torch.arange(n)[:, None], tiles].view(n, -1)  # (n, kept · TILE)
    size = min(k, within.shape[1])
    chosen = within.topk(size, dim=1)
    codes = tiles.gather(1, chosen.indices // TILE) * TILE + chosen.indices % TILE  # (n, size)
    limit = chosen.values[:, -1:]  # the size-th best
    tied = (within >= limit).sum(dim=1) > size
    tied |= tops.scatter(1, tiles, -torch.inf).amax(dim=1) >= limit[:, 0]
    found, values = codes.numpy(), chosen.values.numpy()
    order = np.lexsort((found, -values), axis=1)
    found, values = np.take_along_axis(found, order, axis=1), np.take_along_axis(values, order, axis=1)
    for row in np.flatnonzero(tied.numpy()):  # equal scores at the border: which of them stay is decided by the items' order
        equal = np.flatnonzero(scores[row] >= values[row, -1])
        order = equal[np.argsort(-scores[row, equal], kind="stable")][:size]
        found[row], values[row] = order, scores[row, order]
    best.codes[rows, :size] = np.where(np.isneginf(values), -1, found)
    best.scores[rows, :size] = values


class Graph:
    """A graph index over fixed items: about the items with the largest u·v, asked for by u.

    Its distance is the inner product as it is. Coordinates are of half precision: what is found is scored exactly by who asked.

    Source:
        Malkov and Yashunin (2018), "Efficient and robust approximate nearest neighbor search using hierarchical navigable small world
        graphs", by `usearch`; with inner products after Morozov and Babenko (2018), "Non-metric similarity graphs for maximum inner
        product search".
    """

    def __init__(self, index: Index) -> None:
        """Keep the index.

        Args:
            index: of items numbered from 0 on.
        """
        self.index = index

    @classmethod
    def of(cls, items: np.ndarray, *, threads: int = 1) -> "Graph":
        """Build it; with one thread equal items give an equal graph, byte by byte.

        Args:
            items: (n_items, dim) float32.
            threads: that build it.
        """
        longest = float(np.linalg.norm(items, axis=1).max(initial=0.0))  # half precision has a largest number
        index = _empty(items.shape[1])
        for start in range(0, len(items), ADDED):
            rows = slice(start, min(start + ADDED, len(items)))
            index.add(np.arange(rows.start, rows.stop), (items[rows] / (longest or 1.0)).astype(np.float32), threads=threads)
        return cls(index)

    def __len__(self) -> int:
        return len(self.index)

    @property
    def dim(self) -> int:
        """Length of the items' vectors."""
        return int(self.index.ndim)

    def search(self, users: np.ndarray, size: int, *, threads: int = 1) -> np.ndarray:
        """Items with about the largest u·v.

        Args:
            users: (n, dim) float32.
            size: at least 1.
            threads: that search.

        Returns:
            (n, at most size) int64, all different in a row; -1 where fewer were found.
        """
        asked = users / np.maximum(np.linalg.norm(users, axis=1, keepdims=True), 1e-12)
        found = self.index.search(asked.astype(np.float32), min(size, len(self)), threads=threads)
        codes = np.asarray(found.keys).astype(np.int64).reshape(len(users), -1)
        if isinstance(found, BatchMatches):
            return np.where(np.arange(codes.shape[1]) < np.reshape(found.counts, (-1, 1)), codes, -1)
        return codes

    def save(self, path: Path) -> None:
        """Write the graph, whole or not at all.

        Args:
            path: the file.
        """
        with write_beside(path) as draft:
            self.index.save(str(draft))

    @classmethod
    def load(cls, path: Path, *, digest: str) -> "Graph":
        """Read the file that `save` wrote.

        Args:
            path: the file.
            digest: SHA-256 that it must have.

        Raises:
            BundleError: no such file, another one, or no graph.
        """
        if not path.is_file():
            raise BundleError(f"{path}: no such file; the bundle is incomplete. Run the stage that writes it again.")
        found = content_hash(path)
        if found != digest:
            raise BundleError(
                f"{path}: its SHA-256 begins {found[:12]}, the bundle names {digest[:12]}. Run the stage that writes it again."
            )
        facts = Index.metadata(str(path))
        if not facts:
            raise BundleError(f"{path}: no graph that can be read. Run the stage that writes it again.")
        index = _empty(int(facts["dimensions"]))
        index.load(str(path))
        return cls(index)


def _empty(ndim: int) -> Index:
    return Index(
        ndim=ndim,
        metric="ip",
        dtype="f16",
        connectivity=CONNECTIVITY,
        expansion_add=EXPANSION_ADD,
        expansion_search=EXPANSION_SEARCH,
    )


class Nearest:
    """Top-k over fixed items: exact up to a number of items, above it a `Graph`, whose candidates are scored exactly."""

    def __init__(self, items: np.ndarray, *, exact_up_to: int = EXACT_UP_TO, threads: int = 1) -> None:
        """Keep the items, and build the index when there are many.

        Args:
            items: (n_items, dim) float32.
            exact_up_to: with more items than these an index is built.
            threads: that build and search the index.
        """
        self.items, self.threads = np.ascontiguousarray(items, dtype=np.float32), threads
        self.graph = Graph.of(self.items, threads=threads) if len(items) > exact_up_to else None

    def top_k(self, users: np.ndarray, k: int, excluded: csr_matrix | None = None) -> Best:
        """The best items of each user.

        Args:
            users: (n, dim) float32.
            k: at least 1.
            excluded: see `top_k`. Of the index, k and as many more as the user with most exclusions has are asked; a user for whom
                fewer than k are left is answered exactly.

        Raises:
            ValueError: see `top_k`.
        """
        if self.graph is None:
            return top_k(users, self.items, k, excluded)
        _check(users, self.items, k, excluded)
        n = len(users)
        most = int(np.diff(excluded.indptr).max(initial=0)) if excluded is not None else 0
        asked = min(k + most, len(self.items))
        codes = self.graph.search(users, asked, threads=self.threads)
        best = Best(np.full((n, k), -1, np.int64), np.full((n, k), -np.inf, np.float32))
        for row in range(n):
            own = codes[row][codes[row] >= 0]
            if excluded is not None:
                own = own[~np.isin(own, excluded.indices[excluded.indptr[row] : excluded.indptr[row + 1]])]
            if len(own) < k:
                barred = excluded[row] if excluded is not None else None
                exact = top_k(users[row : row + 1], self.items, k, barred)
                best.codes[row], best.scores[row] = exact.codes[0], exact.scores[0]
                continue
            scores = self.items[own] @ users[row]
            order = np.lexsort((own, -scores))[:k]
            best.codes[row], best.scores[row] = own[order], scores[order]
        return best
