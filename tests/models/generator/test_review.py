import re
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import ParamsError
from core.vocabulary import CHANNELS, LENGTH_LIMITS, SCENES
from models.generator.bundle import make_reviewer
from models.generator.compliance import RULES, Compliance
from models.generator.facts import Facts, fit_facts
from models.generator.ngram import NgramModel, fit_ngram
from models.generator.quality import fit_targets
from models.generator.request import CopyRequest
from models.generator.retrieval import RetrievalGenerator
from models.generator.slots import NOUN, slots_of
from models.generator.spans import SpanIndex
from models.generator.template import TemplateGenerator
from models.generator.topics import calibrate_topics

COMPLIANCE = Compliance.load()


@pytest.mark.parametrize(
    ("text", "category", "rule"),
    [
        ("全场最便宜的跑鞋", "运动健身", "superlative_most"),
        ("顶级面料，穿着舒服", "女装", "superlative_set_phrase"),
        ("国家级品质", "家居", "national_level"),
        ("销量第一的锅", "厨具", "number_one"),
        ("全网首发，等你来", "手机", "unique_first"),
        ("全网最低价", "手机", "lowest_price"),
        ("国宴专用", "食品", "state_authority"),
        ("用了一定会白", "美妆", "absolute_guarantee"),
        ("三天治疗失眠", "家居", "medical_claim"),
        ("养胃又健脾", "食品", "health_food"),
        ("药妆级护理", "美妆护肤", "cosmetic_medical"),
        ("媲美母乳的营养", "母婴", "infant_formula"),
        ("今晚不醉不归", "酒水饮料", "alcohol"),
        ("学完必过", "图书", "education_promise"),
        ("囤着稳赚", "图书", "investment_promise"),
        ("吊打同行", "手机", "disparage"),
        ("专家推荐", "母婴", "unsourced_data"),
        ("最后一天，错过再等一年", "女装", "false_urgency"),
        ("戴上它转运", "饰品", "superstition"),
        ("加微信领取", "女装", "contact_details"),
    ],
)
def test_a_text_that_breaks_a_rule_is_blocked_with_its_clause_and_a_suggestion(text, category, rule):
    found = {violation.rule: violation for violation in COMPLIANCE.blocks(text, category)}
    assert rule in found
    assert re.search("第.+条", found[rule].clause)
    assert found[rule].suggestion
    assert text[found[rule].start :].startswith(found[rule].found)


@pytest.mark.parametrize(
    "text",
    [
        "最近常穿的跑鞋",
        "最后一公里也轻快",
        "最初的味道",
        "第一次露营也不慌",
        "第一天上班就背它",
        "一定程度上防泼水，不一定适合暴雨",
        "最爱这抹云朵白",
        "唯独偏爱这一口",
        "第一眼就喜欢",
        "其一，鞋底耐磨；其二，好打理",
        "首先看面料",
        "最多装下三件外套",
        "治理收纳有办法",
        "顶端有挂绳",
        "王者一般的从容",
    ],
)  # fmt: skip
def test_words_that_only_look_like_a_breach_pass(text):
    assert COMPLIANCE.check(text, "运动健身") == []


def test_a_scoped_rule_holds_in_its_categories_only():
    assert COMPLIANCE.blocks("美白淡斑", "食品饮料")
    assert not COMPLIANCE.blocks("美白淡斑", "手机数码")
    assert COMPLIANCE.blocks("消炎止痛", "家居")
    assert not COMPLIANCE.blocks("消炎止痛", "医疗器械")


def test_a_warning_does_not_block():
    (found,) = COMPLIANCE.check("下单赠送鞋带一双", "运动健身")
    assert (found.rule, found.severity) == ("free_gift", "warn")
    assert not COMPLIANCE.blocks("下单赠送鞋带一双", "运动健身")


def test_every_rule_has_a_clause_a_suggestion_and_an_example_that_its_exceptions_do_not_swallow():
    for rule in COMPLIANCE.rules:
        assert re.search("第.+条", rule.clause)
        assert rule.suggestion
        for pattern in rule.exceptions:
            assert re.compile(pattern)


