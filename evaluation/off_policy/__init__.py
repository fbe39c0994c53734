"""The value of a policy that was never run, from the log of one that was; or a refusal. Needs NumPy and SciPy only.

    log = logged_choices(rewards, logging_propensity, target_propensity, users, predicted=…, predicted_target=…)
    policy_values(log, rng=np.random.default_rng(0))       # estimator → Estimate with two intervals, or Refusal with its reason

Formulas and papers: `estimators` for one choice a row, `slates` for several positions; `tuning` for how λ is chosen, `bounds` for
the intervals, `evidence` for what is refused. None of them says anything where the log is silent: hence `Refusal`, which is an
answer and no error.
"""

from evaluation.off_policy.estimators import ESTIMATORS, MODEL_FREE, TUNED, Estimator
from evaluation.off_policy.evidence import (
    MAX_WEIGHT_DEVIATION,
    WRONG_PROPENSITIES,
    Calibration,
    Evidence,
    clustered_error,
    evidence,
    propensity_calibration,
)
from evaluation.off_policy.log import LoggedChoices, logged_choices
from evaluation.off_policy.slates import SLATE_ESTIMATORS, LoggedSlates, SlateEstimator, slate_evidence, slate_value, slate_values
from evaluation.off_policy.tuning import TUNINGS, Tuning, tuned
from evaluation.off_policy.values import Bounds, Estimate, Refusal, point_value, policy_value, policy_values

__all__ = [
    "ESTIMATORS",
    "MAX_WEIGHT_DEVIATION",
    "MODEL_FREE",
    "SLATE_ESTIMATORS",
    "TUNED",
    "TUNINGS",
    "WRONG_PROPENSITIES",
    "Bounds",
    "Calibration",
    "Estimate",
    "Estimator",
    "Evidence",
    "LoggedChoices",
    "LoggedSlates",
    "Refusal",
    "SlateEstimator",
    "Tuning",
    "clustered_error",
    "evidence",
    "logged_choices",
    "point_value",
    "policy_value",
    "policy_values",
    "propensity_calibration",
    "slate_evidence",
    "slate_value",
    "slate_values",
    "tuned",
]
