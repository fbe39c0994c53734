"""Parameters turned from the command line: `-S section.key=value` with DVC's own meaning, and named profiles."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.errors import ParamsError
from core.files import write_beside
from core.params import load_params
from core.stage import PARAMS_FILE
from core.yaml_settings import read_yaml
from flows.yaml_lines import turned

PROFILES_FILE = Path("profiles.yaml")


@dataclass(frozen=True)
class Change:
    """One parameter that an override or a profile turned.

    Attributes:
        key: dotted name.
        before: what params.yaml held; None when it held nothing.
        after: what it holds now.
    """

    key: str
    before: object
    after: object

    def __str__(self) -> str:
        return f"{self.key}: {self.before} → {self.after}"


def apply_overrides(
    overrides: Sequence[str] = (), *, profile: str | None = None, fragment: Path | None = None, params: Path = PARAMS_FILE
) -> list[Change]:
    """Write overrides into params.yaml as `dvc exp run -S` does: in place; all but the turned values stays byte for byte.

    Args:
        overrides: ``section.key=value``, in DVC's (Hydra's) grammar.
        profile: a profile of profiles.yaml, laid on before the overrides.
        fragment: a YAML file of some sections and keys, such as `adloom tune` writes, laid on between the two.
        params: the file to turn.

    Returns:
        What changed, by key.

    Raises:
        ParamsError: no such profile, an override without a meaning, or parameters that are wrong with it; params.yaml is
            as it was.
    """
    load_params(params)
    if not overrides and profile is None and fragment is None:
        return []
    before, held = read_yaml(params), params.read_bytes().decode()
    with _restored_on_error(params):
        if profile is not None:
            _lay(profile_values(profile), params, PROFILES_FILE)
        if fragment is not None:
            _lay(read_yaml(fragment), params, fragment)
        if overrides:
            _override(overrides, params)
        load_params(params)
        _restore_layout(params, held)
    return _changes(_leaves(before), _leaves(read_yaml(params)))


def profile_values(name: str, path: Path = PROFILES_FILE) -> dict[str, Any]:
    """What a profile sets: its own values over those of ``default``.

    Args:
        name: the profile.
        path: the file of profiles.

    Returns:
        Sections by name.

    Raises:
        ParamsError: no such file or profile.
    """
    profiles = read_yaml(path)
    if name not in profiles:
        raise ParamsError(f"no profile {name!r} in {path}; it has {', '.join(profiles)}.")
    return _laid_over(profiles.get("default", {}), profiles[name] or {})


def _laid_over(base: Mapping[str, Any], top: Mapping[str, Any]) -> dict[str, Any]:
    both = dict(base)
    for key, value in top.items():
        both[key] = _laid_over(both.get(key, {}), value) if isinstance(value, Mapping) else value
    return both


def _lay(values: Mapping[str, Any], params: Path, source: Path) -> None:
    from dvc.utils.serialize import modify_yaml

    with modify_yaml(str(params)) as held:
        _fill(held, values, where="profile" if source == PROFILES_FILE else source.stem, source=source)


def _fill(held: Any, values: Mapping[str, Any], *, where: str, source: Path) -> None:
    for key, value in values.items():
        if key not in held:
            raise ParamsError(f"{where}.{key}: params.yaml has no such key; mend {source}.")
        if isinstance(value, Mapping):
            _fill(held[key], value, where=f"{where}.{key}", source=source)
        elif held[key] != value:
            held[key] = value


def _override(overrides: Sequence[str], params: Path) -> None:
    from dvc.exceptions import DvcException
    from dvc.utils import hydra
    from dvc.utils.cli_parse import to_path_overrides

    by_path = to_path_overrides(overrides)
    others = sorted(path for path in by_path if path != params.name)
    if others:
        raise ParamsError(f"-S {others[0]}:…: only {params.name} can be turned.")
    try:
        if any(parsed.is_sweep_override() for parsed in hydra.to_hydra_overrides(by_path[params.name])):
            raise ParamsError("-S with several values is a sweep: use `dvc exp run --queue -S …`, or give one value.")
        hydra.apply_overrides(str(params), by_path[params.name])
    except ParamsError:
        raise
    except Exception as error:  # Hydra's and OmegaConf's errors share no base
        if not isinstance(error, DvcException) and type(error).__module__.split(".")[0] not in {"hydra", "omegaconf", "antlr4"}:
            raise
        reason = str(error.__cause__ or error).strip().splitlines()[0]
        raise ParamsError(f"-S {' -S '.join(overrides)}: {reason}. Write section.key=value with a key of params.yaml.") from None


def _restore_layout(params: Path, held: str) -> None:
    """DVC writes the whole file in its own layout; write only the turned values into the one that was there, where that can be."""
    text = turned(held, read_yaml(params))
    if text is not None:
        with write_beside(params) as draft:
            draft.write_bytes(text.encode())


@contextmanager
def _restored_on_error(path: Path) -> Iterator[None]:
    held = path.read_bytes()
    try:
        yield
    except BaseException:
        with write_beside(path) as draft:
            draft.write_bytes(held)
        raise


def _leaves(values: Mapping[str, Any], prefix: str = "") -> dict[str, object]:
    found: dict[str, object] = {}
    for key, value in values.items():
        found |= _leaves(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return found


def _changes(before: Mapping[str, object], after: Mapping[str, object]) -> list[Change]:
    keys = [*after, *[key for key in before if key not in after]]
    return [Change(key, before.get(key), after.get(key)) for key in keys if before.get(key) != after.get(key)]
