"""Processes that outlive the command that started them: each has a note under .run/, and only what has one is stopped."""

import contextlib
import json
import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from core.files import write_json
from core.processes import ProcessId


@dataclass(frozen=True)
class Background:
    """A process in the background.

    Attributes:
        name: what it is; also its note's and its log's name.
        root: the project's folder.
    """

    name: str
    root: Path

    @property
    def note(self) -> Path:
        """Who it is: .run/NAME.json."""
        return self.root / ".run" / f"{self.name}.json"

    @property
    def log(self) -> Path:
        """What it prints: .run/NAME.log."""
        return self.root / ".run" / f"{self.name}.log"

    def facts(self) -> dict[str, object]:
        """What was noted when it was started; empty when it does not live."""
        process = self._process()
        if process is None or not process.lives():
            return {}
        held = json.loads(self.note.read_text(encoding="utf-8"))
        return dict(held)

    def lives(self) -> bool:
        """Whether it runs."""
        return bool(self.facts())

    def start(self, command: Sequence[str], **facts: object) -> None:
        """Start it in a session of its own, with its output in the log.

        Args:
            command: program and arguments.
            facts: what else to note, such as a port.
        """
        self.log.parent.mkdir(exist_ok=True)
        with self.log.open("ab") as log:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.root, env=dict(os.environ), start_new_session=True
            )
        process.returncode = 0  # it is meant to outlive us: no warning that it still runs
        write_json({"process": str(ProcessId.of(psutil.Process(process.pid))), **facts}, self.note)

    def stop(self, *, patience_s: float = 15.0) -> bool:
        """Stop it and what it started.

        Args:
            patience_s: seconds until what does not end by itself is killed.

        Returns:
            Whether it ran.
        """
        noted = self._process()
        process = noted.process() if noted is not None else None
        self.note.unlink(missing_ok=True)
        if process is None:
            return False
        family = [*_children(process), process]
        with contextlib.suppress(psutil.Error):
            process.terminate()
        alive = psutil.wait_procs(family, timeout=patience_s)[1]
        for member in alive:
            with contextlib.suppress(psutil.Error):
                member.kill()
        psutil.wait_procs(alive, timeout=5)
        return True

    def tail(self, lines: int = 15) -> str:
        """The end of its log.

        Args:
            lines: how many.
        """
        text = self.log.read_text(encoding="utf-8", errors="replace") if self.log.exists() else ""
        return "\n".join(text.splitlines()[-lines:])

    def _process(self) -> ProcessId | None:
        try:
            return ProcessId.parse(json.loads(self.note.read_text(encoding="utf-8"))["process"])
        except (OSError, ValueError, KeyError):
            return None


def _children(process: psutil.Process) -> list[psutil.Process]:
    try:
        return list(process.children(recursive=True))
    except psutil.Error:
        return []
