"""Which floating-point numbers networks compute with: what the processor multiplies itself."""

import pytest
import torch

from models import precision


@pytest.fixture(autouse=True)
def forget():
    precision.bfloat16_pays.cache_clear()
    yield
    precision.bfloat16_pays.cache_clear()


@pytest.mark.parametrize(
    ("has", "system", "pays"),
    [
        ({"avx512_f": True, "avx512_bf16": False, "amx_bf16": False}, "linux", False),
        ({"avx512_bf16": True}, "linux", True),
        ({"amx_bf16": True}, "linux", True),
        ({"neon": True, "bf16": True}, "linux", True),
        ({"neon": True, "bf16": True}, "darwin", False),  # nobody has measured it there
        ({}, "linux", False),
    ],
)
def test_auto_is_bfloat16_only_where_the_processor_multiplies_it(monkeypatch, has, system, pays) -> None:
    monkeypatch.setattr(precision.torch.cpu, "get_capabilities", lambda: has)
    monkeypatch.setattr(precision.sys, "platform", system)

    assert precision.bfloat16_pays() is pays
    assert precision.dtype_of("auto") is (torch.bfloat16 if pays else torch.float32)
    assert precision.dtype_of("bfloat16") is torch.bfloat16  # who asks for one gets it


def test_another_word_is_named_with_what_there_is() -> None:
    with pytest.raises(ValueError, match="'half'; there are auto, float32, bfloat16"):
        precision.dtype_of("half")
