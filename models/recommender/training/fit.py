"""One Lightning loop for every network: early stopping on validation NDCG, a checkpoint at each epoch's end that resumes bit by bit."""

import logging
import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from core.errors import TrainingError
from core.files import read_json, write_beside, write_json
from core.tracking import Tracker
from models.bundle import load_arrays, save_arrays

log = logging.getLogger(__name__)

WARM_UP = 100
"""Batches over which the learning rate rises."""


def rate_at(step: int, steps: int, highest: float) -> float:
    """The learning rate of one batch.

    Args:
        step: 0-based, over all epochs.
        steps: batches of all epochs.
        highest: the rate between rise and fall.
    """
    risen = min(1.0, (step + 1) / min(WARM_UP, steps))
    return highest * risen * (0.1 + 0.45 * (1 + math.cos(math.pi * step / steps)))


@dataclass(frozen=True)
class FitSettings:
    """How a network is trained.

    Attributes:
        name: prefix of the metrics.
        epochs: at the most.
        patience: epochs without a better validation score after which training stops.
        steps: batches an epoch.
        learning_rate: of AdamW.
        weight_decay: of AdamW.
        seed: decides everything that is random, together with the epoch.
        bf16: matrix products in bfloat16.
        falling: whether the learning rate rises over the first `WARM_UP` batches and falls along a half cosine to a tenth.
    """

    name: str
    epochs: int
    patience: int
    steps: int
    learning_rate: float
    weight_decay: float
    seed: int
    bf16: bool = False
    falling: bool = False


@dataclass(frozen=True)
class Fitted:
    """What came of it.

    Attributes:
        score: best validation score.
        epochs: epochs run.
        best_epoch: 1-based epoch of the best score.
    """

    score: float
    epochs: int
    best_epoch: int


