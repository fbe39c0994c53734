import re
import shutil
import socket
import threading
import time
from html.parser import HTMLParser
from pathlib import Path
from typing import ClassVar

import pytest
import tiny_shop as tiny
from fastapi.testclient import TestClient
from service_runs import running

from core.errors import IdentityError, RegistryError, ServiceError
from core.identity import KEY_VARIABLE
from models.generator import GeneratorBundle
from registry.models import KINDS, Registered
from serving import champions as champions_module
from serving.app import create_app
from serving.champions import Champions, RegistrySource
from serving.database import Database
from serving.server import serve
from serving.world import World


def until(holds, seconds=20.0):
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_other_champions_take_over_without_a_failed_request(shop, tmp_path):
    tiny.write_bundles(tmp_path / "other", scale=0.5)
    settings = tiny.settings_in(shop)
    seen: list[tuple[int, str]] = []
    with running(settings) as client:
        before = client.get("/readyz").json()["versions"]["bundles"]
        stop = threading.Event()

        def load():
            while not stop.is_set():
                answer = client.post("/v1/ads", json={"user_id": "u1"})
                seen.append((answer.status_code, answer.json()["versions"]["bundles"]["recommender"]))

        threads = [threading.Thread(target=load) for _ in range(3)]
        for thread in threads:
            thread.start()
        for kind in KINDS:
            (settings.bundles / kind).rename(tmp_path / f"old-{kind}")
            shutil.copytree(tmp_path / "other" / kind, settings.bundles / f".{kind}")
            (settings.bundles / f".{kind}").rename(settings.bundles / kind)
        until(lambda: client.get("/readyz").json()["versions"]["bundles"]["ranker"] != before["ranker"])
        time.sleep(0.2)
        stop.set()
        for thread in threads:
            thread.join()
    assert {status for status, _ in seen} == {200}
    assert seen[0][1] == before["recommender"]
    assert seen[-1][1] != before["recommender"]


def test_a_bundle_that_does_not_load_leaves_the_old_ones_serving(shop):
    settings = tiny.settings_in(shop)
    with running(settings) as client:
        config = settings.bundles / "ranker" / "config.json"
        config.write_text(config.read_text().replace('"format_version": 1', '"format_version": 99'))
        until(lambda: "format version 99" in client.get("/readyz").json()["problem"])
        assert client.get("/readyz").json()["ready"]
        assert client.post("/v1/ads", json={"user_id": "u1"}).status_code == 200


def test_without_champions_the_service_lives_and_says_what_is_missing(shop):
    settings = tiny.settings_in(shop)
    shutil.rmtree(settings.bundles / "pool")
    with TestClient(create_app(settings)) as client:
        until(lambda: "no bundle of pool" in client.get("/readyz").json()["problem"])
        assert client.get("/readyz").status_code == 503
        assert "make run" in client.get("/readyz").json()["problem"]
        assert client.get("/healthz").json() == {"status": "ok", "degraded": [], "spilled": 0}
        answer = client.post("/v1/ads", json={})
        assert (answer.status_code, answer.json()["code"]) == (503, "not_ready")
        tiny.write_pool(settings.bundles / "pool")
        until(lambda: client.get("/readyz").status_code == 200)


def test_without_clean_tables_the_next_step_is_named(shop):
    settings = tiny.settings_in(shop)
    settings.data.lineage.unlink()
    with TestClient(create_app(settings)) as client:
        until(lambda: "lineage.json: no such file" in client.get("/readyz").json()["problem"])
        assert client.get("/readyz").status_code == 503


def test_users_hashed_with_another_key_are_refused(shop, monkeypatch):
    settings = tiny.settings_in(shop)
    monkeypatch.setenv(KEY_VARIABLE, "another key, long enough")
    with TestClient(create_app(settings)) as client:
        until(lambda: f"hashed with its own key, but {KEY_VARIABLE} is set (key " in client.get("/readyz").json()["problem"])
        assert client.get("/readyz").status_code == 503


def test_a_log_of_another_key_is_refused(shop):
    settings = tiny.settings_in(shop)
    database = Database(settings.database)
    database.claim("00000000")
    with pytest.raises(IdentityError, match="holds users hashed with key 00000000"):
        World.open(database, settings.data)
    database.close()


class _Registry:
    """What `RegistrySource` asks of the registry."""

    aliases: ClassVar[dict[str, Registered]] = {}

    def __init__(self, root: Path) -> None:
        pass

    def alias(self, kind, alias):
        assert alias == "champion"
        return self.aliases.get(kind)

    def fetch(self, registered, cache):
        return cache / registered.kind / registered.bundle_hash


