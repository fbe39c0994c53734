"""What is put around a base model: F as an input vector, and an output layer of the tokens that copy needs."""

import torch
from torch import Tensor, nn
from torch.nn import functional as fn


class Prefix(nn.Module):
    """F as one input vector that stands between order and copy: a learned vector, plus a linear map of F when copy is for someone.

    Args:
        d_feature: size of F.
        width: of the base's input vectors.
        scale: root mean square of the base's input vectors.
    """

    def __init__(self, d_feature: int, width: int, scale: float) -> None:
        super().__init__()
        self.everyone = nn.Parameter(torch.randn(width) * scale)
        self.feature = nn.Linear(d_feature, width, bias=False)
        nn.init.normal_(self.feature.weight, std=scale * d_feature**-0.5)

    def forward(self, feature: Tensor, personal: Tensor) -> Tensor:
        """The vectors.

        Args:
            feature: (batch, d_feature) standardised F.
            personal: (batch,) 1.0 where there is an F.

        Returns:
            (batch, 1, width).
        """
        vectors: Tensor = self.everyone + self.feature(feature) * personal.unsqueeze(1)
        return vectors.unsqueeze(1)


class TrimmedHead(nn.Module):
    """The rows of an output layer that copy needs: a vocabulary for all the world's languages costs most of the time.

    Args:
        head: the base's output layer.
        tokens: (n,) ids that can be written.
        size: of the whole vocabulary.
    """

    def __init__(self, head: nn.Linear, tokens: Tensor, size: int) -> None:
        super().__init__()
        self.tokens, self.size, self.whole = tokens.to(head.weight.device), size, False
        self.weight = nn.Parameter(head.weight.detach()[self.tokens].clone(), requires_grad=False)
        bias = getattr(head, "bias", None)
        self.bias = None if bias is None else nn.Parameter(bias.detach()[self.tokens].clone(), requires_grad=False)

    def forward(self, hidden: Tensor) -> Tensor:
        """Logits: of the kept tokens, or, when ``whole`` is set, of all, minus infinity elsewhere.

        Args:
            hidden: (..., width).
        """
        kept = fn.linear(hidden, self.weight, self.bias)
        if not self.whole:
            return kept
        return kept.new_full((*kept.shape[:-1], self.size), float("-inf")).index_copy_(-1, self.tokens, kept)
