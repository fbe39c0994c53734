import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.generator.request import CopyRequest
from models.generator.slots import Slot, delexicalise, lexicalise, noun_of, price_text, slots_of
from models.generator.training_copies import LOST, clean_text, mended, split_groups, without_lost
from models.generator.vocabulary import EOS, UNK

SHOE = CopyRequest("p1", "驰野 透气网面运动鞋 云朵白", "运动健身", "驰野", 299_000_000, (("鞋面", "透气网面"), ("颜色", "云朵白")))


def test_a_products_own_words_become_slots_and_come_back():
    slots = slots_of(SHOE)
    assert [(slot.name, slot.value) for slot in slots] == [
        ("brand", "驰野"), ("noun", "运动鞋"), ("price", "299"), ("@鞋面", "透气网面"), ("@颜色", "云朵白"),
    ]  # fmt: skip
    pieces = delexicalise("驰野运动鞋，透气网面，只要299元", slots)
    assert pieces == [0, 1, "，", 3, "，只要", 2, "元"]
    assert lexicalise(pieces, slots) == "驰野运动鞋，透气网面，只要299元"


@given(st.text(alphabet="驰野运动鞋透气网面云朵白299.，a", max_size=30))
def test_lexicalise_undoes_delexicalise_for_any_text(text):
    slots = slots_of(SHOE)
    assert lexicalise(delexicalise(text, slots), slots) == text


def test_a_price_inside_a_longer_number_is_no_price():
    assert delexicalise("1299元、2.299、299元", slots_of(SHOE)) == ["1299元、2.299、", 2, "元"]


def test_the_longest_own_word_wins():
    slots = (Slot("@a", "网面"), Slot("@b", "透气网面"))
    assert delexicalise("透气网面", slots) == [1]


def test_a_piece_beyond_the_products_slots_is_refused():
    with pytest.raises(ValueError, match="beyond the product's 5 slots"):
        lexicalise([7], slots_of(SHOE))


def test_the_noun_is_what_the_title_leaves_when_brand_and_values_go():
    assert noun_of("山屿 奶咖露营椅 折叠铝架", "山屿", [("颜色", "奶咖"), ("支架", "折叠铝架")]) == "露营椅"
    assert noun_of("裙", None, []) == ""


def test_prices_are_written_without_idle_zeros():
    assert [price_text(micros) for micros in (299_000_000, 27_900_000, 5_250_000)] == ["299", "27.9", "5.25"]


def test_every_copy_of_the_market_survives_encoding(shop):
    for copy in shop.copies:
        ids = shop.vocabulary.encode(copy.pieces)
        assert UNK not in ids
        assert lexicalise(shop.vocabulary.decode([*ids, EOS, 9]), slots_of(copy.request)) == copy.text


def test_clauses_with_an_offer_or_a_date_are_not_learned_from():
    assert (
        clean_text("等等党集合！驰野运动鞋现在满299减40，穿一整天脚也不累赘，看中就下手～", 60)
        == "等等党集合！穿一整天脚也不累赘，看中就下手～"
    )
    assert clean_text("限时九折，快来", 60) == ""
    assert clean_text("三折伞轻巧好收，通勤包里放得下", 60, own=["三折伞"]) == "三折伞轻巧好收，通勤包里放得下"


def test_clauses_with_a_placeholder_are_marked_or_dropped_and_long_copy_ends_with_a_sentence():
    marked = clean_text("上身显瘦的<UNK>款式，面料亲肤透气又舒适。", 60)
    assert marked == f"上身显瘦的{LOST}款式，面料亲肤透气又舒适。"
    assert without_lost(marked) == "面料亲肤透气又舒适。"
    assert clean_text("户外活动自如，充满一种青春活力的气息。", 60) == "户外活动自如，充满一种青春活力的气息。"
    assert clean_text("活动价很好，面料亲肤透气又舒适。", 60) == "面料亲肤透气又舒适。"
    assert clean_text("宽松的裤腿遮肉又显瘦。上身随性自然不拘束，面料亲肤舒适。", 15) == "宽松的裤腿遮肉又显瘦。"


def test_equal_products_and_equal_texts_never_stand_on_both_sides_of_a_split(shop):
    groups = split_groups(shop.copies)
    side: dict[object, str] = {}
    for copy, group in zip(shop.copies, groups, strict=True):
        for key in ((*tuple(sorted(copy.request.attributes)), copy.request.category), copy.text):
            assert side.setdefault(key, group) == group
    assert len(set(groups)) > 10


def test_a_copy_is_mended_by_leaving_out_its_faulty_clauses(shop):
    copy = next(copy for copy in shop.copies if copy.text.count("，") >= 2 and len(copy.text) > 30)
    first, rest = copy.text.split("，", 1)
    found = mended(copy, lambda clause: clause.startswith(first))
    assert found is not None
    assert found.text == rest
    assert lexicalise(found.pieces, slots_of(copy.request)) == rest
    last = copy.text.rsplit("，", 1)[1]
    ended = mended(copy, lambda clause: clause == last)
    assert ended is not None
    assert ended.text.endswith("。")
    assert mended(copy, lambda clause: False) is None
    assert mended(copy, lambda clause: True) is None
