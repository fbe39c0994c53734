"""Training of the decoder, with and without ℓ, by Lightning: bf16, batches of like length, checkpoints that resume to an equal result.

The order of rows and the audiences drawn depend on (seed, epoch) and nothing else, the dropout of a step on (seed, epoch, step), so
that a run killed in epoch 5 and resumed from the end of epoch 4 sees what an uninterrupted run sees. Imported by tasks only: serving
never needs Lightning.
"""

import logging
import math
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, cast

import lightning
import numpy as np
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from core.errors import TrainingError
from models.device import device
from models.generator.copy_model import CopyModel
from models.generator.decoder import DecoderShape
from models.generator.latent import Projection, on_sphere
from models.generator.optimiser import BETAS, MATRIX_RATE, OrthogonalMomentum, matrices_of
from models.generator.prompts import UNKNOWN_PHRASE, Prompts
from models.generator.reading import BAG_WEIGHT, BLANKED, FRESH_RATE, UNREAD, bag_loss, blanked
from models.generator.vocabulary import PAD

logger = logging.getLogger(__name__)

_POOL = 16
_WIDTH_STEP = 8
"""Texts are padded to a multiple of it, so that few shapes occur: every new shape costs a new kernel."""
_NAME_LOST = 0.1
_TONE_LOST = 0.5
"""Copies that are learned as if nobody had asked for their tone: most orders name none."""


@dataclass(frozen=True)
class CopyData:
    """Copies as tensors.

    Attributes:
        prompts: their requests, written for everyone, in the tone that each copy has.
        tokens: ids with begin and end, one list a copy.
        raw: (n, slots, d_bert) features of the copies (`latent_features`).
        weights: (n, audiences) chance that a copy stands for an audience; rows sum to 1.
        features: (audiences, d_feature) standardised F.
    """

    prompts: Prompts
    tokens: Sequence[Sequence[int]]
    raw: Tensor
    weights: np.ndarray
    features: Tensor

    @property
    def positions(self) -> int:
        """Positions that one pass over the copies reads, padding not counted."""
        return int(self.prompts.mask.sum()) + sum(len(ids) + 2 for ids in self.tokens)


@dataclass(frozen=True)
class Batch:
    """One step's rows: prompts, (batch, length) tokens, (batch, slots, d_bert) features, (batch, d_latent) standard normal or None."""

    prompts: Prompts
    tokens: Tensor
    raw: Tensor
    blur: Tensor | None

    def to(self, where: torch.device) -> "Batch":
        """The same on a device."""
        blur = None if self.blur is None else self.blur.to(where)
        return Batch(self.prompts.to(where), self.tokens.to(where), self.raw.to(where), blur)


