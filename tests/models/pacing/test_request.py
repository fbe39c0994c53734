import numpy as np
import pytest

from models.pacing import Booking, Pacer, TrafficCurve, multipliers, opportunities
from models.pacing.curve import DAY
from models.pacing.demand import WIDTH

START = 20_755 * DAY


def priced() -> Pacer:
    pacer = Pacer([Booking(name, 10, 1_000, START, START + DAY) for name in "abc"], [TrafficCurve.even()])
    pacer.tick(START, [0, 0, 1_000])
    pacer.pace.price[:] = [0.5, 0.0, 0.0]
    return pacer


def test_multipliers_are_determined_by_pace_and_request_and_lie_in_zero_to_one():
    pacer = priced()
    found = [multipliers(pacer, f"request {number}") for number in range(400)]
    assert found[7] == multipliers(pacer, "request 7")
    ours = np.array([one["a"] for one in found])
    assert ((ours > 0.5 - WIDTH / 2) & (ours <= 0.5 + WIDTH / 2)).all()
    assert ours.mean() == pytest.approx(0.5, abs=4 * WIDTH / 12**0.5 / 20)
    assert {one["b"] for one in found} == {1.0}
    assert {one["c"] for one in found} == {0.0}  # its budget is spent


def test_a_campaign_is_offered_what_it_would_win_whether_it_took_part_or_not():
    p_click = np.array([0.1, 0.2, 0.05])
    values = np.array([1.0, 1.2, 0.5])  # of campaign 0, of no campaign, of campaign 0
    fits = np.array([[True, False, True], [True, True, False], [False, False, False]])
    owner, bid = np.array([0, -1, 0]), np.array([20.0, 10.0, 10.0])
    codes, price, cost = opportunities(p_click, values, fits=fits, owner=owner, bid=bid, k=1)
    assert codes.tolist() == [0, 1]
    assert cost == pytest.approx([2.0, 2.0])
    assert price == pytest.approx([1 - 1.2 / 2.0, 1 - 1.2 / 2.0])
    _, free, _ = opportunities(p_click, values, fits=fits, owner=owner, bid=bid, k=2)
    assert free == pytest.approx([1.0, 1 - 1.0 / 2.0])  # two places, one rival: campaign 0 wins at any price below its value
