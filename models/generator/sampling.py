"""Sampling from the decoder with a key-value cache: temperature, nucleus, and no product word more often than human copy says it."""

import numpy as np
import torch
from torch import Tensor

from models.generator.decoder import CopyDecoder, State, never
from models.generator.memory import PhraseMemory
from models.generator.prompts import Prompts
from models.generator.vocabulary import BOS, EOS

_ROWS = 256
_KEPT = 0.9
"""Ended texts leave the batch when no more than this share goes on: to leave costs a copy of what is cached."""
_BELOW_ALL = 1 - 1e-6
"""Keeps a draw below the sum of all chances, whatever it is rounded to."""


@torch.inference_mode()
def sample(
    decoder: CopyDecoder,
    prompts: Prompts,
    n: int,
    rng: np.random.Generator,
    *,
    temperature: float,
    top_p: float,
    repeats: int = 1,
    latent: Tensor | None = None,
    guidance: float = 1.0,
    memory: PhraseMemory | None = None,
    share: float = 0.0,
) -> list[list[list[int]]]:
    """Draw ``n`` texts a request.

    Args:
        decoder: in eval mode.
        prompts: the requests.
        n: texts a request, at least 1.
        rng: one number is drawn from it for each batch of rows.
        temperature: above 0; lower is safer and less varied.
        top_p: share of probability that the nucleus holds (Holtzman et al. 2020), in (0, 1].
        repeats: how often a text may say one product word.
        latent: (batch · n, d_latent), one ℓ a text, None for the plain GPT.
        guidance: how far towards the audience: logits = everyone + guidance · (audience − everyone) (Ho & Salimans 2022). At 1, and for
            requests of everyone, it changes and costs nothing; else each token costs twice.
        memory: counts that the decoder's chances are mixed with; None: the decoder alone.
        share: of the memory, in [0, 1).

    Returns:
        For each request n lists of token ids, without begin and end.
    """
    group = max(_ROWS // n, 1)
    order = sorted(range(len(prompts)), key=lambda row: (int(prompts.mask[row].sum()), row))
    placed: dict[int, list[list[int]]] = {}
    for first in range(0, len(order), group):
        rows = torch.tensor(order[first : first + group])
        draws = (rows[:, None] * n + torch.arange(n)).flatten()
        generator = torch.Generator().manual_seed(int(rng.integers(2**31)))
        own = None if latent is None else latent[draws]
        how = {"temperature": temperature, "top_p": top_p, "guidance": guidance}
        texts = _draw(decoder, prompts.take(rows), n, generator, repeats=repeats, latent=own, memory=memory, share=share, **how)
        for index, row in enumerate(rows.tolist()):
            placed[row] = texts[index * n : (index + 1) * n]
    return [placed[row] for row in range(len(prompts))]


def _draw(
    decoder: CopyDecoder,
    prompts: Prompts,
    n: int,
    generator: torch.Generator,
    *,
    temperature: float,
    top_p: float,
    repeats: int,
    latent: Tensor | None,
    guidance: float,
    memory: PhraseMemory | None,
    share: float,
) -> list[list[int]]:
    def begin(some: Prompts) -> State:
        if latent is None:
            return decoder.start(some).repeat(n)
        return decoder.start(some.take(torch.arange(len(some)).repeat_interleave(n)), latent)  # each text has its own ℓ

    state = begin(prompts)
    guided = guidance != 1.0 and bool(prompts.personal.any())
    everyone = begin(prompts.for_everyone()) if guided else None
    recall = memory.recall(prompts).repeat(n) if memory is not None and share else None
    size, length = decoder.shape.tokens, decoder.shape.max_tokens - 1
    written = torch.full((len(prompts) * n, length), EOS)
    rows = torch.arange(len(written))
    tokens = torch.full((len(rows),), BOS)
    spent = torch.zeros(len(rows), state.slots.shape[1], dtype=torch.long)
    going = torch.ones(len(rows), dtype=torch.bool)
    banned = torch.tensor(never())
    for place in range(length):
        logits, state = decoder.step(state, tokens, place)
        leaning = None
        if everyone is not None:
            plain, everyone = decoder.step(everyone, tokens, place)
            leaning = (guidance - 1) * (logits - plain).nan_to_num_(nan=0.0)  # a slot that is not there is −inf on both sides
        if recall is not None:
            if place:
                recall.said(tokens)
            logits = recall.mixed(logits, share)
        if leaning is not None:
            logits = logits + leaning
        logits.index_fill_(1, banned, float("-inf"))
        if place == 0:
            logits[:, EOS] = float("-inf")
        logits[:, size:].masked_fill_(spent >= repeats, float("-inf"))
        tokens = nucleus(logits.div_(temperature), top_p, generator).masked_fill_(~going, EOS)
        written[rows, place] = tokens
        going &= tokens != EOS
        left = int(going.sum())
        if not left:
            break
        if left <= _KEPT * len(rows):
            alive = going.nonzero()[:, 0]
            rows, tokens, spent, state, going = rows[alive], tokens[alive], spent[alive], state.keep(alive), going[alive]
            everyone = everyone.keep(alive) if everyone is not None else None
            recall = recall.keep(alive) if recall is not None else None
        pointed = (tokens >= size).nonzero()[:, 0]
        spent[pointed, tokens[pointed] - size] += 1
    return [ids[: ids.index(EOS)] if EOS in ids else ids for ids in written.tolist()]


def nucleus(logits: Tensor, top_p: float, generator: torch.Generator) -> Tensor:
    """Draw one id a row from the smallest set of best ids that holds ``top_p`` of the probability.

    An id is drawn from all of them, and again where the better ones hold ``top_p`` already: what is kept is distributed as draws from the
    nucleus are, and nothing needs sorting, which is most of the work else.

    Args:
        logits: (rows, ids), divided by the temperature.
        top_p: in (0, 1].
        generator: the stream.

    Returns:
        (rows,) ids.
    """
    chances = logits.softmax(-1)
    best, drawn = chances.max(-1)
    open_ = (best < top_p).nonzero()[:, 0]  # else the best id is the whole nucleus
    if not len(open_):
        return drawn
    chances = chances if len(open_) == len(drawn) else chances[open_]
    below = chances.cumsum(-1)  # (rows, ids)
    while len(open_):
        at = torch.rand(len(open_), 1, generator=generator) * (below[:, -1:] * _BELOW_ALL)
        ids = torch.searchsorted(below, at, right=True)
        better = (chances * (chances > chances.gather(1, ids))).sum(-1)
        kept = better < top_p
        drawn[open_[kept]] = ids[kept, 0]
        left = (~kept).nonzero()[:, 0]
        open_, chances, below = open_[left], chances[left], below[left]
    return drawn
