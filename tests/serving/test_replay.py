"""A day of served decisions, computed again by the code that trains: the features behind them must be the same."""

from datetime import timedelta

import numpy as np
import pandas as pd
import pytest
import tiny_shop as tiny
from service_runs import running
from tiny_ranker import train_ranker

from core.columns import Columns as C
from core.files import read_table
from core.vocabulary import CHANNELS, SCENES
from models.decider import Decider
from models.features import Requests, logged_candidates, requests_of
from models.history import History
from models.pool import Pool
from models.ranker import RankerBundle
from models.recommender import RecommenderBundle
from serving.export import closed_impressions, new_events, served_creatives, service_now


@pytest.fixture
def trained_shop(shop):
    train_ranker(shop)
    return shop


def test_a_day_of_decisions_replayed_offline_has_equal_probabilities(trained_shop):
    settings, wall = tiny.settings_in(trained_shop), tiny.Wall()
    rng = np.random.default_rng(3)
    with running(settings, wall) as client:
        for turn in range(30):
            user = f"u{1 + turn % 3}"
            told = [{"type": "view", "event_id": f"e{turn}", "user_id": user, "item_id": f"p{rng.integers(12)}"}]
            if turn % 4 == 0:
                told.append({"type": "search", "event_id": f"s{turn}", "user_id": user, "query": "马拉松"})
            client.post("/v1/events", json={"events": told})
            wall.pass_by(timedelta(minutes=int(rng.integers(1, 50))))
            body = {"user_id": user, "k": 2, "scene": SCENES[turn % 4], "channel": CHANNELS[turn % 3]}
            answer = client.post("/v1/ads", json=body).json()
            if turn % 2:
                click = {"type": "click", "event_id": f"c{turn}", "request_id": answer["request_id"], "position": int(rng.integers(2))}
                assert client.post("/v1/events", json={"events": [click]}).status_code == 200
        wall.pass_by(timedelta(days=4))
    live = closed_impressions(settings.log, service_now(settings.log, wall), window=settings.conversion_window).rows
    assert len(live) == 60
    events = pd.concat([read_table(settings.data.events), new_events(settings.log).rows])
    impressions = pd.concat([read_table(settings.data.impressions), live])
    served = served_creatives(settings.log)
    texts = dict(zip(served[C.CREATIVE], served[C.TEXT], strict=True)) | {"h1": "甲", "h2": "乙"}
    requests, place = requests_of(live, events, texts, earlier=impressions)
    assert max(len(held) for held in requests.responses) > 10
    ranker = RankerBundle.load(settings.bundles / "ranker", vectorise=tiny.vectors)
    offline = ranker.predict(requests, logged_candidates(live, place, texts).at_position(0))
    assert len(np.unique(offline.p_click.round(6))) > 20
    np.testing.assert_allclose(live[C.P_CLICK].to_numpy(), offline.p_click, rtol=2e-4)
    np.testing.assert_allclose(live[C.P_CONVERT].to_numpy(), offline.p_convert, rtol=2e-4)


def test_sharing_scores_and_f_with_the_ranker_changes_no_number(trained_shop):
    folder = trained_shop / "models"
    recommender, pool = RecommenderBundle.load(folder / "recommender"), Pool.load(folder / "pool")
    apart = RankerBundle.load(folder / "ranker", vectorise=tiny.vectors)
    shared = RankerBundle.load(folder / "ranker", vectorise=tiny.vectors).reading(recommender)
    now = tiny.DATA_END + timedelta(hours=1)
    history = History.of([("view", "p9"), ("search", "马拉松"), ("cart", "p5")], end=int(now.timestamp() * 1_000_000) - 1)
    found = [
        Decider(recommender, ranker, pool).decide(
            history, scene=scene, channel="onsite", k=4, now=now, exploration=0.3, rng=np.random.default_rng(2), size=16
        )
        for scene in SCENES
        for ranker in (apart, shared)
    ]
    for one, other in zip(found[::2], found[1::2], strict=True):
        assert one.candidates == other.candidates
        assert one.audience == other.audience
        assert [choice.creative_id for choice in one.choices] == [choice.creative_id for choice in other.choices]
        np.testing.assert_allclose([c.p_click for c in one.choices], [c.p_click for c in other.choices], rtol=1e-5)
        np.testing.assert_allclose([c.probability for c in one.choices], [c.probability for c in other.choices], rtol=1e-6)


