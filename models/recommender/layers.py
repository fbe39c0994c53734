"""Gated causal transformer layers that know how far apart two events are."""

import math

import torch
from torch import Tensor, nn

from models.dropout import Dropout

HIDDEN = 2
"""Hidden units of the gated branch, in widths of the state."""


class GatedLayer(nn.Module):
    """One LiGR layer: x + sigmoid(norm(x) W_g) ⊙ f(norm(x)) for f = causal self-attention, then for f = SwiGLU.

    There is no embedding of places: the attention of each head falls by a learned slope times log(1 + distance), so a window of any
    length is read from its end, and the first events of a long history look as those of a short one.

    Source:
        Borisyuk et al. (2025), "From Features to Transformers" (LiGR), in the form that eSASRec (2025) uses for sequences; linear
        biases by distance after Press et al. (2022), "Train Short, Test Long", with the logarithm of the distance in their place.
    """

    def __init__(self, dim: int, heads: int, dropout: float) -> None:
        """Make the layer.

        Args:
            dim: width; a multiple of ``heads``.
            heads: attention heads.
            dropout: share of attention weights, hidden units and outputs of each branch that training drops.
        """
        super().__init__()
        self.heads = heads
        self.attention_norm = nn.LayerNorm(dim)
        self.mixed = nn.Linear(dim, 3 * dim)
        self.attended = nn.Linear(dim, dim)
        self.attention_gate = nn.Linear(dim, dim)
        self.slope = nn.Parameter(torch.tensor([-4.0 * (head + 1) / heads * math.log(2.0) for head in range(heads)]))  # log of it
        self.inner_norm = nn.LayerNorm(dim)
        self.inner = nn.Linear(dim, 2 * HIDDEN * dim)
        self.outer = nn.Linear(HIDDEN * dim, dim)
        self.inner_gate = nn.Linear(dim, dim)
        self.dropout = Dropout(dropout)

    def forward(self, states: Tensor) -> Tensor:
        """One pass; position t sees positions up to t.

        Args:
            states: (batch, length, dim).

        Returns:
            (batch, length, dim).
        """
        batch, length, dim = states.shape
        normed = self.attention_norm(states)
        query, key, value = self._heads(self.mixed(normed), 3)
        seen = self._attend(query, key, value, self._bias(length)).transpose(1, 2).reshape(batch, length, dim)
        return self._passed(states, normed, seen)

    def _heads(self, mixed: Tensor, parts: int) -> Tensor:
        """(batch, length, parts · dim) → (parts, batch, heads, length, dim / heads)."""
        return mixed.view(*mixed.shape[:2], parts, self.heads, -1).permute(2, 0, 3, 1, 4)

    def _bias(self, length: int) -> Tensor:
        """(heads, length, length), -inf for what comes later."""
        place = torch.arange(length)
        distance = (place[:, None] - place[None, :]).clamp(min=0)
        bias = -self.slope.exp()[:, None, None] * torch.log1p(distance.float())
        return bias.masked_fill(place[None, :] > place[:, None], -torch.inf)

    def _attend(self, query: Tensor, key: Tensor, value: Tensor, bias: Tensor) -> Tensor:
        """(batch, heads, queries, dim / heads)."""
        weights = torch.softmax(query @ key.transpose(-1, -2) / math.sqrt(query.shape[-1]) + bias, dim=-1)
        attended: Tensor = self.dropout(weights).to(value.dtype) @ value
        return attended

    def _passed(self, states: Tensor, normed: Tensor, seen: Tensor) -> Tensor:
        """The gate on what attention has seen, then the perceptron and its gate; (..., dim)."""
        states = states + torch.sigmoid(self.attention_gate(normed)) * self.dropout(self.attended(seen))
        normed = self.inner_norm(states)
        left, right = self.inner(normed).chunk(2, dim=-1)
        made = self.outer(self.dropout(nn.functional.silu(left) * right))
        gated: Tensor = states + torch.sigmoid(self.inner_gate(normed)) * self.dropout(made)
        return gated
