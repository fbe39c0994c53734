"""A log of randomised choices of the user's own: context, action, propensity and reward, row by row (docs/policy-learning.md)."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from core.errors import EvidenceError, SchemaError
from tasks.sources.cells import as_numbers, as_words
from tasks.sources.choices_mapping import ACTION, PAGE, PROPENSITY, REWARD, USER, ChoicesMapping, Kind
from tasks.sources.reading import other_separator

MIN_ROWS_AN_ACTION = 50
MAX_QUARANTINE_SHARE = 0.2


@dataclass(frozen=True)
class ChoiceLog:
    """A log of randomised choices, checked.

    Attributes:
        contexts: one row a choice: numbers as float64 with NaN, words as text with None.
        kinds: by context column, ``number`` or ``category``.
        names: of the actions, sorted; an action's place is its code.
        actions: ``(n,)`` codes.
        propensity: ``(n,)`` of the logged actions, in (0, 1].
        rewards: ``(n,)``, finite.
        users: ``(n,)`` codes of users; None when they are not mapped.
        quarantine: reason → rows that were left out for it.
    """

    contexts: pd.DataFrame
    kinds: dict[str, Kind]
    names: tuple[str, ...]
    actions: NDArray[np.int64]
    propensity: NDArray[np.float64]
    rewards: NDArray[np.float64]
    users: NDArray[np.int64] | None
    quarantine: dict[str, int]


def read_choices(path: Path, mapping: ChoicesMapping) -> ChoiceLog:
    """Read a log of randomised choices; rows that cannot be used are left out and counted by reason.

    Args:
        path: CSV, JSON lines or Parquet.
        mapping: of its columns.

    Raises:
        SourceError: the file cannot be read.
        SchemaError: mapped columns are not in it (all at once), or more than a fifth of its rows cannot be used.
        EvidenceError: fewer than two actions, or an action with fewer than 50 rows.
    """
    found = mapping.read(path)
    _require_columns(path, found, mapping)
    found = found.astype({name: "object" for name in found if isinstance(found[name].dtype, pd.CategoricalDtype)})
    actions = as_words(_translated(found[mapping.columns[ACTION]], mapping.values.get(ACTION, {})))
    rewards = as_numbers(_translated(found[mapping.columns[REWARD]], mapping.values.get(REWARD, {})))
    reasons = pd.Series([""] * len(found), index=found.index, dtype="object")

    def refuse(rows: pd.Series, reason: str) -> None:
        reasons[rows & (reasons == "")] = reason

    refuse(actions.isna(), "action: missing")
    refuse(found[mapping.columns[REWARD]].isna(), "reward: missing")
    refuse(~_finite(rewards), "reward: not a finite number")
    constant = mapping.constant_propensity
    if constant is not None:
        propensity = pd.Series(np.full(len(found), constant), index=found.index)
    else:
        cells = found[mapping.columns[PROPENSITY]]
        propensity = as_numbers(cells)
        refuse(cells.isna(), "propensity: missing")
        refuse(~_finite(propensity), "propensity: not a number")
        refuse(~((propensity > 0) & (propensity <= 1)), "propensity: outside (0, 1]")
    if USER in mapping.columns:
        refuse(found[mapping.columns[USER]].isna(), "user_id: missing")
    kinds = {name: kind or _kind(found[name]) for name, kind in mapping.kinds.items()}
    contexts = {name: as_numbers(found[name]) if kind == "number" else as_words(found[name]) for name, kind in kinds.items()}
    for name, kind in kinds.items():
        if kind == "number":
            refuse(found[name].notna() & ~_finite(contexts[name]), f"{name}: not a finite number")
    kept = reasons == ""
    quarantine = {str(reason): int(count) for reason, count in reasons[~kept].value_counts().items()}
    _require_few(path, quarantine, len(found))
    distinct, codes = np.unique(actions[kept].to_numpy(dtype=str), return_inverse=True)
    names = tuple(str(name) for name in distinct)
    _require_actions(path, mapping.columns[ACTION], names, codes)
    users = pd.factorize(found.loc[kept, mapping.columns[USER]])[0].astype(np.int64) if USER in mapping.columns else None
    return ChoiceLog(
        contexts=pd.DataFrame(contexts)[kept].reset_index(drop=True),
        kinds=kinds,
        names=names,
        actions=codes.astype(np.int64),
        propensity=propensity[kept].to_numpy(dtype=np.float64),
        rewards=rewards[kept].to_numpy(dtype=np.float64),
        users=users,
        quarantine=quarantine,
    )


def _require_columns(path: Path, found: pd.DataFrame, mapping: ChoicesMapping) -> None:
    wanted = [(theirs, f"for {ours}") for ours, theirs in mapping.columns.items()] + [(name, "for the context") for name in mapping.kinds]
    missing = [f"  no column {theirs!r} {use}" for theirs, use in wanted if theirs not in found]
    if missing:
        raise SchemaError(
            f"{path}: {len(missing)} missing column{'s' if len(missing) > 1 else ''}; it has {', '.join(map(str, found.columns))}. "
            f"{other_separator(found.columns) or 'Mend the mapping'} ({PAGE}):\n" + "\n".join(missing)
        )


def _require_few(path: Path, quarantine: dict[str, int], rows: int) -> None:
    refused = sum(quarantine.values())
    if refused > MAX_QUARANTINE_SHARE * rows:
        told = "\n".join(f"  {reason}: {count}" for reason, count in quarantine.items())
        raise SchemaError(
            f"{path}: {refused} of {rows} rows cannot be used, {refused / rows:.1%} (limit {MAX_QUARANTINE_SHARE:.0%}); "
            f"what is left would be another log. Mend the rows or the mapping ({PAGE}):\n{told}"
        )


def _require_actions(path: Path, column: str, names: tuple[str, ...], codes: NDArray[np.intp]) -> None:
    if len(names) < 2:
        raise EvidenceError(
            f"{path}: column {column!r} holds one action only, {names[0]!r}; at least 2 are needed for a choice. "
            "Give the log of an experiment in which the action was drawn."
        )
    counts = np.bincount(codes, minlength=len(names))
    few = [f"{name!r} has {count}" for name, count in zip(names, counts, strict=True) if count < MIN_ROWS_AN_ACTION]
    if few:
        shown = ", ".join(few[:10]) + (f" and {len(few) - 10} more" if len(few) > 10 else "")
        raise EvidenceError(
            f"{path}: column {column!r}: at least {MIN_ROWS_AN_ACTION} rows an action are needed; {shown}. "
            "Log more of them, leave their rows out, or merge actions with `values: {action: {…}}`."
        )


def _translated(cells: pd.Series, words: dict[str, str | int | float]) -> pd.Series:
    return cells.map(lambda cell: words.get(str(cell).strip(), cell), na_action="ignore") if words else cells


def _kind(cells: pd.Series) -> Kind:
    """A column is a number when every cell that holds something is one."""
    present = cells.dropna()
    return "number" if len(present) and bool(as_numbers(present).notna().all()) else "category"


def _finite(numbers: pd.Series) -> pd.Series:
    return pd.Series(np.isfinite(numbers.to_numpy(dtype=np.float64, na_value=np.nan)), index=numbers.index)
