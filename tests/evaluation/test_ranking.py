from math import log2

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluation.ranking import metrics_of_ranks, ranking_metrics, target_ranks


def test_the_rank_of_a_target_counts_the_items_above_it() -> None:
    scores = np.array([[0.1, 0.9, 0.5, 0.3], [4.0, 3.0, 2.0, 1.0]])
    assert target_ranks(scores, np.array([2, 0])).tolist() == [2, 1]


def test_a_scorer_that_gives_all_items_one_score_ranks_every_target_last() -> None:
    assert target_ranks(np.zeros((3, 7)), np.array([0, 3, 6])).tolist() == [7, 7, 7]


def test_metrics_of_one_relevant_item_worked_by_hand() -> None:
    found = metrics_of_ranks(np.array([1, 3, 11]), k=10)
    assert found.hit_rate.tolist() == [1, 1, 0]
    assert found.recall.tolist() == [1, 1, 0]
    np.testing.assert_allclose(found.ndcg, [1.0, 1 / log2(4), 0.0])
    np.testing.assert_allclose(found.mrr, [1.0, 1 / 3, 1 / 11])


def test_metrics_of_several_relevant_items_worked_by_hand() -> None:
    # scores in order: item 2 (.9), 0 (.8), 3 (.4), 1 (.2), 4 (.1); relevant: 0, 1 and 4, at ranks 2, 4 and 5
    scores = np.array([[0.8, 0.2, 0.9, 0.4, 0.1]])
    relevant = np.array([[True, True, False, False, True]])
    found = ranking_metrics(scores, relevant, k=4)
    assert found.hit_rate.tolist() == [1.0]
    np.testing.assert_allclose(found.recall, [2 / 3])
    np.testing.assert_allclose(found.ndcg, [(1 / log2(3) + 1 / log2(5)) / (1 + 1 / log2(3) + 1 / log2(4))])
    np.testing.assert_allclose(found.mrr, [1 / 2])


def test_ideal_gain_stops_at_the_cut_off() -> None:
    found = ranking_metrics(np.array([[3.0, 2.0, 1.0]]), np.array([[True, True, True]]), k=2)
    assert found.ndcg.tolist() == [1.0]


def test_an_item_that_may_not_be_shown_is_never_a_hit() -> None:
    scores = np.array([[-np.inf, 1.0, 0.5]])
    assert target_ranks(scores, np.array([0])).tolist() == [3]
    found = ranking_metrics(scores, np.array([[True, False, False]]), k=2)
    assert found.hit_rate.tolist() == [0.0]
    np.testing.assert_allclose(found.mrr, [1 / 3])


def test_a_user_without_a_relevant_item_is_refused() -> None:
    with pytest.raises(ValueError, match="no relevant item"):
        ranking_metrics(np.zeros((1, 3)), np.zeros((1, 3), dtype=bool), k=1)
    with pytest.raises(ValueError, match="user row 0 has no relevant item"):
        metrics_of_ranks(np.array([1]), k=1, users=np.array([1]))


def test_nan_scores_are_refused() -> None:
    with pytest.raises(ValueError, match="NaN"):
        target_ranks(np.array([[np.nan, 1.0]]), np.array([1]))


@given(st.integers(0, 10_000), st.integers(1, 6))
def test_both_doors_agree_and_metrics_lie_in_the_unit_interval(seed: int, k: int) -> None:
    rng = np.random.default_rng(seed)
    scores = rng.permuted(np.tile(np.arange(9.0), (4, 1)), axis=1)
    targets = rng.integers(9, size=4)
    relevant = np.zeros((4, 9), dtype=bool)
    relevant[np.arange(4), targets] = True
    one, other = ranking_metrics(scores, relevant, k=k), metrics_of_ranks(target_ranks(scores, targets), k=k)
    for name, values in one.as_dict().items():
        np.testing.assert_allclose(values, other.as_dict()[name])
        assert ((values >= 0) & (values <= 1)).all()
    assert (one.ndcg <= one.hit_rate).all()
