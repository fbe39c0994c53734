"""Requests that wait are answered together: one pass through the networks and one commit for all of them."""

import asyncio
import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Generic, TypeVar

_log = logging.getLogger(__name__)

Asked = TypeVar("Asked")
Answered = TypeVar("Answered")


@dataclass(frozen=True)
class _Waiting(Generic[Asked, Answered]):
    asked: Asked
    answer: "asyncio.Future[Answered]"
    loop: asyncio.AbstractEventLoop


class Turns(Generic[Asked, Answered]):
    """A thread that takes whatever waits, and answers it in one go.

    A lone request goes at once. Under load a group waits a moment until as many requests are there as were in the air a group ago:
    those who have just been answered ask again, and one group of eight costs much less than two of four. An answer is given only
    after the whole group's work has returned.
    """

    def __init__(
        self,
        answer_all: Callable[[Sequence[Asked]], Sequence[Answered | Exception]],
        *,
        most: int,
        name: str,
        gather_seconds: float = 0.0,
    ) -> None:
        """Answer nothing yet; see `start`.

        Args:
            answer_all: requests → an answer or an error for each, in order; an error that it raises is everybody's.
            most: requests in a group at the most; keeps one group, and so the wait for it, short.
            name: of the thread.
            gather_seconds: how long a group waits at the most for others to come.
        """
        self._gather_seconds = gather_seconds
        self._answer_all = answer_all
        self._most = most
        self._name = name
        self._queue: SimpleQueue[_Waiting[Asked, Answered] | None] = SimpleQueue()
        self._wanted = 0  # requests in the queue that a group waits for; 0 when none does
        self._enough = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin to answer."""
        self._thread = threading.Thread(target=self._work, name=self._name, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Answer what waits, then end."""
        self._queue.put(None)
        if self._thread is not None:
            self._thread.join(timeout=30)

    async def ask(self, asked: Asked) -> Answered:
        """Wait for an answer.

        Args:
            asked: the request.

        Raises:
            Exception: what ``answer_all`` gave or raised for it.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Answered] = loop.create_future()
        self._queue.put(_Waiting(asked, future, loop))
        if 0 < self._wanted <= self._queue.qsize():
            self._enough.set()
        return await future

    def _work(self) -> None:
        expected = 1  # requests in the air
        while (first := self._queue.get()) is not None:
            group, last = [first], False
            self._gather(min(expected, self._most) - 1)
            try:
                while len(group) < self._most and not last:
                    found = self._queue.get_nowait()
                    if found is None:
                        last = True
                    else:
                        group.append(found)
            except Empty:
                pass
            expected = len(group) + self._answer(group)
            if last:
                return

    def _gather(self, wanted: int) -> None:
        """Wait until so many requests are in the queue, for as long as a group may wait."""
        if self._queue.qsize() >= wanted:
            return
        self._enough.clear()
        self._wanted = wanted
        if self._queue.qsize() < wanted:  # nobody came between the two
            self._enough.wait(self._gather_seconds)
        self._wanted = 0

    def _answer(self, group: list[_Waiting[Asked, Answered]]) -> int:
        """Answer all of them; returns how many others wait before anybody is told: who is told may ask again at once."""
        try:
            answers: Sequence[Answered | Exception] = self._answer_all([one.asked for one in group])
        except Exception as error:
            answers = [error] * len(group)
        others = self._queue.qsize()
        for loop in dict.fromkeys(one.loop for one in group):
            told = [(one.answer, answer) for one, answer in zip(group, answers, strict=True) if one.loop is loop]
            try:
                loop.call_soon_threadsafe(_tell, told)
            except RuntimeError:  # the loop was closed: nobody waits any more
                _log.warning("%d answers came after the end", len(told))
        return others


def _tell(told: Sequence[tuple["asyncio.Future[Answered]", Answered | Exception]]) -> None:
    for future, answer in told:
        if future.done():  # whoever asked is gone
            continue
        if isinstance(answer, Exception):
            future.set_exception(answer)
        else:
            future.set_result(answer)
