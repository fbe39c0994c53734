"""The latency gate: measured at run time, told as a verdict only, since no output holds a duration."""

import logging
import statistics
import time
from collections.abc import Callable

from tasks.gates.verdict import Gate

logger = logging.getLogger(__name__)

_WARM_UP, _RUNS, _TRIES = 3, 15, 3


def latency_gate(what: str, call: Callable[[], object], limit_ms: float) -> Gate:
    """Whether a call's median time lies within the budget.

    A machine that is busy with other things slows a call down but never speeds it up: the best of three medians counts.

    Args:
        what: the call, in words.
        call: what serving does for one request.
        limit_ms: budget in milliseconds.
    """
    for _ in range(_WARM_UP):
        call()
    medians: list[float] = []
    while len(medians) < _TRIES and (not medians or min(medians) > limit_ms):
        medians.append(statistics.median(_milliseconds(call) for _ in range(_RUNS)))
    passed = min(medians) <= limit_ms
    logger.info("%s: median %.2f ms, budget %g ms", what, min(medians), limit_ms)
    return Gate("latency", passed, f"{what} stays {'within' if passed else 'above'} the budget of {limit_ms:g} ms")


def _milliseconds(call: Callable[[], object]) -> float:
    started = time.perf_counter()
    call()
    return 1000 * (time.perf_counter() - started)
