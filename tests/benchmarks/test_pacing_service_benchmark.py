import numpy as np
import pytest

from benchmarks.pacing_service import LEAST_CLICKS, SHARES, Day, Run, _measured, budgets_of


def test_budgets_are_a_part_of_what_is_spent_without_limits_and_large_enough_to_be_told_from_one_click():
    spent, bids = np.array([400.0, 1000.0, 60.0]), np.array([1.0, 2.0, 1.0])
    found = budgets_of(spent, bids, 3)
    assert found[2] == 0
    for code in (0, 1):
        assert LEAST_CLICKS * bids[code] <= found[code]
        assert SHARES[0] <= found[code] / spent[code] <= SHARES[1] + 0.01
    assert (budgets_of(spent, bids, 3) == found).all()


def test_the_pacing_error_is_the_distance_from_the_budget_at_the_day_s_end_by_hand():
    line = np.linspace(0, 1, 25)
    days = (Day(np.array([100 * line, 190 * line]), np.array([0.0, 6.0]), clicks=3.0, shown=60),)
    played = Run(days, line[None], np.array([[100 * line, 200 * line]]))
    told = _measured(played, np.array([100.0, 200.0]), np.array([2.0, 5.0]))
    assert (told["error_mean"], told["error_worst"], told["spent_worst"]) == pytest.approx((0.025, 0.05, 0.95))
    assert told["from_traffic"] == told["from_plan"] == pytest.approx(0.05 * 0.5 / 2)
    assert (told["given"], told["ctr"], told["over_bids_worst"]) == pytest.approx((0.02, 0.05, 0.0))
    assert _measured(Run(days, line[None], np.zeros((1, 2, 25))), np.array([100.0, 200.0]), np.array([2.0, 5.0]))["from_plan"] is None
