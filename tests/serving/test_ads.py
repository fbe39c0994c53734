import uuid

import numpy as np
import pytest
import tiny_shop as tiny
from service_runs import running

from core.identity import DEVELOPMENT_KEY, pseudonymise
from core.vocabulary import MICROS


def ask(client, **body):
    answer = client.post("/v1/ads", json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


def tell(client, *events):
    answer = client.post("/v1/events", json={"events": list(events)})
    assert answer.status_code == 200, answer.text
    return answer.json()


def view(item, user="u1", **more):
    return {"type": "view", "event_id": uuid.uuid4().hex, "user_id": user, "item_id": item, **more}


def shown_items(client, times=40, **body):
    return {ad["item_id"] for _ in range(times) for ad in ask(client, **body)["slate"]}


def test_an_event_changes_the_next_answer(client):
    def food():
        slates = [ask(client, user_id="newcomer", k=5)["slate"] for _ in range(5)]
        return np.mean([sum(ad["probability"] for ad in slate if ad["category"] == "食品") for slate in slates])

    before = food()
    tell(client, view("p9", "newcomer"), view("p10", "newcomer"))
    assert food() > before + 0.3
    assert any(ad["reason"].startswith("viewed") for ad in ask(client, user_id="newcomer", k=5)["slate"])


def test_a_search_moves_the_slate_towards_what_was_searched(client):
    tell(client, {"type": "search", "event_id": "s1", "user_id": "runner", "query": " 马拉松 "})
    slate = ask(client, user_id="runner", k=5)["slate"]
    by_category = {name: sum(ad["probability"] for ad in slate if ad["category"] == name) for name in tiny.CATEGORIES}
    assert max(by_category, key=by_category.get) == "运动"


def test_a_purchased_item_is_never_shown_again_unless_it_is_consumed(client):
    assert "p0" not in shown_items(client, user_id="u1", k=5)  # bought in the clean tables
    tell(client, view("p5", "u1") | {"type": "purchase", "value_micros": MICROS}, view("p9", "u1") | {"type": "purchase"})
    shown = shown_items(client, user_id="u1", k=5)
    assert "p5" not in shown
    assert "p9" in shown


def test_no_category_fills_more_than_its_share_of_a_slate_while_there_are_others(shop):
    def most(share, candidates=12):
        with running(tiny.settings_in(shop, category_share=share, exploration=0.01, candidates=candidates)) as client:
            tell(client, view("p9", "cook"), view("p10", "cook"), view("p11", "cook"))
            slates = [[ad["category"] for ad in ask(client, user_id="cook", k=4)["slate"]] for _ in range(10)]
            assert all(len(slate) == 4 for slate in slates)
            return max(max(slate.count(name) for name in slate) for slate in slates)

    # without the rule, the eight most probable creatives are the four products of one category
    assert (most(1.0, 8), most(0.5, 8), most(0.25)) == (4, 2, 2)  # of three categories a slate of four has one twice


def test_a_named_brand_is_shown_alone_and_never_stood_in_for(client):
    tell(client, view("p9", "walker"), view("p11", "walker"))  # of brand 1: without a name, that is the brand near them
    named = {name: {ad["brand"] for _ in range(10) for ad in ask(client, user_id="walker", scene="brand", k=5, **body)["slate"]}
             for name, body in {"none": {}, "品牌0": {"brand": "品牌0"}}.items()}  # fmt: skip
    assert named == {"none": {"品牌1"}, "品牌0": {"品牌0"}}
    of_brand = [f"p{row}" for row in range(0, 12, 2)]
    assert ask(client, user_id="walker", scene="brand", brand="品牌0", exclude=of_brand)["slate"] == [], (
        "another brand's items are no answer"
    )


def test_a_brand_that_cannot_be_asked_for_is_refused_with_what_can(client):
    def problem(**body):
        answer = client.post("/v1/ads", json=body)
        assert answer.status_code == 422
        (fault,) = answer.json()["faults"]
        assert fault["field"] == "brand"
        return fault["problem"]

    assert "品牌0" in problem(scene="brand", brand="品牌O")
    assert '"scene": "brand"' in problem(scene="product", brand="品牌0")


def test_what_is_out_of_stock_or_excluded_is_never_shown(client):
    shown = shown_items(client, user_id="u1", k=5, exclude=["p8", "p1", "nowhere"])
    assert not shown & {"p3", "p8", "p1"}
    assert ask(client, user_id="u1", exclude=["p8", "nowhere"])["unknown_items"] == ["nowhere"]


def test_a_slate_shows_each_item_once_and_its_propensities_are_probabilities(client):
    for _ in range(20):
        answer = ask(client, user_id="u1", k=5)
        assert [ad["position"] for ad in answer["slate"]] == [0, 1, 2, 3, 4]
        assert len({ad["item_id"] for ad in answer["slate"]}) == 5
        floor = 0.2 / answer["candidates"]
        assert all(floor - 1e-12 <= ad["propensity"] <= 1 for ad in answer["slate"])
        assert all(0 < ad["marginal"] <= 1 for ad in answer["slate"][:3])
        assert all(ad["marginal"] is None for ad in answer["slate"][3:])
        assert answer["slate"][0]["marginal"] == pytest.approx(answer["slate"][0]["propensity"])
        assert all(ad["ecpm_micros"] == pytest.approx(1000 * ad["p_click"] * ad["bid_micros"], abs=1) for ad in answer["slate"])


def test_the_top_position_is_drawn_as_often_as_its_propensity_says(client):
    drawn = [ask(client, user_id="u1", k=1)["slate"][0] for _ in range(120)]
    propensity = {ad["creative_id"]: ad["propensity"] for ad in drawn}
    best = max(propensity, key=propensity.get)
    share, expected = np.mean([ad["creative_id"] == best for ad in drawn]), propensity[best]
    assert abs(share - expected) <= 4 * np.sqrt(expected * (1 - expected) / len(drawn))


def test_the_decision_is_on_disk_when_it_is_answered(shop):
    settings = tiny.settings_in(shop)
    with running(settings) as client:
        answer = ask(client, user_id="u1", k=2, scene="promotion", channel="social")
        found = tiny.decisions(settings, answer["request_id"])
    assert [row["creative_id"] for row in found] == [ad["creative_id"] for ad in answer["slate"]]
    for row, ad in zip(found, answer["slate"], strict=True):
        for name in ("item_id", "propensity", "p_click", "p_convert", "bid_micros", "ecpm_micros"):
            assert row[name] == ad[name], name
        assert row["request_id"] == answer["request_id"]
        assert row["user_id"] == pseudonymise(["u1"], DEVELOPMENT_KEY)[0]
        assert (row["scene"], row["channel"], row["consent"], row["key_fingerprint"]) == ("promotion", "social", 1, "4e5c3809")
        assert row["policy_version"] == "epsilon-greedy-0.2"
        assert row["creative_id"] in row["candidates"]


def test_every_commit_is_synced_to_disk(shop):
    from serving.database import Database

    database = Database(shop / "live.sqlite")
    assert database.read("PRAGMA synchronous") == [(2,)]  # FULL
    assert database.read("PRAGMA journal_mode") == [("wal",)]
    database.close()


def test_a_promotion_carries_its_campaign_and_its_dates(client):
    slate = ask(client, user_id="u1", scene="promotion", k=3, cards=True)["slate"]
    assert {ad["category"] for ad in slate} == {"运动"}
    assert {ad["campaign"]["name"] for ad in slate} == {"运动节"}
    assert slate[0]["campaign"]["start"].startswith("2026-10-31")
    assert all(ad["card_svg"].startswith("<svg") and "10月31日–11月11日" in ad["card_svg"] for ad in slate)


def test_a_campaign_pays_for_clicks_and_stops_when_its_budget_is_spent(shop):
    tiny.write_pool(shop / "models" / "pool", budget=3 * MICROS)  # a click is worth 2
    settings = tiny.settings_in(shop)
    with running(settings) as client:
        for number in range(2):
            answer = ask(client, user_id="u1", scene="promotion", k=1)
            assert answer["slate"][0]["campaign"]["campaign_id"] == "k1"
            told = {"type": "click", "request_id": answer["request_id"], "position": 0}
            tell(client, told | {"event_id": f"click-{number}"}, told | {"event_id": f"again-{number}"})
        assert ask(client, user_id="u1", scene="promotion", k=1)["slate"][0]["campaign"] is None
        assert tiny.rows(settings, "SELECT spent_micros FROM spend") == [(4 * MICROS,)]
        assert tiny.rows(settings, "SELECT budget_left_micros FROM decisions ORDER BY seq") == [(3 * MICROS,), (MICROS,), (None,)]


def test_an_anonymous_history_is_read_and_not_stored(shop):
    settings = tiny.settings_in(shop)
    with running(settings) as client:
        history = [{"type": "view", "item_id": "p8"}, {"type": "cart", "item_id": "p9"}, {"type": "view", "item_id": "gone"}]
        answer = ask(client, history=history, k=3)
        nobody = ask(client, k=3)
    assert answer["unknown_items"] == ["gone"]
    assert max(answer["slate"], key=lambda ad: ad["probability"])["category"] == "食品"
    assert {
        row for (row,) in tiny.rows(settings, "SELECT replayable FROM decisions WHERE request_id = '" + answer["request_id"] + "'")
    } == {0}
    assert {
        row for (row,) in tiny.rows(settings, "SELECT replayable FROM decisions WHERE request_id = '" + nobody["request_id"] + "'")
    } == {1}
    assert tiny.rows(settings, "SELECT COUNT(*) FROM events") == [(0,)]


def test_without_consent_nobody_is_named_and_nothing_is_looked_at(shop):
    settings = tiny.settings_in(shop)
    with running(settings) as client:
        assert "p0" in shown_items(client, times=60, user_id="u1", k=5, consent=False)  # the purchase is not looked at
    users = {user for (user,) in tiny.rows(settings, "SELECT user_id FROM decisions")}
    assert pseudonymise(["u1"], DEVELOPMENT_KEY)[0] not in users
    assert len(users) == 60


def test_no_raw_user_id_is_stored_or_logged(shop, caplog):
    caplog.set_level("DEBUG")
    settings = tiny.settings_in(shop)
    with running(settings) as client:
        ask(client, user_id="very-private-shopper")
        tell(client, view("p1", "very-private-shopper"))
        client.post("/v1/ads", json={"user_id": "very-private-shopper", "k": 99})
        pages = client.get("/metrics").text
    stored = b"".join(path.read_bytes() for path in settings.database.parent.iterdir()) + tiny.everything(settings)
    assert b"very-private-shopper" not in stored
    assert "very-private-shopper" not in caplog.text + pages


def test_a_replayed_request_draws_the_same_slate(shop):
    from models.decider import Decider
    from models.history import History
    from models.pool import Pool
    from models.ranker import RankerBundle
    from models.recommender import RecommenderBundle

    recommender = RecommenderBundle.load(shop / "models" / "recommender")
    decider = Decider(recommender, RankerBundle(recommender, reason="none"), Pool.load(shop / "models" / "pool"))
    settings = tiny.settings_in(shop)
    with running(settings) as client:
        answer = ask(client, k=5)
    from serving.clock import moment

    ((time,),) = tiny.rows(settings, "SELECT DISTINCT timestamp FROM decisions")
    rng = np.random.default_rng(uuid.UUID(answer["request_id"]).int)
    again = decider.decide(History.empty(), scene="product", channel="onsite", k=5, now=moment(time), exploration=0.2, rng=rng, size=12)
    assert [choice.creative_id for choice in again.choices] == [ad["creative_id"] for ad in answer["slate"]]
    assert [choice.propensity for choice in again.choices] == [ad["propensity"] for ad in answer["slate"]]
