"""Policies as champion and challenger: who draws whose slate, what the record says of both, and that swapping drops nothing."""

import json
import shutil
import threading
import time

import numpy as np
import pytest
import tiny_shop as tiny
from service_runs import running

from models.policies.served import ServedPolicy
from registry.models import KINDS, Registered
from serving import champions as champions_module
from serving.champions import RIVAL, RegistrySource
from serving.policies import Policies, in_canary

EPSILON, OTHER = ServedPolicy("epsilon_greedy", 0.2), ServedPolicy("epsilon_greedy", 0.6)
THOMPSON = ServedPolicy("linear_thompson", 0.3)


def until(holds, seconds=20.0):
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def put(settings, name, policy):
    """A policy's bundle, in one move."""
    policy.save(settings.bundles / f".{name}")
    shutil.rmtree(settings.bundles / name, ignore_errors=True)
    (settings.bundles / f".{name}").rename(settings.bundles / name)


def take_away(settings, name):
    (settings.bundles / name).rename(settings.bundles / f".gone-{time.monotonic_ns()}")


def ask(client, user, k=3):
    answer = client.post("/v1/ads", json={"user_id": user, "scene": "product", "channel": "social", "k": k})
    assert answer.status_code == 200
    return answer.json()


def beside(settings, request_id):
    return [None if row["beside"] is None else json.loads(row["beside"]) for row in tiny.decisions(settings, request_id)]


def test_a_shopper_is_in_the_canary_or_not_by_their_pseudonym_alone():
    users = [f"{number:064x}" for number in range(20_000)]
    first = [in_canary(user, salt="a", share=0.1) for user in users]
    assert first == [in_canary(user, salt="a", share=0.1) for user in users]
    assert np.mean(first) == pytest.approx(0.1, abs=4 * np.sqrt(0.09 / 20_000))
    wider = [in_canary(user, salt="a", share=0.3) for user in users]
    assert all(late for early, late in zip(first, wider, strict=True) if early)  # nobody leaves when it grows
    other = np.array([in_canary(user, salt="b", share=0.1) for user in users])
    assert np.mean(other[np.array(first)]) == pytest.approx(0.1, abs=0.03)  # another challenger has other users
    assert not any(in_canary(user, salt="a", share=0.0) for user in users)


def test_the_champion_is_asked_about_the_canary_and_the_challenger_about_all_others():
    policies = Policies(EPSILON, OTHER, 0.5, "salt")
    served = {policies.of(f"user {number}") for number in range(50)}
    assert served == {(EPSILON, OTHER), (OTHER, EPSILON)}
    assert Policies(EPSILON).of("anybody") == (EPSILON, None)


def test_without_a_challenger_nobody_is_asked_and_params_say_the_policy(shop):
    settings = tiny.settings_in(shop)
    with running(settings) as client:
        answer = ask(client, "u1")
        assert answer["versions"]["policy"] == "epsilon-greedy-0.2"
        assert beside(settings, answer["request_id"]) == [None] * 3


def test_each_record_says_who_decided_and_with_which_chance_the_other_would_have(shop):
    settings = tiny.settings_in(shop, canary_share=0.5)
    put(settings, "policy", EPSILON)
    put(settings, "rival", OTHER)
    seen = set()
    with running(settings) as client:
        for turn in range(12):
            answer = ask(client, f"u{turn}")
            version = answer["versions"]["policy"]
            assert ask(client, f"u{turn}")["versions"]["policy"] == version
            rows = tiny.decisions(settings, answer["request_id"])
            assert {row["policy_version"] for row in rows} == {version}
            mine, other = (0.2, 0.6) if version == EPSILON.version else (0.6, 0.2)
            candidates = answer["candidates"]
            for row, told, left in zip(rows, beside(settings, answer["request_id"]), [candidates, None, None], strict=True):
                name, share, propensity, own, theirs = told
                assert (name, share) == ((OTHER if version == EPSILON.version else EPSILON).version, 0.5)
                if left is not None:  # 12 candidates score alike, or some do: either way the floors tell one chance from the other
                    ties = (1 - mine) / (row["propensity"] - mine / left) if row["propensity"] > mine / left + 1e-9 else np.inf
                    assert propensity == pytest.approx((1 - other) / ties + other / left)
                assert 0 < own < 1
                assert 0 < theirs < 1
            seen.add(version)
    assert seen == {EPSILON.version, OTHER.version}


