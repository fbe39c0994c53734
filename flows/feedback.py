"""Every ten minutes: take what serving logged, and whose window has closed, into data/feedback; guard and judge policies."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

from prefect import flow, get_run_logger, task
from prefect.cache_policies import NO_CACHE

from core.environment import project_root
from core.params import load_params
from core.stage import PARAMS_FILE, path_of
from flows.notify import tell_failure
from flows.policies import watch
from flows.segments import Taken, take
from registry.ledger import Entry
from serving.settings import log_of


@flow(
    name="feedback",
    description="closed windows and new behaviour → immutable segments; policies guarded and judged",
    on_failure=[tell_failure],
    on_crashed=[tell_failure],
)
def feedback() -> Taken:
    """Take what is new, exactly once; the next refresh learns from it.

    Returns:
        How much was taken.

    Raises:
        IdentityError: the service hashes users with another key than the segments.
        RegistryError: the registry cannot be read.
        ServiceError: the service's database cannot be read.
    """
    taken = _take()
    get_run_logger().info(
        "%d impressions, %d events, %d decisions left out: %s", taken.impressions, taken.events, taken.left_out, taken.segments
    )
    for entry in _policies():
        get_run_logger().info("policy %d: %s (%s)", entry.version, entry.action, "; ".join(entry.reasons))
    return taken


@task(name="take", retries=2, retry_delay_seconds=20, cache_policy=NO_CACHE, persist_result=False)
def _take() -> Taken:
    root = project_root()
    window = timedelta(days=load_params(root / PARAMS_FILE).prepare.conversion_window_days)
    with _alone(root):
        return take(log_of(root), root / path_of("feedback"), window=window)


@task(name="policies", retries=2, retry_delay_seconds=20, cache_policy=NO_CACHE, persist_result=False)
def _policies() -> list[Entry]:
    root = project_root()
    with _alone(root):
        return watch(root)


@contextmanager
def _alone(root: Path) -> Iterator[None]:
    """Two deployments or hands at once take turns."""
    lock = root / ".run" / "feedback.lock"
    lock.parent.mkdir(exist_ok=True)
    with lock.open("a") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