def test_the_registry_s_champions_are_named_with_version_and_hash(monkeypatch, tmp_path):
    monkeypatch.setattr(champions_module, "Registry", _Registry)
    source = RegistrySource(tmp_path, tmp_path / "fetched")
    monkeypatch.setattr(_Registry, "aliases", {"ranker": Registered("ranker", 3, "c0ffee")})
    with pytest.raises(
        ServiceError, match="no champion of adloom-recommender, adloom-generator, adloom-pool: run the loop with `make run`"
    ):
        source.current()
    monkeypatch.setattr(_Registry, "aliases", {kind: Registered(kind, 3, "c0ffee") for kind in KINDS})
    found = source.current()["ranker"]
    assert (found.version, found.bundle_hash) == (3, "c0ffee")
    assert source.path(found) == tmp_path / "fetched" / "ranker" / "c0ffee"


def test_champions_that_move_while_they_are_loaded_are_taken_when_they_have_settled():
    class Moving:
        calls = 0

        def current(self):
            self.calls += 1
            return {"pool": champions_module.Found("pool", "old" if self.calls == 1 else "new", 1)}

        def path(self, found):
            return Path(found.bundle_hash)

    champions = Champions(Moving(), lambda bundles, path: bundles["pool"].bundle_hash, poll_seconds=1)
    assert not champions.refresh()
    assert champions.current is None
    assert champions.refresh()
    assert (champions.current, champions.swaps, champions.problem) == ("new", 1, "")


def test_a_registry_that_cannot_be_read_leaves_what_serves():
    class Failing:
        down = False

        def current(self):
            if self.down:
                raise RegistryError("mlflow.db: cannot be read")
            return {}

        def path(self, found):
            return Path()

    source = Failing()
    champions = Champions(source, lambda bundles, path: "models", poll_seconds=1)
    champions.refresh()
    source.down = True
    assert not champions.refresh()
    assert (champions.current, champions.problem) == ("models", "mlflow.db: cannot be read")


def test_a_port_in_use_is_told_with_the_next_step(tmp_path, monkeypatch):
    root = Path(__file__).resolve().parents[2]
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ServiceError, match=f"port {port} on 127.0.0.1 cannot be had"):
            serve(root, host="127.0.0.1", port=port, bundles=tmp_path)
        with pytest.raises(ServiceError, match=r"nowhere': no such folder\. Name one with a bundle of each kind"):
            serve(root, host="127.0.0.1", port=port, bundles=tmp_path / "nowhere")


def test_a_failure_to_store_is_no_answer_and_is_counted(client, monkeypatch):
    import sqlite3

    from serving.decision_log import DecisionLog

    def full(*_arguments, **_named):
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(DecisionLog, "write", full)
    answer = client.post("/v1/ads", json={"user_id": "u1"})
    assert (answer.status_code, answer.json()["code"]) == (503, "not_stored")
    assert "adloom_log_failures_total 1.0" in client.get("/metrics").text


def test_metrics_count_requests_decisions_events_and_models(client):
    client.post("/v1/ads", json={"user_id": "u1", "k": 5})
    client.post("/v1/events", json={"events": [{"type": "view", "event_id": "e", "user_id": "u", "item_id": "p1"}]})
    client.get("/v1/nothing/u1")
    page = client.get("/metrics").text
    assert 'adloom_decisions_total{channel="onsite",scene="product"} 1.0' in page
    assert 'adloom_events_total{kind="view"} 1.0' in page
    assert 'adloom_requests_total{method="POST",route="/v1/ads",status="200"} 1.0' in page
    assert 'route="unknown",status="404"' in page
    assert "adloom_positions_total 5.0" in page
    assert "adloom_exploration_share" in page
    assert 'policy="epsilon-greedy-0.2"' in page
    assert "adloom_champion_swaps_total 1.0" in page


def test_copy_is_written_for_a_product_and_an_audience(client):
    answer = client.post("/v1/creatives", json={"item_id": "p1", "channel": "social", "n": 2, "audience_id": "a0"}).json()
    assert len(answer["creatives"]) == 2
    assert all(copy["ai_label"] and copy["origin"] == "template" for copy in answer["creatives"])
    assert answer["audience"]["audience_id"] == "a0"
    product = {"title": "轻便跑鞋", "category": "运动", "attributes": [["鞋底", "缓震"]]}
    written = client.post("/v1/creatives", json={"product": product, "user_id": "u1"}).json()["creatives"]
    assert "跑鞋" in written[0]["text"]
    assert len(written[0]["text"]) <= 60


