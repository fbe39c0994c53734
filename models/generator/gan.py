"""Conditional GAN on ℓ: G(z, F, a, scene) → ℓ and D(ℓ, F, a, scene) → ℝ with z ∈ ℝ^100.

After LaTextGAN (Donahue & Rumshisky 2018) and ARAE (Zhao et al. 2018): the adversary plays in the latent space of a text model, never on
tokens. D is a projection discriminator (Miyato & Koyama 2018) with spectral norm; see `latent_training` for the losses.
"""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from core.vocabulary import Origin
from models.generator.copy_model import load_weights
from models.generator.gpt import Sampling
from models.generator.latent import LatentTextModel, Scatter
from models.generator.latent_writer import LatentWriter

CALM = 0.5
"""Standard deviation of z when G writes (truncation, Brock et al. 2019); training draws it with 1. Chosen on 50 held-out rows."""


class Generator(nn.Module):
    """G: noise and condition → ℓ on the sphere.

    Args:
        d_noise: size of z.
        d_condition: size of c = (F, a, scene, channel).
        d_latent: size of ℓ.
        d_hidden: width.
    """

    def __init__(self, d_noise: int, d_condition: int, d_latent: int, d_hidden: int) -> None:
        super().__init__()
        self.scatter = Scatter(d_latent)
        self.layers = nn.Sequential(
            nn.Linear(d_noise + d_condition, d_hidden),
            nn.LayerNorm(d_hidden),
            nn.LeakyReLU(0.2),
            nn.Linear(d_hidden, d_hidden),
            nn.LayerNorm(d_hidden),
            nn.LeakyReLU(0.2),
            nn.Linear(d_hidden, d_latent),
        )

    def forward(self, noise: Tensor, condition: Tensor) -> Tensor:
        """ℓ.

        Args:
            noise: (batch, d_noise) standard normal.
            condition: (batch, d_condition).

        Returns:
            (batch, d_latent) with root mean square 1.
        """
        return self.scatter.latent(self.layers(torch.cat([noise, condition], 1)))


class Discriminator(nn.Module):
    """D: how real an ℓ, in even coordinates, is for its condition, φ(ℓ)·ψ(c) + v·φ(ℓ), every layer spectrally normalised.

    Args:
        d_condition: size of c.
        d_latent: size of ℓ.
        d_hidden: width.
    """

    def __init__(self, d_condition: int, d_latent: int, d_hidden: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            spectral_norm(nn.Linear(d_latent, d_hidden)), nn.LeakyReLU(0.2), spectral_norm(nn.Linear(d_hidden, d_hidden)), nn.LeakyReLU(0.2)
        )
        self.condition = spectral_norm(nn.Linear(d_condition, d_hidden))
        self.value = spectral_norm(nn.Linear(d_hidden, 1))

    def forward(self, even: Tensor, condition: Tensor) -> Tensor:
        """Scores.

        Args:
            even: (batch, d_latent) from `Scatter.even`.
            condition: (batch, d_condition).

        Returns:
            (batch,).
        """
        hidden = self.body(even)
        scores: Tensor = self.value(hidden)[:, 0] + (hidden * self.condition(condition)).sum(1) * hidden.shape[1] ** -0.5
        return scores


@dataclass(frozen=True)
class GanGenerator(LatentWriter):
    """The generator's moving average and the latent text model that decodes its ℓ."""

    network: Generator
    name: str = Origin.GAN

    def _drawn(self, condition: Tensor, generator: torch.Generator) -> Tensor:
        first = self.network.layers[0]
        assert isinstance(first, nn.Linear)
        noise = CALM * torch.randn(len(condition), first.in_features - condition.shape[1], generator=generator)
        latent: Tensor = self.network(noise, condition)
        return latent

    @classmethod
    def load(cls, folder: Path, latent: LatentTextModel) -> "GanGenerator":
        """Read what `save` wrote.

        Args:
            folder: the folder.
            latent: the latent text model it was trained over.
        """
        weights = load_weights(folder / "gan.safetensors")
        d_hidden, d_input = weights["layers.0.weight"].shape
        network = Generator(d_input, 0, weights["layers.6.weight"].shape[0], d_hidden)
        network.load_state_dict(weights)
        return cls(latent, network.eval(), Sampling.load(folder))
