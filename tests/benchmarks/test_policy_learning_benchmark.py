import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from benchmarks.policy_learning import main
from benchmarks.synthetic_choices import SHAPES, World, draw_contexts, draw_log

PAGE = Path(__file__).parents[2] / "docs" / "policy-learning.md"
KEYS = ["value", "low", "high", "best_single_action", "uniform", "diff", "diff_low", "diff_high", "differs"]


def campaign(path: Path, n: int = 1200) -> Path:
    """A log with the columns of the page's example, in which those who came by web like Summer and others Spring."""
    rng = np.random.default_rng(1)
    web, mailing = rng.random(n) < 0.5, rng.choice(["Spring", "Summer", "None"], n)
    chance = np.where(mailing == "None", 0.1, np.where((mailing == "Summer") == web, 0.6, 0.2))
    visited = (rng.random(n) < chance).astype(int)
    frame = pd.DataFrame(
        {
            "customer": [f"c{number}" for number in range(n)],
            "months_since": rng.integers(1, 13, n),
            "spent": np.where(rng.random(n) < 0.1, np.nan, np.exp(rng.normal(5, 1, n))),
            "bracket": rng.choice(["1) 0-100", "2) 100-200", "3) 200-350"], n),
            "outdoor": rng.integers(0, 2, n),
            "town": rng.choice(["suburb", "country", "NA"], n),
            "arrived_by": np.where(web, "web", "phone"),
            "mailing": mailing,
            "visited": visited,
            "paid": visited * rng.exponential(50, n),
        }
    )
    frame.to_csv(path, index=False)
    return path


@pytest.fixture
def mapping(tmp_path: Path) -> Path:
    text = re.search(r"`mapping.yaml`\n```yaml\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert text
    path = tmp_path / "mapping.yaml"
    path.write_text(text[1], encoding="utf-8")
    return path


@pytest.mark.parametrize("reward", ["visited", "paid"])
def test_the_pages_example_runs_and_its_last_line_is_the_object(
    tmp_path: Path, mapping: Path, capsys: pytest.CaptureFixture[str], reward: str
):
    mapping.write_text(mapping.read_text(encoding="utf-8").replace("reward: visited ", f"reward: {reward} "), encoding="utf-8")
    log = campaign(tmp_path / "campaign.csv")
    assert main(["--decisions", str(log), "--mapping", str(mapping)]) == 0
    printed = capsys.readouterr().out.splitlines()
    found = json.loads(printed[-1])
    assert list(found) == KEYS
    assert found["diff"] == pytest.approx(found["value"] - found["best_single_action"])
    assert found["low"] < found["value"] < found["high"]
    assert found["diff_low"] > 0
    assert found["diff_low"] < found["diff"] < found["diff_high"]
    assert found["uniform"] < found["best_single_action"]
    assert 0.2 < found["differs"] < 0.8
    assert printed[0] == "1200 rows of 1200 users; left out: none"


def test_a_log_whose_rewards_are_all_equal_is_said_to_teach_nothing(tmp_path: Path, mapping: Path, capsys: pytest.CaptureFixture[str]):
    log = campaign(tmp_path / "campaign.csv")
    pd.read_csv(log, keep_default_na=False).assign(visited=0).to_csv(log, index=False)
    assert main(["--decisions", str(log), "--mapping", str(mapping)]) == 0
    assert "every reward is 0: there is nothing to learn, and the intervals mean nothing" in capsys.readouterr().out


def test_a_log_that_is_refused_ends_with_1_and_one_message(tmp_path: Path, mapping: Path, capsys: pytest.CaptureFixture[str]):
    log = campaign(tmp_path / "campaign.csv")
    mapping.write_text(mapping.read_text(encoding="utf-8").replace("1/3 ", "0.5 "), encoding="utf-8")
    assert main(["--decisions", str(log), "--mapping", str(mapping)]) == 1
    heard = capsys.readouterr()
    assert "where 1 is expected" in heard.err
    assert not heard.out


@pytest.mark.parametrize("shape", SHAPES)
def test_a_world_has_the_gain_that_it_is_asked_for(shape: str):
    world = World(shape=shape, gain=0.08, seed=4)
    means = world.means(draw_contexts(30_000, np.random.default_rng(9)))
    assert means.max(axis=1).mean() / means.mean(axis=0).max() - 1 == pytest.approx(0.08, abs=0.015)
    flat = World(shape=shape, gain=0.0, seed=4).means(draw_contexts(1000, np.random.default_rng(9)))
    assert np.unique(flat.argmax(axis=1)).size == 1


def test_logged_propensities_are_those_of_the_draw():
    log, _ = draw_log(World(uniform=False, actions=4, seed=2), 20_000, np.random.default_rng(3))
    for code in range(4):
        weights = np.where(log.actions == code, 1 / log.propensity, 0)
        assert abs(weights.mean() - 1) < 4 * weights.std() / np.sqrt(20_000)


def test_synthetic_logs_are_judged_against_their_truth(capsys: pytest.CaptureFixture[str]):
    main(["--synthetic", "--rows", "600", "--seeds", "1", "--replications", "2", "--small", "600"])
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert set(found) == {"recovered", "coverage_value", "coverage_diff", "seconds"}
    assert len(found["recovered"]) == 1
    assert found["coverage_value"] in (0.0, 0.5, 1.0)
