"""What holds for every backend of log and state: nothing twice, nothing lost over a restart, one truth for all workers."""

import dataclasses
import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import timedelta

import pytest
import tiny_shop as tiny
from service_runs import running
from tiny_ranker import train_ranker

from core.errors import IdentityError
from core.identity import DEVELOPMENT_KEY, pseudonymise
from core.moments import DAY
from flows.segments import take
from models.policies.served import ServedPolicy
from serving.export import log_id, service_now
from serving.learning import beliefs_of, posterior_of
from serving.policy_log import CONVERSIONS, CTR, last_row, moment_of, of_pair, shown, trial_of
from serving.reviews import Blocked, Reviews, last_review
from serving.state import OnlineState
from serving.storage import Storage, open_store
from serving.store import claim


@pytest.fixture
def settings(shop):
    tiny.write_pool(shop / "models" / "pool", budget=10**12)
    return tiny.settings_in(shop)


def ask(client, user="u1", **body):
    return client.post("/v1/ads", json={"user_id": user, "k": 2, "scene": "promotion"} | body).json()


def tell(client, *events):
    answer = client.post("/v1/events", json={"events": list(events)})
    assert answer.status_code == 200, answer.text
    return answer.json()


def view(item, user="u1", name=None):
    return {"type": "view", "event_id": name or uuid.uuid4().hex, "user_id": user, "item_id": item}


def click(answer, position=0, name=None):
    return {"type": "click", "event_id": name or uuid.uuid4().hex, "request_id": answer["request_id"], "position": position}


def pseudonym(user):
    return pseudonymise([user], DEVELOPMENT_KEY)[0]


def as_lists(past):
    history, seen = past.history, past.responses
    return (
        (history.item_ids, history.event_types, history.queries, history.timestamps.tolist()),
        (seen.item_ids, seen.texts, seen.channels, seen.clicks.tolist(), seen.timestamps.tolist()),
    )


def storage_of(client) -> Storage:
    return client.app.state.storage


def now_of(client):
    return client.app.state.champions.current.world.now()


def test_what_the_state_says_is_what_the_log_says_after_every_step(settings):
    with running(settings) as client:
        store, state = storage_of(client).store, storage_of(client).state
        log = OnlineState(store, max_events=settings.params.max_events)
        for turn in range(40):
            user = f"u{turn % 3}"
            told = [view(f"p{turn % 12}", user)] + [{**view("p1", user), "type": "purchase", "value_micros": 5}] * (turn % 4 == 0)
            told += [{"type": "search", "event_id": uuid.uuid4().hex, "user_id": user, "query": "马拉松"}] * (turn % 5 == 0)
            tell(client, *told)
            answer = ask(client, user, k=3)
            if turn % 2:
                tell(client, click(answer, turn % len(answer["slate"])))
            now = now_of(client)
            users = [pseudonym(f"u{number}") for number in (0, 1, 2, 1)]
            assert [as_lists(past) for past in state.pasts(users, now)] == [as_lists(past) for past in log.pasts(users, now)]
            assert state.spent(now) == log.spent(now)
        assert log.spent(now)["k1"] > 0
        assert len(log.responses(pseudonym("u1"), now)) > 10


def test_more_than_is_read_of_a_shopper_leaves_the_latest(settings):
    settings = dataclasses.replace(settings, params=settings.params.model_copy(update={"max_events": 10}))
    with running(settings) as client:
        store, state = storage_of(client).store, storage_of(client).state
        for turn in range(70):
            tell(client, view(f"p{turn % 12}"))
            tell(client, click(ask(client)))
        now, user = now_of(client), pseudonym("u1")
        found, true = (as_lists(source.pasts([user], now)[0]) for source in (state, OnlineState(store, max_events=10)))
    assert found == true
    assert (len(found[0][0]), len(found[1][0])) == (10, 10)


def test_a_worker_knows_at_once_what_another_was_told(settings):
    wall = tiny.Wall()
    with running(settings, wall) as one, running(settings, wall) as other:
        assert storage_of(other).state.pasts([pseudonym("new")], now_of(other))[0].history.item_ids == ()
        tell(one, view("p5", "new"))
        answer = ask(one, "new")
        tell(other, click(answer))
        for client in (one, other):
            past = storage_of(client).state.pasts([pseudonym("new")], now_of(client))[0]
            assert past.history.item_ids == ("p5",)
            assert past.responses.clicks.tolist() == [1, 0]
            assert storage_of(client).state.spent(now_of(client)) == {"k1": answer["slate"][0]["bid_micros"]}


