"""Work of the service that goes on beside its answers."""

import threading
from collections.abc import Callable


class Background:
    """A thread with one piece of work, which ends when it is told to."""

    def __init__(self, name: str, work: Callable[[threading.Event], None]) -> None:
        """Begin nothing yet; see `start`.

        Args:
            name: of the thread.
            work: given an event, ends soon after it is set.
        """
        self._ended = threading.Event()
        self._thread = threading.Thread(target=work, args=(self._ended,), name=name, daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End, and wait for it; nothing when it never began."""
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join(timeout=30)
