"""One MLflow parent run a loop, a child a stage that reports; what a killed process left behind is closed."""

import logging
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from core.errors import AdloomError, RegistryError
from core.files import read_json
from core.params import Params
from core.processes import ProcessId
from core.stage import path_of
from core.tracking import NullTracker, Tracker
from registry.models import Registry
from registry.store import EXPERIMENT, experiment_id, open_client, store_errors
from registry.tracker import MlflowTracker, file_hash

if TYPE_CHECKING:
    from mlflow.entities import Run
    from mlflow.tracking import MlflowClient

logger = logging.getLogger(__name__)

LOOP_TAG = "adloom.loop"
PROCESS_TAG = "adloom.process"
STAGE_TAG = "adloom.stage"
PARENT_TAG = "mlflow.parentRunId"
NAME_TAG = "mlflow.runName"


class LoopRecord:
    """What MLflow keeps of one walk over the graph.

    The parent run is found by the identity of the process that walks: the flow's own, or that of `dvc`, whose stages are
    processes of their own. It counts as finished whenever no stage of it runs, so that nothing needs to know which stage
    is the last; the next stage opens it again.
    """

    def __init__(self, root: Path, loop: ProcessId, params: Params) -> None:
        """Args: the project's folder, the process that walks the graph, and the parameters it walks with."""
        self._root = root
        self._loop = loop
        self._params = params
        self._client: MlflowClient | None = None
        self._parent: str | None = None

    @contextmanager
    def stage(self, name: str, *, reports: bool) -> Iterator[Tracker]:
        """The run of one stage.

        Args:
            name: the stage's name.
            reports: whether it takes a tracker; one that does not costs no import of MLflow.

        Yields:
            Where the stage reports.

        Raises:
            RegistryError: the store refuses.
        """
        if not reports:
            yield NullTracker()
            return
        client, parent = self._open()
        run = self._child(name, parent)
        tracker = MlflowTracker(client, run.info.run_id, root=self._root)
        started = time.perf_counter()
        status = "FAILED"
        try:
            yield tracker
            status = "FINISHED"
        except KeyboardInterrupt:
            status = "KILLED"
            raise
        finally:
            seconds = time.perf_counter() - started
            tracker.log_metrics({"seconds": seconds})
            self._close(tracker, parent, status)
            self.log_seconds({name: seconds})

    def log_seconds(self, seconds: Mapping[str, float]) -> None:
        """Record how long stages took, on the parent run; nothing happens when there is none yet.

        Args:
            seconds: stage → seconds.

        Raises:
            RegistryError: the store refuses.
        """
        if self._client is None or self._parent is None:
            return
        tracker = MlflowTracker(self._client, self._parent, root=self._root)
        tracker.log_metrics({f"seconds/{name}": value for name, value in seconds.items()})
        tracker.flush()

    def finish(self) -> str | None:
        """Write on the parent run what only the end of a walk knows: data version, lock file, headline metrics.

        Returns:
            The parent run's id; None when no stage reported.

        Raises:
            RegistryError: the store refuses.
        """
        if self._client is None or self._parent is None:
            return None
        tracker = MlflowTracker(self._client, self._parent, root=self._root)
        tracker.set_tags({"adloom.lock_hash": file_hash(Path("dvc.lock")), **_data_version()})
        return self._parent

    def _open(self) -> tuple["MlflowClient", str]:
        client = self._client = self._client or open_client(self._root)
        experiment = experiment_id(client, EXPERIMENT, self._root)
        with store_errors(self._root):
            if self._parent is None:
                close_abandoned(client, experiment)
                found = client.search_runs(
                    [experiment], f"tags.`{LOOP_TAG}` = '{self._loop}' and tags.`{STAGE_TAG}` = 'loop'", max_results=1
                )
                self._parent = found[0].info.run_id if found else self._begin(client, experiment)
            client.update_run(self._parent, status="RUNNING")
        return client, self._parent

    def _begin(self, client: "MlflowClient", experiment: str) -> str:
        name = f"loop seed {self._params.seed} · {self._params.collect.source}"
        tags = {NAME_TAG: name, LOOP_TAG: str(self._loop), PROCESS_TAG: str(self._loop), STAGE_TAG: "loop", **code_version()}
        run = client.create_run(experiment, tags=tags)
        MlflowTracker(client, run.info.run_id, root=self._root).log_params(self._params.model_dump())
        return str(run.info.run_id)

    def _child(self, name: str, parent: str) -> "Run":
        client = self._client
        if client is None:
            raise RegistryError("no open store: call `stage` only.")
        experiment = experiment_id(client, EXPERIMENT, self._root)
        tags = {NAME_TAG: name, PARENT_TAG: parent, LOOP_TAG: str(self._loop), PROCESS_TAG: str(ProcessId.of()), STAGE_TAG: name}
        with store_errors(self._root):
            return client.create_run(experiment, tags={**tags, **code_version(), **_data_version()})

    def _close(self, tracker: MlflowTracker, parent: str, status: str) -> None:
        tracker.flush()
        tracker.set_tags({"adloom.lock_hash": file_hash(Path("dvc.lock")), **_data_version()})
        client = self._client
        if client is None:
            return
        MlflowTracker(client, parent, root=self._root).set_tags({"adloom.lock_hash": file_hash(Path("dvc.lock")), **_data_version()})
        with store_errors(self._root):
            client.set_terminated(tracker.run_id, status)
            client.set_terminated(parent, status)


