import uuid
from datetime import timedelta

import pandas as pd
import pytest
import tiny_shop as tiny
from service_runs import running

from core.columns import Columns as C
from core.errors import ServiceError
from core.files import read_table
from core.identity import DEVELOPMENT_KEY, pseudonymise
from core.schemas import check_clean
from models.features import responses as logged_responses
from models.history import histories, micros
from serving.database import Database
from serving.export import closed_impressions, new_events, served_creatives, service_now
from serving.state import OnlineState
from serving.storage import open_store

WINDOW = timedelta(days=3)


def ask(client, **body):
    return client.post("/v1/ads", json={"user_id": "u1", "k": 2} | body).json()


def tell(client, *events):
    return client.post("/v1/events", json={"events": list(events)})


def view(name, item="p5", **more):
    return {"type": "view", "event_id": name, "user_id": "u1", "item_id": item, **more}


def test_the_same_event_twice_counts_once(client):
    assert tell(client, view("e1"), view("e2")).json() == {"accepted": 2, "duplicates": 0}
    assert tell(client, view("e1"), view("e3"), view("e3")).json() == {"accepted": 1, "duplicates": 2}


def test_an_id_that_stands_for_another_event_is_a_conflict_and_nothing_is_stored(client):
    tell(client, view("e1"))
    answer = tell(client, view("e9"), view("e1", "p6"))
    assert answer.status_code == 409
    assert answer.json()["faults"][0]["field"] == "events.1.event_id"
    assert tell(client, view("e9")).json() == {"accepted": 1, "duplicates": 0}


def test_a_click_under_an_id_of_a_view_is_a_conflict(client):
    tell(client, view("e1"))
    click = {"type": "click", "event_id": "e1", "request_id": ask(client)["request_id"], "position": 0}
    assert tell(client, click).status_code == 409


@pytest.mark.parametrize(
    ("event", "field", "problem"),
    [
        (view("e", "p99"), "events.0.item_id", "no item 'p99' in the catalogue"),
        (view("e", timestamp="2026-10-01T00:00:00Z"), "events.0.timestamp", "late_event_days, 7"),
        (view("e", timestamp="2026-12-01T00:00:00Z"), "events.0.timestamp", "in the future"),
        (view("e", timestamp="2026-11-01T00:00:00"), "events.0.timestamp", "timezone"),
        (view("e") | {"user_id": "\u3000 "}, "events.0.user_id", "visible"),
        (view("e") | {"user_id": ""}, "events.0.user_id", "at least 1 character"),
        (view("e", value_micros=5), "events.0.value_micros", "only a purchase"),
        (view("e", basket_id="b"), "events.0.basket_id", "only a purchase"),
        (view("e") | {"type": "purchase", "value_micros": -1}, "events.0.value_micros", "greater than or equal to 0"),
        (view("e", colour="red"), "events.0.colour", "Extra inputs"),
        ({"type": "view", "event_id": "e", "user_id": "u1"}, "events.0.item_id", "required"),
        ({"type": "search", "event_id": "e", "user_id": "u1"}, "events.0.query", "required"),
        ({"type": "glance", "event_id": "e"}, "events.0", "does not match any of the expected tags"),
        ({"type": "click", "event_id": "e", "request_id": "nowhere", "position": 0}, "events.0.request_id", "no decision 'nowhere'"),
    ],
)
def test_a_wrong_event_is_refused_with_its_field_named(client, event, field, problem):
    answer = tell(client, event)
    assert answer.status_code == 422
    assert answer.json()["faults"][0]["field"] == field
    assert problem in answer.json()["faults"][0]["problem"]
    assert tell(client, view("good")).json()["accepted"] == 1


def test_every_wrong_field_is_named_at_once(client):
    answer = tell(client, view("a", "p99"), view("b"), view("c", timestamp="2026-12-01T00:00:00Z"))
    assert [fault["field"] for fault in answer.json()["faults"]] == ["events.0.item_id", "events.2.timestamp"]


def test_a_position_that_the_slate_does_not_have_is_refused(client):
    shown = ask(client)["request_id"]
    answer = tell(client, {"type": "click", "event_id": "c", "request_id": shown, "position": 4})
    assert "which has 2" in answer.json()["faults"][0]["problem"]


