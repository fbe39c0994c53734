"""What the monitor reads, kept in MLflow: a run an hour, so that the UI draws a line."""

import time
from collections.abc import Mapping
from pathlib import Path

from registry.models import CHAMPION, KINDS, Registry
from registry.runs import NAME_TAG, STAGE_TAG
from registry.store import experiment_id, store_errors
from registry.tracker import MlflowTracker

EXPERIMENT = "adloom-monitor"


def keep_reading(root: Path, metrics: Mapping[str, float], *, window: str) -> str:
    """Write one reading down.

    Args:
        root: the project's folder.
        metrics: name → number.
        window: what was looked at.

    Returns:
        The run's id.

    Raises:
        RegistryError: the store refuses.
    """
    registry = Registry(root)
    experiment = experiment_id(registry.client, EXPERIMENT, root)
    champions = {f"champion.{kind}": found.bundle_hash[:12] for kind in KINDS if (found := registry.alias(kind, CHAMPION)) is not None}
    with store_errors(root):
        tags = {NAME_TAG: time.strftime("%Y-%m-%d %H:%M", time.gmtime()), STAGE_TAG: "monitor", "window": window, **champions}
        run = registry.client.create_run(experiment, tags=tags)
        tracker = MlflowTracker(registry.client, run.info.run_id, root=root)
        tracker.log_metrics(metrics)
        tracker.flush()
        registry.client.set_terminated(run.info.run_id)
    return str(run.info.run_id)
