import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import tiny_shop as tiny
from fastapi.testclient import TestClient

from serving.app import create_app


@pytest.fixture(scope="session")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shop")
    tiny.write_bundles(folder / "models")
    tiny.write_clean(folder / "clean")
    return folder


@pytest.fixture
def shop(written, tmp_path):
    shutil.copytree(written, tmp_path / "shop")
    return tmp_path / "shop"


@contextmanager
def running(settings, wall=None) -> Iterator[TestClient]:
    with TestClient(create_app(settings, wall=wall or tiny.Wall())) as client:
        deadline = time.monotonic() + 20
        while client.get("/readyz").status_code != 200:
            assert time.monotonic() < deadline, client.get("/readyz").text
            time.sleep(0.02)
        yield client


@pytest.fixture
def client(shop):
    with running(tiny.settings_in(shop)) as client:
        yield client
