"""Target policies on a log of the user's own: built in by name, or a file with their propensities row by row."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression, Ridge

from core.errors import EvidenceError, SchemaError, SourceError
from tasks.policy_value.crossfit import cross_fitted, folds_by_user
from tasks.policy_value.decisions import PAGE, DecisionLog
from tasks.sources.reading import read_file

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
BUILT_IN = ("uniform", "best_action", "greedy")
LOGGED, MARGINAL = "target_propensity", "target_marginal"
FOLDS = 5
MAX_INTERACTIONS = 2000
"""Above so many products of context and action the reward model adds the two only."""
_TOLERANCE = 1e-6


@dataclass(frozen=True)
class Target:
    """What the target policy would have done on each row of a log.

    Attributes:
        logged: ``(n,)`` π(a | x) of the logged action.
        shares: ``(n, actions)`` the whole distribution; None when only the logged action's is known.
        marginal: ``(n,)`` marginal propensity of the logged action at its position; None when unknown.
    """

    logged: Floats
    shares: Floats | None = None
    marginal: Floats | None = None


def reward_predictions(log: DecisionLog, fold: Integers) -> Floats:
    """``(n, actions)`` q(x, a) of a linear model of context, action and their products, fitted on the other folds.

    Args:
        log: the decisions.
        fold: ``(n,)`` fold of each row.
    """
    binary = np.isin(log.rewards, (0.0, 1.0)).all()

    def new_model() -> Any:
        return LogisticRegression(C=0.1, max_iter=1000) if binary else Ridge(alpha=10.0)

    return cross_fitted(new_model, log.context, log.action, log.rewards, actions=len(log.names), fold=fold, rows_of=_rows)


def _rows(context: Floats, action: Integers, actions: int) -> Floats:
    chosen = np.eye(actions)[action]
    parts = [context, chosen]
    if context.shape[1] * actions <= MAX_INTERACTIONS:
        parts.append((context[:, :, None] * chosen[:, None, :]).reshape(len(context), -1))
    return np.concatenate(parts, axis=1)


def folds_of(log: DecisionLog, rng: np.random.Generator) -> Integers:
    """Five folds by user.

    Args:
        log: the decisions.
        rng: deals users out.

    Raises:
        EvidenceError: too few users.
    """
    users = len(np.unique(log.users))
    if users < FOLDS:
        raise EvidenceError(f"{users} users (or rows) are too few for a reward model; at least {FOLDS} are needed. Log more.")
    return folds_by_user(log.users, FOLDS, rng)


def target_of(policy: str, log: DecisionLog, predicted: Floats, fold: Integers) -> Target:
    """The target policy's propensities.

    `uniform` draws every action of the log alike. `best_action` always takes the action with the largest self-normalised mean reward in
    the other folds; `greedy` the one with the largest predicted reward, the model fitted on the other folds. No row helps to choose its
    own action.

    Args:
        policy: a built-in name, or a file: one row a row of the log, with a column for each action named as it, or
            `target_propensity` of the logged action (and `target_marginal`, for slates).
        log: the decisions.
        predicted: ``(n, actions)`` from `reward_predictions`.
        fold: the folds it was made with.

    Raises:
        SourceError: neither a built-in name nor a file.
        SchemaError: the file's rows or columns do not fit the log.
    """
    actions = len(log.names)
    if policy == "uniform":
        return _of(np.full((len(log.action), actions), 1 / actions), log)
    if policy == "best_action":
        return _of(np.eye(actions)[_best_by_fold(log, fold)], log)
    if policy == "greedy":
        return _of(np.eye(actions)[predicted.argmax(axis=1)], log)
    path = Path(policy)
    if not path.is_file():
        raise SourceError(f"policy {policy!r} is neither built in ({', '.join(BUILT_IN)}) nor a file. Mend the name or the path ({PAGE}).")
    return _from_file(path, log)


def _of(shares: Floats, log: DecisionLog) -> Target:
    return Target(shares[np.arange(len(log.action)), log.action], shares)


def _best_by_fold(log: DecisionLog, fold: Integers) -> Integers:
    best = np.empty(len(fold), dtype=np.int64)
    for number in np.unique(fold):
        rest = fold != number
        weight = 1 / log.propensity[rest]
        size = len(log.names)
        gained = np.bincount(log.action[rest], weights=weight * log.rewards[rest], minlength=size)
        total = np.bincount(log.action[rest], weights=weight, minlength=size)
        best[~rest] = int(np.argmax(np.where(total > 0, gained / np.where(total > 0, total, 1.0), -np.inf)))
    return best


def _from_file(path: Path, log: DecisionLog) -> Target:
    found = read_file(path)
    if len(found) != log.size:
        raise SchemaError(f"{path}: {len(found)} rows, the log has {log.size}; one row a row of the log is needed, in its order.")
    columns = {str(name).strip(): found[name] for name in found.columns}
    given = [name for name in log.names if name in columns]
    if LOGGED not in columns and len(given) < len(log.names):
        lacking = [name for name in log.names if name not in columns]
        raise SchemaError(
            f"{path}: neither {LOGGED} nor a column for each action; of {len(log.names)} actions {len(lacking)} are missing, first "
            f"{', '.join(lacking[:5])}. Write one of the two ({PAGE})."
        )
    marginal = _shares(path, columns, [MARGINAL], log)[:, 0] if MARGINAL in columns else None
    if len(given) < len(log.names):
        return Target(_shares(path, columns, [LOGGED], log)[:, 0], None, marginal)
    shares = _shares(path, columns, list(log.names), log)
    off = np.abs(shares.sum(axis=1) - 1)
    if (off > _TOLERANCE).any():
        row = int(np.argmax(off > _TOLERANCE))
        raise SchemaError(
            f"{path}: {int((off > _TOLERANCE).sum())} rows do not sum to 1 over the {len(log.names)} actions of the log; first: row "
            f"{log.rows[row] + 1} = {shares[row].sum():g}. What the policy gives to actions that were never logged cannot be evaluated."
        )
    return Target(shares[np.arange(len(log.action)), log.action], shares, marginal)


def _shares(path: Path, columns: dict[str, pd.Series], names: list[str], log: DecisionLog) -> Floats:
    numbers = np.stack([pd.to_numeric(columns[name], errors="coerce").to_numpy(np.float64)[log.rows] for name in names], axis=1)
    bad = ~((numbers >= 0) & (numbers <= 1 + _TOLERANCE))
    if bad.any():
        row, column = (int(place) for place in np.argwhere(bad)[0])
        raise SchemaError(
            f"{path}: {int(bad.sum())} cells of {', '.join(names[:5])} are no probability in [0, 1]; first: row {log.rows[row] + 1}, "
            f"column {names[column]}. Mend them."
        )
    return np.asarray(np.minimum(numbers, 1.0), dtype=np.float64)
