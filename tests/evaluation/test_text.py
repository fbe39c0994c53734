import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # jieba and nltk hold invalid escapes, reported when they are first compiled
    import jieba
    from nltk.translate.bleu_score import SmoothingFunction, sentence_bleu

from evaluation.text import (
    attribute_coverage,
    bleu_4,
    copying,
    distinct,
    rouge,
    sacrebleu_zh,
    self_bleu_4,
    signature,
)  # fmt: skip

HUMAN = "宽松的阔腿裤这两年真的吸粉不少，谁都能穿出腿长两米的效果。"
CLOSE = "宽松的阔腿裤谁都能穿，腿长两米的效果真的不少。"
GOLDEN = {
    "bleu_4": 48.13250429,  # clipped character n-grams 23/23, 16/22, 11/21, 8/20; brevity e^(1 - 29/23)
    "rouge": {"rouge_1": 85.7142852, "rouge_2": 49.9999995, "rouge_l": 68.4210521},
    "sacrebleu_zh": 48.13250429,
}
OTHER = "清晨五公里，缓震发泡底落地软一点。"


def test_a_copy_of_the_reference_scores_a_hundred_and_an_empty_text_nothing():
    assert bleu_4([HUMAN, ""], [HUMAN, HUMAN]).tolist() == pytest.approx([100.0, 0.0])
    scores = rouge([HUMAN, ""], [HUMAN, HUMAN])
    assert [scores[name].tolist() for name in ("rouge_1", "rouge_2", "rouge_l")] == [pytest.approx([100.0, 0.0], abs=1e-4)] * 3
    assert sacrebleu_zh([HUMAN], [HUMAN]) == pytest.approx(100.0)


def test_bleu_4_is_the_hand_made_geometric_mean():
    # text 甲乙丙丁戊, reference 甲乙丙丁己: 4/5, 3/4, 2/3, 1/2 of the 1- to 4-grams, lengths equal
    assert bleu_4(["甲乙丙丁戊"], ["甲乙丙丁己"])[0] == pytest.approx(100 * (4 / 5 * 3 / 4 * 2 / 3 * 1 / 2) ** 0.25)


def test_bleu_4_smooths_as_method_3_of_nltk():
    # no common 3- and 4-gram: 3/4, 1/3, then 1/(2·2) and 1/(4·1)
    assert bleu_4(["甲乙丙丁"], ["甲乙丁子"])[0] == pytest.approx(100 * (3 / 4 * 1 / 3 * 1 / 4 * 1 / 4) ** 0.25)


def test_rouge_counts_jiebas_words():
    scores = rouge(["透气 网面"], ["透气 鞋底"])
    assert scores["rouge_1"][0] == pytest.approx(50.0, abs=1e-3)
    assert scores["rouge_2"][0] == 0.0


def test_numbers_of_the_protocol_stay_what_they_were():
    assert len(list(jieba.cut(HUMAN))) == 20
    assert bleu_4([CLOSE], [HUMAN])[0] == pytest.approx(GOLDEN["bleu_4"], abs=1e-6)
    found = rouge([CLOSE], [HUMAN])
    assert {name: float(values[0]) for name, values in found.items()} == pytest.approx(GOLDEN["rouge"], abs=1e-4)
    assert sacrebleu_zh([CLOSE], [HUMAN]) == pytest.approx(GOLDEN["sacrebleu_zh"], abs=1e-4)


def test_a_closer_text_scores_higher_everywhere():
    assert bleu_4([CLOSE], [HUMAN])[0] > bleu_4([OTHER], [HUMAN])[0]
    assert rouge([CLOSE], [HUMAN])["rouge_l"][0] > rouge([OTHER], [HUMAN])["rouge_l"][0]


@given(st.lists(st.text(alphabet="甲乙丙丁，", min_size=1, max_size=12), min_size=2, max_size=7))
def test_self_bleu_is_what_nltk_computes_one_by_one(texts):
    smooth, kept = SmoothingFunction().method3, [list(text) for text in texts]
    by_nltk = [sentence_bleu(kept[:row] + kept[row + 1 :], text, smoothing_function=smooth) for row, text in enumerate(kept)]
    assert self_bleu_4(texts) == pytest.approx(100 * float(np.mean(by_nltk)))


def test_equal_texts_have_the_highest_self_bleu_and_one_text_has_none():
    assert self_bleu_4([HUMAN, HUMAN, HUMAN]) == pytest.approx(100.0)
    assert self_bleu_4([HUMAN]) == 0.0


def test_self_bleu_of_three_texts_by_hand():
    # each text beside the two others; 甲乙丙丁 has 3/4, 2/3, 1/2 of the 1- to 3-grams with 甲乙丙戊 and no 4-gram: 1/(2·1); lengths equal
    one = 100 * (3 / 4 * 2 / 3 * 1 / 2 * 1 / 2) ** 0.25
    assert self_bleu_4(["甲乙丙丁", "甲乙丙戊", "子丑寅卯"]) == pytest.approx((one + one + 0) / 3)


def test_self_bleu_reads_a_thousand_texts_and_the_signature_says_so():
    varied = [f"{chr(0x4E00 + 7 * row)}{chr(0x5E00 + 5 * row)}" for row in range(1000)]
    assert self_bleu_4([*varied, *["甲乙丙丁"] * 50]) == self_bleu_4(varied)
    assert "self-bleu4:char,nltk-method3,n:1000" in signature(1050)
    assert "n:437|self-bleu4:char,nltk-method3,n:437" in signature(437)


def test_the_signature_names_the_versions_of_all_that_the_numbers_rest_on():
    for name in ("jieba", "rouge-chinese", "nltk", "sacrebleu", "numpy", "scipy"):
        assert f"{name}:" in signature(10)


def test_distinct_counts_different_n_grams_over_all():
    assert distinct(["甲乙甲乙"], 2) == pytest.approx(2 / 3)
    assert distinct(["甲乙", "甲乙"], 1) == 0.5
    assert distinct(["甲"], 2) == 0.0


def test_copying_flags_spans_from_the_limit_on():
    found = copying([19, 20, 0], [19, 30, 0], [40, 30, 10], copied_span=20)
    assert found.copied.tolist() == [False, True, False]
    assert found.share.tolist() == pytest.approx([19 / 40, 1.0, 0.0])
    assert found.longest == 20
    assert copying([], [], []).longest == 0


def test_coverage_is_the_share_of_values_said_and_unknown_without_attributes():
    pairs = [("鞋面", "透气网面"), ("颜色", "云朵白")]
    covered = attribute_coverage(["透气网面很透气", "云朵白的透气网面", ""], [pairs, pairs, []])
    assert covered[:2].tolist() == [0.5, 1.0]
    assert np.isnan(covered[2])


def test_lists_of_different_lengths_are_refused():
    for measure in (bleu_4, rouge):
        with pytest.raises(ValueError, match="longer"):
            measure([HUMAN], [HUMAN, HUMAN])
