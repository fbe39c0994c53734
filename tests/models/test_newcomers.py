"""Items that no training event has, ranked by their text."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from models.recommender.newcomers import PROMOTIONS, chosen_promotion, parts_of, placed, text_scores

NEW = torch.tensor([False, False, False, True, True])
SCORES = torch.tensor([[3.0, 2.0, 1.0, -50.0, 40.0]])


def order(scores: torch.Tensor) -> list[int]:
    return scores[0].argsort(descending=True).tolist()


def test_a_newcomer_stands_at_its_rank_by_text_whatever_its_own_score_was():
    text = torch.tensor([[0.9, 0.1, 0.5, 0.8, 0.0]])  # by text: 0, 3, 2, 1, 4
    assert order(placed(SCORES, text, NEW, 1.0)) == [0, 3, 1, 2, 4]
    best = torch.tensor([[0.2, 0.1, 0.5, 0.8, 0.9]])  # by text: 4, 3, 2, 0, 1
    assert order(placed(SCORES, best, NEW, 1.0)) == [4, 0, 3, 1, 2]


def test_a_promotion_takes_newcomers_further_up():
    text = torch.tensor([[0.9, 0.7, 0.8, 0.6, 0.0]])  # by text: 0, 2, 1, 3, 4
    assert order(placed(SCORES, text, NEW, 1.0)).index(3) > order(placed(SCORES, text, NEW, 0.25)).index(3) == 0


def test_without_newcomers_nothing_changes():
    nobody = torch.zeros(5, dtype=torch.bool)
    assert torch.equal(placed(SCORES, SCORES, nobody, 0.5), SCORES)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 40), st.sampled_from(PROMOTIONS))
def test_known_items_keep_their_scores_and_newcomers_their_order_by_text(seed, items, promotion):
    rng = np.random.default_rng(seed)
    scores, text = (torch.from_numpy(rng.normal(size=(3, items))) for _ in range(2))
    new = torch.from_numpy(rng.random(items) < 0.4)
    found = placed(scores, text, new, promotion)
    assert torch.equal(found[:, ~new], scores[:, ~new])
    if new.any() and not new.all():
        for row in range(3):
            by_text, by_score = text[row][new].argsort().tolist(), found[row][new].argsort().tolist()
            assert by_text == by_score


def test_both_texts_count_alike_whatever_their_scales():
    rng = np.random.default_rng(1)
    cosine, wish = (torch.from_numpy(rng.normal(size=(2, 30))) for _ in range(2))
    assert torch.allclose(text_scores(cosine, wish), text_scores(5 * cosine + 3, 100 * wish - 7))


def test_those_who_play_newcomers_are_parted_without_overlap():
    known = np.arange(200) % 4 > 0
    parts = parts_of(known)
    assert sum(part.astype(int) for part in parts).max() == 1
    assert not np.logical_or.reduce(parts)[~known].any()
    assert all(np.array_equal(one, other) for one, other in zip(parts, parts_of(known), strict=True))


def test_the_mildest_promotion_that_is_enough_is_chosen():
    hits = [(0.02, 0.10), (0.05, 0.10), (0.07, 0.09), (0.08, 0.08), (0.09, 0.05)]
    assert chosen_promotion(hits, 500) == PROMOTIONS[2]
    assert chosen_promotion([(0.01, 0.1), (0.02, 0.1), (0.03, 0.1), (0.02, 0.1), (0.01, 0.1)], 500) == PROMOTIONS[2]
    assert chosen_promotion(hits, 5) == pytest.approx(1.0)