class _Module(lightning.LightningModule):
    """The network with its loss; all randomness is seeded anew each epoch, so an epoch depends on nothing but its number."""

    def __init__(
        self, network: nn.Module, loss: Callable[[int, int], Tensor], validate: Callable[[], float], settings: FitSettings
    ) -> None:
        super().__init__()
        self.network = network
        self.settings = settings
        self.start = 0
        self.best, self.best_epoch, self.stale = -1.0, 0, 0
        self.best_state: dict[str, Tensor] = {}
        self.optimizer_state: dict[Any, dict[str, Tensor]] | None = None
        self.saved: Path | None = None
        self.tracker: Tracker | None = None
        self._loss, self._validate = loss, validate
        self._total = 0.0

    @property
    def epoch(self) -> int:
        """0-based epoch of the whole training, resumed parts included."""
        return self.start + int(self.current_epoch)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """AdamW."""
        settings = self.settings
        optimizer = torch.optim.AdamW(self.network.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay, fused=True)
        if self.optimizer_state is not None:
            optimizer.load_state_dict({"state": self.optimizer_state, "param_groups": optimizer.state_dict()["param_groups"]})
        return optimizer

    def on_train_epoch_start(self) -> None:
        """Seed the epoch."""
        torch.manual_seed(int(np.random.SeedSequence([self.settings.seed, self.epoch]).generate_state(1)[0]))
        self.network.train()
        self._total = 0.0
        name = f"{self.settings.name} {self.epoch + 1}/{self.settings.epochs}"
        self._bar = tqdm(total=self.settings.steps, desc=name, unit="batch", leave=False)

    def on_train_batch_start(self, batch: int, batch_idx: int) -> None:
        """Set the learning rate; it depends on the batch's number alone, so a resumed training goes on as it would have."""
        settings = self.settings
        if not settings.falling:
            return
        optimizer = self.optimizers()
        rate = rate_at(self.epoch * settings.steps + batch, settings.epochs * settings.steps, settings.learning_rate)
        for group in optimizer.param_groups:  # type: ignore[union-attr]
            group["lr"] = rate

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Clip the gradient; here, because Lightning clips for no fused optimiser."""
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)

    def training_step(self, batch: int, batch_idx: int) -> Tensor:
        """One batch, named by its number."""
        loss = self._loss(self.epoch, batch)
        self._total += float(loss.detach())
        self._bar.update()
        return loss

    def on_train_epoch_end(self) -> None:
        """Validate, remember the best, keep a checkpoint, stop when nothing improves."""
        self._bar.close()
        self.network.eval()
        score = self._validate()
        mean = self._total / self.settings.steps
        if not np.isfinite(mean):
            raise TrainingError(
                f"{self.settings.name}: the loss is {mean} in epoch {self.epoch + 1}; lower train_recommender.learning_rate."
            )
        if not score <= self.best:  # NaN, for want of validation users, always counts as better
            self.best, self.best_epoch, self.stale = score, self.epoch + 1, 0
            self.best_state = {name: value.detach().clone() for name, value in self.network.state_dict().items()}
        else:
            self.stale += 1
        if self.tracker is not None:
            told = {"loss": mean} if np.isnan(score) else {"loss": mean, "ndcg": score}
            self.tracker.log_metrics({f"{self.settings.name}_{name}": value for name, value in told.items()}, step=self.epoch + 1)
        log.info("%s epoch %d: loss %.4f, validation NDCG %.4f", self.settings.name, self.epoch + 1, mean, score)
        done = self.stale >= self.settings.patience or self.epoch + 1 >= self.settings.epochs
        if self.saved is not None:
            self._keep(self.saved, done=done)
        if done:
            self.trainer.should_stop = True

    def _keep(self, path: Path, *, done: bool) -> None:
        optimizer = self.optimizers()
        held = optimizer.state_dict()["state"] if isinstance(optimizer, torch.optim.Optimizer) else {}
        arrays = {f"network/{name}": value.detach().numpy() for name, value in self.network.state_dict().items()}
        arrays |= {f"best/{name}": value.numpy() for name, value in self.best_state.items()}
        arrays |= {f"optimizer/{row}/{name}": value.detach().numpy() for row, state in held.items() for name, value in state.items()}
        facts = {
            "epoch": self.epoch + 1,
            "best": None if np.isnan(self.best) else self.best,
            "best_epoch": self.best_epoch,
            "stale": self.stale,
            "done": done,
        }
        with write_beside(path) as draft:
            draft.mkdir()
            save_arrays(arrays, draft / "state.safetensors")
            write_json(facts, draft / "progress.json")

    def resume(self, path: Path) -> bool:
        """Take up a checkpoint.

        Args:
            path: the checkpoint's folder, which may not exist.

        Returns:
            Whether training had ended already.
        """
        if not (path / "progress.json").is_file():
            return False
        facts = read_json(path / "progress.json")
        arrays = {name: torch.from_numpy(np.array(value)) for name, value in load_arrays(path / "state.safetensors").items()}
        self.network.load_state_dict(
            {name.removeprefix("network/"): value for name, value in arrays.items() if name.startswith("network/")}
        )
        self.best_state = {name.removeprefix("best/"): value for name, value in arrays.items() if name.startswith("best/")}
        state: dict[Any, dict[str, Tensor]] = {}
        for name, value in arrays.items():
            if name.startswith("optimizer/"):
                _, row, key = name.split("/")
                state.setdefault(int(row), {})[key] = value
        self.optimizer_state = state
        self.best = float("nan") if facts["best"] is None else facts["best"]
        self.start, self.best_epoch, self.stale = facts["epoch"], facts["best_epoch"], facts["stale"]
        log.info("%s: resumed after epoch %d", self.settings.name, self.start)
        return bool(facts["done"])


def fit(
    network: nn.Module,
    *,
    loss: Callable[[int, int], Tensor],
    validate: Callable[[], float],
    settings: FitSettings,
    checkpoint: Path | None,
    tracker: Tracker,
) -> Fitted:
    """Train a network in place; it ends with the weights of its best epoch.

    Args:
        network: trained.
        loss: (epoch, batch number) → scalar loss; may depend on nothing else that changes.
        validate: the score of the network as it is, higher is better.
        settings: see `FitSettings`.
        checkpoint: folder of the checkpoint; taken up when it exists; None for none.
        tracker: receives loss and score of each epoch.

    Returns:
        The best score.

    Raises:
        TrainingError: the loss is no number.
    """
    module = _Module(network, loss, validate, settings)
    module.saved, module.tracker = checkpoint, tracker
    ended = module.resume(checkpoint) if checkpoint is not None else False
    if not ended:
        for name in ("lightning.pytorch", "lightning.fabric"):
            logging.getLogger(name).setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Lightning's advice about workers and devices
            trainer = lightning.Trainer(
                accelerator="cpu",
                devices=1,
                precision="bf16-mixed" if settings.bf16 else "32-true",
                max_epochs=settings.epochs - module.start,
                logger=False,
                enable_checkpointing=False,
                enable_progress_bar=False,
                enable_model_summary=False,
                num_sanity_val_steps=0,
            )
            trainer.fit(module, train_dataloaders=range(settings.steps))
        if trainer.interrupted:
            raise KeyboardInterrupt
    network.load_state_dict(module.best_state)
    network.eval()
    return Fitted(module.best, module.epoch if not ended else module.start, module.best_epoch)
