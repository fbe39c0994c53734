"""While the log's server is away: slates are durable on this machine, and come into the log once each."""

import sqlite3
from contextlib import contextmanager

import pytest
import tiny_shop as tiny
from service_runs import running

from core.identity import DEVELOPMENT_KEY, pseudonymise
from serving.condition import Condition
from serving.database import Database
from serving.remembered import Remembered
from serving.reviews import Reviews
from serving.spill import SpillingLog
from serving.state import OnlineState
from serving.storage import Storage
from serving.store import UnavailableError


class Away(Database):
    """A log that is away when a test says so: before a transaction, or just after its commit."""

    before = after = False

    @contextmanager
    def transaction(self):
        if self.before:
            raise UnavailableError("away")
        with super().transaction() as writer:
            yield writer
        if self.after:
            raise UnavailableError("gone while it committed")

    def read(self, statement, values=()):
        if self.before:
            raise UnavailableError("away")
        return super().read(statement, values)


class Idle:
    """Moves nothing by itself: the tests say when."""

    def start(self):
        pass

    stop = start


@pytest.fixture
def served(shop, monkeypatch):
    """A service whose log and spill are two SQLite files."""
    settings, condition = tiny.settings_in(shop), Condition()
    store = Away(settings.database)
    log = SpillingLog(store, settings.spill, condition)
    condition.watch("log", lambda: "away" if store.before else "")
    storage = Storage(store, log, Remembered(OnlineState(store, max_events=100)), Reviews(store), condition, Idle())
    monkeypatch.setattr(Storage, "open", lambda settings: storage)
    with running(settings) as client:
        yield client, store, log, condition
    log.stop()


def ask(client, user="u1"):
    answer = client.post("/v1/ads", json={"user_id": user, "k": 2})
    assert answer.status_code == 200, answer.text
    return answer.json()


def tell(client, event):
    return client.post("/v1/events", json={"events": [event]})


def board(client):
    return client.get("/v1/console/board")


def block(client, creative, verdict="blocked"):
    return client.post("/v1/console/reviews", json={"creative_id": creative, "verdict": verdict})


def count(store, request_id):
    return len(store.read("SELECT 1 FROM decisions WHERE request_id = ?", (request_id,)))


def test_a_slate_that_the_log_cannot_take_waits_on_disk_and_comes_into_it_once(served):
    client, store, log, condition = served
    before = ask(client)
    assert (before["degraded"], len(before["slate"])) == ([], 2)
    store.before = True
    answers = [ask(client, f"u{number}") for number in range(3)]
    assert {tuple(answer["degraded"]) for answer in answers} == {("log",)}
    assert all(log.waits(answer["request_id"]) for answer in answers)
    with pytest.raises(UnavailableError):
        log.drain()
    store.before = False
    assert [count(store, answer["request_id"]) for answer in answers] == [0, 0, 0]
    assert (log.drain(), log.drain()) == (3, 0)
    assert [count(store, answer["request_id"]) for answer in answers] == [2, 2, 2]
    assert condition.spilled == 3
    assert store.read("SELECT replayable FROM decisions WHERE request_id = ?", (answers[0]["request_id"],)) == [(0,), (0,)]


def test_a_commit_that_came_through_though_nobody_heard_of_it_counts_once(served):
    client, store, log, _ = served
    store.after = True
    answer = ask(client)
    store.after = False
    assert count(store, answer["request_id"]) == 2
    assert log.waits(answer["request_id"])
    assert log.drain() == 1
    assert count(store, answer["request_id"]) == 2


def test_a_process_that_is_killed_between_log_and_removal_drains_again_and_nothing_counts_twice(served, monkeypatch):
    client, store, log, _ = served
    store.before = True
    answer = ask(client)
    store.before = False

    class KilledError(Exception):
        pass

    def killed():
        raise KilledError

    with monkeypatch.context() as patch:
        patch.setattr(log._spill, "transaction", killed)
        with pytest.raises(KilledError):
            log.drain()
    assert (count(store, answer["request_id"]), log.waits(answer["request_id"])) == (2, True)
    assert log.drain() == 1
    assert (count(store, answer["request_id"]), log.waits(answer["request_id"])) == (2, False)


def test_events_are_refused_with_a_time_to_come_back_and_not_acknowledged(served):
    client, store, _, _ = served
    view = {"type": "view", "event_id": "e", "user_id": "u1", "item_id": "p5"}
    store.before = True
    refused = tell(client, view)
    assert (refused.status_code, refused.json()["code"], refused.headers["retry-after"]) == (503, "unavailable", "2")
    store.before = False
    assert tell(client, view).json() == {"accepted": 1, "duplicates": 0}


