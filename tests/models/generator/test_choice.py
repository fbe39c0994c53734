import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluation.text import bleu_4
from models.generator.agreement import agreement, bleu_4_each, rouge_l_each
from models.generator.bundle import make_reviewer
from models.generator.choice import best_first, consensus
from models.generator.facts import fit_facts
from models.generator.quality import fit_targets
from models.generator.spans import SpanIndex


def reviewer_of(shop):
    facts = fit_facts(list(shop.products.values()), shop.copies, shop.copies[:9])
    return make_reviewer(facts, [], shop.vocabulary, levels=[], targets=fit_targets(shop.copies, facts), max_copied_span=20)


def test_bleu_and_rouge_by_hand():
    # 甲乙丙丁 against 甲乙丙戊: 3 of 4 characters, 2 of 3 pairs, 1 of 2 triples, no four (2^-3 of 1)
    by_hand = (3 / 4 * 2 / 3 * 1 / 2 * 1 / 8) ** 0.25
    assert bleu_4_each(["甲乙丙丁"], ["甲乙丙戊", "甲乙丙丁", "戊己庚辛"])[0] == pytest.approx([by_hand, 1.0, 0.0])
    short = bleu_4_each(["甲乙"], ["甲乙丙丁"])[0, 0]
    assert short == pytest.approx((1 / 4 * 1 / 8) ** 0.25 * np.exp(1 - 4 / 2))
    # longest common subsequence of (a b c d) and (b d e): b d
    assert rouge_l_each([list("abcd")], [list("bde"), list("abcd"), []])[0] == pytest.approx([2 * 2 / 7, 1.0, 0.0])


def test_the_quick_bleu_ranks_as_nltk_does(shop):
    texts, references = [copy.text for copy in shop.copies[:40]], [copy.text for copy in shop.copies[40:52]]
    exact = np.array([bleu_4(texts, [reference] * len(texts)) for reference in references]).T
    quick = 100 * bleu_4_each(texts, references)
    assert np.corrcoef(exact.ravel(), quick.ravel())[0, 1] > 0.98


@given(st.lists(st.text(alphabet="甲乙丙丁", min_size=1, max_size=9), min_size=2, max_size=6))
def test_agreement_lies_between_nothing_and_all_and_equal_texts_agree_alike(texts):
    found = agreement(texts, texts, [list(text) for text in texts], [list(text) for text in texts])
    assert ((found >= 0) & (found <= 5 + 1e-9)).all()
    for text in set(texts):
        rows = [found[row].round(12).tolist() for row, other in enumerate(texts) if other == text]
        assert all(row == rows[0] for row in rows)


def test_human_copy_of_similar_products_counts_as_half_of_the_consensus(shop):
    reviewer = reviewer_of(shop)
    texts = ["宽松显瘦的裤子。", "宽松显瘦的裤子。", "修身百搭的衬衫，轻便又耐看。"]
    assert consensus(texts, reviewer)[0] > consensus(texts, reviewer)[2]
    swayed = consensus(texts, reviewer, ["修身百搭的衬衫，轻便又耐看。"])
    assert swayed[2] > swayed[0] == pytest.approx(consensus(texts, reviewer)[0] / 2, abs=0.3)
    assert consensus(["甲乙"], reviewer).tolist() == [0.0]


def test_accepted_candidates_come_first_and_the_odd_one_out_late(shop):
    reviewer = reviewer_of(shop)
    request = next(request for request in shop.products.values() if request.brand)
    good, other = f"{request.brand}陪你出门，轻便又耐看。", f"{request.brand}陪你出门，轻便也耐看。"
    odd, refused = "锅里的汤已经炖好了。", "全网第一好看，最佳选择。"
    found = best_first([odd, refused, good, other, good], request, reviewer)
    assert sorted(found) == sorted({odd, refused, good, other})
    assert found[-1] == refused
    assert found[0] in (good, other)
    assert best_first([], request, reviewer) == []


def test_stock_phrases_are_those_of_two_texts_or_more():
    spans = SpanIndex(["修身的版型", "修身的面料", "轻盈透气"])
    assert spans.stock("修身的版") == 0.0
    assert SpanIndex(["修身的版型", "修身的版面"]).stock("修身的版型") == 0.5
    assert spans.stock("短") == 0.0
