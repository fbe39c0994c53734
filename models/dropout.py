"""Dropout whose random numbers are cheap on a processor."""

import torch
from torch import Tensor, nn


class Dropout(nn.Module):
    """Dropout whose masks cost an eighth: one 64-bit draw decides eight values. The share is rounded to 1/256."""

    def __init__(self, share: float) -> None:
        """Keep the share.

        Args:
            share: of values that training drops, in [0, 1).
        """
        super().__init__()
        self.limit = round(share * 256)
        self.scale = 256 / (256 - self.limit)

    def forward(self, values: Tensor) -> Tensor:
        """Drop, and scale what stays; nothing outside training.

        Args:
            values: any shape.
        """
        if not self.training or not self.limit:
            return values
        draws = torch.empty(-(-values.numel() // 8), dtype=torch.int64, device=values.device).random_(-(2**63), None)
        kept = (draws.view(torch.uint8)[: values.numel()] >= self.limit).view(values.shape)
        return values * kept.to(values.dtype).mul_(self.scale)