def test_feedback_on_a_slate_that_is_on_its_way_is_to_be_sent_again(served):
    client, store, log, _ = served
    store.before = True
    answer = ask(client)
    store.before = False
    click = {"type": "click", "event_id": "c", "request_id": answer["request_id"], "position": 0}
    assert tell(client, click).status_code == 503
    log.drain()
    assert tell(client, click).json() == {"accepted": 1, "duplicates": 0}


def test_a_disk_that_can_take_nothing_either_leaves_no_answer(served, monkeypatch):
    client, store, log, _ = served
    store.before = True

    def full(*_):
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(log._spill, "transaction", full)
    answer = client.post("/v1/ads", json={"user_id": "u1"})
    assert (answer.status_code, answer.json()["code"]) == (503, "not_stored")


def test_shoppers_who_came_before_are_remembered_and_their_ads_too(served):
    client, store, _, _ = served
    view = {"type": "view", "event_id": "e", "user_id": "u1", "item_id": "p5"}
    tell(client, view)
    ask(client)
    state = client.app.state.storage.state
    now = client.app.state.champions.current.world.now()
    user, stranger = pseudonymise(["u1", "u99"], DEVELOPMENT_KEY)
    seen = len(state.pasts([user], now)[0].responses)
    store.before = True
    ask(client)
    known, unknown = state.pasts([user, stranger], now)
    assert (known.whole, known.history.item_ids[-1]) == (False, "p5")
    assert len(known.responses) == seen + 2
    assert (unknown.whole, len(unknown.history)) == (False, 0)


def test_what_was_blocked_stays_unseen_while_the_log_is_away_and_the_slates_that_wait_say_by_which_line(served):
    client, store, log, _ = served
    gone = {ad["creative_id"] for _ in range(12) for ad in ask(client)["slate"]}
    for creative in gone:
        assert block(client, creative).status_code == 200
    store.before = True
    answers = [ask(client) for _ in range(12)]
    assert gone.isdisjoint(ad["creative_id"] for answer in answers for ad in answer["slate"])
    store.before = False
    log.drain()
    versions = {
        version for (version,) in store.read("SELECT retrieval_version FROM decisions WHERE request_id = ?", (answers[0]["request_id"],))
    }
    assert [version.rpartition("/")[2] for version in versions] == [f"reviews-{len(gone)}"]


def test_a_review_that_came_while_a_worker_had_lost_the_log_counts_as_soon_as_it_is_back(served):
    client, store, _, _ = served
    creative = ask(client)["slate"][0]["creative_id"]
    store.before = True
    ask(client)
    other = Database(store.path)
    Reviews(other).record(creative, "blocked", note="", timestamp=1, request_id="r", reviewer="open")
    other.close()
    store.before = False
    assert creative not in {ad["creative_id"] for _ in range(12) for ad in ask(client)["slate"]}


def test_the_console_goes_on_with_slates_and_says_when_to_come_back_for_the_rest(served):
    client, store, log, _ = served
    assert (block(client, "c-p9-brand-search-1").status_code, board(client).status_code) == (200, 200)
    store.before = True
    refused = [
        board(client),
        block(client, "c-p0-product-onsite-0"),
        client.get("/v1/console/reviews"),
        client.get("/v1/console/creatives"),
        client.get("/v1/console/shoppers"),
    ]
    assert {(answer.status_code, answer.json()["code"], answer.headers["retry-after"]) for answer in refused} == {(503, "unavailable", "2")}
    slates = client.post("/v1/console/slates", json={"user_id": "u1", "k": 2}).json()
    assert [held["answer"]["degraded"] for held in slates["slates"]] == [["log"]] * 3
    assert all(log.waits(held["answer"]["request_id"]) for held in slates["slates"])
    assert client.get("/v1/console/world").status_code == client.get("/v1/console/products").status_code == 200
    store.before = False
    assert board(client).json()["ctr"]["trials"] == 0
    log.drain()
    assert board(client).json()["ctr"]["trials"] == 6


def test_a_board_whose_reading_breaks_off_counts_nothing_twice(served, monkeypatch):
    client, store, _, _ = served
    answer = ask(client)
    tell(client, {"type": "click", "event_id": "c", "request_id": answer["request_id"], "position": 0})
    aside = store.aside

    class Breaking:
        def __init__(self, writer):
            self.writer = writer

        def execute(self, statement, values=()):
            if "f.kind = 'conversion'" in statement:
                raise UnavailableError("gone in the midst")
            return self.writer.execute(statement, values)

    @contextmanager
    def breaking():
        with aside() as writer:
            yield Breaking(writer)

    with monkeypatch.context() as patch:
        patch.setattr(store, "aside", breaking)
        assert [board(client).status_code for _ in range(2)] == [503, 503]
    rate = board(client).json()["ctr"]
    assert (rate["successes"], rate["trials"]) == (1, 2)
