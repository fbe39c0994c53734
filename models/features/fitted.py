"""What the features learn from the past, and its file in the ranker bundle."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from core.errors import BundleError
from models.bundle import load_arrays, save_arrays
from models.features.trends import TABLES, Trends


@dataclass(frozen=True)
class Fitted:
    """What the features learn from the past; saved in the ranker bundle.

    Attributes:
        basis: ``(d, p)`` text space → projected space.
        shopper_axes: ``(d, SHOPPER_AXES)`` of F.
        copy_axes: ``(p, COPY_AXES)`` of copies' projected vectors.
        cue_mean: ``(cues,)`` over logged impressions.
        cue_scale: ``(cues,)`` standard deviations.
        base_rate: clicks over impressions.
        trends: day tables.
    """

    basis: NDArray[np.float32]
    shopper_axes: NDArray[np.float32]
    copy_axes: NDArray[np.float32]
    cue_mean: NDArray[np.float32]
    cue_scale: NDArray[np.float32]
    base_rate: float
    trends: Trends

    def save(self, path: Path) -> None:
        """Write one safetensors file.

        Args:
            path: the file.
        """
        arrays = {name: getattr(self, name) for name in ("basis", "shopper_axes", "copy_axes", "cue_mean", "cue_scale")}
        numbers = {"base_rate": np.array([self.base_rate]), "first_day": np.array([self.trends.first_day])}
        save_arrays(arrays | numbers | {f"trend {name}": self.trends.tables[name] for name in TABLES}, path)

    @classmethod
    def load(cls, path: Path) -> "Fitted":
        """Read what `save` wrote.

        Args:
            path: the file.

        Raises:
            BundleError: the file is missing, cut off or from another version.
        """
        held = load_arrays(path)
        try:
            trends = Trends(int(held["first_day"][0]), {name: held[f"trend {name}"] for name in TABLES})
            return cls(
                basis=held["basis"],
                shopper_axes=held["shopper_axes"],
                copy_axes=held["copy_axes"],
                cue_mean=held["cue_mean"],
                cue_scale=held["cue_scale"],
                base_rate=float(held["base_rate"][0]),
                trends=trends,
            )
        except KeyError as missing:
            raise BundleError(f"{path}: no array {missing}; train the ranker again.") from None
