"""Sampling from the decoder with a key-value cache: temperature, nucleus, and no product word more often than human copy says it."""

import numpy as np
import torch
from torch import Tensor

from models.generator.decoder import CopyDecoder, State, never
from models.generator.prompts import Prompts
from models.generator.vocabulary import BOS, EOS

_ROWS = 256


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
        texts = _draw(decoder, prompts.take(rows), n, generator, repeats=repeats, latent=own, **how)
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
) -> list[list[int]]:
    def begin(some: Prompts) -> State:
        if latent is None:
            return decoder.start(some).repeat(n)
        return decoder.start(some.take(torch.arange(len(some)).repeat_interleave(n)), latent)  # each text has its own ℓ

    state = begin(prompts)
    guided = guidance != 1.0 and bool(prompts.personal.any())
    everyone = begin(prompts.for_everyone()) if guided else None
    texts: list[list[int]] = [[] for _ in range(len(prompts) * n)]
    alive = torch.arange(len(texts))
    tokens = torch.full((len(texts),), BOS)
    spent = torch.zeros(len(texts), state.slots.shape[1], dtype=torch.long)
    size = decoder.shape.tokens
    for place in range(decoder.shape.max_tokens - 1):
        logits, state = decoder.step(state, tokens, place)
        if everyone is not None:
            plain, everyone = decoder.step(everyone, tokens, place)
            logits = plain + guidance * (logits - plain).nan_to_num_(nan=0.0)  # a slot that is not there is −inf on both sides
        logits[:, never()] = float("-inf")
        if place == 0:
            logits[:, EOS] = float("-inf")
        logits[:, size:] = logits[:, size:].masked_fill(spent >= repeats, float("-inf"))
        tokens = _nucleus(logits / temperature, top_p, generator)
        going = tokens != EOS
        if not bool(going.all()):
            rows = going.nonzero()[:, 0]
            alive, tokens, spent, state = alive[going], tokens[going], spent[going], state.keep(rows)
            everyone = everyone.keep(rows) if everyone is not None else None
        if not len(alive):
            break
        for row, token in zip(alive.tolist(), tokens.tolist(), strict=True):
            texts[row].append(token)
        pointed = (tokens >= size).nonzero()[:, 0]
        spent[pointed, tokens[pointed] - size] += 1
    return texts


def _nucleus(logits: Tensor, top_p: float, generator: torch.Generator) -> Tensor:
    top, ids = logits.topk(min(64, logits.shape[1]))  # (rows, 64), best first: the tail below them is never in a nucleus worth sampling
    p = top.softmax(-1)
    p = p.masked_fill(p.cumsum(-1) - p >= top_p, 0.0)
    return ids.gather(1, torch.multinomial(p, 1, generator=generator))[:, 0]
