"""Policies that keep two numbers a creative, impressions and clicks: uniform, greedy, ε-greedy and Thompson sampling.

Greedy and ε-greedy rank by (clicks + 1) / (impressions + 1 / prior CTR): one click of prior. Thompson draws from each creative's Beta
posterior, whose prior is fitted to all creatives' counts: mean = pooled CTR, weight = the impressions that maximise the
beta-binomial likelihood, so creatives that differ little are drawn close together.

Source: Sutton and Barto (2018), section 2.2; Chapelle and Li (2011), An empirical evaluation of Thompson sampling;
Casella (1985), An introduction to empirical Bayes data analysis.
"""

from typing import ClassVar, Self

import numpy as np
from scipy.special import betaln

from models.policies.interface import Codes, Floats, Policy, PolicyState

PRIOR_CTR = 0.02
"""What is believed of a data set without any impression; one click's worth, so the first hundreds of impressions replace it."""
PRIOR_WEIGHTS = np.geomspace(10.0, 1e6, 26)
"""Impressions that the Beta prior may be worth: from CTRs that differ by more than their own size to CTRs that differ by nothing."""


class CountingPolicy(Policy):
    """Impressions and clicks of each creative.

    Args:
        creatives: how many there are.
        exploration: the floor.
    """

    def __init__(self, creatives: int, *, exploration: float) -> None:
        super().__init__(creatives, exploration=exploration)
        self.shown = np.zeros(creatives)
        self.clicked = np.zeros(creatives)

    @property
    def pooled_ctr(self) -> float:
        """CTR over all creatives, with one click of prior."""
        return float((self.clicked.sum() + 1) / (self.shown.sum() + 1 / PRIOR_CTR))

    def learn(self, creatives: Codes, shown: Floats, clicked: Floats, context: Floats | None) -> None:
        """Count."""
        self.shown = self.shown + np.bincount(creatives, weights=shown, minlength=self.creatives)
        self.clicked = self.clicked + np.bincount(creatives, weights=clicked, minlength=self.creatives)

    def state(self) -> PolicyState:
        """The counts and the floor."""
        config = {"name": self.name, "creatives": self.creatives, "exploration": self.exploration}
        return PolicyState(config, {"shown": self.shown, "clicked": self.clicked})

    @classmethod
    def restore(cls, state: PolicyState) -> Self:
        """The policy with these counts.

        Args:
            state: as `state` gave it.
        """
        policy = cls(int(str(state.config["creatives"])), exploration=float(str(state.config["exploration"])))
        policy.shown, policy.clicked = np.array(state.arrays["shown"]), np.array(state.arrays["clicked"])
        return policy

    def observed(self) -> Floats:
        """``(n,)`` CTR of each creative with one click of prior at the pooled CTR."""
        return np.asarray((self.clicked + 1) / (self.shown + 1 / self.pooled_ctr))


class Uniform(CountingPolicy):
    """Every candidate with equal probability; learns nothing of its counts."""

    name: ClassVar[str] = "uniform"

    def __init__(self, creatives: int, *, exploration: float = 1.0) -> None:
        super().__init__(creatives, exploration=exploration)

    def draws(self, rng: np.random.Generator, candidates: Codes, context: Floats | None = None) -> Floats:
        """Equal scores, which share equally."""
        return np.zeros((1, candidates.size))


class EpsilonGreedy(CountingPolicy):
    """The largest observed CTR, and ε for all."""

    name: ClassVar[str] = "epsilon_greedy"

    def __init__(self, creatives: int, *, exploration: float = 0.1) -> None:
        super().__init__(creatives, exploration=exploration)

    def draws(self, rng: np.random.Generator, candidates: Codes, context: Floats | None = None) -> Floats:
        """Observed CTRs."""
        return self.observed()[None, candidates]


class Greedy(EpsilonGreedy):
    """The largest observed CTR, and the least floor: what one gets by not exploring on purpose."""

    name: ClassVar[str] = "greedy"

    def __init__(self, creatives: int, *, exploration: float = 0.01) -> None:
        super().__init__(creatives, exploration=exploration)


class Thompson(CountingPolicy):
    """Draws from each creative's own Beta posterior vote.

    Args:
        creatives: how many there are.
        exploration: the floor.
        votes: M, posterior draws a distribution.

    Raises:
        ValueError: votes below 1.
    """

    name: ClassVar[str] = "thompson"

    def __init__(self, creatives: int, *, exploration: float = 0.01, votes: int = 100) -> None:
        super().__init__(creatives, exploration=exploration)
        if votes < 1:
            raise ValueError(f"votes is {votes}; at least 1 draw is needed")
        self.votes = votes

    def prior(self) -> tuple[float, float]:
        """(a, b) of the Beta prior that the counts of all creatives say."""
        mean = self.pooled_ctr
        a, b = mean * PRIOR_WEIGHTS[:, None], (1 - mean) * PRIOR_WEIGHTS[:, None]  # (weights, 1)
        likelihood = (betaln(a + self.clicked, b + self.shown - self.clicked) - betaln(a, b)).sum(axis=1)
        best = PRIOR_WEIGHTS[int(likelihood.argmax())]
        return float(mean * best), float((1 - mean) * best)

    def draws(self, rng: np.random.Generator, candidates: Codes, context: Floats | None = None) -> Floats:
        """CTRs from the posteriors."""
        a, b = self.prior()
        shown, clicked = self.shown[candidates], self.clicked[candidates]
        return rng.beta(a + clicked, b + shown - clicked, size=(self.votes, candidates.size))

    def state(self) -> PolicyState:
        """The counts, the floor and the number of votes."""
        state = super().state()
        return PolicyState({**state.config, "votes": self.votes}, state.arrays)

    @classmethod
    def restore(cls, state: PolicyState) -> Self:
        """The policy with these counts.

        Args:
            state: as `state` gave it.
        """
        policy = super().restore(state)
        policy.votes = int(str(state.config["votes"]))
        return policy
