"""What the networks compute on, and in which numbers: a GPU when there is one, bfloat16 where it is multiplied by the hardware.

A GPU takes what is worth the way there: the encoder, the training of the copy decoders, and language models of transformers. Recommenders,
ranker, the networks on ℓ and writing with our own decoders are many small steps, and stay on the processor.
"""

import os
import sys
from functools import lru_cache

import torch

from core.errors import ParamsError

VARIABLE = "ADLOOM_DEVICE"
CPU = torch.device("cpu")
_MULTIPLIERS = ("avx512_bf16", "amx_bf16", "avx10_2")


def device() -> torch.device:
    """Where large networks compute: the first GPU that torch can use, else the processor; ``ADLOOM_DEVICE`` names one (cpu, cuda:1, mps).

    Raises:
        ParamsError: ``ADLOOM_DEVICE`` is no device, or one that torch cannot use here.
    """
    asked = os.environ.get(VARIABLE, "auto")
    if asked == "auto":
        return torch.device("cuda", 0) if torch.cuda.is_available() else CPU
    try:
        found = torch.device(asked)
    except RuntimeError:
        raise ParamsError(f"{VARIABLE} is {asked!r}, which is no device; use auto, cpu, cuda, cuda:1 or mps.") from None
    there = {"cpu": 1, "cuda": torch.cuda.device_count(), "mps": int(torch.backends.mps.is_available())}.get(found.type, 0)
    if (found.index or 0) >= there:
        told = f"torch {torch.__version__} sees {there} devices of that kind here"
        raise ParamsError(f"{VARIABLE} is {asked!r}, but {told}; use auto or cpu.")
    return found


@lru_cache(8)
def bfloat16_pays(where: torch.device = CPU) -> bool:
    """Whether the hardware multiplies bfloat16 itself.

    Where a processor does not, torch emulates it: a layer of 512 × 512 then takes seven to ninety times as long as in float32.

    Args:
        where: the device.
    """
    if where.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if where.type != "cpu":
        return False
    has = torch.cpu.get_capabilities()
    return any(has.get(name, False) for name in _MULTIPLIERS) or (sys.platform == "linux" and bool(has.get("bf16", False)))


def dtype_of(precision: str, where: torch.device = CPU) -> torch.dtype:
    """The numbers that a setting means on a device.

    Args:
        precision: ``float32``, ``bfloat16``, or ``auto``: bfloat16 where it pays.
        where: the device.

    Raises:
        ValueError: no such setting.
    """
    if precision == "auto":
        return torch.bfloat16 if bfloat16_pays(where) else torch.float32
    known = {"float32": torch.float32, "bfloat16": torch.bfloat16}
    if precision not in known:
        raise ValueError(f"no precision is named {precision!r}; there are auto, {', '.join(known)}")
    return known[precision]
