"""What makes a decoder read ℓ: words of its input blanked out, and the copy's words asked of ℓ alone.

A decoder that sees the words before it and the product hardly needs ℓ, and learns to pass over it (Bowman et al. 2016, who drop words for
that reason). The bag of words (Zhao et al. 2017) gives the projection a gradient that does not pass through the decoder.
"""

import torch
import torch.nn.functional as fn
from torch import Tensor

from models.generator.decoder import CopyDecoder
from models.generator.vocabulary import BOS, PAD, SPECIALS, UNK

BLANKED = 0.3
"""Share of a text's tokens that the decoder does not see while it learns to read ℓ."""
BAG_WEIGHT = 0.3
"""What the bag of words counts beside the text's own loss."""
UNREAD = 0.3
"""Share of the texts that do not see their product's phrases while it learns to read ℓ: they can point at them, and ℓ must say when."""

FRESH_RATE = 3.0
"""How much faster than the decoder, which has been a GPT before, what reads ℓ learns."""


def blanked(tokens: Tensor, share: float) -> Tensor:
    """Texts with a share of their tokens, slots included, made unknown.

    Args:
        tokens: (batch, length) ids with begin; padding may be blanked too, nothing reads it.
        share: in [0, 1].
    """
    return torch.where((torch.rand(tokens.shape, device=tokens.device) < share) & (tokens != BOS), UNK, tokens)


def part_of(tokens: Tensor, parts: int) -> Tensor:
    """Which part of its text each token stands in: equal numbers of tokens make a part.

    Args:
        tokens: (batch, length) ids with begin and end, padded.
        parts: how many.

    Returns:
        (batch, length) in [0, parts); without meaning for begin, end and padding.
    """
    inner = ((tokens != PAD).sum(1, keepdim=True) - 2).clamp_min(1)
    place = torch.arange(tokens.shape[1], device=tokens.device).unsqueeze(0) - 1
    return ((place * parts + parts - 1) // inner).clamp(0, parts - 1)


def bag_loss(decoder: CopyDecoder, latent: Tensor, tokens: Tensor) -> Tensor:
    """Cross-entropy of a text's words, in no order, predicted from what ℓ's slots lay on the output: of each part's from its slot.

    Args:
        decoder: its `latent` and word vectors are used, and nothing else.
        latent: (batch, d_latent).
        tokens: (batch, length) ids; specials and slots do not count.

    Returns:
        Mean over the words, in nats.
    """
    spoken = decoder.latent.spoken(latent)
    spoken = spoken[:, 1:] if spoken.shape[1] > 1 else spoken  # slot 0 stands for the whole text
    logits = spoken.flatten(0, 1) @ decoder.words.weight.T + decoder.latent.usual  # (batch · parts, tokens)
    every = torch.logsumexp(logits.float(), -1).view(spoken.shape[:2])  # (batch, parts)
    rows, places = ((tokens >= len(SPECIALS)) & (tokens < decoder.shape.tokens)).nonzero(as_tuple=True)
    parts, ids = part_of(tokens, spoken.shape[1])[rows, places], tokens[rows, places]
    said = (spoken[rows, parts] * fn.embedding(ids, decoder.words.weight)).sum(-1) + decoder.latent.usual[ids]
    return (every[rows, parts] - said.float()).sum() / max(len(rows), 1)
