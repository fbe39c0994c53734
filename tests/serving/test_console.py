"""The console's data: what is blocked stays unseen, what is previewed leaves no trace, and the board counts the log."""

import dataclasses
import json
from datetime import timedelta

import pytest
import tiny_shop as tiny
from service_runs import running
from tiny_ranker import train_ranker

from core.files import write_json
from serving.decision_log import DecisionLog
from serving.reviews import Reviews, StaleReviewsError
from serving.storage import open_store
from serving.tokens import Tokens

SERVE, ADMIN = "s" * 24, "a" * 24
VIEWED = [{"type": "view", "item_id": "p4"}]


def slates(client, **body):
    answer = client.post("/v1/console/slates", json={"history": VIEWED, "k": 2} | body)
    assert answer.status_code == 200, answer.text
    return answer.json()


def shown(client, times=1, **body) -> set[str]:
    return {
        ad["creative_id"] for _ in range(times) for held in slates(client, **body)["slates"] for ad in held["answer"]["slate"]
    }  # fmt: skip


def review(client, creative, verdict="blocked", **body):
    return client.post("/v1/console/reviews", json={"creative_id": creative, "verdict": verdict, **body})


def stored(settings, what="*", table="decisions"):
    return tiny.rows(settings, f"SELECT {what} FROM {table} ORDER BY seq")


def test_a_blocked_creative_is_never_served_again_in_any_process_nor_after_a_restart(shop):
    settings = tiny.settings_in(shop, exploration=0.9)
    with running(settings) as client, running(settings) as other:
        before = shown(client, times=12)
        gone = sorted(before)[0]
        done = review(client, gone, note="夸大").json()
        assert done["changed"]
        assert done["review"]["text"]
        assert len(before) > 12
        for asked in (client, other):
            assert gone not in shown(asked, times=12)
        ads = client.post("/v1/ads", json={"history": VIEWED, "channel": gone.split("-")[3], "k": 5}).json()
        assert gone not in {ad["creative_id"] for ad in ads["slate"]}
    with running(settings) as client:
        assert gone not in shown(client, times=12)
        assert review(client, gone, "allowed").json()["changed"]
        assert gone in shown(client, times=25)
    candidates = [(json.loads(held), version) for held, version in stored(settings, "candidates, retrieval_version")]
    under = [held for held, version in candidates if version.endswith("/reviews-1")]
    assert under
    assert all(gone not in held for held in under)
    assert any(gone in held for held, version in candidates if "/reviews-" not in version)
    assert {version.rpartition("/")[2] for _, version in candidates} == {"reviews-1", "reviews-2", candidates[0][1].rpartition("/")[2]}


def test_when_all_creatives_of_an_item_are_blocked_the_next_item_takes_its_place(shop):
    with running(tiny.settings_in(shop)) as client:
        item = "p4"
        for which in range(2):
            for scene in ("promotion", "product"):
                assert review(client, f"c-{item}-{scene}-onsite-{which}").status_code == 200
        answer = client.post("/v1/ads", json={"history": [{"type": "view", "item_id": item}], "k": 5}).json()
        assert len(answer["slate"]) == 5
        assert item not in {ad["item_id"] for ad in answer["slate"]}
        client.post("/v1/console/reviews", json={"creative_id": f"c-{item}-product-onsite-1", "verdict": "allowed"})
        names = {
            ad["creative_id"]
            for _ in range(8)
            for ad in client.post("/v1/ads", json={"history": [{"type": "view", "item_id": item}], "k": 5}).json()["slate"]
        }
        assert f"c-{item}-product-onsite-1" in names
        assert f"c-{item}-product-onsite-0" not in names


def test_a_slate_that_was_decided_before_a_review_is_not_stored_after_it(shop, monkeypatch):
    settings = tiny.settings_in(shop)
    write, turns = DecisionLog.write, []
    with running(settings) as client:
        wanted = next(iter(shown(client, k=1)))

        def reviewed_meanwhile(log, records, *, reviewed=0):
            if not turns:
                turns.append(reviewed)
                database = open_store(settings)
                Reviews(database).record(wanted, "blocked", note="", timestamp=1, request_id="r", reviewer="open")
                database.close()
            write(log, records, reviewed=reviewed)

        monkeypatch.setattr(DecisionLog, "write", reviewed_meanwhile)
        assert client.post("/v1/ads", json={"history": VIEWED, "k": 5}).status_code == 200
    assert turns == [0]
    assert "/reviews-1" in stored(settings, "retrieval_version")[-1][0]
    database = open_store(settings)
    with pytest.raises(StaleReviewsError):
        write(DecisionLog(database), [], reviewed=0)
    database.close()