def test_the_bundle_says_who_writes_for_a_product(client, monkeypatch):
    asked, real = [], GeneratorBundle.writer_for

    def writer_for(self, request, name=None):
        asked.append((request.category, name))
        return real(self, request, name)

    monkeypatch.setattr(GeneratorBundle, "writer_for", writer_for)
    table = {"title": "橡木餐桌", "category": "家具"}
    for body in ({"product": table}, {"product": table, "generator": "template"}):
        assert client.post("/v1/creatives", json=body).status_code == 200
    assert asked[0] == ("家具", None), "a category that nobody taught is the bundle's to judge"
    assert ("家具", "template") in asked


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "item_id"),
        ({"item_id": "p1", "product": {"title": "a", "category": "b"}}, "item_id"),
        ({"item_id": "p99"}, "item_id"),
        ({"item_id": "p1", "audience_id": "a99"}, "audience_id"),
        ({"item_id": "p1", "audience_id": "a0", "user_id": "u1"}, "audience_id"),
        ({"item_id": "p1", "generator": "oracle"}, "generator"),
        ({"item_id": "p1", "n": 0}, "n"),
        ({"item_id": "p1", "n": True}, "n"),
        ({"product": {"title": "a", "category": "b", "price_micros": "5"}}, "product.price_micros"),
        ({"product": {"title": "", "category": "b"}}, "product.title"),
    ],
)
def test_a_wrong_order_for_copy_names_its_field(client, body, field):
    answer = client.post("/v1/creatives", json=body)
    assert (answer.status_code, answer.json()["faults"][0]["field"]) == (422, field)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"user_id": "u1", "k": 0}, "k"),
        ({"user_id": "u1", "k": 6}, "k"),
        ({"user_id": "u1", "k": True}, "k"),
        ({"user_id": "u1", "k": "3"}, "k"),
        ({"user_id": "u1", "consent": "no"}, "consent"),
        ({"user_id": "u1", "cards": 1}, "cards"),
        ({"history": [{"type": "view", "item_id": "p1", "timestamp": 1_700_000_000}]}, "history.0.timestamp"),
        ({"history": [{"type": "view", "item_id": "p1", "timestamp": "1700000000"}]}, "history.0.timestamp"),
        ({"user_id": "u1", "scene": "window"}, "scene"),
        ({"user_id": "u1", "channel": "radio"}, "channel"),
        ({"user_id": "u1", "history": []}, "history"),
        ({"history": [{"type": "view", "item_id": "p1"}] * 201}, "history"),
        ({"history": [{"type": "search", "item_id": "p1", "query": "a"}]}, "history.0.item_id"),
        ({"history": [{"type": "view", "item_id": "p1", "timestamp": "2040-01-01T00:00:00Z"}]}, "history.0.timestamp"),
        ({"user_id": "u1", "colour": "red"}, "colour"),
    ],
)
def test_a_wrong_request_for_ads_names_its_field(client, body, field):
    answer = client.post("/v1/ads", json=body)
    assert (answer.status_code, answer.json()["faults"][0]["field"]) == (422, field)
    assert answer.headers["x-request-id"] == answer.json()["request_id"]


NO_OBJECT = "Input should be a valid dictionary or object to extract fields from"


@pytest.mark.parametrize(
    ("content", "kind", "fault"),
    [
        (b'{"user_id": }', "application/json", {"field": "body", "problem": "not JSON at character 13: Expecting value"}),
        (b'{"user_id": "u1"}', None, {"field": "content-type", "problem": "application/json is needed, this is missing"}),
        (b'{"user_id": "u1"}', "text/plain", {"field": "content-type", "problem": "application/json is needed, this is text/plain"}),
        (
            b"[1]",
            "application/json; charset=utf-8",
            {"field": "body", "problem": NO_OBJECT},
        ),
    ],
)
def test_a_body_that_is_no_object_is_told_as_such(client, content, kind, fault):
    answer = client.post("/v1/ads", content=content, headers={"content-type": kind} if kind else {})
    assert (answer.status_code, answer.json()["faults"]) == (422, [fault])


def test_a_time_that_is_to_come_is_told_beside_the_service_s_own(client):
    past = {"type": "view", "item_id": "p1", "timestamp": "2040-01-01T00:00:00Z"}
    assert re.search(r"not before now, which is \d{4}-\d\d-\d\dT[\d:]{8} UTC here", client.post("/v1/ads", json={"history": [past]}).text)
    event = past | {"event_id": "e", "user_id": "u1"}
    assert re.search(
        r"in the future: 2040-01-01T00:00:00\+00:00, and it is \d{4}-", client.post("/v1/events", json={"events": [event]}).text
    )


class _Links(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag, attrs):
        self.found += [value or "" for name, value in attrs if name in {"src", "href"}]


def test_the_reference_needs_nothing_from_outside(client):
    page = client.get("/docs").text
    links = _Links()
    links.feed(page)
    assert links.found
    assert all(link.startswith(("/", "#")) for link in links.found)
    assert "http://" not in page
    assert "https://" not in page
    for path in ("/v1/ads", "/v1/events", "/v1/creatives", "/healthz", "/readyz", "/metrics"):
        assert path in page


def test_every_field_of_the_api_is_described_where_it_needs_it(client):
    schemas = client.get("/openapi.json").json()["components"]["schemas"]
    assert all(
        schema.get("description") for name, schema in schemas.items() if not name.startswith("HTTPValidation") and name != "ValidationError"
    )


def test_logs_are_json_with_the_request_s_id(client, capsys):
    import json
    import logging

    from serving.logs import JsonLines

    record = logging.makeLogRecord({"name": "serving", "levelname": "INFO", "msg": "hello %s", "args": ("you",), "status": 200})
    line = json.loads(JsonLines().format(record))
    assert (line["message"], line["status"], line["logger"]) == ("hello you", 200, "serving")
