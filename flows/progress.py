"""What a loop tells whoever watches it."""

from collections.abc import Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Literal

from flows.overrides import Change

Outcome = Literal["fresh", "restored", "ran"]
"""fresh: DVC found nothing changed; restored: DVC had the outputs of an equal run in its cache; ran: the stage ran."""


@dataclass(frozen=True)
class StageOutcome:
    """What became of one stage.

    Attributes:
        name: the stage.
        outcome: fresh, restored or ran.
        seconds: wall time, DVC's share included.
    """

    name: str
    outcome: Outcome
    seconds: float


class Watcher:
    """Told what happens while a loop runs; this one keeps quiet."""

    def started(self) -> None:
        """The flow runs: the server is there."""

    def changed(self, changes: Sequence[Change]) -> None:
        """Parameters were turned."""

    def begins(self, name: str, number: int, total: int) -> None:
        """A stage is looked at, the number-th of total (from 1)."""

    def ended(self, result: StageOutcome) -> None:
        """A stage is up to date."""


WATCHER: ContextVar[Watcher] = ContextVar("watcher", default=Watcher())  # noqa: B039 - it holds nothing
"""The watcher of loops that this context starts."""