def test_the_trail_says_who_blocked_what_and_only_grows(shop):
    tokens = Tokens.of_environment({"ADLOOM_TOKENS_SERVE": SERVE, "ADLOOM_TOKENS_ADMIN": ADMIN})
    with running(dataclasses.replace(tiny.settings_in(shop), tokens=tokens)) as client:
        name = "c-p0-product-onsite-0"
        assert review(client, name).status_code == 401
        client.headers["authorization"] = f"Bearer {SERVE}"
        assert review(client, name).status_code == 403
        assert client.get("/v1/console/board").status_code == 403
        client.headers["authorization"] = f"Bearer {ADMIN}"
        assert review(client, name, note="no proof").json()["changed"]
        assert not review(client, name, note="again").json()["changed"]
        assert not review(client, "c-p1-product-onsite-0", "allowed").json()["changed"]
        assert review(client, "nothing").json()["faults"][0]["field"] == "creative_id"
        assert review(client, name, "allowed").json()["changed"]
        lines = client.get("/v1/console/reviews").json()["reviews"]
        assert [(line["seq"], line["verdict"], line["note"]) for line in lines] == [(2, "allowed", ""), (1, "blocked", "no proof")]
        assert {len(line["reviewer"]) for line in lines} == {8}
        assert ADMIN[:8] not in {line["reviewer"] for line in lines}
        assert client.get("/console/").status_code == 200  # the page itself holds nothing


def test_all_channels_are_chosen_for_one_shopper_at_one_moment_and_are_in_the_log(shop):
    settings = tiny.settings_in(shop)
    with running(settings) as client:
        who = client.get("/v1/console/shoppers").json()["shoppers"]
        assert [len(one["shopper"]) for one in who] in ([32], [])  # u1 has two events: fewer than worth picking
        answer = slates(client, history=[], user_id="u1")
        assert answer["recorded"]
        assert [held["channel"] for held in answer["slates"]] == ["onsite", "social", "search"]
        assert [deed["type"] for deed in answer["history"]] == ["purchase", "view"]
        again = slates(client, shopper=answer["shopper"], history=[{"type": "search", "query": "马拉松"}])
        assert [deed["type"] for deed in again["history"]] == ["purchase", "view", "search"]
        assert again["shopper"] == answer["shopper"] != "u1"
        client.post(
            "/v1/events", json={"events": [{"type": "view", "event_id": f"v{n}", "user_id": "u9", "item_id": "p9"} for n in range(3)]}
        )
        seen = client.get("/v1/console/shoppers").json()["shoppers"]
        assert (seen[0]["events"], seen[0]["categories"]) == (3, ["食品"])
    rows = stored(settings, "user_id, channel, replayable, timestamp")
    assert {row[0] for row in rows} == {answer["shopper"]}
    assert [row[2] for row in rows] == [1] * 6 + [0] * 6  # the search is stored nowhere


def test_the_reason_names_the_event_that_carried_the_ad(shop):
    with running(tiny.settings_in(shop)) as client:
        answer = slates(client, history=[{"type": "cart", "item_id": "p4"}], k=5)
        whys = {ad["item_id"]: ad["why"] for held in answer["slates"] for ad in held["answer"]["slate"]}
        assert whys["p4"]["kind"] == "same_item"
        assert (whys["p5"]["kind"], whys["p5"]["deed"], whys["p5"]["title"]) == ("same_kind", "cart", "手机商品4")
        assert whys["p5"]["timestamp"] == answer["history"][0]["timestamp"]
        reasons = {ad["item_id"]: ad["reason"] for held in answer["slates"] for ad in held["answer"]["slate"]}
        assert reasons["p5"] == "put in the cart 手机商品4, a product of the same kind"


def test_a_preview_stores_nothing_and_real_shoppers_are_only_ever_previewed(shop):
    settings = tiny.settings_in(shop)
    with running(settings) as client:
        answer = slates(client, preview=True)
        assert not answer["recorded"]
        told = {"type": "click", "event_id": "c", "request_id": answer["slates"][0]["answer"]["request_id"], "position": 0}
        assert client.post("/v1/events", json={"events": [told]}).status_code == 422
        assert client.get("/v1/console/board").json()["exploration"]["positions"] == 0
    lineage = json.loads(settings.data.lineage.read_text())
    write_json(lineage | {"synthetic": False}, settings.data.lineage)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ADLOOM_USER_KEY", "adloom-development-key-for-synthetic-shoppers-only")
        with running(settings) as client:
            assert not client.get("/v1/console/world").json()["synthetic"]
            assert not slates(client, history=[], user_id="u1")["recorded"]
    assert stored(settings) == []


