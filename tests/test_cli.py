"""The command line is thin, quick to start, and explains what it refuses."""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
VERBS = (
    "run",
    "status",
    "promote",
    "rollback",
    "ledger",
    "check-data",
    "serve",
    "ui",
    "prefect",
    "deploy",
    "undeploy",
    "clean",
    "evaluate-policy",
    "challenge",
    "recommend",
    "tune",
)


def adloom(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PREFECT_HOME": str(folder / ".prefect")}
    code = "import sys; sys.argv[0] = 'adloom'; from cli import main; main()"
    return subprocess.run(
        [sys.executable, "-c", code, *arguments], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


@pytest.fixture
def project(tmp_path: Path) -> Path:
    for name in ("params.yaml", "profiles.yaml", "dvc.yaml", ".dvcignore"):
        shutil.copy(ROOT / name, tmp_path / name)
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    (tmp_path / ".dvc").mkdir()
    (tmp_path / ".dvc" / "config").write_text("[core]\n    analytics = false\n")
    return tmp_path


def test_help_lists_every_verb(tmp_path: Path) -> None:
    shown = adloom(tmp_path, "--help").stdout
    assert not [verb for verb in VERBS if verb not in shown]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "-S", "market.shopers=5"], "ParamsError: -S market.shopers=5"),
        (["run", "-S", "market.shoppers=0"], "market.shoppers: input should be greater than 1"),
        (["run", "--profile", "huge"], "ParamsError: no profile 'huge'"),
        (["check-data", "-S", "collect.shop=5"], "ParamsError: -S collect.shop=5"),
        (["write", "p.jsonl", "--out", "o.jsonl", "--kept", "9", "--candidates", "4"], "no more can be put out than are written"),
        (["rollback", "poem"], "RegistryError: no model 'poem'"),
        (["rollback", "policy"], "RegistryError: policy has no champion"),
        (["challenge", "oracle", "--exploration", "0.1"], "RegistryError: no policy 'oracle' can serve; there are epsilon_greedy"),
        (["challenge", "epsilon_greedy", "--exploration", "0"], "RegistryError: exploration is 0.0; it must lie in (0, 1)"),
        (["challenge", "--withdraw"], "RegistryError: no policy challenges the champion: there is nothing to withdraw"),
        (["promote", "policy"], "RegistryError: no policy challenges the champion; begin with `adloom challenge"),
        (["recommend"], "SourceError: whose items?"),
        (["recommend", "--history", "view:p1", "--at", "noon"], "SourceError: --at 'noon' is not ISO 8601"),
        (["recommend", "--history", "view:p1"], "RegistryError: there is no champion recommender"),
    ],
)
def test_what_is_refused_is_explained_without_a_traceback(project: Path, arguments: list[str], message: str) -> None:
    before = (project / "params.yaml").read_bytes()
    done = adloom(project, *arguments)
    assert done.returncode in {1, 2}
    assert message in " ".join(done.stderr.replace("│", " ").split())
    assert "Traceback" not in done.stderr
    assert (project / "params.yaml").read_bytes() == before


def test_all_faults_of_params_yaml_are_told_at_once_and_nothing_runs(project: Path) -> None:
    text = (project / "params.yaml").read_text()
    text = text.replace("seed: 7\n", "seed: seven\n", 1).replace("  products:", "  produtcs:", 1)
    (project / "params.yaml").write_text(text)
    done = adloom(project, "run")
    assert done.returncode == 1
    for fault in ("seed: input should be a valid integer", "market.products: missing", "market.produtcs: unknown key"):
        assert fault in done.stderr
    assert not (project / ".prefect").exists()


def test_data_are_checked_with_other_parameters_for_one_look_and_told_to_programs(project: Path) -> None:
    own = project / "shop"
    own.mkdir()
    (own / "mapping.yaml").write_text("items: {path: items.csv, columns: {item_id: id, title: t, category: c}}\n")
    (own / "items.csv").write_text("id,t,c\n1,a,b\n")
    before = (project / "params.yaml").read_bytes()
    done = adloom(project, "check-data", "-S", "collect.source=files", "-S", f"collect.path={own}", "--json")
    found = json.loads(done.stdout)
    assert (done.returncode, found["could_run"], found["source"]) == (1, False, "files")
    assert found["report"]["tables"]["items"]["accepted"] == 1
    assert any(problem.startswith("events: none") for problem in found["problems"])
    assert (project / "params.yaml").read_bytes() == before


def test_a_store_of_a_newer_mlflow_stops_the_loop_before_any_work(project: Path) -> None:
    import sqlite3
    from contextlib import closing

    (project / "mlruns").mkdir()
    with closing(sqlite3.connect(project / "mlruns" / "mlflow.db")) as connection, connection:
        connection.execute("CREATE TABLE alembic_version (version_num TEXT)")
        connection.execute("INSERT INTO alembic_version VALUES ('9999')")
    done = adloom(project, "run")
    assert done.returncode == 1
    assert "RegistryError" in done.stderr
    assert "newer MLflow" in done.stderr
    assert not (project / ".prefect").exists()


def test_a_port_in_use_is_named(tmp_path: Path) -> None:
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = adloom(tmp_path, "ui", "--port", str(port))
    assert done.returncode == 1
    assert f"port {port} on 127.0.0.1 cannot be had" in done.stderr


def test_undeploy_without_a_deployment_stops_nothing(tmp_path: Path) -> None:
    assert "nothing ran" in adloom(tmp_path, "undeploy").stdout


def test_the_command_line_imports_nothing_heavy() -> None:
    heavy = ("torch", "mlflow", "prefect", "pandas", "lightning", "dvc.repo")
    code = f"import sys, cli; print([name for name in {heavy} if name in sys.modules])"
    started = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    assert time.perf_counter() - started < 20
