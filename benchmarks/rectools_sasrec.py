"""The peer of `benchmarks.rectools`: RecTools' SASRec on the events of a file. Runs in an environment of its own; imports nothing of ours.

    python rectools_sasrec.py EVENTS.csv TARGETS.csv OUT.json EPOCHS SECONDS THREADS DIM LENGTH BATCH LOSS

EVENTS has user, item and time; TARGETS has user and item. Writes the seconds of each epoch and the rank of each target among the ten best
items that the user has not met (11 where it is not among them). Training ends after EPOCHS or SECONDS, what comes first.
"""

import json
import sys
import time
import warnings
from pathlib import Path
from typing import ClassVar

import pandas as pd
import torch
from pytorch_lightning import Callback, Trainer
from rectools.dataset import Dataset
from rectools.models import SASRecModel

warnings.filterwarnings("ignore")


class Clock(Callback):
    """Seconds of each epoch, shared by its copies, for RecTools copies the trainer; ends the training when the time is up."""

    epochs: ClassVar[list[float]] = []

    def __init__(self, seconds: float) -> None:
        """Args: after how many seconds the training ends."""
        self.seconds, self.began = seconds, time.perf_counter()

    def on_train_epoch_start(self, trainer: Trainer, module: object) -> None:
        """Begin an epoch."""
        self.since = time.perf_counter()

    def on_train_batch_end(self, trainer: Trainer, *_: object) -> None:
        """Look at the time."""
        if time.perf_counter() - self.began > self.seconds:
            trainer.should_stop = True

    def on_train_epoch_end(self, trainer: Trainer, module: object) -> None:
        """End an epoch."""
        self.epochs.append(time.perf_counter() - self.since)


def main() -> None:
    """Train, rank, write."""
    events, targets, out, epochs, seconds, threads, dim, length, batch, loss = sys.argv[1:]
    torch.set_num_threads(int(threads))
    table = pd.read_csv(events, dtype={"user": str, "item": str})
    wanted = pd.read_csv(targets, dtype=str)
    named = table.rename(columns={"user": "user_id", "item": "item_id", "time": "datetime"}).assign(weight=1.0)
    data = Dataset.construct(named.assign(datetime=pd.to_datetime(named["datetime"], unit="us")))
    clock = Clock(float(seconds))
    model = SASRecModel(
        n_factors=int(dim),
        n_blocks=2,
        n_heads=4,
        session_max_len=int(length),
        batch_size=int(batch),
        epochs=int(epochs),
        loss=loss,
        n_negatives=256,
        recommend_torch_device="cpu",
        get_trainer_func=lambda: Trainer(
            max_epochs=int(epochs), accelerator="cpu", callbacks=[clock], logger=False, enable_checkpointing=False,
            enable_progress_bar=False, enable_model_summary=False,
        ),
    )  # fmt: skip
    began = time.perf_counter()
    model.fit(data)
    took = time.perf_counter() - began
    known = wanted[wanted["user"].isin(set(table["user"]))]
    best = model.recommend(known["user"].unique(), data, k=10, filter_viewed=True)
    places = {(row.user_id, row.item_id): row.rank for row in best.itertuples()}
    ranks = [int(places.get((row.user, row.item), 11)) for row in wanted.itertuples()]
    Path(out).write_text(json.dumps({"epoch_s": Clock.epochs, "fit_s": took, "ranks": ranks}), encoding="utf-8")


if __name__ == "__main__":
    main()
