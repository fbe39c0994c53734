"""No category fills more than its part of a slate while candidates of others are left: who may stand, given who stands above.

The rule belongs to the distribution, it is no filter after it: a candidate of a category that is full has probability 0 at this position,
the others share what there is, and what is logged is what was drawn from.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Codes = NDArray[np.integer]


@dataclass(frozen=True)
class Limit:
    """At most so many candidates of one category, as long as there are open ones of others.

    Attributes:
        categories: ``(n,)`` code of each candidate's; the candidates of a group are of one category.
        most: at least 1.
    """

    categories: Codes
    most: int

    def __post_init__(self) -> None:
        """Check `most`.

        Raises:
            ValueError: it is below 1.
        """
        if self.most < 1:
            raise ValueError(f"most is {self.most}; at least 1 candidate of a category must be let in")

    def opened(self, left: NDArray[np.float64], above: Sequence[int]) -> NDArray[np.float64]:
        """Scores of those who may stand next.

        Args:
            left: ``(m, n)``, ``-inf`` for whoever has left the set; somebody is left.
            above: candidates that stand above.

        Returns:
            ``left`` with ``-inf`` for categories that are full too; as it is where nobody else is left.
        """
        taken = (self.categories[list(above)][:, None] == self.categories).sum(axis=0)
        if taken.max(initial=0) < self.most:
            return left
        found = np.where(taken >= self.most, -np.inf, left)
        return found if bool((found[0] > -np.inf).any()) else left


def simplest(groups: Codes, limit: Limit | None, k: int, present: NDArray[np.bool_] | None = None) -> tuple[Codes, Limit | None]:
    """The same rule in fewer words, where it has them: groups alone say that one of them is shown.

    Args:
        groups: ``(n,)`` see `models.policies.slate.slate`.
        limit: see there.
        k: positions to fill.
        present: ``(n,)`` who is in the set; None: everybody.

    Returns:
        Groups and a limit by which slates of k positions have the same probabilities; None where it cannot forbid anything.
    """
    if limit is None or limit.most >= k:
        return groups, None
    held = limit.categories if present is None else limit.categories[present]
    if not held.size or bool((held == held[0]).all()):
        return groups, None
    alone = limit.most == 1 and (k == 2 or np.unique(held).size >= k)  # there is a category for each position
    return (limit.categories, None) if alone else (groups, limit)
