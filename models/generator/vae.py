"""Conditional VAE on ℓ: z ~ N(0, I), ℓ ~ N(f(z, F, a, scene), σ²) (Sohn et al. 2015), with σ fitted (σ-VAE, Rybkin et al. 2021)."""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from core.vocabulary import Origin
from models.generator.copy_model import load_weights
from models.generator.gpt import Sampling
from models.generator.latent import LatentTextModel, Scatter
from models.generator.latent_writer import LatentWriter

D_CODE = 32
"""Size of the VAE's own code z."""


class Vae(nn.Module):
    """Encoder q(z | ℓ, c) and decoder p(ℓ | z, c).

    Args:
        d_latent: size of ℓ.
        d_condition: size of c.
        d_hidden: width.
    """

    def __init__(self, d_latent: int, d_condition: int, d_hidden: int) -> None:
        super().__init__()
        self.scatter = Scatter(d_latent)
        self.encoder = nn.Sequential(nn.Linear(d_latent + d_condition, d_hidden), nn.GELU(), nn.Linear(d_hidden, 2 * D_CODE))
        self.decoder = nn.Sequential(
            nn.Linear(D_CODE + d_condition, d_hidden), nn.GELU(), nn.Linear(d_hidden, d_hidden), nn.GELU(), nn.Linear(d_hidden, d_latent)
        )
        self.log_sigma = nn.Parameter(torch.zeros(()))

    def loss(self, latent: Tensor, condition: Tensor, noise: Tensor) -> Tensor:
        """Negative evidence lower bound, in nats a dimension of ℓ.

        Args:
            latent: (batch, d_latent).
            condition: (batch, d_condition).
            noise: (batch, D_CODE) standard normal.

        Returns:
            A scalar: (‖ℓ − ℓ̂‖² / 2σ² + d log σ + KL(q ‖ N(0, I))) / d, ℓ in even coordinates, mean over the batch.

        Source:
            Kingma & Welling 2014, eq. 10.
        """
        even = self.scatter.even(latent)
        mean, log_variance = self.encoder(torch.cat([even, condition], 1)).chunk(2, 1)
        code = mean + (log_variance / 2).exp() * noise
        error = (self.decoder(torch.cat([code, condition], 1)) - even).pow(2).sum(1)
        divergence = 0.5 * (mean.pow(2) + log_variance.exp() - 1 - log_variance).sum(1)
        size = even.shape[1]
        bound: Tensor = (error * (-2 * self.log_sigma).exp() / 2 + size * self.log_sigma + divergence) / size
        return bound.mean()

    def draw(self, condition: Tensor, code: Tensor, noise: Tensor) -> Tensor:
        """ℓ for given conditions.

        Args:
            condition: (batch, d_condition).
            code: (batch, D_CODE) standard normal.
            noise: (batch, d_latent) standard normal.

        Returns:
            (batch, d_latent) on the sphere.
        """
        return self.scatter.latent(self.decoder(torch.cat([code, condition], 1)) + self.log_sigma.exp() * noise)


@dataclass(frozen=True)
class VaeGenerator(LatentWriter):
    """The conditional VAE and the latent text model that decodes its ℓ."""

    network: Vae
    name: str = Origin.VAE

    def _drawn(self, condition: Tensor, generator: torch.Generator) -> Tensor:
        code = torch.randn(len(condition), D_CODE, generator=generator)
        noise = torch.randn(len(condition), self.latent.model.decoder.shape.d_latent, generator=generator)
        return self.network.draw(condition, code, noise)

    @classmethod
    def load(cls, folder: Path, latent: LatentTextModel) -> "VaeGenerator":
        """Read what `save` wrote.

        Args:
            folder: the folder.
            latent: the latent text model it was trained over.
        """
        weights = load_weights(folder / "vae.safetensors")
        d_latent, d_hidden = weights["decoder.4.weight"].shape
        network = Vae(d_latent, weights["decoder.0.weight"].shape[1] - D_CODE, d_hidden)
        network.load_state_dict(weights)
        return cls(latent, network.eval(), Sampling.load(folder))
