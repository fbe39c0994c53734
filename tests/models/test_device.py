"""What networks compute on, and in which numbers: what is there, and what the hardware multiplies itself."""

import pytest
import torch

from core.errors import ParamsError
from models import device


@pytest.fixture(autouse=True)
def forget():
    device.bfloat16_pays.cache_clear()
    yield
    device.bfloat16_pays.cache_clear()


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
    monkeypatch.setattr(device.torch.cpu, "get_capabilities", lambda: has)
    monkeypatch.setattr(device.sys, "platform", system)

    assert device.bfloat16_pays() is pays
    assert device.dtype_of("auto") is (torch.bfloat16 if pays else torch.float32)
    assert device.dtype_of("bfloat16") is torch.bfloat16  # who asks for one gets it


def test_another_word_is_named_with_what_there_is() -> None:
    with pytest.raises(ValueError, match="'half'; there are auto, float32, bfloat16"):
        device.dtype_of("half")


def test_a_gpu_is_taken_when_there_is_one_and_who_names_a_device_gets_that(monkeypatch) -> None:
    monkeypatch.delenv(device.VARIABLE, raising=False)
    monkeypatch.setattr(device.torch.cuda, "is_available", lambda: False)
    assert device.device() == device.CPU
    monkeypatch.setattr(device.torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(device.torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(device.torch.cuda, "is_bf16_supported", lambda including_emulation: False)
    assert device.device() == torch.device("cuda:0")
    assert device.dtype_of("auto", device.device()) is torch.float32  # whatever the processor beside it can do
    for asked in ("cpu", "cuda:1"):
        monkeypatch.setenv(device.VARIABLE, asked)
        assert str(device.device()) == asked


@pytest.mark.parametrize(("asked", "told"), [("gpu0", "is no device; use auto"), ("cuda:2", "sees 2 devices"), ("meta", "sees 0 devices")])
def test_a_device_that_is_not_there_is_refused_by_name(monkeypatch, asked, told) -> None:
    monkeypatch.setattr(device.torch.cuda, "device_count", lambda: 2)
    monkeypatch.setenv(device.VARIABLE, asked)
    with pytest.raises(ParamsError, match=f"ADLOOM_DEVICE is '{asked}'.*{told}"):
        device.device()
