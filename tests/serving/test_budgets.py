"""Budgets in the service: paced, never overspent, whole again at the shop's midnight, and known after a restart."""

import json
import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
import tiny_shop as tiny
from hypothesis import given, settings
from hypothesis import strategies as st
from service_runs import running

from core.vocabulary import MICROS
from models.pacing import Standing, TrafficCurve
from models.pacing.curve import DAY, HOUR
from models.ranker import Prediction
from serving.calendar import Calendar
from serving.clock import moment
from serving.database import Database
from serving.decision_log import Answer, Shown, insert_feedback
from serving.pacing import KEY
from serving.traffic import Traffic, prior_of

BID = 2 * MICROS
"""Of campaign k1, which buys scene promotion for sports."""


def shop_with(shop, budget, **changed):
    tiny.write_pool(shop / "models" / "pool", budget=budget)
    return tiny.settings_in(shop, **changed)


def ask(client, user="u1", scene="promotion", k=2):
    answer = client.post("/v1/ads", json={"user_id": user, "k": k, "scene": scene})
    assert answer.status_code == 200, answer.text
    return answer.json()


def click(client, *shown):
    events = [{"type": "click", "event_id": uuid.uuid4().hex, "request_id": request, "position": position} for request, position in shown]
    answer = client.post("/v1/events", json={"events": events}) if events else None
    assert answer is None or answer.status_code == 200, answer.text


def pacing_of(client):
    return client.app.state.champions.current.pacing


def tell_apart(client):
    """A ranker that knows who clicks."""
    ranker, rng = client.app.state.champions.current.decider.ranker, np.random.default_rng(4)

    def predict(requests, candidates, recommended=None):
        p_click = rng.uniform(0.2, 0.6, len(candidates))
        return Prediction(p_click, p_click / 10)

    ranker.predict = predict


