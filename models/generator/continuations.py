"""Counted continuations: which tokens follow a context, how often, and what that leaves to less telling contexts."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_DISCOUNTS = (0.1, 0.95)
_WIDE = 128
"""Contexts of as many continuations are also held as whole rows, which are added faster than they are scattered."""
_MOST_WIDE = 128
"""Contexts of one form that are held so, at the most."""


@dataclass(frozen=True)
class Level:
    """The continuations of all contexts of one form.

    Attributes:
        keys: (contexts,) int64, ascending.
        starts: (contexts + 1,) int64, where the continuations of each begin.
        ids: (continuations,) int32.
        shares: (continuations,) float32, discounted count over the context's.
        left: (contexts,) float32, what is left to less telling contexts.
    """

    keys: Tensor
    starts: Tensor
    ids: Tensor
    shares: Tensor
    left: Tensor

    @cached_property
    def wide(self) -> tuple[Tensor, Tensor]:
        """(contexts,) the row of those with most continuations, −1 for the others; (rows, ids) their shares."""
        size = self.starts.diff()
        most = size.topk(min(_MOST_WIDE, len(size))).indices
        most = most[size[most] >= _WIDE]
        place = torch.full((len(size),), -1)
        place[most] = torch.arange(len(most))
        rows = torch.zeros(len(most), int(self.ids.max()) + 1 if len(self.ids) else 0)
        line, at = self.spread_out(most)
        rows[line, self.ids[at].long()] = self.shares[at]
        return place, rows

    def spread_out(self, contexts: Tensor) -> tuple[Tensor, Tensor]:
        """The continuations of some contexts.

        Args:
            contexts: (n,).

        Returns:
            (continuations,) which of the n each belongs to, and where it stands.
        """
        first = self.starts[contexts]
        size = self.starts[contexts + 1] - first
        line = torch.arange(len(contexts)).repeat_interleave(size)
        return line, torch.arange(len(line)) + (first - (size.cumsum(0) - size))[line]

    def add_to(self, made: Tensor, rows: Tensor, contexts: Tensor, share: Tensor) -> None:
        """Add the continuations of contexts.

        Args:
            made: (all rows, ids).
            rows: (n,) each at most once.
            contexts: (n,) theirs.
            share: (n,) what each is multiplied by.
        """
        place, whole = self.wide
        at = place[contexts]
        wide = (at >= 0).nonzero()[:, 0]
        if len(wide):
            made[:, : whole.shape[1]].index_add_(0, rows[wide], whole[at[wide]].mul_(share[wide, None]))
        narrow = (at < 0).nonzero()[:, 0]
        if len(narrow):
            line, where = self.spread_out(contexts[narrow])
            line = narrow[line]
            made.view(-1).index_add_(0, rows[line] * made.shape[1] + self.ids[where], self.shares[where] * share[line])

    def found(self, wanted: Tensor) -> tuple[Tensor, Tensor]:
        """Rows whose context is known, and which it is.

        Args:
            wanted: (rows,) keys.
        """
        if not len(self.keys):
            nothing = torch.zeros(0, dtype=torch.long)
            return nothing, nothing
        at = torch.searchsorted(self.keys, wanted).clamp_(max=len(self.keys) - 1)
        rows = (self.keys[at] == wanted).nonzero()[:, 0]
        return rows, at[rows]


@dataclass(frozen=True)
class Counted:
    """Counts of the contexts of one form.

    Attributes:
        ids: (continuations,) what follows, by context.
        counts: (continuations,) how often.
        keys: (contexts,) ascending.
        starts: (contexts,) where the continuations of each begin.
        totals: (contexts,) how often each stands.
        kinds: (contexts,) distinct continuations of each.
    """

    ids: NDArray[np.int64]
    counts: NDArray[np.int64]
    keys: NDArray[np.int64]
    starts: NDArray[np.int64]
    totals: NDArray[np.int64]
    kinds: NDArray[np.int64]

    @classmethod
    def of(cls, key: NDArray[np.int64], target: NDArray[np.int64]) -> "Counted":
        """Count pairs.

        Args:
            key: (n,) contexts.
            target: (n,) what followed them.
        """
        order = np.lexsort((target, key))
        key, target = key[order], target[order]
        new = np.ones(len(key), bool)
        new[1:] = (key[1:] != key[:-1]) | (target[1:] != target[:-1])
        first = np.flatnonzero(new)
        counts = np.diff(first, append=len(key))
        keys, starts = np.unique(key[first], return_index=True)
        kinds = np.diff(starts, append=len(first))
        totals = np.add.reduceat(counts, starts) if len(starts) else np.zeros(0, np.int64)
        return cls(target[first], counts, keys, starts, totals, kinds)

    def size(self, least: int) -> int:
        """Continuations of the contexts that stand often enough.

        Args:
            least: how often.
        """
        return int(self.kinds[self.totals >= least].sum())

    def at_least(self, least: int) -> Level:
        """Those contexts, discounted.

        Args:
            least: how often they stand.
        """
        once, twice = int((self.counts == 1).sum()), int((self.counts == 2).sum())
        discount = float(np.clip(once / max(once + 2 * twice, 1), *_DISCOUNTS))
        kept = self.totals >= least
        mine = np.repeat(kept, self.kinds)
        totals, kinds = self.totals[kept], self.kinds[kept]
        shares = (self.counts[mine] - discount) / np.repeat(totals, kinds)
        starts = np.concatenate([[0], np.cumsum(kinds)])
        return Level(
            torch.from_numpy(self.keys[kept]),
            torch.from_numpy(starts.astype(np.int64)),
            torch.from_numpy(self.ids[mine].astype(np.int32)),
            torch.from_numpy(shares.astype(np.float32)),
            torch.from_numpy((discount * kinds / np.maximum(totals, 1)).astype(np.float32)),
        )