def test_the_board_counts_impressions_clicks_conversions_and_spend(shop):
    settings, wall = tiny.settings_in(shop), tiny.Wall()
    with running(settings, wall) as client:
        answer = slates(client, scene="promotion", history=[{"type": "view", "item_id": "p0"}], k=3)
        held = answer["slates"][1]["answer"]
        assert held["slate"][0]["campaign"]["campaign_id"] == "k1"
        told = [{"type": kind, "event_id": f"{kind}{n}", "request_id": held["request_id"], "position": n} for kind, n in
                (("click", 0), ("click", 1), ("conversion", 1))]  # fmt: skip
        told.append(told[0] | {"event_id": "twice"})
        assert client.post("/v1/events", json={"events": told}).status_code == 200
        board = client.get("/v1/console/board").json()
        filled = sum(len(one["answer"]["slate"]) for one in answer["slates"])
        assert (board["ctr"]["successes"], board["ctr"]["trials"]) == (2, filled)
        assert (board["cvr"]["successes"], board["cvr"]["trials"]) == (1, 2)
        assert (board["channels"]["social"]["successes"], board["channels"]["onsite"]["successes"]) == (2, 0)
        assert board["ctr"]["low"] < board["ctr"]["value"] < board["ctr"]["high"]
        assert board["posterior"] == "beta"
        assert board["learnt"] is None
        (campaign,) = board["campaigns"]
        assert campaign["spent_micros"] == 2 * campaign["bid_micros"]
        assert 0 < campaign["planned_micros"] < campaign["daily_budget_micros"]
        plan = campaign["plan"]
        assert (board["plan"], len(plan), plan[0], plan[24]) == ("traffic", 25, 0, campaign["daily_budget_micros"])
        assert plan == sorted(plan)
        assert plan[4] < 0.1 * plan[24]  # it follows the traffic, and not the time
        assert (campaign["given_micros"], campaign["short"]) == (0, False)
        client.app.state.champions.current.pacing.catch_up()
        (campaign,) = client.get("/v1/console/board").json()["campaigns"]
        assert campaign["course"][-1] == campaign["spent_micros"]
        clicked = next(one for one in board["creatives"] if one["creative_id"] == held["slate"][0]["creative_id"])
        assert (clicked["impressions"], clicked["clicks"]) == (1, 1)
        assert clicked["mean"] == pytest.approx(1.5 / 2)  # Beta(½ + 1, ½ + 0)
        assert client.get("/v1/console/board").json()["ctr"] == board["ctr"]  # read on, not anew
        wall.pass_by(timedelta(days=1))
        assert client.get("/v1/console/board").json()["ctr"]["trials"] == 0
        assert client.get("/v1/console/board", params={"days": 2}).json()["ctr"]["trials"] == filled


def test_the_policy_s_own_posterior_is_shown_from_the_first_impression_on(shop):
    train_ranker(shop)
    with running(tiny.settings_in(shop, policy="linear_thompson")) as client:
        held = slates(client)["slates"][0]["answer"]
        told = {"type": "click", "event_id": "c", "request_id": held["request_id"], "position": 0}
        client.post("/v1/events", json={"events": [told]})
        client.app.state.champions.current.learning.catch_up()
        board = client.get("/v1/console/board").json()
        assert (board["posterior"], board["learnt"]) == ("linear_thompson", board["impressions"])
        assert board["impressions"] == board["ctr"]["trials"] > 1
        one = next(one for one in board["creatives"] if one["creative_id"] == held["slate"][0]["creative_id"])
        assert one["low"] < one["mean"] < one["high"]
        assert one["mean"] != pytest.approx(0.75)


def test_creatives_and_products_are_found_by_their_words(shop):
    with running(tiny.settings_in(shop)) as client:
        found = client.get("/v1/console/creatives", params={"query": "手机 甲", "limit": 3}).json()
        assert (len(found["creatives"]), found["total"]) == (3, 4 * 12)
        assert client.get("/v1/console/creatives", params={"only": "blocked"}).json()["total"] == 0
        review(client, "c-p9-brand-search-1")
        assert [one["creative_id"] for one in client.get("/v1/console/creatives", params={"only": "blocked"}).json()["creatives"]] == [
            "c-p9-brand-search-1"
        ]
        assert client.get("/v1/console/creatives").json()["creatives"][0]["blocked"]
        assert len({one["category"] for one in client.get("/v1/console/products", params={"limit": 3}).json()["products"]}) == 3
        assert [one["item_id"] for one in client.get("/v1/console/products", params={"query": "商品7"}).json()["products"]] == ["p7"]


def test_slates_of_one_brand_hold_its_items_alone_and_an_unknown_brand_is_told(client):
    brands = client.get("/v1/console/world").json()["brands"]
    assert brands == sorted(brands)
    found = slates(client, scene="brand", brand=brands[0])
    assert {ad["brand"] for held in found["slates"] for ad in held["answer"]["slate"]} == {brands[0]}
    refused = client.post("/v1/console/slates", json={"scene": "brand", "brand": brands[0] + "?"})
    assert refused.status_code == 422
    assert brands[0] in refused.text
