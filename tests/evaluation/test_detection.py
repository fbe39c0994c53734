import pytest

from evaluation.detection import Detection, detection, wilson


def test_wilson_agrees_with_the_values_worked_by_hand():
    # 8 of 10, z = 1.96: middle 0.7169, reach 0.2268
    found = wilson(8, 10)
    assert (found.value, found.low, found.high) == (0.8, pytest.approx(0.4902, abs=1e-4), pytest.approx(0.9433, abs=1e-4))
    assert wilson(0, 5).low == 0.0
    assert wilson(5, 5).high == 1.0


def test_detection_counts_each_kind_of_row_once():
    counted = detection([True, True, True, False, False], [True, True, False, True, False])
    assert counted == Detection(found=2, missed=1, wronged=1, passed=1)
    assert counted.recall.value == counted.precision.value == pytest.approx(2 / 3)


def test_a_share_of_nothing_is_refused():
    with pytest.raises(ValueError, match="0 of 0"):
        wilson(0, 0)
