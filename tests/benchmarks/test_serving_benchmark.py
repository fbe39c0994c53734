import json
import sqlite3
import sys
import warnings
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from benchmarks.serving import measure, peer, running
from benchmarks.serving.load import Plan, requests_of
from benchmarks.serving.profile_page import HTTP, STAGES, STAGES_CPU, stage_times, write_page
from benchmarks.serving.world import Shop
from core.columns import Columns as C
from core.files import read_table, write_table
from core.identity import DEVELOPMENT_KEY, pseudonymise

sys.path.append(str(Path(__file__).parents[1] / "serving"))
import tiny_shop as tiny
from tiny_ranker import train_ranker


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shop")
    tiny.write_bundles(folder / "models")
    tiny.write_clean(folder / "clean")
    train_ranker(folder)
    events = read_table(folder / "clean" / "events.parquet")
    events[C.USER] = pseudonymise(["shopper-0"], DEVELOPMENT_KEY)[0]
    write_table(events, folder / "clean" / "events.parquet")
    return Shop(folder, 5)


@pytest.fixture(scope="module")
def result(shop):
    return measure.measure_service(shop, connections=4, warm_up=0.2, seconds=1.0)


def test_a_tiny_run_counts_every_answer_and_finds_each_in_the_log(shop, result):
    assert result.load["requests"] > 10
    assert (result.load["errors"], result.load["first_error"]) == (0, "")
    assert result.unrecorded == 0
    assert result.log_syncs is None or result.log_syncs >= result.groups > 0
    assert result.load["p50_ms"] <= result.load["p90_ms"] <= result.load["p99_ms"] <= result.load["max_ms"]
    assert result.peak_mb > 50
    assert [stage for stage, _, _ in result.stages][-1] == HTTP
    assert len(result.stages) == 8
    assert not measure._holds(result, None) or result.load["rps"] >= measure.MIN_RPS


def test_a_record_that_is_missing_or_differs_is_found(shop, result):
    database = shop.settings().database
    with closing(sqlite3.connect(database)) as connection:
        rows = connection.execute("SELECT request_id, position, creative_id, propensity FROM decisions LIMIT 1").fetchall()
    (request_id, position, creative, propensity) = rows[0]
    ad = {"position": position, "creative_id": creative, "propensity": propensity}
    assert measure.unrecorded(database, [{"request_id": request_id, "slate": [ad]}]) == 0
    assert measure.unrecorded(database, [{"request_id": request_id, "slate": [{**ad, "propensity": propensity / 2}]}]) == 1
    assert measure.unrecorded(database, [{"request_id": "0" * 32, "slate": [ad]}, {"request_id": request_id, "slate": []}]) == 2


def test_the_peer_s_model_answers_what_the_service_logged(shop, result, tmp_path):
    settings = shop.settings()
    logged = peer.logged(settings.database, shop.folder / "models", requests=5, max_events=settings.params.max_events)
    assert len(logged) == 5
    peer.write_model(shop.folder / "models", tmp_path / "model", logged[0].features.shape[1])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import mlflow

        model = mlflow.pyfunc.load_model(str(tmp_path / "model"))
    for one in logged:
        rows = np.array(json.loads(peer.body(one.features))["inputs"], dtype=np.float32)
        np.testing.assert_array_equal(rows, one.features)
        np.testing.assert_allclose(model.predict(rows)[one.shown, 0], one.p_click, rtol=2e-4)


@pytest.mark.slow
def test_the_peer_is_measured_beside_the_service(shop, result):
    found = measure.measure_peer(shop, connections=2, warm_up=0.2, seconds=1.0)
    assert found["errors"] == 0
    assert found["requests"] > 0
    assert found["largest_difference"] < 1e-3


def test_a_server_that_ends_before_it_answers_is_told_with_the_end_of_its_log(tmp_path):
    command = [sys.executable, "-c", "print('no such shop')"]
    with (
        pytest.raises(RuntimeError, match="no such shop"),
        running.started(command, "http://127.0.0.1:9/", log=tmp_path / "log", core=-1),
    ):
        pass


def test_requests_are_whole_and_their_length_is_told(tmp_path):
    (tmp_path / "bodies").write_bytes('{"a": 1}\n{"查": 2}'.encode())
    plan = Plan("127.0.0.1", 80, "/v1/ads", str(tmp_path / "bodies"), 1, 0.0, 1.0, -1, "")
    head, body = requests_of(plan)[1].split(b"\r\n\r\n")
    assert head.startswith(b"POST /v1/ads HTTP/1.1\r\nhost: 127.0.0.1:80\r\n")
    assert head.endswith(b"content-length: 10")
    assert json.loads(body) == {"查": 2}


def test_a_stage_s_time_is_shared_among_the_requests_and_the_rest_is_the_event_loop_s(tmp_path):
    before = {f'{STAGES}{{stage="features"}}': 1.0, f'{STAGES_CPU}{{stage="features"}}': 0.5}
    after = {f'{STAGES}{{stage="features"}}': 3.0, f'{STAGES_CPU}{{stage="features"}}': 1.5}
    stages = stage_times(before, after, requests=100, cpu=4.0)
    assert stages[0] == ("features", pytest.approx(20.0), pytest.approx(10.0))
    assert stages[1][0] == HTTP
    assert stages[1][2] == pytest.approx(30.0)
    write_page(tmp_path / "page.html", stages, {"rps": "<1>"})
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "25.0 %" in page
    assert "&lt;1&gt;" in page
