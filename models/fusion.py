"""Fusion of the behaviour sources into one user feature: F = Σ_s g_s · Attention_s(e_1..e_n, Δt)."""

import torch
from torch import Tensor, nn

from core.vocabulary import EVENT_TYPES

HOUR = 3_600_000_000
"""Microseconds in an hour."""


class Fusion(nn.Module):
    """Attention with time decay within each source, learned gates across the sources.

    Within source s, event j weighs w_j = exp(q_s · e_j) · (1 + Δt_j)^(-λ_s), Δt in hours, and attention is the weighted mean of
    the e_j. Across sources g_s ∝ exp(γ_s) · (Σ_j w_j)^κ_s over the sources that have events. So |F| ≤ 1 for unit vectors, and F = 0
    exactly where nothing is visible.
    """

    def __init__(self, dim: int) -> None:
        """Start as a mean over all events with one power of time decay.

        Args:
            dim: length of the text vectors.
        """
        super().__init__()
        sources = len(EVENT_TYPES)
        self.query = nn.Parameter(torch.zeros(sources, dim))
        self.decay = nn.Parameter(torch.full((sources,), -1.0))  # λ = softplus(decay)
        self.gate = nn.Parameter(torch.zeros(sources))
        self.gain = nn.Parameter(torch.full((sources,), 0.54))  # κ = softplus(gain), about 1

    def forward(self, vectors: Tensor, kind: Tensor, time: Tensor, at: Tensor) -> Tensor:
        """The user features at several moments.

        Args:
            vectors: (batch, events, dim) unit text vectors of the events.
            kind: (batch, events) int64 index into EVENT_TYPES; -1 where there is no event.
            time: (batch, events) int64 microseconds.
            at: (batch, moments) int64 microseconds; only events strictly before a moment count for it.

        Returns:
            (batch, moments, dim).
        """
        weight, of_source, safe, gates = self._weighed(vectors, kind, time, at)
        share = (gates / safe) @ of_source.transpose(1, 2)  # (batch, moments, events)
        fused: Tensor = (share * weight) @ vectors  # (batch, moments, dim)
        return fused

    def gates(self, vectors: Tensor, kind: Tensor, time: Tensor, at: Tensor) -> Tensor:
        """g_s: how much of F comes from each source.

        Args:
            vectors: see `forward`.
            kind: see `forward`.
            time: see `forward`.
            at: see `forward`.

        Returns:
            (batch, moments, sources) in the order of EVENT_TYPES; sums to 1, or to 0 where nothing is visible.
        """
        return self._weighed(vectors, kind, time, at)[3]

    def _weighed(self, vectors: Tensor, kind: Tensor, time: Tensor, at: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Weights of events, their sources one-hot, the sources' mass (1 where it is 0), and gates."""
        source = kind.clamp(min=0)
        visible = (kind >= 0)[:, None, :] & (time[:, None, :] < at[:, :, None])  # (batch, moments, events)
        age = ((at[:, :, None] - time[:, None, :]).clamp(min=0).double() / HOUR).float()
        decay = nn.functional.softplus(self.decay)
        pull = (vectors @ self.query.T).gather(2, source[:, :, None])[:, :, 0]  # (batch, events)
        logits = pull[:, None, :] - decay[source][:, None, :] * torch.log1p(age)
        weight = torch.where(visible, logits, torch.full_like(logits, -torch.inf)).exp()  # (batch, moments, events)
        of_source = nn.functional.one_hot(source, len(EVENT_TYPES)).to(weight.dtype)  # (batch, events, sources)
        mass = weight @ of_source  # (batch, moments, sources)
        present = mass > 0
        safe = torch.where(present, mass, torch.ones_like(mass))
        gates = self.gate + nn.functional.softplus(self.gain) * safe.log()
        gates = torch.where(present, gates, torch.full_like(gates, -1e9)).softmax(dim=-1) * present  # (batch, moments, sources)
        return weight, of_source, safe, gates
