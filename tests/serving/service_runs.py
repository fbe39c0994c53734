"""A service under test, and the servers behind it."""

import shutil
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
import tiny_shop as tiny
from fastapi.testclient import TestClient

from serving.app import create_app
from serving.packages import find
from serving.services import FOLDER, Running, Services

ROOT = Path(__file__).resolve().parents[2]


class Servers(Services):
    """Servers of the tests' own, with the programs that the project has."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, say=lambda told: None)

    def fresh(self, backend: str) -> dict[str, str | None]:
        """Addresses of an empty log and state."""
        urls = self.running()
        assert urls is not None
        return {
            "log_url": fresh_schema(urls) if backend.startswith("postgres") else None,
            "state_url": urls.state_url if backend.endswith("redis") else None,
        }


def fresh_schema(urls: Running) -> str:
    name = f"t{uuid.uuid4().hex[:12]}"
    with psycopg.connect(urls.log_url, autocommit=True) as connection:
        connection.execute(f"CREATE SCHEMA {name}")
    return f"{urls.log_url}?options=-csearch_path%3D{name}"


@contextmanager
def own_servers() -> Iterator[Servers]:
    """PostgreSQL and Redis in a folder of their own, which PostgreSQL's user may enter."""
    packages = ROOT / FOLDER / "packages"
    if find(packages) is None:
        pytest.skip("PostgreSQL or Redis is not installed: `make services` fetches them, and `make test-all` does so by itself")
    folder = Path(tempfile.mkdtemp(prefix="adloom-servers-"))
    folder.chmod(0o755)
    try:
        (folder / FOLDER).mkdir(parents=True)
        if packages.is_dir():
            (folder / FOLDER / "packages").symlink_to(packages)
        servers = Servers(folder)
        servers.start()
        yield servers
        servers.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def running(settings, wall=None) -> Iterator[TestClient]:
    with TestClient(create_app(settings, wall=wall or tiny.Wall())) as client:
        deadline = time.monotonic() + 20
        while client.get("/readyz").status_code != 200:
            assert time.monotonic() < deadline, client.get("/readyz").text
            time.sleep(0.02)
        yield client
