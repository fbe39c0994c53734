"""Words of other kinds of product: found with their evidence, and hardly ever in true human copy."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import betabinom

from models.generator.belonging import ENOUGH, LEAST, NO_BELONGING, Belonging, fit_belonging, kind_of, log_odds
from models.generator.bundle import make_reviewer
from models.generator.choice import best_first
from models.generator.facts import fit_facts
from models.generator.request import CopyRequest
from models.generator.slots import delexicalise, slots_of
from models.generator.training_copies import split_groups


@pytest.fixture(scope="module")
def judged(shop):
    groups = split_groups(shop.copies)
    names = sorted(set(groups))
    drawn = set(names[::8])
    train = [copy for copy, group in zip(shop.copies, groups, strict=True) if group not in drawn]
    return fit_belonging(train), [copy for copy, group in zip(shop.copies, groups, strict=True) if group in drawn]


def kettle_and_bag() -> Belonging:
    """内锅: 40 of 200 copies for kitchen goods, none of 200 for sports bags, one of 5 for lamps."""
    counts = np.array([[40, 0, 0], [20, 20, 1]], np.int32)
    return Belonging(("厨房", "背包", "灯具"), ("内锅", "周末"), ("内锅", "周末"), counts, np.array([200, 200, 5], np.int32), 0.0)


POT, BAG, LAMP, UNKNOWN = (CopyRequest(kind, f"某 {kind}", kind) for kind in ("厨房", "背包", "灯具", "玩具"))


def test_log_odds_by_hand_are_those_of_the_beta_binomial():
    counts, sizes = np.array([[3, 0]], np.int32), np.array([10, 20], np.int32)
    share = 3.01 / 31
    spreads = [0.03, 0.1, 0.3, 1, 3, 10, 30, 100, 1000]
    weight = [betabinom.pmf(3, 10, s * share, s * (1 - share)) * betabinom.pmf(0, 20, s * share, s * (1 - share)) for s in spreads]
    expected = [
        np.log(share) - np.log(sum(w * (n + s * share) / (size + s) for w, s in zip(weight, spreads, strict=True)) / sum(weight))
        for n, size in ((3, 10), (0, 20))
    ]
    assert log_odds(counts, sizes)[0] == pytest.approx(expected)


def test_a_word_of_another_kind_is_foreign_with_its_counts_and_log_odds():
    found = kettle_and_bag().foreign("内锅好洗，周末也用", BAG)
    assert [one.words for one in found] == ["内锅"]
    assert (found[0].home, found[0].home_said, found[0].home_copies, found[0].said, found[0].copies) == ("厨房", 40, 200, 0, 200)
    assert found[0].log_odds > LEAST
    assert str(found[0]).startswith("内锅 (厨房 40 of 200, 背包 0 of 200, log-odds ")
    assert kettle_and_bag().foreign("内锅好洗，周末也用", POT) == []


def test_a_kind_without_training_copy_is_not_known_and_a_product_without_a_category_is_of_the_kind_of_its_type_or_noun():
    assert [kettle_and_bag().knows(request) for request in (POT, BAG, UNKNOWN)] == [True, True, False]
    bare = replace(UNKNOWN, category="")
    assert not kettle_and_bag().knows(bare)
    assert kettle_and_bag().knows(replace(bare, title="背包"))
    assert kettle_and_bag().knows(replace(bare, attributes=(("类型", "灯具"),)))
    assert NO_BELONGING.knows(UNKNOWN)


def test_what_the_product_itself_holds_is_never_foreign():
    cooker = replace(BAG, attributes=(("附件", "内锅一只"),))
    assert kettle_and_bag().foreign("内锅好洗", cooker) == []


def test_a_kind_with_few_copies_is_less_evidence_and_an_unknown_one_none():
    odds = log_odds(kettle_and_bag().counts, kettle_and_bag().copies)[0]
    assert odds[2] < odds[1] - 1.0
    assert kettle_and_bag().foreign("内锅好洗", LAMP) == []
    assert kettle_and_bag().foreign("内锅好洗", UNKNOWN) == []


@given(st.integers(1, 2), st.integers(20, 400), st.integers(2, 30))
def test_a_rare_word_is_never_evidence(said, copies, kinds):
    counts = np.zeros((1, kinds), np.int32)
    counts[0, 0] = said
    assert (log_odds(counts, np.full(kinds, copies, np.int32)) < LEAST).all()


def test_of_two_candidates_alike_the_one_without_foreign_words_is_chosen(shop):
    facts = fit_facts(list(shop.products.values()), [], [])
    reviewer = make_reviewer(facts, [], shop.vocabulary, levels=[], targets={}, max_copied_span=200)
    lenient = replace(kettle_and_bag(), limit=9.0)
    texts = ["内锅好洗，周末也用", "外层好洗，周末也用"]
    assert best_first(texts, BAG, reviewer)[0] == texts[0], "a tie goes to the first in the alphabet"
    assert best_first(texts, BAG, replace(reviewer, belonging=lenient))[0] == texts[1]


def test_few_human_copies_are_refused_and_most_copies_of_another_kind_are(judged):
    judge, held_out = judged
    rng = np.random.default_rng(4)
    human = [judge.refuses(copy.text, copy.request) is not None for copy in held_out]
    others = [[other for other in held_out if other.request.category != copy.request.category] for copy in held_out]
    drawn = [other[int(rng.integers(len(other)))] for other in others]
    bare = ["，".join(piece for piece in delexicalise(copy.text, slots_of(copy.request)) if isinstance(piece, str)) for copy in drawn]
    swapped = [judge.refuses(text, copy.request) is not None for text, copy in zip(bare, held_out, strict=True)]
    assert np.mean(human) <= 0.06, "2 % are aimed at; some hundred copies of sixty products"
    assert np.mean(swapped) >= max(0.25, 4 * np.mean(human)), "without the other product's own words, of four kinds only"


def test_the_reviewer_refuses_a_foreign_word_and_says_whose_it_is(shop):
    facts = fit_facts(list(shop.products.values()), [], [])
    reviewer = make_reviewer(facts, [], shop.vocabulary, levels=[], targets={}, max_copied_span=200)
    text = "内锅好洗，一冲就净"
    assert reviewer.review(text, BAG).accepted
    review = replace(reviewer, belonging=kettle_and_bag()).review(text, BAG)
    assert (review.accepted, review.reason, review.rule) == (False, "foreign word", "厨房")
    assert review.found.startswith("内锅 (厨房 40 of 200")


def test_it_comes_back_from_its_files_and_an_older_bundle_judges_nothing(judged, tmp_path):
    judge, held_out = judged
    judge.save(tmp_path)
    again = Belonging.load(tmp_path)
    assert (again.kinds, again.lexicon, again.features, again.limit) == (judge.kinds, judge.lexicon, judge.features, judge.limit)
    assert [again.level(copy.text, copy.request) for copy in held_out] == [judge.level(copy.text, copy.request) for copy in held_out]
    (tmp_path / "older").mkdir()
    assert Belonging.load(tmp_path / "older") is NO_BELONGING


def test_too_few_copies_or_kinds_judge_nothing(shop):
    assert fit_belonging(shop.copies[: ENOUGH - 1]) is NO_BELONGING
    kind = shop.copies[0].request.category
    assert fit_belonging([copy for copy in shop.copies if copy.request.category == kind] * 3) is NO_BELONGING
    assert NO_BELONGING.refuses("内锅好洗", BAG) is None


def test_a_kind_is_the_category_or_the_type_or_the_noun():
    assert kind_of(CopyRequest("1", "驰野 运动鞋", "鞋靴", attributes=(("类型", "鞋"),))) == "鞋靴"
    assert kind_of(CopyRequest("1", "驰野 运动鞋", "", attributes=(("类型", "鞋"),))) == "鞋"
    assert kind_of(CopyRequest("1", "驰野 运动鞋", "", brand="驰野")) == "运动鞋"
