"""The loop as a Prefect flow: it walks the graph of dvc.yaml in this process, a Prefect task a stage."""

import gc
import time
from collections.abc import Callable
from pathlib import Path

from prefect import flow, get_run_logger, task
from prefect.cache_policies import NO_CACHE

from core.environment import limit_threads, project_root
from core.errors import ParamsError
from core.files import content_hash
from core.params import load_params
from core.processes import ProcessId
from core.stage import PARAMS_FILE, run_stage, takes_tracker
from flows.graph import StageGraph
from flows.housekeeping import close_flow_runs, only_loop
from flows.notify import tell_failure
from flows.overrides import apply_overrides
from flows.progress import WATCHER, StageOutcome, Watcher
from registry.runs import LoopRecord
from registry.store import check_store


@flow(
    name="loop",
    description="collect → … → promote: every stage of dvc.yaml that is not fresh",
    on_failure=[tell_failure],
    on_crashed=[tell_failure],
)
def loop(
    overrides: list[str] | None = None,
    profile: str | None = None,
    first: str | None = None,
    fragment: str | None = None,
    expected: str | None = None,
) -> list[StageOutcome]:
    """Bring every stage up to date.

    Args:
        overrides: ``section.key=value``, written into params.yaml first, as `dvc exp run -S` does.
        profile: a profile of profiles.yaml, laid on before the overrides.
        first: only this stage and those that depend on it.
        fragment: a YAML file of some sections and keys, laid on between the two.
        expected: hash of params.yaml as whoever starts the loop has read it; None: whatever it holds now.

    Returns:
        One entry a stage, in the order of the graph.

    Raises:
        ParamsError: another hand has changed params.yaml since it was read.
        AdloomError: what a stage raised; the stages before it stay committed, and the next run goes on from there.
    """
    root, watcher = project_root(), WATCHER.get()
    watcher.started()
    with only_loop(root) as killed:
        close_flow_runs()
        check_store(root)
        if expected is not None and content_hash(PARAMS_FILE) != expected:
            raise ParamsError("params.yaml was changed while this loop started; look at it (`git diff params.yaml`), then run again.")
        watcher.changed(apply_overrides(overrides or (), profile=profile, fragment=Path(fragment) if fragment else None))
        params = load_params(PARAMS_FILE)
        limit_threads(params.threads)
        graph = StageGraph(Path.cwd())
        if killed is not None:
            graph.forget_locks_of(killed)
        try:
            return walk(graph, LoopRecord(root, ProcessId.of(), params), watcher, first)
        finally:
            graph.close()


def walk(graph: StageGraph, record: LoopRecord, watcher: Watcher, first: str | None = None) -> list[StageOutcome]:
    """Bring the graph's stages up to date, each in a Prefect task of its name.

    Args:
        graph: the stages.
        record: where MLflow keeps the walk.
        watcher: told of each stage.
        first: only this stage and those that depend on it.

    Returns:
        One entry a stage.
    """
    logger = get_run_logger()
    results: list[StageOutcome] = []
    order = graph.order(first)
    for number, name in enumerate(order, start=1):
        watcher.begins(name, number, len(order))
        result = _task_of(name, graph, record)()
        logger.info("%s: %s (%.1f s)", name, result.outcome, result.seconds)
        watcher.ended(result)
        results.append(result)
        if result.outcome != "fresh":
            gc.collect()  # a trained model must not weigh on the next stage
    record.log_seconds({result.name: result.seconds for result in results if result.outcome != "fresh"})
    record.finish()
    return results


def _task_of(name: str, graph: StageGraph, record: LoopRecord) -> Callable[[], StageOutcome]:
    @task(name=name, task_run_name=name, cache_policy=NO_CACHE, persist_result=False)
    def stage() -> StageOutcome:
        started = time.perf_counter()
        outcome = graph.run(name, lambda: perform(name, record))
        return StageOutcome(name, outcome, time.perf_counter() - started)

    return stage


def perform(name: str, record: LoopRecord) -> None:
    """Run one stage with its MLflow run around it.

    Args:
        name: the stage.
        record: where MLflow keeps the walk.
    """
    with record.stage(name, reports=takes_tracker(name)) as tracker:
        run_stage(name, tracker)
