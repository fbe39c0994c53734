"""LoRA tuning of a base model on copies; the loss is taken on the copy's tokens only. Imported by tasks only."""

import logging
import math
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as fn
from torch import Tensor
from tqdm import tqdm

from core.errors import TrainingError
from models.generator.hf.base import find_base
from models.generator.hf.tuned import AdapterSettings, TunedModel, TunedNetwork
from models.generator.hf.wording import marked, order_of
from models.generator.prompts import fit_feature_scale
from models.generator.training_copies import Copy

logger = logging.getLogger(__name__)

_LOGITS = 1 << 25
"""Logits in memory at a time: 128 MB in float32, a few times over."""
_HELD_OUT = 64
_CHECKS = 4


@dataclass(frozen=True)
class TuneSettings:
    """How an adapter is tuned.

    Attributes:
        model: the base (`find_base`).
        rank: of the LoRA matrices.
        alpha: their scale times rank.
        steps: optimiser steps.
        batch_size: copies a step.
        learning_rate: highest rate of AdamW; it rises over the first tenth of the steps and falls by a cosine.
        max_tokens: longer copies are cut.
        seed: of order, audiences and first weights.
    """

    model: str
    rank: int
    alpha: float
    steps: int
    batch_size: int
    learning_rate: float
    max_tokens: int
    seed: int


@dataclass(frozen=True)
class _Row:
    order: str
    ids: list[int]
    index: int


def tune(
    copies: Sequence[Copy],
    held_out: Sequence[Copy],
    settings: TuneSettings,
    *,
    features: np.ndarray,
    weights: np.ndarray,
    report: Callable[[dict[str, float], int], None],
) -> tuple[TunedModel, float]:
    """Tune an adapter; of the moments at which held-out copies are read (before, and four times on the way), the best is kept.

    Only tokens that training copies and their orders hold can be written, beside single characters: an output layer for all the
    world's languages would cost most of the time. Held-out tokens outside of them are left out of the validation loss and counted.


    Args:
        copies: training copies.
        held_out: copies to judge by; the first 64 are read, for everyone.
        settings: base, sizes, rates.
        features: (audiences, d_feature) raw F; no rows: the model knows no audiences.
        weights: (copies, audiences) chance that a copy stands for an audience; one time in three it stands for everyone.
        report: receives the loss of each step, and the validation losses.

    Returns:
        The tuned model, and its validation loss in nats a token of the base.

    Raises:
        BundleError: base or extra are absent.
        TrainingError: no copies, or the loss is not finite.
    """
    if not copies or not held_out:
        raise TrainingError(f"hf: {len(copies)} copies to tune on and {len(held_out)} to judge by; at least one of each is needed.")
    base = find_base(settings.model)
    scale = fit_feature_scale(features) if len(features) else None
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        network = TunedNetwork(base, rank=settings.rank, alpha=settings.alpha, scale=scale)
    rows, judged = _rows(network, copies, settings.max_tokens), _rows(network, held_out[:_HELD_OUT], settings.max_tokens)
    network.trim(_tokens(network, rows))
    outside = [bool(network.place_of[token] < 0) for row in judged for token in row.ids]
    logger.info("hf: %d of %d tokens can be written; %.2f %% of held-out tokens are others", *_shares(network, outside))
    longest = max(len(row.ids) for row in rows)
    standard = torch.from_numpy(scale.apply(features)) if scale is not None else None
    parameters = network.parameters()
    optimiser = torch.optim.AdamW(parameters, lr=settings.learning_rate, betas=(0.9, 0.98), weight_decay=0.01)
    rng = np.random.default_rng(settings.seed)
    drawn = _batches(rows, settings.batch_size, rng)
    checks = {math.ceil(settings.steps * (place + 1) / _CHECKS) for place in range(_CHECKS)}
    best, best_loss = network.adapter(), _validated(network, judged, settings)
    report({"hf_validation_loss": best_loss}, 0)
    started = best_loss
    with tqdm(total=settings.steps, desc="hf", unit="step") as bar:
        for step in range(1, settings.steps + 1):
            for group in optimiser.param_groups:
                group["lr"] = settings.learning_rate * _rate(step, settings.steps)
            batch = next(drawn)
            audiences = _audiences(batch, standard, weights, rng)
            network.network.train()
            loss = _step(network, batch, audiences, settings, learn=True)
            _finite(loss, step, settings)
            torch.nn.utils.clip_grad_norm_(parameters, 1.0)
            optimiser.step()
            optimiser.zero_grad()
            report({"hf_loss": loss}, step)
            bar.set_postfix(loss=f"{loss:.3f}", refresh=False)
            bar.update()
            if step in checks:
                found = _validated(network, judged, settings)
                _finite(found, step, settings)
                report({"hf_validation_loss": found}, step)
                if found < best_loss:
                    best, best_loss = network.adapter(), found
    network.adapt(best)
    network.network.eval()
    logger.info("hf: validation loss %.3f nats a token, %.3f before tuning", best_loss, started)
    kept = AdapterSettings(settings.model, base.content, settings.rank, settings.alpha, longest)
    return TunedModel(kept, best, scale, network), best_loss


