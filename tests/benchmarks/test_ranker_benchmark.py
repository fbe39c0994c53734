import json

import numpy as np
import pandas as pd
import pytest

from benchmarks.ranker import ROOT, draw, measure, table
from benchmarks.ranker_log import bench_params
from core.errors import ParamsError


def made(rows=60_000, seed=0):
    rng = np.random.default_rng(seed)
    odds = rng.normal(-2.2, 0.9, rows)
    truth, convert = 1 / (1 + np.exp(-odds)), 1 / (1 + np.exp(1.5 - 0.5 * rng.normal(size=rows)))
    click = rng.random(rows) < truth
    columns = {"truth": truth, "ranker": truth, "cross": truth, "constant": np.full(rows, truth.mean())}
    columns["logistic"] = 1 / (1 + np.exp(-(odds + rng.normal(0, 0.5, rows))))
    columns["lightgbm"] = truth * 1.3
    frame = pd.DataFrame({"user_id": rng.integers(0, 900, rows).astype(str), "click": click})
    frame = frame.assign(scene=rng.choice(["product", "brand"], rows), channel=rng.choice(["onsite", "search"], rows))
    frame = frame.assign(conversion=click & (rng.random(rows) < convert))
    frame = frame.assign(**{f"p_click:{name}": np.clip(value, 0, 1) for name, value in columns.items()})
    return frame.assign(**{f"p_convert:{name}": convert if name != "constant" else convert.mean() for name in columns})


def test_the_truth_as_ranker_meets_every_target_of_clicks_and_wrong_baselines_lose_to_it():
    found = measure(made())
    assert all(met for name, met in found["targets"].items() if name.startswith("click_"))
    assert found["click"]["auc_gap"]["value"] == 0
    assert found["click"]["gain_over"]["logistic"]["low"] > 0
    assert found["click"]["models"]["lightgbm"]["oe"] == pytest.approx(1 / 1.3, abs=0.03)
    assert json.loads(json.dumps(found)) == found
    assert "convert" in table(found, chosen="cross")


def test_a_ranker_that_says_too_much_or_cannot_tell_apart_misses_the_targets_that_say_so():
    frame = made()
    loud = measure(frame.assign(**{"p_click:ranker": frame["p_click:lightgbm"]}))["targets"]
    assert not loud["click_oe_0.97_to_1.03"]
    assert not loud["click_oe_by_group_0.9_to_1.1"]
    assert not loud["click_ece_at_most_0.1_of_base"]
    assert not loud["click_beats_lightgbm"]
    blind = measure(frame.assign(**{"p_click:ranker": frame["p_click:constant"]}))["targets"]
    assert not blind["click_auc_within_0.02"]


def test_the_plot_is_drawn(tmp_path):
    draw(made(3000), tmp_path / "plots" / "calibration.png")
    assert (tmp_path / "plots" / "calibration.png").stat().st_size > 1000


def test_the_profile_takes_a_size_a_seed_and_changes_and_refuses_a_key_that_is_not_there():
    params = bench_params(ROOT, impressions=84_000, seed=3, changes=["market.shoppers=500"])
    assert params.market.requests_per_day == pytest.approx(84_000 / (2 * 500 * params.market.days))
    assert (params.market.seed, params.market.shoppers) == (3, 500)
    with pytest.raises(ParamsError, match=r"market\.shops"):
        bench_params(ROOT, impressions=None, seed=None, changes=["market.shops=500"])
