"""A server is stopped under load: answers go on, marked, and what is acknowledged is in the log afterwards, once."""

import json
import os
import signal
import sys
import time
import urllib.request
from pathlib import Path

import psutil
import pytest
import tiny_shop as tiny
from load import Load
from service_runs import own_servers
from test_kills import check, check_cache, free_port, nursery, wait_for, wait_until_ready

SECONDS = float(os.environ.get("ADLOOM_TEST_OUTAGE_SECONDS", "30"))
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def get(port, path):
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
        return answer.read().decode()


def degraded(port):
    return json.loads(get(port, "/healthz"))["degraded"]


def stop(servers, name):
    {"log": servers.stop_postgres, "state": servers.stop_redis}[name]()


def start(servers, name):
    {"log": servers.start_postgres, "state": servers.start_redis}[name]()


def family(servers):
    data = servers.folder / "postgres" / "postmaster.pid"
    postmaster = psutil.Process(int(data.read_text().splitlines()[0]))
    return [postmaster, *postmaster.children()]


@pytest.fixture
def outage(written, tmp_path):
    import shutil

    shop = tmp_path / "shop"
    shutil.copytree(written, shop)
    tiny.write_pool(shop / "models" / "pool", budget=10**15)
    with own_servers() as servers, nursery() as services:
        tiny.use_servers(shop, **servers.fresh("postgres+redis"))
        load = Load(free_port())
        process = services.start(shop, load.port)
        wait_until_ready(load.port)
        yield servers, services, shop, load, process


def pause(load, seconds):
    before = len(load.slates)
    time.sleep(seconds)
    return len(load.slates) - before


@pytest.mark.parametrize("away", [("log",), ("state",), ("log", "state")])
def test_answers_go_on_while_servers_are_stopped_and_nothing_acknowledged_is_lost(outage, away):
    servers, _, shop, load, _ = outage
    with load:
        pause(load, 3)
        for name in away:
            stop(servers, name)
        wait_for(lambda: degraded(load.port) == list(away), 10)
        events = len(load.events)
        answered = pause(load, SECONDS)
        metrics = get(load.port, "/metrics")
        assert all(f'adloom_degraded{{part="{name}"}} 1.0' in metrics for name in away)
        assert json.loads(get(load.port, "/readyz"))["degraded"] == list(away)
        assert answered > 2 * SECONDS
        if "log" in away:
            assert len(load.events) == events  # nothing is acknowledged that is not in the log
            assert load.retry_after == {"2"}
            assert json.loads(get(load.port, "/healthz"))["spilled"] > 0
        else:
            assert len(load.events) > events
        for name in reversed(away):
            start(servers, name)
        wait_for(lambda: degraded(load.port) == [], 20)
        pause(load, 3)
        metrics = get(load.port, "/metrics")
    if "log" in away:
        spilled, drained = (
            float(next(line.split()[1] for line in metrics.splitlines() if line.startswith(f"adloom_{what}_decisions_total")))
            for what in ("spilled", "drained")
        )
        assert spilled == drained > 0
    assert {status for path, status in load.statuses if path == "/v1/ads"} == {200}
    assert load.degraded
    settings = tiny.settings_in(shop)
    check(settings, load)
    check_cache(settings)
    sys.stderr.write(
        f"{'+'.join(away)} away for {SECONDS:g} s: {answered} slates answered meanwhile, the slowest in {load.slowest:.2f} s\n"
    )


def test_a_server_that_hangs_is_given_up_within_seconds(outage):
    servers, _, shop, load, _ = outage
    with load:
        pause(load, 2)
        stopped = family(servers)
        for process in stopped:
            process.send_signal(signal.SIGSTOP)
        try:
            wait_for(lambda: degraded(load.port) == ["log"], 10)
            assert pause(load, 8) > 8
        finally:
            for process in stopped:
                if process.is_running():
                    process.send_signal(signal.SIGCONT)
        wait_for(lambda: degraded(load.port) == [], 20)
        pause(load, 2)
    assert load.slowest < 6
    assert {status for path, status in load.statuses if path == "/v1/ads"} == {200}
    check(tiny.settings_in(shop), load)


def test_slates_that_wait_when_the_service_is_killed_come_into_the_log_by_the_next_one(outage):
    servers, services, shop, load, process = outage
    with load:
        pause(load, 2)
        stop(servers, "log")
        wait_for(lambda: len(load.degraded) > 20, 20)
        services.kill(process)
        start(servers, "log")
        services.start(shop, load.port)
        wait_until_ready(load.port)
        pause(load, 3)
    assert list(Path(shop / "live").glob("spill-*.sqlite"))
    check(tiny.settings_in(shop), load)
