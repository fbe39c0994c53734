"""`adloom services`: a PostgreSQL and a Redis of the project's own, on loopback, with their data in data/services."""

import contextlib
import os
import pwd
import secrets
import shutil
import socket
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import redis
from psycopg import sql

from core.errors import ServiceError
from core.files import read_json, write_json
from serving.packages import SYSTEM, Programs, provide

FOLDER = Path("data") / "services"
NAME = "adloom"
PORTS = {"postgres": 15432, "redis": 16379}
"""Where the servers listen when these ports are free at the first start; else on others, which are noted."""
REDIS_MEMORY = "256mb"
"""Redis holds no more than this: what it forgets is read from the log again."""
_SOCKET_LENGTH = 90
_PATIENCE_S = 30.0


@dataclass(frozen=True)
class Running:
    """The two servers.

    Attributes:
        log_url: for ADLOOM_LOG_URL.
        state_url: for ADLOOM_STATE_URL.
    """

    log_url: str
    state_url: str


def run(root: Path, action: str, *, say: Callable[[str], None] = print) -> None:
    """What `adloom services` does.

    Args:
        root: the project's folder.
        action: start, stop, status, or fetch: the programs only.
        say: told each step and the result.

    Raises:
        ServiceError: a server cannot be had or does not come up.
    """
    services = Services(root, say=say)
    if action == "stop":
        say(f"stopped: {', '.join(services.stop()) or 'nothing ran'}")
        return
    if action == "fetch":
        services.fetch()
        return
    if action == "status":
        for name, answers in services.status().items():
            say(f"{name}: {'runs' if answers else 'does not run'}")
        found = services.running()
    else:
        found = services.start()
    if found is not None:
        say(f"export ADLOOM_LOG_URL={found.log_url}\nexport ADLOOM_STATE_URL={found.state_url}")


