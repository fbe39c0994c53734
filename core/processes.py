"""Which process did this, and does it still live? Process ids are reused; an id with its start time is not."""

import os
import socket
import time
from dataclasses import dataclass

import psutil

ABANDONED_AFTER_S = 86_400.0
"""A process of another host cannot be asked; what it left running for longer than this counts as abandoned."""


@dataclass(frozen=True)
class ProcessId:
    """A process, for good.

    Attributes:
        host: the machine's name.
        pid: its process id there.
        started: its start, in seconds since 1970.
    """

    host: str
    pid: int
    started: float

    @classmethod
    def of(cls, process: psutil.Process | None = None) -> "ProcessId":
        """The identity of a living process.

        Args:
            process: this one when None.
        """
        process = process or psutil.Process()
        return cls(host=socket.gethostname(), pid=process.pid, started=round(process.create_time(), 2))

    @classmethod
    def parse(cls, text: str) -> "ProcessId":
        """Read what `str` wrote.

        Args:
            text: ``host:pid:started``.

        Raises:
            ValueError: text has another form.
        """
        host, pid, started = text.rsplit(":", 2)
        return cls(host=host, pid=int(pid), started=float(started))

    def __str__(self) -> str:
        return f"{self.host}:{self.pid}:{self.started:.2f}"

    def lives(self) -> bool:
        """Whether the process still runs; a zombie does not."""
        if self.host != socket.gethostname():
            return time.time() - self.started < ABANDONED_AFTER_S
        process = self.process()
        return process is not None and process.status() != psutil.STATUS_ZOMBIE

    def process(self) -> psutil.Process | None:
        """The living process on this host, or None when it is gone or its id has passed to another."""
        try:
            process = psutil.Process(self.pid)
            same = abs(process.create_time() - self.started) < 1.0  # the clock may have been set since
        except psutil.NoSuchProcess:
            return None
        return process if same and self.host == socket.gethostname() else None


def loop_process() -> ProcessId:
    """The process that walks the graph: `dvc` when this one runs a stage for it, else this one itself."""
    me = psutil.Process()
    for parent in me.parents()[:4] if "DVC_STAGE" in os.environ else []:
        try:
            words = parent.cmdline()[:4]
        except psutil.Error:
            break
        if any(word.rpartition("/")[2] in {"dvc", "dvc.exe"} for word in words):
            return ProcessId.of(parent)
    return ProcessId.of(me)
