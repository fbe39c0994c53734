"""The house stands as docs/architecture.md says: layers, stage signatures, and dependencies that cover all code of a stage."""

import ast
import inspect
import subprocess
import sys
from functools import cache
from pathlib import Path

import grimp
import pytest

from core.params import Params
from core.stage import STAGES, read_graph, stage_function, stage_sections

ROOT = Path(__file__).parents[1]
PACKAGES = ("core", "models", "evaluation", "registry", "tasks", "serving", "flows")
GRAPH = read_graph(ROOT / "dvc.yaml")
OFFERED = {"rng", "tracker"}


@cache
def imports() -> grimp.ImportGraph:
    return grimp.build_graph(*PACKAGES, include_external_packages=True)


def file_of(module: str) -> Path:
    path = ROOT / Path(*module.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def own_modules_of(stage: str) -> set[str]:
    """The stage's module and every module of ours that it imports, directly or not, with their packages."""
    found = {name for name in imports().find_upstream_modules(f"tasks.{stage}") if name.split(".")[0] in PACKAGES} | {f"tasks.{stage}"}
    return found | {".".join(name.split(".")[:depth]) for name in found for depth in range(1, name.count(".") + 1)}


def test_the_layers_and_contracts_of_pyproject_hold() -> None:
    code = "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports(no_cache=True))"
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_dvc_yaml_lists_exactly_the_stages() -> None:
    assert sorted(GRAPH) == sorted(STAGES)


@pytest.mark.parametrize("stage", STAGES)
def test_a_stages_signature_is_its_entry_in_dvc_yaml(stage: str) -> None:
    function = stage_function(stage)
    parameters = inspect.signature(function).parameters
    sections = stage_sections(function)
    assert set(parameters) - set(sections) - OFFERED == set(GRAPH[stage].paths)
    keyword_only = [name for name, parameter in parameters.items() if parameter.kind is inspect.Parameter.KEYWORD_ONLY]
    assert set(keyword_only) == set(parameters) - set(sections), "files, rng and tracker are passed by name"
    assert function.__doc__, "a stage says what it does"


@pytest.mark.parametrize("stage", STAGES)
def test_a_stages_params_in_dvc_yaml_are_its_sections_and_the_seed(stage: str) -> None:
    sections = set(stage_sections(stage_function(stage)).values())
    assert set(GRAPH[stage].params) == sections | {"seed"}


@pytest.mark.parametrize("stage", STAGES)
def test_a_stages_deps_cover_all_project_code_that_it_imports(stage: str) -> None:
    deps = [ROOT / dep for dep in GRAPH[stage].deps]
    uncovered = [
        module
        for module in sorted(own_modules_of(stage))
        if module != "tasks" and not any(file_of(module) == dep or dep in file_of(module).parents for dep in deps)
    ]
    assert not uncovered, f"add to deps of {stage} in dvc.yaml"


@pytest.mark.parametrize("stage", STAGES)
def test_every_code_dependency_of_a_stage_is_used(stage: str) -> None:
    files = {file_of(module) for module in own_modules_of(stage)}
    unused = [
        str(dep)
        for dep in GRAPH[stage].deps
        if dep.parts[0] != "data" and not any(file == ROOT / dep or ROOT / dep in file.parents for file in files)
    ]
    assert not unused


def test_the_tasks_package_itself_runs_no_code() -> None:
    body = ast.parse((ROOT / "tasks" / "__init__.py").read_text()).body
    assert len(body) == 1, "tasks/__init__.py is in no stage's deps"
    assert isinstance(body[0], ast.Expr)


def test_only_evaluate_reads_the_truth() -> None:
    readers = [name for name, entry in GRAPH.items() if Path("data/truth") in entry.deps]
    assert readers == ["evaluate"]


def test_promote_does_not_depend_on_the_champion_or_the_live_log() -> None:
    paths = {str(dep) for entry in GRAPH.values() for dep in entry.deps}
    assert not [path for path in paths if path.startswith(("mlruns", "data/live", "data/cache"))]


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_that_reaches_torch_loads_it_at_import_so_that_both_runners_seed_it(stage: str) -> None:
    if "torch" not in imports().find_upstream_modules(f"tasks.{stage}"):
        return
    seen: set[str] = set()
    waiting = [f"tasks.{stage}"]
    while waiting:
        module = waiting.pop()
        if module in seen or module.split(".")[0] not in PACKAGES:
            seen.add(module)
            continue
        seen.add(module)
        waiting += [name for name in loaded_by(module) if name not in seen]
        waiting += [".".join(module.split(".")[:depth]) for depth in range(1, module.count(".") + 1)]
    assert "torch" in {name.split(".")[0] for name in seen}


def loaded_by(module: str) -> list[str]:
    """What a module imports when it is itself imported: not inside functions, not for type checkers."""
    names: list[str] = []
    if not file_of(module).exists():
        return names  # a folder of data beside code
    for node in ast.parse(file_of(module).read_text()).body:
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names += [
                node.module,
                *[f"{node.module}.{alias.name}" for alias in node.names if file_of(f"{node.module}.{alias.name}").exists()],
            ]
    return names


def test_every_section_of_params_belongs_to_a_stage_or_the_service() -> None:
    used = {section for stage in STAGES for section in stage_sections(stage_function(stage)).values()}
    assert set(Params.model_fields) == used | {"seed", "threads", "serving"}


def test_nothing_pickles_but_what_goes_to_a_process_of_our_own() -> None:
    for package in PACKAGES:
        for file in (ROOT / package).rglob("*.py"):
            names = {alias.name for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.Import) for alias in node.names}
            assert not names & {"pickle", "joblib", "dill", "cloudpickle"} or file == ROOT / "core" / "beside.py", file
