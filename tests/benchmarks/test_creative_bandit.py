import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks.creative_bandit import SPREAD, Truth, draw_truth, main, play, policies_for, read_truth
from core.errors import SourceError
from models.policies import Uniform

ROOT = Path(__file__).parents[2]
MEASURED = ROOT.parent / "shared" / "data" / "ad_creative_ctr" / "ctr_online.txt"


def written(folder: Path) -> Path:
    rng = np.random.default_rng(0)
    file = folder / "truth.txt"
    lines = [f"{10_000 + n}\t {n % 2} {n % 3} \t{ctr:.6f}" for n, ctr in enumerate(rng.uniform(0.01, 0.05, 12))]
    file.write_text("\n".join(lines) + "\n\n", encoding="utf-8")
    return file


def test_a_small_run_prints_tables_and_one_object_as_its_last_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    options = ["--seeds", "2", "--impressions", "3500", "--generated", "--permuted"]
    code = main(["--truth", str(written(tmp_path)), "--elements", "2", *options])
    out = capsys.readouterr().out
    found = json.loads(out.splitlines()[-1])
    assert list(found) == ["policies"]
    assert set(found["policies"]) == {"uniform", "epsilon_greedy", "greedy", "thompson", "linear_thompson"}
    for row in found["policies"].values():
        assert set(row) == {"mean_ctr", "worst_ctr", "seconds"}
        assert 0 < row["worst_ctr"] <= row["mean_ctr"] < 0.1
    assert code == ("FAILS" in out)
    assert out.count("generated, element R²") == 3
    assert "permuted across creatives" in out


def test_a_truth_is_read_and_a_bad_line_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    file = written(tmp_path)
    truth = read_truth(file, 2)
    assert truth.elements[:3].tolist() == [[0, 0], [1, 1], [0, 2]]
    assert len(truth.ctr) == 12
    with pytest.raises(SourceError, match="line 1: 4 fields, 5 expected"):
        read_truth(file, 3)
    file.write_text("a 0 0 0.02\nb 0 1 1.2\n", encoding="utf-8")
    with pytest.raises(SourceError, match=r"line 2: CTR 1.2 lies outside"):
        read_truth(file, 2)
    file.write_text("\n", encoding="utf-8")
    with pytest.raises(SourceError, match="no creatives"):
        read_truth(file, 2)
    assert main(["--truth", str(tmp_path / "none.txt"), "--elements", "2"]) == 2
    assert "no such file" in capsys.readouterr().err


@pytest.mark.parametrize("r2", [0.0, 0.1, 0.9, 1.0])
def test_elements_explain_exactly_their_share_of_a_generated_truth(r2):
    elements = np.array([[a, b] for a in range(4) for b in range(5)] * 3)
    truth = draw_truth(elements, r2, np.random.default_rng(4))
    log_odds = np.log(truth.ctr / (1 - truth.ctr))
    columns = np.hstack([elements[:, [0]] == range(4), elements[:, [1]] == range(5)]).astype(float)
    fitted = columns @ np.linalg.lstsq(columns, log_odds, rcond=None)[0]
    # a residual drawn at random lies a little along the columns, so least squares finds a little more
    assert r2 - 1e-9 <= fitted.var() / log_odds.var() <= r2 + (1 - r2) * 0.4 + 1e-9
    assert log_odds.std() == pytest.approx(SPREAD, rel=1e-6)


def test_uniform_collects_the_mean_of_the_creatives():
    truth = Truth(np.zeros((4, 1), dtype=np.int64), np.array([0.1, 0.2, 0.3, 0.4]))
    found = play(Uniform(4), truth.ctr, impressions=40_500, batch=1000, rng=np.random.default_rng(1))
    assert found == pytest.approx(0.25, abs=4 * (0.25 * 0.75 / 40_500) ** 0.5)
    assert set(policies_for(truth.elements)) == {"uniform", "epsilon_greedy", "greedy", "thompson", "linear_thompson"}


def test_the_measured_creatives_are_read_whole():
    if not MEASURED.is_file():
        pytest.skip("no ../shared/data/ad_creative_ctr/ctr_online.txt beside the project")
    truth = read_truth(MEASURED, 5)
    assert truth.elements.shape == (200, 5)
    assert truth.ctr.mean() == pytest.approx(0.01861, abs=1e-5)
    assert truth.ctr.max() == pytest.approx(0.02711, abs=1e-5)
