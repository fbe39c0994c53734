"""Where each author lies in the plane of quality and diversity, on as many texts as the curves of `tasks.judge.curves`.

Self-BLEU grows with the number of texts: a set of 400 looks more alike than 200 of its own.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evaluation import text as metrics
from models.generator.held_out import HeldOutTexts


@dataclass(frozen=True)
class Plane:
    """Every author on the same products.

    Attributes:
        texts: how many, one a product.
        bleu_4: generator → mean BLEU-4 to the human copy, per cent.
        self_bleu_4: generator → Self-BLEU-4 of its texts, per cent.
        human: Self-BLEU-4 of the human copies, per cent.
    """

    texts: int
    bleu_4: dict[str, float]
    self_bleu_4: dict[str, float]
    human: float

    @classmethod
    def of(cls, held: HeldOutTexts, drawn: Mapping[str, Any]) -> "Plane":
        """Measure.

        Args:
            held: what each generator wrote, and the human copies.
            drawn: of `tasks.judge.curves.curves`; empty where no curves were drawn.

        Returns:
            On the products of the curves; on as many at even steps where a bundle of before does not name them; on all without curves.
        """
        rows = _rows(held, drawn)
        references = [held.references[row] for row in rows]
        texts = {name: [written[row] for row in rows] for name, written in held.texts.items()} if len(rows) else {}
        return cls(
            texts=len(rows),
            bleu_4={name: float(metrics.bleu_4(written, references).mean()) for name, written in texts.items()},
            self_bleu_4={name: metrics.self_bleu_4(written) for name, written in texts.items()},
            human=metrics.self_bleu_4(references),
        )


def _rows(held: HeldOutTexts, drawn: Mapping[str, Any]) -> NDArray[np.int64]:
    named = set(drawn.get("copies", ()))
    found = [row for row, copy in enumerate(held.copies) if copy.copy_id in named]
    size = len(held.copies)
    return np.array(found, np.int64) if found else np.linspace(0, size - 1, min(size, drawn.get("n", size))).round().astype(np.int64)