def test_a_policy_that_learns_beside_one_that_does_not(shop):
    settings = tiny.settings_in(shop, canary_share=0.5)
    put(settings, "policy", EPSILON)
    put(settings, "rival", THOMPSON)
    with running(settings) as client:
        answers = [ask(client, f"u{turn}") for turn in range(12)]
        versions = {answer["versions"]["policy"].partition("/")[0] for answer in answers}
        assert versions == {EPSILON.version, THOMPSON.version}
        for answer in answers:
            for row, told in zip(tiny.decisions(settings, answer["request_id"]), beside(settings, answer["request_id"]), strict=True):
                assert 0 < row["propensity"] <= 1
                assert 0 < told[2] <= 1
        learnt = next(answer["versions"]["policy"] for answer in answers if "/" in answer["versions"]["policy"])
        assert client.app.state.champions.current.learning.replay(learnt).version == learnt


def test_another_policy_takes_over_and_back_without_a_failed_request_or_another_model(shop):
    settings = tiny.settings_in(shop)
    put(settings, "policy", EPSILON)
    seen = []
    with running(settings) as client:
        before = client.app.state.champions.current
        stop = threading.Event()

        def load(number):
            while not stop.is_set():
                answer = client.post("/v1/ads", json={"user_id": f"u{number}"})
                seen.append((answer.status_code, answer.json().get("versions", {}).get("policy", "").partition("/")[0]))

        threads = [threading.Thread(target=load, args=(number,)) for number in range(3)]
        for thread in threads:
            thread.start()
        try:
            put(settings, "rival", THOMPSON)
            until(lambda: client.app.state.champions.current.policies.challenger == THOMPSON)
            since = time.monotonic()
            put(settings, "policy", THOMPSON)  # promoted
            take_away(settings, "rival")
            until(lambda: seen[-1][1] == THOMPSON.version)
            took = time.monotonic() - since
            put(settings, "policy", EPSILON)  # rolled back
            until(lambda: seen[-1][1] == EPSILON.version)
        finally:
            stop.set()
            for thread in threads:
                thread.join()
        after = client.app.state.champions.current
    assert {status for status, _ in seen} == {200}
    assert {version for _, version in seen} == {EPSILON.version, THOMPSON.version}
    assert after.ranker is before.ranker
    assert after.pool is before.pool
    assert took < 5  # poll_seconds is 0.05 here; no network is loaded for it


def test_a_policy_that_this_code_cannot_run_leaves_the_old_one_serving(shop):
    settings = tiny.settings_in(shop)
    put(settings, "policy", EPSILON)
    with running(settings) as client:
        config = settings.bundles / "policy" / "config.json"
        draft = config.with_name(".draft")
        draft.write_text(config.read_text().replace("epsilon_greedy", "oracle"))
        draft.replace(config)
        until(lambda: "no policy 'oracle' can serve" in client.get("/readyz").json()["problem"])
        assert ask(client, "u1")["versions"]["policy"] == EPSILON.version


def test_a_log_of_before_policies_challenged_is_read_on(shop):
    import sqlite3

    settings = tiny.settings_in(shop)
    with running(settings) as client:
        old = ask(client, "u1")["request_id"]
    with sqlite3.connect(settings.database) as connection:
        connection.execute("ALTER TABLE decisions DROP COLUMN beside")
    with running(settings) as client:
        ask(client, "u1")
    assert beside(settings, old) == [None] * 3


def test_the_registry_names_the_champion_policy_and_its_rival_when_there_are_some(monkeypatch, tmp_path):
    class Stub:
        def __init__(self, root):
            pass

        def alias(self, kind, alias):
            return held.get((kind, alias))

        def fetch(self, registered, cache):
            return cache / registered.kind / registered.bundle_hash

    monkeypatch.setattr(champions_module, "Registry", Stub)
    held = {(kind, "champion"): Registered(kind, 1, "aaa") for kind in KINDS}
    source = RegistrySource(tmp_path, tmp_path / "fetched")
    assert set(source.current()) == set(KINDS)
    held["policy", "challenger"] = Registered("policy", 2, "ccc")
    assert set(source.current()) == set(KINDS)  # nobody to challenge
    held["policy", "champion"] = Registered("policy", 1, "bbb")
    found = source.current()
    assert (found["policy"].bundle_hash, found[RIVAL].bundle_hash) == ("bbb", "ccc")
    assert source.path(found[RIVAL]) == tmp_path / "fetched" / "policy" / "ccc"


def test_while_a_promotion_is_half_done_the_new_champion_serves_alone(shop):
    settings = tiny.settings_in(shop, canary_share=0.5)
    put(settings, "policy", OTHER)
    put(settings, "rival", OTHER)
    with running(settings) as client:
        assert client.app.state.champions.current.policies == Policies(OTHER)
