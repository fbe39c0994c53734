"""What is done ahead, or without a detour, is what would be done on the way."""

import json
import logging

import numpy as np
import pytest
import tiny_shop as tiny
from service_runs import running
from test_replay import trained_shop  # noqa: F401

from core.identity import DEVELOPMENT_KEY, pseudonymise
from models.encoder import TextEncoder
from serving.api import Ad, AdsAnswer, CampaignAnswer, Why
from serving.warm import frequent_queries

BODIES = (
    {"user_id": "u1", "k": 5},
    {"user_id": "u1", "scene": "promotion", "channel": "social", "cards": True, "exclude": ["p1", "nowhere"]},
    {"history": [{"type": "search", "query": "马拉松"}, {"type": "view", "item_id": "p9"}, {"type": "cart", "item_id": "gone"}], "k": 4},
    {"consent": False, "scene": "brand", "channel": "search"},
)


@pytest.mark.parametrize("body", BODIES)
def test_what_is_sent_is_what_the_model_of_the_answer_says(client, body):
    sent = client.post("/v1/ads", json=body).json()
    assert json.loads(AdsAnswer.model_validate(sent).model_dump_json()) == sent
    assert list(sent) == list(AdsAnswer.model_fields)
    assert sent["slate"]
    for ad in sent["slate"]:
        assert list(ad) == list(Ad.model_fields)
        assert list(ad["why"]) == list(Why.model_fields)
        assert ad["campaign"] is None or list(ad["campaign"]) == list(CampaignAnswer.model_fields)
    if body.get("scene") == "promotion":
        assert all(ad["campaign"]["start"].endswith("Z") and ad["card_svg"].startswith("<svg") for ad in sent["slate"])


def search(event, query, user="u1"):
    return {"type": "search", "event_id": event, "user_id": user, "query": query}


def test_the_most_frequent_queries_come_first(client):
    told = [search("e1", "马拉松"), search("e2", "面霜"), search("e3", "马拉松", "u2")]
    store = client.app.state.storage.store
    before = dict(store.read("SELECT query, COUNT(*) FROM past_events WHERE query IS NOT NULL GROUP BY query"))
    assert client.post("/v1/events", json={"events": told}).status_code == 200
    counts = {name: before.get(name, 0) + ["马拉松", "面霜", "马拉松"].count(name) for name in {*before, "马拉松", "面霜"}}
    expected = sorted(counts, key=lambda name: (-counts[name], name.encode()))
    assert frequent_queries(store, 100) == expected
    assert frequent_queries(store, 1) == expected[:1]


def test_a_query_of_the_log_is_encoded_before_its_shopper_asks(trained_shop, monkeypatch):  # noqa: F811
    settings, wall = tiny.settings_in(trained_shop), tiny.Wall()
    with running(settings, wall) as client:
        assert client.post("/v1/events", json={"events": [search("e1", "马拉松")]}).status_code == 200
    with running(settings, wall) as client:
        encoder = client.app.state.champions.current.recommender.encoder
        assert "马拉松" in encoder._known

        def never(self, texts):
            raise AssertionError(f"{texts} meet the network")

        monkeypatch.setattr(TextEncoder, "_through_network", never)
        assert client.post("/v1/ads", json={"user_id": "u1"}).json()["slate"]


def test_without_the_encoder_s_network_the_service_starts_all_the_same(shop, caplog, monkeypatch):
    settings, wall = tiny.settings_in(shop), tiny.Wall()
    monkeypatch.setattr("serving.model_set.ModelSet.learn", lambda self, queries: None)
    with running(settings, wall) as client:
        client.post("/v1/events", json={"events": [search("e1", "nobody has searched for this before")]})
    with caplog.at_level(logging.WARNING, logger="serving.model_set"), running(settings, wall) as client:
        assert client.post("/v1/ads", json={"user_id": "u2"}).status_code == 200
    assert "queries are not encoded ahead" in caplog.text


def test_ads_of_unknown_text_give_way_to_earlier_ones(shop):
    with running(tiny.settings_in(shop)) as client:
        state, store = client.app.state.storage.state, client.app.state.storage.store
        for _ in range(3):
            client.post("/v1/ads", json={"user_id": "u2", "k": 5})
        user = pseudonymise(["u2"], DEVELOPMENT_KEY)[0]
        now = client.app.state.champions.current.world.now() + 1
        whole = state.responses(user, now)
        gone = whole.texts[-1]
        with store.transaction() as writer:
            writer.execute("DELETE FROM texts WHERE text = ?", (gone,))
        assert state.responses(user, now).texts == whole.texts  # texts never change but with the clean tables
        state.renew()
        kept = state.responses(user, now)
    assert gone in whole.texts
    assert kept.texts == tuple(text for text in whole.texts if text != gone)
    np.testing.assert_array_equal(kept.timestamps, whole.timestamps[[text != gone for text in whole.texts]])
