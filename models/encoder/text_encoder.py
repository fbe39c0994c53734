"""Text → feature: BERT, mean pooling, corpus mean removed, unit length."""

import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from core.errors import EncoderError
from models.bundle import load_arrays, read_config, save_arrays, writing_bundle
from models.cache import cache_folder
from models.device import device, dtype_of
from models.embeddings import Embeddings
from models.encoder.network import EncoderNetwork, encoder_folder, weights_hash
from models.encoder.vector_cache import VectorCache

log = logging.getLogger(__name__)

KIND = "encoder"
_DISK_FROM = 16
"""Calls with fewer new texts than this leave the cache on disk alone: a service asks for one query at a time."""
_SEGMENT = 2048
_REMEMBERED = 4096


@dataclass(frozen=True)
class EncoderSettings:
    """What decides a raw vector, besides the text.

    Attributes:
        model: ``embedded``, a hub id or a folder.
        weights: hash of the weights and tokenizer.
        prefix: put before each text.
        max_tokens: longer texts are cut.
        batch_tokens: tokens a batch, padding included.
        precision: ``float32``, ``bfloat16``, or ``auto``: each machine takes what it computes faster, see `models.device`.
    """

    model: str
    weights: str
    prefix: str
    max_tokens: int
    batch_tokens: int
    precision: str


