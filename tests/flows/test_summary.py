"""What the end of a loop says."""

from pathlib import Path

import pytest
from rich.console import Console

from flows.summary import print_next_steps
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
