import numpy as np
import pytest

from models.generator.ngram import NgramModel


def test_a_colder_3_gram_says_the_likelier_word_more_often():
    model = NgramModel(2, [["a"]] * 3 + [["b"]])
    shares = {}
    for temperature in (0.5, 1.0, 2.0):
        rng = np.random.default_rng(3)
        drawn = [model.draw(rng, frozenset(), 1, temperature)[:1] for _ in range(3000)]
        firsts = [text[0] for text in drawn if text]
        shares[temperature] = firsts.count("a") / len(firsts)
    assert shares[0.5] > shares[1.0] + 0.05
    assert shares[2.0] < shares[1.0] - 0.03
    assert shares[1.0] == pytest.approx(0.75, abs=0.04)
