"""The decoder's optimiser: matrices between activations move by orthogonalised momentum, everything else by AdamW.

A step of AdamW moves a matrix mostly along the few directions in which its gradients are large; brought to equal singular values, the same
momentum moves it along all of them, and few copies teach more in fewer passes (docs/decisions/0018-orthogonal-momentum.md).
"""

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from models.device import bfloat16_pays
from models.generator.decoder import CopyDecoder, Layer

MATRIX_RATE = 2 / 3
"""Learning rate of matrices over that of the rest."""
MATRIX_DECAY = 0.01
DECAY = 0.1
"""Weight decay of the rest, most of which are word vectors that few copies would else learn by heart."""
_MOMENTUM = 0.95
BETAS = (0.9, 0.98)
_STEPS = 5
_COEFFICIENTS = (3.4445, -4.7750, 2.0315)
_RMS = 0.2
"""Root mean square of an AdamW step over its rate, about: an orthogonal step is scaled to it, so that one rate fits both."""


class OrthogonalMomentum(torch.optim.AdamW):
    """Muon for the groups that have ``parts``, AdamW for the others; a rate schedule and a checkpoint see one optimiser.

    `torch.optim.Muon` takes one matrix at a time and multiplies in bfloat16, which a processor without it emulates: a pass over the
    market's copies then takes five times as long. Here matrices of one shape are multiplied together, in numbers that the device
    multiplies itself.

    Source:
        Jordan et al. 2024, *Muon: an optimizer for hidden layers in neural networks*; the scale after Liu et al. 2025, *Muon is scalable
        for LLM training*.
    """

    def __init__(self, groups: Sequence[dict[str, Any]]) -> None:
        """Args: ``params`` and ``lr`` a group; ``parts``: as how many matrices, one above the other, each of its parameters is taken."""
        full = [{"weight_decay": DECAY if group.get("parts") is None else MATRIX_DECAY, "parts": None, **group} for group in groups]
        super().__init__(full, betas=BETAS, fused=True)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """One step.

        Args:
            closure: computes the loss anew, with gradients.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        held: list[tuple[Tensor, Tensor]] = []
        for group in self.param_groups:
            if group["parts"] is not None:
                with_gradients = [(parameter, parameter.grad) for parameter in group["params"] if parameter.grad is not None]
                self._move(with_gradients, group)
                held += with_gradients
        for parameter, _ in held:
            parameter.grad = None  # AdamW passes over it
        super().step()
        for parameter, gradient in held:
            parameter.grad = gradient
        return loss

    def _move(self, group: Sequence[tuple[Tensor, Tensor]], settings: dict[str, Any]) -> None:
        rate, decay, parts = settings["lr"], settings["weight_decay"], settings["parts"]
        alike: dict[torch.Size, list[tuple[Tensor, Tensor]]] = defaultdict(list)
        for parameter, gradient in group:
            state = self.state[parameter]
            if not state:
                state["step"], state["momentum"] = torch.zeros(()), torch.zeros_like(parameter)
            state["step"] += 1
            state["momentum"].lerp_(gradient, 1 - _MOMENTUM)
            ahead = gradient.lerp(state["momentum"], _MOMENTUM)
            parameter.mul_(1 - rate * decay)
            for matrix, wanted in zip(parameter.chunk(parts), ahead.chunk(parts), strict=True):
                tall = matrix.shape[0] > matrix.shape[1]
                target, turned = (matrix.T, wanted.T) if tall else (matrix, wanted)
                alike[target.shape].append((target, turned))
        for shape, found in alike.items():
            steps = orthogonal(torch.stack([wanted for _, wanted in found]))
            for (target, _), moved in zip(found, steps, strict=True):
                target.add_(moved, alpha=-rate * _RMS * shape[1] ** 0.5)


def matrices_of(decoder: CopyDecoder) -> dict[int, list[Tensor]]:
    """The matrices between a decoder's activations, by how many each weight holds one above the other.

    Args:
        decoder: whose.
    """
    layers = [block for block in decoder.blocks if isinstance(block, Layer)]
    single: list[Tensor] = [module.weight for block in layers for module in (block.out, block.up, block.down)]
    return {3: [block.qkv.weight for block in layers], 1: [*single, decoder.query.weight, decoder.key.weight, decoder.spelling.weight]}


def orthogonal(matrices: Tensor) -> Tensor:
    """Matrices with all singular values brought near 1 (between about 0.7 and 1.2), by a Newton–Schulz iteration.

    Args:
        matrices: (n, rows, columns), rows ≤ columns.

    Returns:
        (n, rows, columns).
    """
    a, b, c = _COEFFICIENTS
    x = matrices.to(torch.bfloat16) if bfloat16_pays(matrices.device) else matrices
    x = x / x.norm(dim=(1, 2), keepdim=True).clamp_min(1e-7)
    for _ in range(_STEPS):
        square = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(square, square, square, beta=b, alpha=c), x, beta=a)
    return x.to(matrices.dtype)
