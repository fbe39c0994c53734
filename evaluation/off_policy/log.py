"""A log of choices under one policy, and what another policy would have done: what every estimator reads."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from core.errors import PropensityError

Array = NDArray[np.float64]


@dataclass(frozen=True)
class LoggedChoices:
    """A log, and what the target policy would have done.

    Attributes:
        rewards: ``(n,)`` click, conversion or money of the logged action.
        logging_propensity: ``(n,)`` μ(a | x) in (0, 1].
        target_propensity: ``(n,)`` π(a | x) in [0, 1] of the logged action.
        users: ``(n,)`` who it was; rows of one user are resampled together.
        unsupported: ``(n,)`` Σ of π(a' | x) over actions with μ(a' | x) = 0; None when the logging policy could draw all.
        predicted: ``(n,)`` q(x, a) of the logged action; needed by the estimators with a reward model.
        predicted_target: ``(n,)`` Σ_a' π(a' | x) q(x, a'); needed by them too.
    """

    rewards: Array
    logging_propensity: Array
    target_propensity: Array
    users: NDArray[np.generic]
    unsupported: Array | None = None
    predicted: Array | None = None
    predicted_target: Array | None = None

    def __post_init__(self) -> None:
        """Check shapes and ranges.

        Raises:
            ValueError: arrays of different length, target propensities outside [0, 1], or numbers that are not finite.
            PropensityError: logging propensities outside (0, 1].
        """
        n = self.rewards.shape
        for name in ("rewards", "logging_propensity", "target_propensity", "users", "unsupported", "predicted", "predicted_target"):
            value = getattr(self, name)
            if value is not None and (value.shape != n or len(n) != 1):
                raise ValueError(f"{name} has shape {value.shape}, rewards have {n}; all must be (n,)")
        require_propensities(self.logging_propensity, self.target_propensity)
        for name in ("rewards", "unsupported", "predicted", "predicted_target"):
            require_finite(name, getattr(self, name))

    @property
    def weights(self) -> Array:
        """``(n,)`` π / μ of the logged actions."""
        return self.target_propensity / self.logging_propensity


def logged_choices(
    rewards: ArrayLike,
    logging_propensity: ArrayLike,
    target_propensity: ArrayLike,
    users: ArrayLike,
    *,
    unsupported: ArrayLike | None = None,
    predicted: ArrayLike | None = None,
    predicted_target: ArrayLike | None = None,
) -> LoggedChoices:
    """`LoggedChoices` from anything array-like; see there for the meaning of each argument.

    Args:
        rewards: ``(n,)``.
        logging_propensity: ``(n,)``.
        target_propensity: ``(n,)``.
        users: ``(n,)``.
        unsupported: ``(n,)`` or None.
        predicted: ``(n,)`` or None.
        predicted_target: ``(n,)`` or None.

    Raises:
        ValueError: see `LoggedChoices`.
        PropensityError: see `LoggedChoices`.
    """
    return LoggedChoices(
        np.asarray(rewards, dtype=np.float64),
        np.asarray(logging_propensity, dtype=np.float64),
        np.asarray(target_propensity, dtype=np.float64),
        np.asarray(users),
        as_floats(unsupported),
        as_floats(predicted),
        as_floats(predicted_target),
    )


def as_floats(values: ArrayLike | None) -> Array | None:
    """The values as an array of floats; None stays None.

    Args:
        values: anything array-like, or None.
    """
    return None if values is None else np.asarray(values, dtype=np.float64)


def require_propensities(logging: Array, target: Array) -> None:
    """Refuse propensities out of range, whatever their shape.

    Args:
        logging: must lie in (0, 1].
        target: must lie in [0, 1].

    Raises:
        PropensityError: logging propensities outside (0, 1].
        ValueError: target propensities outside [0, 1].
    """
    bad = ~((logging > 0) & (logging <= 1))  # NaN is bad too
    if bad.any():
        raise PropensityError(
            f"{int(bad.sum())} of {bad.size} logging propensities lie outside (0, 1]; first: row {int(np.argwhere(bad)[0][0])} = "
            f"{logging[bad][0]}. A row without its propensity cannot be evaluated: leave it out, or log it."
        )
    bad = ~((target >= 0) & (target <= 1 + 1e-9))
    if bad.any():
        first = f"row {int(np.argwhere(bad)[0][0])} = {target[bad][0]}"
        raise ValueError(f"{int(bad.sum())} of {bad.size} target propensities lie outside [0, 1]; first: {first}")


def require_finite(name: str, values: Array | None) -> None:
    """Refuse numbers that are missing or infinite.

    Args:
        name: what the message calls them.
        values: the numbers, or None.

    Raises:
        ValueError: some are not finite.
    """
    if values is not None and not np.isfinite(values).all():
        bad = ~np.isfinite(values)
        raise ValueError(f"{int(bad.sum())} of {bad.size} {name} are not finite; first: row {int(np.argwhere(bad)[0][0])}")
