"""Has today's traffic the shape of the curve, only earlier or later? A wrong time zone, a summer time, a holiday."""

import numpy as np
from numpy.typing import NDArray

LARGEST = 4
"""Hours looked at, either way."""
LIKE = 0.08
"""Two profiles this far apart (total variation) count as alike; hourly traffic strays by some per cent from day to day."""


KEPT = 2 / 3
"""A shift that is believed stays as long as no other one takes its place and its distance is at most this part of the curve's own."""


def shift_of(curve: NDArray[np.float64], seen: NDArray[np.float64], *, believed: int = 0, least: int = 500) -> int:
    """By how many hours today's traffic comes later than the curve says.

    A shift is believed only if it explains the hours so far well (total variation at most `LIKE`) and the curve as it stands
    does not (more than twice as far away, and beyond `LIKE`). A surge or a lull is explained by no shift and moves nothing. One that is
    believed is not given up because it fits a little worse (`KEPT`): to fall back to the curve late in a day that came early means to wait
    for traffic that has been.

    Args:
        curve: ``(24,)`` expected share of each hour, positive.
        seen: ``(h,)`` requests in today's complete hours.
        believed: what was said at an earlier hour of today, 0 for nothing.
        least: requests that must have been seen.

    Returns:
        Hours, negative when traffic comes earlier; 0 when there is no good reason.
    """
    hours = len(seen)
    if hours < 3 or seen.sum() < least:
        return 0
    today = seen / seen.sum()

    def distance(shift: int) -> float:
        expected = np.roll(curve, shift)[:hours]
        return float(np.abs(today - expected / expected.sum()).sum() / 2)

    found = {shift: distance(shift) for shift in sorted(range(-LARGEST, LARGEST + 1), key=abs)}
    best = min(found, key=lambda shift: found[shift])
    if found[best] <= LIKE and found[0] > max(LIKE, 2 * found[best]):
        return best
    return believed if believed in found and found[believed] <= KEPT * found[0] else 0
