"""What GAN and VAE share: a network that draws ℓ for a condition, and the latent text model that makes copy of it."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from models.generator.copy_model import save_weights
from models.generator.gpt import Sampling
from models.generator.latent import LatentTextModel, conditions
from models.generator.request import CopyRequest


@dataclass(frozen=True)
class LatentWriter(ABC):
    """Draws ℓ and lets the latent text model decode it.

    Attributes:
        latent: copy ↔ ℓ.
        network: what draws ℓ, in eval mode.
        sampling: temperature, nucleus and guidance of the decoder.
        name: its origin; its weights lie in a file of that name.
    """

    latent: LatentTextModel
    network: nn.Module
    sampling: Sampling
    name: str

    @abstractmethod
    def _drawn(self, condition: Tensor, generator: torch.Generator) -> Tensor:
        """ℓ, one a row of the conditions, (batch, d_latent)."""

    @torch.inference_mode()
    def draw(self, requests: Sequence[CopyRequest], n: int, rng: np.random.Generator) -> Tensor:
        """ℓ for n texts a request.

        Args:
            requests: the orders.
            n: texts a request.
            rng: the stream.

        Returns:
            (requests · n, d_latent).
        """
        prompts, _ = self.latent.model.prompts(requests)
        condition = conditions(self.latent.model, prompts).repeat_interleave(n, 0)
        return self._drawn(condition, torch.Generator().manual_seed(int(rng.integers(2**31))))

    def write(self, requests: Sequence[CopyRequest], n: int, rng: np.random.Generator) -> list[list[str]]:
        """See `CopyGenerator.write`.

        Args:
            requests: the orders.
            n: texts a request.
            rng: the stream.
        """
        if not requests:
            return []
        latent = self.draw(requests, n, rng)
        s = self.sampling
        return self.latent.model.write(requests, n, rng, temperature=s.temperature, top_p=s.top_p, latent=latent, guidance=s.guidance)

    def save(self, folder: Path) -> None:
        """Write the network's weights and its sampling; the bundle writes the latent text model.

        Args:
            folder: the folder.
        """
        folder.mkdir(parents=True, exist_ok=True)
        save_weights(self.network, folder / f"{self.name}.safetensors")
        self.sampling.save(folder)
