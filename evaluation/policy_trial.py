"""Is a challenger policy worth more than the champion? The paired doubly robust difference on a log of both, and what it rests on.

A share s of the users, drawn by a hash, is served by the challenger π (the canary), the others by the champion μ; s may be 0. Position l
of a slate was thus drawn with b_0:l = (1 − s) μ_0:l + s π_0:l, whoever drew it, where μ_0:l is the product of the champion's conditional
propensities down to l. With v = μ_0:l / b_0:l and w = π_0:l / b_0:l, and q_l that predicts the reward at l alone, the gain of slate i is

    Γ_i = Σ_l  (w_0:l − v_0:l)(r_l − q_l) + w_0:l−1 E_π q_l − v_0:l−1 E_μ q_l

Its mean is the challenger's reward a slate minus the champion's, whatever q is, when a click depends on what stands at its position
and above (`evaluation.off_policy.slates`, cascade). Where both choose alike a slate adds what q says, and its noise nothing. With s = 0,
v = 1 and w = π / μ: the usual estimator. With s > 0, w ≤ 1 / s and v ≤ 1 / (1 − s): a canary is support, however unlike the two are.

Source:
    Doubly robust: Dudík, M., Langford, J. and Li, L. (2011); slates: Kiyohara, H. and others (2022), see `evaluation.off_policy.slates`.
    Several logging policies: Agarwal, A., Basu, S., Schnabel, T. and Joachims, T. (2017). Effective evaluation using logged
    bandit feedback from multiple loggers (balanced estimator).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from evaluation.intervals import Interval
from evaluation.looks import Look
from evaluation.off_policy.evidence import Calibration, Evidence, clustered_error, reason_to_refuse, weights_evidence
from evaluation.off_policy.log import require_propensities

Array = NDArray[np.float64]
MIN_EFFECTIVE_SLATES = 200.0
"""Slates that the log must be worth for either policy, at the deepest position."""


@dataclass(frozen=True)
class Trial:
    """Slates that one of two policies drew, with what the other would have done; a slate shorter than L is padded.

    Attributes:
        rewards: ``(n, L)`` 1 where a click came; 0 in padding.
        champion: ``(n, L)`` μ(a_l | x, a_<l) in (0, 1]; 1 in padding.
        challenger: ``(n, L)`` π(a_l | x, a_<l) in (0, 1]; 1 in padding.
        share: ``(n,)`` of the users that the challenger served when the slate was drawn, in [0, 1).
        users: ``(n,)`` who it was.
        predicted: ``(n, L)`` p_click of what stands at l; 0 in padding.
        champion_predicted: ``(n, L)`` its mean under the champion given the positions above; 0 in padding.
        challenger_predicted: ``(n, L)`` the same under the challenger.
    """

    rewards: Array
    champion: Array
    challenger: Array
    share: Array
    users: NDArray[np.generic]
    predicted: Array
    champion_predicted: Array
    challenger_predicted: Array

    def __post_init__(self) -> None:
        """Check shapes and ranges.

        Raises:
            ValueError: shapes that differ, or a share outside [0, 1).
            PropensityError: propensities outside (0, 1].
        """
        n, names = len(self.rewards), ("champion", "challenger", "predicted", "champion_predicted", "challenger_predicted")
        shapes = {name: getattr(self, name).shape for name in names}
        if self.rewards.ndim != 2 or set(shapes.values()) != {self.rewards.shape} or self.share.shape != (n,) or self.users.shape != (n,):
            raise ValueError(f"rewards have shape {self.rewards.shape}, {shapes}; all must be (n, L), share and users (n,)")
        if ((self.share < 0) | (self.share >= 1)).any():
            raise ValueError(f"canary shares run from {self.share.min()} to {self.share.max()}; they lie in [0, 1)")
        require_propensities(self.champion, self.challenger)
        require_propensities(self.challenger, self.champion)

    def head(self, rows: int) -> "Trial":
        """The first slates.

        Args:
            rows: how many.
        """
        return Trial(**{name: getattr(self, name)[:rows] for name in self.__dataclass_fields__})

    def weights(self) -> tuple[Array, Array]:
        """``(n, L)`` v of the champion and w of the challenger, by the formulas at the head of this module."""
        champion, challenger = np.cumprod(self.champion, axis=1), np.cumprod(self.challenger, axis=1)
        drawn = (1 - self.share[:, None]) * champion + self.share[:, None] * challenger
        return champion / drawn, challenger / drawn

    def gains(self) -> Array:
        """``(n,)`` Γ; predictions are first scaled, position by position, to the clicks of the other half of the users."""
        v, w = self.weights()
        scale = self._scales()
        before_v, before_w = (np.concatenate([np.ones((len(x), 1)), x[:, :-1]], axis=1) for x in (v, w))
        model = before_w * self.challenger_predicted - before_v * self.champion_predicted
        return np.asarray(((w - v) * (self.rewards - scale * self.predicted) + scale * model).sum(axis=1), dtype=np.float64)

    def _scales(self) -> Array:
        """``(n, L)`` clicks over predicted clicks at each position, of the half of the users that the row's is not of."""
        _, codes = np.unique(self.users, return_inverse=True)
        half = codes.ravel() % 2
        found = np.ones_like(self.rewards)
        for mine in (0, 1):
            clicks, expected = self.rewards[half != mine].sum(axis=0), self.predicted[half != mine].sum(axis=0)
            found[half == mine] = np.divide(clicks, expected, out=np.ones_like(clicks), where=expected > 0)
        return found


