"""What the end of a loop says."""

from pathlib import Path

import pytest
from rich.console import Console

from core.files import write_json
from flows.summary import print_next_steps, print_verdicts
from registry.models import KINDS

pytestmark = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning", "ignore::UserWarning", "ignore::FutureWarning", "ignore::ResourceWarning"
)


def test_without_champions_the_next_step_is_not_make_serve(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(tmp_path)
    print_next_steps(Console(width=200))
    told = capsys.readouterr().out
    assert "not yet: no champion of " + ", ".join(KINDS) in told
    assert "adloom serve --bundles" in told
    assert "make serve" not in told


def test_a_bundle_that_was_champion_before_is_not_called_promoted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = {
        "pool": {"verdict": "promoted", "reasons": ["better"]},
        "ranker": {"verdict": "promoted", "reasons": ["best"]},
        "generator": {"verdict": "refused", "reasons": ["worse"]},
    }
    write_json({"models": found}, tmp_path / "promotion.json")
    monkeypatch.setattr("flows.summary.path_of", lambda stem: tmp_path / f"{stem}.json")
    print_verdicts(Console(width=200), {"pool": 3, "generator": 2})
    rows = {line.split("│")[1].strip(): line.split("│")[2].strip() for line in capsys.readouterr().out.splitlines() if line.startswith("│")}
    assert rows == {"pool": "champion already (version 3), with this verdict", "ranker": "promoted", "generator": "refused"}
