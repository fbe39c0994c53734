"""What human copy says next: counted continuations, which a decoder's own chances are mixed with.

A small decoder that few copies taught knows what copy is about and forgets how its phrases go; counts know the phrases and nothing
else. The mixture of both is far likelier to say what people say of an unseen product than either
(docs/decisions/0019-memory-beside-the-decoder.md). What comes next is counted after the last tokens of a text: anywhere, in copy for
this kind of product, and in copy for this kind and place.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from core.vocabulary import CHANNELS
from models.bundle import load_arrays, save_arrays
from models.generator.prompts import Prompts
from models.generator.vocabulary import BOS, EOS, PAD, UNK

LONGEST = 2
"""Tokens before that the longest context has; with three, more texts are refused as copied and fewer are good (decision 0019)."""
ANYWHERE, KIND, PLACE = range(3)
CONTEXTS = (
    *((ANYWHERE, size) for size in range(LONGEST + 1)),
    *((KIND, size) for size in range(LONGEST + 1)),
    *((PLACE, size) for size in range(1, LONGEST + 1)),
)
"""What is counted after, from what says least to what says most: in whose copy, and after how many tokens."""
MOST = 4_000_000
"""Continuations that are kept; of more, the contexts that stand rarest are forgotten."""
_DISCOUNTS = (0.1, 0.95)
_WIDE = 128
"""Contexts of as many continuations are also held as whole rows, which are added faster than they are scattered."""
_MOST_WIDE = 128
"""Contexts of one form that are held so, at the most."""
_SPREAD = -7046029254386353131
"""Odd, and near 2⁶⁴ divided by the golden ratio: multiplying by it spreads keys over all 64 bits (Knuth 1998, §6.4)."""


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
class PhraseMemory:
    """Counts of training copy, interpolated with absolute discounts.

    Attributes:
        tokens: of the vocabulary; a slot counts as ``tokens`` + the number of its name.
        names: slot names, the unknown one too.
        levels: one a form of context, as `CONTEXTS` has them.

    Source:
        p(w | c) = max(n(c, w) − D, 0) / n(c) + D · t(c) / n(c) · p(w | c′) with t(c) distinct words after c, c′ the next less telling
        context and D = n₁ / (n₁ + 2 n₂) (Ney, Essen & Kneser 1994, eq. 23 for D).
    """

    tokens: int
    names: int
    levels: tuple[Level, ...]

    @classmethod
    def of(cls, prompts: Prompts, texts: Sequence[Sequence[int]], tokens: int, names: int, most: int = MOST) -> "PhraseMemory":
        """Count.

        Args:
            prompts: the orders of the training copies.
            texts: their ids, with begin and end.
            tokens: of the vocabulary.
            names: slot names, the unknown one too.
            most: continuations to keep.
        """
        padded = torch.nn.utils.rnn.pad_sequence([torch.tensor(ids) for ids in texts], batch_first=True, padding_value=PAD)
        named = named_slots(padded, prompts.names, tokens)
        rows, at = ((padded != PAD) & (padded != UNK))[:, 1:].nonzero(as_tuple=True)
        before, target = contexts(named)[rows, at], named[rows, at + 1]
        kind, place = kinds_of(prompts)[rows], places_of(prompts)[rows]
        places = len(np.unique(place.numpy()))
        used = [whose != PLACE or places > 1 for whose, _ in CONTEXTS]  # one place says nothing that the kind has not said
        counted = [
            _Counted.of(key.numpy(), target.numpy()) if use else _Counted.of(*np.zeros((2, 0), np.int64))
            for key, use in zip(_keys(before, kind, place), used, strict=True)
        ]
        least = 1
        while sum(level.size(least) for level in counted) > most:
            least += 1
        return cls(tokens, names, tuple(level.at_least(least) for level in counted))

    def recall(self, prompts: Prompts) -> "Recall":
        """What follows, token by token, in texts for these orders.

        Args:
            prompts: one a text.
        """
        before = torch.full((len(prompts), LONGEST), PAD)
        before[:, -1] = BOS
        names, held = prompts.names[:, 1:], prompts.mask[:, 1:]
        alike = ((names[:, :, None] == names[:, None, :]) & held[:, None, :]).sum(2).clamp_min(1)
        return Recall(self, kinds_of(prompts), places_of(prompts), prompts.names, held / alike, before)

    def chances(self, before: Tensor, kind: Tensor, place: Tensor) -> Tensor:
        """What comes next.

        Args:
            before: (rows, LONGEST) the tokens before, slots by their names.
            kind: (rows,) of the product.
            place: (rows,) scene and channel.

        Returns:
            (rows, tokens + names), each row summing to 1 at the most.
        """
        made = torch.zeros(len(before), self.tokens + self.names)
        share = torch.ones(len(before))
        for level, key in zip(reversed(self.levels), reversed(_keys(before, kind, place)), strict=True):
            rows, contexts = level.found(key)
            level.add_to(made, rows, contexts, share[rows])
            share[rows] *= level.left[contexts]
        return made

    def save(self, path: Path) -> None:
        """Write one file of arrays.

        Args:
            path: the safetensors file.
        """
        arrays = {"sizes": np.array([self.tokens, self.names], np.int64)}
        for number, level in enumerate(self.levels):
            arrays |= {f"{number}.{name}": getattr(level, name).numpy() for name in ("keys", "starts", "ids", "shares", "left")}
        save_arrays(arrays, path)

    @classmethod
    def load(cls, path: Path) -> "PhraseMemory":
        """Read what `save` wrote.

        Args:
            path: the safetensors file.

        Raises:
            BundleError: the file is missing or truncated.
        """
        arrays = {name: torch.from_numpy(value) for name, value in load_arrays(path).items()}
        tokens, names = arrays["sizes"].tolist()
        fields = ("keys", "starts", "ids", "shares", "left")
        levels = (Level(*(arrays[f"{number}.{name}"] for name in fields)) for number in range(len(CONTEXTS)))
        return cls(tokens, names, tuple(levels))


@dataclass
class Recall:
    """The memory's side of texts that are being written.

    Attributes:
        memory: the counts.
        kind: (rows,) of each product.
        place: (rows,) scene and channel.
        names: (rows, phrases) number of each phrase's name, the category first.
        parts: (rows, slots) which part each slot has of what its name is worth; 0 where the product has no such slot.
        before: (rows, LONGEST) the last tokens, slots by their names.
    """

    memory: PhraseMemory
    kind: Tensor
    place: Tensor
    names: Tensor
    parts: Tensor
    before: Tensor

    def repeat(self, n: int) -> "Recall":
        """Each row n times, in a row.

        Args:
            n: how often.
        """
        return self.keep(torch.arange(len(self.kind)).repeat_interleave(n))

    def keep(self, rows: Tensor) -> "Recall":
        """Some rows.

        Args:
            rows: (n,) int64.
        """
        return Recall(self.memory, self.kind[rows], self.place[rows], self.names[rows], self.parts[rows], self.before[rows])

    def said(self, tokens: Tensor) -> None:
        """Go on by a token.

        Args:
            tokens: (rows,) ids; from the vocabulary's size on a slot.
        """
        named = named_slots(tokens[:, None], self.names, self.memory.tokens)
        self.before = torch.cat([self.before[:, 1:], named], 1)

    def mixed(self, logits: Tensor, share: float, remembered: Tensor | None = None) -> Tensor:
        """A decoder's chances, mixed with the memory's; how likely a text is to end stays the decoder's.

        Args:
            logits: (rows, tokens + slots) of the decoder.
            share: of the memory, in [0, 1).
            remembered: what `chances` says; None: to be asked.

        Returns:
            (rows, tokens + slots) logarithms of chances.
        """
        remembered = self.chances() if remembered is None else remembered
        own = logits.softmax(-1)
        total, end = remembered.sum(1, keepdim=True), own[:, EOS : EOS + 1].clone()
        given = share * (total > 0)
        own.mul_(1 - given).addcmul_(remembered, given * (1 - end) / total.clamp_min(1e-12))
        own[:, EOS : EOS + 1] = end
        return own.log_()

    def chances(self) -> Tensor:
        """What comes next in each text, among the words and the slots of its product, the end left out.

        Returns:
            (rows, tokens + slots); a row sums to 1 at the most.
        """
        memory = self.memory
        found = memory.chances(self.before, self.kind, self.place)
        found[:, [PAD, BOS, EOS, UNK]] = 0.0
        pointed = found.gather(1, memory.tokens + self.names[:, 1:]) * self.parts
        return torch.cat([found[:, : memory.tokens], pointed], 1)


def kinds_of(prompts: Prompts) -> Tensor:
    """The kind of each product: the number of its category, 0 where training copy does not know it.

    Args:
        prompts: the orders.

    Returns:
        (batch,) int64.
    """
    return prompts.values[:, 0]


def places_of(prompts: Prompts) -> Tensor:
    """Scene and channel as one number.

    Args:
        prompts: the orders.

    Returns:
        (batch,) int64.
    """
    return prompts.scene * len(CHANNELS) + prompts.channel


def named_slots(texts: Tensor, names: Tensor, tokens: int) -> Tensor:
    """Texts whose slots are told by the number of their name, whatever their place in the product.

    Args:
        texts: (batch, length) ids; from ``tokens`` on a slot.
        names: (batch, phrases) numbers of the names, the category first.
        tokens: of the vocabulary.

    Returns:
        (batch, length).
    """
    slot = (texts - tokens + 1).clamp(0, names.shape[1] - 1)
    return torch.where(texts >= tokens, tokens + names.gather(1, slot), texts)


def contexts(named: Tensor) -> Tensor:
    """What stands before each token but the first.

    Args:
        named: (batch, length), begin first.

    Returns:
        (batch, length − 1, LONGEST).
    """
    return torch.nn.functional.pad(named[:, :-1], (LONGEST - 1, 0), value=PAD).unfold(1, LONGEST, 1)


def _keys(before: Tensor, kind: Tensor, place: Tensor) -> list[Tensor]:
    """(rows,) of each form of context. Two contexts of one form have one key once in some 10⁸ memories of a million contexts."""
    found = []
    for whose, size in CONTEXTS:
        key = torch.full_like(kind, 1 + whose)
        if whose != ANYWHERE:
            key = _spread(key, kind)
        if whose == PLACE:
            key = _spread(key, place)
        for token in before[:, LONGEST - size :].T:
            key = _spread(key, token)
        found.append(key)
    return found


def _spread(key: Tensor, more: Tensor) -> Tensor:
    mixed = (key ^ (more + 1)) * _SPREAD
    return mixed ^ ((mixed >> 31) & 0x1FFFFFFFF)


@dataclass(frozen=True)
class _Counted:
    """(continuations,) key, id and count, and (contexts,) key, where it starts, count and distinct continuations."""

    ids: NDArray[np.int64]
    counts: NDArray[np.int64]
    keys: NDArray[np.int64]
    starts: NDArray[np.int64]
    totals: NDArray[np.int64]
    kinds: NDArray[np.int64]

    @classmethod
    def of(cls, key: NDArray[np.int64], target: NDArray[np.int64]) -> "_Counted":
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
        return int(self.kinds[self.totals >= least].sum())

    def at_least(self, least: int) -> Level:
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
