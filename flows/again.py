"""Run one stage whatever DVC says, and commit what it wrote, so that `dvc status` stays clean."""

from pathlib import Path

from core.environment import limit_threads, project_root
from core.params import load_params
from core.processes import ProcessId
from core.stage import PARAMS_FILE, run_stage, takes_tracker
from flows.graph import StageGraph
from flows.housekeeping import only_loop
from registry.runs import LoopRecord
from registry.store import check_store


def run_again(name: str) -> None:
    """Run a stage, without Prefect, with an MLflow run around it.

    Args:
        name: the stage.

    Raises:
        AdloomError: what the stage raised, or a loop runs here.
    """
    root = project_root()
    with only_loop(root):
        check_store(root)
        params = load_params(PARAMS_FILE)
        limit_threads(params.threads)
        record = LoopRecord(root, ProcessId.of(), params)

        def work() -> None:
            with record.stage(name, reports=takes_tracker(name)) as tracker:
                run_stage(name, tracker)

        graph = StageGraph(Path.cwd())
        try:
            graph.run(name, work, force=True)
        finally:
            graph.close()
