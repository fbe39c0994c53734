"""Does the GAN's G do anything? Its texts beside those of the mean ℓ and of noise, in the encoder's space and against each other."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from evaluation import text as metrics
from evaluation.frechet import frechet, frechet_intervals
from evaluation.intervals import bootstrap_mean
from models.generator.gan import GanGenerator, Generator
from models.generator.latent import on_sphere
from models.generator.request import CopyRequest
from models.generator.training_copies import Copy
from tasks.judge.copies import REPLICATIONS

Encode = Callable[[list[str]], np.ndarray]

DRAWS = 2
"""Texts a request that G, the mean and noise are judged by."""
_WATCHED_TEXTS = 100


def against_noise(
    gan: GanGenerator,
    known: Tensor,
    human: np.ndarray,
    copies: Sequence[Copy],
    groups: np.ndarray,
    *,
    encode: Encode,
    rng: np.random.Generator,
) -> dict[str, Any]:
    """G against the mean ℓ and against noise with the mean and covariance of real ℓ, decoded alike for the same requests.

    Args:
        gan: the generator.
        known: (n, d_latent) ℓ of the training copies.
        human: (m, d) raw encoder vectors of human copies, which the texts should be distributed as: those of training.
        copies: held-out copies; `DRAWS` texts are written for each.
        groups: (copies,) the group of each.
        encode: texts → raw encoder vectors.
        rng: noise, sampling and the bootstrap.

    Returns:
        ``n``, ``draws``, ``sources`` (gan, mean, noise → Fréchet distance of the texts' encoder vectors to the human copies', and
        Self-BLEU-4 of the texts, one a request and the mean of the draws, both with intervals over groups; human → its Self-BLEU-4),
        ``works`` and ``reasons``.
    """
    requests = [copy.request for copy in copies]
    rows = DRAWS * len(requests)
    mean = known.mean(0)
    factor = torch.linalg.cholesky(torch.cov(known.T) + 1e-4 * torch.eye(known.shape[1]))
    generator = torch.Generator().manual_seed(int(rng.integers(2**31)))
    seed = int(rng.integers(2**31))
    latents = {
        "gan": gan.draw(requests, DRAWS, np.random.default_rng(seed)),
        "mean": on_sphere(mean).expand(rows, -1),
        "noise": on_sphere(mean + torch.randn(rows, known.shape[1], generator=generator) @ factor.T),
    }
    texts = {name: _decode(gan, requests, latent, seed, DRAWS) for name, latent in latents.items()}
    vectors = [encode([text for drawn in found for text in drawn]) for found in texts.values()]
    distances = frechet_intervals(vectors, human, np.repeat(groups, DRAWS), replications=REPLICATIONS // 2, rng=rng)
    sources: dict[str, dict[str, Any]] = {}
    for (name, found), distance in zip(texts.items(), distances, strict=True):
        alike = np.mean([metrics.self_bleu_4_rows(draw) for draw in zip(*found, strict=True)], 0)  # among texts of other requests
        sources[name] = {"frechet": distance.as_dict(), "self_bleu_4": bootstrap_mean(alike, groups, REPLICATIONS, rng).as_dict()}
    own = metrics.self_bleu_4_rows([copy.text for copy in copies])
    sources["human"] = {"self_bleu_4": bootstrap_mean(own, groups, REPLICATIONS, rng).as_dict()}
    reasons = failings(sources)
    return {"n": len(requests), "draws": DRAWS, "sources": sources, "works": not reasons, "reasons": reasons}


def failings(sources: Mapping[str, Mapping[str, Mapping[str, float]]]) -> list[str]:
    """Why the GAN is called not working: where its interval does not lie below that of the mean ℓ and of noise.

    Args:
        sources: gan, mean, noise → frechet, self_bleu_4 → interval.

    Returns:
        One sentence a failing; none when G beats both on both.
    """
    words = {"frechet": "Fréchet distance", "self_bleu_4": "Self-BLEU-4"}
    others = {"mean": "the mean ℓ", "noise": "noise of the same mean and covariance"}
    found = []
    for metric, word in words.items():
        ours = sources["gan"][metric]
        for name, other in others.items():
            theirs = sources[name][metric]
            if ours["high"] < theirs["low"]:
                continue
            verdict = "worse than" if ours["low"] > theirs["high"] else "not apart from"
            found.append(
                f"{word} {ours['value']:.4g} [{ours['low']:.4g}, {ours['high']:.4g}] is {verdict} that of {other}: "
                f"{theirs['value']:.4g} [{theirs['low']:.4g}, {theirs['high']:.4g}]"
            )
    return found


def encoder_path(
    gan: GanGenerator, watched: Mapping[int, Generator], copies: Sequence[Copy], *, encode: Encode, seed: int
) -> dict[int, float]:
    """Fréchet distance in the encoder's space as training went on, by decoding what G drew at a handful of steps.

    Args:
        gan: decodes.
        watched: step → G's moving average then.
        copies: held-out copies; the first 100 are used.
        encode: texts → raw encoder vectors.
        seed: of noise and sampling, the same at each step.

    Returns:
        Step → distance.
    """
    some = list(copies[:_WATCHED_TEXTS])
    requests = [copy.request for copy in some]
    real = encode([copy.text for copy in some])
    found = {}
    for step, network in watched.items():
        then = replace(gan, network=network)
        texts = _decode(then, requests, then.draw(requests, 1, np.random.default_rng(seed)), seed, 1)
        found[step] = frechet(encode([drawn[0] for drawn in texts]), real)
    return found


def _decode(gan: GanGenerator, requests: Sequence[CopyRequest], latent: Tensor, seed: int, n: int) -> list[list[str]]:
    sampling, rng = gan.sampling, np.random.default_rng(seed)
    return gan.latent.model.write(requests, n, rng, temperature=sampling.temperature, top_p=sampling.top_p, latent=latent)
