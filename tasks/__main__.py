"""Run one stage in a process of its own: `python -m tasks NAME`, which is what dvc.yaml calls."""

import importlib.util
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from core.params import Params


def main(arguments: list[str]) -> int:
    """Run the named stage as dvc.yaml and params.yaml in the working folder say.

    Args:
        arguments: the stage's name, and nothing else.

    Returns:
        0, or 1 when the stage failed for a reason that its message explains, or 2 for a wrong call.
    """
    if any(importlib.util.find_spec(name) is None for name in ("pydantic", "ruamel", "dvc")):
        return _with_the_projects_python(arguments)
    from core.environment import limit_threads, prepare_environment, project_root

    root = project_root()
    prepare_environment(root)
    from core.errors import AdloomError, storage_error
    from core.params import load_params

    try:
        params = load_params(Path("params.yaml"))
        limit_threads(params.threads)  # before NumPy and torch are loaded: they read it then
        return _run(arguments, root, params)
    except AdloomError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)  # noqa: T201
        return 1
    except Exception as error:
        refused = storage_error(error)
        if refused is None:
            raise
        print(f"StorageError: {refused}", file=sys.stderr)  # noqa: T201
        return 1


def _run(arguments: list[str], root: Path, params: "Params") -> int:
    from core.processes import loop_process
    from core.stage import STAGES, run_stage, takes_tracker
    from registry.runs import LoopRecord
    from registry.store import check_store

    if len(arguments) != 1 or arguments[0] not in STAGES:
        print(f"usage: python -m tasks STAGE, with STAGE one of {', '.join(STAGES)}", file=sys.stderr)  # noqa: T201
        return 2
    name = arguments[0]
    check_store(root)
    record = LoopRecord(root, loop_process(), params)
    with record.stage(name, reports=takes_tracker(name)) as tracker:
        seconds = run_stage(name, tracker)
    print(f"{name}: {seconds:.1f} s")  # noqa: T201
    return 0


def _with_the_projects_python(arguments: list[str]) -> int:
    """The `python` on PATH is not the project's: use .venv's when it is there."""
    own = Path(".venv") / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    if own.exists() and Path(sys.prefix).resolve() != Path(".venv").resolve():
        os.execv(own, [str(own), "-m", "tasks", *arguments])
    print("the `python` on PATH lacks Adloom's packages: run `make setup`, then `source .venv/bin/activate`.", file=sys.stderr)  # noqa: T201
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
