import shutil

import pytest
import tiny_shop as tiny
from service_runs import own_servers, running

BACKENDS = ("sqlite", "postgres", "sqlite+redis", "postgres+redis")
EVERY_BACKEND = {"test_ads", "test_events", "test_learning", "test_replay", "test_backends", "test_budgets", "test_console"}
"""Modules whose tests run against each backend; against the servers only by `make test-all`."""


def pytest_generate_tests(metafunc):
    if "backend" in metafunc.fixturenames and metafunc.module.__name__ in EVERY_BACKEND:
        quick = ("sqlite", "postgres+redis") if metafunc.module.__name__ == "test_backends" else ("sqlite",)
        chosen = [pytest.param(name, marks=[] if name in quick else [pytest.mark.slow]) for name in BACKENDS]
        metafunc.parametrize("backend", chosen, indirect=True, scope="function")


@pytest.fixture(scope="session")
def servers():
    with own_servers() as found:
        yield found


@pytest.fixture
def backend(request):
    """What keeps log and state; SQLite where a module does not ask for others."""
    return getattr(request, "param", "sqlite")


@pytest.fixture(scope="session")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shop")
    tiny.write_bundles(folder / "models")
    tiny.write_clean(folder / "clean")
    return folder


@pytest.fixture
def shop(written, tmp_path, backend, request):
    shutil.copytree(written, tmp_path / "shop")
    if backend != "sqlite":
        tiny.use_servers(tmp_path / "shop", **request.getfixturevalue("servers").fresh(backend))
    return tmp_path / "shop"


@pytest.fixture
def client(shop):
    with running(tiny.settings_in(shop)) as client:
        yield client
