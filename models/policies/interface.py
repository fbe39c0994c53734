"""What every policy is: scores for the candidates, perhaps in many draws, and a floor; it learns from counts and is saved without pickle.

A policy hands over M draws of the candidates' scores. The distribution is what the draws vote for, mixed with the exploration floor
(`models.policies.slate`); it is drawn from as it stands, so the propensity that is logged is exact. Uniform, greedy and ε-greedy
are the case M = 1.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from models.policies.slate import Slate, slate, vote

Floats = NDArray[np.float64]
Codes = NDArray[np.int64]


@dataclass(frozen=True)
class PolicyState:
    """All that a policy is and knows, ready for a bundle.

    Attributes:
        config: JSON values: the name of the policy and its settings.
        arrays: by name: what it has learnt.
    """

    config: Mapping[str, object]
    arrays: Mapping[str, np.ndarray]


class Policy(ABC):
    """Chooses among creatives 0 … n − 1, and learns from who clicked.

    Args:
        creatives: n, at least 1.
        exploration: floor ε in [0, 1]: every candidate of a request keeps at least ε / number of candidates.

    Raises:
        ValueError: a setting outside its range.
    """

    name: ClassVar[str]

    def __init__(self, creatives: int, *, exploration: float) -> None:
        if creatives < 1:
            raise ValueError(f"{creatives} creatives; a policy needs at least 1 to choose from")
        if not 0 <= exploration <= 1:
            raise ValueError(f"exploration is {exploration}; it must lie in [0, 1]")
        self.creatives = creatives
        self.exploration = exploration

    @abstractmethod
    def draws(self, rng: np.random.Generator, candidates: Codes, context: Floats | None = None) -> Floats:
        """Scores of the candidates, larger is better.

        Args:
            rng: the stream to draw from.
            candidates: ``(c,)`` creatives, all different.
            context: ``(x,)`` features of the request; None for a policy that knows none.

        Returns:
            ``(m, c)``, one row a draw.
        """

    @abstractmethod
    def learn(self, creatives: Codes, shown: Floats, clicked: Floats, context: Floats | None) -> None:
        """`update` with checked arguments."""

    @abstractmethod
    def state(self) -> PolicyState:
        """Settings and what was learnt; `restore` makes the same policy of it."""

    @classmethod
    @abstractmethod
    def restore(cls, state: PolicyState) -> "Policy":
        """The policy that `state` was taken of.

        Args:
            state: as `state` gave it; `models.policies.restore` picks the class by its name.
        """

    def update(self, creatives: ArrayLike, shown: ArrayLike, clicked: ArrayLike, *, context: ArrayLike | None = None) -> None:
        """Learn from a batch; a creative may stand in several rows, and batches in any order.

        Args:
            creatives: ``(b,)`` which creative a row is about.
            shown: ``(b,)`` impressions, at least 0; a fraction where a position gets a fraction of the attention.
            clicked: ``(b,)`` clicks, 0 to shown.
            context: ``(b, x)`` features of the rows' requests, such as scene, channel and position; None for a policy that knows none.

        Raises:
            ValueError: lengths differ, a creative that does not exist, counts outside their range, or a context of another shape.
        """
        rows = np.asarray(creatives, dtype=np.int64)
        seen, clicks = np.asarray(shown, dtype=np.float64), np.asarray(clicked, dtype=np.float64)
        if rows.ndim != 1 or rows.shape != seen.shape or rows.shape != clicks.shape:
            raise ValueError(f"creatives {rows.shape}, shown {seen.shape} and clicked {clicks.shape} must be rows of one length")
        outside = (rows < 0) | (rows >= self.creatives)
        if outside.any():
            raise ValueError(f"{int(outside.sum())} rows name creatives outside 0 … {self.creatives - 1}; first: {rows[outside][0]}")
        wrong = ~((seen >= 0) & (clicks >= 0) & (clicks <= seen) & np.isfinite(seen))
        if wrong.any():
            raise ValueError(
                f"{int(wrong.sum())} of {rows.size} rows break 0 ≤ clicked ≤ shown < ∞; "
                f"first: creative {rows[wrong][0]} with {clicks[wrong][0]} of {seen[wrong][0]}"
            )
        features = None if context is None else np.asarray(context, dtype=np.float64)
        if features is not None and (features.ndim != 2 or len(features) != rows.size):
            raise ValueError(f"context has shape {features.shape}; one row of features a row is needed, ({rows.size}, x)")
        used = seen > 0
        if used.any():
            self.learn(rows[used], seen[used], clicks[used], None if features is None else features[used])

    def distribution(self, rng: np.random.Generator, *, candidates: Codes | None = None, context: Floats | None = None) -> Floats:
        """What would be shown on top, with exact propensities.

        Args:
            rng: the stream to draw from; another stream may give another distribution, each exact for what is drawn from it.
            candidates: ``(c,)`` creatives, all different; None for all of them.
            context: ``(x,)`` features of the request.

        Returns:
            ``(c,)`` probabilities that sum to 1, at least ε / c each.

        Raises:
            ValueError: no candidates, or some that do not exist or repeat.
        """
        return vote(self.draws(rng, self._candidates(candidates), context), self.exploration)

    def slate(
        self,
        k: int,
        rng: np.random.Generator,
        *,
        candidates: Codes | None = None,
        context: Floats | None = None,
        groups: NDArray[np.integer] | None = None,
    ) -> Slate:
        """Draw a slate; its indices count within the candidates.

        Args:
            k: positions to fill.
            rng: the stream to draw from.
            candidates: as for `distribution`.
            context: as for `distribution`.
            groups: ``(c,)`` codes; at most one candidate of a group is shown.

        Returns:
            The slate with its exact propensities.

        Raises:
            ValueError: see `distribution` and `models.policies.slate.slate`.
        """
        return slate(self.draws(rng, self._candidates(candidates), context), k, self.exploration, rng, groups=groups)

    def _candidates(self, candidates: Codes | None) -> Codes:
        if candidates is None:
            return np.arange(self.creatives)
        chosen = np.asarray(candidates, dtype=np.int64)
        if (
            chosen.ndim != 1
            or chosen.size == 0
            or np.unique(chosen).size < chosen.size
            or chosen.min() < 0
            or chosen.max() >= self.creatives
        ):
            raise ValueError(
                f"candidates of shape {chosen.shape} are not a set of creatives within 0 … {self.creatives - 1}; "
                "filter first, and leave a request without candidates unanswered"
            )
        return chosen
