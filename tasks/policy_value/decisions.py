"""A log of decisions of the user's own: what was chosen, with which propensity, and what came of it (docs/off-policy.md)."""

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import Field, ValidationError

from core.errors import EvidenceError, ParamsError, SchemaError
from core.yaml_settings import faults_of, read_yaml
from tasks.sources.cells import as_numbers, as_words
from tasks.sources.reading import FileForm, other_separator

PAGE = "docs/off-policy.md"
NEEDED = ("action", "reward", "propensity")
OURS = (*NEEDED, "user_id", "request_id", "position", "propensity_marginal")
MAX_LEFT_OUT = 0.2
MAX_WORDS = 30
LEAST_ACTIONS = 2
Kind = Literal["number", "category"]
Floats = NDArray[np.float64]


class DecisionsMapping(FileForm):
    """How a log of decisions is read, its file as in `FileForm`; a mapping of `benchmarks.policy_learning` serves too.

    Attributes:
        columns: our column → the user's; `action`, `reward` and `propensity` must be there, or the propensity constant.
        constants: `propensity`, when it is one number for all rows: 0.5, or a fraction such as 1/3.
        context: the user's columns that were known before the choice; a list, or column → number or category.
        values: `action` or `reward` → {the user's word: ours}.
        actions: every action that could be drawn, or how many: what a log in which some never appear cannot say.
    """

    columns: dict[str, str]
    constants: dict[str, float | int | str] = Field(default={})
    context: list[str] | dict[str, Kind | None] = Field(default=[])
    values: dict[str, dict[str, str | int | float]] = Field(default={})
    actions: int | list[str | int | float] | None = None


@dataclass(frozen=True)
class DecisionLog:
    """The rows that can be used.

    Attributes:
        context: ``(n, d)`` numbers: measures in units of their deviation, words as indicators, and whether a cell was missing.
        names: of the logged actions, sorted; an action's place is its code.
        action: ``(n,)`` codes.
        rewards: ``(n,)``.
        propensity: ``(n,)`` in (0, 1].
        users: ``(n,)`` who it was; the row itself where no user is mapped.
        rows: ``(n,)`` place of each row in the file, from 0.
        size: rows of the file.
        left_out: reason → rows.
        actions: how many could be drawn; as many as were logged where the mapping does not say.
        unlogged: names of those that never were, where the mapping lists them.
        counted: whether the mapping says how many there are.
        request: ``(n,)`` which request a row belongs to; None when not mapped.
        position: ``(n,)``; None when not mapped.
        marginal: ``(n,)`` marginal propensity; None when not mapped.
    """

    context: Floats
    names: tuple[str, ...]
    action: NDArray[np.int64]
    rewards: Floats
    propensity: Floats
    users: NDArray[np.generic]
    rows: NDArray[np.int64]
    size: int
    left_out: dict[str, int]
    actions: int
    unlogged: tuple[str, ...] = ()
    counted: bool = False
    request: NDArray[np.int64] | None = None
    position: NDArray[np.int64] | None = None
    marginal: Floats | None = None

    @property
    def slates(self) -> bool:
        """Whether a request fills more than one position."""
        return self.request is not None and self.position is not None and len(np.unique(self.request)) < len(self.request)


def load_decisions_mapping(path: Path) -> DecisionsMapping:
    """Read and check a mapping file.

    Args:
        path: the YAML file.

    Raises:
        ParamsError: no such file, no YAML, or keys that are unknown, missing, ill-typed or contradict each other; all in one message.
    """
    try:
        mapping = DecisionsMapping.model_validate(read_yaml(path))
        faults = _faults(mapping)
    except ValidationError as error:
        faults = faults_of(error, page=PAGE)
    if faults:
        lines = "\n".join(f"  {fault}" for fault in faults)
        raise ParamsError(f"{path}: {len(faults)} fault{'s' if len(faults) > 1 else ''}; mend them ({PAGE}) and run again:\n{lines}")
    return mapping


