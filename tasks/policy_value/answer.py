"""What a log of the user's own says of a target policy: every estimator with its intervals, or the reason why it says nothing."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from core.errors import EvidenceError, SchemaError
from evaluation.intervals import Interval, bootstrap_mean
from evaluation.off_policy import (
    MAX_WEIGHT_DEVIATION,
    MODEL_FREE,
    WRONG_PROPENSITIES,
    Calibration,
    Estimate,
    LoggedSlates,
    Refusal,
    clustered_error,
    logged_choices,
    policy_values,
    propensity_calibration,
    slate_values,
)
from tasks.policy_value.decisions import PAGE, DecisionLog, load_decisions_mapping, read_decisions
from tasks.policy_value.reward_model import reward_model
from tasks.policy_value.targets import BUILT_IN, Target, folds_of, target_from_file, target_of

MAPPING = "mapping.yaml"


@dataclass(frozen=True)
class PolicyAnswer:
    """The answer.

    Attributes:
        policy: the target policy.
        unit: what a value counts: rewards a decision, or rewards a slate.
        rows: rows that were used.
        users: how many people they come from.
        left_out: reason → rows that were not.
        actions: names of the logged actions.
        action_count: how many actions could be drawn.
        counted: whether the mapping says so; else as many as appear in the log.
        drawn: mean of 1 / propensity: how many actions could be drawn at a decision, if the propensities are right.
        logged: the logging policy's own value, with its interval.
        calibration: of the logged propensities.
        answers: estimator → value or refusal.
        without_model: whether the whole target distribution is unknown, so that no estimator with a reward model can run.
        products: whether the reward model knows products of context and action, or was too large for them.
    """

    policy: str
    unit: str
    rows: int
    users: int
    left_out: Mapping[str, int]
    actions: tuple[str, ...]
    action_count: int
    counted: bool
    drawn: float
    logged: Interval
    calibration: Calibration
    answers: Mapping[str, Estimate | Refusal]
    without_model: bool
    products: bool = True

    @property
    def refused(self) -> bool:
        """Whether no estimator answers."""
        return all(isinstance(given, Refusal) for given in self.answers.values())

    def as_dict(self) -> dict[str, Any]:
        """The answer as JSON holds it; infinite bounds are null."""
        estimators: dict[str, Any] = {}
        for name, given in self.answers.items():
            if isinstance(given, Refusal):
                estimators[name] = {"refused": given.reason}
                continue
            intervals = {"lift": given.lift, "bernstein": given.bernstein}
            estimators[name] = {
                **given.value.as_dict(),
                **{key: {k: v if np.isfinite(v) else None for k, v in interval.as_dict().items()} for key, interval in intervals.items()},
                "parameter": given.parameter if given.parameter is None or np.isfinite(given.parameter) else None,
            }
            estimators[name] |= _evidence(given)
        first = next(iter(self.answers.values()))
        return {
            "policy": self.policy,
            "unit": self.unit,
            "rows": self.rows,
            "users": self.users,
            "left_out": dict(self.left_out),
            "actions": list(self.actions),
            "action_count": self.action_count,
            "action_count_from": "mapping" if self.counted else "log",
            "mean_inverse_propensity": self.drawn,
            "logged": self.logged.as_dict(),
            **_evidence(first),
            "mean_weight": first.evidence.mean_weight,
            "support": first.evidence.support,
            "calibration": {"actions": self.calibration.actions, "largest_deviation": self.calibration.largest_deviation},
            "estimators": estimators,
        }


def _evidence(given: Estimate | Refusal) -> dict[str, float]:
    return {"effective_sample_size": given.evidence.effective_sample_size, "largest_weight": given.evidence.largest_weight}


def evaluate_policy(
    decisions: Path, policy: str, *, mapping: Path | None = None, rng: np.random.Generator, replications: int = 1000
) -> PolicyAnswer:
    """Evaluate a policy on a log.

    Args:
        decisions: CSV, JSON lines or Parquet.
        policy: uniform, best_action, greedy, or a file of target propensities (docs/off-policy.md).
        mapping: YAML; mapping.yaml beside the log when None and there; else the columns have our names.
        rng: deals folds out and draws the bootstrap.
        replications: of the bootstrap.

    Raises:
        AdloomError: a file is wrong, or the log has too few users or actions, or a built-in policy is asked for on slates.
    """
    beside = decisions.parent / MAPPING
    chosen = mapping or (beside if beside.is_file() else None)
    log = read_decisions(decisions, load_decisions_mapping(chosen) if chosen else None)
    calibration = propensity_calibration(np.array(log.names)[log.action], log.propensity, log.users)
    if log.slates:
        return _slates(log, policy, calibration, rng, replications)
    fold = folds_of(log, rng)
    model = cache(lambda: reward_model(log, fold))
    target = target_of(policy, log, fold, model)
    choices = logged_choices(
        log.rewards,
        log.propensity,
        target.logged,
        log.users,
        predicted=None if target.predicted is None else model().of(log.action),
        predicted_target=None if target.predicted is None else target.predicted(model()),
    )
    names = MODEL_FREE if target.predicted is None else None
    answers = policy_values(choices, names, rng=rng, replications=replications, calibration=calibration)
    logged = bootstrap_mean(log.rewards, log.users, replications, rng)
    return PolicyAnswer(
        policy=policy,
        unit="rewards a decision",
        logged=logged,
        calibration=calibration,
        answers={str(name): _with_cause(given, log) for name, given in answers.items()},
        without_model=target.predicted is None,
        products=target.predicted is None or model().products,
        **_facts(log),
    )


def _slates(log: DecisionLog, policy: str, calibration: Calibration, rng: np.random.Generator, replications: int) -> PolicyAnswer:
    """The same where a request fills several positions; the action's calibration is not asked of conditional propensities."""
    if policy in BUILT_IN:
        raise EvidenceError(
            f"policy {policy}: requests of this log fill several positions, and built-in policies choose one action. Give a file with "
            "the target policy's propensities, or a mapping without request_id and position for a log of single choices."
        )
    target = target_from_file(policy, log)
    slates = slates_of(log, target)
    answers = slate_values(slates, rng=rng, replications=replications)
    logged = bootstrap_mean(slates.rewards.sum(axis=1), slates.users, replications, rng)
    return PolicyAnswer(
        policy=policy,
        unit="rewards a slate",
        logged=logged,
        calibration=calibration,
        answers={str(name): given for name, given in answers.items()},
        without_model=True,
        **_facts(log),
    )