def test_a_faulty_rules_file_is_refused_by_name(tmp_path):
    with pytest.raises(ParamsError, match="no such file"):
        Compliance.load(tmp_path / "none.yaml")
    text = (RULES / "absolute.yaml").read_text(encoding="utf-8")
    for damage, words in (
        (text.replace("\n  severity: block", "\n  severity: maybe", 1), "severity"),
        (text.replace('"国家级"', '"国(家级"', 1), "no regular expression"),
        (text.replace('"国家级"', '""', 1), "matches every text, the empty one too"),
        (text.replace('"国家级"', '"(a+)+$"', 1), "repeats a repetition, which may take for ever"),
        ("a: 1", "a list"),
    ):
        (tmp_path / "rules.yaml").write_text(damage, encoding="utf-8")
        with pytest.raises(ParamsError, match=words):
            Compliance.load(tmp_path / "rules.yaml")


SHOE = CopyRequest("p1", "驰野 透气网面运动鞋 云朵白", "运动健身", "驰野", 299_000_000, (("鞋面", "透气网面"), ("颜色", "云朵白")))
BAG = CopyRequest(
    "p2", "拾步 25升运动背包 曜石黑", "运动健身", "拾步", 199_000_000, (("容量", "25升"), ("颜色", "曜石黑"), ("功能", "防泼水尼龙"))
)


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("曜石黑耐看又耐脏", "contradiction"),
        ("防泼水尼龙擦擦就干", "attribute"),
        ("拾步陪你慢慢跑", "brand"),
        ("只要199元", "price"),
        ("轻到只有180克", "number"),
        ("用料多三倍", "number"),
        ("现在下单满199减30", "number"),
        ("领券带回家", "offer"),
        ("五折带走", "number"),
        ("双十一见", "date"),
        ("11月11日开抢", "number"),
    ],
)
def test_what_the_product_does_not_bear_out_is_found(shop, text, rule):
    facts = fit_facts([SHOE, BAG], [], [])
    assert facts.check(text, SHOE)[0].rule == rule


DRESS = CopyRequest(
    "d1", "裙", "裙", attributes=(("类型", "半身裙"), ("颜色", "黑色"), ("颜色", "白色"), ("裙长", "短裙"), ("风格", "简约"))
)
PLAIN = CopyRequest("d2", "裙", "裙", attributes=(("类型", "连衣裙"), ("裙长", "长裙"), ("风格", "复古"), ("图案", "粉色")))
RED = CopyRequest("d3", "裙", "裙", attributes=(("类型", "连衣裙"), ("颜色", "酒红色"), ("颜色", "红色"), ("衣长", "短款")))


@pytest.mark.parametrize(
    ("text", "request_", "found"),
    [
        ("黑色白色都好搭", DRESS, []),  # a key may have several values
        ("红色抢眼", DRESS, ["红色"]),
        ("红色抢眼", PLAIN, []),  # nobody wrote its colour down
        ("红色抢眼", RED, []),
        ("酒红色的连衣裙", DRESS, ["酒红色", "连衣裙"]),
        ("长裙飘逸", DRESS, ["长裙"]),
        ("短款利落", DRESS, []),  # another length: of what, its product does not say
        ("复古又简约", DRESS, []),  # a style is no exclusive key
        ("粉色温柔", DRESS, []),  # 粉色 stands under 图案 only
        ("两件只要99元", DRESS, ["99"]),
    ],
)
def test_contradictions_are_of_exclusive_keys_that_the_product_states(shop, text, request_, found):
    facts = fit_facts([DRESS, PLAIN, RED], [], [])
    assert facts.exclusive == {"类型", "颜色", "裙长", "衣长"}
    assert [fault.found for fault in facts.contradictions(text, request_)] == found


def test_a_value_that_human_copy_says_against_the_products_own_is_no_contradiction(shop):
    copies = [replace(shop.copies[0], request=DRESS, text=text) for text in ("红色吊牌，红色内衬", "红色缝线")]
    assert fit_facts([DRESS, RED], [], []).contradictions("红色抢眼", DRESS)
    assert not fit_facts([DRESS, RED], copies, []).contradictions("红色抢眼", DRESS)


