"""What a log of the user's own says of a target policy: every estimator with its intervals, or the reason why it says nothing."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from core.errors import AdloomError, EvidenceError
from evaluation.intervals import Interval, bootstrap_mean
from evaluation.off_policy import (
    MAX_WEIGHT_DEVIATION,
    MODEL_FREE,
    WRONG_PROPENSITIES,
    Calibration,
    Estimate,
    Refusal,
    clustered_error,
    logged_choices,
    policy_values,
    propensity_calibration,
    slate_values,
)
from tasks.policy_value.decisions import PAGE, DecisionLog, load_decisions_mapping, read_decisions
from tasks.policy_value.reward_model import reward_model
from tasks.policy_value.slates import slate_calibrations, slates_of
from tasks.policy_value.targets import BUILT_IN, folds_of, target_from_file, target_of

MAPPING = "mapping.yaml"
PER_SLATE = "rewards a slate"


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
        drawn: mean of 1 / propensity, in slates at the first position: how many actions could be drawn, if the propensities are right.
        logged: the logging policy's own value, with its interval.
        calibration: of the logged propensities; of slates the worst of `slate_calibrations`.
        answers: estimator → value or refusal.
        without_model: whether the whole target distribution is unknown, so that no estimator with a reward model can run.
        products: whether the reward model knows products of context and action, or was too large for them.
        mapping: the file that says which column is what; None where the log's columns have our names.
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
    mapping: Path | None = None

    @property
    def slates(self) -> bool:
        """Whether requests fill several positions."""
        return self.unit == PER_SLATE

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
            "mapping": None if self.mapping is None else str(self.mapping),
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
    log = _read(decisions, chosen, beside=mapping is None)
    if log.slates:
        return replace(_slates(log, policy, rng, replications), mapping=chosen)
    chosen_names = np.array(log.names)[log.action]
    calibration = propensity_calibration(
        chosen_names, log.propensity, log.users, at_most=policy not in BUILT_IN
    )  # a file may keep to candidates
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
        mapping=chosen,
        **_facts(log),
    )


def _read(decisions: Path, mapping: Path | None, *, beside: bool) -> DecisionLog:
    """The log; every error of reading it names the mapping that it was read with, which may have been taken unasked."""
    if mapping is None:
        return read_decisions(decisions, None)
    form = load_decisions_mapping(mapping)
    try:
        return read_decisions(decisions, form)
    except AdloomError as error:
        unasked = "; it lies beside the log, and --mapping FILE takes another" if beside else ""
        raise type(error)(f"{error}\nRead with the mapping {mapping}{unasked}.") from None


def _slates(log: DecisionLog, policy: str, rng: np.random.Generator, replications: int) -> PolicyAnswer:
    """The same where a request fills several positions."""
    if policy in BUILT_IN:
        raise EvidenceError(
            f"policy {policy}: requests of this log fill several positions, and built-in policies choose one action. Give a file with "
            "the target policy's propensities, or a mapping without request_id and position for a log of single choices."
        )
    target = target_from_file(policy, log)
    slates = slates_of(log, target)
    calibrations = slate_calibrations(log)
    answers = slate_values(slates, rng=rng, replications=replications, calibrations=calibrations)
    logged = bootstrap_mean(slates.rewards.sum(axis=1), slates.users, replications, rng)
    return PolicyAnswer(
        policy=policy,
        unit=PER_SLATE,
        logged=logged,
        calibration=max((found for tested in calibrations.values() for found in tested), key=lambda found: found.largest_deviation),
        answers={str(name): given for name, given in answers.items()},
        without_model=True,
        **_facts(log),
    )


def _facts(log: DecisionLog) -> dict[str, Any]:
    """What an answer repeats of the log."""
    first = log.position == log.position.min() if log.slates and log.position is not None else slice(None)
    return {
        "rows": len(log.action),
        "users": len(np.unique(log.users)),
        "left_out": log.left_out,
        "actions": log.names,
        "action_count": log.actions,
        "counted": log.counted,
        "drawn": float((1 / log.propensity[first]).mean()),
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