class TextEncoder:
    """The encoder of one run: settings and corpus mean; the network is loaded when a text is first encoded."""

    def __init__(self, settings: EncoderSettings, mean: np.ndarray | None = None) -> None:
        """Make an encoder; `open` and `load` are the usual doors.

        Args:
            settings: see `EncoderSettings`.
            mean: (d,) the corpus mean, or None when it is not fitted yet.
        """
        self.settings = settings
        self.mean = mean
        self._network: EncoderNetwork | None = None
        self._known: dict[str, np.ndarray] = {}
        self._recent: dict[str, np.ndarray] = {}
        self._cache = VectorCache(
            cache_folder("vectors"),
            weights=settings.weights,
            prefix=settings.prefix,
            max_tokens=settings.max_tokens,
            precision=_numbers(settings.precision),
        )

    @classmethod
    def open(cls, model: str, *, prefix: str, max_tokens: int, batch_tokens: int, precision: str) -> "TextEncoder":
        """An encoder without a corpus mean.

        Args:
            model: ``embedded``, a hub id or a folder.
            prefix: put before each text.
            max_tokens: longer texts are cut.
            batch_tokens: tokens a batch, padding included.
            precision: ``float32``, ``bfloat16``, or ``auto``: each machine takes what it computes faster, see `models.device`.

        Raises:
            EncoderError: there is no such encoder, or its folder is incomplete.
        """
        weights = weights_hash(encoder_folder(model))
        return cls(EncoderSettings(model, weights, prefix, max_tokens, batch_tokens, precision))

    @classmethod
    def load(cls, bundle: Path) -> "TextEncoder":
        """An encoder bundle; the weights themselves are found when the first text is encoded.

        Args:
            bundle: the folder that `save` wrote.

        Raises:
            BundleError: the folder is missing, incomplete or of another kind.
        """
        config = read_config(bundle, KIND)
        names = EncoderSettings.__dataclass_fields__
        return cls(EncoderSettings(**{name: config[name] for name in names}), load_arrays(bundle / "mean.safetensors")["mean"])

    def knowing(self, embeddings: Embeddings) -> "TextEncoder":
        """This encoder, which needs no network for texts that were encoded before.

        Args:
            embeddings: made by this encoder.
        """
        self.remember(embeddings.texts, embeddings.vectors)
        return self

    def save(self, bundle: Path) -> None:
        """Write config.json and the corpus mean, whole or not at all.

        Args:
            bundle: the folder.

        Raises:
            ValueError: no mean has been fitted.
        """
        if self.mean is None:
            raise ValueError("the encoder has no corpus mean; call `fitted` first")
        with writing_bundle(bundle, KIND, {**asdict(self.settings), "dim": len(self.mean)}) as draft:
            save_arrays({"mean": self.mean}, draft / "mean.safetensors")

    def fitted(self, raw: np.ndarray) -> "TextEncoder":
        """This encoder with the corpus mean of these vectors.

        Args:
            raw: (n, d) raw vectors of the texts known in the training window.

        Raises:
            ValueError: no vectors.
        """
        if not len(raw):
            raise ValueError("no texts to fit the corpus mean on; at least one is needed")
        other = TextEncoder(self.settings, raw.astype(np.float64).mean(axis=0).astype(np.float32))
        other._network, other._known, other._cache = self._network, self._known, self._cache
        return other

    def remember(self, texts: Sequence[str], raw: np.ndarray) -> None:
        """Take vectors as known, so that these texts need no network.

        Args:
            texts: texts.
            raw: (n, d) their raw vectors, made by this encoder.
        """
        self._known.update(zip(texts, raw, strict=True))

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Raw vectors; each distinct text passes the network once, or not at all when it is known.

        Args:
            texts: any texts, repeats allowed.

        Returns:
            (n, d) float32, mean-pooled, neither centred nor scaled.

        Raises:
            EncoderError: the network cannot be loaded, or its weights are not those that the bundle was made with.
        """
        distinct = list(dict.fromkeys(texts))
        held = {text: self._known.get(text, self._recent.get(text)) for text in distinct}
        found = {text: vector for text, vector in held.items() if vector is not None}
        unknown = [text for text in distinct if text not in found]
        if len(unknown) >= _DISK_FROM:
            found.update(self._cache.look_up(unknown))
            unknown = [text for text in unknown if text not in found]
        if unknown:
            found.update(self._through_network(unknown))
        if not distinct:
            return np.zeros((0, self._loaded().dim if self.mean is None else len(self.mean)), np.float32)
        return np.stack([found[text] for text in texts])

    def word_vectors(self, texts: Sequence[str]) -> np.ndarray:
        """Input vectors of words, for networks that begin where the encoder stands.

        Args:
            texts: words or short phrases.

        Returns:
            (n, d) float32.

        Raises:
            EncoderError: see `encode`.
        """
        return self._loaded().word_vectors(texts)

    def centre(self, raw: np.ndarray) -> np.ndarray:
        """Features of raw vectors: minus the corpus mean, unit length.

        Args:
            raw: (n, d) raw vectors.

        Returns:
            (n, d) float32; a vector that equals the mean becomes zero.

        Raises:
            ValueError: no mean has been fitted.
        """
        if self.mean is None:
            raise ValueError("the encoder has no corpus mean; call `fitted` first")
        moved = raw - self.mean
        norms = np.linalg.norm(moved, axis=1, keepdims=True)
        features: np.ndarray = (moved / np.maximum(norms, 1e-12)).astype(np.float32)
        return features

    def features(self, texts: Sequence[str]) -> np.ndarray:
        """`centre` of `encode`.

        Args:
            texts: any texts.

        Returns:
            (n, d) float32, unit length.
        """
        return self.centre(self.encode(texts))

    def _through_network(self, texts: list[str]) -> dict[str, np.ndarray]:
        network = self._loaded()
        tokens = network.tokens_of(texts)
        batches = list(network.batches(tokens, batch_tokens=self.settings.batch_tokens))
        made: dict[str, np.ndarray] = {}
        kept = 0
        with tqdm(total=len(texts), desc="encode", unit="text", disable=len(texts) < 10 * _DISK_FROM, leave=False) as bar:
            for rows in batches:
                made.update(zip((texts[row] for row in rows), network.pooled([tokens[row] for row in rows]), strict=True))
                bar.update(len(rows))
                if len(texts) >= _DISK_FROM and (len(made) - kept >= _SEGMENT or len(made) == len(texts)):
                    fresh = list(made)[kept:]
                    self._cache.add(fresh, np.stack([made[text] for text in fresh]))
                    kept = len(made)
        if len(texts) < _DISK_FROM:
            older = list(self._recent.items())[-_REMEMBERED:]
            self._recent = dict(older) | made
        return made

    def _loaded(self) -> EncoderNetwork:
        if self._network is None:
            asked = self.settings
            folder = encoder_folder(asked.model)
            found = weights_hash(folder)
            if found != asked.weights:
                raise EncoderError(f"{folder}: holds weights {found[:12]}, the bundle needs {asked.weights[:12]}. Run `dvc repro encode`.")
            self._network = EncoderNetwork(folder, prefix=asked.prefix, max_tokens=asked.max_tokens, precision=asked.precision)
        return self._network


def _numbers(precision: str) -> str:
    """What vectors are computed in here: those of another machine's numbers are not taken for its own."""
    where = device()
    return str(dtype_of(precision, where)).removeprefix("torch.") + ("" if where.type == "cpu" else f" on {where.type}")
