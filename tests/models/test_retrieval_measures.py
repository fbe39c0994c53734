import numpy as np
import pytest
from synthetic import TRAIN_END, shop_catalogue, shop_events, shop_items
from test_recommenders import bundle

from core.params import EvaluateParams
from models.recommender import bundle as bundles
from tasks.judge import retrieval
from tasks.judge.retrieval import judge_retrieval
from tasks.report.build import retrieval_words

PARAMS = EvaluateParams(bootstrap=100, top_k=5, min_effective_sample_size=5.0, exploration=0.1)
EVENTS = shop_events(shop_items())


def test_a_small_catalogue_tells_what_a_graph_would_find_and_that_none_answers() -> None:
    found = judge_retrieval(bundle(), EVENTS, start=TRAIN_END, params=PARAMS, rng=np.random.default_rng(0))
    assert (found["indexed"], found["items"], found["k"]) == (False, 32, 5)
    assert found["recall"]["value"] == 1.0
    assert "by scoring each of 32 items; a graph index gives 1.0000" in retrieval_words(found)


def test_a_graph_that_is_asked_for_too_few_loses_recall_and_the_measure_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundles, "LEAST", 1)
    monkeypatch.setattr(bundles, "OVERFETCH", 2)
    big = bundle(shop_catalogue(per_theme=60))
    found = judge_retrieval(big.indexed(0), EVENTS, start=TRAIN_END, params=PARAMS, rng=np.random.default_rng(0))
    assert found["indexed"]
    assert found["recall"]["value"] < 1.0
    assert "from a graph index; it gives" in retrieval_words(found)


def test_between_the_limits_nothing_is_built_and_nothing_is_claimed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retrieval, "BUILT_UP_TO", 10)
    found = judge_retrieval(bundle(), EVENTS, start=TRAIN_END, params=PARAMS, rng=np.random.default_rng(0))
    assert found == {"indexed": False, "items": 32, "k": 5}
    assert retrieval_words(found) == " Lists are made by scoring each of 32 items."
