"""What `train_generator` finds out beyond the table: is ℓ read, does G do anything, who beats the 3-gram's curve."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from models.generator.gan import GanGenerator, Generator
from models.generator.interface import CopyGenerator
from models.generator.quality import Reviewer
from models.generator.training_copies import Copy
from tasks.judge.adversary import Encode, against_noise, encoder_path
from tasks.judge.latent import latent_evidence

COPIES = 200
"""Held-out copies that evidence is gathered on, at most."""
NOT_MEASURED = "not measured: there is no encoder at hand, or fewer than two held-out copies"


@dataclass(frozen=True)
class HeldOut:
    """Copies that nothing was trained on.

    Attributes:
        copies: the copies.
        groups: (n,) the group of each (`split_groups`).
        raw: (n, slots, d_bert) their features (`latent_features`).
    """

    copies: Sequence[Copy]
    groups: np.ndarray
    raw: np.ndarray

    def some(self, rng: np.random.Generator) -> "HeldOut":
        """At most `COPIES` of them.

        Args:
            rng: the draw.
        """
        rows = rng.permutation(len(self.copies))[:COPIES]
        return HeldOut([self.copies[row] for row in rows], self.groups[rows], self.raw[rows])


def evidence(
    gan: CopyGenerator | None,
    some: HeldOut,
    *,
    known: Tensor,
    human: np.ndarray,
    watched: Mapping[int, Generator],
    reviewer: Reviewer,
    encode: Encode | None,
    seed: int,
) -> dict[str, Any]:
    """Evidence for config.json on ℓ and the GAN; `curves` stand beside it.

    Args:
        gan: the GAN at the temperature it will write at.
        some: of the held-out copies, see `HeldOut.some`.
        known: (n, d_latent) ℓ of the training copies.
        human: (n, d) raw encoder vectors of the training copies.
        watched: step → G's moving average then.
        reviewer: fluency and copying.
        encode: texts → raw encoder vectors; None leaves the GAN unmeasured.
        seed: of every draw.

    Returns:
        ``gan`` (`against_noise`, and ``encoder_frechet``: pairs of step and distance) and ``latent`` (`latent_evidence`).
    """
    verdict: dict[str, Any] = {"works": None, "reasons": [NOT_MEASURED]}
    found: dict[str, Any] = {"gan": verdict}
    if not isinstance(gan, GanGenerator):
        return found
    if len(some.copies) > 1:
        found["latent"] = latent_evidence(
            gan.latent, some.copies, some.raw, some.groups, reviewer=reviewer, rng=np.random.default_rng([seed, 12])
        )
        if encode is not None:
            rng = np.random.default_rng([seed, 13])
            verdict = against_noise(gan, known, human, some.copies, some.groups, encode=encode, rng=rng)
            path = encoder_path(gan, watched, some.copies, encode=encode, seed=seed)
            verdict["encoder_frechet"] = [[step, distance] for step, distance in path.items()]
    return {**found, "gan": verdict}


def figures(found: Mapping[str, Any]) -> dict[str, float]:
    """The numbers of `evidence` and `curves` for the tracker.

    Args:
        found: what `evidence` returned, and ``curves``.
    """
    numbers: dict[str, float] = {}
    if "latent" in found:
        latent = found["latent"]
        numbers |= {f"latent_{name}": latent[name]["value"] for name in ("bleu_4", "bleu_4_shuffled")}
        numbers["latent_used"] = float(latent["used"])
    gan = found.get("gan", {})
    if gan.get("works") is not None:
        numbers["gan_works"] = float(gan["works"])
        for source, row in gan["sources"].items():
            numbers |= {f"gan_evidence_{source}_{metric}": interval["value"] for metric, interval in row.items()}
    for name, verdict in found["curves"]["above_ngram"].items():
        numbers[f"{name}_share_above_ngram"] = verdict["share"]
    return numbers
