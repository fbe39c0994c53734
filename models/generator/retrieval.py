"""The nearest-neighbour baseline: copy of the most similar product, with this product's words in its slots."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from core.vocabulary import Origin
from models.generator.request import CopyRequest
from models.generator.slots import lexicalise, slots_of
from models.generator.training_copies import Copy


def features_of(request: CopyRequest) -> frozenset[str]:
    """What two products are compared by: category, slot names and slot values.

    Args:
        request: the product.
    """
    slots = slots_of(request)
    return frozenset(
        {f"c:{request.category}", *[f"k:{slot.key}" for slot in slots], *[f"v:{slot.value}" for slot in slots if slot.name != "price"]}
    )


@dataclass(frozen=True)
class RetrievalGenerator:
    """Nearest training copies by Jaccard similarity of products; those of the same scene and channel come first.

    Attributes:
        copies: training copies.
    """

    copies: tuple[Copy, ...]
    name: str = Origin.RETRIEVAL

    def __post_init__(self) -> None:
        index: dict[str, int] = {}
        rows = [[index.setdefault(feature, len(index)) for feature in sorted(features_of(copy.request))] for copy in self.copies]
        matrix = np.zeros((len(rows), len(index)), np.float32)
        for line, row in enumerate(rows):
            matrix[line, row] = 1.0
        object.__setattr__(self, "_index", index)
        object.__setattr__(self, "_matrix", matrix)
        object.__setattr__(self, "_sizes", matrix.sum(1))
        places = np.array([(copy.request.scene, copy.request.channel) for copy in self.copies], dtype=object).reshape(-1, 2)
        object.__setattr__(self, "_places", places)

    def nearest(self, request: CopyRequest) -> np.ndarray:
        """Training copies, the most similar first; ties by place in the table.

        Args:
            request: the product and its place.

        Returns:
            (copies,) int64.
        """
        index: dict[str, int] = self._index  # type: ignore[attr-defined]
        matrix: np.ndarray = self._matrix  # type: ignore[attr-defined]
        sizes: np.ndarray = self._sizes  # type: ignore[attr-defined]
        wanted = features_of(request)
        shared = matrix[:, [index[feature] for feature in sorted(wanted) if feature in index]].sum(1)
        places: np.ndarray = self._places  # type: ignore[attr-defined]
        place = (places == np.array([request.scene, request.channel], dtype=object)).sum(1)
        return np.argsort(-(shared / (sizes + len(wanted) - shared) + 2.0 * place), kind="stable")

    def write(self, requests: Sequence[CopyRequest], n: int, rng: np.random.Generator) -> list[list[str]]:
        """See `CopyGenerator.write`; neighbours whose slots the product cannot fill are passed over.

        Args:
            requests: the orders.
            n: texts a request.
            rng: not drawn from: retrieval is deterministic.
        """
        found = []
        for request in requests:
            slots = slots_of(request)
            place = {slot.name: index for index, slot in enumerate(slots)}
            texts: list[str] = []
            for row in self.nearest(request):
                theirs, pieces = slots_of(self.copies[row].request), self.copies[row].pieces
                if all(theirs[piece].name in place for piece in pieces if isinstance(piece, int)):
                    text = lexicalise([place[theirs[piece].name] if isinstance(piece, int) else piece for piece in pieces], slots)
                    if text not in texts:
                        texts.append(text)
                if len(texts) == n:
                    break
            found.append(texts)
        return found

    def save(self, folder: Path) -> None:
        """Nothing of its own: it reads the bundle's training copies.

        Args:
            folder: not used.
        """