class Services:
    """The servers of one project; starting what runs, and stopping what does not, changes nothing."""

    def __init__(self, root: Path, *, say: Callable[[str], None] = print, system: Path = SYSTEM) -> None:
        """Start nothing yet.

        Args:
            root: the project's folder.
            say: told each step.
            system: where installed programs are looked for; tests give another.
        """
        self.folder = root / FOLDER
        self._say, self._system = say, system
        self._note = self.folder / "services.json"

    def fetch(self) -> Programs:
        """Fetch what is not installed.

        Raises:
            ServiceError: it cannot be had.
        """
        return provide(self.folder / "packages", say=self._say, system=self._system)

    def start(self) -> Running:
        """Fetch what is not installed, and start what does not run.

        Returns:
            Where they are.

        Raises:
            ServiceError: they cannot be had or do not come up; the message says why.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        programs = self.fetch()
        facts = self._facts()
        self._start_postgres(programs, facts)
        self._start_redis(programs, facts)
        return self._running(facts)

    def stop(self) -> list[str]:
        """Stop both.

        Returns:
            The names of what ran.
        """
        return [name for name, stop in (("postgres", self.stop_postgres), ("redis", self.stop_redis)) if stop()]

    def status(self) -> dict[str, bool]:
        """Which of the two answers."""
        return {"postgres": self._postgres_answers(), "redis": self._redis_answers()}

    def running(self) -> Running | None:
        """Where both are; None when one does not run."""
        return self._running(self._facts()) if self._note.is_file() and all(self.status().values()) else None

    def start_postgres(self) -> None:
        """Start PostgreSQL alone; see `start`."""
        self._start_postgres(self.fetch(), self._facts())

    def start_redis(self) -> None:
        """Start Redis alone; see `start`."""
        self._start_redis(self.fetch(), self._facts())

    def stop_postgres(self) -> bool:
        """Stop PostgreSQL; what it has acknowledged is on disk. Returns whether it ran."""
        data = self.folder / "postgres"
        if not (data / "postmaster.pid").exists() or not self._note.is_file():
            return False
        programs = self.fetch()
        stop = [programs.postgres / "pg_ctl", "stop", "-D", data, "-m", "fast", "-w"]
        return self._as_owner([str(part) for part in stop], programs, check=False).returncode == 0

    def stop_redis(self) -> bool:
        """Stop Redis; it keeps nothing on disk. Returns whether it ran."""
        if not self._redis_answers():
            return False
        with contextlib.closing(self._redis_client(self._facts())) as client, contextlib.suppress(redis.ConnectionError):
            client.shutdown(nosave=True)
        _wait_until(lambda: not self._redis_answers())
        return True

    def _facts(self) -> dict[str, Any]:
        if not self._note.is_file():
            facts = {name: _free_port(port) for name, port in PORTS.items()} | {"password": secrets.token_hex(16)}
            self._note.touch(mode=0o600)
            write_json(facts, self._note)
            self._note.chmod(0o600)
        return dict(read_json(self._note))

    def _running(self, facts: dict[str, Any]) -> Running:
        word = facts["password"]
        return Running(f"postgresql://{NAME}:{word}@127.0.0.1:{facts['postgres']}/{NAME}", f"redis://:{word}@127.0.0.1:{facts['redis']}/0")

    def _start_postgres(self, programs: Programs, facts: dict[str, Any]) -> None:
        if self._postgres_answers():
            return
        data, log = self.folder / "postgres", self.folder / "postgres.log"
        if not (data / "PG_VERSION").exists():
            self._say("making PostgreSQL's data folder …")
            self._init(data, facts, programs)
        log.touch()
        self._give(log)
        sockets = str(data) if len(str(data)) < _SOCKET_LENGTH else ""
        self._say(f"starting PostgreSQL on 127.0.0.1:{facts['postgres']} …")
        settings = {"listen_addresses": "127.0.0.1", "port": facts["postgres"], "unix_socket_directories": sockets, "fsync": "on"}
        options = " ".join(f"-c {name}={value or chr(39) * 2}" for name, value in settings.items())
        start = [programs.postgres / "pg_ctl", "start", "-D", data, "-l", log, "-w", "-t", int(_PATIENCE_S), "-o", options]
        done = self._as_owner([str(part) for part in start], programs, check=False)
        if done.returncode:
            raise ServiceError(f"PostgreSQL does not start: {_last_line(log)} (all of it in {log}).")
        self._make_database(facts)

    def _init(self, data: Path, facts: dict[str, Any], programs: Programs) -> None:
        shutil.rmtree(data, ignore_errors=True)
        data.mkdir(mode=0o700)
        self._give(data)
        word = self.folder / "password"
        word.touch(mode=0o600)
        word.write_text(str(facts["password"]), encoding="utf-8")
        self._give(word)
        make = [programs.postgres / "initdb", "-D", data, "-U", NAME, f"--pwfile={word}", "-A", "scram-sha-256", "-E", "UTF8", "--locale=C"]
        try:
            self._as_owner([str(part) for part in make], programs)
        except (OSError, subprocess.CalledProcessError) as error:
            shutil.rmtree(data, ignore_errors=True)
            told = getattr(error, "stderr", "") or str(error)
            raise ServiceError(
                f"{data}: PostgreSQL cannot make its data folder ({told.strip().splitlines()[-1]}). It runs as user {_owner() or 'you'}, "
                "who must be able to enter every folder above: move the project, or give the right with chmod o+x."
            ) from None
        finally:
            word.unlink()

    def _make_database(self, facts: dict[str, Any]) -> None:
        with psycopg.connect(self._running(facts).log_url.removesuffix(NAME) + "postgres", autocommit=True) as connection:
            if not connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", (NAME,)).fetchone():
                connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(NAME)))

    def _start_redis(self, programs: Programs, facts: dict[str, Any]) -> None:
        if self._redis_answers():
            return
        settings = self.folder / "redis.conf"
        settings.touch(mode=0o600)
        lines = {"bind": "127.0.0.1", "port": facts["redis"], "requirepass": facts["password"], "daemonize": "yes", "dir": self.folder}
        lines |= {"logfile": self.folder / "redis.log", "save": '""', "appendonly": "no"}
        lines |= {"maxmemory": REDIS_MEMORY, "maxmemory-policy": "allkeys-lru"}
        settings.write_text("".join(f"{name} {value}\n" for name, value in lines.items()), encoding="utf-8")
        self._say(f"starting Redis on 127.0.0.1:{facts['redis']} …")
        done = subprocess.run([str(programs.redis), str(settings)], env=programs.environment(), capture_output=True, text=True, check=False)
        if done.returncode or not _wait_until(self._redis_answers):
            raise ServiceError(f"Redis does not start: {done.stderr.strip() or _last_line(self.folder / 'redis.log')}.")

    def _postgres_answers(self) -> bool:
        if not self._note.is_file():
            return False
        try:
            with psycopg.connect(self._running(self._facts()).log_url.removesuffix(NAME) + "postgres", connect_timeout=2):
                return True
        except psycopg.Error:
            return False

    def _redis_answers(self) -> bool:
        if not self._note.is_file():
            return False
        try:
            with contextlib.closing(self._redis_client(self._facts())) as client:
                return bool(client.ping())
        except redis.RedisError:
            return False

    def _redis_client(self, facts: dict[str, Any]) -> redis.Redis:
        return redis.Redis.from_url(self._running(facts).state_url, socket_timeout=2)

    def _as_owner(self, command: list[str], programs: Programs, *, check: bool = True) -> subprocess.CompletedProcess[str]:
        """PostgreSQL refuses to run as root: root runs it as another user."""
        owner = _owner()
        who: dict[str, Any] = {} if owner is None else {"user": owner, "group": pwd.getpwnam(owner).pw_gid, "extra_groups": []}
        with (self.folder / "postgres.err").open("w+", encoding="utf-8") as told:  # no pipe: the server would keep it open
            done = subprocess.run(
                command, env=programs.environment(), cwd="/", stdin=subprocess.DEVNULL, stdout=told, stderr=told, check=False, **who
            )
            told.seek(0)
            words = told.read()
        if check and done.returncode:
            raise subprocess.CalledProcessError(done.returncode, command, stderr=words)
        return subprocess.CompletedProcess(command, done.returncode, "", words)

    def _give(self, path: Path) -> None:
        owner = _owner()
        if owner is not None:
            shutil.chown(path, owner)


def _owner() -> str | None:
    """Who runs PostgreSQL: its own user when we are root, else ourselves."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(name).pw_name
    raise ServiceError("PostgreSQL refuses to run as root, and there is no user postgres: make one with `useradd --system postgres`.")


def _free_port(wanted: int) -> int:
    for port in (wanted, 0):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return int(probe.getsockname()[1])
    raise ServiceError("no port is free on 127.0.0.1.")


def _wait_until(holds: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + _PATIENCE_S
    while not holds():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def _last_line(file: Path) -> str:
    lines = file.read_text(encoding="utf-8", errors="replace").strip().splitlines() if file.is_file() else []
    return lines[-1] if lines else "it says nothing"
