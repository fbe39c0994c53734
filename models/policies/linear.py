"""Thompson sampling over what creatives are made of, and over context: creatives that share elements learn from one another.

The posterior is `models.policies.hierarchy`'s. Of its draws, M vote as in Thompson sampling, but *tempered*: with many creatives and few
impressions, plain Thompson sampling keeps showing whichever of the many unknown happens to be drawn high, since the best of k draws lies
about E[max of k] standard deviations above the mean. So the draws' deviations from the posterior mean are scaled by

    1 / max(1, E[max of k standard normals]),   k = exp(entropy of the untempered votes): how many creatives still contend,

which leaves the winning draw about one standard deviation of optimism, whatever their number: 0.36 of the deviation with 200 contenders,
0.65 with ten, all of it with four or fewer. Tempering changes what is shown, never the exactness of the propensities.

Source: Chapelle and Li (2011) for posteriors made narrower on purpose; Blom (1958), Statistical Estimates and Transformed
Beta-Variables, for the expected maximum; Thompson (1933).
"""

from typing import ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import entr, expit, logit, ndtri

from models.policies.cells import Cells
from models.policies.counts import PRIOR_CTR
from models.policies.elements import INTERCEPT, design_elements
from models.policies.hierarchy import Posterior, Sums, width_points
from models.policies.interface import Codes, Floats, Policy, PolicyState
from models.policies.slate import vote

CELLS = 20_000
"""Distinct (creative, context) whose counts are kept; beyond, they are folded into sums at the approximation that stands."""
STEPS = 8
SETTLED = 0.02
"""Log-odds: the approximation is made anew until its own posterior mean is this near to where it was made, or `STEPS` times."""


