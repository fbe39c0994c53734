"""Gated causal transformer layers."""

import torch
from torch import Tensor, nn


class GatedLayer(nn.Module):
    """One LiGR layer: x + sigmoid(x W_g) ⊙ f(norm(x)) for f = causal self-attention, then for f = SwiGLU.

    Source:
        Borisyuk et al. (2025), "From Features to Transformers" (LiGR), in the form that eSASRec (2025) uses for sequences.
    """

    def __init__(self, dim: int, heads: int, dropout: float) -> None:
        """Make the layer.

        Args:
            dim: width; a multiple of ``heads``.
            heads: attention heads.
            dropout: share of each branch's outputs that training drops.
        """
        super().__init__()
        self.heads = heads
        self.attention_norm = nn.LayerNorm(dim)
        self.mixed = nn.Linear(dim, 3 * dim)
        self.attended = nn.Linear(dim, dim)
        self.attention_gate = nn.Linear(dim, dim)
        self.inner_norm = nn.LayerNorm(dim)
        self.inner = nn.Linear(dim, 4 * dim)
        self.outer = nn.Linear(2 * dim, dim)
        self.inner_gate = nn.Linear(dim, dim)
        self.dropout = nn.Dropout(dropout)

    def forward(self, states: Tensor) -> Tensor:
        """One pass; position t sees positions up to t.

        Args:
            states: (batch, length, dim).

        Returns:
            (batch, length, dim).
        """
        batch, length, dim = states.shape
        mixed = self.mixed(self.attention_norm(states)).view(batch, length, 3, self.heads, dim // self.heads)
        query, key, value = mixed.permute(2, 0, 3, 1, 4)  # each (batch, heads, length, dim / heads)
        seen = nn.functional.scaled_dot_product_attention(query, key, value, is_causal=True)
        return self._passed(states, self.attended(seen.transpose(1, 2).reshape(batch, length, dim)))

    def at(self, states: Tensor, places: Tensor) -> Tensor:
        """What `forward` gives at one position of each row, without the others.

        Args:
            states: (batch, length, dim).
            places: (batch,) int64.

        Returns:
            (batch, dim).
        """
        batch, length, dim = states.shape
        rows = torch.arange(batch)
        normed = self.attention_norm(states)
        weight, bias = self.mixed.weight, self.mixed.bias
        query = nn.functional.linear(normed[rows, places], weight[:dim], bias[:dim]).view(batch, self.heads, 1, dim // self.heads)
        both = nn.functional.linear(normed, weight[dim:], bias[dim:]).view(batch, length, 2, self.heads, dim // self.heads)
        key, value = both.permute(2, 0, 3, 1, 4)  # each (batch, heads, length, dim / heads)
        visible = torch.arange(length) <= places[:, None]  # (batch, length)
        seen = nn.functional.scaled_dot_product_attention(query, key, value, attn_mask=visible[:, None, None])
        return self._passed(states[rows, places], self.attended(seen.reshape(batch, dim)))

    def _passed(self, states: Tensor, seen: Tensor) -> Tensor:
        """The gate on what attention has seen, then the perceptron and its gate; (..., dim)."""
        states = states + torch.sigmoid(self.attention_gate(states)) * self.dropout(seen)
        left, right = self.inner(self.inner_norm(states)).chunk(2, dim=-1)
        made = self.outer(nn.functional.silu(left) * right)
        gated: Tensor = states + torch.sigmoid(self.inner_gate(states)) * self.dropout(made)
        return gated