@contextmanager
def run_for(tracker: Tracker, registry: Registry) -> Iterator[str]:
    """The run that bundles are registered from.

    Args:
        tracker: a tracker over an MLflow run, or any other: then a run of its own is made.
        registry: the store.

    Yields:
        The run's id.

    Raises:
        RegistryError: the store refuses.
    """
    if isinstance(tracker, MlflowTracker):
        yield tracker.run_id
        return
    run = registry.client.create_run(registry.experiment(), tags={NAME_TAG: "promote", PROCESS_TAG: str(ProcessId.of())})
    yield run.info.run_id
    registry.client.set_terminated(run.info.run_id)


def close_abandoned(client: "MlflowClient", experiment: str) -> int:
    """Mark RUNNING runs whose process is gone as KILLED.

    Args:
        client: an open client.
        experiment: the experiment's id.

    Returns:
        How many were closed.
    """
    closed = 0
    for run in client.search_runs([experiment], "attributes.status = 'RUNNING'", max_results=1000):
        owner = run.data.tags.get(PROCESS_TAG)
        if owner and not ProcessId.parse(owner).lives():
            client.set_terminated(run.info.run_id, "KILLED")
            logger.info("run %s was left by process %s: marked KILLED", run.info.run_id, owner)
            closed += 1
    return closed


def code_version() -> dict[str, str]:
    """Tags that say which code runs: the commit, and whether tracked files differ from it."""
    commit = _git("rev-parse", "HEAD")
    if not commit:
        return {"adloom.code_version": "no git repository"}
    dirty = bool(_git("status", "--porcelain", "--untracked-files=no"))
    return {"mlflow.source.git.commit": commit, "adloom.code_version": commit[:12] + ("-dirty" if dirty else "")}


def _git(*arguments: str) -> str:
    try:
        return subprocess.run(["git", *arguments], capture_output=True, text=True, check=False, timeout=20).stdout.strip()
    except (OSError, subprocess.TimeoutExpired):
        return ""


def _data_version() -> dict[str, str]:
    try:
        found = read_json(path_of("lineage"))
    except (AdloomError, OSError):
        return {}  # the stages before it have not run yet
    return {"adloom.data_version": str(found.get("data_version", "unknown")), "adloom.source": str(found.get("source", "unknown"))}
