"""How commands are run in the project's environment."""

import os
import sys

import pytest

import bootstrap


@pytest.fixture
def became(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, list[str], dict[str, str]]]:
    """Commands that this process would have become; no environment is made."""
    found: list[tuple[str, list[str], dict[str, str]]] = []
    monkeypatch.setattr(bootstrap, "_ensure_environment", lambda: None)
    monkeypatch.setattr(bootstrap, "_become", lambda *told: found.append(told) or 0)
    monkeypatch.setattr(bootstrap.os, "chdir", lambda folder: None)
    return found


def test_a_command_finds_the_environment_first_and_keeps_what_python_compiles(became, monkeypatch) -> None:
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    monkeypatch.setenv("PYTHONHOME", "/nowhere")
    assert bootstrap.main(["python", "-m", "tasks"]) == 0
    [(_, arguments, environment)] = became
    assert arguments == ["python", "-m", "tasks"]
    assert environment["PATH"].startswith(f"{bootstrap.VENV}{os.sep}")
    assert environment["VIRTUAL_ENV"] == str(bootstrap.VENV)
    assert not {"PYTHONDONTWRITEBYTECODE", "PYTHONHOME"} & environment.keys()


def test_a_command_that_does_not_exist_is_named(became, capsys) -> None:
    assert bootstrap.main(["no-such-command"]) == 127
    assert "no command 'no-such-command'" in capsys.readouterr().err
    assert not became


def test_another_python_is_asked_for_by_name(monkeypatch, capsys) -> None:
    monkeypatch.setattr(sys, "version_info", (3, 10, 0))
    monkeypatch.setattr(bootstrap.shutil, "which", lambda name, **wanted: None)
    assert bootstrap.main([]) == 1
    assert "3.11 to 3.13" in capsys.readouterr().err
