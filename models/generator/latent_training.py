"""Training on ℓ: the VAE, and the GAN with hinge loss, R1, two time scales, a moving average of G and a collapse detector.

These are seconds of work on matrices that fit a page, so they are plain loops; a killed run starts them again, to an equal result.
"""

import copy
import logging
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import torch
import torch.nn.functional as fn
from torch import Tensor
from tqdm import tqdm

from core.errors import TrainingError
from models.generator.gan import Discriminator, Generator
from models.generator.latent import with_features
from models.generator.vae import D_CODE, Vae

logger = logging.getLogger(__name__)

_VAE_RATE = 1e-3

Report = Callable[[dict[str, float], int], None]


@dataclass(frozen=True)
class LatentData:
    """Copies as latents with their conditions.

    Attributes:
        latent: (n, d_latent) ℓ of copies.
        condition: (n, d_condition), written for everyone.
        weights: (n, audiences) chance that a copy stands for an audience; rows sum to 1; no columns without shoppers.
        features: (audiences, d_feature) standardised F.
        blur: of ℓ, as the decoder knows it (`Scatter.fit`).
    """

    latent: Tensor
    condition: Tensor
    weights: Tensor
    features: Tensor
    blur: float

    def draw(self, rows: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """ℓ and conditions, each with an audience drawn for it, or none (one time in three).

        Args:
            rows: (batch,) int64.
            generator: the stream.
        """
        if not self.weights.shape[1]:
            return self.latent[rows], self.condition[rows]
        audience = torch.multinomial(self.weights[rows], 1, generator=generator)[:, 0]
        personal = (torch.rand(len(rows), generator=generator) > 1 / 3).float()
        return self.latent[rows], with_features(self.condition[rows], self.features[audience], personal)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Matrices this small are faster on one processor than shared out among several."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@_one_thread()
def train_vae(data: LatentData, held_out: LatentData, *, d_hidden: int, epochs: int, batch_size: int, seed: int, report: Report) -> Vae:
    """Fit the conditional VAE; keep the epoch with the smallest loss on held-out ℓ: with a few thousand copies it soon knows them by heart.

    Args:
        data: training latents.
        held_out: validation latents.
        d_hidden: width.
        epochs: passes.
        batch_size: rows a step.
        seed: of initial weights, order and noise.
        report: receives the losses of each epoch.

    Raises:
        TrainingError: the loss is not finite.
    """
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    network = Vae(data.latent.shape[1], data.condition.shape[1], d_hidden)
    network.scatter.fit(data.latent, data.blur)
    optimiser = torch.optim.AdamW(network.parameters(), lr=_VAE_RATE, weight_decay=0.01, fused=True)
    best, smallest = copy.deepcopy(network), math.inf
    unseen = torch.randn(len(held_out.latent), D_CODE, generator=generator)
    for epoch in tqdm(range(epochs), desc="vae", unit="epoch", leave=False):
        total, order = 0.0, torch.randperm(len(data.latent), generator=generator)
        for rows in torch.split(order, batch_size):
            latent, condition = data.draw(rows, generator)
            loss = network.loss(latent, condition, torch.randn(len(rows), D_CODE, generator=generator))
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            total += float(loss.detach()) * len(rows)
        loss_of_epoch = total / len(order)
        if not math.isfinite(loss_of_epoch):
            raise TrainingError(f"vae: the loss is {loss_of_epoch} in epoch {epoch}{_blame(data)}")
        with torch.no_grad():
            held = float(network.loss(held_out.latent, held_out.condition, unseen))
        if held < smallest:
            best, smallest = copy.deepcopy(network), held
        report({"vae_loss": loss_of_epoch, "vae_validation_loss": held}, epoch)
    return best.eval()


def _blame(data: LatentData) -> str:
    """Where a loss that is not finite comes from, and what to do."""
    broken = int((~torch.isfinite(data.latent).all(1)).sum())
    if broken:
        return f"; {broken} of {len(data.latent)} latents are not finite: run `encode` again, or lower train_generator.learning_rate."
    wrong = int((~torch.isfinite(data.condition).all(1)).sum()) + int((~torch.isfinite(data.features).all(1)).sum())
    if wrong:
        return f"; {wrong} rows of conditions or audience features are not finite: run `train_recommender` again."
    return "; every latent and condition is finite, so the fit itself diverged: lower train_generator.batch_size or change the seed."


@dataclass
class CollapseDetector:
    """Stops a GAN that has collapsed, says why, and remembers the best step.

    It reads, at every check, the Fréchet distance between drawn and held-out ℓ, their energy score, which unlike it sees whether a draw
    belongs to its condition, and how much of the held-out copies' spread the draws for one and the same condition keep.

    Attributes:
        min_spread: below this share of the real spread the draws count as one mode.
        patience: checks in a row that may be bad.
        floor: Fréchet distance between training and held-out ℓ: what lies within it counts as nothing.
        best_distance: smallest Fréchet distance so far, at least ``floor``.
        best_energy: smallest energy score so far.
        best_step: where that was seen.
        reason: why training must stop; empty while it may go on.
    """

    min_spread: float = 0.05
    patience: int = 3
    floor: float = 0.0
    best_distance: float = math.inf
    best_energy: float = math.inf
    best_step: int = -1
    reason: str = ""
    _bad: dict[str, int] = field(default_factory=dict)

    def check(self, step: int, *, distance: float, energy: float, spread: float, d_loss: float, g_loss: float) -> bool:
        """Judge one check.

        Args:
            step: the training step.
            distance: Fréchet distance to held-out ℓ.
            energy: energy score on held-out ℓ.
            spread: mean distance between draws of one condition over mean distance between real ℓ.
            d_loss: the discriminator's mean hinge loss since the check before.
            g_loss: the generator's loss.

        Returns:
            True when this is the best step so far.
        """
        if not all(map(math.isfinite, (distance, energy, spread, d_loss, g_loss))):
            self.reason = f"step {step}: a loss is not finite (d_loss {d_loss}, g_loss {g_loss}, Fréchet distance {distance})"
            return False
        faults = {
            f"draws for one product differ by less than {self.min_spread} of the real spread": spread < self.min_spread,
            "the discriminator is sure of everything (hinge loss below 0.01)": d_loss < 0.01,
            "the discriminator does worse than one that answers nought (mean hinge loss above 2): it learns too fast": d_loss > 2.0,
            "the Fréchet distance is more than four times the best": distance > 4 * self.best_distance,
        }
        for fault, bad in faults.items():
            self._bad[fault] = self._bad.get(fault, 0) + 1 if bad else 0
            if self._bad[fault] >= self.patience:
                measured = f"spread {spread:.3f}, d_loss {d_loss:.3f}, distance {distance:.3f}"
                self.reason = f"step {step}: {fault}, {self.patience} checks in a row ({measured})"
        if spread < self.min_spread:
            return False
        self.best_distance = max(min(distance, self.best_distance), self.floor)
        if energy < self.best_energy:
            self.best_energy, self.best_step = energy, step
            return True
        return False


@dataclass(frozen=True)
class GanSettings:
    """How a GAN is trained.

    Attributes:
        d_noise: size of z.
        d_hidden: width.
        steps: generator steps at most.
        batch_size: rows a step.
        energy_weight: of the energy score beside the adversary's loss.
        r1_weight: γ of the R1 penalty γ/2 · E‖∇D(ℓ)‖² on real ℓ (Mescheder et al. 2018).
        ema_decay: of G's moving average.
        g_rate: learning rate of G.
        d_ratio: how many times as fast D learns (two time scales, Heusel et al. 2017).
        check_every: steps between checks of the collapse detector.
    """

    d_noise: int
    d_hidden: int
    steps: int
    batch_size: int
    r1_weight: float
    ema_decay: float
    g_rate: float = 2e-4
    d_ratio: float = 4.0
    check_every: int = 100
    energy_weight: float = 1.0


def energy(real: Tensor, first: Tensor, second: Tensor) -> Tensor:
    """Energy score of two draws for one condition against what was really seen there; smallest when the draws are distributed as it is.

    It sees each row's own condition where the adversary judges batches, and does not chase: with a few thousand copies it is what keeps G
    on its way, and the adversary what makes the draws sharp.

    Args:
        real: (batch, d).
        first: (batch, d) drawn.
        second: (batch, d) drawn with other noise.

    Returns:
        A scalar: ½ E‖x − y‖ + ½ E‖x − y′‖ − ½ E‖y − y′‖.

    Source:
        Gneiting & Raftery 2007, eq. 21.
    """
    near = (real - first).norm(dim=1) + (real - second).norm(dim=1) - (first - second).norm(dim=1)
    score: Tensor = near.mean() / 2
    return score


def frechet(a: Tensor, b: Tensor) -> float:
    """Fréchet distance between Gaussians with the samples' means and variances by dimension.

    Args:
        a: (n, d).
        b: (m, d).
    """
    spread = (a.std(0) - b.std(0)).pow(2).sum()
    return float((a.mean(0) - b.mean(0)).pow(2).sum() + spread)


def _measured(network: Generator, held_out: LatentData, d_noise: int, generator: torch.Generator) -> dict[str, float]:
    real, condition = held_out.latent, held_out.condition
    drawn, again = (network(torch.randn(len(real), d_noise, generator=generator), condition) for _ in range(2))
    even = network.scatter.even
    return {
        "distance": frechet(drawn, real),
        "energy": float(energy(even(real), even(drawn), even(again))),
        "spread": _spread(network, condition, d_noise, real, generator),
    }


def _spread(network: Generator, condition: Tensor, d_noise: int, real: Tensor, generator: torch.Generator) -> float:
    several = condition[:64].repeat_interleave(4, 0)
    drawn = network(torch.randn(len(several), d_noise, generator=generator), several).view(-1, 4, real.shape[1])
    own = torch.stack([torch.pdist(group).mean() for group in drawn]).mean()
    return float(own / torch.pdist(real[:512]).mean())


def _hinge(d: Discriminator, real: Tensor, fake: Tensor, condition: Tensor) -> tuple[Tensor, Tensor]:
    """D's hinge loss, and E‖∇D‖² on real ℓ."""
    on_real, on_fake = d(real, condition), d(fake, condition)
    (slope,) = torch.autograd.grad(on_real.sum(), real, create_graph=True)
    return fn.relu(1 - on_real).mean() + fn.relu(1 + on_fake).mean(), slope.pow(2).sum(1).mean()


@_one_thread()
def train_gan(
    data: LatentData,
    held_out: LatentData,
    settings: GanSettings,
    *,
    seed: int,
    report: Report,
    watch: Callable[[Generator, int], None] | None = None,
) -> tuple[Generator, CollapseDetector]:
    """Play G against D; keep the moving average of G at the step with the smallest energy score on held-out ℓ.

    Args:
        data: training latents.
        held_out: validation latents.
        settings: sizes and rates.
        seed: of initial weights, batches and noise.
        report: receives losses, distance, energy score and spread at each check.
        watch: shown the moving average of G at each check; it must not change it.

    Returns:
        G's best moving average, and the detector with the reason when it stopped the run.

    Raises:
        TrainingError: a loss stopped being finite before any step was good.
    """
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    d_latent, d_condition = data.latent.shape[1], data.condition.shape[1]
    g, d = Generator(settings.d_noise, d_condition, d_latent, settings.d_hidden), Discriminator(d_condition, d_latent, settings.d_hidden)
    g.scatter.fit(data.latent, data.blur)
    even = g.scatter.even
    average = copy.deepcopy(g).eval().requires_grad_(False)
    g_optimiser = torch.optim.Adam(g.parameters(), lr=settings.g_rate, betas=(0.0, 0.9), fused=True)
    d_optimiser = torch.optim.Adam(d.parameters(), lr=settings.d_ratio * settings.g_rate, betas=(0.0, 0.9), fused=True)
    detector, best = CollapseDetector(floor=frechet(data.latent[: len(held_out.latent)], held_out.latent)), copy.deepcopy(average)

    def batch() -> tuple[Tensor, Tensor, Tensor]:
        rows = torch.randint(len(data.latent), (settings.batch_size,), generator=generator)
        real, condition = data.draw(rows, generator)
        return real, condition, torch.randn(len(rows), settings.d_noise, generator=generator)

    d_losses: list[float] = []
    for step in tqdm(range(1, settings.steps + 1), desc="gan", unit="step", leave=False):
        real, condition, noise = batch()
        real = even(real).requires_grad_(True)
        with torch.no_grad():
            fake = even(g(noise, condition))
        d_loss, steep = _hinge(d, real, fake, condition)
        d_optimiser.zero_grad()
        (d_loss + settings.r1_weight / 2 * steep).backward()  # type: ignore[no-untyped-call]
        d_optimiser.step()
        d_losses.append(float(d_loss.detach()))
        real, condition, noise = batch()
        drawn, again = even(g(noise, condition)), even(g(torch.randn(noise.shape, generator=generator), condition))
        g_loss = settings.energy_weight * energy(even(real), drawn, again) - d(drawn, condition).mean()
        g_optimiser.zero_grad()
        g_loss.backward()
        g_optimiser.step()
        with torch.no_grad():
            for kept, new in zip(average.parameters(), g.parameters(), strict=True):
                kept.lerp_(new, 1 - settings.ema_decay)
        if step % settings.check_every and step != settings.steps:
            continue
        with torch.no_grad():
            found = _measured(average, held_out, settings.d_noise, torch.Generator().manual_seed(seed))  # the same noise at every check
        d_mean, g_last = float(np.mean(d_losses)), float(g_loss.detach())
        d_losses.clear()
        if detector.check(step, **found, d_loss=d_mean, g_loss=g_last):
            best = copy.deepcopy(average)
        if not detector.reason:
            named = {"gan_frechet": found["distance"], "gan_energy": found["energy"], "gan_spread": found["spread"]}
            report({"gan_d_loss": d_mean, "gan_g_loss": g_last, **named}, step)
            if watch is not None:
                watch(average, step)
        else:
            if detector.best_step < 0 and not all(map(math.isfinite, (d_mean, g_last, found["distance"]))):
                raise TrainingError(f"gan: {detector.reason}, and no step before it was good{_blame(data)}")
            logger.warning("GAN stopped at %s; the moving average of step %d is kept", detector.reason, detector.best_step)
            break
    return best.eval(), detector
