"""Sampled softmax over shared candidates."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class Sampler:
    """Draws the items that a batch's targets compete with: half by chance, half by how often they are met.

    Attributes:
        known: (n,) columns of items with training events; others are never negatives, so that their text alone decides.
        chance: (n,) probability of each in one draw.
        negatives: draws a batch; where that reaches the number of known items, all of them compete and the softmax is exact.
        n_items: size of the catalogue.
    """

    known: np.ndarray
    chance: np.ndarray
    negatives: int
    n_items: int

    @classmethod
    def of(cls, counts: np.ndarray, negatives: int) -> "Sampler":
        """A sampler over the items that have events.

        Args:
            counts: (n_items,) training events of each item.
            negatives: draws a batch.
        """
        known = np.flatnonzero(counts > 0)
        share = counts[known] / counts[known].sum()
        return cls(known, 0.5 / len(known) + 0.5 * share, negatives, len(counts))

    def draw(self, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """Candidates of one batch.

        Args:
            rng: the stream.

        Returns:
            (c,) distinct columns, ascending, and (c,) float32 log of each one's chance to be among them (0 when all are).
        """
        if self.negatives >= len(self.known):
            return torch.from_numpy(self.known), torch.zeros(len(self.known))
        drawn = np.unique(rng.choice(len(self.known), size=self.negatives, p=self.chance))
        included = -np.expm1(self.negatives * np.log1p(-self.chance[drawn]))
        return torch.from_numpy(self.known[drawn]), torch.from_numpy(np.log(included).astype(np.float32))


def sampled_cross_entropy(target_logits: Tensor, candidate_logits: Tensor, log_included: Tensor, hits: Tensor) -> Tensor:
    """Cross entropy of the targets against the candidates, corrected for how likely each candidate was drawn.

    Args:
        target_logits: (n,) logit of each point's target.
        candidate_logits: (n, c) logits of the shared candidates.
        log_included: (c,) log chance that a candidate is among those drawn.
        hits: (n, c) bool, True where the candidate is the point's target.

    Returns:
        Scalar mean.

    Source:
        Jean et al. (2015), "On Using Very Large Target Vocabulary for Neural Machine Translation", equation 8.
    """
    others = (candidate_logits - log_included).masked_fill(hits, -torch.inf)
    total = torch.logsumexp(torch.cat([target_logits[:, None], others], dim=1), dim=1)
    loss: Tensor = (total - target_logits).mean()
    return loss
