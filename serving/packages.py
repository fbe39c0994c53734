"""PostgreSQL and Redis from Debian's packages: found where they are installed, else unpacked into the project; nothing else changes."""

import platform
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from core.errors import ServiceError

SYSTEM = Path("/")
_POSTGRES = "usr/lib/postgresql/*/bin"
_BY_HAND = "apt-get install postgresql redis-server"


@dataclass(frozen=True)
class Programs:
    """Where the servers' programs are.

    Attributes:
        postgres: the folder with initdb, pg_ctl and postgres.
        redis: redis-server itself.
        libraries: folders of shared libraries that came with unpacked packages.
    """

    postgres: Path
    redis: Path
    libraries: tuple[Path, ...] = ()

    def environment(self) -> dict[str, str]:
        """What the programs are started with; nothing of the caller's environment."""
        found = {"PATH": "/usr/local/bin:/usr/bin:/bin", "LC_ALL": "C"}
        return found | ({"LD_LIBRARY_PATH": ":".join(map(str, self.libraries))} if self.libraries else {})


def find(unpacked: Path, *, system: Path = SYSTEM) -> Programs | None:
    """The installed programs, else the unpacked ones; None when one of the two servers is nowhere.

    Args:
        unpacked: where `unpack` put the packages.
        system: the root of the installed system; tests give another.
    """
    postgres = next((folder for root in (system, unpacked) for folder in _versions(root) if (folder / "initdb").exists()), None)
    places = [root / name for root in (system, unpacked) for name in ("usr/bin/redis-server", "usr/local/bin/redis-server")]
    redis = next((place for place in places if place.exists()), None)
    if postgres is None or redis is None:
        return None
    libraries = tuple(sorted({library.parent for library in unpacked.glob("usr/lib/*/*.so*")}))
    return Programs(postgres, redis, libraries)


def unpack(unpacked: Path, *, missing: tuple[str, ...], say: Callable[[str], None]) -> None:
    """Download Debian packages with what they need, and unpack them; no right is needed, and no installed server is started by it.

    Args:
        unpacked: the folder to fill.
        missing: names of packages.
        say: told each step.

    Raises:
        ServiceError: there is no apt-get, or the packages cannot be had; the message has apt's last line and
            the command for an administrator.
    """
    if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
        raise ServiceError(
            f"no apt-get on this {platform.system()}, so {' and '.join(missing)} cannot be fetched: install PostgreSQL and Redis "
            "with your system's own means, or set ADLOOM_LOG_URL and ADLOOM_STATE_URL to servers that run elsewhere."
        )
    archives = unpacked / "archives"
    (archives / "partial").mkdir(parents=True, exist_ok=True)
    say(f"downloading {', '.join(missing)} …")
    options = ["-o", "Debug::NoLocking=1", "-o", f"Dir::Cache::archives={archives}", "-o", "APT::Sandbox::User=root"]
    command = ["apt-get", "-qq", *options, "--download-only", "--no-install-recommends", "--yes", "install", *missing]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    files = sorted(archives.glob("*.deb"))
    if done.returncode or not files:
        last = (done.stderr.strip() or "it found nothing to download").splitlines()[-1]
        raise ServiceError(f"apt-get cannot download {', '.join(missing)} ({last}): run `{_BY_HAND}` as root, after `apt-get update`.")
    for file in files:
        say(f"unpacking {file.name} …")
        subprocess.run(["dpkg-deb", "-x", str(file), str(unpacked)], check=True)
        file.unlink()


def provide(unpacked: Path, *, say: Callable[[str], None], system: Path = SYSTEM) -> Programs:
    """The programs, fetched when they are nowhere.

    Args:
        unpacked: where packages are unpacked.
        say: told each step.
        system: see `find`.

    Raises:
        ServiceError: they cannot be had.
    """
    found = find(unpacked, system=system)
    if found is None:
        missing = [] if any((folder / "initdb").exists() for root in (system, unpacked) for folder in _versions(root)) else ["postgresql"]
        roots = (system / "usr/bin", system / "usr/local/bin", unpacked / "usr/bin")
        missing += [] if any((folder / "redis-server").exists() for folder in roots) else ["redis-server"]
        unpack(unpacked, missing=tuple(missing), say=say)
        found = find(unpacked, system=system)
    if found is None:
        raise ServiceError(f"{unpacked}: the packages hold no PostgreSQL or no Redis: run `{_BY_HAND}` as root.")
    return found


def _versions(root: Path) -> list[Path]:
    return sorted(root.glob(_POSTGRES), key=lambda folder: int(folder.parent.name) if folder.parent.name.isdigit() else 0, reverse=True)
