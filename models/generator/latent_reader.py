"""How a decoder reads ℓ: one prompt position a slot of ℓ, and words that a slot lays on the output directly.

A decoder that sees the product and the words before it hardly needs ℓ, and learns to pass over it. So ℓ speaks twice: the text attends to
its slots in every layer (as OPTIMUS' memory, Li et al. 2020), and behind the last layer each position chooses among the slots, whose words
(the bag of words of Zhao et al. 2017) are then added to its logits.
"""

import torch
from torch import Tensor, nn


class LatentReader(nn.Module):
    """ℓ's slots as vectors of the decoder.

    Args:
        d_latent: size of ℓ, all slots together; a multiple of ``slots``.
        slots: how many.
        d_model: width of the decoder.
        tokens: size of the vocabulary.
    """

    lateness: Tensor
    """What the mark of the end loses from its logit in sampling, so that texts grow as long as people's."""

    def __init__(self, d_latent: int, slots: int, d_model: int, tokens: int) -> None:
        super().__init__()
        self.slots, d_slot = slots, d_latent // slots
        self.position, self.words = nn.Linear(d_slot, d_model, bias=False), nn.Linear(d_slot, d_model, bias=False)
        self.places, self.keys = nn.Embedding(slots, d_model), nn.Embedding(slots, d_model)
        self.query = nn.Linear(d_model, d_model, bias=False)
        self.usual = nn.Parameter(torch.zeros(tokens))
        self.register_buffer("lateness", torch.zeros(()))

    def positions(self, latent: Tensor) -> Tensor:
        """What stands in the prompt.

        Args:
            latent: (batch, d_latent).

        Returns:
            (batch, slots, d_model).
        """
        stands: Tensor = self.position(self._slots(latent)) + self.places.weight
        return stands

    def spoken(self, latent: Tensor) -> Tensor:
        """What each slot lays on the output: its product with a word's vector is added to that word's logit.

        Args:
            latent: (batch, d_latent).

        Returns:
            (batch, slots, d_model).
        """
        said: Tensor = self.words(self._slots(latent))
        return said

    def mixed(self, hidden: Tensor, spoken: Tensor) -> Tensor:
        """Hidden vectors with what their chosen slots say; a position may choose none.

        Args:
            hidden: (batch, length, d_model) behind the last layer.
            spoken: (batch, slots, d_model) from `spoken`.

        Returns:
            (batch, length, d_model).
        """
        asked = self.query(hidden)  # (batch, length, d_model)
        scores = (asked @ (spoken + self.keys.weight).transpose(1, 2)) * hidden.shape[-1] ** -0.5  # (batch, length, slots)
        shares = torch.cat([scores, torch.zeros_like(scores[..., :1])], -1).softmax(-1)[..., :-1]
        return hidden + shares @ spoken

    def _slots(self, latent: Tensor) -> Tensor:
        return latent.view(len(latent), self.slots, -1)
