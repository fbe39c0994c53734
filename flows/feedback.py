"""Every ten minutes: take what serving logged, and whose window has closed, into data/feedback."""

import fcntl
from datetime import timedelta

from prefect import flow, get_run_logger, task
from prefect.cache_policies import NO_CACHE

from core.environment import project_root
from core.params import load_params
from core.stage import PARAMS_FILE, path_of
from flows.notify import tell_failure
from flows.segments import Taken, take
from serving.settings import log_of


@flow(
    name="feedback",
    description="closed windows and new behaviour → immutable segments",
    on_failure=[tell_failure],
    on_crashed=[tell_failure],
)
def feedback() -> Taken:
    """Take what is new, exactly once; the next refresh learns from it.

    Returns:
        How much was taken.

    Raises:
        IdentityError: the service hashes users with another key than the segments.
        ServiceError: the service's database cannot be read.
    """
    taken = _take()
    get_run_logger().info(
        "%d impressions, %d events, %d decisions left out: %s", taken.impressions, taken.events, taken.left_out, taken.segments
    )
    return taken


@task(name="take", retries=2, retry_delay_seconds=20, cache_policy=NO_CACHE, persist_result=False)
def _take() -> Taken:
    root = project_root()
    window = timedelta(days=load_params(root / PARAMS_FILE).prepare.conversion_window_days)
    lock = root / ".run" / "feedback.lock"
    lock.parent.mkdir(exist_ok=True)
    with lock.open("a") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)  # two deployments or hands at once take turns
        return take(log_of(root), root / path_of("feedback"), window=window)
