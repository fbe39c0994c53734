import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from benchmarks import scale
from benchmarks.generated_log import Size, write_log
from benchmarks.scale_cell import Cell
from core.columns import Columns as C
from core.environment import project_root
from core.files import content_hash, write_json
from core.params import load_params

CELL = {"read_s": 1.0, "fit_s": 9.0, "items": 10, "score_cpu_ms": 0.1, "peak_mb": 700.0}


def kept(folder: Path, name: str, events: int, seconds: float, **other: float) -> None:
    write_json(CELL | {"read_cpu_s": 0.1 * seconds, "fit_cpu_s": 0.9 * seconds} | other, folder / "cells" / f"{name}-{events}.json")


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scale") / "log"
    write_log(folder, 3000, np.random.default_rng(1))
    return folder


def test_a_generated_log_has_its_size_and_is_the_same_again(log: Path, tmp_path: Path) -> None:
    events, size = pd.read_parquet(log / "events.parquet"), Size.of(3000)
    assert len(events) == 3000
    assert events[C.TIMESTAMP].is_monotonic_increasing
    assert events[C.ITEM].nunique() <= size.items
    assert events[C.ITEM].isna().equals(events[C.EVENT_TYPE] == "search")
    activity = events.groupby(C.USER).size()
    assert activity.max() > 5 * activity.median()
    write_log(tmp_path / "again", 3000, np.random.default_rng(1))
    assert content_hash(tmp_path / "again") == content_hash(log)


def test_a_cell_fits_by_the_stage_s_functions_and_times_what_a_recommender_rests_on(log: Path) -> None:
    cell = Cell(log, load_params(project_root() / "params.yaml").train_recommender, np.random.default_rng(0), full=True)
    model = cell.fit("item_knn")
    assert model.links.nnz > 0  # type: ignore[attr-defined]
    assert list(cell.cpu_parts) == ["item_knn"]
    cell.fit("popularity")
    assert list(cell.cpu_parts) == ["item_knn", "popularity"]


def test_finished_cells_are_not_run_again_and_slopes_are_exponents(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scale.subprocess, "run", lambda *_, **__: pytest.fail("a finished cell was run again"))
    for events, flat, steep in ((100, 1.0, 1.0), (1000, 8.0, 10.0), (10000, 64.0, 200.0)):
        kept(tmp_path, "als", events, flat)
        kept(tmp_path, "markov", events, steep)
    command = ["--events", "100", "1000", "10000", "--folder", str(tmp_path), "--plot", str(tmp_path / "plot.png"), "--recommenders"]
    assert scale.main([*command, "als"]) == 0
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert told["slopes"]["als"]["all"] == pytest.approx(np.log10(8), abs=1e-3)
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")
    assert scale.main([*command, "als", "markov"]) == 1
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert told["slopes"]["markov"]["last"] == pytest.approx(np.log10(20), abs=1e-3)
    assert told["steepest"] > scale.STEEPEST
    kept(tmp_path, "als", 10000, 64.0, peak_mb=9000.0)
    assert scale.main([*command, "als"]) == 1


def test_a_cell_that_fails_is_told_as_missing(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scale, "write_log", lambda *_: None)
    monkeypatch.setattr(scale.subprocess, "run", lambda *_, **__: scale.subprocess.CompletedProcess([], 9, ""))
    assert scale.main(["--events", "100", "--folder", str(tmp_path), "--recommenders", "als"]) == 1
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["missing"] == ["als 100"]
