"""From judged rows to numbers: hand-worked values, honest baselines, refusals that keep their reason."""

import numpy as np
import pandas as pd
import pytest

from core.params import EvaluateParams
from evaluation.intervals import Interval
from tasks.judge.measures import Measure, policy_measures, ranker_measures, recommender_measures
from tasks.judge.policies import LoggedRequests, candidates_column
from tasks.report.build import headlines
from tasks.report.measured import rankers_chapter

PARAMS = EvaluateParams(bootstrap=200, top_k=10, min_effective_sample_size=5.0, exploration=0.1)


def rng() -> np.random.Generator:
    return np.random.default_rng(3)


def ranked(**ndcg: list[float]) -> pd.DataFrame:
    frames = [
        pd.DataFrame({
            "user_id": [f"u{row}" for row in range(len(values))], "model": name, "item_id": "i", "rank": 1, "ndcg": values,
            "hit_rate": [float(value > 0) for value in values], "mrr": values,
            "known_user": [row > 0 for row in range(len(values))], "known_item": True,
            "repeated": [row % 2 == 1 for row in range(len(values))],
        })
        for name, values in ndcg.items()
    ]  # fmt: skip
    return pd.concat(frames, ignore_index=True)


def test_each_recommender_has_its_mean_and_the_gain_over_popularity_is_paired() -> None:
    found = recommender_measures(ranked(sequence=[1.0, 0.5, 0.5, 0.0], popularity=[0.5, 0.0, 0.5, 0.0]), "sequence", PARAMS, rng())
    assert found.models["sequence"]["ndcg10"].value == pytest.approx(2 / 4)
    assert found.facts["over_popularity"]["value"] == pytest.approx((0.5 + 0.5 + 0 + 0) / 4)
    assert found.facts["times_popularity"]["value"] == pytest.approx(2.0 / 1.0)
    assert found.models["sequence"]["ndcg10_novel"].value == pytest.approx((1.0 + 0.5) / 2)
    assert found.facts["new_users_users"] == 1
    assert "ndcg10_new_items" not in found.models["sequence"]


def test_without_held_out_events_nothing_is_judged_and_the_reason_is_kept() -> None:
    found = recommender_measures(ranked(sequence=[]), "sequence", PARAMS, rng())
    assert found.models == {}
    assert "no shopper has an item event" in found.as_dict()["reason"]


def logged(truth: np.ndarray, scores: np.ndarray) -> LoggedRequests:
    rows, width = truth.shape
    shown = np.arange(rows) % width
    return LoggedRequests(
        users=np.array([f"u{row}" for row in range(rows)], dtype=object),
        present=np.ones((rows, width), bool),
        shown=shown,
        click=(np.arange(rows) % 3 == 0).astype(float),
        propensity=np.full(rows, 1 / width),
        scores={"ranker": scores},
        truth=truth,
    )


def test_headroom_is_one_for_the_oracle_order_and_shrinks_with_exploration() -> None:
    truth = np.tile([0.01, 0.02, 0.06], (30, 1))
    found = policy_measures(logged(truth, truth), PARAMS, rng())
    assert found.models["logging"]["true_ctr"].value == pytest.approx(0.03)
    assert found.models["oracle"]["true_ctr"].value == pytest.approx(0.06)
    assert found.models["ranker, greedy"]["headroom_share"].value == pytest.approx(1.0)
    assert found.models["ranker"]["true_ctr"].value == pytest.approx(0.9 * 0.06 + 0.1 * 0.03)
    assert found.models["uniform"]["headroom_share"].value == pytest.approx(0.0)


def test_an_upside_down_ranker_falls_below_the_logging_policy() -> None:
    truth = np.tile([0.01, 0.02, 0.06], (30, 1))
    found = policy_measures(logged(truth, -truth), PARAMS, rng())
    assert found.models["ranker"]["headroom_share"].high < 0


def test_too_little_evidence_is_refused_with_its_reason() -> None:
    truth = np.tile([0.01, 0.02, 0.06], (30, 1))
    strict = PARAMS.model_copy(update={"min_effective_sample_size": 1000.0})
    answers = policy_measures(logged(truth, truth), strict, rng()).facts["off_policy"]
    assert set(answers) == {"ips", "snips", "dr"}
    assert all("1000" in answer["refused"] and "value" not in answer for answer in answers.values())


