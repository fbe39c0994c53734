"""The frequency cap in the service: by requests one after the other, and by many at once."""

import json
import sqlite3
import uuid
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import numpy as np
import pytest
import tiny_shop as tiny
from service_runs import running
from tiny_ranker import train_ranker

from serving.api import AdsRequest
from serving.clock import moment
from serving.metrics import Metrics, Stopwatch
from serving.service import Ads, Asked, Parts
from serving.state import OnlineState
from serving.storage import open_store


@pytest.fixture
def trained_shop(shop):
    train_ranker(shop)
    return shop


def shown(answers):
    return Counter(ad["creative_id"] for answer in answers for ad in answer["slate"])


def ask(client, user):
    answer = client.post("/v1/ads", json={"user_id": user, "scene": "product", "channel": "onsite", "k": 2})
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_no_shopper_is_shown_a_creative_more_often_than_the_cap(shop):
    with running(tiny.settings_in(shop, frequency_cap=2)) as client:
        answers = [ask(client, "u1") for _ in range(12)]
        assert max(shown(answers).values()) == 2
        assert answers[-1]["slate"] == [] or answers[-1]["candidates"] < answers[0]["candidates"]
        assert ask(client, "u2")["slate"]  # another shopper has seen none of them


def test_requests_of_one_shopper_at_the_same_time_keep_the_cap_too(shop):
    with running(tiny.settings_in(shop, frequency_cap=1)) as client, ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: ask(client, "u3"), range(16)))
        assert max(shown(answers).values()) == 1


def test_a_capped_decision_is_found_again_from_the_log(trained_shop):
    settings, wall = tiny.settings_in(trained_shop, frequency_cap=2), tiny.Wall()
    with running(settings, wall) as client:
        for _ in range(6):
            answer = ask(client, "u1")
            wall.pass_by(timedelta(minutes=1))
        served = client.app.state.champions.current
        store = open_store(settings)
        columns = "user_id, timestamp, scene, channel, candidates, creative_id, propensity"
        rows = store.read(f"SELECT {columns} FROM decisions WHERE request_id = ? ORDER BY position", (answer["request_id"],))
        state, (user, now) = OnlineState(store, max_events=100), rows[0][:2]
        history, responses = state.history(user, now), state.responses(user, now)
        shared = {"scene": rows[0][2], "channel": rows[0][3], "k": 2, "now": moment(now), "size": settings.params.candidates}
        again = {
            cap: served.decider.decide(
                history,
                **shared,
                exploration=settings.params.exploration,
                rng=np.random.default_rng(uuid.UUID(answer["request_id"]).int),
                responses=responses,
                frequency_cap=cap,
            )
            for cap in (0, 2)
        }
        store.close()
    assert list(again[2].candidates) == json.loads(rows[0][4]) != list(again[0].candidates)
    assert [choice.creative_id for choice in again[2].choices] == [row[5] for row in rows]
    np.testing.assert_allclose([choice.propensity for choice in again[2].choices], [row[6] for row in rows], rtol=1e-6)


def test_what_fails_for_the_second_request_of_a_shopper_leaves_the_first_its_answer(shop, monkeypatch):
    with running(tiny.settings_in(shop, frequency_cap=1)) as client:
        parts = Parts(tiny.settings_in(shop, frequency_cap=1), client.app.state.storage, client.app.state.champions)
        metrics = Metrics()
        ads = Ads(parts, Stopwatch(metrics.stages, metrics.stages_cpu, metrics.groups))
        asked = [Asked(AdsRequest(user_id="u1", k=2), uuid.uuid4().hex) for _ in range(2)]
        whole, calls = ads._answer_once, []

        def once(wave):
            calls.append(len(wave))
            if len(calls) > 1:
                raise sqlite3.OperationalError("disk full")
            return whole(wave)

        monkeypatch.setattr(ads, "_answer_once", once)
        first, second = ads.answer_all(asked)
        assert calls == [1, 1]
        assert first.answer.slate
        assert isinstance(second, sqlite3.OperationalError)
