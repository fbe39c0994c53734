"""Pacing: the curve, prices, the hard stop, what happens at midnight, on surges and after a restart."""

from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.pacing import (
    Booking,
    Demand,
    Pacer,
    PacingSettings,
    TrafficCurve,
    dithered,
    multiplier,
    safely_in_flight,
)
from models.pacing.curve import DAY, HOUR
from models.pacing.demand import HIGHEST, WIDTH
from models.pacing.shift import shift_of
from models.pool import UPCOMING, Campaign

START = 20_755 * DAY
MINUTE = DAY // 1440
CLICK = 1_000_000


def booked(*budgets: int, bid: int = CLICK) -> tuple[Booking, ...]:
    return tuple(Booking(f"c{code}", bid, budget, START - DAY, START + 5 * DAY) for code, budget in enumerate(budgets))


def pacer_of(*budgets: int, **changed: float) -> Pacer:
    chosen = replace(PacingSettings(slate=2, click_delay_seconds=0.0, evidence=20), **changed)
    return Pacer(booked(*budgets), [TrafficCurve.even()], chosen)


def spend_a_day(
    pacer: Pacer, rng: np.random.Generator, per_minute: list[float], *, p: float = 0.05, start: int = START, equal: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Each campaign is alone with its requests; a click is charged at once, a tick a request. Spend at the end, and by minute."""
    c, spent, course = len(pacer.bookings), np.zeros(len(pacer.bookings)), []
    for minute, rate in enumerate(per_minute):
        count = rng.poisson(rate)
        for place in range(max(count, 1)):
            pace = pacer.tick(start + minute * MINUTE + place * MINUTE // (count + 1), spent)
            if count:
                quality = np.ones(c) if equal else np.exp(rng.normal(-0.125, 0.5, c))
                shown = pace.open & (multiplier(quality, dithered(pace.price, rng.random(c))) > 0)
                pacer.observe(np.arange(c), quality, np.full(c, p * CLICK), shown)
                spent = spent + CLICK * (shown & (rng.random(c) < p))
        course.append(spent)
    return spent, np.array(course)


def test_a_curve_is_the_smoothed_share_of_past_events_by_weekday_and_hour():
    monday = 4 * DAY  # 5 January 1970
    curve = TrafficCurve.fit([monday + 10 * HOUR] * 30 + [monday + 11 * HOUR] * 10, smoothing=40.0)
    pooled = (np.array([30, 10]) + 40 / 2400) / (40 + 0.4)
    assert curve.shares[0, 10:12] == pytest.approx((np.array([30, 10]) + 40 * pooled) / 80)
    assert curve.shares[3, 10:12] == pytest.approx(pooled)  # a day never seen looks like all days
    assert (curve.shares > 0).all()
    assert curve.shares.sum(axis=1) == pytest.approx(np.ones(7))
    half = curve.shares[0, :10].sum() + curve.shares[0, 10] / 2
    assert curve.between(monday, monday + 10 * HOUR + HOUR // 2) == pytest.approx(half)
    assert curve.between(monday, monday + 3 * DAY) == pytest.approx(3)
    assert curve.between(monday, monday) == 0 == curve.between(monday + 1, monday)


def test_weights_say_when_clicks_come_and_wrong_calls_are_named():
    weighted = TrafficCurve.fit([HOUR, 2 * HOUR], [1.0, 3.0], smoothing=1e-6)
    assert weighted.shares[3, 1:3] == pytest.approx([0.25, 0.75], abs=1e-3)
    assert (TrafficCurve.fit([]).shares == TrafficCurve.even().shares).all()
    with pytest.raises(ValueError, match="2 timestamps and 1 weights"):
        TrafficCurve.fit([1, 2], [1.0])
    with pytest.raises(ValueError, match="1 of 2 weights are negative"):
        TrafficCurve.fit([1, 2], [1.0, -1.0])
    with pytest.raises(ValueError, match="smoothing is 0"):
        TrafficCurve.fit([1], smoothing=0)
    with pytest.raises(ValueError, match=r"shape \(24,\)"):
        TrafficCurve(np.full(24, 1 / 24))
    with pytest.raises(ValueError, match="positive and sum to 1"):
        TrafficCurve(np.zeros((7, 24)))


def test_the_price_is_where_demand_meets_the_wanted_rate():
    demand = Demand(2, memory=1e9)
    demand.pass_by(np.array([0.5, 0.5]))
    demand.add(np.array([0, 0, 0, 1]), np.array([0.5, 1.0, 2.0, -1.0]), np.array([10.0, 20.0, 30.0, 99.0]))
    found = demand.solve(np.array([100.0, 10.0]))  # spend per unit of traffic: 120 at 0, 100 above 0.5, 60 above 1
    assert found.most == pytest.approx([120.0, 0.0])  # what is lost at price 0 is no demand
    assert found.price == pytest.approx([0.5 + WIDTH / 2, 0.0])
    assert demand.solve(np.array([80.0, 0.0])).price[0] == pytest.approx(1.0)  # half of a bin's cost: its middle
    assert demand.solve(np.array([121.0, 0.0])).price[0] == 0
    demand.memory = 1.0
    demand.pass_by(np.array([1.0, 1.0]))
    assert demand.cost[0].sum() == pytest.approx(60 / np.e)


def test_multipliers_lie_between_zero_and_the_quality_and_dither_by_half_a_bin():
    assert multiplier([1.0, 1.0, 0.5, 2.0], [0.25, 3.0, 0.0, -1.0]) == pytest.approx([0.75, 0.0, 0.5, 2.0])
    assert dithered([1.0, 1.0, 0.0], [0.0, 1.0, 1.0]) == pytest.approx([1 - WIDTH / 2, 1 + WIDTH / 2, 0.0])


def test_bookings_are_the_campaigns_with_a_budget():
    start, end = datetime(2026, 11, 1, tzinfo=UTC), datetime(2026, 11, 11, tzinfo=UTC)
    everything: frozenset[str] = frozenset()
    one = Campaign("a", "A", start, end, 7, everything, everything, everything, everything, 70)
    bookings = Booking.of([one, replace(one, campaign_id="b", daily_budget_micros=None)])
    moments = [round(moment.timestamp() * 1e6) for moment in (start - UPCOMING, end)]
    assert bookings == (Booking("a", 7, 70, *moments),)


@settings(max_examples=40, deadline=None)
@given(
    budget=st.integers(0, 40 * CLICK),
    bid=st.integers(1, 5 * CLICK),
    slate=st.integers(1, 4),
    bursts=st.lists(st.tuples(st.integers(0, 90), st.integers(0, 30), st.floats(0.0, 1.0)), max_size=60),
)
def test_never_more_than_one_slate_is_spent_beyond_a_budget_whatever_the_traffic(budget, bid, slate, bursts):
    """The ranker thinks 0.01; the worst shoppers click everything; every position of a slate goes to the campaign."""
    pacer = Pacer(booked(budget, bid=bid), [TrafficCurve.even()], PacingSettings(slate=slate, evidence=5))
    rng, now, spent = np.random.default_rng(0), START, 0
    for minutes, requests, ctr in bursts:
        now = min(now + minutes * MINUTE, START + DAY - 1)
        for _ in range(requests):
            pace = pacer.tick(now, [spent])
            assert 0 <= pace.price[0] <= HIGHEST
            assert np.isnan(pace.forecast_micros[0]) or 0 <= pace.forecast_micros[0] <= budget
            assert 0 <= pace.planned_micros[0] <= budget + 1e-6 * budget
            if not pace.open[0]:
                continue
            pacer.observe([0], [rng.random() * 3], [0.01 * bid], [True])
            spent += bid * int((rng.random(slate) < ctr).sum())
    assert spent <= max(budget - 1, 0) + slate * bid
    assert spent == 0 or budget > 0


def test_a_feasible_budget_is_spent_to_98_per_cent_along_the_day_and_the_same_state_gives_the_same_prices():
    rates = [3.0] * 1440
    found = [spend_a_day(pacer_of(60 * CLICK, 120 * CLICK), np.random.default_rng(1), rates) for _ in range(2)]
    spent, course = found[0]
    assert (found[1][1] == course).all()
    budget = np.array([60, 120]) * CLICK
    assert (spent >= 0.98 * budget).all()
    assert (spent <= budget + 2 * CLICK).all()
    planned = np.linspace(0, 1, 1440)[:, None] * budget
    assert (np.abs(course - planned).max(axis=0) < 0.2 * budget).all()


def test_equal_opportunities_are_bought_in_part_and_not_all_at_once():
    spent, course = spend_a_day(pacer_of(80 * CLICK), np.random.default_rng(2), [3.0] * 1440, equal=True)
    assert 78 * CLICK <= spent[0] <= 82 * CLICK
    assert 0.3 * spent[0] < course[720, 0] < 0.7 * spent[0]


@pytest.mark.parametrize(
    "rates",
    [[2.0] * 600 + [6.0] * 180 + [2.0] * 660, [2.0] * 600 + [2 / 3] * 360 + [2.0] * 480],
    ids=["a surge of three times", "a third for six hours"],
)
def test_unexpected_traffic_costs_no_budget(rates):
    spent, _ = spend_a_day(pacer_of(60 * CLICK), np.random.default_rng(3), rates)
    assert 0.98 * 60 * CLICK <= spent[0] <= 62 * CLICK


def test_what_can_be_spent_is_not_told_before_anything_is_known():
    pacer = pacer_of(60 * CLICK)
    pacer.tick(START, [0])
    assert np.isnan(pacer.pace.forecast_micros[0])
    assert not pacer.pace.short[0]


def test_a_budget_that_traffic_cannot_spend_is_spent_as_far_as_it_goes_and_told():
    pacer = pacer_of(1000 * CLICK, 20 * CLICK)
    rng = np.random.default_rng(4)
    spent, _ = spend_a_day(pacer, rng, [2.0] * 720)
    assert pacer.pace.short.tolist() == [True, False]
    assert pacer.pace.price[0] == 0
    assert pacer.pace.open[0]
    assert pacer.pace.forecast_micros[0] == pytest.approx(0.05 * 2 * 1440 * CLICK, rel=0.25)
    assert spent[0] == pytest.approx(0.05 * 2 * 720 * CLICK, rel=0.35)


def test_the_first_minutes_spend_no_more_than_planned_and_a_slate():
    pacer = pacer_of(100 * CLICK, evidence=10**9)
    assert pacer.tick(START, [0]).open[0]
    assert not pacer.tick(START + MINUTE, [3 * CLICK]).open[0]  # planned by then: 0.07 clicks
    assert pacer.tick(START + 60 * MINUTE, [3 * CLICK]).open[0]


def test_at_midnight_the_budget_is_whole_again_and_what_was_learnt_stays():
    pacer = pacer_of(30 * CLICK)
    spent, _ = spend_a_day(pacer, np.random.default_rng(5), [2.0] * 1440)
    assert not pacer.tick(START + DAY - 1, np.maximum(spent, 30 * CLICK)).open[0]
    pace = pacer.tick(START + DAY, [0])
    assert pace.open[0]
    assert pace.price[0] > 0  # no rush: yesterday says what a click is worth
    assert pace.planned_micros[0] == 0
    again, _ = spend_a_day(pacer, np.random.default_rng(6), [2.0] * 1440, start=START + DAY)
    assert 0.95 * 30 * CLICK <= again[0] <= 32 * CLICK


def test_a_campaign_is_open_between_its_dates_only_and_plans_for_the_part_of_the_day():
    noon = START + 12 * HOUR
    pacer = Pacer([Booking("a", CLICK, 10 * CLICK, noon, noon + 6 * HOUR)], [TrafficCurve.even()])
    assert not pacer.tick(noon - 1, [0]).open[0]
    assert pacer.tick(noon, [0]).open[0]
    assert pacer.tick(noon + 3 * HOUR, [0]).planned_micros[0] == pytest.approx(5 * CLICK)
    assert not pacer.tick(noon + 6 * HOUR + 1, [0]).open[0]


def test_pending_clicks_hold_the_last_of_a_budget_back():
    pacer = pacer_of(10 * CLICK, click_delay_seconds=60.0, evidence=0)
    pacer.tick(START, [0])
    pacer.observe([0] * 40, [1.0] * 40, [0.1 * CLICK] * 40, [True] * 40)  # four clicks are to come
    assert not pacer.tick(START, [9 * CLICK]).open[0]
    assert pacer.tick(START + 10 * MINUTE, [9 * CLICK]).open[0]  # they did not
    assert safely_in_flight(np.array([0.0, 9.0, 20.0])) == pytest.approx([0.0, 1.0, 4.0])


def restarted(pacer: Pacer, *bookings: Booking) -> Pacer:
    """A pacer of these bookings that goes on from what the other has learnt."""
    again = Pacer(bookings, [TrafficCurve.even()] * len(bookings), pacer.settings)
    again.take_over(pacer.state(), {booking.campaign_id: row for row, booking in enumerate(pacer.bookings)})
    return again


def test_a_restart_goes_on_as_if_nothing_had_happened() -> None:
    pacer = pacer_of(60 * CLICK, 90 * CLICK)
    rng = np.random.default_rng(7)
    spent, _ = spend_a_day(pacer, rng, [2.0] * 500)
    pacer.observe([0, 1], [1.0, 2.0], [5e4, 5e4], [True, False])
    again = restarted(pacer, *pacer.bookings)
    for minute in range(500, 700, 7):
        for one in (pacer, again):
            one.tick(START + minute * MINUTE, spent)
            one.observe([0, 1], [0.7, 1.3], [5e4, 5e4], [False, True])
        for field in ("price", "open", "planned_micros", "forecast_micros", "short"):
            np.testing.assert_array_equal(getattr(again.pace, field), getattr(pacer.pace, field))


def test_after_a_restart_known_campaigns_go_on_and_new_ones_begin() -> None:
    pacer = pacer_of(60 * CLICK, 90 * CLICK)
    spent, _ = spend_a_day(pacer, np.random.default_rng(8), [2.0] * 300)
    again = restarted(pacer, Booking("new", CLICK, 5 * CLICK, START - DAY, START + DAY), pacer.bookings[1])
    assert (again.demand.cost[1] == pacer.demand.cost[1]).all()
    assert again.demand.cost[0].sum() == 0
    now = START + 301 * MINUTE
    assert again.tick(now, [0, spent[1]]).price[1] == pacer.tick(now, spent).price[1]


def test_a_shift_is_found_and_a_surge_is_none():
    hour = np.arange(24)
    curve = 0.15 + np.exp(-(((hour - 12.5) / 2.5) ** 2)) + 1.6 * np.exp(-(((hour - 20) / 2.2) ** 2))
    curve /= curve.sum()
    rng = np.random.default_rng(9)
    for shift in (-3, 0, 3):
        seen = rng.poisson(50_000 * np.roll(curve, shift)).astype(float)
        assert [shift_of(curve, seen[:hours]) for hours in (14, 18, 24)] == [shift] * 3
    surge = rng.poisson(50_000 * curve * np.where((hour >= 10) & (hour < 13), 3, 1)).astype(float)
    assert {shift_of(curve, surge[:hours]) for hours in range(25)} == {0}
    assert shift_of(curve, np.array([0.0, 0.0, 400.0])) == 0


def test_wrong_calls_are_named():
    with pytest.raises(ValueError, match="ids repeat"):
        Pacer([*booked(1), *booked(1)], [TrafficCurve.even()])
    with pytest.raises(ValueError, match="campaign c0: bid 0"):
        Pacer(booked(1, bid=0), [TrafficCurve.even()])
    with pytest.raises(ValueError, match="2 curves for 3 campaigns"):
        Pacer(booked(1, 1, 1), [TrafficCurve.even()] * 2)
    with pytest.raises(ValueError, match=r"slate is 0.*memory is 0"):
        PacingSettings(slate=0, memory=0)
    with pytest.raises(ValueError, match="one spend each, at least 0"):
        pacer_of(1, 1).tick(START, [1])
