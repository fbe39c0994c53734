"""GPT(F, a, scene): copy written token by token, without a latent."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from core.files import read_json, write_json
from core.vocabulary import Origin
from models.generator.copy_model import CopyModel
from models.generator.request import CopyRequest


@dataclass(frozen=True)
class Sampling:
    """How texts are drawn from a decoder.

    Attributes:
        temperature: above 0.
        top_p: share of probability the nucleus holds, in (0, 1].
        guidance: how far towards the audience, 1: as trained (`sample`).
    """

    temperature: float
    top_p: float
    guidance: float = 1.0

    def save(self, folder: Path) -> None:
        """Write sampling.json.

        Args:
            folder: an existing folder.
        """
        write_json(asdict(self), folder / "sampling.json")

    @classmethod
    def load(cls, folder: Path) -> "Sampling":
        """Read sampling.json.

        Args:
            folder: the folder.
        """
        return cls(**read_json(folder / "sampling.json"))


@dataclass(frozen=True)
class GptGenerator:
    """The plain GPT.

    Attributes:
        model: decoder and vocabulary.
        sampling: temperature and nucleus.
    """

    model: CopyModel
    sampling: Sampling
    name: str = Origin.GPT

    def write(self, requests: Sequence[CopyRequest], n: int, rng: np.random.Generator) -> list[list[str]]:
        """See `CopyGenerator.write`.

        Args:
            requests: the orders.
            n: texts a request.
            rng: the stream.
        """
        s = self.sampling
        return self.model.write(requests, n, rng, temperature=s.temperature, top_p=s.top_p, guidance=s.guidance)

    def save(self, folder: Path) -> None:
        """Write the model and its sampling.

        Args:
            folder: the folder.
        """
        self.model.save(folder)
        self.sampling.save(folder)

    @classmethod
    def load(cls, folder: Path) -> "GptGenerator":
        """Read what `save` wrote.

        Args:
            folder: the folder.
        """
        return cls(CopyModel.load(folder), Sampling.load(folder))
