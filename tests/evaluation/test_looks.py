import pytest

from evaluation.looks import Looks


def test_a_look_reads_the_same_rows_until_the_next_is_due():
    plan = Looks(first=100, growth=1.5)
    assert plan.reached(99) is None
    assert [plan.reached(rows).rows for rows in (100, 149, 150, 224, 225)] == [100, 100, 150, 150, 225]
    assert plan.reached(149) == plan.reached(100)


def test_all_looks_together_spend_the_error_that_was_planned():
    plan = Looks(first=1, growth=1.1, alpha=0.05)
    spent = sum(plan.reached(plan.rows(number)).alpha for number in range(60) if plan.reached(plan.rows(number)).number == number)
    assert spent < 0.05
    assert sum(0.05 / ((k + 1) * (k + 2)) for k in range(100_000)) == pytest.approx(0.05, rel=1e-4)


def test_later_looks_ask_for_more_standard_errors():
    plan = Looks(first=500)
    assert plan.reached(500).z == pytest.approx(2.2414, abs=1e-4)  # half of 5 %, two-sided
    assert plan.reached(50_000).z > plan.reached(5_000).z > plan.reached(500).z


@pytest.mark.parametrize("wrong", [{"first": 0}, {"growth": 1.0}, {"alpha": 0.0}])
def test_a_plan_without_sense_is_refused(wrong):
    with pytest.raises(ValueError, match="first is at least 1"):
        Looks(**wrong)
