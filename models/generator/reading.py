"""What makes a decoder read ℓ: words of its input blanked out, and the copy's words asked of ℓ alone.

A decoder that sees the words before it and the product hardly needs ℓ, and learns to pass over it (Bowman et al. 2016, who drop words for
that reason). The bag of words (Zhao et al. 2017) gives the projection a gradient that does not pass through the decoder.
"""

import torch
import torch.nn.functional as fn
from torch import Tensor

from models.generator.decoder import CopyDecoder
from models.generator.vocabulary import BOS, SPECIALS, UNK

BLANKED = 0.3
"""Share of a text's tokens that the decoder does not see while it learns to read ℓ."""
BAG_WEIGHT = 0.3
"""What the bag of words counts beside the text's own loss."""

FRESH_RATE = 3.0
"""How much faster than the decoder, which has been a GPT before, what reads ℓ learns."""


def blanked(tokens: Tensor, share: float) -> Tensor:
    """Texts with a share of their tokens, slots included, made unknown.

    Args:
        tokens: (batch, length) ids with begin; padding may be blanked too, nothing reads it.
        share: in [0, 1].
    """
    return torch.where((torch.rand(tokens.shape) < share) & (tokens != BOS), UNK, tokens)


def bag_loss(decoder: CopyDecoder, latent: Tensor, tokens: Tensor) -> Tensor:
    """Cross-entropy of a text's words, in no order, predicted from what ℓ adds to each position.

    Args:
        decoder: its `memory` and word vectors are used, and nothing else.
        latent: (batch, d_latent).
        tokens: (batch, length) ids; specials and slots do not count.

    Returns:
        Mean over the words, in nats.
    """
    logs = fn.log_softmax((decoder.memory(latent) @ decoder.words.weight.T).float(), -1)  # (batch, tokens)
    counted = (tokens >= len(SPECIALS)) & (tokens < decoder.shape.tokens)
    found = logs.gather(1, tokens.clamp_max(decoder.shape.tokens - 1)) * counted
    return -found.sum() / counted.sum().clamp_min(1)
