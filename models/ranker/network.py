"""The click and conversion network: DCN-v2 cross layers beside a small perceptron, under the two heads of ESMM."""

import torch
from torch import Tensor, nn
from torch.nn import functional


class CrossLayer(nn.Module):
    """One low-rank cross layer, x_{l+1} = x_0 ⊙ (U Vᵀ x_l + b) + x_l.

    Args:
        features: width of x.
        rank: columns of U and V.

    Source: Wang et al. (2021), DCN V2, equation 2.
    """

    def __init__(self, features: int, rank: int) -> None:
        super().__init__()
        self.down = nn.Linear(features, rank, bias=False)
        self.up = nn.Linear(rank, features)
        nn.init.zeros_(self.up.weight)  # starts as the identity: the wide part learns first
        nn.init.zeros_(self.up.bias)

    def forward(self, first: Tensor, current: Tensor) -> Tensor:
        """Cross once more.

        Args:
            first: ``(batch, features)`` x_0.
            current: ``(batch, features)`` x_l.
        """
        crossed: Tensor = first * self.up(self.down(current)) + current  # (batch, features)
        return crossed


class ClickConvertNetwork(nn.Module):
    """Log-odds of a click, and of a conversion given a click.

    Args:
        features: input width.
        dim: rank of the cross layers.
        cross_layers: how many.
        hidden_dim: width of the perceptron.
        dropout: on the perceptron.

    Source: Ma et al. (2018), Entire Space Multi-Task Model; Wang et al. (2021), DCN V2.
    """

    def __init__(self, features: int, *, dim: int, cross_layers: int, hidden_dim: int, dropout: float) -> None:
        super().__init__()
        self.cross = nn.ModuleList(CrossLayer(features, dim) for _ in range(cross_layers))
        self.deep = nn.Sequential(nn.Linear(features, hidden_dim), nn.GELU(), nn.Dropout(dropout))
        self.crossed_out = nn.Linear(features, 2)
        self.deep_out = nn.Linear(hidden_dim, 2)
        for layer in (self.crossed_out, self.deep_out):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Score rows.

        Args:
            x: ``(batch, features)`` standardised.

        Returns:
            ``(batch, 2)`` log-odds of click and of conversion given a click.
        """
        crossed = x
        for layer in self.cross:
            crossed = layer(x, crossed)
        logits: Tensor = self.crossed_out(crossed) + self.deep_out(self.deep(x))  # (batch, 2)
        return logits


def entire_space_loss(logits: Tensor, clicks: Tensor, conversions: Tensor, weights: Tensor) -> Tensor:
    """Cross-entropy of clicks over all impressions, and of click-and-conversion over all impressions.

    The second term is −log P over p_click · p_convert, so that p_convert is learned from every impression and not from
    clicked ones alone, which are no random sample.

    Args:
        logits: ``(batch, 2)``.
        clicks: ``(batch,)`` 0 or 1.
        conversions: ``(batch,)`` 0 or 1, 1 only where a click is.
        weights: ``(batch,)`` of the rows, about 1 on average.

    Returns:
        A scalar, nats an impression.

    Source: Ma et al. (2018), equation 3.
    """
    log_p_click, log_p_convert = functional.logsigmoid(logits[:, 0]), functional.logsigmoid(logits[:, 1])
    both = log_p_click + log_p_convert  # (batch,)
    neither = torch.log1p(-both.exp().clamp(max=1 - 1e-6))
    of_clicks = functional.binary_cross_entropy_with_logits(logits[:, 0], clicks, reduction="none")
    return (weights * (of_clicks - conversions * both - (1 - conversions) * neither)).mean()
