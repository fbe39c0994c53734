"""Fluency: damaged copy is told from human copy, and a row of common words is not taken for a sentence."""

import numpy as np
import pytest

from models.generator.fluency import SIGNS, FluencyJudge, PairCounts, fit_weights
from models.generator.ngram import symbols
from models.generator.slots import slots_of

LEARNED = [["鞋底", "很", "软", "。"], ["鞋面", "很", "透气", "。"]]


def signs(text: list[str]) -> dict[str, float]:
    return dict(zip(SIGNS, PairCounts(LEARNED).signs(text), strict=True))


def test_signs_by_hand():
    known = signs(["鞋底", "很", "软", "。"])
    assert [known[name] for name in ("strange pairs", "strangeness", "strange pairs one apart", "new spellings", "unknown words")] == [
        0.0
    ] * 5
    strange = signs(["软", "很", "鞋底", "。"])  # 4 of 5 pairs were never met: begin–软, 软–很, 很–鞋底, 鞋底–。
    assert strange["strange pairs"] == pytest.approx(4 / 5)
    surprises = [2 * 1, 1 * 2, 2 * 1, 1 * 2]  # how often each word stands; 12 words with begins and ends
    assert strange["strangeness"] == pytest.approx(sum(0.1 + np.log1p(4 * product / 12) for product in surprises) / 5)
    assert signs(["软", "软", "。", "。"])["repeated words"] == pytest.approx(1 / 2)
    assert signs(["软", "。", "。"])["doubled marks"] == pytest.approx(1 / 4)
    assert signs(["锅", "很", "软"])["unknown words"] == pytest.approx(1 / 3)


def test_common_words_that_never_meet_are_stranger_than_rare_ones():
    often = [["很", "软", "，", "真", "好"]] * 30 + [["锅盖", "重"]]
    counts = PairCounts(often)
    common, rare = counts.signs(["好", "很"]), counts.signs(["锅盖", "锅盖"])
    assert common[SIGNS.index("strangeness")] > rare[SIGNS.index("strangeness")]


def test_damaged_copy_is_told_from_held_out_human_copy(shop):
    texts = [symbols(copy.pieces, slots_of(copy.request), shop.vocabulary) for copy in shop.copies]
    learned, held = [t for row, t in enumerate(texts) if row % 5], [t for t in texts[::5] if len(t) > 6]
    judge, rng = FluencyJudge.of(learned), np.random.default_rng(1)
    human = np.array([judge.level(text) for text in held])
    shuffled = np.array([judge.level([text[at] for at in rng.permutation(len(text))]) for text in held])
    assert np.mean(human > shuffled) > 0.9


def test_weights_are_the_same_each_time_and_none_are_fitted_to_a_handful(shop):
    texts = [symbols(copy.pieces, slots_of(copy.request), shop.vocabulary) for copy in shop.copies[:120]]
    assert fit_weights(texts) == fit_weights(texts)
    assert fit_weights(texts[:20]) == ()
    assert FluencyJudge.of(texts[:20]).level(texts[0]) == 0.0
    kept = FluencyJudge.of(texts, FluencyJudge.of(texts).weights)
    assert kept.level(texts[3]) == FluencyJudge.of(texts).level(texts[3])
    assert np.isfinite(kept.level([]))