def test_the_probability_of_an_ad_is_the_recommender_s_over_the_candidates_items(trained_shop):
    folder = trained_shop / "models"
    recommender, pool = RecommenderBundle.load(folder / "recommender"), Pool.load(folder / "pool")
    decider = Decider(recommender, RankerBundle(recommender, reason="none"), pool)
    now = tiny.DATA_END
    moment = int(now.timestamp() * 1_000_000)
    history = History.of([("view", "p9"), ("purchase", "p0")], end=moment - 1)
    decision = decider.decide(
        history, scene="product", channel="social", k=5, now=now, exploration=0.5, rng=np.random.default_rng(0), size=8
    )
    items = list(dict.fromkeys(str(pool.item_id[list(pool.creative_id).index(name)]) for name in decision.candidates))
    expected = dict(zip(items, recommender.probability(history, items, now=moment), strict=True))
    assert items == recommender.top_k([history], 12, now=moment)[0][:4]
    for choice in decision.choices:
        assert choice.probability == pytest.approx(expected[choice.item_id], rel=1e-6)
    assert sum(expected.values()) == pytest.approx(1.0)


def test_events_at_or_after_the_moment_are_not_looked_at(trained_shop):
    folder = trained_shop / "models"
    recommender, pool = RecommenderBundle.load(folder / "recommender"), Pool.load(folder / "pool")
    decider = Decider(recommender, RankerBundle(recommender, reason="none"), pool)
    now = tiny.DATA_END
    moment = int(now.timestamp() * 1_000_000)
    known = History.of([("view", "p9")], end=moment - 1)
    later = known.extended([("purchase", "p9"), ("purchase", "p1")], [moment, moment + 1])
    assert len(Requests.one(known, scene="product", channel="onsite", timestamp=moment)) == 1
    one, other = (
        decider.decide(history, scene="product", channel="onsite", k=3, now=now, exploration=0.2, rng=np.random.default_rng(0))
        for history in (known, later)
    )
    assert one == other


@pytest.mark.parametrize(("scene", "holds"), [("promotion", "运动"), ("brand", "品牌1")])
def test_a_scene_shows_what_it_is_about(trained_shop, scene, holds):
    folder = trained_shop / "models"
    recommender, pool = RecommenderBundle.load(folder / "recommender"), Pool.load(folder / "pool")
    decider = Decider(recommender, RankerBundle(recommender, reason="none"), pool)
    moment = int(tiny.DATA_END.timestamp() * 1_000_000)
    history = History.of([("view", "p9")], end=moment - 1)
    decision = decider.decide(history, scene=scene, channel="onsite", k=3, now=tiny.DATA_END, exploration=0.5, rng=np.random.default_rng(0))
    assert decision.choices
    for choice in decision.choices:
        shown = pool.item(choice.item_id)
        assert holds in (shown[C.CATEGORY], shown[C.BRAND])


def test_cross_selling_shows_another_kind_than_what_was_bought(trained_shop):
    folder = trained_shop / "models"
    recommender, pool = RecommenderBundle.load(folder / "recommender"), Pool.load(folder / "pool")
    decider = Decider(recommender, RankerBundle(recommender, reason="none"), pool)
    moment = int(tiny.DATA_END.timestamp() * 1_000_000)
    history = History.of([("view", "p1"), ("cart", "p9")], end=moment - 1)
    decision = decider.decide(
        history, scene="cross_sell", channel="onsite", k=5, now=tiny.DATA_END, exploration=1.0, rng=np.random.default_rng(0)
    )
    assert {pool.item(choice.item_id)[C.CATEGORY] for choice in decision.choices} <= {"运动", "手机"}
