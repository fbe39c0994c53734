"""`adloom deploy`: a local Prefect server and a process worker on loopback, with the deployments of prefect.yaml."""

import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

from core.errors import ServiceError
from core.files import content_hash, read_json, write_json
from core.yaml_settings import read_yaml
from flows.background import Background

POOL = "adloom"
PORT = 4200
PREFECT_FILE = Path("prefect.yaml")
_START_S = 180.0


def deploy(root: Path, *, port: int = PORT, say: Callable[[str], None] = print) -> str:
    """Start what does not run yet, and apply prefect.yaml when it has changed.

    Args:
        root: the project's folder.
        port: of the server, on loopback.
        say: told each step.

    Returns:
        The address of the server's UI.

    Raises:
        ServiceError: the port is in use, or the server, the worker or prefect.yaml does not come up; the message says why.
    """
    server, worker = _server(root), _worker(root)
    address = _address(server)
    if address is None:
        worker.stop()
        port_is_free(port)
        say(f"starting the Prefect server on 127.0.0.1:{port} …")
        server.start([sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)], port=port)
        address = f"http://127.0.0.1:{port}"
        _wait_for(server, lambda: _answers(address or ""))
    os.environ["PREFECT_API_URL"] = f"{address}/api"
    _apply(root, server, say)
    if not worker.lives():
        say("starting the worker …")
        worker.start([sys.executable, "-m", "prefect", "worker", "start", "--pool", POOL, "--type", "process", "--name", "adloom-local"])
        _wait_for(worker, lambda: "started!" in worker.tail(200))
    say(f"{len(_deployment_names(root))} deployments are in force: {address}/deployments")
    return address


def undeploy(root: Path) -> list[str]:
    """Stop the worker and the server that `deploy` started here, and nothing else.

    Args:
        root: the project's folder.

    Returns:
        The names of what ran.
    """
    stopped = [process.name for process in (_worker(root), _server(root)) if process.stop()]
    _applied(root).unlink(missing_ok=True)
    return stopped


def use_running_server(root: Path) -> str | None:
    """Send this process's flow runs to the server that `deploy` started, if it answers.

    Args:
        root: the project's folder.

    Returns:
        Its address; PREFECT_API_URL when the user has set it; None when flows start an embedded server.
    """
    if os.environ.get("PREFECT_API_URL"):
        return os.environ["PREFECT_API_URL"]
    address = _address(_server(root))
    if address is None or not _answers(address):
        return None
    os.environ["PREFECT_API_URL"] = f"{address}/api"
    return address


def port_is_free(port: int, host: str = "127.0.0.1") -> None:
    """Refuse a port that is taken.

    Args:
        port: 1 to 65535.
        host: the address to bind.

    Raises:
        ServiceError: something listens there.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise ServiceError(
                f"port {port} on {host} cannot be had ({error.strerror}): stop what uses it, or give another with --port."
            ) from None


def running(root: Path) -> dict[str, str]:
    """What `deploy` has running: name → address or process.

    Args:
        root: the project's folder.
    """
    server, worker = _server(root), _worker(root)
    found = {server.name: _address(server) or ""} if server.lives() else {}
    return found | ({worker.name: str(worker.facts()["process"])} if worker.lives() else {})


def _apply(root: Path, server: Background, say: Callable[[str], None]) -> None:
    wanted = {"prefect.yaml": content_hash(root / PREFECT_FILE), "server": str(server.facts().get("process", ""))}
    if _applied(root).exists() and read_json(_applied(root)) == wanted:
        return
    say("applying prefect.yaml …")
    for command in (["work-pool", "create", POOL, "--type", "process", "--overwrite"], ["--no-prompt", "deploy", "--all"]):
        done = subprocess.run(
            [sys.executable, "-m", "prefect", *command], cwd=root, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL
        )
        if done.returncode:
            raise ServiceError(f"prefect {' '.join(command)} failed; mend {PREFECT_FILE}:\n{(done.stdout + done.stderr).strip()[-2000:]}")
    write_json(wanted, _applied(root))


def _wait_for(process: Background, ready: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _START_S
    while not ready():
        if not process.lives():
            process.note.unlink(missing_ok=True)
            raise ServiceError(f"{process.name} ended at once; the end of {process.log}:\n{process.tail()}")
        if time.monotonic() > deadline:
            process.stop()
            raise ServiceError(f"{process.name} did not come up within {_START_S:.0f} s; the end of {process.log}:\n{process.tail()}")
        time.sleep(0.25)


def _answers(address: str) -> bool:
    try:
        with urllib.request.urlopen(f"{address}/api/health", timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def _address(server: Background) -> str | None:
    port = server.facts().get("port")
    return None if port is None else f"http://127.0.0.1:{port}"


def _deployment_names(root: Path) -> list[str]:
    return [str(entry["name"]) for entry in read_yaml(root / PREFECT_FILE)["deployments"]]


def _applied(root: Path) -> Path:
    return root / ".run" / "prefect-applied.json"


def _server(root: Path) -> Background:
    return Background("prefect-server", root)


def _worker(root: Path) -> Background:
    return Background("prefect-worker", root)
