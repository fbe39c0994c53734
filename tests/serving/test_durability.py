"""What is acknowledged is on disk: syncs counted between SQLite and the operating system, beside the order of commit and answer."""

import sqlite3
import threading
import time

import pytest
import tiny_shop as tiny
from service_runs import running

from benchmarks.serving.syncs import count_syncs
from serving.app import create_app
from serving.database import Checkpoints, Database
from serving.decision_log import DecisionLog

SYNCS = count_syncs()
needs_counting = pytest.mark.skipif(SYNCS is None, reason="Python's SQLite is built in, so its syncs cannot be counted here")


def rows(settings, statement):
    with sqlite3.connect(settings.database) as connection:
        return connection.execute(statement).fetchall()


def ask_at_once(client, bodies):
    answers = [None] * len(bodies)

    def ask(place):
        answers[place] = client.post("/v1/ads", json=bodies[place])

    threads = [threading.Thread(target=ask, args=(place,)) for place in range(len(bodies))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return answers


@needs_counting
def test_the_count_tells_full_from_normal(tmp_path):
    with sqlite3.connect(tmp_path / "a.sqlite", isolation_level=None) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("CREATE TABLE a (x)")
        counts = {}
        for level in ("FULL", "NORMAL"):
            connection.execute(f"PRAGMA synchronous={level}")
            before = SYNCS.log
            for number in range(10):
                connection.execute("INSERT INTO a VALUES (?)", (number,))
            counts[level] = SYNCS.log - before
    assert counts["FULL"] >= 10
    assert counts["NORMAL"] == 0


@needs_counting
def test_every_group_is_synced_after_its_rows_and_before_its_answers(shop, monkeypatch):
    settings = tiny.settings_in(shop)
    order: list[str] = []
    write = DecisionLog.write

    def written(log, records, *, reviewed=0):
        order.append("begin")
        write(log, records, reviewed=reviewed)
        order.append(f"stored {len(records)}")

    monkeypatch.setattr(DecisionLog, "write", written)
    with running(settings) as client:
        assert rows(settings, "PRAGMA journal_mode") == [("wal",)]
        monkeypatch.setattr(SYNCS, "seen", lambda kind: order.append(kind) if threading.current_thread().name == "decisions" else None)
        answers = ask_at_once(client, [{"user_id": f"u{number}", "k": 2} for number in range(24)])
        page = client.get("/metrics").text
    assert {answer.status_code for answer in answers} == {200}
    groups = [place for place, what in enumerate(order) if what == "begin"]
    for start, stop in zip(groups, [*groups[1:], len(order)], strict=True):
        part = order[start:stop]
        assert part[-1].startswith("stored")
        assert "log" in part[1:-1]  # the sync has returned before the write did, and only then is anybody answered
    assert f"adloom_decision_groups_total {float(len(groups))}" in page
    assert sum(int(what.split()[1]) for what in order if what.startswith("stored")) == 24
    stored = rows(settings, "SELECT request_id, COUNT(*) FROM decisions GROUP BY request_id")
    assert dict(stored) == {answer.json()["request_id"]: 2 for answer in answers}


def test_the_service_s_own_connection_syncs_every_commit(shop):
    database = create_app(tiny.settings_in(shop)).state.storage.store
    assert database.read("PRAGMA synchronous") == [(2,)]  # FULL
    assert database.read("PRAGMA journal_mode") == [("wal",)]
    database.close()


def test_checkpoints_empty_the_log_without_a_commit_s_help(tmp_path):
    database = Database(tmp_path / "a.sqlite")
    checkpoints = Checkpoints(database.path, every_seconds=0.02)
    checkpoints.start()
    with database.transaction() as connection:
        connection.execute("INSERT INTO meta VALUES ('a', 'b')")
    deadline = time.monotonic() + 20
    while True:
        _, in_log, moved = database.read("PRAGMA wal_checkpoint(PASSIVE)")[0]
        if in_log == moved:
            break
        assert time.monotonic() < deadline
        time.sleep(0.02)
    checkpoints.stop()
    database.close()
    with sqlite3.connect(tmp_path / "a.sqlite") as connection:
        assert connection.execute("SELECT value FROM meta WHERE key = 'a'").fetchall() == [("b",)]
