"""The search for parameters as a Prefect flow: a task a trial, a run in MLflow each."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from prefect import flow, task
from prefect.cache_policies import NO_CACHE
from tqdm import tqdm

from core.environment import limit_threads, project_root
from core.errors import TrainingError
from core.params import load_params
from core.stage import PARAMS_FILE, path_of
from core.vocabulary import Target
from flows.housekeeping import only_loop
from flows.notify import tell_failure
from models.cache import cache_folder
from registry.searches import SearchRecord
from tasks.tuning import Search, Value, objective_of, write_fragment

FOLDER = Path("data") / "tuning"


@dataclass(frozen=True)
class Tuned:
    """What a search found.

    Attributes:
        metric: what was measured, on the validation window.
        worth: of the best trial.
        present: of the parameters as they were; None when they diverged.
        values: the best ones.
        changed: those of them that differ from the present ones.
        section: of params.yaml.
        fragment: the file that holds them.
        trials: how many ended.
        resumed: how many of these an earlier search had done.
    """

    metric: str
    worth: float
    present: float | None
    values: dict[str, Value]
    changed: dict[str, Value]
    section: str
    fragment: Path
    trials: int
    resumed: int


@flow(
    name="tune",
    description="search parameters of one stage on the validation window",
    on_failure=[tell_failure],
    on_crashed=[tell_failure],
    validate_parameters=False,
)
def tune(target: str = Target.RECOMMENDER, trials: int = 20) -> Tuned:
    """Search, and write the best values down; params.yaml stays as it is.

    Args:
        target: recommender or ranker.
        trials: in all; those of an earlier search on the same data and parameters count.

    Returns:
        What was found.

    Raises:
        AdloomError: the loop has not run yet or runs now, or every trial diverged.
    """
    root = project_root()
    with only_loop(root):
        params = load_params(PARAMS_FILE)
        limit_threads(params.threads)
        what = Target(target)
        search = Search(what, objective_of(what, params, path_of), params, cache_folder("tuning"))
        record = SearchRecord(root, search.name)
        resumed = search.done
        with tqdm(total=max(trials, resumed), initial=resumed, desc=f"tuning the {what}", unit="trial") as bar:
            while search.done < trials:
                number, values = search.ask()
                worth = _trial_of(number, values, search, record)()
                search.tell(number, worth)
                bar.update()
                bar.set_postfix_str(f"{search.objective.metric} {'diverged' if worth is None else f'{worth:.5f}'}")
        fragment = FOLDER / f"{what}.yaml"
        changed = write_fragment(search, fragment)
        worth, best = search.best()
        record.finish({search.objective.metric: worth}, fragment)
        return Tuned(search.objective.metric, worth, search.of_present(), best, changed, search.section, fragment, search.done, resumed)


def _trial_of(number: int, values: dict[str, Value], search: Search, record: SearchRecord) -> Callable[[], float | None]:
    @task(name="trial", task_run_name=f"trial {number}", cache_policy=NO_CACHE, persist_result=False)
    def trial() -> float | None:
        with record.trial(number, values) as tracker:
            try:
                worth = search.objective.measure(values, tracker)
            except TrainingError as diverged:
                tracker.set_tags({"diverged": str(diverged)})
                return None
            tracker.log_metrics({search.objective.metric: worth})
            return worth

    return trial
