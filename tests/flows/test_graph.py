"""DVC decides what is fresh; the flow and `dvc repro` leave the same dvc.lock."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from core.errors import StageError
from core.processes import ProcessId
from flows.graph import StageGraph

Walk = Callable[[Path], dict[str, str]]
Dvc = Callable[..., str]
Ran = Callable[[Path], list[str]]


def test_a_walk_runs_every_stage_once_and_dvc_then_finds_nothing_changed(project: Path, walk: Walk, dvc: Dvc, ran: Ran) -> None:
    assert walk(project) == {"gather": "ran", "fit": "ran", "judge": "ran"}
    assert ran(project) == ["gather", "fit", "judge"]
    assert "up to date" in dvc(project, "status")
    assert walk(project) == {"gather": "fresh", "fit": "fresh", "judge": "fresh"}
    dvc(project, "repro")
    assert ran(project) == []


def test_a_walk_and_dvc_repro_leave_the_same_lock_file(project: Path, make_project: Callable[[str], Path], walk: Walk, dvc: Dvc) -> None:
    twin = make_project("twin")
    walk(project)
    dvc(twin, "repro")
    assert (project / "dvc.lock").read_bytes() == (twin / "dvc.lock").read_bytes()
    for folder in (project, twin):
        text = (folder / "params.yaml").read_text()
        (folder / "params.yaml").write_text(text.replace("rate: 0.001", "rate: 0.01"))
    walk(project)
    dvc(twin, "repro")
    assert (project / "dvc.lock").read_bytes() == (twin / "dvc.lock").read_bytes()


def test_after_dvc_repro_a_walk_has_nothing_to_do(project: Path, walk: Walk, dvc: Dvc, ran: Ran) -> None:
    dvc(project, "repro")
    ran(project)
    assert set(walk(project).values()) == {"fresh"}
    assert ran(project) == []


def test_only_what_a_change_reaches_runs_again(project: Path, walk: Walk) -> None:
    walk(project)
    (project / "params.yaml").write_text((project / "params.yaml").read_text().replace("kind: linear", "kind: cosine"))
    graph = StageGraph(project)
    assert graph.stale() == {"fit": "modified params.yaml: fit"}
    graph.close()
    assert walk(project) == {"gather": "fresh", "fit": "ran", "judge": "fresh"}


def test_a_stage_that_has_not_run_here_and_one_whose_output_is_gone_say_so(project: Path, walk: Walk) -> None:
    graph = StageGraph(project)
    assert graph.stale() == dict.fromkeys(["gather", "fit", "judge"], "has not run here yet")
    graph.close()
    walk(project)
    (project / "data" / "rows.json").unlink()
    graph = StageGraph(project)
    assert graph.stale()["gather"] == "deleted data/rows.json"
    graph.close()


def test_an_equal_run_comes_out_of_dvcs_cache(project: Path, walk: Walk, ran: Ran) -> None:
    walk(project)
    before = (project / "params.yaml").read_text()
    (project / "params.yaml").write_text(before.replace("rows: 5", "rows: 6"))
    walk(project)
    ran(project)
    (project / "params.yaml").write_text(before)
    outcomes = walk(project)
    assert (outcomes["gather"], outcomes["fit"]) == ("restored", "restored")
    assert outcomes["judge"] == "ran", "a stage with an uncached output is no pure function of its inputs"
    assert (project / "data" / "rows.json").read_text() == "[0, 7, 14, 21, 28]"


@pytest.mark.parametrize("when", ["early", "late"])
def test_what_stood_before_stands_still_when_a_stage_fails(project: Path, walk: Walk, dvc: Dvc, when: str) -> None:
    walk(project)
    metrics = (project / "data" / "metrics.json").read_bytes()
    lock = (project / "dvc.lock").read_text()
    (project / "params.yaml").write_text((project / "params.yaml").read_text().replace("rate: 0.001", "rate: 0.01"))
    (project / f"fail_{when}").touch()
    with pytest.raises(RuntimeError, match="disk is full"):
        walk(project)
    assert (project / "data" / "metrics.json").read_bytes() == metrics
    assert (project / "dvc.lock").read_text() == lock
    assert not list(project.rglob("*.aside"))
    (project / f"fail_{when}").unlink()
    assert walk(project)["fit"] == "ran"
    assert "up to date" in dvc(project, "status")


@pytest.mark.parametrize("when", ["early", "late"])
def test_a_killed_stage_starts_again_and_ends_as_if_nothing_had_happened(
    project: Path, make_project: Callable[[str], Path], walk: Walk, dvc: Dvc, when: str
) -> None:
    twin = make_project("twin")
    dvc(twin, "repro")
    (project / f"kill_{when}").touch()
    code = f"import sys; sys.path.insert(0, {str(Path(__file__).parents[2])!r})\n"
    code += "import runpy; from pathlib import Path; from flows.graph import StageGraph\n"
    code += "toy, graph = runpy.run_path('toy.py'), StageGraph(Path.cwd())\n"
    code += "for name in graph.order():\n    graph.run(name, lambda: toy['run'](name))"
    killed = subprocess.run([sys.executable, "-c", code], cwd=project, check=False)
    assert killed.returncode == -9
    (project / f"kill_{when}").unlink()
    outcomes = walk(project)
    assert outcomes["gather"] == "fresh"
    assert outcomes["fit"] == "ran"
    assert (project / "dvc.lock").read_bytes() == (twin / "dvc.lock").read_bytes()


def test_a_stage_that_does_not_write_what_dvc_yaml_lists_is_named(project: Path) -> None:
    graph = StageGraph(project)
    with pytest.raises(StageError, match=r"gather.*rows\.json"):
        graph.run("gather", lambda: None)
    graph.close()


def test_locks_of_a_killed_process_are_forgotten(project: Path) -> None:
    graph = StageGraph(project)
    file = project / ".dvc" / "tmp" / "rwlock"
    file.write_text('{"write": {"/x": {"pid": 4, "cmd": "a"}}, "read": {"/y": [{"pid": 4, "cmd": "a"}, {"pid": 5, "cmd": "b"}]}}')
    graph.forget_locks_of(ProcessId(host="here", pid=4, started=0.0))
    assert file.read_text() == '{"write": {}, "read": {"/y": [{"pid": 5, "cmd": "b"}]}}'
    graph.close()