def test_a_channels_limit_is_what_the_request_says_it_is():
    assert DRESS.max_length == LENGTH_LIMITS["onsite"]
    assert replace(DRESS, limits={"onsite": 12}).max_length == 12
    assert replace(DRESS, limits={"onsite": 12}, limit=9).max_length == 9
    assert replace(DRESS, limits={"onsite": 12, "search": 7}).placed("brand", "search").max_length == 7


def test_facts_come_back_from_their_file(shop, tmp_path):
    facts = fit_facts([DRESS, PLAIN, RED], [], [])
    facts.save(tmp_path / "facts.json")
    assert Facts.load(tmp_path / "facts.json") == facts


def test_the_source_of_the_longest_shared_span_is_found():
    spans = SpanIndex(["清晨五公里，缓震发泡底落地软一点。", "鞋面透气，缓震发泡底落地很软"])
    found = spans.shared("新款：缓震发泡底落地软一些")
    assert found is not None
    assert (found.start, found.length, found.source_start) == (3, 9, 6)
    assert found.source == "清晨五公里，缓震发泡底落地软一点。"
    assert spans.overlap("新款：缓震发泡底落地软一些").longest == 9
    assert spans.shared("别的话") is None


def test_what_the_product_bears_out_passes(shop):
    facts = fit_facts([SHOE, BAG], [], [])
    for text, request in (
        ("驰野运动鞋，透气网面，云朵白，299元", SHOE),
        ("25升装得下球鞋，曜石黑耐脏", BAG),
        ("第一次跑五公里也不慌", SHOE),
    ):
        assert facts.check(text, request) == []


def test_a_word_that_human_copy_says_of_any_product_is_no_fact(shop):
    copies = [copy for copy in shop.copies if len(copy.text) < 60]
    word = "跑步"
    plain = CopyRequest("p3", "某 跑步袜", "运动健身", None, None, (("用途", word),))
    said = [type(copy)(copy.copy_id, copy.request, f"{word}{copy.text}", copy.pieces, copy.text) for copy in copies[:20]]
    assert word in fit_facts([plain], [], []).values
    assert word not in fit_facts([plain], said, []).values


def test_a_product_that_training_copy_never_names_beside_it_is_no_companion(shop):
    topics = calibrate_topics(list(shop.products.values()), shop.copies, shop.copies[::9])
    noun, friend = next((noun, other) for noun, others in topics.companions.items() for other in others if other not in noun)
    request = next(request for request in shop.products.values() if any(slot.value == noun for slot in slots_of(request)))
    strangers = [other for other in topics.catalogue_nouns if other not in topics.companions[noun] and other not in request.title]
    assert friend not in topics.foreign(f"配上{friend}一起用", request)
    assert strangers[0] in topics.foreign(f"配上{strangers[0]}一起用", request)


def test_facts_survive_a_round_trip(shop, tmp_path):
    facts = fit_facts(list(shop.products.values()), shop.copies, shop.copies[:9])
    facts.save(tmp_path / "facts.json")
    assert Facts.load(tmp_path / "facts.json") == facts


@given(st.text(alphabet="甲乙丙", max_size=40), st.text(alphabet="甲乙丙", min_size=8, max_size=40))
def test_the_longest_shared_span_is_the_brute_force_one(text, training):
    spans = {training[a:b] for a in range(len(training)) for b in range(a + 8, len(training) + 1)}
    shared = [(a, b) for a in range(len(text)) for b in range(a + 8, len(text) + 1) if text[a:b] in spans]
    found = SpanIndex([training]).overlap(text)
    assert found.longest == max((b - a for a, b in shared), default=0)
    assert found.covered == len({place for a, b in shared for place in range(a, b)})


def test_n_gram_probabilities_sum_to_one_and_are_witten_and_bells():
    model = NgramModel(2, [["甲", "乙"], ["甲", "丙"]])
    words = ["甲", "乙", "丙", "</s>", "never"]
    assert sum(model.probability(word, ("甲",)) for word in words) == pytest.approx(1.0)
    unigram = (1 + 4 * (1 / 5)) / (6 + 4)  # 乙 once in six tokens of four kinds; uniform over four kinds and one unseen
    assert model.probability("乙", ("甲",)) == pytest.approx((1 + 2 * unigram) / (2 + 2))


