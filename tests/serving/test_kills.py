"""`kill -9` under load: what was acknowledged is there, and nothing counts twice, whatever keeps the log and the state."""

import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import pytest
import tiny_shop as tiny
from load import Load

from serving.redis_state import RedisState
from serving.state import OnlineState
from serving.storage import open_store
from serving.store import ID_KEY, meta

HERE = Path(__file__).parent


class Nursery:
    """Services in processes of their own."""

    def __init__(self, process):
        self._process = process
        self._lives: set[int] = set()

    def start(self, folder, port) -> int:
        self._process.stdin.write(json.dumps({"folder": str(folder), "port": port}) + "\n")
        self._process.stdin.flush()
        child = int(self._process.stdout.readline())
        self._lives.add(child)
        return child

    def kill(self, child, number=signal.SIGKILL) -> None:
        os.kill(child, number)
        self._lives.discard(child)
        deadline = time.monotonic() + 20
        while lives(child):
            assert time.monotonic() < deadline
            time.sleep(0.005)

    def end(self) -> None:
        for child in [*self._lives]:
            if lives(child):
                self.kill(child)
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait(timeout=20)


def lives(child) -> bool:
    return Path(f"/proc/{child}").exists()  # a zombie may still have threads that hold the port


@contextmanager
def nursery():
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join((str(HERE), str(HERE.parents[1]))), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [sys.executable, HERE / "nursery.py"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    )
    assert process.stdout.readline() == "ready\n"
    found = Nursery(process)
    try:
        yield found
    finally:
        found.end()


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


def wait_until_ready(port, seconds=60) -> None:
    deadline = time.monotonic() + seconds
    while True:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5):
                return
        except OSError:
            assert time.monotonic() < deadline
            time.sleep(0.1)


def wait_for(holds, seconds=60) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def check(settings, load) -> None:
    """All that was acknowledged is in the log, once; campaigns have paid for each clicked position once."""
    store = open_store(settings)
    stored = dict(store.read("SELECT request_id, COUNT(*) FROM decisions GROUP BY request_id"))
    assert {name: stored.get(name, 0) for name, positions in load.slates.items() if stored.get(name, 0) != positions} == {}
    twice = "SELECT request_id, position FROM decisions GROUP BY request_id, position HAVING COUNT(*) > 1"
    assert store.read(twice) == []
    events = [name for (name,) in store.read("SELECT event_id FROM events UNION ALL SELECT event_id FROM feedback")]
    assert len(events) == len(set(events))
    assert load.events - set(events) == set()
    clicked = {(str(name), int(place)) for name, place in store.read("SELECT DISTINCT request_id, position FROM feedback")}
    assert load.clicks - clicked == set()
    bids = {(name, place): bid for name, place, bid in store.read("SELECT request_id, position, bid_micros FROM decisions")}
    paid = sum(int(spent) for (spent,) in store.read("SELECT spent_micros FROM spend"))
    assert paid == sum(bids[one] for one in clicked) > 0
    store.close()


def check_cache(settings) -> None:
    """What Redis holds of a shopper is what the log says: no acknowledgement rests on it, and it lacks none."""
    store = open_store(settings)
    log = OnlineState(store, max_events=settings.params.max_events)
    state = RedisState.__new__(RedisState)
    name = str(meta(store, ID_KEY))
    begin = RedisState._begin_epoch
    try:
        RedisState._begin_epoch = lambda self: setattr(self, "_server", self._run_id())  # look at the killed ones' epoch
        state.__init__(settings.state_url, log, log_id=name, max_events=settings.params.max_events)
    finally:
        RedisState._begin_epoch = begin
    state._run(lambda pipe: pipe.ping())
    users = [str(user) for (user,) in store.read("SELECT DISTINCT user_id FROM decisions")]
    sets = state._read(users)
    assert sum(found is not None for found in sets) > len(users) / 2
    for user, found in zip(users, sets, strict=True):
        if found is not None:
            held, true = state._past(*found, 2**62), log.pasts([user], 2**62)[0]
            assert held.history.timestamps.tolist() == true.history.timestamps.tolist()
            assert held.responses.clicks.tolist() == true.responses.clicks.tolist()
            assert held.responses.timestamps.tolist() == true.responses.timestamps.tolist()
    state.close()
    store.close()


def kill_often(shop, kills) -> Load:
    tiny.write_pool(shop / "models" / "pool", budget=10**15)
    settings, rng = tiny.settings_in(shop), random.Random(1)
    load = Load(free_port())
    with nursery() as services, load:
        for turn in range(kills + 1):
            service = services.start(shop, load.port)
            wait_until_ready(load.port)
            before = load.acknowledged()
            wait_for(lambda before=before: load.acknowledged() > before + 10)
            time.sleep(rng.uniform(0.0, 0.4))
            if turn < kills:
                services.kill(service)
        before = load.acknowledged()
        wait_for(lambda: load.acknowledged() > before + 60)
    if settings.state_url:
        check_cache(settings)
    check(settings, load)
    return load


def test_nothing_acknowledged_is_lost_by_five_kills(shop):
    load = kill_often(shop, 5)
    assert {status for _, status in load.statuses} <= {200, 503}
    assert min(len(load.slates), len(load.events), len(load.clicks)) > 5


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("backend", ["sqlite", "postgres", "sqlite+redis", "postgres+redis"], indirect=True)
def test_nothing_acknowledged_is_lost_by_fifty_kills(shop, backend):
    load = kill_often(shop, 50)
    assert {status for _, status in load.statuses} <= {200, 503}
    assert min(len(load.slates), len(load.events), len(load.clicks)) > 50
    sys.stderr.write(
        f"{backend}: {len(load.slates)} slates, {len(load.events)} events, {len(load.clicks)} clicked positions acknowledged; all there\n"
    )