def test_feedback_after_its_window_is_refused(shop):
    wall = tiny.Wall()
    with running(tiny.settings_in(shop), wall) as client:
        shown = ask(client)["request_id"]
        told = {"type": "click", "request_id": shown, "position": 0}
        wall.pass_by(WINDOW - timedelta(minutes=1))
        assert tell(client, told | {"event_id": "in time"}).status_code == 200
        wall.pass_by(timedelta(minutes=2))
        answer = tell(client, told | {"event_id": "too late"})
        assert answer.status_code == 422
        assert "too late" in answer.json()["message"]


def test_feedback_before_the_ad_was_shown_is_refused(client):
    told = {"type": "click", "event_id": "c", "request_id": ask(client)["request_id"], "position": 0, "timestamp": "2026-11-01T01:00:00Z"}
    assert "before the ad was shown" in tell(client, told).json()["message"]


def test_a_restart_loses_nothing(shop):
    settings, wall = tiny.settings_in(shop), tiny.Wall()
    with running(settings, wall) as client:
        tell(client, view("e1", "p9"))
        shown = ask(client)
    with running(settings, wall) as client:
        assert tell(client, view("e1", "p9")).json() == {"accepted": 0, "duplicates": 1}
        assert tell(client, {"type": "click", "event_id": "c", "request_id": shown["request_id"], "position": 1}).status_code == 200
        assert any("viewed" in ad["reason"] for ad in ask(client, k=5)["slate"])


def test_the_market_s_time_goes_on_from_the_data_s_end_and_never_back(shop):
    settings, wall = tiny.settings_in(shop), tiny.Wall()
    with running(settings, wall) as client:
        assert client.get("/readyz").json()["now"].startswith("2026-11-01T23:00")
    wall.pass_by(timedelta(days=2))
    with running(settings, wall) as client:
        assert client.get("/readyz").json()["now"].startswith("2026-11-03T23:00")
    assert service_now(settings.log, wall).isoformat().startswith("2026-11-03T23:00")


def test_online_histories_are_those_of_the_offline_path(shop):
    settings, wall = tiny.settings_in(shop), tiny.Wall()
    user = pseudonymise(["u1"], DEVELOPMENT_KEY)[0]
    with running(settings, wall) as client:
        tell(client, view("e1", "p9"), {"type": "search", "event_id": "e2", "user_id": "u1", "query": " 马拉松\n鞋 "})
        tell(client, view("late", "p6", timestamp=(tiny.DATA_END - timedelta(hours=30)).isoformat()))
    now = int(micros(pd.Timestamp(tiny.DATA_END) + pd.Timedelta(days=1))[0])
    both = pd.concat([read_table(settings.data.events), new_events(settings.log).rows])
    offline = histories(both, [user], pd.Timestamp(now, unit="us", tz="UTC"))[0]
    database = open_store(settings)
    online = OnlineState(database, max_events=100).history(user, now)
    database.close()
    assert online.item_ids == offline.item_ids == ("p0", "p4", "p6", "p9", "")
    assert online.queries[-1] == offline.queries[-1] == "马拉松 鞋"
    assert online.event_types == offline.event_types
    assert online.timestamps.tolist() == offline.timestamps.tolist()


def test_online_answers_to_ads_are_those_of_the_offline_path(shop):
    settings, wall = tiny.settings_in(shop), tiny.Wall()
    user = pseudonymise(["u1"], DEVELOPMENT_KEY)[0]
    with running(settings, wall) as client:
        shown = ask(client)
        tell(client, {"type": "click", "event_id": "c", "request_id": shown["request_id"], "position": 1})
        wall.pass_by(WINDOW + timedelta(minutes=2))
    until = service_now(settings.log, wall)
    live = closed_impressions(settings.log, until, window=WINDOW).rows
    impressions = pd.concat([read_table(settings.data.impressions), live])
    texts = dict(zip(*(served_creatives(settings.log)[name] for name in (C.CREATIVE, C.TEXT)), strict=True))
    now = int(micros(until)[0])
    offline = logged_responses(impressions, texts | {"h1": "甲", "h2": "乙"}, [user], micros(until))[0]
    database = open_store(settings)
    online = OnlineState(database, max_events=100).responses(user, now).before(now)
    database.close()
    assert online.clicks.tolist() == offline.clicks.tolist() == [1, 0, 0, 1]
    for name in ("item_ids", "texts", "channels"):
        assert getattr(online, name) == getattr(offline, name)
    assert online.timestamps.tolist() == offline.timestamps.tolist()