def _faults(mapping: DecisionsMapping) -> list[str]:
    faults = [f"columns: we have no column {key!r}; ours are {', '.join(OURS)}" for key in mapping.columns if key not in OURS]
    faults += [f"constants: {key!r} cannot be one; only propensity can" for key in mapping.constants if key != "propensity"]
    known = {**mapping.columns, **mapping.constants}
    faults += [f"columns: {key} is missing; name your column for it" for key in NEEDED if key not in known]
    if "propensity" in mapping.columns and "propensity" in mapping.constants:
        faults.append("propensity is in columns and in constants; leave one out")
    if ("request_id" in mapping.columns) != ("position" in mapping.columns):
        faults.append("columns: request_id and position belong together; name both, or neither when a request shows one action")
    faults += [f"values: {key!r} is not action or reward" for key in mapping.values if key not in {"action", "reward"}]
    after = {mapping.columns.get("action"), mapping.columns.get("reward")} & set(mapping.context)
    faults += [
        f"context: {name!r} is the action or the reward; a context is what was known before the choice" for name in sorted(map(str, after))
    ]
    if _fraction(mapping.constants.get("propensity", 1)) is None:
        faults.append(f"constants.propensity: {mapping.constants['propensity']!r} is no number in (0, 1]; write 0.25 or 1/4")
    listed = _listed(mapping)
    if listed is not None and len(set(listed)) < len(listed):
        again = next(name for name in listed if listed.count(name) > 1)
        faults.append(f"actions: {again!r} is there {listed.count(again)} times; name each action once")
    count = mapping.actions if listed is None else len(set(listed))
    if isinstance(count, int) and count < LEAST_ACTIONS:
        faults.append(f"actions: {count}; a policy needs at least {LEAST_ACTIONS} to choose from")
    return faults


def _listed(mapping: DecisionsMapping) -> list[str] | None:
    """Names of the mapping's list of actions, as a log's are written; None when there is no list."""
    if not isinstance(mapping.actions, list):
        return None
    return [f"{name:g}" if isinstance(name, float) else str(name).strip() for name in mapping.actions]


def _fraction(value: float | str) -> float | None:
    try:
        number = float(Fraction(str(value).replace(" ", "")))
    except (ValueError, ZeroDivisionError, OverflowError):
        return None
    return number if 0 < number <= 1 else None


def read_decisions(path: Path, mapping: DecisionsMapping | None) -> DecisionLog:
    """Read a log; rows that cannot be used are left out and counted by reason.

    Args:
        path: CSV, JSON lines or Parquet.
        mapping: of its columns; None: they have our names, and those that begin with `context_` are the context.

    Raises:
        SourceError: the file cannot be read.
        SchemaError: mapped columns are not in it, or more than a fifth of its rows cannot be used.
        EvidenceError: fewer than two actions.
    """
    form = mapping or DecisionsMapping(columns={})
    found = form.read(path)
    if mapping is None:
        context = [str(name) for name in found.columns if str(name).startswith("context_")]
        form = DecisionsMapping(columns={name: name for name in OURS if name in found or name in NEEDED}, context=context)
    kinds: dict[str, Kind | None] = dict.fromkeys(form.context) if isinstance(form.context, list) else dict(form.context)
    missing = [f"  no column {name!r}" for name in (*form.columns.values(), *kinds) if name not in found]
    if missing:
        raise SchemaError(
            f"{path}: {len(missing)} missing column{'s' if len(missing) > 1 else ''}; it has {', '.join(map(str, found.columns))}. "
            f"{other_separator(found.columns) or 'Name yours in a mapping'} ({PAGE}):\n" + "\n".join(missing)
        )
    ours = {key: found[name] for key, name in form.columns.items()}
    for key, words in form.values.items():
        ours[key] = ours[key].map(lambda cell, words=words: words.get(str(cell).strip(), cell), na_action="ignore")
    if "propensity" not in ours:
        ours["propensity"] = pd.Series(_fraction(form.constants["propensity"]), index=found.index)
    numeric = ("reward", "propensity", "position", "propensity_marginal")
    numbers: dict[str, pd.Series] = {key: as_numbers(ours[key]) for key in numeric if key in ours}
    left_out, kept = _usable(ours, numbers)
    if sum(left_out.values()) > MAX_LEFT_OUT * len(found):
        told = "\n".join(f"  {reason}: {count}" for reason, count in left_out.items())
        raise SchemaError(
            f"{path}: {sum(left_out.values())} of {len(found)} rows cannot be used (limit {MAX_LEFT_OUT:.0%}). "
            f"Mend the rows or the mapping ({PAGE}):\n{told}"
        )
    names, action = np.unique(as_words(ours["action"])[kept].to_numpy(dtype=str), return_inverse=True)
    if names.size < LEAST_ACTIONS:
        raise EvidenceError(
            f"{path}: there is one action only, {str(names[0])!r}; a policy needs {LEAST_ACTIONS} or more to choose from. Mend the mapping."
        )
    logged = tuple(str(name) for name in names)
    actions, unlogged = _all_actions(path, form, logged)
    rows = np.flatnonzero(kept.to_numpy())
    codes = {key: pd.factorize(ours[key][kept])[0].astype(np.int64) for key in ("user_id", "request_id") if key in ours}
    values = {key: column[kept].to_numpy(dtype=np.float64) for key, column in numbers.items()}
    return DecisionLog(
        context=_encoded(found.loc[kept, list(kinds)], kinds),
        names=logged,
        action=action.astype(np.int64),
        rewards=values["reward"],
        propensity=values["propensity"],
        users=codes.get("user_id", codes.get("request_id", rows)),
        rows=rows,
        size=len(found),
        left_out=left_out,
        actions=actions,
        unlogged=unlogged,
        counted=form.actions is not None,
        request=codes.get("request_id"),
        position=values["position"].astype(np.int64) if "position" in values else None,
        marginal=values.get("propensity_marginal"),
    )