def test_the_3_gram_writes_only_slots_that_the_product_has(shop):
    requests = [copy.request for copy in shop.copies[::40]]
    for request, texts in zip(requests, fit_ngram(shop.copies, shop.vocabulary).write(requests, 3, np.random.default_rng(1)), strict=True):
        assert len(texts) == 3, request
        assert not any("{" in text for text in texts), request


def test_the_nearest_copy_of_a_training_product_is_its_own(shop):
    generator = RetrievalGenerator(tuple(shop.copies))
    copy = shop.copies[17]
    assert copy.text in generator.write([copy.request], 3, np.random.default_rng(0))[0]


def test_the_template_always_has_a_text_that_fits_and_is_true(shop):
    reviewer = make_reviewer(
        fit_facts(list(shop.products.values()), [], []), [], shop.vocabulary, levels=[], targets={}, max_copied_span=20
    )
    bare = CopyRequest("x", "某样说不清的东西", "其他")
    for request in [*shop.products.values(), bare]:
        for scene in SCENES:
            for channel in CHANNELS:
                placed = request.placed(scene, channel)
                for text in TemplateGenerator().write([placed], 3, np.random.default_rng(0))[0]:
                    assert 0 < len(text) <= LENGTH_LIMITS[channel]
                    review = reviewer.review(text, placed)
                    assert review.accepted or review.rule == "too_short", (text, review)


def test_a_review_names_its_reason(shop):
    facts = fit_facts(list(shop.products.values()), shop.copies, shop.copies[:9])
    reviewer = make_reviewer(
        facts, shop.copies, shop.vocabulary, levels=[-3.0, -2.0, -1.0], targets=fit_targets(shop.copies, facts), max_copied_span=20
    )
    long = max(shop.copies, key=lambda copy: len(copy.text))
    search = long.request.placed("product", "search")
    assert (reviewer.review(long.text, search).reason, reviewer.review(long.text, long.request).reason) == ("length", "copied")
    assert reviewer.review(long.text, long.request, may_copy=True).accepted
    assert reviewer.review("顶级好物，值得拥有", search).reason == "compliance"
    assert reviewer.review("只要9999元就带走", search).reason == "fact"
    assert reviewer.review("轻轻松松出门，轻轻松松出门", search).rule == "repetition"
    assert reviewer.review("搭配搭配出门正好", search).found == "搭配搭配"
    assert reviewer.review("穿着轻轻轻出门", search).found == "轻轻轻"
    assert reviewer.review("用着用着就一步一步出门啦哈哈哈", search).rule != "repetition"
    noun = next(slot.value for slot in slots_of(search) if slot.name == NOUN)
    assert reviewer.review(f"{noun}与{noun}一起出门", search).found == f"{noun}与{noun}"
    assert reviewer.review(f"{noun}出门，{noun}回家", search).rule != "repetition"
    assert reviewer.review("出门带上它，", search).rule == "unfinished"
    assert reviewer.review("？快来看看这一款", search).rule == "unfinished"
    assert reviewer.review("报！#运动搭子#", search).rule == "unfinished"
    assert reviewer.review("#运动搭子# 出门就带上它", search).rule != "unfinished"
    assert reviewer.review("出门带上它：，刚好", search).found == "：，"
    assert reviewer.review("出门带上它！！刚好", search).rule != "unfinished"
    noun = next(slot.value for slot in slots_of(search) if slot.name == NOUN)
    assert reviewer.review(f"{noun}有{noun}，再来{noun}", search).found == noun
    good = reviewer.review(f"{search.brand}陪你出门", search)
    assert good.accepted
    assert 0 < good.quality <= 1


def test_an_english_title_gets_english_sentences_and_stays_whole():
    request = CopyRequest("x", "Fluid milk white 1 gal", "Milk", brand="Dale", attributes=(("department", "grocery"), ("size", "1 gal")))
    for scene in SCENES:
        for channel in CHANNELS:
            (texts,) = TemplateGenerator().write([request.placed(scene, channel)], 2, np.random.default_rng(0))
            assert texts
            for text in texts:
                assert text.isascii()
                assert "Fluid milk white 1 gal" in text
                assert len(text) <= LENGTH_LIMITS[channel]
