"""Any BERT of transformers: found by name, hub id or folder, loaded, and run over batches of fixed shape."""

import hashlib
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch

from core.errors import EncoderError
from models.cache import cache_folder
from models.device import device, dtype_of
from models.encoder.embedded import embedded_folder

log = logging.getLogger(__name__)

EMBEDDED = "embedded"
_HASHED = ("*.safetensors", "tokenizer.json", "vocab.txt", "*.model")
_FETCHED = ["*.json", "*.safetensors", "*.txt", "*.model"]
_STEP = 8


def encoder_folder(model: str) -> Path:
    """The folder that holds an encoder's weights and tokenizer.

    Args:
        model: ``embedded``, a folder, or a hub id, which is then fetched into the hub's own cache.

    Raises:
        EncoderError: no such folder or hub id, or a folder without weights, configuration or tokenizer.
    """
    if model == EMBEDDED:
        return embedded_folder(cache_folder("encoders"))
    folder = Path(model) if Path(model).is_dir() else _from_hub(model)
    if not (folder / "config.json").is_file():
        raise EncoderError(f"{folder}: no config.json, so no encoder. Point encode.model at a folder written by `save_pretrained`.")
    if not sorted(folder.glob("*.safetensors")):
        held = ", ".join(sorted(path.name for path in folder.iterdir())) or "nothing"
        raise EncoderError(
            f"{folder}: no *.safetensors weights (it holds {held}). Save it there with `save_pretrained`; pickled weights are not read."
        )
    if not any((folder / name).is_file() for name in ("tokenizer.json", "vocab.txt", "tokenizer_config.json")):
        raise EncoderError(f"{folder}: no tokenizer. Save it beside the weights with `tokenizer.save_pretrained`.")
    return folder


def _from_hub(model: str) -> Path:
    if model.count("/") > 1 or model.startswith((".", "/", "~")):
        raise EncoderError(f"{model}: no such folder. Set encode.model to `embedded`, a folder, or a hub id.")
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(model, allow_patterns=_FETCHED))
    except Exception as error:  # the hub's client raises a dozen kinds; all mean the same to the caller
        raise EncoderError(
            f"{model}: no such folder, and the hub does not give it ({type(error).__name__}: {error}). Check encode.model."
        ) from error


def weights_hash(folder: Path) -> str:
    """Which weights and tokenizer a folder holds.

    Args:
        folder: see `encoder_folder`.

    Returns:
        64 hexadecimal digits.
    """
    digest = hashlib.sha256()
    for path in sorted(path for pattern in _HASHED for path in folder.glob(pattern)):
        digest.update(path.name.encode() + b"\0")
        with path.open("rb") as handle:
            digest.update(hashlib.file_digest(handle, "sha256").digest())
    return digest.hexdigest()


class EncoderNetwork:
    """A tokenizer and a BERT: texts in, mean-pooled raw vectors out."""

    def __init__(self, folder: Path, *, prefix: str, max_tokens: int, precision: str) -> None:
        """Load the weights.

        Args:
            folder: see `encoder_folder`.
            prefix: put before each text.
            max_tokens: longer texts are cut.
            precision: of weights and activations, see `models.device.dtype_of`; pooling is float32.

        Raises:
            EncoderError: the folder cannot be loaded.
        """
        from transformers import AutoConfig, AutoModel, AutoTokenizer
        from transformers.utils import logging as transformers_logging

        transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
        self._device = device()
        try:
            self._tokenizer = AutoTokenizer.from_pretrained(folder)
            config = AutoConfig.from_pretrained(folder)
            wanted = {"dtype": dtype_of(precision, self._device), "use_safetensors": True}
            try:
                network = AutoModel.from_pretrained(folder, add_pooling_layer=False, **wanted)  # the pooler would be random, and is unused
            except TypeError:
                network = AutoModel.from_pretrained(folder, **wanted)
        except (OSError, ValueError, KeyError, RuntimeError) as error:
            raise EncoderError(f"{folder}: transformers cannot load it ({type(error).__name__}: {error}). Check encode.model.") from error
        self.dim = int(config.hidden_size)
        self._network = network.eval().to(self._device)
        self._prefix = prefix
        self._max_tokens = min(max_tokens, self._tokenizer.model_max_length, int(getattr(config, "max_position_embeddings", max_tokens)))
        self._pad = int(self._tokenizer.pad_token_id or 0)

    def tokens_of(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of each text, prefix and end marks included, cut to the limit.

        Args:
            texts: any texts.
        """
        if not texts:
            return []
        made = self._tokenizer([self._prefix + text for text in texts], truncation=True, max_length=self._max_tokens)
        ids: list[list[int]] = made["input_ids"]
        return ids

    def batches(self, tokens: Sequence[list[int]], *, batch_tokens: int) -> Iterator[np.ndarray]:
        """Rows that go through the network together: of one padded length each, shortest first.

        A text's padded length depends on the text alone, so that its vector does not depend, to the last bit, on its neighbours.

        Args:
            tokens: token ids of each text.
            batch_tokens: tokens a batch at the most, padding included; at least one text.

        Yields:
            Indices into ``tokens``.
        """
        lengths = np.array([padded_length(len(ids)) for ids in tokens], dtype=np.int64)
        order = np.argsort(lengths, kind="stable")
        for length in np.unique(lengths).tolist():
            rows = order[lengths[order] == length]
            size = max(1, batch_tokens // length)
            yield from (rows[start : start + size] for start in range(0, len(rows), size))

    def pooled(self, tokens: Sequence[list[int]]) -> np.ndarray:
        """Mean of the last layer over each text's tokens.

        Args:
            tokens: token ids of texts with one padded length.

        Returns:
            (n, d) float32.
        """
        width = padded_length(max(len(ids) for ids in tokens))
        ids = torch.full((len(tokens), width), self._pad, dtype=torch.long)
        mask = torch.zeros(len(tokens), width, dtype=torch.long)
        for row, held in enumerate(tokens):
            ids[row, : len(held)] = torch.tensor(held)
            mask[row, : len(held)] = 1
        with torch.inference_mode():
            ids, mask = ids.to(self._device), mask.to(self._device)
            states = self._network(input_ids=ids, attention_mask=mask).last_hidden_state.float()  # (n, width, d)
            kept = mask[:, :, None].float()
            vectors: np.ndarray = ((states * kept).sum(dim=1) / kept.sum(dim=1)).cpu().numpy()  # (n, d)
        return vectors

    def word_vectors(self, texts: Sequence[str]) -> np.ndarray:
        """Mean of the input vectors of each text's tokens: what the network knows of a word before it reads its neighbours.

        Args:
            texts: words or short phrases.

        Returns:
            (n, d) float32.
        """
        weight = self._network.get_input_embeddings().weight.detach().float().cpu()
        space = {self._tokenizer.convert_tokens_to_ids("▁")}  # sentencepiece begins each text with it: no part of the word
        found = np.zeros((len(texts), weight.shape[1]), np.float32)
        for row, ids in enumerate(self._tokenizer(list(texts), add_special_tokens=False)["input_ids"] if texts else []):
            own = [index for index in ids if index not in space] or [int(self._tokenizer.unk_token_id or 0)]
            found[row] = weight[own].mean(0).numpy()
        return found


def padded_length(tokens: int) -> int:
    """The length that a text of so many tokens is padded to: the next multiple of eight.

    Args:
        tokens: at least 1.
    """
    return -(-max(tokens, 1) // _STEP) * _STEP
