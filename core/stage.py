"""What a stage is: a pure function whose arguments are found in dvc.yaml and params.yaml."""

import importlib
import inspect
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_type_hints

import numpy as np

from core.environment import limit_threads
from core.errors import StageError
from core.files import write_beside
from core.params import Params, Section, load_params, section_names
from core.seeding import seed_globals, stage_rng
from core.tracking import Tracker
from core.yaml_settings import read_yaml

DVC_FILE = Path("dvc.yaml")
PARAMS_FILE = Path("params.yaml")
DRAFTS = Path("data") / ".drafts"
STAGES = ("collect", "prepare", "encode", "train_recommender", "train_generator", "generate", "train_ranker", "evaluate", "promote")
"""Every stage, in the order of the graph; each is `tasks.<name>.<name>`."""


@dataclass(frozen=True)
class StageEntry:
    """One stage as dvc.yaml lists it.

    Attributes:
        name: the stage's name.
        deps: paths it reads, code included.
        outs: paths it writes.
        params: dotted keys of params.yaml that it depends on.
        paths: file stem → path, of every dependency under data/ and of every output.
    """

    name: str
    deps: tuple[Path, ...]
    outs: tuple[Path, ...]
    params: tuple[str, ...]
    paths: dict[str, Path]


def read_graph(path: Path = DVC_FILE) -> dict[str, StageEntry]:
    """Read the stage graph.

    Args:
        path: dvc.yaml.

    Returns:
        Stages by name, in the file's order.

    Raises:
        StageError: the file holds no stages, or two paths of one stage share a stem.
    """
    stages = read_yaml(path).get("stages")
    if not isinstance(stages, dict) or not stages:
        raise StageError(f"{path}: no `stages:`; restore it with `git checkout {path.name}`.")
    return {str(name): _entry(str(name), body, path) for name, body in stages.items()}


def _entry(name: str, body: dict[str, Any], source: Path) -> StageEntry:
    deps = tuple(_path(dep) for dep in body.get("deps", []))
    outs = tuple(_path(out) for kind in ("outs", "metrics", "plots") for out in body.get(kind, []))
    paths: dict[str, Path] = {}
    for path in (*[dep for dep in deps if dep.parts[0] == "data"], *outs):
        if path.stem in paths:
            raise StageError(f"{source}: stage {name} lists both {paths[path.stem]} and {path}; stems name arguments and must differ.")
        paths[path.stem] = path
    return StageEntry(name=name, deps=deps, outs=outs, params=tuple(str(key) for key in body.get("params", [])), paths=paths)


def _path(entry: Any) -> Path:
    return Path(next(iter(entry)) if isinstance(entry, dict) else entry)


def path_of(stem: str, graph: dict[str, StageEntry] | None = None) -> Path:
    """The path of a data file by its stem, for callers that are no stage.

    Args:
        stem: file name without folder and ending, such as ``events``.
        graph: a graph already read.

    Raises:
        StageError: dvc.yaml lists no such file.
    """
    for entry in (graph or read_graph()).values():
        if stem in entry.paths:
            return entry.paths[stem]
    raise StageError(f"dvc.yaml lists no file named {stem}.")


def stage_function(name: str) -> Callable[..., None]:
    """The function of a stage: ``tasks.<name>.<name>``.

    Args:
        name: one of `STAGES`.

    Raises:
        StageError: no stage of that name.
    """
    if name not in STAGES:
        raise StageError(f"no stage is named {name!r}; the stages are {', '.join(STAGES)}.")
    function: Callable[..., None] = getattr(importlib.import_module(f"tasks.{name}"), name)
    return function


def stage_sections(function: Callable[..., None]) -> dict[str, str]:
    """Which params.yaml section each argument of a stage receives.

    Args:
        function: the stage.

    Returns:
        Argument name → section name.
    """
    hints = get_type_hints(function)
    kinds = {name: kind for name, kind in hints.items() if isinstance(kind, type) and issubclass(kind, Section)}
    return dict(zip(kinds, section_names(list(kinds.values())), strict=True))


def bind(function: Callable[..., None], entry: StageEntry, params: Params, *, rng: np.random.Generator, tracker: Tracker) -> dict[str, Any]:
    """The arguments that a stage is called with.

    Args:
        function: the stage.
        entry: its entry in dvc.yaml.
        params: the whole of params.yaml; the stage receives its sections only.
        rng: the stage's stream.
        tracker: where the stage reports.

    Returns:
        Keyword arguments.

    Raises:
        StageError: the signature and dvc.yaml list different files, or an input does not exist.
    """
    sections = stage_sections(function)
    arguments: dict[str, Any] = {name: getattr(params, section) for name, section in sections.items()}
    wanted = [name for name in inspect.signature(function).parameters if name not in sections]
    offered = {"rng": rng, "tracker": tracker, **entry.paths}
    missing = [name for name in wanted if name not in offered]
    unused = [name for name in entry.paths if name not in wanted]
    if missing or unused:
        raise StageError(
            f"stage {entry.name}: dvc.yaml lacks {missing or 'nothing'} and lists {unused or 'nothing'} that the function does not take."
        )
    absent = [str(path) for path in entry.deps if not path.exists()]
    if absent:
        raise StageError(
            f"stage {entry.name}: missing input {', '.join(absent)}. Run the stages before it: `dvc repro {entry.name}` or `make run`."
        )
    return arguments | {name: offered[name] for name in wanted}


def takes_tracker(name: str) -> bool:
    """Whether a stage reports to a tracker; importing the stage is all that this costs.

    Args:
        name: one of `STAGES`.

    Raises:
        StageError: no stage of that name.
    """
    return "tracker" in inspect.signature(stage_function(name)).parameters


@contextmanager
def _outputs_beside(entry: StageEntry) -> Iterator[StageEntry]:
    """The entry with its outputs in a folder of drafts; they take their places together when the stage has ended well.

    So what stood before stands still when a stage fails. A kill between two of the renames leaves files of two runs; DVC then finds the
    stage stale, and the next run makes all of them anew.
    """
    drafts = DRAFTS / entry.name
    shutil.rmtree(drafts, ignore_errors=True)
    moved = {out: drafts / out for out in entry.outs}
    for draft in moved.values():
        draft.parent.mkdir(parents=True, exist_ok=True)
    try:
        yield replace(entry, paths={stem: moved.get(path, path) for stem, path in entry.paths.items()})
        for out, draft in moved.items():
            if draft.exists():
                with write_beside(out) as place:
                    draft.replace(place)
    finally:
        shutil.rmtree(drafts, ignore_errors=True)


def run_stage(name: str, tracker: Tracker) -> float:
    """Run one stage in this process, as dvc.yaml and params.yaml in the working folder say.

    Threads and global random streams are set here, so that both runners give the same bytes.

    Args:
        name: one of `STAGES`.
        tracker: where the stage reports.

    Returns:
        Seconds it took.

    Raises:
        StageError: see `bind`.
        ParamsError: params.yaml is wrong.
    """
    started = time.perf_counter()
    params = load_params(PARAMS_FILE)
    function = stage_function(name)
    limit_threads(params.threads)
    seed_globals(params.seed, name)
    entry = read_graph()[name]
    tracker.log_params({section: getattr(params, section).model_dump() for section in stage_sections(function).values()})
    with _outputs_beside(entry) as drafted:
        function(**bind(function, drafted, params, rng=stage_rng(params.seed, name), tracker=tracker))
    return time.perf_counter() - started
