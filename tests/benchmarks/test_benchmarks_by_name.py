"""`python -m benchmarks`: what there is, told without any package that Adloom does without."""

import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.__main__ import main

ROOT = Path(__file__).parents[2]


def test_the_list_names_every_benchmark_and_needs_no_package_of_theirs() -> None:
    asked = [sys.executable, "-m", "benchmarks", "--list"]
    told = subprocess.run(asked, cwd=ROOT, capture_output=True, text=True, check=True, timeout=60)
    lines = dict(line.split(maxsplit=1) for line in told.stdout.splitlines())
    assert {"seeds", "generation", "market_days", "rectools", "rectools_sasrec", "serving"} <= set(lines)
    assert not {"__main__", "__init__", "market_world", "measure"} & set(lines)
    assert lines["serving"].startswith("The service under load on one core")


def test_an_unknown_benchmark_is_named_beside_those_that_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["nope"]) == 2
    said = capsys.readouterr().err
    assert "no benchmark nope" in said
    assert "market_days" in said
