"""The Open Bandit Dataset as a test of off-policy evaluation: each log answers for the policy whose own log lies beside it."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression

from core.columns import Columns
from evaluation.intervals import bootstrap_mean
from evaluation.off_policy import Refusal, logged_choices, policy_values, propensity_calibration
from tasks.policy_value.crossfit import cross_fitted, folds_by_user
from tasks.sources.open_bandit import read_open_bandit

CAMPAIGNS = ("all", "men")
DIRECTIONS = (("random", "bts"), ("bts", "random"))
FOLDS = 3


def answer(folder: Path, campaign: str, logging: str, target: str) -> dict[str, Any]:
    """What the log of one policy says of the other, beside the other's own clicks.

    Of `bts` (Bernoulli Thompson sampling, which did not look at the shopper) only the logged action's propensity is known, so that its
    distribution over items is taken from how often each item stood at each position in its own log; `random` is uniform.

    Args:
        folder: with random/ and bts/ below it, as in the wheel obp==0.4.1.
        campaign: all or men.
        logging: the policy whose log is read.
        target: the policy that is asked about.

    Returns:
        campaign, logging, target, on_policy (interval), estimators (interval or refusal), evidence, holds: refused, or the on-policy value
        lies in the interval, for every estimator but the model alone.

    Raises:
        SourceError: no such folder.
    """
    log, own = (_read(folder / policy / campaign) for policy in (logging, target))
    items = sorted({item for shown in log[Columns.CANDIDATES] for item in shown})
    action = pd.Categorical(log[Columns.CREATIVE], categories=items).codes.astype(np.int64)
    position = log[Columns.POSITION].to_numpy(np.int64)
    positions = int(position.max()) + 1
    shares = np.full((positions, len(items)), 1 / len(items))
    if target == "bts":
        shown = pd.Categorical(own[Columns.CREATIVE], categories=items).codes
        counts = np.zeros((positions, len(items)))
        np.add.at(counts, (own[Columns.POSITION].to_numpy(np.int64), shown), 1.0)
        shares = counts / counts.sum(axis=1, keepdims=True)
    rows, rng = np.arange(len(log)), np.random.default_rng(0)
    clicks, propensity = log[Columns.CLICK].to_numpy(np.float64), log[Columns.PROPENSITY].to_numpy(np.float64)
    predicted = cross_fitted(
        lambda: LogisticRegression(C=0.1, max_iter=1000),
        np.eye(positions)[position],
        action,
        clicks,
        actions=len(items),
        fold=folds_by_user(rows, FOLDS, rng),
    )
    choices = logged_choices(
        clicks,
        propensity,
        shares[position, action],
        rows,
        predicted=predicted[rows, action],
        predicted_target=(shares[position] * predicted).sum(axis=1),
    )
    found = policy_values(choices, rng=rng, calibration=propensity_calibration(action, propensity, rows))
    truth = bootstrap_mean(own[Columns.CLICK].to_numpy(np.float64), None, 1000, rng)
    estimators: dict[str, Any] = {}
    holds = True
    for name, given in found.items():
        if isinstance(given, Refusal):
            estimators[name] = {"refused": given.reason}
            continue
        estimators[name] = given.value.as_dict()
        holds &= name == "dm" or given.value.low <= truth.value <= given.value.high
    evidence = next(iter(found.values())).evidence
    return {
        "campaign": campaign,
        "logging": logging,
        "target": target,
        "on_policy": truth.as_dict(),
        "estimators": estimators,
        "effective_sample_size": evidence.effective_sample_size,
        "largest_weight": evidence.largest_weight,
        "holds": bool(holds),
    }


def _read(folder: Path) -> pd.DataFrame:
    found = read_open_bandit(str(folder)).impressions
    numbers = (Columns.CLICK, Columns.PROPENSITY, Columns.POSITION)
    return found.assign(**{name: pd.to_numeric(found[name]) for name in numbers})