def batches(data: CopyData, size: int, shape: DecoderShape, rng: np.random.Generator | None) -> Iterator[Batch]:
    """Rows of like length together; shuffled, each with an audience drawn (one time in three: none) when ``rng`` is given.

    Args:
        data: the copies.
        size: rows a batch.
        shape: of the decoder: the size of ℓ, and how long a text may be.
        rng: the epoch's stream; None for validation: in order, for everyone, without blur.
    """
    lengths = np.array([len(ids) for ids in data.tokens])
    order = np.arange(len(lengths)) if rng is None else rng.permutation(len(lengths))
    groups: list[np.ndarray] = []
    for first in range(0, len(order), size * _POOL):
        pool = order[first : first + size * _POOL]
        pool = pool[np.argsort(lengths[pool], kind="stable")]
        groups += [pool[start : start + size] for start in range(0, len(pool), size)]
    for index in range(len(groups)) if rng is None else rng.permutation(len(groups)):
        rows = groups[index]
        prompts = data.prompts.take(torch.from_numpy(rows))
        blur = None
        if rng is not None:
            prompts = _disturbed(prompts, data, rows, rng)
            blur = torch.from_numpy(rng.standard_normal((len(rows), shape.d_latent), np.float32))
        width = min(shape.max_tokens, -(-(int(lengths[rows].max()) - 1) // _WIDTH_STEP) * _WIDTH_STEP) + 1
        tokens = torch.full((len(rows), width), PAD)
        for line, row in enumerate(rows):
            tokens[line, : lengths[row]] = torch.tensor(data.tokens[row])
        yield Batch(prompts, tokens, data.raw[rows], blur)


def _disturbed(prompts: Prompts, data: CopyData, rows: np.ndarray, rng: np.random.Generator) -> Prompts:
    values = torch.where(torch.from_numpy(rng.random(prompts.values.shape) < _NAME_LOST), UNKNOWN_PHRASE, prompts.values)
    feature, personal = prompts.feature, prompts.personal
    if data.weights.shape[1]:
        cumulative = data.weights[rows].cumsum(1)
        audience = (rng.random((len(rows), 1)) * cumulative[:, -1:] > cumulative).sum(1)
        feature = data.features[torch.from_numpy(audience)]
        personal = torch.from_numpy((rng.random(len(rows)) > 1 / 3).astype(np.float32))
    tone = torch.where(torch.from_numpy(rng.random(len(rows)) < _TONE_LOST), 0, prompts.tone)
    return replace(prompts, tone=tone, feature=feature, personal=personal, values=values)


@dataclass(frozen=True)
class FitSettings:
    """How a decoder is fitted.

    Attributes:
        epochs: passes over the copies.
        batch_size: rows a step.
        learning_rate: highest rate of word vectors and the like (see `models.generator.optimiser`); it rises over the first tenth of the
            steps and falls by a cosine.
        seed: of order, audiences and dropout.
        bf16: mixed precision.
        optimiser: ``muon``: matrices by orthogonalised momentum; ``adamw``: all alike.
        label: what the tracker and the progress bar call it.
        blur: standard deviation, by dimension, of the noise on ℓ in training; ℓ itself has root mean square 1.
    """

    epochs: int
    batch_size: int
    learning_rate: float
    seed: int
    bf16: bool
    optimiser: Literal["muon", "adamw"]
    label: str
    blur: float = 0.0


def _loader(found: Iterator[Batch]) -> DataLoader[Batch]:
    return DataLoader(cast("Dataset[Batch]", list(found)), batch_size=None, collate_fn=lambda batch: batch)


class _Fit(lightning.LightningModule):
    def __init__(
        self,
        model: CopyModel,
        projection: Projection | None,
        data: CopyData,
        held_out: CopyData,
        *,
        settings: FitSettings,
        report: Callable[[dict[str, float], int], None],
    ) -> None:
        super().__init__()
        self.decoder, self.projection = model.decoder, projection
        self.data, self.held_out, self.settings, self.report = data, held_out, settings, report
        self.best: dict[str, Tensor] = {}
        self.best_loss = math.inf
        self.total, self.count = 0.0, 0

    def train_dataloader(self) -> Any:
        rng = np.random.default_rng([self.settings.seed, self.current_epoch])
        return _loader(batches(self.data, self.settings.batch_size, self.decoder.shape, rng))

    def val_dataloader(self) -> Any:
        return _loader(batches(self.held_out, self.settings.batch_size, self.decoder.shape, None))

    def transfer_batch_to_device(self, batch: Batch, device: torch.device, dataloader_idx: int) -> Batch:
        return batch.to(device)

    def _loss(self, batch: Batch) -> tuple[Tensor, int]:
        latent = None
        if self.projection is not None:
            latent = self.projection(batch.raw)
            latent = on_sphere(latent + self.settings.blur * batch.blur) if batch.blur is not None else latent
        if latent is None or batch.blur is None:
            return self.decoder.loss(batch.prompts, batch.tokens, latent)
        unread = torch.rand(len(batch.tokens), device=batch.tokens.device) < UNREAD
        loss, count = self.decoder.loss(batch.prompts, batch.tokens, latent, blanked(batch.tokens, BLANKED), unread)
        return loss + BAG_WEIGHT * bag_loss(self.decoder, latent, batch.tokens), count

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        torch.manual_seed(int(np.random.default_rng([self.settings.seed, self.current_epoch, batch_idx]).integers(2**62)))

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        torch.nn.utils.clip_grad_norm_(self.parameters(), 1.0)  # here: Lightning clips for no fused optimiser

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        loss, count = self._loss(batch)
        self.total += float(loss.detach()) * count
        self.count += count
        return loss

    def on_validation_epoch_start(self) -> None:
        self.held_total, self.held_count = 0.0, 0

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        loss, count = self._loss(batch)
        self.held_total += float(loss) * count
        self.held_count += count

    def on_validation_epoch_end(self) -> None:
        loss = self.held_total / max(self.held_count, 1)
        if not math.isfinite(loss):
            raise TrainingError(
                f"{self.settings.label}: validation loss is {loss} in epoch {self.current_epoch}; "
                f"lower train_generator.learning_rate ({self.settings.learning_rate})."
            )
        if loss < self.best_loss:
            self.best_loss = loss
            self.best = {name: value.detach().clone() for name, value in self.state_dict().items()}
        name = self.settings.label
        self.report({f"{name}_loss": self.total / max(self.count, 1), f"{name}_validation_loss": loss}, self.current_epoch)
        self.total, self.count = 0.0, 0

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["best"], checkpoint["best_loss"] = self.best, self.best_loss

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.best, self.best_loss = checkpoint["best"], checkpoint["best_loss"]

    def configure_optimizers(self) -> Any:
        fresh = [] if self.projection is None else [*self.projection.parameters(), *self.decoder.reads_latent()]
        by_muon = self.settings.optimiser == "muon"
        matrices = matrices_of(self.decoder) if by_muon else {}
        apart = {id(parameter) for parameter in [*fresh, *(one for held in matrices.values() for one in held)]}
        rest = [parameter for parameter in self.parameters() if id(parameter) not in apart]
        rate_of = self.settings.learning_rate
        groups: list[dict[str, Any]] = [{"params": rest, "lr": rate_of}]
        groups += [{"params": held, "lr": MATRIX_RATE * rate_of, "parts": parts} for parts, held in matrices.items()]
        groups += [{"params": fresh, "lr": FRESH_RATE * rate_of}] if fresh else []
        optimiser = OrthogonalMomentum(groups) if by_muon else torch.optim.AdamW(groups, betas=BETAS, weight_decay=0.01, fused=True)
        steps = max(1, self.settings.epochs * math.ceil(len(self.data.tokens) / self.settings.batch_size))
        warm = max(1, steps // 10)

        def rate(step: int) -> float:
            return min((step + 1) / warm, 0.05 + 0.475 * (1 + math.cos(math.pi * min(step, steps) / steps)))

        return {
            "optimizer": optimiser,
            "lr_scheduler": {"scheduler": torch.optim.lr_scheduler.LambdaLR(optimiser, rate), "interval": "step"},
        }


def fit_decoder(
    model: CopyModel,
    projection: Projection | None,
    data: CopyData,
    held_out: CopyData,
    settings: FitSettings,
    *,
    checkpoints: Path,
    report: Callable[[dict[str, float], int], None],
) -> float:
    """Fit a decoder in place, and the projection to ℓ with it when given; keep the epoch with the smallest validation loss.

    Args:
        model: its decoder is changed.
        projection: BERT features → ℓ, changed too; None trains the plain GPT.
        data: training copies.
        held_out: validation copies; another group than any training copy's.
        settings: epochs, rates, seed.
        checkpoints: a folder for this very fit; a checkpoint in it is resumed.
        report: receives the losses of each epoch.

    Returns:
        The smallest validation loss, nats a token.

    Raises:
        TrainingError: the validation loss is not finite, or text vectors that a projection is to read are not.
    """
    if projection is not None:
        broken = sum(int((~torch.isfinite(part.raw.flatten(1)).all(1)).sum()) for part in (data, held_out))
        if broken:
            raise TrainingError(
                f"{settings.label}: {broken} of {len(data.raw) + len(held_out.raw)} text vectors are not finite; run `encode` again."
            )
    where = device()
    module = _Fit(model, projection, data, held_out, settings=settings, report=report)
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    keeper = ModelCheckpoint(
        dirpath=checkpoints, filename="last", save_top_k=1, every_n_epochs=1, save_on_train_epoch_end=True, enable_version_counter=False
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Lightning's advice about loaders and loggers, which are ours on purpose
        trainer = lightning.Trainer(
            accelerator={"cuda": "gpu"}.get(where.type, where.type),
            devices=[where.index or 0] if where.type == "cuda" else 1,
            max_epochs=settings.epochs,
            precision="bf16-mixed" if settings.bf16 else "32-true",
            callbacks=[keeper],
            logger=False,
            enable_model_summary=False,
            enable_progress_bar=sys.stderr.isatty(),
            reload_dataloaders_every_n_epochs=1,
            num_sanity_val_steps=0,
            log_every_n_steps=0,
        )
        last = checkpoints / "last.ckpt"
        trainer.fit(module, ckpt_path=str(last) if last.is_file() else None)
    if module.best:
        module.load_state_dict(module.best)
    module.eval().cpu()
    logger.info("%s: validation loss %.3f nats a token", settings.label, module.best_loss)
    return module.best_loss