class LinearThompson(Policy):
    """Hierarchical Thompson sampling over elements and context.

    Args:
        elements: ``(n, kinds)`` code of each creative's choice of each kind.
        exploration: the floor.
        votes: M, posterior draws a distribution.
        pairs: whether pairs of choices have effects of their own; costs time, see docs/decisions.
        context: number of context features, such as indicators of scene, channel and position; 0 for none.

    Raises:
        ValueError: a setting outside its range, or elements of another shape.
    """

    name: ClassVar[str] = "linear_thompson"

    def __init__(
        self, elements: NDArray[np.integer], *, exploration: float = 0.01, votes: int = 100, pairs: bool = False, context: int = 0
    ) -> None:
        self.elements = np.array(elements, dtype=np.int64)
        self.design = design_elements(self.elements, pairs=pairs, context=context)
        super().__init__(self.design.creatives, exploration=exploration)
        if votes < 1:
            raise ValueError(f"votes is {votes}; at least 1 draw is needed")
        self.votes, self.pairs, self.context = votes, pairs, context
        self.offset: float | None = None
        names = sorted(set(self.design.groups) - {INTERCEPT})
        self.groups = (*names, "residual")
        self._group = np.array([names.index(group) if group != INTERCEPT else -1 for group in self.design.groups], dtype=np.int64)
        self._widths = width_points(len(self.groups))
        self._folded = Sums.none(self._group.size, self.creatives)
        self._cells = Cells.none(context)
        self._posterior = self._believe(self._folded)

    def widths(self) -> dict[str, float]:
        """The prior widths that the data set, in log-odds: group → geometric posterior mean."""
        return dict(zip(self.groups, self._posterior.mean_widths.tolist(), strict=True))

    def p_click(self, candidates: Codes | None = None, context: Floats | None = None) -> Floats:
        """σ of the posterior mean log-odds.

        Args:
            candidates: ``(c,)`` creatives; None for all.
            context: ``(x,)`` features of the request.

        Returns:
            ``(c,)`` probabilities.
        """
        chosen = self._candidates(candidates)
        offset = logit(PRIOR_CTR) if self.offset is None else self.offset
        return np.asarray(expit(offset + self._posterior.mean(self.design.rows(chosen, context), chosen)))

    def learn(self, creatives: Codes, shown: Floats, clicked: Floats, context: Floats | None) -> None:
        """Count the batch, and look for where the posterior's mean agrees with the approximation that was made there."""
        self.design.rows(creatives, context)  # refuses a wrong context before anything is learnt
        if self.offset is None:
            self.offset = float(logit((clicked.sum() + 1) / (shown.sum() + 1 / PRIOR_CTR)))
        self._cells = self._cells.plus(creatives, np.zeros((creatives.size, 0)) if context is None else context, shown, clicked)
        posterior, cells = self._posterior, self._cells
        rows = self.design.rows(cells.creatives, cells.context)
        above = posterior.mean(rows, cells.creatives)
        for _ in range(STEPS):
            sums = self._folded.plus(
                rows, cells.creatives, shown=cells.shown, clicked=cells.clicked, log_odds=self.offset + above, offset=self.offset
            )
            posterior = self._believe(sums)
            before, above = above, posterior.mean(rows, cells.creatives)
            if np.abs(above - before).max() < SETTLED:
                break
        self._posterior = posterior
        if cells.shown.size > CELLS:
            self._folded, self._cells = posterior.sums, Cells.none(self.context)

    def draws(self, rng: np.random.Generator, candidates: Codes, context: Floats | None = None) -> Floats:
        """Tempered draws of the log-odds; equal scores before the first impression."""
        if self.offset is None:
            return np.zeros((1, candidates.size))
        rows = self.design.rows(candidates, context)
        mean = self._posterior.mean(rows, candidates)
        drawn = self._posterior.draw(self.votes, rows, candidates, rng)
        return np.asarray(mean + temper(contenders(vote(drawn, 0.0))) * (drawn - mean))

    def state(self) -> PolicyState:
        """Settings, elements and the sums."""
        config = {
            "name": self.name,
            "exploration": self.exploration,
            "votes": self.votes,
            "pairs": self.pairs,
            "context": self.context,
            "offset": self.offset,
        }
        arrays = {f"{name}.{key}": value for name, held in self._held().items() for key, value in vars(held).items()}
        return PolicyState(config, {"elements": self.elements, **arrays})

    @classmethod
    def restore(cls, state: PolicyState) -> Self:
        """The policy with these sums.

        Args:
            state: as `state` gave it.
        """
        config, arrays = state.config, dict(state.arrays)
        policy = cls(
            arrays.pop("elements"),
            exploration=float(str(config["exploration"])),
            votes=int(str(config["votes"])),
            pairs=bool(config["pairs"]),
            context=int(str(config["context"])),
        )
        policy.offset = None if config["offset"] is None else float(str(config["offset"]))
        for name, held in policy._held().items():
            learnt = {key: np.array(arrays[f"{name}.{key}"]) for key in vars(held)}
            if name == "cells":
                policy._cells = Cells(**learnt)
            elif name == "folded":
                policy._folded = Sums(**learnt)
            else:
                policy._posterior = policy._believe(Sums(**learnt))
        return policy

    def _held(self) -> dict[str, Cells | Sums]:
        return {"cells": self._cells, "folded": self._folded, "believed": self._posterior.sums}

    def _believe(self, sums: Sums) -> Posterior:
        return Posterior(sums, self._group, self._widths)


def contenders(distribution: ArrayLike) -> float:
    """How many candidates a distribution is about: exp(entropy), from 1 to n.

    Args:
        distribution: ``(n,)`` sums to 1.
    """
    return float(np.exp(entr(np.asarray(distribution)).sum()))


def temper(count: float) -> float:
    """What is left of the draws' deviations: 1 / max(1, E[max of so many standard normals]).

    Args:
        count: how many creatives contend, at least 1.

    Returns:
        In (0, 1].

    Source: Blom (1958): E[max of k] ≈ Φ⁻¹((k − 3/8) / (k + 1/4)).
    """
    return 1 / max(1.0, float(ndtri((count - 0.375) / (count + 0.25))))
