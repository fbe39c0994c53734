"""The generator ``hf``: batched sampling from a tuned language model."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from core.vocabulary import Origin
from models.generator.gpt import Sampling
from models.generator.hf.tuned import Order, TunedModel, TunedNetwork
from models.generator.hf.wording import filled, order_of
from models.generator.request import CopyRequest
from models.generator.sampling import nucleus

_ROWS = 48
"""Texts written together: each keeps its keys and values, and a row of logits over the base's vocabulary."""
_WHOLE = re.compile(r".*[。！？!?；;]", re.DOTALL)


@dataclass(frozen=True)
class HfGenerator:
    """A tuned language model of transformers.

    Attributes:
        model: base and adapter.
        sampling: temperature and nucleus.
    """

    model: TunedModel
    sampling: Sampling
    name: str = Origin.HF

    def write(self, requests: Sequence[CopyRequest], n: int, rng: np.random.Generator) -> list[list[str]]:
        """See `CopyGenerator.write`; a text that names a brand or price the product lacks is left out.

        Args:
            requests: the orders.
            n: texts a request.
            rng: one number is drawn from it for each batch of rows.

        Raises:
            BundleError: base model or extra are absent.
        """
        if not requests:
            return []
        network = self.model.ready()
        orders = [order_of(request) for request in requests]
        queue = sorted(range(len(requests)), key=lambda row: (requests[row].max_length, len(orders[row]), row))
        written: dict[int, list[str]] = {}
        size = max(1, _ROWS // n)
        for first in range(0, len(queue), size):
            rows = queue[first : first + size]
            some = [requests[row] for row in rows for _ in range(n)]
            room = min(self.model.settings.max_tokens, 8 + 2 * max(request.max_length for request in some))
            order = network.order([orders[row] for row in rows for _ in range(n)], *network.scaled(some), room=room)
            texts = _sampled(network, order, room, int(rng.integers(2**31)), self.sampling)
            for index, row in enumerate(rows):
                found = (filled(text, requests[row]) for text in texts[index * n : (index + 1) * n])
                written[row] = [text for text in found if text is not None]
        return [written[row] for row in range(len(requests))]

    def save(self, folder: Path) -> None:
        """Write the adapter and its sampling.

        Args:
            folder: the folder.
        """
        self.model.save(folder)
        self.sampling.save(folder)

    @classmethod
    def load(cls, folder: Path) -> "HfGenerator":
        """Read what `save` wrote; the base is loaded by the first `write`, or by `TunedModel.ready`.

        Args:
            folder: the folder.
        """
        return cls(TunedModel.load(folder), Sampling.load(folder))


class _Nucleus:
    """Draws the next token as our own sampler does, and leaves transformers one choice."""

    def __init__(self, sampling: Sampling, seed: int) -> None:
        self.sampling, self.stream = sampling, torch.Generator().manual_seed(seed)

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        drawn = nucleus(scores.float().cpu() / self.sampling.temperature, self.sampling.top_p, self.stream)
        return torch.full_like(scores, float("-inf")).scatter(1, drawn.unsqueeze(1).to(scores.device), 0.0)


@torch.inference_mode()
def _sampled(network: TunedNetwork, order: Order, room: int, seed: int, sampling: Sampling) -> list[str]:
    from transformers import GenerationConfig, LogitsProcessorList

    tokenizer: Any = network.tokenizer
    config: Any = GenerationConfig(  # type: ignore[no-untyped-call]
        max_new_tokens=room, do_sample=False, use_cache=True, eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id
    )
    network.network.eval()
    given = network.opened(order)
    network.head.whole = True  # transformers thinks in ids of the whole vocabulary
    ids = network.network.generate(**given, generation_config=config, logits_processor=LogitsProcessorList([_Nucleus(sampling, seed)]))
    network.head.whole = False
    drawn = ids[:, order.ids.shape[1] :] if "input_ids" in given else ids  # from vectors, generate returns what is new only
    texts = []
    for row in drawn.tolist():
        ended = tokenizer.eos_token_id in row
        text = tokenizer.decode(row[: row.index(tokenizer.eos_token_id)] if ended else row, skip_special_tokens=True)
        whole = None if ended else _WHOLE.match(text)
        texts.append(text if whole is None else whole[0])
    return texts
