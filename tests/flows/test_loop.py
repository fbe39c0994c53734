"""The loop is a Prefect flow with a task a stage, which leaves DVC nothing to do."""

import json
import runpy
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

import flows.loop
import flows.overrides
from core.errors import ParamsError, ServiceError
from core.files import content_hash
from core.params import load_params
from flows.console import _walk_in_prefect
from flows.freshness import Outlook
from flows.progress import WATCHER, StageOutcome, Watcher

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning", "ignore::UserWarning", "ignore::FutureWarning", "ignore::ResourceWarning"
)


@pytest.fixture(scope="module")
def prefect_server() -> Iterator[None]:
    from prefect.testing.utilities import prefect_test_harness

    with prefect_test_harness(server_startup_timeout=180):
        yield


@pytest.fixture
def toy(project: Path, prefect_server: None, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The loop over the toy graph: its own stages, the real parameters' models elsewhere."""
    params = load_params(ROOT / "params.yaml")
    run = runpy.run_path(str(project / "toy.py"))["run"]
    monkeypatch.setattr(flows.loop, "perform", lambda name, record: run(name))
    monkeypatch.setattr(flows.loop, "load_params", lambda path: params)
    monkeypatch.setattr(flows.overrides, "load_params", lambda path: params)
    return project


def outcomes(results: list[StageOutcome]) -> dict[str, str]:
    return {result.name: result.outcome for result in results}


def test_the_flow_runs_what_is_stale_in_tasks_named_after_stages(toy: Path, dvc: Callable[..., str]) -> None:
    from prefect.client.orchestration import get_client

    told: list[str] = []

    class Told(Watcher):
        def begins(self, name: str, number: int, total: int) -> None:
            told.append(f"{number}/{total} {name}")

    token = WATCHER.set(Told())
    try:
        assert set(outcomes(flows.loop.loop()).values()) == {"ran"}
    finally:
        WATCHER.reset(token)
    assert told == ["1/3 gather", "2/3 fit", "3/3 judge"]
    assert "up to date" in dvc(toy, "status")
    assert outcomes(flows.loop.loop()) == {"gather": "fresh", "fit": "fresh", "judge": "fresh"}
    with get_client(sync_client=True) as client:
        assert {"gather", "fit", "judge"} <= {run.name for run in client.read_task_runs()}


def test_overrides_are_written_and_only_what_they_reach_runs(toy: Path) -> None:
    flows.loop.loop()
    results = flows.loop.loop(overrides=["fit.rate=0.5"])
    assert outcomes(results) == {"gather": "fresh", "fit": "ran", "judge": "ran"}
    assert "rate: 0.5" in (toy / "params.yaml").read_text()
    assert "# learning rate" in (toy / "params.yaml").read_text()


def test_a_loop_whose_parameters_another_hand_has_changed_since_it_read_them_does_not_begin(toy: Path) -> None:
    read = content_hash(toy / "params.yaml")
    (toy / "params.yaml").write_text((toy / "params.yaml").read_text() + "# another hand\n")
    with pytest.raises(ParamsError, match=r"params\.yaml was changed while this loop started"):
        flows.loop.loop(expected=read)
    assert set(outcomes(flows.loop.loop(expected=content_hash(toy / "params.yaml"))).values()) == {"ran"}


def test_a_part_of_the_graph_starts_at_a_named_stage(toy: Path) -> None:
    flows.loop.loop()
    assert list(outcomes(flows.loop.loop(first="fit"))) == ["fit", "judge"]


def test_a_failed_stage_is_told_and_the_stages_before_it_stay(toy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    messages: list[dict[str, Any]] = []

    class Hook(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            messages.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Hook)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    monkeypatch.setenv("ADLOOM_NOTIFY_URL", f"http://127.0.0.1:{server.server_port}/")
    (toy / "fail_late").touch()
    try:
        with pytest.raises(RuntimeError, match="disk is full"):
            flows.loop.loop()
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    assert [message["flow"] for message in messages] == ["loop"]
    assert "disk is full" in messages[0]["text"]
    (toy / "fail_late").unlink()
    assert outcomes(flows.loop.loop()) == {"gather": "fresh", "fit": "ran", "judge": "ran"}


def test_every_deployment_has_what_a_person_looks_for() -> None:
    from core.yaml_settings import read_yaml

    deployments = read_yaml(ROOT / "prefect.yaml")["deployments"]
    assert [entry["name"] for entry in deployments] == ["feedback", "refresh", "creatives", "monitor"]
    for entry in deployments:
        file, _, function = entry["entrypoint"].partition(":")
        flow = runpy.run_path(str(ROOT / file))[function]
        assert set(entry["parameters"]) <= set(flow.parameters.properties)
        assert entry["description"]
        assert entry["tags"]
        assert entry["concurrency_limit"]["limit"] == 1
        assert entry["schedules"]


def test_a_prefect_server_that_does_not_start_is_told_with_what_to_do(toy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(**_: object) -> list[StageOutcome]:
        raise RuntimeError("Timed out while attempting to connect to ephemeral Prefect API server.")

    monkeypatch.setattr(flows.loop, "loop", never)
    with pytest.raises(ServiceError, match=r"did not answer within \d+ s, and nothing has run; .*`dvc repro`"):
        _walk_in_prefect(Console(), [], (None, None), Outlook(("gather",), ("gather",), (), None, ""))