def test_the_ranker_is_measured_beside_its_baselines_and_the_ceiling() -> None:
    stream = rng()
    truth = stream.uniform(0.02, 0.4, 3000)
    clicks = stream.random(3000) < truth
    frame = pd.DataFrame({
        "user_id": [f"u{row % 300}" for row in range(3000)], "click": clicks, "conversion": clicks & (stream.random(3000) < 0.3),
        "p_click:ranker": truth, "p_convert:ranker": 0.3, "p_click:constant": 0.21, "p_convert:constant": 0.3, "truth": truth,
    })  # fmt: skip
    found = ranker_measures(frame, PARAMS, rng(), chosen="cross")
    assert found.facts["log_loss_gain_over"]["constant"]["low"] > 0
    assert found.models["truth"]["auc"].value == pytest.approx(found.models["ranker"]["auc"].value)
    assert found.models["constant"]["auc"].value == pytest.approx(0.5)
    assert "log_loss_convert" not in found.models["truth"]
    assert (found.tables["reliability"]["low"] <= found.tables["reliability"]["observed"]).all()


def test_a_prediction_that_is_one_number_for_every_ad_is_called_a_constant_where_it_is_judged() -> None:
    stream = rng()
    truth = stream.uniform(0.02, 0.4, 600)
    clicks = stream.random(600) < truth
    frame = pd.DataFrame({
        "user_id": [f"u{row % 60}" for row in range(600)], "click": clicks, "conversion": clicks & (stream.random(600) < 0.3),
        "p_click:ranker": truth, "p_convert:ranker": 0.3 + 1e-9 * truth, "p_click:constant": 0.21, "p_convert:constant": 0.3,
        "p_click:logistic": truth, "p_convert:logistic": 0.5 * truth,
    })  # fmt: skip
    found = ranker_measures(frame, PARAMS, rng(), chosen="logistic")
    assert found.facts["one_number"] == {"ranker": {"p_convert": pytest.approx(0.3)}, "constant": {"p_click": 0.21, "p_convert": 0.3}}
    told = rankers_chapter(found)
    assert "The ranker's p_convert is a constant, 30.00 % for every ad: there were too few conversions to learn from" in told.lead
    assert "p_click is a constant" not in told.lead
    metrics, calibrated = told.tables
    cells = {row[0]: dict(zip(metrics.head, row, strict=True)) for row in metrics.rows}
    assert cells["ranker (logistic chosen)"]["log_loss_convert"].endswith("(a constant)")
    assert cells["constant"]["auc"].endswith("(a constant)")
    assert "constant" not in cells["ranker (logistic chosen)"]["auc"] + cells["logistic"]["log_loss_convert"]
    assert {row[0]: row[2] for row in calibrated.rows}["constant"] == "a constant"


def test_the_page_says_which_of_the_models_the_ranker_is() -> None:
    p_click = rng().uniform(0.02, 0.4, 600)
    frame = pd.DataFrame({
        "user_id": [f"u{row % 60}" for row in range(600)], "click": rng().random(600) < p_click, "conversion": False,
        "p_click:ranker": p_click, "p_convert:ranker": 0.3, "p_click:logistic": p_click, "p_convert:logistic": 0.3,
    })  # fmt: skip
    found = ranker_measures(frame, PARAMS, rng(), chosen="logistic")
    for shown in rankers_chapter(found).tables:
        assert [row[0] for row in shown.rows] == ["ranker (logistic chosen)", "logistic"]
        assert shown.accent == "ranker (logistic chosen)"
        first, second = ([cell.split(" ")[0] for cell in row[1:]] for row in shown.rows)
        assert first == second  # but for the draws of their intervals
    assert "Its scorer is logistic, the best before these days: the two rows are of one model." in rankers_chapter(found).tables[0].note
    nothing = Measure.untrained("none")
    heads = headlines(
        {"recommender": nothing, "policy": nothing, "ranker": found, "generator": Measure("", "", {}, {"compliance_violations": 0})}, 3
    )
    assert heads[0][0] == "AUC, ranker (logistic chosen)"


def test_a_measure_reads_as_metrics_json_holds_it() -> None:
    measure = Measure("ndcg10", "sequence", {"sequence": {"ndcg10": Interval(0.2, 0.1, 0.3)}}, {"users": 4})
    assert measure.as_dict()["models"]["sequence"]["ndcg10"] == {"value": 0.2, "low": 0.1, "high": 0.3}
    assert measure.headline() == {"ndcg10": 0.2}
    assert measure.points().to_dict("list") == {"model": ["sequence"], "metric": ["ndcg10"], "value": [0.2], "low": [0.1], "high": [0.3]}


def test_columns_count_within_each_request() -> None:
    assert candidates_column(np.array([0, 0, 1, 2, 2, 2])).tolist() == [0, 1, 0, 0, 1, 2]
