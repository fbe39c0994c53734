"""The mapping of a log of randomised choices: which column is action, reward, propensity and context (docs/policy-learning.md)."""

from fractions import Fraction
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError

from core.errors import ParamsError
from core.yaml_settings import faults_of, read_yaml
from tasks.sources.reading import FileForm

ACTION, REWARD, PROPENSITY, USER = "action", "reward", "propensity", "user_id"
OURS = (ACTION, REWARD, PROPENSITY, USER)
PAGE = "docs/policy-learning.md"
Kind = Literal["number", "category"]


class ChoicesMapping(FileForm):
    """How a log of randomised choices is read; how its file is written stands in `FileForm`.

    Attributes:
        columns: `action`, `reward`, and where there are such columns `propensity` and `user_id` → the user's column.
        constants: `propensity`, when it is one number for all rows: 0.5, or a fraction such as 1/3.
        context: the user's columns that were known before the choice; a list, or column → number or category.
        values: `action` or `reward` → {the user's word: ours}.
    """

    columns: dict[str, str]
    constants: dict[str, float | int | str] = Field(default={})
    context: list[str] | dict[str, Kind | None]
    values: dict[str, dict[str, str | int | float]] = Field(default={})

    @property
    def constant_propensity(self) -> float | None:
        """`constants.propensity` as a number; None when it is a column."""
        value = self.constants.get(PROPENSITY)
        return None if value is None else float(Fraction(str(value).replace(" ", "")))

    @property
    def kinds(self) -> dict[str, Kind | None]:
        """Context columns in order, each with its kind; None where the cells say it."""
        return dict.fromkeys(self.context) if isinstance(self.context, list) else dict(self.context)


def load_choices_mapping(path: Path) -> ChoicesMapping:
    """Read and check a mapping file.

    Args:
        path: the YAML file.

    Raises:
        ParamsError: no such file, no YAML, or keys that are unknown, missing, ill-typed or contradict each other; all in one message.
    """
    try:
        mapping = ChoicesMapping.model_validate(read_yaml(path))
        faults = _faults(mapping)
    except ValidationError as error:
        faults = faults_of(error, page=PAGE)
    if faults:
        lines = "\n".join(f"  {fault}" for fault in faults)
        raise ParamsError(f"{path}: {len(faults)} fault{'s' if len(faults) > 1 else ''}; mend them ({PAGE}) and run again:\n{lines}")
    return mapping


def _faults(mapping: ChoicesMapping) -> list[str]:
    faults = [f"columns: we have no column {key!r}; ours are {', '.join(OURS)}" for key in mapping.columns if key not in OURS]
    faults += [f"constants: {key!r} cannot be one; only propensity can" for key in mapping.constants if key != PROPENSITY]
    faults += [f"columns: {key} is missing; name your column for it" for key in (ACTION, REWARD) if key not in mapping.columns]
    given = (PROPENSITY in mapping.columns) + (PROPENSITY in mapping.constants)
    if given != 1:
        where = "neither in columns nor in constants" if given == 0 else "in columns and in constants"
        faults.append(
            f"propensity is {where}; write columns: {{propensity: YOURS}}, or constants: {{propensity: 1/3}} if three were drawn alike"
        )
    faults += [f"values: {key!r} is not action or reward" for key in mapping.values if key not in (ACTION, REWARD)]
    if not mapping.kinds:
        faults.append("context: no column; name at least one that was known before the choice")
    repeated = {name for name in mapping.context if list(mapping.context).count(name) > 1}
    faults += [f"context: {name!r} is there twice" for name in sorted(repeated)]
    use = {theirs: ours for ours, theirs in mapping.columns.items() if ours in OURS}
    faults += [
        f"context: {name!r} is the column of {use[name]}; a context is what was known before the choice"
        for name in mapping.kinds
        if use.get(name) in (ACTION, REWARD)
    ]
    return faults + _propensity_faults(mapping)


def _propensity_faults(mapping: ChoicesMapping) -> list[str]:
    value = mapping.constants.get(PROPENSITY)
    try:
        number = mapping.constant_propensity
    except (ValueError, ZeroDivisionError, OverflowError):
        return [f"constants.propensity: {value!r} is no number; write 0.25 or 1/4"]
    if number is not None and not 0 < number <= 1:
        return [f"constants.propensity: {value!r} lies outside (0, 1]; it is the probability that the logged action was drawn"]
    return []
