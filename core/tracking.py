"""The door through which a stage reports what it measures. `registry` implements it over MLflow."""

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol, runtime_checkable


@runtime_checkable
class Tracker(Protocol):
    """Where a stage's parameters, metrics and pictures go. Nothing that a stage returns depends on it."""

    def log_params(self, params: Mapping[str, object]) -> None:
        """Record settings, each once a run."""

    def log_metrics(self, metrics: Mapping[str, float], *, step: int | None = None) -> None:
        """Record numbers, with the epoch or step they belong to."""

    def log_artifact(self, path: Path) -> None:
        """Keep a copy of a file: a plot, a table, a page."""

    def set_tags(self, tags: Mapping[str, str]) -> None:
        """Record words about the run: versions, verdicts, reasons."""


class NullTracker:
    """Keeps nothing: for tests and for calls outside a run."""

    def log_params(self, params: Mapping[str, object]) -> None:
        """Forget the settings."""

    def log_metrics(self, metrics: Mapping[str, float], *, step: int | None = None) -> None:
        """Forget the numbers."""

    def log_artifact(self, path: Path) -> None:
        """Forget the file."""

    def set_tags(self, tags: Mapping[str, str]) -> None:
        """Forget the words."""
