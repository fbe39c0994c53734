"""Which floating-point numbers the networks compute with on this machine."""

import sys
from functools import lru_cache

import torch

_MULTIPLIERS = ("avx512_bf16", "amx_bf16", "avx10_2")


@lru_cache(1)
def bfloat16_pays() -> bool:
    """Whether the processor multiplies bfloat16 itself.

    Where it does not, torch emulates it: a layer of 512 × 512 then takes seven to ninety times as long as in float32.
    """
    has = torch.cpu.get_capabilities()
    return any(has.get(name, False) for name in _MULTIPLIERS) or (sys.platform == "linux" and bool(has.get("bf16", False)))


def dtype_of(precision: str) -> torch.dtype:
    """The numbers that a setting means here.

    Args:
        precision: ``float32``, ``bfloat16``, or ``auto``: bfloat16 where it pays.

    Raises:
        ValueError: no such setting.
    """
    if precision == "auto":
        return torch.bfloat16 if bfloat16_pays() else torch.float32
    known = {"float32": torch.float32, "bfloat16": torch.bfloat16}
    if precision not in known:
        raise ValueError(f"no precision is named {precision!r}; there are auto, {', '.join(known)}")
    return known[precision]