def _all_actions(path: Path, form: DecisionsMapping, logged: tuple[str, ...]) -> tuple[int, tuple[str, ...]]:
    """How many actions could be drawn, and the names of those that never were."""
    listed = _listed(form)
    if listed is None:
        count = form.actions if isinstance(form.actions, int) else len(logged)
        if count < len(logged):
            raise SchemaError(f"{path}: {len(logged)} actions appear, and the mapping says `actions: {count}`. Mend the number ({PAGE}).")
        return count, ()
    strange = sorted(set(logged) - set(listed))
    if strange:
        raise SchemaError(
            f"{path}: {len(strange)} of {len(logged)} actions are not in the mapping's list `actions` of {len(listed)}, first "
            f"{', '.join(strange[:5])}. Add them, or mend `values` ({PAGE})."
        )
    return len(listed), tuple(sorted(set(listed) - set(logged)))


def _usable(ours: dict[str, pd.Series], numbers: dict[str, pd.Series]) -> tuple[dict[str, int], pd.Series]:
    """Rows left out by reason, and which are kept."""
    reasons = pd.Series([""] * len(ours["action"]), index=ours["action"].index, dtype="object")

    def refuse(rows: pd.Series, reason: str) -> None:
        reasons[rows & (reasons == "")] = reason

    refuse(as_words(ours["action"]).isna(), "action: missing")
    for key in ("user_id", "request_id"):
        if key in ours:
            refuse(ours[key].isna(), f"{key}: missing")
    for key, column in numbers.items():
        refuse(~pd.Series(np.isfinite(column.to_numpy()), index=column.index), f"{key}: missing or no number")
        if key.startswith("propensity"):
            refuse(~((column > 0) & (column <= 1)), f"{key}: outside (0, 1]")
    counts = reasons[reasons != ""].value_counts()
    return {str(reason): int(count) for reason, count in counts.items()}, reasons == ""


def _encoded(found: pd.DataFrame, kinds: dict[str, Kind | None]) -> Floats:
    parts: list[Floats] = []
    for name, kind in kinds.items():
        numbers, words = as_numbers(found[name]), as_words(found[name])
        if kind == "number" or (kind is None and numbers.notna().eq(words.notna()).all()):
            centred = numbers - numbers.mean()
            parts.append((centred / (centred.std() or 1.0)).fillna(0.0).to_numpy(np.float64)[:, None])
            absent = numbers.isna()
        else:
            frequent = words.value_counts().index[:MAX_WORDS]
            parts += [np.asarray(words.eq(word), dtype=np.float64)[:, None] for word in frequent]
            absent = words.isna()
        if absent.any():
            parts.append(np.asarray(absent, dtype=np.float64)[:, None])
    return np.concatenate(parts, axis=1) if parts else np.zeros((len(found), 0))
