"""The best items without scoring every item: a graph names candidates, which the recommender then scores as it always does."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from models.history import History
from models.recommender.nearest import Graph

OVERFETCH, LEAST = 4, 200
"""Candidates asked for: so many times what is wanted, and no fewer; rules and the sparse parts of a score take some away."""


@dataclass(frozen=True)
class Shortlist:
    """Items of one shopper, the best first.

    Attributes:
        codes: (m,) int64 columns, all different.
        scores: (m,) float32 logits, falling; equal ones in the items' order.
    """

    codes: np.ndarray
    scores: np.ndarray

    @classmethod
    def of(cls, codes: np.ndarray, scores: np.ndarray) -> "Shortlist":
        """Put items in order.

        Args:
            codes: (m,) columns, all different.
            scores: (m,) logits.
        """
        order = np.lexsort((codes, -scores))
        return cls(codes[order].astype(np.int64), scores[order].astype(np.float32))


class Indexable(ABC):
    """A recommender whose logits are u·v, but for a few items of each shopper's own."""

    @abstractmethod
    def item_rows(self, codes: np.ndarray) -> np.ndarray:
        """The v of items, each part of it so scaled that the part of u that it meets is about as long as the other parts of u.

        What a graph takes for near is then near for who asks it: v as the networks have it, text features of length 1 that meet a W F of
        length 10 beside scores that meet a 1, lost a third of the best items.

        Args:
            codes: (m,) columns.

        Returns:
            (m, d) float32.
        """

    @abstractmethod
    def shortlists(self, graph: Graph, histories: Sequence[History], moments: np.ndarray, size: int) -> list[Shortlist]:
        """Items with about the largest logits; what stands there is scored as `score` does, but for the last digits.

        Args:
            graph: over `item_rows` of all items.
            histories: n of them.
            moments: (n,) int64 microseconds; events at or after it are not looked at.
            size: items that are asked of the graph.

        Returns:
            One a history, each of about ``size`` items.
        """


def nearest(model: Indexable, graph: Graph, users: np.ndarray, size: int) -> list[Shortlist]:
    """Shortlists of a recommender whose logits are u·v and nothing else.

    Args:
        model: gives the v.
        graph: over them.
        users: (n, d) float32 the u.
        size: items that are asked of the graph.

    Returns:
        One a shopper; empty where u is 0 and says nothing.
    """
    found = [own[(own >= 0) & user.any()] for own, user in zip(graph.search(users, size), users, strict=True)]
    return [Shortlist.of(own, model.item_rows(own) @ user) for own, user in zip(found, users, strict=True)]