def _facts(log: DecisionLog) -> dict[str, Any]:
    """What an answer repeats of the log."""
    return {
        "rows": len(log.action),
        "users": len(np.unique(log.users)),
        "left_out": log.left_out,
        "actions": log.names,
        "action_count": log.actions,
        "counted": log.counted,
        "drawn": float((1 / log.propensity).mean()),
    }


def _with_cause(given: Estimate | Refusal, log: DecisionLog) -> Estimate | Refusal:
    """A refusal for a wrong mean weight, with what the propensities themselves say of the number of actions.

    The mean of 1 / μ over rows is, of right propensities, the mean number of actions that could be drawn.
    """
    if not isinstance(given, Refusal) or not given.reason.startswith(WRONG_PROPENSITIES):
        return given
    inverse = 1 / log.propensity
    drawn, error = float(inverse.mean()), clustered_error(inverse - log.actions, log.users)
    if abs(drawn - log.actions) <= MAX_WEIGHT_DEVIATION * error:
        return given
    taken = f"{log.actions:,} {'are said by the mapping' if log.counted else 'appear in the log'}"
    cause = f"another cause: by the mean of 1 / propensity {drawn:,.1f} actions could be drawn at a decision, and {taken}. " + (
        f"If some were never drawn, say in the mapping how many there are (`actions: {round(drawn)}`, or their list)"
        if drawn > log.actions
        else "If each decision had candidates of its own, give the policy as a file that keeps to them"
        + (", or mend `actions`" if log.counted else "")
    )
    return replace(given, reason=f"{given.reason}; {cause} ({PAGE})")


def slates_of(log: DecisionLog, target: Target) -> LoggedSlates:
    """Rows gathered into slates by request and position, padded to the longest.

    Args:
        log: decisions with request and position.
        target: its target policy.

    Raises:
        SchemaError: positions are missing or there twice.
    """
    if log.request is None or log.position is None:
        raise ValueError("the log has no request and position")
    order = np.lexsort((log.position, log.request))
    request, first = np.unique(log.request[order], return_index=True)
    sizes = np.diff(np.append(first, len(order)))
    place = np.arange(len(order)) - np.repeat(first, sizes)
    off = log.position[order] - np.repeat(log.position[order][first], sizes) != place
    start = int(log.position.min())
    off |= np.repeat(log.position[order][first] != start, sizes)
    if off.any():
        row = int(log.rows[order[int(np.argmax(off))]])
        raise SchemaError(
            f"{int(off.sum())} rows have a position that is missing above them or is there twice in their request; first: row {row + 1} "
            f"of the file. Positions of a request must be {start}, {start + 1}, … without a gap: without what stood above, a propensity "
            "says nothing."
        )
    codes = np.repeat(np.arange(len(request)), sizes)
    shape = (len(request), int(sizes.max()))

    def padded(values: Any, empty: float) -> Any:
        if values is None:
            return None
        matrix = np.full(shape, empty)
        matrix[codes, place] = values[order]
        return matrix

    return LoggedSlates(
        rewards=padded(log.rewards, 0.0),
        logging_propensity=padded(log.propensity, 1.0),
        target_propensity=padded(target.logged, 1.0),
        users=log.users[order][first],
        logging_marginal=padded(log.marginal, 1.0),
        target_marginal=padded(target.marginal, 1.0),
    )
