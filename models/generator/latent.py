"""The latent text model: copy ↔ ℓ. A copy's BERT features projected to ℓ, and a small GPT that decodes ℓ and the product back to text.

After OPTIMUS (Li et al. 2020): a BERT encoder and a GPT decoder around one latent. ℓ lies on the sphere of radius √d_latent (ARAE,
Zhao et al. 2018), and is blurred in training, so that points between copies decode to copy too.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as fn
from torch import Tensor, nn

from core.vocabulary import CHANNELS, SCENES
from models.generator.copy_model import CopyModel, load_weights, save_weights
from models.generator.prompts import Prompts


def on_sphere(x: Tensor) -> Tensor:
    """Scale to length √d, root mean square 1.

    Args:
        x: (..., d).
    """
    scaled: Tensor = fn.normalize(x, dim=-1) * x.shape[-1] ** 0.5
    return scaled


def between(first: Tensor, last: Tensor, share: float) -> Tensor:
    """The point on the great circle from one ℓ to another.

    Args:
        first: (d,) of length √d.
        last: (d,) of length √d.
        share: of the way, in [0, 1].

    Returns:
        (d,) of length √d.

    Source:
        Shoemake 1985, eq. 2 (spherical linear interpolation).
    """
    angle = torch.arccos((fn.cosine_similarity(first, last, dim=0)).clamp(-1.0, 1.0))
    if float(angle.sin()) < 1e-4:
        return on_sphere(first + share * (last - first))
    return on_sphere(torch.sin((1 - share) * angle) * first + torch.sin(share * angle) * last)


class Scatter(nn.Module):
    """The mean and the main axes of real ℓ, blurred as the decoder knows it: coordinates in which each direction has variance 1 then.

    ℓ varies a hundred times more in some directions than in others; a network that is asked for plain ℓ learns the loud ones only. What
    varies less than the blur the decoder has learned to pass over, and so it stays small here too.

    Args:
        d_latent: size of ℓ.
    """

    centre: Tensor
    axes: Tensor
    scales: Tensor

    def __init__(self, d_latent: int) -> None:
        super().__init__()
        self.register_buffer("centre", torch.zeros(d_latent))
        self.register_buffer("axes", torch.eye(d_latent))
        self.register_buffer("scales", torch.ones(d_latent))

    def fit(self, latent: Tensor, blur: float) -> None:
        """Take mean and axes of these.

        Args:
            latent: (n, d_latent), finite; left alone otherwise.
            blur: standard deviation, by dimension, of the noise that the decoder learned to read ℓ through.
        """
        if len(latent) < 2 or not bool(torch.isfinite(latent).all()):
            return
        centred = latent - latent.mean(0)
        variances, axes = torch.linalg.eigh(centred.T @ centred / (len(latent) - 1))
        self.centre.copy_(latent.mean(0))
        self.axes.copy_(axes)
        self.scales.copy_((variances.clamp_min(0.0) + blur**2).sqrt())

    def even(self, latent: Tensor) -> Tensor:
        """ℓ in even coordinates.

        Args:
            latent: (batch, d_latent).
        """
        return (latent - self.centre) @ self.axes / self.scales

    def latent(self, even: Tensor) -> Tensor:
        """ℓ, on the sphere, of even coordinates.

        Args:
            even: (batch, d_latent).
        """
        return on_sphere(self.centre + (even * self.scales) @ self.axes.T)


class Projection(nn.Module):
    """BERT features of a copy → ℓ: the whole text's slot, then one a part.

    Args:
        means: (2, d_bert) mean features of the training copies: of whole texts, and of parts.
        d_slot: size of a slot.
    """

    means: Tensor

    def __init__(self, means: Tensor, d_slot: int) -> None:
        super().__init__()
        self.register_buffer("means", means)
        self.whole, self.part = nn.Linear(means.shape[1], d_slot), nn.Linear(means.shape[1], d_slot)

    def forward(self, raw: Tensor) -> Tensor:
        """Centre, scale to unit length, project, put on the sphere.

        Args:
            raw: (batch, slots, d_bert) features: of the whole text first, then of its parts (`latent_features`).

        Returns:
            (batch, slots · d_slot).
        """
        whole, parts = fn.normalize(raw[:, :1] - self.means[0], dim=-1), fn.normalize(raw[:, 1:] - self.means[1], dim=-1)
        return on_sphere(torch.cat([self.whole(whole), self.part(parts)], 1).flatten(1))


@dataclass(frozen=True)
class LatentTextModel:
    """Copy → ℓ → copy.

    Attributes:
        model: the decoder, trained to read ℓ.
        projection: BERT features → ℓ.
    """

    model: CopyModel
    projection: Projection

    @torch.inference_mode()
    def encode(self, raw: np.ndarray) -> Tensor:
        """ℓ of copies.

        Args:
            raw: (n, slots, d_bert) their features.

        Returns:
            (n, d_latent).
        """
        latent: Tensor = self.projection(torch.from_numpy(np.ascontiguousarray(raw, np.float32)))
        return latent

    def save(self, folder: Path) -> None:
        """Write the decoder and the projection.

        Args:
            folder: the folder.
        """
        self.model.save(folder)
        save_weights(self.projection, folder / "projection.safetensors")

    @classmethod
    def load(cls, folder: Path) -> "LatentTextModel":
        """Read what `save` wrote.

        Args:
            folder: the folder.
        """
        weights = load_weights(folder / "projection.safetensors")
        projection = Projection(weights["means"], weights["part.weight"].shape[0])
        projection.load_state_dict(weights)
        return cls(CopyModel.load(folder), projection.eval())


def conditions(model: CopyModel, prompts: Prompts) -> Tensor:
    """What the generators of ℓ know: F, whether F is there, the product's vector a, scene and channel.

    Args:
        model: whose phrase vectors describe the product.
        prompts: the requests.

    Returns:
        (batch, d_feature + 1 + d_model + scenes + channels).
    """
    scene, channel = fn.one_hot(prompts.scene, len(SCENES)).float(), fn.one_hot(prompts.channel, len(CHANNELS)).float()
    product = fn.layer_norm(model.product_vectors(prompts), (model.decoder.shape.d_model,))
    feature = prompts.feature * prompts.personal.unsqueeze(1)
    return torch.cat([feature, prompts.personal.unsqueeze(1), product, scene, channel], 1).clone()


def with_features(condition: Tensor, feature: Tensor, personal: Tensor) -> Tensor:
    """Conditions for other audiences.

    Args:
        condition: from `conditions`.
        feature: (batch, d_feature) standardised F.
        personal: (batch,) 1.0 where F is present.

    Returns:
        The same shape.
    """
    size = feature.shape[1]
    return torch.cat([feature * personal.unsqueeze(1), personal.unsqueeze(1), condition[:, size + 1 :]], 1)