def _tokens(network: TunedNetwork, rows: Sequence[_Row]) -> np.ndarray:
    """Tokens of copies and orders, single characters, and bytes; the end token is in every copy."""
    names = network.tokenizer.convert_ids_to_tokens(list(range(len(network.tokenizer))))
    single = [token for token, name in enumerate(names) if name is not None and (len(name) == 1 or re.fullmatch(r"<0x..>", name))]
    orders = network.tokenizer([row.order for row in rows])["input_ids"]
    special = set(network.tokenizer.all_special_ids) - {int(network.tokenizer.eos_token_id)}
    seen = {token for row in rows for token in row.ids} | {token for ids in orders for token in ids}
    return np.array(sorted((seen | set(single)) - special), np.int64)


def _shares(network: TunedNetwork, outside: Sequence[bool]) -> tuple[int, int, float]:
    return len(network.head.tokens), network.head.size, 100 * float(np.mean(outside))


def _finite(loss: float, step: int, settings: TuneSettings) -> None:
    if not math.isfinite(loss):
        raise TrainingError(f"hf: the loss is {loss} in step {step}; lower train_generator.hf.learning_rate ({settings.learning_rate}).")


def _rate(step: int, steps: int) -> float:
    return min(step / max(1, steps // 10), 0.05 + 0.475 * (1 + math.cos(math.pi * step / steps)))


def _rows(network: TunedNetwork, copies: Sequence[Copy], max_tokens: int) -> list[_Row]:
    texts = [marked(copy.text, copy.request) for copy in copies]
    end = int(network.tokenizer.eos_token_id)
    ids: list[list[int]] = network.tokenizer(texts, add_special_tokens=False)["input_ids"]
    orders = [order_of(copy.request) for copy in copies]
    return [_Row(order, [*held[: max_tokens - 1], end], index) for index, (order, held) in enumerate(zip(orders, ids, strict=True))]


def _batches(rows: Sequence[_Row], size: int, rng: np.random.Generator) -> Iterator[list[_Row]]:
    """Every row once an epoch, for ever."""
    while True:
        order = rng.permutation(len(rows))
        for first in range(0, len(order), size):
            yield [rows[index] for index in order[first : first + size]]


Audience = tuple[Tensor, float]


def _audiences(batch: Sequence[_Row], features: Tensor | None, weights: np.ndarray, rng: np.random.Generator) -> dict[int, Audience]:
    if features is None or not weights.shape[1]:
        return {}
    found: dict[int, Audience] = {}
    for row in batch:
        chances = weights[row.index] / weights[row.index].sum()
        found[row.index] = (features[int(rng.choice(len(chances), p=chances))], float(rng.random() > 1 / 3))
    return found


def _step(network: TunedNetwork, batch: Sequence[_Row], audiences: dict[int, Audience], settings: TuneSettings, *, learn: bool) -> float:
    """Mean loss over the batch's copy tokens; gradients are added up over parts that fit into memory."""
    count = sum(int((network.place_of[torch.tensor(row.ids)] >= 0).sum()) for row in batch)
    ordered = sorted(batch, key=lambda row: len(row.ids))
    total = 0.0
    while ordered:
        longest = len(ordered[-1].ids) + 1
        size = max(1, _LOGITS // (len(network.head.tokens) * longest))
        part, ordered = ordered[-size:], ordered[:-size]
        loss = _part_loss(network, part, audiences, settings)
        total += float(loss.detach())
        if learn:
            (loss / count).backward()  # type: ignore[no-untyped-call]
    return total / count


def _part_loss(network: TunedNetwork, part: Sequence[_Row], audiences: dict[int, Audience], settings: TuneSettings) -> Tensor:
    feature, personal = None, torch.zeros(len(part))
    if network.scale is not None:
        feature = torch.zeros(len(part), len(network.scale.mean))
        for place, row in enumerate(part):
            if row.index in audiences:
                feature[place], personal[place] = audiences[row.index]
    order = network.order([row.order for row in part], feature, personal, room=settings.max_tokens)
    width = max(len(row.ids) for row in part)
    copies, mask = torch.zeros(len(part), width, dtype=torch.long), torch.zeros(len(part), width, dtype=torch.long)
    for place, row in enumerate(part):
        copies[place, : len(row.ids)] = torch.tensor(row.ids)
        mask[place, : len(row.ids)] = 1
    targets = network.place_of[copies].masked_fill(mask == 0, -1)
    held = targets >= 0
    logits = network.logits(order, copies, mask)[held.to(network.device)]  # (n, kept tokens)
    return fn.cross_entropy(logits.float(), targets[held].to(network.device), reduction="sum")


def _validated(network: TunedNetwork, rows: Sequence[_Row], settings: TuneSettings) -> float:
    network.network.eval()
    with torch.inference_mode():
        return _step(network, rows, {}, settings, learn=False)
