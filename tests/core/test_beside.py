"""A second process: does what it is given, raises what was raised, takes a thread and gives it back, and never outlives this one."""

import operator
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from core.beside import beside
from core.environment import THREAD_VARIABLES, limit_threads
from core.errors import ProcessError

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def two_threads(monkeypatch):
    for name in THREAD_VARIABLES:
        monkeypatch.setenv(name, "2")
    yield
    limit_threads(1)


def its_process(state: list[int], *more: int) -> tuple[int, list[int]]:
    return os.getpid(), [*state, *more]


def threads(state: object) -> str:
    return os.environ[THREAD_VARIABLES[0]]


def test_work_is_done_by_another_process_that_holds_the_state_and_one_thread() -> None:
    with beside([1, 2], worthwhile=True) as other:
        assert other.apart
        first, second, allowed = other.begin(its_process, 3), other.begin(its_process), other.begin(threads)
        assert first.result()[1] == [1, 2, 3]
        assert second.result() == (first.result()[0], [1, 2])
        assert first.result()[0] != os.getpid()
        assert allowed.result() == "1" == os.environ[THREAD_VARIABLES[0]]
    assert os.environ[THREAD_VARIABLES[0]] == "2"


@pytest.mark.parametrize("worthwhile", [True, False])
def test_what_the_work_raises_is_raised_where_its_result_is_asked_for(worthwhile) -> None:
    with beside(7, worthwhile=worthwhile) as other:
        failed, done = other.begin(operator.truediv, 0), other.begin(operator.add, 1)
        with pytest.raises(ZeroDivisionError):
            failed.result()
        assert done.result() == 8


def killed(state: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_second_process_that_is_killed_is_told_with_what_to_do() -> None:
    with pytest.raises(ProcessError, match=r"ended without an answer.*memory.*`-S threads=1`"), beside(None, worthwhile=True) as other:
        other.begin(killed).result()
    assert os.environ[THREAD_VARIABLES[0]] == "2"


def test_a_script_that_the_second_process_cannot_read_ends_with_an_error_and_does_not_hang(tmp_path: Path) -> None:
    script = tmp_path / "unguarded.py"
    script.write_text(
        "from core.beside import beside\nfrom core.environment import limit_threads\nlimit_threads(2)\n"
        "with beside('x' * 10_000_000, worthwhile=True) as other:\n    print(other.begin(len).result())\n"
    )
    done = subprocess.run(
        [sys.executable, str(script)], env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 1
    assert "must call this under `if __name__ ==" in done.stderr


def test_what_cannot_be_sent_is_told() -> None:
    with pytest.raises(ProcessError, match="cannot be pickled"), beside(lambda: 1, worthwhile=True):
        pass
    assert os.environ[THREAD_VARIABLES[0]] == "2"


def total(state: torch.Tensor) -> float:
    return float(state.sum())


def test_tensors_stay_where_they_are_while_this_process_reads_them() -> None:
    held = torch.ones(1000)
    with beside(held, worthwhile=True) as other:
        sent = other.begin(total)
        assert sent.result() == 1000.0
        assert not held.is_shared()


@pytest.mark.parametrize(("worthwhile", "allowed"), [(False, "2"), (True, "1")])
def test_work_is_done_here_where_a_second_process_is_not_worth_it_or_not_allowed(monkeypatch, worthwhile, allowed) -> None:
    monkeypatch.setenv(THREAD_VARIABLES[0], allowed)
    with beside([1], worthwhile=worthwhile) as other:
        assert not other.apart
        assert other.begin(its_process).result() == (os.getpid(), [1])
    assert os.environ[THREAD_VARIABLES[0]] == allowed


PARENT = """
import os, time
from core.beside import beside

def process(state):
    return os.getpid()

if __name__ == "__main__":
    with beside(None, worthwhile=True) as other:
        print(other.begin(process).result(), flush=True)
        time.sleep(60)
"""


def test_the_second_process_ends_when_this_one_is_killed(tmp_path) -> None:
    (tmp_path / "parent.py").write_text(PARENT, encoding="utf-8")
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    with subprocess.Popen([sys.executable, str(tmp_path / "parent.py")], env=environment, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        os.kill(child, 0)  # it lives
        parent.send_signal(signal.SIGKILL)
    for _ in range(100):
        try:
            os.kill(child, 0)
        except ProcessLookupError:
            return
        time.sleep(0.1)
    pytest.fail(f"process {child} outlived its parent")
