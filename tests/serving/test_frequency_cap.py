"""The frequency cap in the service: by requests one after the other, and by many at once."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import tiny_shop as tiny
from conftest import running


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
