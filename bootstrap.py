"""Make the environment in .venv from the lock, then run a command inside it. Needs nothing but Python 3.11–3.13.

    python3 -m bootstrap                     make or mend the environment
    python3 -m bootstrap adloom run          … then run a command with .venv first on PATH
    python3 -m bootstrap --lock              resolve pyproject.toml anew into requirements.lock
    python3 -m bootstrap --check             format, lint, types and layers of the code

An environment whose lock, pyproject.toml and Python are unchanged is left as it is.
"""

import contextlib
import hashlib
import os
import re
import shutil
import subprocess
import sys
import venv
from pathlib import Path
from typing import NoReturn

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
LOCK = ROOT / "requirements.lock"
STAMP = VENV / ".lock-installed"
SUPPORTED = ((3, 11), (3, 13))
UV = "uv>=0.9"
TORCH_COMPANIONS = re.compile(r"^(nvidia|cuda|triton)[\w-]*==")
"""Libraries that a GPU build of torch asks for by itself: not pinned, so that a CPU build needs none of them."""


def main(arguments: list[str]) -> int:
    """Make the environment if it is stale, then run the command, if one is given.

    Args:
        arguments: ``--lock``, ``--check``, or a command and its arguments, or nothing.

    Returns:
        The exit code.
    """
    if not SUPPORTED[0] <= sys.version_info[:2] <= SUPPORTED[1]:
        return _run_with_another_python(arguments)
    _ensure_environment()
    if arguments == ["--lock"]:
        return _lock()
    if arguments == ["--check"]:
        return _check()
    if not arguments:
        print(f"environment ready: {VENV.name} (Python {sys.version.split()[0]})")
        return 0
    environment = os.environ | {"VIRTUAL_ENV": str(VENV), "PATH": f"{_scripts()}{os.pathsep}{os.environ.get('PATH', '')}"}
    environment.pop("PYTHONHOME", None)
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # images set it; uv compiles nothing, so each command would compile for ten seconds
    command = shutil.which(arguments[0], path=environment["PATH"])
    if command is None:
        print(f"bootstrap: no command {arguments[0]!r} in {VENV.name} or on PATH.", file=sys.stderr)
        return 127
    os.chdir(ROOT)
    return _become(command, arguments, environment)


def _become(command: str, arguments: list[str], environment: dict[str, str]) -> NoReturn:
    """Replace this process, so that signals and the exit code are the command's own."""
    os.execve(command, [command, *arguments[1:]], environment)


def _run_with_another_python(arguments: list[str]) -> int:
    for minor in range(SUPPORTED[1][1], SUPPORTED[0][1] - 1, -1):
        found = shutil.which(f"python3.{minor}")
        if found and subprocess.run([found, "--version"], capture_output=True, check=False).returncode == 0:
            return subprocess.run([found, "-m", "bootstrap", *arguments], cwd=ROOT, check=False).returncode
    print(
        f"bootstrap: Python {sys.version.split()[0]} is not supported; 3.11 to 3.13 are. "
        "Install one of them, or name it: make run PYTHON=/path/to/python3.11",
        file=sys.stderr,
    )
    return 1


def _ensure_environment() -> None:
    wanted = _fingerprint()
    if STAMP.exists() and STAMP.read_text(encoding="utf-8") == wanted:
        return
    print(f"making the environment in {VENV.name} from {LOCK.name} (half a minute to five minutes) …", file=sys.stderr)
    if not _python().exists() or _venv_version() != sys.version.split()[0]:
        shutil.rmtree(VENV, ignore_errors=True)
        venv.create(VENV, with_pip=True, symlinks=os.name != "nt")
    STAMP.unlink(missing_ok=True)
    installer = _installer()
    subprocess.run([*installer, "-r", str(LOCK)], check=True, cwd=ROOT)
    subprocess.run([*installer, "--no-deps", "--no-build-isolation", "-e", str(ROOT)], check=True, cwd=ROOT)
    STAMP.write_text(wanted, encoding="utf-8")


def _installer() -> list[str]:
    """Uv where it can be had (ten times as fast as pip), else pip; both see pip's configured folders of wheels."""
    quiet_pip = [str(_python()), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    with contextlib.suppress(subprocess.CalledProcessError):
        subprocess.run([*quiet_pip, UV], check=True)
        return [str(_python()), "-m", "uv", "pip", "install", "--quiet", "--python", str(_python()), *_find_links()]
    return [*quiet_pip, "--no-compile"]


def _find_links() -> list[str]:
    """Pip's `find-links` as uv options: uv does not read pip's configuration, and fails on a missing folder."""
    shown = subprocess.run([str(_python()), "-m", "pip", "config", "list"], capture_output=True, text=True, check=False).stdout
    values = " ".join(re.findall(r"find-links='([^']*)'", shown))
    folders = dict.fromkeys(word for word in re.split(r"\\n|\s+", values) if word)
    return [option for folder in folders if "://" in folder or Path(folder).is_dir() for option in ("--find-links", folder)]


def _fingerprint() -> str:
    digest = hashlib.sha256(f"{sys.version}|{ROOT}".encode())
    for file in (LOCK, ROOT / "pyproject.toml"):
        if not file.exists():
            sys.exit(f"bootstrap: {file.name} is missing; restore it with `git checkout {file.name}`.")
        digest.update(file.read_bytes())
    return digest.hexdigest()


def _lock() -> int:
    """Resolve pyproject.toml for all supported Pythons and platforms; names, versions and markers only."""
    command = [str(_python()), "-m", "uv", "pip", "compile", "pyproject.toml", "--extra", "dev", "--universal", "--python-version", "3.11"]
    command += ["--no-annotate", "--no-header", "--no-emit-find-links", "--no-emit-index-url", "--quiet", *_find_links()]
    if LOCK.exists():
        command += ["--constraint", str(LOCK)]
    resolved = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if resolved.returncode:
        print(resolved.stderr, file=sys.stderr)
        return resolved.returncode
    lines = [line for line in resolved.stdout.splitlines() if line and not TORCH_COMPANIONS.match(line)]
    torch = re.search(r"^torch==([\d.]+)", resolved.stdout, re.MULTILINE)
    lines = [line for line in lines if not line.startswith("torch==")] + ([f"torch=={torch[1]}"] if torch else [])
    draft = LOCK.with_suffix(".draft")
    draft.write_text("\n".join(sorted(lines, key=str.lower)) + "\n", encoding="utf-8")
    draft.replace(LOCK)
    print(f"{LOCK.name}: {len(lines)} packages")
    return 0


def _check() -> int:
    """Run every checker, even after one has failed; the exit code is 1 when any did."""
    checkers = (["ruff", "format", "--check"], ["ruff", "check"], ["mypy"], ["lint-imports"])
    failed = []
    for checker in checkers:
        print(f"· {' '.join(checker)}", flush=True)
        if subprocess.run([str(_scripts() / checker[0]), *checker[1:]], cwd=ROOT, check=False).returncode:
            failed.append(checker[0])
    print(f"check: {', '.join(failed)} failed" if failed else "check: all passed")
    return int(bool(failed))


def _scripts() -> Path:
    return VENV / ("Scripts" if os.name == "nt" else "bin")


def _python() -> Path:
    return _scripts() / ("python.exe" if os.name == "nt" else "python")


def _venv_version() -> str:
    shown = subprocess.run([str(_python()), "--version"], capture_output=True, text=True, check=False)
    return shown.stdout.removeprefix("Python").strip()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
