"""A tiny project of three stages in a temporary folder, for tests of the runners."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from core.environment import prepare_environment

DVC_YAML = """\
stages:
  gather:
    cmd: python toy.py gather
    params: [seed, gather]
    deps:
      - toy.py
      - data/feedback
    outs:
      - data/rows.json
      - data/truth
  fit:
    cmd: python toy.py fit
    params: [seed, fit]
    deps:
      - toy.py
      - data/rows.json
    outs:
      - data/model
    metrics:
      - data/metrics.json
    plots:
      - data/curve.csv:
          x: step
          y: loss
  judge:
    cmd: python toy.py judge
    params: [seed]
    deps:
      - toy.py
      - data/model
      - data/metrics.json
    outs:
      - data/verdict.json:
          cache: false
"""

PARAMS_YAML = """\
# the seed of everything
seed: 7   # any whole number

gather:
  rows: 5        # how many
fit:
  rate: 0.001    # learning rate
  kind: linear
"""

TOY = """\
import json, os, signal, sys
from pathlib import Path
from ruamel.yaml import YAML


def gather(params):
    write(Path("data/rows.json"), json.dumps([params["seed"] * n for n in range(params["gather"]["rows"])]))
    Path("data/truth").mkdir(parents=True, exist_ok=True)
    write(Path("data/truth/one.txt"), "one")


def fit(params):
    rows = json.loads(Path("data/rows.json").read_text())
    fault(params, "early")
    Path("data/model").mkdir(parents=True, exist_ok=True)
    write(Path("data/model/weights.json"), json.dumps({"w": sum(rows) * params["fit"]["rate"]}))
    fault(params, "late")
    write(Path("data/metrics.json"), json.dumps({"loss": 1 / (1 + sum(rows)), "rate": params["fit"]["rate"]}))
    write(Path("data/curve.csv"), "step,loss\\n0,1.0\\n1,0.5\\n")


def judge(params):
    write(Path("data/verdict.json"), json.dumps({"kept": json.loads(Path("data/metrics.json").read_text())["loss"] < 1}))


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def fault(params, when):
    if Path(f"fail_{when}").exists():
        raise RuntimeError(f"the disk is full ({when})")
    if Path(f"kill_{when}").exists():
        os.kill(os.getpid(), signal.SIGKILL)


def run(name):
    with Path("ran.log").open("a") as log:
        log.write(name + "\\n")
    globals()[name](YAML(typ="safe", pure=True).load(Path("params.yaml").read_text()))


if __name__ == "__main__":
    run(sys.argv[1])
"""


@pytest.fixture
def make_project(tmp_path: Path) -> Callable[[str], Path]:
    def make(name: str) -> Path:
        folder = tmp_path / name
        (folder / "data" / "feedback").mkdir(parents=True)
        files = {
            "dvc.yaml": DVC_YAML,
            "params.yaml": PARAMS_YAML,
            "toy.py": TOY,
            ".dvc/config": "[core]\n    analytics = false\n",
            ".dvc/.gitignore": "/config.local\n/tmp\n/cache\n",
            ".dvcignore": "__pycache__\n.gitignore\n",
            ".gitignore": "/data/*\n!/data/feedback\n/data/feedback/*\n!/data/feedback/.gitignore\n__pycache__\nran.log\n",
            "data/feedback/.gitignore": "",
        }
        for path, text in files.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_text(text)
        git = ["git", "-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "init.defaultBranch=main"]
        for command in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "start"]):
            subprocess.run([*git, *command], cwd=folder, check=True)
        return folder

    return make


@pytest.fixture
def project(make_project: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = make_project("project")
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def dvc(tmp_path: Path) -> Callable[..., str]:
    """Run the dvc command in a folder; its output."""

    def run(folder: Path, *arguments: str) -> str:
        environment = {
            **os.environ,
            "DVC_SITE_CACHE_DIR": str(tmp_path / "site"),
            "GIT_AUTHOR_NAME": "t",
            "GIT_AUTHOR_EMAIL": "t@example.org",
        }
        environment |= {"GIT_COMMITTER_NAME": "t", "GIT_COMMITTER_EMAIL": "t@example.org"}
        prepare_environment(folder, environment)
        done = subprocess.run(
            [sys.executable, "-m", "dvc", *arguments], cwd=folder, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    return run


@pytest.fixture
def ran() -> Callable[[Path], list[str]]:
    """The stages that ran in a project, in order; forgotten once asked."""

    def read(folder: Path) -> list[str]:
        log = folder / "ran.log"
        names = log.read_text().split() if log.exists() else []
        log.unlink(missing_ok=True)
        return names

    return read


@pytest.fixture
def walk() -> Callable[[Path], dict[str, str]]:
    """Walk the toy graph in process as the flow does, without Prefect; outcome by stage."""
    import runpy

    from flows.graph import StageGraph

    def go(folder: Path) -> dict[str, str]:
        toy = runpy.run_path(str(folder / "toy.py"))
        graph = StageGraph(folder)
        try:
            return {name: graph.run(name, lambda name=name: toy["run"](name)) for name in graph.order()}  # type: ignore[misc]
        finally:
            graph.close()

    return go
