"""The real loop on the small market, in copies of this very project: killed in every stage, and by either runner."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from core.stage import STAGES
from flows.overrides import apply_overrides

ROOT = Path(__file__).parents[2]
LOOP = [sys.executable, "-c", "import cli; cli.main()", "run"]


def copy_of_project(folder: Path) -> Path:
    """The tracked files as they stand, in a repository of their own, turned to the small market."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    subprocess.run(["git", "init", "--quiet"], cwd=folder, check=True)
    here = Path.cwd()
    os.chdir(folder)
    try:
        apply_overrides(["serving.port=8123"], profile="ci")
    finally:
        os.chdir(here)
    return folder


def environment(folder: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT", "MLFLOW", "ADLOOM", "PYTEST"))}
    return kept | {"PYTHONPATH": str(folder), "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}", "COLUMNS": "200"}


def run(command: list[str], folder: Path) -> str:
    done = subprocess.run(command, cwd=folder, env=environment(folder), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


def kill_in(stage: str, folder: Path, *, after: float) -> None:
    """Start a loop and kill it, as `kill -9` does, some seconds into a stage."""
    output = folder / "killed.log"
    with output.open("w") as stream:
        loop = subprocess.Popen(LOOP, cwd=folder, env=environment(folder), stdout=stream, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 300
    while f"{stage} …" not in output.read_text():
        assert loop.poll() is None, f"the loop ended before {stage}: {output.read_text()[-2000:]}"
        assert time.monotonic() < deadline
        time.sleep(0.05)
    time.sleep(after)
    assert loop.poll() is None, f"{stage} was over before the kill"
    loop.send_signal(signal.SIGKILL)
    loop.wait()


def outcome(folder: Path) -> tuple[str, dict[str, object]]:
    return (folder / "dvc.lock").read_text(), json.loads((folder / "data" / "report" / "metrics.json").read_text())


@pytest.mark.slow
@pytest.mark.timeout(2400)
def test_a_loop_killed_in_every_stage_ends_as_an_uninterrupted_one_and_as_dvc_repro(tmp_path: Path) -> None:
    whole = copy_of_project(tmp_path / "whole")
    run(LOOP, whole)
    assert run([sys.executable, "-m", "dvc", "status"], whole).strip() == "Data and pipelines are up to date."
    seconds = dict.fromkeys(STAGES, 1.0) | {
        "collect": 0.3,
        "prepare": 0.3,
        "encode": 8.0,
        "train_generator": 9.0,
        "train_recommender": 4.0,
    }
    killed = copy_of_project(tmp_path / "killed")
    for stage in STAGES:
        kill_in(stage, killed, after=seconds[stage])
    assert "was killed" in run(LOOP, killed)
    assert outcome(killed) == outcome(whole)

    repro = copy_of_project(tmp_path / "repro")
    run([sys.executable, "-m", "dvc", "repro", "--quiet"], repro)
    assert outcome(repro) == outcome(whole)
    assert "Everything is fresh" in run(LOOP, repro)
