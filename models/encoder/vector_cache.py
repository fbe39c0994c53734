"""Raw vectors kept across runs, by what made them: weights, prefix, cut, precision, threads, and the text itself."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from core.errors import BundleError
from models.bundle import load_arrays, save_arrays


def text_key(text: str) -> bytes:
    """16 bytes that stand for a text.

    Args:
        text: any text.
    """
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()


class VectorCache:
    """Segments of (text hashes, vectors) in one folder an encoder; each segment is written once, named by its content."""

    def __init__(self, folder: Path, *, weights: str, prefix: str, max_tokens: int, precision: str) -> None:
        """Open the encoder's own folder; nothing is read yet.

        Args:
            folder: the cache of all encoders.
            weights: hash of the weights, see `models.encoder.network.weights_hash`.
            prefix: put before each text.
            max_tokens: where texts are cut.
            precision: of the network.
        """
        made_by = "\0".join((weights, prefix, str(max_tokens), precision, str(torch.get_num_threads()), str(torch.__version__)))
        self._folder = folder / hashlib.sha256(made_by.encode()).hexdigest()[:24]
        self._vectors: dict[bytes, np.ndarray] | None = None

    def look_up(self, texts: Sequence[str]) -> dict[str, np.ndarray]:
        """Those of the texts that are held.

        Args:
            texts: any texts.

        Returns:
            Text → (d,) float32.
        """
        held = self._read()
        found = {text: held.get(text_key(text)) for text in texts}
        return {text: vector for text, vector in found.items() if vector is not None}

    def add(self, texts: Sequence[str], vectors: np.ndarray) -> None:
        """Keep vectors; a killed writer leaves nothing half-written.

        Args:
            texts: texts that are not held yet.
            vectors: (n, d) float32.
        """
        keys = [text_key(text) for text in texts]
        held = self._read()
        held.update(zip(keys, vectors, strict=True))
        name = hashlib.sha256(b"".join(keys)).hexdigest()[:24]
        table = np.frombuffer(b"".join(keys), np.uint8).reshape(-1, 16)
        save_arrays({"keys": table, "vectors": vectors}, self._folder / f"{name}.safetensors")

    def _read(self) -> dict[bytes, np.ndarray]:
        if self._vectors is None:
            self._vectors = {}
            for path in sorted(self._folder.glob("*.safetensors")):
                try:
                    segment = load_arrays(path)
                except BundleError:  # a damaged segment costs its texts' time again, nothing else
                    path.unlink(missing_ok=True)
                    continue
                self._vectors.update((key.tobytes(), vector) for key, vector in zip(segment["keys"], segment["vectors"], strict=True))
        return self._vectors
