"""A decoder with its vocabulary, phrases and scale of F: what GPT and the latent text model share."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from core.errors import BundleError
from core.files import read_json, write_json
from models.bundle import load_arrays, save_arrays
from models.generator.decoder import CopyDecoder, DecoderShape
from models.generator.memory import PhraseMemory
from models.generator.prompts import FeatureScale, PhraseBook, Prompts, prompts_of
from models.generator.request import CopyRequest
from models.generator.sampling import sample
from models.generator.slots import Piece, Slot, lexicalise
from models.generator.vocabulary import BOS, EOS, Vocabulary

_ROWS = 512
"""Requests whose phrases are read at a time."""


def save_weights(module: nn.Module, path: Path) -> None:
    """Write a network's weights as safetensors.

    Args:
        module: the network.
        path: the file.
    """
    save_arrays({name: value.detach().numpy() for name, value in module.state_dict().items()}, path)


def load_weights(path: Path) -> dict[str, Tensor]:
    """Read what `save_weights` wrote.

    Args:
        path: the file.

    Raises:
        BundleError: the file is missing or truncated.
    """
    return {name: torch.from_numpy(value) for name, value in load_arrays(path).items()}


@dataclass(frozen=True)
class CopyModel:
    """Text in, text out, around a `CopyDecoder`.

    Attributes:
        vocabulary: tokens.
        book: phrases with numbers of their own.
        scale: of F.
        decoder: the network.
        repeats: how often a text may state one fact.
        memory: counts of training copy that the decoder's chances are mixed with; None: the decoder alone.
        share: of the memory, in [0, 1).
    """

    vocabulary: Vocabulary
    book: PhraseBook
    scale: FeatureScale
    decoder: CopyDecoder
    repeats: int = 1
    memory: PhraseMemory | None = None
    share: float = 0.0

    def prompts(self, requests: Sequence[CopyRequest]) -> tuple[Prompts, list[tuple[Slot, ...]]]:
        """Requests as tensors, and their slots.

        Args:
            requests: the orders.

        Raises:
            ValueError: see `prompts_of`.
        """
        return prompts_of(requests, self.vocabulary, self.book, self.scale)

    def tokens(self, pieces: Sequence[Piece]) -> list[int]:
        """Ids of a copy with begin and end, cut to what the decoder can hold.

        Args:
            pieces: a delexicalised copy.
        """
        ids = self.vocabulary.encode(pieces)[: self.decoder.shape.max_tokens - 2]
        return [BOS, *ids, EOS]

    def write(
        self,
        requests: Sequence[CopyRequest],
        n: int,
        rng: np.random.Generator,
        *,
        temperature: float,
        top_p: float,
        latent: Tensor | None = None,
        guidance: float = 1.0,
    ) -> list[list[str]]:
        """Sample texts.

        Args:
            requests: the orders.
            n: texts a request.
            rng: the stream that sampling draws from.
            temperature: above 0.
            top_p: share of probability the nucleus holds.
            latent: (requests · n, d_latent), None for the plain GPT.
            guidance: how far towards the audience (`sample`).

        Returns:
            n texts a request, in order.
        """
        if not requests:
            return []
        prompts, slots = self.prompts(requests)
        how = {"temperature": temperature, "top_p": top_p, "guidance": guidance, "share": self.share}
        drawn = sample(self.decoder.eval(), prompts, n, rng, repeats=self.repeats, latent=latent, memory=self.memory, **how)
        return [[lexicalise(self.vocabulary.decode(ids), held) for ids in texts] for texts, held in zip(drawn, slots, strict=True)]

    @torch.inference_mode()
    def product_vectors(self, prompts: Prompts) -> Tensor:
        """What GAN and VAE know of a product: the mean of its phrases' vectors.

        Args:
            prompts: the requests.

        Returns:
            (batch, d_model).
        """
        made = []
        for rows in torch.split(torch.arange(len(prompts)), _ROWS):
            some = prompts.take(rows)
            mask = some.mask.unsqueeze(-1)
            made.append((self.decoder.phrases(some) * mask).sum(1) / mask.sum(1))
        return torch.cat(made) if made else torch.zeros(0, self.decoder.shape.d_model)

    def save(self, folder: Path) -> None:
        """Write config.json, decoder.safetensors and scale.safetensors.

        Args:
            folder: made if absent.
        """
        folder.mkdir(parents=True, exist_ok=True)
        config = {
            "shape": self.decoder.shape.as_dict(),
            "tokens": list(self.vocabulary.tokens),
            "names": list(self.book.names),
            "values": list(self.book.values),
            "feature_scale": self.scale.scale,
            "repeats": self.repeats,
            "memory_share": self.share,
        }
        write_json(config, folder / "config.json")
        save_weights(self.decoder, folder / "decoder.safetensors")
        save_arrays({"mean": np.asarray(self.scale.mean, np.float32)}, folder / "scale.safetensors")
        if self.memory is not None and self.share:
            self.memory.save(folder / "memory.safetensors")

    @classmethod
    def load(cls, folder: Path) -> "CopyModel":
        """Read what `save` wrote.

        Args:
            folder: the folder.

        Raises:
            BundleError: a file is missing or truncated, or another version of this code wrote it.
        """
        config = read_json(folder / "config.json")
        decoder = CopyDecoder(DecoderShape(**config["shape"]))
        try:
            decoder.load_state_dict(load_weights(folder / "decoder.safetensors"))
        except RuntimeError as error:
            what = " ".join(str(error).split())[:160]
            raise BundleError(
                f"{folder / 'decoder.safetensors'}: weights of another version's network ({what}). "
                "Train the generator again: `adloom run`, or `adloom train-copy`."
            ) from None
        mean = load_arrays(folder / "scale.safetensors")["mean"]
        scale = FeatureScale(mean, float(config["feature_scale"]))
        vocabulary, book = Vocabulary(tuple(config["tokens"])), PhraseBook(tuple(config["names"]), tuple(config["values"]))
        share = float(config.get("memory_share", 0.0))  # bundles from before decision 0019 have none
        memory = PhraseMemory.load(folder / "memory.safetensors") if share else None
        return cls(vocabulary, book, scale, decoder.eval(), int(config["repeats"]), memory, share)
