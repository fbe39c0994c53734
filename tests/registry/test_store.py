"""The store: where it is, which one is refused, and what happens when its folder moves."""

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from core.errors import RegistryError
from core.params import load_params
from core.processes import ProcessId
from core.tracking import Tracker
from registry.runs import LOOP_TAG, PARENT_TAG, PROCESS_TAG, LoopRecord, close_abandoned
from registry.store import EXPERIMENT, check_store, database_path, experiment_id, open_client, tracking_uri
from registry.tracker import MlflowTracker, flatten

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning", "ignore::UserWarning", "ignore::FutureWarning", "ignore::ResourceWarning"
)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project's folder with a store: made once, copied by tests that change it."""
    root = tmp_path_factory.mktemp("made")
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        experiment_id(open_client(root), EXPERIMENT, root)
    return root


@pytest.fixture
def store(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(tmp_path)
    shutil.copytree(made / "mlruns", tmp_path / "mlruns")
    return tmp_path


def test_the_environments_address_wins_and_the_default_is_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert tracking_uri(tmp_path) == f"sqlite:///{tmp_path}/mlruns/mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://mlflow.example.org")
    assert tracking_uri(tmp_path) == "http://mlflow.example.org"


def test_a_store_of_a_newer_mlflow_is_refused_with_the_next_step(store: Path) -> None:
    with closing(sqlite3.connect(database_path(store))) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = 'ffff99990000'")
    with pytest.raises(RegistryError, match=r"ffff99990000.*newer MLflow.*mlruns/ aside"):
        check_store(store)
    with pytest.raises(RegistryError, match="newer MLflow"):
        open_client(store)


def test_a_store_that_is_no_database_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    database_path(tmp_path).parent.mkdir()
    database_path(tmp_path).write_text("not a database, but long enough to be read as one by sqlite")
    with pytest.raises(RegistryError, match="cannot be read as an MLflow store"):
        check_store(tmp_path)


def test_artifacts_are_found_after_the_folder_has_moved(store: Path, tmp_path: Path) -> None:
    client = open_client(store)
    run = client.create_run(experiment_id(client, EXPERIMENT, store))
    note = tmp_path / "note.txt"
    note.write_text("kept")
    MlflowTracker(client, run.info.run_id, root=store).log_artifact(note)
    moved = tmp_path / "else where"
    moved.mkdir()
    shutil.move(store / "mlruns", moved / "mlruns")
    again = open_client(moved)
    assert [entry.path for entry in again.list_artifacts(run.info.run_id)] == ["note.txt"]
    address = again.get_run(run.info.run_id).info.artifact_uri
    assert address is not None
    assert address.startswith((moved / "mlruns" / "artifacts").as_uri())


def test_a_server_that_does_not_answer_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(RegistryError, match=r"http://127\.0\.0\.1:9.*MLFLOW_TRACKING_URI"):
        open_client(tmp_path)


def test_metrics_arrive_in_batches_with_their_steps_and_names_that_mlflow_takes(store: Path) -> None:
    client = open_client(store)
    run = client.create_run(experiment_id(client, EXPERIMENT, store))
    tracker = MlflowTracker(client, run.info.run_id, root=store)
    assert isinstance(tracker, Tracker)
    for step in range(5):
        tracker.log_metrics({"ndcg@10": step / 10, "broken": float("nan")}, step=step)
    tracker.flush()
    history = client.get_metric_history(run.info.run_id, "ndcg_at_10")
    assert [(point.step, point.value) for point in history] == [(step, step / 10) for step in range(5)]
    assert "broken" not in client.get_run(run.info.run_id).data.metrics


def test_nested_settings_get_dotted_names() -> None:
    assert flatten({"a": {"b": 1, "c": {"d": 2}}, "e": 3}) == {"a.b": 1, "a.c.d": 2, "e": 3}


def test_a_loop_is_one_parent_run_with_a_child_a_stage_that_reports(store: Path) -> None:
    record = LoopRecord(store, ProcessId.of(), load_params(ROOT / "params.yaml"))
    with record.stage("collect", reports=False) as tracker:
        tracker.log_metrics({"rows": 1.0})
    with record.stage("train_ranker", reports=True) as tracker:
        tracker.log_metrics({"loss": 0.5}, step=1)
    with pytest.raises(RuntimeError), record.stage("evaluate", reports=True):
        raise RuntimeError("no")
    parent = record.finish()
    client = open_client(store)
    runs = client.search_runs([experiment_id(client, EXPERIMENT, store)])
    children = {run.info.run_name: run for run in runs if run.data.tags.get(PARENT_TAG) == parent}
    assert set(children) == {"train_ranker", "evaluate"}
    assert children["train_ranker"].info.status == "FINISHED"
    assert children["evaluate"].info.status == "FAILED"
    assert parent is not None
    assert client.get_run(parent).data.params["market.shoppers"]
    assert {"adloom.lock_hash", "adloom.code_version"} <= set(client.get_run(parent).data.tags)


def test_stages_in_processes_of_their_own_find_their_loops_parent(store: Path) -> None:
    params, loop = load_params(ROOT / "params.yaml"), ProcessId.of()
    for stage in ("train_ranker", "evaluate"):
        with LoopRecord(store, loop, params).stage(stage, reports=True):
            pass
    client = open_client(store)
    runs = client.search_runs([experiment_id(client, EXPERIMENT, store)], f"tags.`{LOOP_TAG}` = '{loop}'")
    assert sorted(str(run.info.run_name) for run in runs if PARENT_TAG in run.data.tags) == ["evaluate", "train_ranker"]
    assert len([run for run in runs if PARENT_TAG not in run.data.tags]) == 1


def test_runs_of_a_killed_process_are_closed_and_those_of_a_living_one_are_not(store: Path) -> None:
    client = open_client(store)
    experiment = experiment_id(client, EXPERIMENT, store)
    me = ProcessId.of()
    dead = ProcessId(host=me.host, pid=me.pid, started=me.started - 1000)
    killed = client.create_run(experiment, tags={PROCESS_TAG: str(dead)}).info.run_id
    living = client.create_run(experiment, tags={PROCESS_TAG: str(me)}).info.run_id
    assert close_abandoned(client, experiment) == 1
    assert client.get_run(killed).info.status == "KILLED"
    assert client.get_run(living).info.status == "RUNNING"