def test_an_event_that_two_workers_are_told_counts_once(settings):
    wall = tiny.Wall()
    with running(settings, wall) as one, running(settings, wall) as other:
        assert tell(one, view("p5", name="e")) == {"accepted": 1, "duplicates": 0}
        assert tell(other, view("p5", name="e")) == {"accepted": 0, "duplicates": 1}
        answer = ask(one)
        for client in (one, other, one):
            tell(client, click(answer))
        now = now_of(one)
    assert tiny.rows(settings, "SELECT spent_micros FROM spend WHERE day = ?", (now // DAY,)) == [(answer["slate"][0]["bid_micros"],)]


def test_a_restart_knows_all_that_was_acknowledged(settings):
    wall = tiny.Wall()
    with running(settings, wall) as client:
        tell(client, view("p5"), view("p6"))
        answer = ask(client)
        tell(client, click(answer))
        before = as_lists(storage_of(client).state.pasts([pseudonym("u1")], now_of(client))[0])
    with running(settings, wall) as client:
        assert as_lists(storage_of(client).state.pasts([pseudonym("u1")], now_of(client))[0]) == before
        assert [row["creative_id"] for row in tiny.decisions(settings, answer["request_id"])] == [
            ad["creative_id"] for ad in answer["slate"]
        ]


def test_all_events_of_a_call_are_stored_or_none(settings):
    with running(settings) as client:
        tell(client, view("p5", name="taken"))
        answer = client.post("/v1/events", json={"events": [view("p6", name="fresh"), view("p7", name="taken")]})
        assert answer.status_code == 409
        assert [name for (name,) in tiny.rows(settings, "SELECT event_id FROM events")] == ["taken"]


def test_users_of_another_key_are_refused(settings):
    store = open_store(settings)
    claim(store, "00000000")
    claim(store, "00000000")
    with pytest.raises(IdentityError, match="hashed with key 00000000"):
        claim(store, "11111111")
    store.close()


def test_the_loop_takes_each_row_once_and_each_log_has_numbers_of_its_own(settings, tmp_path):
    folder = tmp_path / "feedback"
    folder.mkdir()
    other = dataclasses.replace(settings, log_url=None, database=tmp_path / "other.sqlite")
    with running(settings) as client:
        tell(client, view("p5"), view("p6"))
    with running(other) as client:
        tell(client, view("p7"))
    assert log_id(settings.log) != log_id(other.log)
    window = timedelta(days=3)
    assert [take(log, folder, window=window).events for log in (settings.log, settings.log, other.log, settings.log)] == [2, 0, 1, 0]


def test_no_slate_is_stored_after_a_block_was_acknowledged_though_workers_answer_all_the_while(settings):
    wall, wrong = tiny.Wall(), []
    with running(settings, wall) as one, running(settings, wall) as other, ThreadPoolExecutor(4) as pool:
        store, ended = storage_of(one).store, threading.Event()

        def asking(client):
            while not ended.is_set():
                ask(client, "u1")

        def stored(after):
            return store.read("SELECT seq, creative_id, retrieval_version FROM decisions WHERE seq > ? ORDER BY seq", (after,))

        askers = [pool.submit(asking, client) for client in (one, other, one, other)]
        for _ in range(6):
            creative = ask(one, "u1")["slate"][0]["creative_id"]
            for verdict in ("blocked", "allowed"):
                answer = other.post("/v1/console/reviews", json={"creative_id": creative, "verdict": verdict}).json()
                last, line = store.read("SELECT MAX(seq) FROM decisions")[0][0], answer["review"]["seq"]
                if verdict == "blocked":
                    time.sleep(0.15)
                    later = stored(last)
                    wrong += [row for row in later if row[1] == creative or not row[2].endswith(f"/reviews-{line}")]
                    assert later
        ended.set()
        for asker in askers:
            asker.result()
    assert wrong == []


def test_a_review_waits_for_the_commit_of_slates_that_have_looked_at_the_trail_already(settings):
    one, other = open_store(settings), open_store(settings)
    try:
        reviews, said = Reviews(other), {"note": "", "timestamp": 1, "request_id": "r", "reviewer": "open"}
        with ThreadPoolExecutor(1) as pool:
            with one.transaction() as writer:
                assert last_review(writer) == 0
                review = pool.submit(reviews.record, "c", "blocked", **said)
                with pytest.raises(TimeoutError):
                    review.result(timeout=0.4)
            line, changed = review.result(timeout=10)
        assert (line.seq, changed, reviews.record("c", "blocked", **said)) == (1, True, (line, False))
        assert Reviews(one).blocked() == reviews.blocked() == Blocked(1, frozenset({"c"}))
    finally:
        one.close()
        other.close()


def test_a_click_is_believed_by_every_worker_within_two_seconds(settings):
    train_ranker(settings.root)
    settings = dataclasses.replace(settings, params=settings.params.model_copy(update={"policy": "linear_thompson"}))
    wall = tiny.Wall()
    with ExitStack() as stack:
        workers = [stack.enter_context(running(settings, wall)) for _ in range(2)]
        tell(workers[0], click(ask(workers[1])))
        told = time.monotonic()
        learning = [client.app.state.champions.current.learning for client in workers]
        while {held.current.clicks for held in learning} != {1}:
            assert time.monotonic() < told + 2, [held.current.version for held in learning]
            time.sleep(0.02)
        if settings.state_url:
            assert learning[0].current.version == learning[1].current.version
            assert [held.leads for held in learning] == [True, False]
        for held in learning:
            assert held.replay(held.current.version).mean.tolist() == held.current.mean.tolist()
            again = beliefs_of(posterior_of(held.current))
            assert (again.version, again.bank.tolist()) == (held.current.version, held.current.bank.tolist())


def test_what_two_policies_thought_of_a_slate_is_read_alike_from_every_log(settings):
    mine, rival = ServedPolicy("epsilon_greedy", 0.2), ServedPolicy("epsilon_greedy", 0.5)
    mine.save(settings.bundles / "policy")
    rival.save(settings.bundles / "rival")
    settings = dataclasses.replace(settings, params=settings.params.model_copy(update={"canary_share": 0.5}))
    wall = tiny.Wall()
    with running(settings, wall) as client:
        answers = [ask(client, f"u{turn}") for turn in range(12)]
        tell(client, click(answers[0]), click(answers[1]) | {"type": "conversion", "value_micros": 1})
        wall.pass_by(timedelta(minutes=20))
        late = ask(client)
        tell(client, click(answers[2], 1), click(answers[3]))
        wall.pass_by(timedelta(minutes=20))
        tell(client, click(late), click(answers[4]))  # the second comes too late
    log = settings.log_url or settings.database
    now = service_now(log, wall)
    rows = shown(log, CTR, now)
    assert list(rows["request_id"].drop_duplicates()) == [answer["request_id"] for answer in answers]  # the latest is not settled
    clicked = set(rows[rows["answered"]][["request_id", "position"]].itertuples(index=False, name=None))
    assert clicked == {(answers[n]["request_id"], position) for n, position in ((0, 0), (1, 0), (2, 1), (3, 0))}
    assert shown(log, CONVERSIONS, now).empty
    wall.pass_by(timedelta(days=2))
    converted = shown(log, CONVERSIONS, service_now(log, wall))
    assert list(converted[converted["answered"]]["request_id"]) == [answers[1]["request_id"]]
    half = last_row(log) // 2
    assert list(shown(log, CTR, now, after=half)["seq"]) == [seq for seq in rows["seq"] if seq > half]
    assert moment_of(log, 2) == rows["timestamp"][1]
    pair = of_pair(rows, mine.version, rival.version)
    assert len(pair) == len(rows) == 24
    assert set(pair["policy"]) == {mine.version, rival.version}
    trial, _ = trial_of(pair, rival.version)
    assert trial.rewards.sum() == 4
    first = pair[pair["position"] == 0].iloc[0]
    own, other = (trial.champion, trial.challenger) if first["policy"] == mine.version else (trial.challenger, trial.champion)
    assert (own[0, 0], other[0, 0]) == (first["propensity"], first["rival_propensity"])
    assert set(trial.share) == {0.5}
    assert of_pair(rows, mine.version, "epsilon-greedy-0.9").empty