def test_other_clean_tables_replace_the_old_ones_and_live_events_count_once(shop):
    settings, wall = tiny.settings_in(shop), tiny.Wall()
    user = pseudonymise(["u1"], DEVELOPMENT_KEY)[0]
    with running(settings, wall) as client:
        tell(client, view("e1", "p9"))
    tiny.write_clean(shop / "clean", "two")
    fed_back = pd.concat([read_table(settings.data.events), new_events(settings.log).rows])
    fed_back.to_parquet(settings.data.events, index=False)
    with running(settings, wall):
        pass
    database = open_store(settings)
    history = OnlineState(database, max_events=100).history(user, int(micros(service_now(settings.log, wall))[0]))
    database.close()
    assert history.item_ids == ("p0", "p4", "p9")


def test_closed_windows_are_exported_once_each_under_the_data_contract(shop):
    settings, wall = tiny.settings_in(shop), tiny.Wall()
    with running(settings, wall) as client:
        first = ask(client)
        tell(client, {"type": "click", "event_id": "c", "request_id": first["request_id"], "position": 1})
        bought = {"type": "conversion", "event_id": "b", "request_id": first["request_id"], "position": 1, "value_micros": 70}
        tell(client, bought)
        ask(client, user_id=None, history=[{"type": "view", "item_id": "p8"}])
        wall.pass_by(timedelta(days=1))
        second = ask(client)
        assert len(closed_impressions(settings.log, service_now(settings.log, wall), window=WINDOW).rows) == 0
        wall.pass_by(timedelta(days=2, hours=1))
        exported = closed_impressions(settings.log, service_now(settings.log, wall), window=WINDOW)
        check_clean("impressions", exported.rows)
        assert exported.rows[C.REQUEST].tolist() == [first["request_id"]] * 2
        assert exported.rows[C.CLICK].tolist() == [False, True]
        assert exported.rows[C.CONVERSION].tolist() == [False, True]
        assert exported.rows[C.VALUE].tolist() == [0, 70]
        assert (exported.left_out, exported.key_fingerprint) == (2, "4e5c3809")
        wall.pass_by(timedelta(days=2))
        after = closed_impressions(settings.log, service_now(settings.log, wall), window=WINDOW, after=exported.watermark)
        assert after.rows[C.REQUEST].unique().tolist() == [second["request_id"]]
        again = closed_impressions(settings.log, service_now(settings.log, wall), window=WINDOW, after=after.watermark)
        assert (len(again.rows), again.watermark) == (0, after.watermark)


def test_new_events_are_exported_once_each_under_the_data_contract(shop):
    settings = tiny.settings_in(shop)
    with running(settings) as client:
        tell(client, view("e1"), {"type": "search", "event_id": "e2", "user_id": "u2", "query": "手机壳"})
        first = new_events(settings.log)
        tell(client, view("e3"))
        second = new_events(settings.log, first.watermark)
    check_clean("events", first.rows)
    assert first.rows[C.EVENT].tolist() == ["e1", "e2"]
    assert second.rows[C.EVENT].tolist() == ["e3"]
    assert len(new_events(settings.log, second.watermark).rows) == 0


def test_a_service_that_never_ran_has_nothing_to_export(tmp_path):
    assert len(new_events(tmp_path / "none.sqlite").rows) == 0
    found = closed_impressions(tmp_path / "none.sqlite", pd.Timestamp(tiny.DATA_END).to_pydatetime(), window=WINDOW)
    assert (len(found.rows), found.watermark, found.key_fingerprint) == (0, 0, None)


def test_a_damaged_database_is_told_by_name(tmp_path):
    (tmp_path / "live.sqlite").write_bytes(b"this is no database" * 100)
    with pytest.raises(ServiceError, match="cannot be opened"):
        Database(tmp_path / "live.sqlite")
    with pytest.raises(ServiceError, match="cannot be read"):
        new_events(tmp_path / "live.sqlite")


def test_a_body_of_too_many_events_or_bytes_is_refused(client):
    many = [view(uuid.uuid4().hex) for _ in range(501)]
    assert tell(client, *many).status_code == 422
    assert client.post("/v1/events", content=b"x" * 300_000).status_code == 413
    assert client.post("/v1/events", content=(b"x" * 1000 for _ in range(300))).json()["code"] == "too_large"
