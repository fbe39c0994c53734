"""Raw text vectors by text: what `encode` hands to the stages after it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from core.columns import Columns
from core.errors import BundleError
from core.files import write_table
from models.bundle import load_arrays, load_table, read_config, save_arrays, writing_bundle

_SHOWN = 3


@dataclass(frozen=True)
class Embeddings:
    """Distinct texts and their raw, mean-pooled vectors; `TextEncoder.centre` makes features of them.

    Attributes:
        texts: distinct texts.
        vectors: (n, d) float32, one row a text.
    """

    texts: tuple[str, ...]
    vectors: np.ndarray
    _rows: dict[str, int] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_rows", {text: row for row, text in enumerate(self.texts)})
        if len(self._rows) != len(self.texts) or self.vectors.shape[:1] != (len(self.texts),):
            raise ValueError(f"{len(self.texts)} texts ({len(self._rows)} distinct) and vectors of shape {self.vectors.shape} do not fit")

    def __contains__(self, text: object) -> bool:
        return text in self._rows

    def vectors_of(self, texts: Sequence[str]) -> np.ndarray:
        """Raw vectors of texts.

        Args:
            texts: texts that were encoded, repeats allowed.

        Returns:
            (n, d) float32.

        Raises:
            BundleError: a text was never encoded.
        """
        missing = [text for text in texts if text not in self._rows]
        if missing:
            shown = ", ".join(repr(text) for text in missing[:_SHOWN])
            raise BundleError(
                f"{len(missing)} of {len(texts)} texts were never encoded, first: {shown}. Run `encode` again: `dvc repro encode`."
            )
        return self.vectors[np.fromiter((self._rows[text] for text in texts), np.int64, len(texts))]

    def save(self, path: Path) -> None:
        """Write the folder, whole or not at all.

        Args:
            path: the folder.
        """
        with writing_bundle(path, "embeddings", {"texts": len(self.texts), "dim": int(self.vectors.shape[1])}) as draft:
            write_table(pd.DataFrame({Columns.TEXT: pd.Series(self.texts, dtype="str")}), draft / "texts.parquet")
            save_arrays({"vectors": self.vectors}, draft / "vectors.safetensors")

    @classmethod
    def load(cls, path: Path) -> "Embeddings":
        """Read the folder that `save` wrote.

        Args:
            path: the folder.

        Raises:
            BundleError: the folder is missing or incomplete.
        """
        read_config(path, "embeddings")
        texts = load_table(path / "texts.parquet")[Columns.TEXT].tolist()
        return cls(tuple(str(text) for text in texts), load_arrays(path / "vectors.safetensors")["vectors"])
