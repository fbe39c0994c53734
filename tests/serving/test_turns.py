import asyncio
import threading
import time

import numpy as np
import pytest
import tiny_shop as tiny
from fastapi.testclient import TestClient
from service_runs import running
from test_replay import trained_shop  # noqa: F401

from core.vocabulary import CHANNELS, SCENES
from models.decider import Decider
from models.decision import Ask
from models.history import History
from models.pool import Pool
from models.ranker import RankerBundle
from models.recommender import RecommenderBundle
from serving.turns import Turns


def test_what_comes_in_while_a_group_is_answered_is_the_next_group():
    groups: list[list[int]] = []
    first_began, go_on = threading.Event(), threading.Event()

    def answer_all(asked):
        groups.append(list(asked))
        first_began.set()
        assert go_on.wait(20)
        return [10 * one for one in asked]

    turns = Turns(answer_all, most=3, name="turns")
    turns.start()

    async def ask_all():
        asked = [asyncio.create_task(turns.ask(0))]
        await asyncio.to_thread(first_began.wait, 20)
        asked += [asyncio.create_task(turns.ask(number)) for number in range(1, 6)]
        await asyncio.sleep(0.05)
        go_on.set()
        return await asyncio.gather(*asked)

    assert asyncio.run(ask_all()) == [0, 10, 20, 30, 40, 50]
    turns.stop()
    assert groups == [[0], [1, 2, 3], [4, 5]]


def test_a_group_waits_for_those_who_were_in_the_air_and_no_longer_than_it_may():
    groups: list[int] = []

    def answer_all(asked):
        groups.append(len(asked))
        time.sleep(0.02)
        return asked

    turns = Turns(answer_all, most=8, name="turns", gather_seconds=0.5)
    turns.start()

    async def ask(times, pause):
        for turn in range(times):
            await turns.ask(turn)
            await asyncio.sleep(pause)

    async def ask_all():
        await asyncio.gather(*(ask(6, pause) for pause in (0.0, 0.01, 0.02, 0.03)))
        begun = time.perf_counter()
        await turns.ask(0)  # the others are gone: this one waits in vain, once
        first = time.perf_counter() - begun
        await turns.ask(0)
        return first, time.perf_counter() - begun - first

    waited, at_once = asyncio.run(ask_all())
    turns.stop()
    assert groups.count(4) >= 4
    assert waited < 5
    assert at_once < 0.4


def test_an_error_of_one_is_not_another_s_and_a_raised_one_is_everybody_s():
    def answer_all(asked):
        if "all" in asked:
            raise ValueError("nobody")
        return [KeyError(one) if one == "bad" else one for one in asked]

    turns = Turns(answer_all, most=8, name="turns")
    turns.start()

    async def ask(*asked):
        return await asyncio.gather(*(turns.ask(one) for one in asked), return_exceptions=True)

    found = asyncio.run(ask("good", "bad"))
    assert found[0] == "good"
    assert isinstance(found[1], KeyError)
    assert isinstance(asyncio.run(ask("all"))[0], ValueError)
    turns.stop()


def test_who_has_gone_is_not_told_and_what_waits_at_the_end_is_answered():
    began, go_on = threading.Event(), threading.Event()

    def answer_all(asked):
        began.set()
        assert go_on.wait(20)
        return asked

    turns = Turns(answer_all, most=1, name="turns")
    turns.start()

    async def leave():
        gone = asyncio.create_task(turns.ask("gone"))
        await asyncio.to_thread(began.wait, 20)
        stays = asyncio.create_task(turns.ask("stays"))
        await asyncio.sleep(0)
        gone.cancel()
        stopping = asyncio.create_task(asyncio.to_thread(turns.stop))
        go_on.set()
        await stopping
        return await stays

    assert asyncio.run(leave()) == "stays"


@pytest.fixture
def decider(trained_shop):  # noqa: F811
    folder = trained_shop / "models"
    recommender, pool = RecommenderBundle.load(folder / "recommender"), Pool.load(folder / "pool")
    return Decider(recommender, RankerBundle.load(folder / "ranker", vectorise=tiny.vectors).reading(recommender), pool)


def asks():
    moment = int(tiny.DATA_END.timestamp() * 1_000_000)
    rng = np.random.default_rng(8)
    for number in range(24):
        size = int(rng.integers(0, 60)) if number % 3 else 0
        told = [("search", "马拉松") if rng.random() < 0.2 else ("view", f"p{rng.integers(12)}") for _ in range(size)]
        yield Ask(
            history=History.of(told, end=moment - 1),
            scene=SCENES[number % 4],
            channel=CHANNELS[number % 3],
            k=1 + number % 5,
            now=tiny.DATA_END,
            exploration=0.2,
            rng=np.random.default_rng(number),
            size=16,
            exclude=["p1"] if number % 2 else [],
        )


def test_requests_that_are_decided_together_have_the_slates_they_have_alone(decider):
    together, alone = decider.decide_all(list(asks())), [decider.decide_all([ask])[0] for ask in asks()]
    for one, other in zip(together, alone, strict=True):
        assert one.candidates == other.candidates
        assert one.audience == other.audience
        assert [choice.creative_id for choice in one.choices] == [choice.creative_id for choice in other.choices]
        assert [choice.propensity for choice in one.choices] == [choice.propensity for choice in other.choices]
        for name in ("p_click", "p_convert", "probability", "marginal"):
            np.testing.assert_allclose(
                [getattr(choice, name) for choice in one.choices], [getattr(choice, name) for choice in other.choices], rtol=1e-5
            )


def test_probabilities_of_a_group_are_those_of_the_offline_path(decider):
    """The path of training and evaluation: the ranker asks its own recommender, one request at a time, and shares nothing."""
    folder_ranker = decider.ranker
    for ask, decision in zip(asks(), decider.decide_all(list(asks())), strict=True):
        items = [choice.item_id for choice in decision.choices]
        texts = [str(decider.pool.text[choice.row]) for choice in decision.choices]
        slow = folder_ranker.predict_one(ask.history, items, texts, scene=ask.scene, channel=ask.channel, timestamp=ask.moment)
        np.testing.assert_allclose([choice.p_click for choice in decision.choices], slow.p_click, rtol=1e-5)
        np.testing.assert_allclose([choice.p_convert for choice in decision.choices], slow.p_convert, rtol=1e-5)


def test_a_request_that_cannot_be_decided_harms_no_other(shop, monkeypatch):
    decide_all = Decider.decide_all

    def failing(decider, asks, **more):
        if any(ask.scene == "brand" for ask in asks):
            raise ZeroDivisionError
        return decide_all(decider, asks, **more)

    monkeypatch.setattr(Decider, "decide_all", failing)
    statuses: dict[str, set[int]] = {"product": set(), "brand": set()}
    with running(tiny.settings_in(shop)) as ready:
        client = TestClient(ready.app, raise_server_exceptions=False)
        client.portal = ready.portal

        def ask(scene):
            for _ in range(6):
                statuses[scene].add(client.post("/v1/ads", json={"user_id": "u1", "scene": scene}).status_code)

        threads = [threading.Thread(target=ask, args=(scene,)) for scene in ("product", "brand", "product")]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert statuses == {"product": {200}, "brand": {500}}
