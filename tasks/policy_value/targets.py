"""Target policies on a log of the user's own: built in by name, or a file with their propensities row by row."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow
import pyarrow.parquet
from numpy.typing import NDArray

from core.errors import EvidenceError, SchemaError, SourceError
from tasks.policy_value.crossfit import folds_by_user
from tasks.policy_value.decisions import PAGE, DecisionLog
from tasks.policy_value.reward_model import RewardModel
from tasks.sources.reading import read_file

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
BUILT_IN = ("uniform", "best_action", "greedy")
LOGGED, MARGINAL = "target_propensity", "target_marginal"
FOLDS = 5
MAX_CELLS = 50_000_000
"""Propensities of a file that are held at once: several times 0.4 GB."""
_TOLERANCE = 1e-6


@dataclass(frozen=True)
class Target:
    """What the target policy would have done on each row of a log.

    Attributes:
        logged: ``(n,)`` π(a | x) of the logged action.
        predicted: reward model → ``(n,)`` Σ_a π(a | x) q(x, a); None when only the logged action's propensity is known.
        marginal: ``(n,)`` marginal propensity of the logged action at its position; None when unknown.
    """

    logged: Floats
    predicted: Callable[[RewardModel], Floats] | None = None
    marginal: Floats | None = None


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


def target_of(policy: str, log: DecisionLog, fold: Integers, model: Callable[[], RewardModel]) -> Target:
    """The target policy's propensities.

    `uniform` draws alike every action that could be drawn. `best_action` always takes the logged action with the largest self-normalised
    mean reward in the other folds; `greedy` the logged one with the largest predicted reward, the model fitted on the other folds. No row
    helps to choose its own action.

    Args:
        policy: a built-in name, or a file (`target_from_file`).
        log: the decisions.
        fold: the folds that the reward model is made with.
        model: the reward model; called when the policy asks it.

    Raises:
        SourceError: neither a built-in name nor a file.
        SchemaError: the file's rows or columns do not fit the log.
    """
    if policy == "uniform":
        logged = len(log.names)
        even = np.append(np.full(logged, 1.0), log.actions - logged) / log.actions
        return Target(np.full(len(log.action), 1 / log.actions), lambda model: model.mean(even))
    if policy == "best_action":
        return _always(_best_by_fold(log, fold), log)
    if policy == "greedy":
        return _always(model().best(), log)
    return target_from_file(policy, log)


def target_from_file(policy: str, log: DecisionLog) -> Target:
    """The propensities that a file gives.

    Args:
        policy: CSV, JSON lines or Parquet, one row a row of the log, with a column for each action named as it, or `target_propensity` of
            the logged action (and `target_marginal`, for slates).
        log: the decisions.

    Raises:
        SourceError: no such file.
        SchemaError: the file's rows or columns do not fit the log.
    """
    path = Path(policy)
    if not path.is_file():
        raise SourceError(f"policy {policy!r} is neither built in ({', '.join(BUILT_IN)}) nor a file. Mend the name or the path ({PAGE}).")
    return _from_file(path, log)


def _always(chosen: Integers, log: DecisionLog) -> Target:
    return Target((chosen == log.action).astype(np.float64), lambda model: model.of(chosen))


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
    cells = _width(path) * log.size
    if cells > MAX_CELLS:
        raise SchemaError(
            f"{path}: {_width(path):,} columns for {log.size:,} rows are {cells:,} propensities, more than are held at once "
            f"(limit {MAX_CELLS:,}). Give `{LOGGED}` of the logged action alone: the estimators that need no reward model answer ({PAGE})."
        )
    found = read_file(path)
    if len(found) != log.size:
        raise SchemaError(f"{path}: {len(found)} rows, the log has {log.size}; one row a row of the log is needed, in its order.")
    columns = {str(name).strip(): found[name] for name in found.columns}
    needed = (*log.names, *log.unlogged)
    lacking = [name for name in needed if name not in columns]
    if LOGGED not in columns and lacking:
        raise SchemaError(
            f"{path}: neither {LOGGED} nor a column for each action; of {len(needed)} actions {len(lacking)} are missing, first "
            f"{', '.join(lacking[:5])}. Write one of the two ({PAGE})."
        )
    marginal = _shares(path, columns, [MARGINAL], log)[:, 0] if MARGINAL in columns else None
    if lacking:
        return Target(_shares(path, columns, [LOGGED], log)[:, 0], None, marginal)
    shares = _shares(path, columns, needed, log)
    off = np.abs(shares.sum(axis=1) - 1)
    if (off > _TOLERANCE).any():
        row = int(np.argmax(off > _TOLERANCE))
        raise SchemaError(
            f"{path}: {int((off > _TOLERANCE).sum())} rows do not sum to 1 over the {len(needed)} actions "
            f"{'that the mapping lists' if log.unlogged else 'of the log'}; first: row {log.rows[row] + 1} = {shares[row].sum():g}. "
            "What the policy gives to an action that never appears can be evaluated only where the mapping lists all that could be drawn "
            f"(`actions: [...]`, {PAGE})."
        )
    logged = len(log.names)
    shares = np.column_stack([shares[:, :logged], shares[:, logged:].sum(axis=1)])
    return Target(shares[np.arange(len(log.action)), log.action], lambda model: model.mean(shares), marginal)


def _width(path: Path) -> int:
    """How many columns a file has; 0 where it cannot be read, which reading it tells."""
    kinds = {suffix.lower() for suffix in path.suffixes}
    try:
        if ".parquet" in kinds:
            return len(pyarrow.parquet.read_schema(path).names)
        if kinds & {".json", ".jsonl", ".ndjson"}:
            return pd.read_json(path, lines=True, nrows=1).shape[1]
        return pd.read_csv(path, nrows=1, dtype=str).shape[1]
    except (OSError, ValueError, pyarrow.ArrowException):
        return 0


def _shares(path: Path, columns: dict[str, pd.Series], names: Sequence[str], log: DecisionLog) -> Floats:
    numbers = np.stack([pd.to_numeric(columns[name], errors="coerce").to_numpy(np.float64)[log.rows] for name in names], axis=1)
    bad = ~((numbers >= 0) & (numbers <= 1 + _TOLERANCE))
    if bad.any():
        row, column = (int(place) for place in np.argwhere(bad)[0])
        raise SchemaError(
            f"{path}: {int(bad.sum())} cells of {', '.join(names[:5])} are no probability in [0, 1]; first: row {log.rows[row] + 1}, "
            f"column {names[column]}. Mend them."
        )
    return np.asarray(np.minimum(numbers, 1.0), dtype=np.float64)
