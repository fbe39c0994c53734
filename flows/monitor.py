"""Every hour: has what comes in moved from what was learned from, and are the predictions still calibrated?"""

from prefect import flow, get_run_logger, task
from prefect.cache_policies import NO_CACHE

from core.environment import project_root
from core.errors import EvidenceError
from core.stage import path_of
from flows.notify import tell_failure
from registry.readings import keep_reading
from tasks.monitoring import Reading, look


@flow(name="monitor", description="drift and calibration → MLflow", on_failure=[tell_failure], on_crashed=[tell_failure])
def monitor(days: float = 7.0, max_drift: float = 0.25) -> Reading:
    """Read drift and calibration, and keep them in MLflow.

    Args:
        days: how far back the latest feedback counts as recent.
        max_drift: population stability index above which the log warns.

    Returns:
        The reading.

    Raises:
        EvidenceError: the loop has not run yet: there is no training window to compare with.
    """
    reading = _look(days)
    keep_reading(project_root(), reading.metrics, window=reading.window)
    logger = get_run_logger()
    logger.info("%s window: %s", reading.window, {name: round(value, 4) for name, value in reading.metrics.items()})
    for name, value in reading.metrics.items():
        if name.startswith("drift/") and value > max_drift:
            logger.warning("%s is %.3f, above %.2f: what comes in has moved; `make run` trains on it", name, value, max_drift)
    return reading


@task(name="look", retries=2, retry_delay_seconds=20, cache_policy=NO_CACHE, persist_result=False)
def _look(days: float) -> Reading:
    paths = {name: path_of(name) for name in ("events", "impressions", "items", "lineage", "feedback")}
    absent = [str(path) for path in paths.values() if not path.exists()]
    if absent:
        raise EvidenceError(f"nothing to compare with: {', '.join(absent)} is missing. Run the loop first: `make run`.")
    return look(**paths, days=days)
