"""One loop at a time; what a killed loop left behind is found and stopped, and nothing else is."""

import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from core.errors import StageError
from core.processes import ProcessId
from flows.background import Background
from flows.housekeeping import LOOP_VARIABLE, SERVER_WORD, killed_loop, only_loop, stop_orphans

SLEEP = "import time; time.sleep(60)"


def dead() -> ProcessId:
    me = ProcessId.of()
    return ProcessId(me.host, me.pid, me.started - 500)


def test_a_second_loop_in_the_same_folder_is_refused(tmp_path: Path) -> None:
    with only_loop(tmp_path) as killed:
        assert killed is None
        with pytest.raises(StageError, match=f":{os.getpid()}:"), only_loop(tmp_path):
            pass
    with only_loop(tmp_path) as killed:
        assert killed is None, "a loop that ended well leaves nothing to clean"


def test_a_loop_that_was_killed_is_known_to_the_next_one(tmp_path: Path) -> None:
    code = f"import os, signal, sys; sys.path.insert(0, {str(Path(__file__).parents[2])!r}); from pathlib import Path\n"
    code += "from flows.housekeeping import only_loop\nwith only_loop(Path.cwd()):\n    os.kill(os.getpid(), signal.SIGKILL)"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=False)
    assert done.returncode == -9
    assert killed_loop(tmp_path) is not None
    with only_loop(tmp_path) as killed:
        assert killed is not None
        assert not killed.lives()
    assert killed_loop(tmp_path) is None


def test_only_servers_of_dead_loops_are_stopped() -> None:
    def server(loop: ProcessId | None) -> subprocess.Popen[bytes]:
        environment = {**os.environ, **({LOOP_VARIABLE: str(loop)} if loop else {})}
        return subprocess.Popen([sys.executable, "-c", SLEEP, SERVER_WORD], env=environment)

    orphan, living, strange = server(dead()), server(ProcessId.of()), server(None)
    other = subprocess.Popen([sys.executable, "-c", SLEEP], env={**os.environ, LOOP_VARIABLE: str(dead())})
    try:
        assert stop_orphans() == 1
        assert not psutil.pid_exists(orphan.pid)
        assert [process.poll() for process in (living, strange, other)] == [None, None, None]
    finally:
        for process in (orphan, living, strange, other):
            process.kill()
            process.wait()


def test_a_process_id_that_has_passed_to_another_process_is_dead() -> None:
    assert ProcessId.of().lives()
    assert not dead().lives()
    assert ProcessId.parse(str(ProcessId.of())) == ProcessId.of()


def test_a_background_process_outlives_its_command_and_is_stopped_with_its_children(tmp_path: Path) -> None:
    background = Background("sleeper", tmp_path)
    code = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {SLEEP!r}]); print('up', flush=True); {SLEEP}"
    background.start([sys.executable, "-c", code], port=4321)
    assert background.facts()["port"] == 4321
    noted = ProcessId.parse(str(background.facts()["process"]))
    process = noted.process()
    assert process is not None
    while "up" not in background.tail():
        pass
    family = [*process.children(recursive=True), process]
    assert len(family) == 2
    assert background.stop(patience_s=2)
    assert not [member for member in family if member.is_running() and member.status() != psutil.STATUS_ZOMBIE]
    assert not background.lives()
    assert not background.stop(), "what does not run is not stopped again"


def test_a_note_of_a_process_that_has_ended_counts_for_nothing(tmp_path: Path) -> None:
    background = Background("gone", tmp_path)
    background.note.parent.mkdir()
    background.note.write_text(f'{{"process": "{dead()}", "port": 1}}')
    assert background.facts() == {}
    assert not background.stop()
