"""What the service does without at the moment: parts that are away, and since when."""

import threading
from collections.abc import Callable

from serving.api import Part
from serving.store import UnavailableError

PARTS: tuple[Part, ...] = ("log", "state")
RETRY_AFTER_S = 2
"""Seconds after which whoever is refused because a server is away is told to ask again."""


class Condition:
    """Asks each part whether it is there."""

    def __init__(self) -> None:
        self._problems: dict[Part, Callable[[], str]] = {}
        self._lock = threading.Lock()
        self.spilled = 0
        """Slates that were stored on this machine because the log's server was away."""
        self.drained = 0
        """Slates that have gone from this machine into the log."""

    def watch(self, part: Part, problem: Callable[[], str]) -> None:
        """Look at a part from now on.

        Args:
            part: its name.
            problem: says why it is away; "" when it is there.
        """
        self._problems[part] = problem

    @property
    def degraded(self) -> list[Part]:
        """The parts that are away."""
        return [part for part in PARTS if part in self._problems and self._problems[part]()]

    def need(self, part: Part) -> None:
        """Refuse at once what cannot be done without a part, before anybody waits for it.

        Args:
            part: its name.

        Raises:
            UnavailableError: it is away.
        """
        problem = self._problems[part]() if part in self._problems else ""
        if problem:
            raise UnavailableError(f"{part}: {problem}")

    @property
    def problem(self) -> str:
        """Why, in one line; "" when all are there."""
        return "; ".join(f"{part}: {told}" for part, problem in self._problems.items() if (told := problem()))

    def count_spilled(self, slates: int) -> None:
        """Args: how many were just stored on this machine."""
        with self._lock:
            self.spilled += slates

    def count_drained(self, slates: int) -> None:
        """Args: how many have just gone into the log."""
        with self._lock:
            self.drained += slates
