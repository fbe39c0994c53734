import numpy as np

from models.generator.clause import ClauseGenerator, clauses_of
from models.generator.slots import delexicalise, slots_of


def test_a_text_is_cut_behind_its_marks_and_marks_alone_are_no_clause():
    assert clauses_of(["看，", 2, "很软，舒服！", "～", 0]) == [("看，",), (2, "很软，"), ("舒服！",), (0,)]


def test_every_clause_is_a_training_clause_with_this_products_words(shop):
    clauses = {
        tuple(slots_of(copy.request)[piece].name if isinstance(piece, int) else piece.strip("。！？!?；;，,、～~ ") for piece in clause)
        for copy in shop.copies
        for clause in clauses_of(copy.pieces)
    }
    requests = [copy.request for copy in shop.copies[::40]]
    for request, texts in zip(requests, ClauseGenerator(tuple(shop.copies)).write(requests, 2, np.random.default_rng(0)), strict=True):
        slots = slots_of(request)
        for text in texts:
            assert len(text) <= request.max_length
            for clause in clauses_of(delexicalise(text, slots)):
                named = tuple(slots[piece].name if isinstance(piece, int) else piece.strip("。，") for piece in clause)
                assert tuple(part for part in named if part) in {tuple(part for part in known if part) for known in clauses}


def test_no_fact_is_stated_twice_and_unknown_products_get_no_text(shop):
    writer = ClauseGenerator(tuple(shop.copies))
    request = shop.copies[0].request
    slots = slots_of(request)
    for (text,) in writer.write([request] * 20, 1, np.random.default_rng(1)):
        pointed = [piece for piece in delexicalise(text, slots) if isinstance(piece, int)]
        assert len(pointed) == len(set(pointed)) > 0
    assert ClauseGenerator(()).write([request], 3, np.random.default_rng(0)) == [[]]
