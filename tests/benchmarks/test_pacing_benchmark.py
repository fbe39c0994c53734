import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks.pacing import main, measure
from benchmarks.pacing_days import POSITIONS, ceiling, draw_day, hourly
from benchmarks.pacing_play import play, policy


def test_pacing_beats_even_split_and_no_pacing_where_the_truth_is_known_and_stays_below_the_ceiling():
    day = draw_day("normal", 100, requests=30_000)
    played = {name: play(day, policy(name, day)) for name in ("none", "even", "paced")}
    results = measure([(day, played)])
    assert played["paced"].value > 1.2 * played["none"].value
    assert played["paced"].value > 1.2 * played["even"].value
    for name, one in played.items():
        assert one.value < 1.03 * ceiling(day), name  # luck may bring a little more than expected
    assert results["paced"].spent.min() >= 0.97  # half the traffic: some budgets hold fewer than 50 clicks
    assert results["paced"].over.max() <= 1
    again = play(day, policy("paced", day))
    assert (again.spent == played["paced"].spent).all()
    assert played["paced"].planned[-1] == pytest.approx(day.budget, rel=0.01)


def test_the_ceiling_is_what_plain_choice_is_worth_when_budgets_do_not_bind():
    day = draw_day("normal", 3, requests=500)
    free = type(day)(**{**vars(day), "budget": np.full(len(day.budget), 1e15)})
    value = np.sort(np.where(day.matches, day.p_click * day.bid * day.quality, 0.0), axis=1)[:, ::-1]
    assert ceiling(free) == pytest.approx(float(value[:, 0].sum() + 0.6 * value[:, 1].sum()), rel=1e-6)
    assert ceiling(day) < ceiling(free)


def test_traffic_is_disturbed_as_it_says():
    normal = hourly("normal", 50_000)
    assert normal.sum() == pytest.approx(50_000)
    assert (hourly("surge", 50_000) / normal).max() == pytest.approx(3)
    assert (hourly("drop", 50_000) / normal).min() == pytest.approx(1 / 3)
    assert (hourly("later", 50_000)[3:] == normal[:-3]).all()
    with pytest.raises(ValueError, match="no traffic 'odd'"):
        hourly("odd", 1)
    with pytest.raises(ValueError, match="no policy 'odd'"):
        policy("odd", draw_day("normal", 0, requests=10))


def test_a_small_run_prints_tables_a_plot_and_one_object_as_its_last_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    options = ["--seeds", "2", "--requests", "1500", "--traffic", "normal", "surge", "--plot", str(tmp_path / "spend.png")]
    code = main(options)
    out = capsys.readouterr().out
    found = json.loads(out.splitlines()[-1])
    assert set(found) == {"traffic", "holds", "cpu_seconds"}
    assert set(found["traffic"]["normal"]) == {"none", "even", "plan", "paced"}
    assert set(found["traffic"]["surge"]["paced"]) == {"spent_mean", "spent_worst", "over_slates_worst", "value_per_budget", "headroom"}
    assert (code == 1) == ("FAILS" in out)
    assert (tmp_path / "spend.png").read_bytes()[:4] == b"\x89PNG"
    assert POSITIONS == 2
