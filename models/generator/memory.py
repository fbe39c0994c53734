"""What human copy says next: counted continuations, which a decoder's own chances are mixed with.

A small decoder that few copies taught knows what copy is about and forgets how its phrases go; counts know the phrases and nothing
else. The mixture of both is far likelier to say what people say of an unseen product than either
(docs/decisions/0019-memory-beside-the-decoder.md). What comes next is counted after the last tokens of a text: anywhere, in copy for
products of this category, of this noun, and of this category in this place.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from core.errors import BundleError
from core.vocabulary import CHANNELS
from models.bundle import load_arrays, save_arrays
from models.generator.continuations import Counted, Level
from models.generator.prompts import Prompts
from models.generator.vocabulary import BOS, EOS, PAD, UNK

LONGEST = 2
"""Tokens before that the longest context has; with three, more texts are refused as copied and fewer are good (decision 0019)."""
ANYWHERE, CATEGORY, NOUN, PLACE = range(4)
CONTEXTS = (
    *((ANYWHERE, size) for size in range(LONGEST + 1)),
    *((CATEGORY, size) for size in range(LONGEST + 1)),
    *((whose, size) for whose in (NOUN, PLACE) for size in range(1, LONGEST + 1)),
)
"""What is counted after, from what says least to what says most: in whose copy, and after how many tokens."""
MOST = 4_000_000
"""Continuations that are kept; of more, the contexts that stand rarest are forgotten."""
_SPREAD = -7046029254386353131
"""Odd, and near 2⁶⁴ divided by the golden ratio: multiplying by it spreads keys over all 64 bits (Knuth 1998, §6.4)."""


@dataclass(frozen=True)
class Subject:
    """What texts are written about, (rows,) int64 each.

    Attributes:
        category: its number in the phrase book, 0 where that does not know it.
        noun: the same of the product's noun.
        place: scene and channel.
    """

    category: Tensor
    noun: Tensor
    place: Tensor

    @classmethod
    def of(cls, prompts: Prompts, noun: int) -> "Subject":
        """Of orders.

        Args:
            prompts: one a row.
            noun: number of the slot name that nouns have; 0 where there is none.
        """
        named = (prompts.names == noun) & prompts.mask if noun else torch.zeros_like(prompts.mask)
        return cls(prompts.values[:, 0], (prompts.values * named).amax(1), prompts.scene * len(CHANNELS) + prompts.channel)

    def keep(self, rows: Tensor) -> "Subject":
        """Some rows.

        Args:
            rows: (n,) int64.
        """
        return Subject(self.category[rows], self.noun[rows], self.place[rows])

    def known(self, whose: int) -> Tensor:
        """(rows,) bool: whether a form of context says anything of a row.

        Args:
            whose: copy, as in `CONTEXTS`.
        """
        everywhere = torch.ones_like(self.place, dtype=torch.bool)
        return {ANYWHERE: everywhere, CATEGORY: self.category > 0, NOUN: self.noun > 0, PLACE: self.category > 0}[whose]


@dataclass(frozen=True)
class PhraseMemory:
    """Counts of training copy, interpolated with absolute discounts.

    Attributes:
        tokens: of the vocabulary; a slot counts as ``tokens`` + the number of its name.
        names: slot names, the unknown one too.
        noun: number of the slot name that nouns have; 0 where there is none.
        levels: one a form of context, as `CONTEXTS` has them.

    Source:
        p(w | c) = max(n(c, w) − D, 0) / n(c) + D · t(c) / n(c) · p(w | c′) with t(c) distinct words after c, c′ the next less telling
        context and D = n₁ / (n₁ + 2 n₂) (Ney, Essen & Kneser 1994, eq. 23 for D).
    """

    tokens: int
    names: int
    noun: int
    levels: tuple[Level, ...]

    @classmethod
    def of(
        cls, prompts: Prompts, texts: Sequence[Sequence[int]], *, tokens: int, names: int, noun: int, most: int = MOST
    ) -> "PhraseMemory":
        """Count.

        Args:
            prompts: the orders of the training copies.
            texts: their ids, with begin and end.
            tokens: of the vocabulary.
            names: slot names, the unknown one too.
            noun: number of the slot name that nouns have; 0 where there is none.
            most: continuations to keep.
        """
        padded = torch.nn.utils.rnn.pad_sequence([torch.tensor(ids) for ids in texts], batch_first=True, padding_value=PAD)
        named = named_slots(padded, prompts.names, tokens)
        rows, at = ((padded != PAD) & (padded != UNK))[:, 1:].nonzero(as_tuple=True)
        before, target = contexts(named)[rows, at], named[rows, at + 1]
        subject = Subject.of(prompts, noun).keep(rows)
        one_place = len(np.unique(subject.place.numpy())) < 2  # which says nothing that the category has not said
        counted = []
        for (whose, _), key in zip(CONTEXTS, _keys(before, subject), strict=True):
            counts = subject.known(whose) & (whose != PLACE or not one_place)
            counted.append(Counted.of(key[counts].numpy(), target[counts].numpy()))
        least = 1
        while sum(level.size(least) for level in counted) > most:
            least += 1
        return cls(tokens, names, noun, tuple(level.at_least(least) for level in counted))

    def recall(self, prompts: Prompts) -> "Recall":
        """What follows, token by token, in texts for these orders.

        Args:
            prompts: one a text.
        """
        before = torch.full((len(prompts), LONGEST), PAD)
        before[:, -1] = BOS
        names, held = prompts.names[:, 1:], prompts.mask[:, 1:]
        alike = ((names[:, :, None] == names[:, None, :]) & held[:, None, :]).sum(2).clamp_min(1)
        return Recall(self, Subject.of(prompts, self.noun), prompts.names, held / alike, before)

    def chances(self, before: Tensor, subject: Subject) -> Tensor:
        """What comes next.

        Args:
            before: (rows, LONGEST) the tokens before, slots by their names.
            subject: what each text is about.

        Returns:
            (rows, tokens + names), each row summing to 1 at the most.
        """
        made = torch.zeros(len(before), self.tokens + self.names)
        share = torch.ones(len(before))
        for level, key in zip(reversed(self.levels), reversed(_keys(before, subject)), strict=True):
            rows, contexts = level.found(key)
            level.add_to(made, rows, contexts, share[rows])
            share[rows] *= level.left[contexts]
        return made

    def save(self, path: Path) -> None:
        """Write one file of arrays.

        Args:
            path: the safetensors file.
        """
        arrays = {"sizes": np.array([self.tokens, self.names, self.noun], np.int64)}
        for number, level in enumerate(self.levels):
            arrays |= {f"{number}.{name}": getattr(level, name).numpy() for name in ("keys", "starts", "ids", "shares", "left")}
        save_arrays(arrays, path)

    @classmethod
    def load(cls, path: Path) -> "PhraseMemory":
        """Read what `save` wrote.

        Args:
            path: the safetensors file.

        Raises:
            BundleError: the file is missing or truncated, or another version of this code wrote it.
        """
        arrays = {name: torch.from_numpy(value) for name, value in load_arrays(path).items()}
        if len(arrays["sizes"]) != 3 or f"{len(CONTEXTS) - 1}.keys" not in arrays or f"{len(CONTEXTS)}.keys" in arrays:
            raise BundleError(f"{path}: counts of another version. Train the generator again: `adloom run`, or `adloom train-copy`.")
        tokens, names, noun = arrays["sizes"].tolist()
        fields = ("keys", "starts", "ids", "shares", "left")
        levels = (Level(*(arrays[f"{number}.{name}"] for name in fields)) for number in range(len(CONTEXTS)))
        return cls(tokens, names, noun, tuple(levels))


@dataclass
class Recall:
    """The memory's side of texts that are being written.

    Attributes:
        memory: the counts.
        subject: what each text is about.
        names: (rows, phrases) number of each phrase's name, the category first.
        parts: (rows, slots) which part each slot has of what its name is worth; 0 where the product has no such slot.
        before: (rows, LONGEST) the last tokens, slots by their names.
    """

    memory: PhraseMemory
    subject: Subject
    names: Tensor
    parts: Tensor
    before: Tensor

    def repeat(self, n: int) -> "Recall":
        """Each row n times, in a row.

        Args:
            n: how often.
        """
        return self.keep(torch.arange(len(self.before)).repeat_interleave(n))

    def keep(self, rows: Tensor) -> "Recall":
        """Some rows.

        Args:
            rows: (n,) int64.
        """
        return Recall(self.memory, self.subject.keep(rows), self.names[rows], self.parts[rows], self.before[rows])

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
        found = memory.chances(self.before, self.subject)
        found[:, [PAD, BOS, EOS, UNK]] = 0.0
        pointed = found.gather(1, memory.tokens + self.names[:, 1:]) * self.parts
        return torch.cat([found[:, : memory.tokens], pointed], 1)


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


def _keys(before: Tensor, subject: Subject) -> list[Tensor]:
    """(rows,) of each form of context. Two contexts of one form have one key once in some 10⁸ memories of a million contexts."""
    found = []
    for whose, size in CONTEXTS:
        key = torch.full_like(subject.place, 1 + whose)
        if whose != ANYWHERE:
            key = _spread(key, subject.noun if whose == NOUN else subject.category)
        if whose == PLACE:
            key = _spread(key, subject.place)
        for token in before[:, LONGEST - size :].T:
            key = _spread(key, token)
        found.append(key)
    return found


def _spread(key: Tensor, more: Tensor) -> Tensor:
    mixed = (key ^ (more + 1)) * _SPREAD
    return mixed ^ ((mixed >> 31) & 0x1FFFFFFFF)
