"""What each generator wrote for held-out products, beside the human copy: kept in the bundle, so that it can be read and judged again."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from core.files import read_table, write_table
from models.generator.request import CopyRequest
from models.generator.training_copies import Copy, load_copies, save_copies

_GROUP, _LIMIT, _TEXT = "group", "limit", "text:"


@dataclass(frozen=True)
class HeldOutTexts:
    """One text a generator and held-out product, nobody chose among several.

    Attributes:
        copies: the held-out human copies with their products.
        groups: the group of each (`split_groups`).
        texts: origin → one text a copy.
    """

    copies: tuple[Copy, ...]
    groups: tuple[str, ...]
    texts: dict[str, tuple[str, ...]]

    @property
    def requests(self) -> list[CopyRequest]:
        """The orders."""
        return [copy.request for copy in self.copies]

    @property
    def references(self) -> list[str]:
        """The human copies."""
        return [copy.text for copy in self.copies]

    def group_array(self) -> NDArray[np.object_]:
        """The groups as the bootstrap takes them."""
        return np.array(self.groups, dtype=object)

    def at_most(self, n: int) -> "HeldOutTexts":
        """Rows at even steps.

        Args:
            n: how many at the most, at least 1.
        """
        step = -(-len(self.copies) // n) or 1
        return HeldOutTexts(self.copies[::step], self.groups[::step], {name: texts[::step] for name, texts in self.texts.items()})

    def save(self, path: Path) -> None:
        """Write a table of one row a copy.

        Args:
            path: the Parquet file.
        """
        save_copies(self.copies, path)
        table = read_table(path).assign(**{_GROUP: list(self.groups)})
        table[_LIMIT] = [copy.request.limit for copy in self.copies]
        table = table.astype({_GROUP: "str", _LIMIT: "Int64"})
        write_table(table.assign(**{f"{_TEXT}{name}": list(texts) for name, texts in self.texts.items()}), path)

    @classmethod
    def load(cls, path: Path, limits: Mapping[str, int]) -> "HeldOutTexts":
        """Read what `save` wrote.

        Args:
            path: the Parquet file.
            limits: longest text of each channel.
        """
        table = read_table(path)
        own = [None if pd.isna(limit) else int(limit) for limit in table[_LIMIT]]
        copies = tuple(
            replace(copy, request=replace(copy.request, limit=limit, limits=limits))
            for copy, limit in zip(load_copies(path), own, strict=True)
        )
        texts = {str(name).removeprefix(_TEXT): tuple(table[name].astype(str)) for name in table.columns if str(name).startswith(_TEXT)}
        return cls(copies, tuple(table[_GROUP].astype(str)), texts)

    @classmethod
    def none(cls) -> "HeldOutTexts":
        """Of a bundle that trained nothing."""
        return cls((), (), {})