@dataclass(frozen=True)
class TrialResult:
    """What a trial says at one look.

    Attributes:
        gain: clicks a slate, challenger minus champion, with the look's interval.
        look: when it was looked at.
        slates: that it read.
        users: whose.
        champion: the log's worth for the champion at the deepest position.
        challenger: the same for the challenger.
        problem: why the log cannot tell; None when it can.
        wanted: slates, in all, at which the log could tell or the lower end would pass 0 if this went on; None: none would do.
    """

    gain: Interval
    look: Look
    slates: int
    users: int
    champion: Evidence
    challenger: Evidence
    problem: str | None
    wanted: int | None

    @property
    def better(self) -> bool:
        """Whether the diagnostics allow an answer, and the lower end of the gain is above 0."""
        return self.problem is None and self.gain.low > 0


def judge(trial: Trial, look: Look, *, calibration: Calibration | None = None) -> TrialResult:
    """The gain of the challenger at one look, with an interval that holds at this look and all others together.

    Args:
        trial: the slates; the look's first ones are read.
        look: of the plan that the log has reached.
        calibration: of the logged propensities, where it was tested.

    Raises:
        ValueError: fewer slates than the look reads.
    """
    if len(trial.rewards) < look.rows:
        raise ValueError(f"{len(trial.rewards)} slates; look {look.number} reads {look.rows}")
    seen = trial.head(look.rows)
    gains = seen.gains()
    value, error = float(gains.mean()), clustered_error(gains - gains.mean(), seen.users)
    gain = Interval(value, value - look.z * error, value + look.z * error)
    found: list[Evidence] = []
    problem, wanted = None, None
    for name, weights in zip(("champion", "challenger"), seen.weights(), strict=True):
        parts = [weights_evidence(column) for column in weights.T]
        worst = min(parts, key=lambda part: part.effective_sample_size)
        found.append(worst)
        for place, (part, column) in enumerate(zip(parts, weights.T, strict=True)):
            reason = reason_to_refuse(
                part, column, seen.users, min_effective_sample_size=MIN_EFFECTIVE_SLATES, calibration=calibration if not place else None
            )
            if reason is not None and problem is None:
                problem = f"{name}, position {place}: {reason}"
        if worst.effective_sample_size < MIN_EFFECTIVE_SLATES:
            wanted = max(wanted or 0, int(np.ceil(look.rows * MIN_EFFECTIVE_SLATES / max(worst.effective_sample_size, 1.0))))
    if problem is None and value > 0 >= gain.low:
        wanted = int(np.ceil(look.rows * (look.z * error / value) ** 2))
    return TrialResult(gain, look, look.rows, np.unique(seen.users).size, found[0], found[1], problem, wanted)
