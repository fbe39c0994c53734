"""The stage graph as DVC sees it: what is fresh, in which order stages run, and how a run is committed to dvc.lock.

Everything that `dvc repro` decides is decided by the same DVC functions here, so that dvc.lock gets the same bytes. Two
things differ: a stage runs in this process, and what stood before stands still until the stage has ended well
(`dvc repro` removes a stage's outputs before it runs).
"""

import contextlib
import json
import logging
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from dvc.exceptions import DvcException
from dvc.repo import Repo, lock_repo
from dvc.repo.reproduce import collect_stages, get_active_graph, plan_repro
from dvc.stage.cache import RunCacheNotFoundError
from dvc.stage.decorators import rwlocked, unlocked_repo

from core.errors import AdloomError, StageError
from core.processes import ProcessId
from flows.progress import Outcome

if TYPE_CHECKING:
    from dvc.stage import PipelineStage

logger = logging.getLogger(__name__)

_NAMED = 6


class StageGraph:
    """The stages of dvc.yaml in the working folder."""

    def __init__(self, root: Path) -> None:
        """Args: the project's folder.

        Raises:
            StageError: it is no DVC project.
        """
        self._root = root
        logging.getLogger("dvc").setLevel(logging.WARNING)  # it would tell each update of the lock file
        with _dvc_errors("dvc.yaml"):
            self._repo = Repo(str(root), _wait_for_lock=True)

    def order(self, first: str | None = None) -> list[str]:
        """Every stage, in the order in which `dvc repro` runs them.

        Args:
            first: only this stage and those that depend on it.

        Raises:
            StageError: dvc.yaml is wrong, or has no such stage.
        """
        with _dvc_errors("dvc.yaml"), lock_repo(self._repo):
            graph = get_active_graph(self._repo.index.graph)
            steps = plan_repro(graph, collect_stages(self._repo, ["dvc.yaml"]))
            if first is None:
                return [str(stage.name) for stage in steps]
            wanted = [str(stage.name) for stage in plan_repro(graph, collect_stages(self._repo, [first]), downstream=True)]
            return [str(stage.name) for stage in steps if stage.name in wanted]

    def stale(self) -> dict[str, str]:
        """The stages that are not fresh as things stand, in order, each with what has changed.

        Raises:
            StageError: dvc.yaml or dvc.lock is wrong.
        """
        order = self.order()
        with _dvc_errors("dvc.yaml"), lock_repo(self._repo):
            stages = {name: self._load(name) for name in order}
            return {name: _changes(stage) for name, stage in stages.items() if stage.changed()}

    def run(self, name: str, work: Callable[[], None], *, force: bool = False) -> Outcome:
        """Bring one stage up to date and commit it to dvc.lock.

        Args:
            name: the stage.
            work: what the stage does; called only when neither the workspace nor DVC's run cache has the result.
            force: call it in any case.

        Returns:
            What was needed.

        Raises:
            StageError: DVC refuses, or the stage did not write what dvc.yaml lists.
        """
        with _dvc_errors(name), lock_repo(self._repo):
            stage = self._load(name)
            outcome: Outcome = _bring_up_to_date(stage, work, force)
            if outcome != "fresh":
                stage.dump(update_pipeline=False)
            return outcome

    def forget_locks_of(self, process: ProcessId) -> None:
        """Drop the path locks of a process that was killed, before its id passes to another process.

        Args:
            process: a dead process.
        """
        file = Path(self._repo.tmp_dir or self._root / ".dvc" / "tmp") / "rwlock"
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            locks = json.loads(file.read_text(encoding="utf-8"))
            locks["write"] = {path: info for path, info in locks.get("write", {}).items() if info["pid"] != process.pid}
            locks["read"] = {path: [info for info in infos if info["pid"] != process.pid] for path, infos in locks.get("read", {}).items()}
            file.write_text(json.dumps(locks), encoding="utf-8")

    def close(self) -> None:
        """Let go of DVC's databases."""
        self._repo.close()

    def _load(self, name: str) -> "PipelineStage":
        return self._repo.stage.load_one("dvc.yaml", name)


def _changes(stage: "PipelineStage") -> str:
    """What `dvc status` tells of a stage, in one line."""
    if not any(dep.hash_info for dep in stage.deps):
        return "has not run here yet"
    told: dict[str, list[str]] = {}
    for change in stage.status().get(stage.addressing, []):
        if isinstance(change, str):  # a changed command
            told[change] = []
            continue
        for path, what in (pair for paths in change.values() for pair in paths.items()):
            if isinstance(what, dict):
                told.setdefault("modified", []).extend(f"{path}: {key}" for key in what)
            else:
                told.setdefault(what, []).append(path)
    return "; ".join(" ".join([what, _few(paths)]).strip() for what, paths in told.items())


def _few(names: list[str]) -> str:
    return ", ".join(names[:_NAMED]) + (f" and {len(names) - _NAMED} more" if len(names) > _NAMED else "")


@rwlocked(read=["deps"], write=["outs"])  # type: ignore[untyped-decorator]
def _bring_up_to_date(stage: "PipelineStage", work: Callable[[], None], force: bool) -> Outcome:
    _put_back(stage)
    if not force and not stage.changed():
        return "fresh"
    absent = [str(dep) for dep in stage.deps if not dep.exists]
    if absent:
        raise StageError(
            f"stage {stage.name}: missing input {', '.join(absent)}. Run the stages before it: `dvc repro {stage.name}` or `make run`."
        )
    outcome: Outcome = "restored" if not force and _restored(stage) else "ran"
    if outcome == "ran":
        unlocked_repo(lambda _: work())(stage)
    uncached = any(not out.use_cache for out in stage.outs if not (out.is_metric or out.is_plot))
    stage.save(run_cache=not uncached)
    stage.commit()
    return outcome


def _restored(stage: "PipelineStage") -> bool:
    """Whether DVC's run cache holds this very run; what stands is kept aside while DVC looks and checks out."""
    for path, aside in _asides(stage):
        if path.exists():
            path.replace(aside)
    try:
        stage.repo.stage_cache.restore(stage)
    except RunCacheNotFoundError:
        stage.save_deps()
        return False
    else:
        for _, aside in _asides(stage):
            _remove(aside)
        return True
    finally:
        _put_back(stage)


def _put_back(stage: "PipelineStage") -> None:
    for path, aside in _asides(stage):
        if aside.exists() and not path.exists():
            aside.replace(path)
        _remove(aside)


def _asides(stage: "PipelineStage") -> list[tuple[Path, Path]]:
    paths = [Path(out.fs_path) for out in stage.outs]
    return [(path, path.with_name(f".{path.name}.aside")) for path in paths]


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


@contextmanager
def _dvc_errors(what: str) -> Iterator[None]:
    try:
        yield
    except AdloomError:
        raise
    except DvcException as error:
        cause = f" ({error.__cause__})" if error.__cause__ else ""
        raise StageError(f"{what}: {error}{cause}") from error
