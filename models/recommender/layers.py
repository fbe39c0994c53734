"""Gated causal transformer layers."""

import torch
from torch import Tensor, nn


class Spread:
    """Where tokens that are kept row after row, without padding, stand in a padded batch.

    Attributes:
        there: (batch, length) True where there is a token.
        last: (batch,) place of each row's last token among the tokens.
    """

    def __init__(self, sizes: Tensor) -> None:
        """Args: (batch,) tokens of each row, at least 1."""
        length = int(sizes.max())
        self.there = torch.arange(length) < sizes[:, None]
        self.last = sizes.cumsum(0) - 1
        self._places = self.there.flatten().nonzero()[:, 0]  # (tokens,)

    def padded(self, tokens: Tensor) -> Tensor:
        """(tokens, d) → (batch, length, d), 0 where there is none."""
        found = tokens.new_zeros(self.there.numel(), tokens.shape[1])
        return found.index_copy_(0, self._places, tokens).view(*self.there.shape, -1)

    def packed(self, padded: Tensor) -> Tensor:
        """(batch, length, d) → (tokens, d)."""
        return padded.flatten(0, 1).index_select(0, self._places)


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

    def packed(self, tokens: Tensor, spread: "Spread") -> Tensor:
        """What `forward` gives, for rows of different lengths without their padding.

        Args:
            tokens: (tokens, dim), row after row.
            spread: where they stand.

        Returns:
            (tokens, dim).
        """
        mixed = spread.padded(self.mixed(self.attention_norm(tokens)))
        query, key, value = mixed.view(*mixed.shape[:2], 3, self.heads, -1).permute(
            2, 0, 3, 1, 4
        )  # each (batch, heads, length, dim / heads)
        seen = nn.functional.scaled_dot_product_attention(query, key, value, is_causal=True)
        return self._passed(tokens, self.attended(spread.packed(seen.transpose(1, 2).flatten(2))))

    def last(self, tokens: Tensor, spread: "Spread") -> Tensor:
        """What `packed` gives at the last token of each row, without the others.

        Args:
            tokens: (tokens, dim), row after row.
            spread: where they stand.

        Returns:
            (batch, dim).
        """
        dim, weight, bias = tokens.shape[1], self.mixed.weight, self.mixed.bias
        normed = self.attention_norm(tokens)
        query = nn.functional.linear(normed[spread.last], weight[:dim], bias[:dim]).view(-1, self.heads, 1, dim // self.heads)
        both = spread.padded(nn.functional.linear(normed, weight[dim:], bias[dim:]))
        key, value = both.view(*both.shape[:2], 2, self.heads, -1).permute(2, 0, 3, 1, 4)  # each (batch, heads, length, dim / heads)
        seen = nn.functional.scaled_dot_product_attention(query, key, value, attn_mask=spread.there[:, None, None])
        return self._passed(tokens[spread.last], self.attended(seen.flatten(1)))

    def _passed(self, states: Tensor, seen: Tensor) -> Tensor:
        """The gate on what attention has seen, then the perceptron and its gate; (..., dim)."""
        states = states + torch.sigmoid(self.attention_gate(states)) * self.dropout(seen)
        left, right = self.inner(self.inner_norm(states)).chunk(2, dim=-1)
        made = self.outer(nn.functional.silu(left) * right)
        gated: Tensor = states + torch.sigmoid(self.inner_gate(states)) * self.dropout(made)
        return gated
