"""A log whose requests fill several positions: its rows gathered into slates, and what can be tested of its propensities."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.errors import SchemaError
from evaluation.off_policy import Calibration, LoggedSlates, SlateEstimator, propensity_calibration
from tasks.policy_value.decisions import DecisionLog
from tasks.policy_value.targets import Target


def slate_calibrations(log: DecisionLog) -> dict[SlateEstimator, list[Calibration]]:
    """The tests of a slate log's propensities by the estimators that rest on them, from the first position down.

    With propensities given what stands above, the mean of 1{a = k} / μ at a position is the share of slates in which k could still be
    drawn. Of slates without repetition that is below 1 under the first position, and a log does not say how much: only a mean above 1 tells
    of wrong propensities there. The same holds of marginal propensities where each request has candidates of its own.

    Args:
        log: decisions with position.

    Raises:
        ValueError: the log has no position.
    """
    if log.position is None:
        raise ValueError("the log has no position")
    names, places = np.array(log.names)[log.action], [log.position == position for position in np.unique(log.position)]

    def tested(propensity: NDArray[np.float64]) -> list[Calibration]:
        return [propensity_calibration(names[here], propensity[here], log.users[here], at_most=True) for here in places]

    conditional = tested(log.propensity)
    found: dict[SlateEstimator, list[Calibration]] = {"standard": conditional, "cascade": conditional}
    return found if log.marginal is None else found | {"position_wise": tested(log.marginal)}


def slates_of(log: DecisionLog, target: Target) -> LoggedSlates:
    """Rows gathered into slates by request and position, padded to the longest.

    Args:
        log: decisions with request and position.
        target: its target policy.

    Raises:
        SchemaError: positions are missing or there twice.
    """
    if log.request is None or log.position is None:
        raise ValueError("the log has no request and position")
    order = np.lexsort((log.position, log.request))
    request, first = np.unique(log.request[order], return_index=True)
    sizes = np.diff(np.append(first, len(order)))
    place = np.arange(len(order)) - np.repeat(first, sizes)
    off = log.position[order] - np.repeat(log.position[order][first], sizes) != place
    start = int(log.position.min())
    off |= np.repeat(log.position[order][first] != start, sizes)
    if off.any():
        row = int(log.rows[order[int(np.argmax(off))]])
        raise SchemaError(
            f"{int(off.sum())} rows have a position that is missing above them or is there twice in their request; first: row {row + 1} "
            f"of the file. Positions of a request must be {start}, {start + 1}, … without a gap: without what stood above, a propensity "
            "says nothing."
        )
    codes = np.repeat(np.arange(len(request)), sizes)
    shape = (len(request), int(sizes.max()))

    def padded(values: Any, empty: float) -> Any:
        if values is None:
            return None
        matrix = np.full(shape, empty)
        matrix[codes, place] = values[order]
        return matrix

    return LoggedSlates(
        rewards=padded(log.rewards, 0.0),
        logging_propensity=padded(log.propensity, 1.0),
        target_propensity=padded(target.logged, 1.0),
        users=log.users[order][first],
        logging_marginal=padded(log.marginal, 1.0),
        target_marginal=padded(target.marginal, 1.0),
    )
