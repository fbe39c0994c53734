"""Processes under measurement: started on a core, waited for, looked at, stopped."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import psutil


def cores() -> tuple[int, int]:
    """A core for what is measured and one for the load; both −1 where processes cannot be bound, equal where there is only one."""
    if not hasattr(os, "sched_getaffinity"):
        return -1, -1
    free = sorted(os.sched_getaffinity(0))
    return free[0], free[-1]


def free_port() -> int:
    """A port on loopback that nobody has."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


@contextmanager
def started(command: Sequence[str], url: str, *, log: Path, core: int, seconds: float = 300) -> Iterator[psutil.Process]:
    """A server, from when it answers until the block ends.

    Args:
        command: its command.
        url: answers 200 when it is ready.
        log: its output.
        core: to stay on; −1 for any.
        seconds: it may take to be ready.

    Raises:
        RuntimeError: it ended before it answered, or did not answer in time; the end of its log is told.
    """
    with log.open("wb") as out:
        server = subprocess.Popen(command, stdout=out, stderr=out, start_new_session=True)
    try:
        if core >= 0:
            os.sched_setaffinity(server.pid, {core})
        deadline = time.monotonic() + seconds
        while not _answers(url):
            if server.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{command[0]} … does not answer at {url}:\n{log.read_text(encoding='utf-8', errors='replace')[-2000:]}")
            time.sleep(0.2)
        yield psutil.Process(server.pid)
    finally:
        for code in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
            if server.poll() is None:
                os.killpg(server.pid, code)
                try:
                    server.wait(timeout=30)
                except subprocess.TimeoutExpired:
                    continue


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def load(plan: Path) -> None:
    """Run the load generator and wait for it.

    Args:
        plan: see `benchmarks.serving.load.Plan`.

    Raises:
        CalledProcessError: it failed.
    """
    subprocess.run([sys.executable, "-m", "benchmarks.serving.load", str(plan)], check=True)


def peak_mb(process: psutil.Process) -> float:
    """Most memory that a process and its children held, each at its own peak, in MB.

    Args:
        process: it lives.
    """
    total = 0.0
    for one in [process, *process.children(recursive=True)]:
        status = Path(f"/proc/{one.pid}/status")
        if status.exists():
            total += int(re.search(r"VmHWM:\s+(\d+) kB", status.read_text(encoding="utf-8"))[1]) / 1024  # type: ignore[index]
        else:  # not Linux: what it holds now
            total += one.memory_info().rss / 2**20
    return total


def counters(url: str) -> dict[str, float]:
    """The numbers of a Prometheus page.

    Args:
        url: of the page.
    """
    with urllib.request.urlopen(url, timeout=10) as page:
        lines = page.read().decode().splitlines()
    return {line.rsplit(" ", 1)[0]: float(line.rsplit(" ", 1)[1]) for line in lines if line and not line.startswith("#")}
