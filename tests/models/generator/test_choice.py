import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.generator.bundle import make_reviewer
from models.generator.choice import best_first, consensus
from models.generator.facts import fit_facts
from models.generator.quality import fit_targets


def test_consensus_by_hand():
    # 甲乙 and 甲丙 share one of two characters and no pair; 甲乙 and 甲乙 share all there is (grams of 3 and 4: none, 0)
    assert consensus(["甲乙", "甲乙", "甲丙"]) == pytest.approx([(0.5 + 0.125) / 2, (0.5 + 0.125) / 2, 0.125])
    assert consensus(["甲乙"]).tolist() == [0.0]


@given(st.lists(st.text(alphabet="甲乙丙丁", min_size=1, max_size=9), min_size=2, max_size=6))
def test_consensus_lies_between_nothing_and_all_and_equal_texts_agree_alike(texts):
    found = consensus(texts)
    assert ((found >= 0) & (found <= 1)).all()
    for text in set(texts):
        assert len({round(float(score), 12) for score, other in zip(found, texts, strict=True) if other == text}) == 1


def test_accepted_candidates_come_first_and_the_odd_one_out_late(shop):
    facts = fit_facts(list(shop.products.values()), shop.copies, shop.copies[:9], shop.vocabulary)
    reviewer = make_reviewer(facts, [], shop.vocabulary, levels=[], targets=fit_targets(shop.copies, facts), max_copied_span=20)
    request = next(request for request in shop.products.values() if request.brand)
    good, other = f"{request.brand}陪你出门，轻便又耐看。", f"{request.brand}陪你出门，轻便也耐看。"
    odd, refused = "锅里的汤已经炖好了。", "全网第一好看，最佳选择。"
    found = best_first([odd, refused, good, other, good], request, reviewer)
    assert sorted(found) == sorted({odd, refused, good, other})
    assert found[-1] == refused
    assert found[0] in (good, other)
    assert best_first([], request, reviewer) == []
    assert np.isfinite(consensus([good, odd])).all()
