"""`adloom services`: PostgreSQL and Redis of the project's own, and what the service asks of them at opening."""

import stat

import psutil
import psycopg
import pytest
import redis
import tiny_shop as tiny
from service_runs import fresh_schema, running
from test_durability import ask_at_once
from typer.testing import CliRunner

from cli import main
from core.errors import ServiceError
from serving import postgres
from serving.app import create_app
from serving.packages import find, unpack
from serving.postgres import PostgresDatabase, url_name
from serving.services import Services
from serving.spill import SpillingLog


def test_starting_again_changes_nothing_and_says_the_same(servers):
    first = servers.running()
    processes = listening(servers)
    assert servers.start() == first
    assert listening(servers) == processes


def listening(servers):
    ports = [int(url.rsplit("/", 1)[0].rsplit(":", 1)[1]) for url in (servers.running().log_url, servers.running().state_url)]
    found = [one for one in psutil.net_connections("inet") if one.status == psutil.CONN_LISTEN and one.laddr.port in ports]
    assert {one.laddr.port for one in found} == set(ports)
    return sorted((one.laddr.ip, one.laddr.port, one.pid) for one in found)


def test_the_servers_listen_on_loopback_only_and_want_a_password(servers):
    assert {address for address, _, _ in listening(servers)} == {"127.0.0.1"}
    urls = servers.running()
    password = urls.state_url.split(":")[2].split("@")[0]
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(urls.log_url.replace(password, "guess"))
    with pytest.raises(redis.AuthenticationError), redis.Redis.from_url(urls.state_url.replace(password, "guess")) as client:
        client.ping()
    for name in ("services.json", "redis.conf"):
        assert stat.S_IMODE((servers.folder / name).stat().st_mode) == 0o600
    assert not (servers.folder / "password").exists()


def test_postgres_does_not_run_as_root(servers):
    pid = int((servers.folder / "postgres" / "postmaster.pid").read_text().splitlines()[0])
    assert psutil.Process(pid).username() != "root"


def test_a_project_without_servers_says_so(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert Services(tmp_path).running() is None
    shown = CliRunner().invoke(main, ["services", "status"])
    assert shown.output.splitlines() == ["postgres: does not run", "redis: does not run"]
    assert CliRunner().invoke(main, ["services", "stop"]).output.strip() == "stopped: nothing ran"
    assert list(tmp_path.iterdir()) == []


def test_without_apt_the_next_step_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ServiceError, match="set ADLOOM_LOG_URL and ADLOOM_STATE_URL"):
        Services(tmp_path, system=tmp_path / "nothing").start()


@pytest.mark.slow
def test_packages_are_unpacked_into_the_project_where_the_system_has_none(tmp_path):
    import shutil

    if shutil.which("apt-get") is None:
        pytest.skip("no apt-get: this is not Debian")
    packages, empty = tmp_path / "packages", tmp_path / "empty"
    unpack(packages, missing=("redis-server", "postgresql-15"), say=lambda told: None)
    assert find(empty, system=empty) is None
    if list(packages.glob("usr/lib/postgresql/*/bin/initdb")):  # apt leaves out what the system has
        assert find(packages, system=empty) is not None


def test_a_server_that_would_answer_before_the_disk_has_it_is_refused(servers, monkeypatch):
    url = fresh_schema(servers.running())
    opened = PostgresDatabase(f"{url}%20-csynchronous_commit%3Doff")
    assert opened.read("SHOW synchronous_commit") == [("on",)]
    opened.close()
    monkeypatch.setattr(postgres, "_SETTINGS", "SET synchronous_commit TO off")
    with pytest.raises(ServiceError, match="synchronous_commit is off"):
        PostgresDatabase(url)


def test_servers_that_are_not_there_are_named_without_their_passwords(shop):
    tiny.use_servers(shop, log_url="postgresql://me:secret@127.0.0.1:1/adloom", state_url=None)
    with pytest.raises(ServiceError, match=r"postgresql://127.0.0.1:1/adloom: cannot be opened .*adloom services start") as told:
        create_app(tiny.settings_in(shop))
    assert "secret" not in str(told.value)
    tiny.use_servers(shop, log_url=None, state_url="redis://:secret@127.0.0.1:1/0")
    with pytest.raises(ServiceError, match=r"Redis of ADLOOM_STATE_URL cannot be reached .*adloom services start") as told:
        create_app(tiny.settings_in(shop))
    assert "secret" not in str(told.value)
    with pytest.raises(ServiceError, match="no address of PostgreSQL"):
        url_name("sqlite://?what")


def syncs(store) -> int:
    """How often PostgreSQL has synced its write-ahead log."""
    store.read("SELECT pg_stat_force_next_flush()")
    return int(store.read("SELECT wal_sync FROM pg_stat_wal")[0][0])


def test_postgres_syncs_at_least_once_a_group_and_before_its_answers(shop, servers, monkeypatch):
    tiny.use_servers(shop, **servers.fresh("postgres"))
    counts: list[int] = []
    write = SpillingLog.write

    def counted(log, records, *, reviewed=0):
        before = syncs(log._database)
        write(log, records, reviewed=reviewed)
        counts.append(syncs(log._database) - before)

    monkeypatch.setattr(SpillingLog, "write", counted)
    with running(tiny.settings_in(shop)) as client:
        answers = ask_at_once(client, [{"user_id": f"u{number}", "k": 2} for number in range(24)])
        assert {answer.status_code for answer in answers} == {200}
        assert len(counts) >= 2
        assert min(counts) >= 1
        counts.clear()
        client.app.state.storage.store._connection.execute("SET synchronous_commit TO off")  # broken on purpose: the count tells
        ask_at_once(client, [{"user_id": f"u{number}", "k": 2} for number in range(24)])
        assert 0 in counts
