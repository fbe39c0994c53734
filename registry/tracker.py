"""The `core.tracking.Tracker` that writes to an MLflow run, metrics in batches."""

import math
import re
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from core.files import content_hash
from registry.store import store_errors

if TYPE_CHECKING:
    from mlflow.entities import Metric
    from mlflow.tracking import MlflowClient

BATCH = 200
"""Metrics that are held back at the most: a call costs 23 ms, whether it carries one number or hundreds."""
HOLD_S = 2.0
"""Seconds that a metric is held back at the most, so that curves grow in the UI while a model trains."""


class MlflowTracker:
    """Reports to one MLflow run.

    Attributes:
        run_id: the run's id.
    """

    def __init__(self, client: "MlflowClient", run_id: str, *, root: Path) -> None:
        """Args: client and run; root is the project's folder, named in errors."""
        self.run_id = run_id
        self._client = client
        self._root = root
        self._held: list[Metric] = []
        self._flushed = time.monotonic()

    def log_params(self, params: Mapping[str, object]) -> None:
        """Record settings, each once a run; nested mappings get dotted names.

        Args:
            params: name → value.

        Raises:
            RegistryError: the store refuses, as when a setting is logged twice with two values.
        """
        from mlflow.entities import Param

        flat = [Param(_name(key), str(value)) for key, value in flatten(params).items()]
        with store_errors(self._root):
            for start in range(0, len(flat), 100):
                self._client.log_batch(self.run_id, params=flat[start : start + 100])

    def log_metrics(self, metrics: Mapping[str, float], *, step: int | None = None) -> None:
        """Record numbers; they arrive together, at the latest two seconds after the next call or at `close`.

        Args:
            metrics: name → number; what is not finite is left out, for no curve can show it.
            step: the epoch or step they belong to.

        Raises:
            RegistryError: the store refuses.
        """
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        self._held += [Metric(_name(key), float(value), now, step or 0) for key, value in metrics.items() if math.isfinite(value)]
        if len(self._held) >= BATCH or time.monotonic() - self._flushed > HOLD_S:
            self.flush()

    def log_artifact(self, path: Path) -> None:
        """Keep a copy of a file or of a folder.

        Args:
            path: it exists.

        Raises:
            RegistryError: the store refuses.
        """
        with store_errors(self._root):
            if path.is_dir():
                self._client.log_artifacts(self.run_id, str(path), artifact_path=path.name)
            else:
                self._client.log_artifact(self.run_id, str(path))

    def set_tags(self, tags: Mapping[str, str]) -> None:
        """Record words about the run.

        Args:
            tags: name → words.

        Raises:
            RegistryError: the store refuses.
        """
        from mlflow.entities import RunTag

        with store_errors(self._root):
            self._client.log_batch(self.run_id, tags=[RunTag(key, str(value)) for key, value in tags.items()])

    def flush(self) -> None:
        """Send the metrics that are held back.

        Raises:
            RegistryError: the store refuses.
        """
        held, self._held = self._held, []
        with store_errors(self._root):
            for start in range(0, len(held), 1000):
                self._client.log_batch(self.run_id, metrics=held[start : start + 1000])
        self._flushed = time.monotonic()


def flatten(values: Mapping[str, object], prefix: str = "") -> dict[str, object]:
    """Dotted names of the leaves of nested mappings.

    Args:
        values: a mapping, nested or not.
        prefix: what the names begin with.
    """
    flat: dict[str, object] = {}
    for key, value in values.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{name}.")
        else:
            flat[name] = value
    return flat


def _name(text: str) -> str:
    """MLflow takes letters, digits and ``_-. :/`` in names: ndcg@10 becomes ndcg_at_10."""
    return re.sub(r"[^\w.\-: /]", "_", text.replace("@", "_at_"))


def file_hash(path: Path) -> str:
    """SHA-256 of a file, or ``none`` when it is not there.

    Args:
        path: the file.
    """
    return content_hash(path) if path.exists() else "none"