def at(wall, client, hours):
    """Move the shop's clock to so many hours after its next midnight."""
    now = client.app.state.champions.current.world.now()
    wall.pass_by(timedelta(microseconds=(now // DAY + 1) * DAY + round(hours * HOUR) - now))


def test_days_and_hours_are_those_of_the_shop_s_clock():
    noon = int(datetime(2026, 11, 1, 12, tzinfo=UTC).timestamp()) * 1_000_000
    shanghai, york = Calendar("Asia/Shanghai"), Calendar("America/New_York")
    assert shanghai.local(noon) - noon == 8 * HOUR
    assert [shanghai.day(noon + hours * HOUR) - noon // DAY for hours in (3, 4)] == [0, 1]
    shift = [york.local(noon + hours * HOUR) - noon for hours in (-24, 0)]
    assert (shift[0], shift[1]) == (-24 * HOUR - 4 * HOUR, -5 * HOUR)  # the clocks went back that night
    assert Calendar().local(noon) == noon


def test_clicks_beyond_a_budget_are_given_and_counted_whoever_brings_them(shop):
    config, wall = shop_with(shop, 3 * BID), tiny.Wall()
    with running(config, wall) as one, running(config, wall) as other, ThreadPoolExecutor(6) as pool:
        pacing_of(one).standing = pacing_of(other).standing = Standing()
        shown = [(ask(client, f"u{turn}"), client) for turn in range(6) for client in (one, other)]
        paid = [
            (answer["request_id"], place, client) for answer, client in shown for place, ad in enumerate(answer["slate"]) if ad["campaign"]
        ]
        assert len(paid) > 8
        list(pool.map(lambda held: click(held[2], held[:2]), paid))
        assert all(ad["campaign"] is None for ad in ask(one)["slate"])
    ((spent, given),) = tiny.rows(config, "SELECT spent_micros, given_micros FROM spend")
    assert spent == 3 * BID
    assert given == len(paid) * BID - spent
    assert len(tiny.rows(config, "SELECT 1 FROM feedback")) == len(paid)


def test_a_budget_is_spent_along_the_day_and_not_in_its_first_hours(shop, backend):
    """150 requests a day, evenly; two places of five are clicked at once, which would buy the budget four times."""
    if backend != "sqlite":
        pytest.skip("it needs two logs, and paces alike with every backend")
    courses = {}
    for paced in (True, False):
        config, wall, rng = shop_with(shop, 30 * BID, pacing=paced, exploration=0.01), tiny.Wall(), np.random.default_rng(5)
        config = type(config)(**{**vars(config), "database": shop / f"{paced}.sqlite"})
        with running(config, wall) as client:
            client.app.state.ticker.stop()
            tell_apart(client)
            at(wall, client, 0)
            spends = []
            for day in range(2):
                for turn in range(150):
                    answer = ask(client, f"u{turn % 50}")
                    click(
                        client,
                        *(
                            (answer["request_id"], n)
                            for n, ad in enumerate(answer["slate"])
                            if ad["campaign"] and rng.random() < ad["p_click"]
                        ),
                    )
                    wall.pass_by(timedelta(days=1) / 150)
                    if paced:
                        pacing_of(client).catch_up()
                    spends.append(sum(client.app.state.storage.state.spent(client.app.state.champions.current.world.now()).values()) / BID)
                assert max(spends) <= 30, day
            courses[paced] = np.array(spends[150:-1])
    assert courses[False][60] == 30  # in the morning all is gone
    assert 28 <= courses[True][-1] <= 30
    assert courses[True][75] < 25  # half of the day would be 15, give or take 2 by the luck of thirty clicks
    assert np.abs(courses[True] - 30 * np.linspace(0, 1, 149)).mean() < 0.5 * np.abs(courses[False] - 30 * np.linspace(0, 1, 149)).mean()


def test_at_the_shop_s_midnight_the_budget_is_whole_again(shop):
    config, wall = shop_with(shop, BID, time_zone="Asia/Shanghai"), tiny.Wall()
    with running(config, wall) as client:
        world = client.app.state.champions.current.world
        calendar = Calendar("Asia/Shanghai")
        wall.pass_by(timedelta(microseconds=calendar.local(world.now()) // DAY * DAY + DAY - calendar.local(world.now()) - 60_000_000))
        answer = ask(client)
        click(client, (answer["request_id"], 0))
        assert ask(client)["slate"][0]["campaign"] is None
        wall.pass_by(timedelta(minutes=2))
        pacing_of(client).catch_up()
        assert ask(client)["slate"][0]["campaign"] is not None
        assert tiny.rows(config, "SELECT day FROM spend") == [(calendar.day(world.now()) - 1,)]
        course = pacing_of(client).course()["k1"]
        assert (course.plan[0], course.plan[24], course.spent[-1]) == (0, BID, 0)


def test_a_restart_goes_on_with_what_pacing_had_learnt_and_reads_what_was_shown_since(shop):
    config, wall = shop_with(shop, 100 * BID), tiny.Wall()
    with running(config, wall) as client:
        client.app.state.ticker.stop()
        for turn in range(40):
            click(client, (ask(client, f"u{turn}")["request_id"], 0))
        pacing_of(client).catch_up()
        pacing_of(client).save()
        known, mark = pacing_of(client)._pacer.state(), pacing_of(client)._mark
        ask(client)
        client.app.state.ticker._do = lambda what: None  # killed: nothing is written at the end
    with running(config, wall) as client:
        client.app.state.ticker.stop()
        again = pacing_of(client)
        assert again._mark == mark + 2
        assert again._pacer.demand.seen == pytest.approx(known["seen"])
        assert again._pacer._pending[0] > 0
        assert again.course()["k1"].spent[-1] == 40 * BID
        assert json.loads(tiny.rows(config, "SELECT value FROM meta WHERE key = ?", (KEY,))[0][0])["campaigns"] == ["k1"]


def test_the_record_of_a_decision_says_what_the_money_cost_and_makes_it_again(shop):
    config, wall = shop_with(shop, 100 * BID), tiny.Wall()
    with running(config, wall) as client:
        client.app.state.ticker.stop()
        pacing_of(client).standing = standing = Standing({"k1": (0.0625, 15 / 16)})
        paid = {}
        for turn in range(40):
            answer = ask(client, f"u{turn}")
            rows = tiny.decisions(config, answer["request_id"])
            assert [row["pace"] for row in rows] == [standing.text, None]
            multiplier = Standing.parse(rows[0]["pace"]).multipliers(answer["request_id"])["k1"]
            paid[answer["request_id"]] = {ad["campaign"] is not None for ad in answer["slate"]}
            assert paid[answer["request_id"]] == {multiplier > 0}
            assert {(row["budget_micros"], row["bid_micros"]) for row in rows} <= {(100 * BID, BID), (None, BID)}
    assert 8 <= sum(held == {True} for held in paid.values()) <= 32


def test_traffic_is_counted_from_the_log_and_today_waits_until_it_is_over(shop):
    config, wall = shop_with(shop, 100 * BID), tiny.Wall()
    with running(config, wall) as client:
        client.app.state.ticker.stop()
        pacing, pool = pacing_of(client), client.app.state.champions.current.pool
        at(wall, client, 5)
        before = pacing._traffic.curve_of(pool.campaigns[0])
        for turn in range(60):
            ask(client, f"u{turn}", scene="promotion" if turn % 2 else "brand", k=1)
        pacing.catch_up()
        now = client.app.state.champions.current.world.now()
        weekday = (now // DAY + 3) % 7
        assert (pacing._traffic.curve_of(pool.campaigns[0]).shares == before.shares).all()
        wall.pass_by(timedelta(days=1))
        pacing.catch_up()
        after = pacing._traffic.curve_of(pool.campaigns[0])
        assert after.shares[weekday, 5] > 1.5 * before.shares[weekday, 5]
        assert pacing._traffic._seen.sum(axis=(1, 2)).astype(bool).sum() == 2
        assert pacing._pacer.curves[0].shares.tolist() == after.shares.tolist()


def test_a_new_shop_s_curve_is_what_its_clean_tables_say_and_else_a_shop_s_usual_day(shop):
    config = tiny.settings_in(shop)
    with running(config) as client:
        store = client.app.state.storage.store
        found = prior_of(store, Calendar())
        hour = moment(tiny.rows(config, "SELECT MIN(timestamp) FROM past_impressions")[0][0]).hour
        ratio = (found.shares / TrafficCurve.usual().shares).mean(axis=0)
        assert ratio.argmax() == hour
        with store.transaction() as writer:
            for table in ("past_impressions", "past_events"):
                writer.execute(f"DELETE FROM {table}")
        assert (prior_of(store, Calendar()).shares == TrafficCurve.usual().shares).all()
    usual = TrafficCurve.usual().shares[0]
    assert usual[2:6].sum() < 0.06 < usual[19:22].sum()
    traffic = Traffic(Calendar("Asia/Shanghai"), TrafficCurve.usual())
    traffic.turn(0)
    assert traffic.add([(40, "promotion", "onsite", 3, 0.2), (40, "unheard", "onsite", 3, 0.2)]) == 3
    traffic.turn(5 * DAY)
    assert traffic._seen.sum() == pytest.approx(0.2)
    assert np.argwhere(traffic._seen)[0].tolist()[1:] == [3, 0]  # counted on the day it was told; 40 hours after 1970 it is midnight there


def test_workers_pace_the_same_money(shop):
    config, wall = shop_with(shop, 100 * BID), tiny.Wall()
    with running(config, wall) as one, running(config, wall) as other:
        for client in (one, other):
            client.app.state.ticker.stop()
        for turn in range(30):
            answer = ask(one if turn % 3 else other, f"u{turn}")
            click(other, (answer["request_id"], 0))
        for client in (one, other):
            pacing_of(client).catch_up()
        mine, theirs = (pacing_of(client)._pacer.state() for client in (one, other))
        for name in ("spent", "pending", "met"):
            assert mine[name] == pytest.approx(theirs[name], rel=1e-3)
        assert mine["spent"][0] == 30 * BID


@settings(max_examples=60, deadline=None)
@given(
    budgets=st.lists(st.one_of(st.none(), st.integers(0, 8 * BID)), min_size=1, max_size=3),
    clicks=st.lists(st.tuples(st.integers(0, 29), st.integers(0, 70), st.sampled_from(["click", "conversion"])), max_size=80),
)
def test_no_day_of_a_campaign_ever_costs_more_than_its_budget_and_the_last_click(tmp_path_factory, budgets, clicks):
    """Whatever is clicked, how often, in which order and how late; the budget may be another one tomorrow."""
    database, calendar = Database(tmp_path_factory.mktemp("log") / "log.sqlite"), Calendar("Asia/Shanghai")
    shown = [Shown(number * HOUR, BID + number, "k1", "u", budgets[number % len(budgets)]) for number in range(30)]
    for number, (which, hours, kind) in enumerate(clicks):
        answer = Answer(f"e{number}", f"r{which}", 0, kind, 0, (which + hours) * HOUR, "", shown[which])
        with database.transaction() as writer:
            insert_feedback(writer, [answer], calendar)
    first: dict[int, int] = {}
    for which, hours, _ in clicks:
        first.setdefault(which, (which + hours) * HOUR)
    for day, spent, free in database.read("SELECT day, spent_micros, given_micros FROM spend"):
        of_day = [which for which, time in first.items() if calendar.day(time) == day]
        assert spent + free == sum(BID + which for which in of_day)
        if None not in budgets:
            assert spent < max(*budgets, 1) + BID + 30
    database.close()
