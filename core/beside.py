"""A second process for work that Python keeps on one core, whatever threads are allowed: writing and judging texts, for the most part."""

import os
import pickle
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import get_context, parent_process
from pathlib import Path
from typing import Concatenate, Generic, ParamSpec, TypeVar

from core.environment import THREAD_VARIABLES, limit_threads
from core.errors import ProcessError

State = TypeVar("State")
Result = TypeVar("Result")
Arguments = ParamSpec("Arguments")
_ABSENT = object()
_held: object = _ABSENT
"""In the second process: what `beside` was given."""


class Beside(Generic[State]):
    """Takes work for the second process; without one, does it at once."""

    def __init__(self, state: State, executor: ProcessPoolExecutor | None) -> None:
        """Keep both.

        Args:
            state: what the work reads.
            executor: of one process that holds the state already; None: there is none.
        """
        self._state, self._executor = state, executor

    @property
    def apart(self) -> bool:
        """Whether there is a second process."""
        return self._executor is not None

    def begin(
        self, work: Callable[Concatenate[State, Arguments], Result], *args: Arguments.args, **kwargs: Arguments.kwargs
    ) -> "Future[Result]":
        """Begin work; pieces are done one after another, in the order in which they were begun.

        Args:
            work: a function of a module; reads the state and changes nothing in it, so that it does not matter where it runs.
            *args: of it, after the state.
            **kwargs: of it.

        Returns:
            Whose ``result()`` waits, and raises what the work raised.
        """
        if self._executor is not None:
            return self._executor.submit(_on_held, work, *args, **kwargs)  # type: ignore[arg-type]
        done: Future[Result] = Future()
        try:
            done.set_result(work(self._state, *args, **kwargs))
        except Exception as error:
            done.set_exception(error)
        return done


@contextmanager
def beside(state: State, *, worthwhile: bool) -> Iterator[Beside[State]]:
    """A second process with one thread, and one thread less for this one meanwhile.

    It costs some seconds of the second core to start. It is a fresh interpreter, not a fork: this one has threads of torch and of Prefect.

    Args:
        state: what all the work reads; sent once.
        worthwhile: False: do it all here, as where only one thread is allowed.

    Yields:
        Takes the work.

    Raises:
        ProcessError: the second process was killed, or could not be started; the state cannot be sent.
    """
    threads = int(os.environ.get(THREAD_VARIABLES[0], "1"))
    if not worthwhile or threads < 2 or not _may_begin():
        yield Beside(state, None)
        return
    try:
        # here and whole: the executor would do it in a thread of its own, moving tensors into shared memory while this one reads them
        sent = pickle.dumps(state, protocol=pickle.HIGHEST_PROTOCOL)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise ProcessError(f"what the second process was to work on cannot be pickled: {error}") from error
    limit_threads(threads - 1)
    executor = ProcessPoolExecutor(1, mp_context=get_context("spawn"), initializer=_prepare)
    # as work, not with the process's own first data: these are written before anyone looks whether it still lives, and for ever if not
    executor.submit(_hold, sent)
    del sent
    try:
        yield Beside(state, executor)
    except BrokenProcessPool:
        raise ProcessError(
            "the second process, which does half of this stage's writing and judging, ended without an answer: most likely the machine ran "
            "out of memory (it takes up to 0.9 GB). Run again with more memory free, or with `-S threads=1`, which does without it. "
            'A script of your own must call this under `if __name__ == "__main__":`, since the second process reads it too.'
        ) from None
    finally:
        executor.shutdown(wait=sys.exc_info()[0] is None, cancel_futures=True)
        limit_threads(threads)


def _may_begin() -> bool:
    """Whether a fresh interpreter can be started: not from standard input, whose program it could not find again."""
    main = sys.modules["__main__"]
    path = getattr(main, "__file__", None)
    return getattr(main, "__spec__", None) is not None or path is None or Path(path).exists()


def _prepare() -> None:
    limit_threads(1)
    signal.signal(signal.SIGINT, lambda *_: os._exit(130))  # Ctrl-C is told by the process that was asked
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _hold(sent: bytes) -> None:
    global _held  # noqa: PLW0603 - one process, one state
    _held = pickle.loads(sent)


def _end_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _on_held(work: Callable[..., Result], *args: object, **kwargs: object) -> Result:
    if _held is _ABSENT:
        raise ProcessError("what the second process was to work on did not arrive: it cannot be read there.")
    return work(_held, *args, **kwargs)
