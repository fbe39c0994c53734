"""What the README tells people to type works: every command of it is known here, and run by `make test-all`."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

from cli import main

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")

INSTEAD = {
    "make run": 'make run ARGS="--profile ci"',
    "make test": 'make test ARGS="tests/core"',
    'make run ARGS="-S market.shoppers=2000 -S seed=8"': 'make run ARGS="--profile ci -S market.shoppers=700 -S seed=8"',
    'make run ARGS="--profile default"': 'make run ARGS="--profile ci"',
    'make run ARGS="-S collect.source=complete_journey"': (
        'make run ARGS="--profile ci -S collect.source=complete_journey -S collect.max_users=300" && git checkout --quiet params.yaml'
    ),
    "dvc exp run -S train_ranker.dim=32": "dvc exp run -S train_ranker.dim=8",
}
"""Long commands, and what stands for them: the same on the small market."""
SERVERS = {
    "make ui": "http://127.0.0.1:5000/health",
    "make prefect": "http://127.0.0.1:4200/api/health",
    "make serve": "http://127.0.0.1:8000/readyz",
}
"""Commands that go on until they are stopped, and where they answer."""
RUN = {
    *("make run", "make test", 'make run ARGS="--profile ci"', "make deploy", "make undeploy"),
    *("export ADLOOM_USER_KEY=$(openssl rand -hex 32)", "source .venv/bin/activate", ".venv/bin/adloom check-data"),
    *("dvc repro", "dvc metrics diff", "dvc params diff", "dvc plots show"),
    *(".venv/bin/adloom promote", ".venv/bin/adloom ledger", ".venv/bin/adloom rollback recommender"),
    *INSTEAD,
    *SERVERS,
}


def blocks() -> list[list[str]]:
    """The commands of each shell block, comments cut, continued lines joined."""
    found = []
    for block in re.findall(r"```bash\n(.*?)```", README, re.DOTALL):
        lines = block.replace("\\\n", " ").splitlines()
        found.append([re.sub(r"\s#\s.*", "", line).strip() for line in lines if line.strip()])
    return found


def test_every_command_of_the_readme_is_one_that_is_run() -> None:
    commands = {command for block in blocks() for command in block if not command.startswith("curl ")}
    assert commands == RUN


def test_the_targets_that_the_readme_names_are_those_of_the_makefile_and_work_without_make() -> None:
    lines = dict(re.findall(r"^([\w-]+):.*?## .*\n\t@(.*)$", MAKEFILE, re.MULTILINE))
    assert set(re.findall(r"make ([\w-]+)", README)) - {"it"} <= set(lines)
    for target, same in re.findall(r"^\| `make ([\w-]+)` \| `(.*?)` \|$", README, re.MULTILINE):
        assert lines[target].replace("$(IN)", "python3 -m bootstrap").replace(" $(ARGS)", "") == same


def test_every_verb_of_the_readme_has_help() -> None:
    from typer.testing import CliRunner

    for verb in sorted(set(re.findall(r"adloom ([a-z-]+)", README))):
        shown = CliRunner().invoke(main, [verb, "--help"])
        assert shown.exit_code == 0, shown.output
        assert "Usage" in shown.output


def wait_for(url: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 180
    while time.monotonic() < deadline:
        assert process.poll() is None, f"ended with {process.returncode} before it answered at {url}"
        try:
            if httpx.get(url, timeout=5).is_success:
                return
        except httpx.HTTPError:
            time.sleep(0.5)
    raise AssertionError(f"no answer at {url} in three minutes")


def run_block(commands: list[str], folder: Path, environment: dict[str, str]) -> None:
    kept: list[str] = []
    servers: list[subprocess.Popen[bytes]] = []
    try:
        for command in commands:
            if command in SERVERS:
                server = subprocess.Popen(["bash", "-c", command], cwd=folder, env=environment, start_new_session=True)
                servers.append(server)
                wait_for(SERVERS[command], server)
                continue
            if command.startswith(("export ", "source ")):
                kept.append(command)
            line = " && ".join([*kept, INSTEAD.get(command, command).replace("curl -s", "curl -s --fail")])
            done = subprocess.run(["bash", "-c", line], cwd=folder, env=environment, capture_output=True, text=True, check=False)
            assert done.returncode == 0, f"{command}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
    finally:
        for server in servers:
            os.killpg(server.pid, signal.SIGTERM)
            server.wait(timeout=60)


@pytest.mark.slow
@pytest.mark.timeout(2400)
def test_the_commands_of_the_readme_do_what_they_say(tmp_path: Path) -> None:
    folder = tmp_path / "project"
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(folder)], check=True)
    changed = subprocess.run(
        ["git", "ls-files", "-m", "-o", "--exclude-standard", "-z"], cwd=ROOT, check=True, capture_output=True, text=True
    )
    for name in filter(None, changed.stdout.split("\0")):
        if (ROOT / name).is_file() and name != "dvc.lock":
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("PREFECT", "MLFLOW", "ADLOOM", "PYTEST", "VIRTUAL_ENV"))
    }
    own = str(Path(sys.executable).parent)
    kept["PATH"] = os.pathsep.join(part for part in kept["PATH"].split(os.pathsep) if part != own)
    for commands in blocks():
        run_block(commands, folder, kept)
