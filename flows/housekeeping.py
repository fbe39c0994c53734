"""One loop at a time in a folder, and what a killed loop left behind is put in order by the next one."""

import contextlib
import fcntl
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from core.errors import StageError
from core.processes import ProcessId

logger = logging.getLogger(__name__)

LOOP_VARIABLE = "ADLOOM_LOOP"
"""Inherited by every process that a loop starts: whoever carries it belongs to that loop."""
SERVER_WORD = "prefect.server.api.server:create_app"


@contextmanager
def only_loop(root: Path) -> Iterator[ProcessId | None]:
    """Hold the folder's loop lock; it falls with the process, however that ends.

    Args:
        root: the project's folder.

    Yields:
        The loop that held the lock before and was killed, if one was; its embedded server has been stopped.

    Raises:
        StageError: another loop runs here.
    """
    file = _lock_file(root)
    file.parent.mkdir(exist_ok=True)
    with file.open("a+", encoding="utf-8") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise StageError(f"another loop runs here ({_holder(file) or 'just started'}); wait for its end, or stop it.") from None
        killed = _holder(file)
        if killed is not None:
            stop_orphans()
        me = ProcessId.of()
        file.write_text(str(me), encoding="utf-8")
        mark_children()
        try:
            yield killed
        finally:
            file.write_text("", encoding="utf-8")


def mark_children() -> None:
    """Let every process that this one starts carry its identity; before a flow, since Prefect starts its server ahead of it."""
    os.environ[LOOP_VARIABLE] = str(ProcessId.of())


def killed_loop(root: Path) -> ProcessId | None:
    """The last loop of this folder, if it was killed and nobody has put things in order since.

    Args:
        root: the project's folder.
    """
    holder = _holder(_lock_file(root))
    return None if holder is None or holder.lives() else holder


def stop_orphans() -> int:
    """Stop embedded Prefect servers whose loop is gone.

    Returns:
        How many were stopped.
    """
    orphans = [process for process in psutil.process_iter() if _is_orphan(process)]
    for process in orphans:
        logger.info("stopping process %d, an embedded Prefect server whose loop was killed", process.pid)
        with contextlib.suppress(psutil.Error):
            process.terminate()
    for process in psutil.wait_procs(orphans, timeout=5)[1]:
        with contextlib.suppress(psutil.Error):
            process.kill()
    return len(orphans)


def _is_orphan(process: psutil.Process) -> bool:
    try:
        if SERVER_WORD not in process.cmdline():
            return False
        loop = process.environ().get(LOOP_VARIABLE)
        return bool(loop) and not ProcessId.parse(str(loop)).lives()
    except (psutil.Error, ValueError, OSError):
        return False


def close_flow_runs() -> int:
    """Mark flow runs whose process is gone as crashed, and say on the current flow run which process it is.

    Returns:
        How many were marked.
    """
    from prefect import runtime
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import FlowRunFilter
    from prefect.states import Crashed

    closed = 0
    running = FlowRunFilter.model_validate({"state": {"type": {"any_": ["RUNNING"]}}})
    with get_client(sync_client=True) as client:
        for run in client.read_flow_runs(flow_run_filter=running, limit=200):
            owners = [tag.removeprefix("process ") for tag in run.tags if tag.startswith("process ")]
            if str(run.id) == runtime.flow_run.id:
                client.update_flow_run(
                    run.id, tags=[*[tag for tag in run.tags if not tag.startswith("process ")], f"process {ProcessId.of()}"]
                )
            elif owners and not ProcessId.parse(owners[0]).lives():
                client.set_flow_run_state(run.id, Crashed(message="its process was killed"), force=True)
                closed += 1
    return closed


def close_runs(root: Path) -> int:
    """Mark MLflow runs whose process is gone as KILLED.

    Args:
        root: the project's folder.

    Returns:
        How many were marked.

    Raises:
        RegistryError: the store refuses.
    """
    from registry.runs import close_abandoned
    from registry.store import EXPERIMENT, database_path, experiment_id, is_local, open_client

    if is_local(root) and not database_path(root).exists():
        return 0
    client = open_client(root)
    return close_abandoned(client, experiment_id(client, EXPERIMENT, root))


def _lock_file(root: Path) -> Path:
    return root / ".run" / "loop.lock"


def _holder(file: Path) -> ProcessId | None:
    try:
        return ProcessId.parse(file.read_text(encoding="utf-8").strip())
    except (OSError, ValueError):
        return None
