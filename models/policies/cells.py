"""Counts by distinct (creative, context): what a policy with context keeps of the log while that is short."""

from dataclasses import dataclass

import numpy as np

from models.policies.interface import Codes, Floats


@dataclass(frozen=True)
class Cells:
    """One row a distinct (creative, context) that was shown.

    Attributes:
        creatives: ``(m,)`` codes.
        context: ``(m, x)`` features.
        shown: ``(m,)`` impressions.
        clicked: ``(m,)`` clicks.
    """

    creatives: Codes
    context: Floats
    shown: Floats
    clicked: Floats

    @classmethod
    def none(cls, features: int) -> "Cells":
        """No data.

        Args:
            features: x, number of context features.
        """
        return cls(np.zeros(0, dtype=np.int64), np.zeros((0, features)), np.zeros(0), np.zeros(0))

    def plus(self, creatives: Codes, context: Floats, shown: Floats, clicked: Floats) -> "Cells":
        """The counts with a batch added; rows of the same creative and context become one.

        Args:
            creatives: ``(b,)`` codes.
            context: ``(b, x)`` features.
            shown: ``(b,)`` impressions.
            clicked: ``(b,)`` clicks.
        """
        codes = np.concatenate([self.creatives, creatives])
        features = np.concatenate([self.context, context])
        keys = np.hstack([codes[:, None].astype(np.float64), features])
        _, first, cell = np.unique(keys, axis=0, return_index=True, return_inverse=True)

        def total(old: Floats, new: Floats) -> Floats:
            return np.asarray(np.bincount(cell.ravel(), weights=np.concatenate([old, new]), minlength=first.size), dtype=np.float64)

        return Cells(codes[first], features[first], total(self.shown, shown), total(self.clicked, clicked))
