"""A guard sees a rate that fell, and seldom one that did not, however often it looks."""

import numpy as np
import pytest

from evaluation.guard import Group, rate_change
from evaluation.looks import Looks

PLAN = Looks(first=500, growth=1.3, alpha=0.05)


def arm(rng, slates, rate, spread=0.5):
    """Slates of three impressions; a user has many, and a rate of their own."""
    users = rng.integers(slates // 8, size=slates)
    own = rate * np.exp(spread * rng.normal(size=slates // 8) - spread**2 / 2)
    rows = np.repeat(users, 3)
    return Group((rng.random(rows.size) < own[rows]).astype(float), rows)


def head(group, impressions):
    return Group(group.answered[:impressions], group.users[:impressions])


def alarm_at(rng, canary_rate, champion_rate, *, share=0.3, slates=4_000):
    """Slates of the canary when the guard speaks; None when it never does."""
    canary, champion = arm(rng, slates, canary_rate), arm(rng, round(slates * (1 - share) / share), champion_rate)
    number = 0
    while PLAN.rows(number) <= slates:
        look = PLAN.reached(PLAN.rows(number))
        rest = round(look.rows * (1 - share) / share)
        if rate_change(head(canary, 3 * look.rows), head(champion, 3 * rest), look).fallen:
            return look.rows
        number += 1
    return None


def test_a_difference_is_the_one_worked_by_hand():
    watched = Group(np.repeat([1.0, 0.0], [10, 90]), np.arange(100))
    other = Group(np.repeat([1.0, 0.0], [30, 70]), np.arange(100, 200))
    look = PLAN.reached(500)
    found = rate_change(watched, other, look)
    # p = 0.2; Σ (c − p)² = 10 · 0.64 + 90 · 0.04 = 10 and 30 · 0.64 + 70 · 0.04 = 22
    error = np.sqrt(10 / 100**2 + 22 / 100**2)
    assert (found.difference.value, found.expected) == (pytest.approx(-0.2), pytest.approx(20))
    assert found.difference.high == pytest.approx(-0.2 + look.z * error)
    assert found.fallen


def test_too_few_answers_are_no_alarm():
    none = Group(np.zeros(100), np.arange(100))
    found = rate_change(none, Group(np.repeat([1.0, 0.0], [30, 70]), np.arange(100, 200)), PLAN.reached(500))
    assert (found.difference, found.fallen) == (None, False)
    assert found.expected == pytest.approx(15)
    with pytest.raises(ValueError, match="both groups need some"):
        rate_change(Group(np.zeros(0), np.zeros(0, int)), none, PLAN.reached(500))


def test_rows_of_one_user_count_together():
    rng = np.random.default_rng(0)
    alone, users = arm(rng, 4000, 0.1, spread=0.0), np.arange(12_000)
    together = Group(np.repeat(alone.answered[::20], 20), np.repeat(users[::20], 20))
    apart = Group(together.answered, users)
    look = PLAN.reached(500)
    widths = [rate_change(group, Group(alone.answered, users + 10**6), look).difference for group in (together, apart)]
    assert (widths[0].high - widths[0].low) > 2.5 * (widths[1].high - widths[1].low)


def test_a_canary_that_is_as_good_is_seldom_ended_over_all_looks():
    rng = np.random.default_rng(1)
    alarms = sum(alarm_at(rng, 0.04, 0.04) is not None for _ in range(200))
    assert alarms / 200 <= 0.045  # one side of 5 %; of 200 runs at 2.5 % more than 4.5 % alarm once in 25


def test_looking_each_time_at_95_percent_would_end_good_canaries_too_often():
    rng, wrong = np.random.default_rng(2), 0
    for _ in range(100):
        canary, champion = arm(rng, 4_000, 0.04), arm(rng, 8_000, 0.04)
        for number in range(8):
            look = PLAN.reached(PLAN.rows(number))
            found = rate_change(head(canary, 3 * look.rows), head(champion, 6 * look.rows), look)
            error = (found.difference.high - found.difference.value) / look.z
            if found.difference.value + 1.96 * error < 0:
                wrong += 1
                break
    assert wrong / 100 > 0.05


def test_a_bad_canary_is_ended_early():
    rng = np.random.default_rng(3)
    found = [alarm_at(rng, 0.02, 0.04) for _ in range(20)]
    assert None not in found
    assert np.median(found) < 2_500


def test_rare_conversions_sound_no_false_alarm():
    rng = np.random.default_rng(4)
    assert sum(alarm_at(rng, 0.004, 0.004) is not None for _ in range(100)) / 100 <= 0.05
