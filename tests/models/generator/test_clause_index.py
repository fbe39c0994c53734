from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest

from models.generator.bundle import make_reviewer
from models.generator.choice import best_first
from models.generator.clause_index import ClauseIndex
from models.generator.facts import fit_facts
from models.generator.request import CopyRequest
from models.generator.slots import delexicalise, slots_of
from models.generator.training_copies import Copy

CUP = CopyRequest("c", "不锈钢儿童保温杯", "母婴", brand="绵绵象", attributes=(("内胆", "不锈钢"),))
LITTER = CopyRequest("l", "膨润土猫砂", "宠物", brand="毛茸町", attributes=(("材质", "膨润土"),))


def copies_of(request, texts):
    return [Copy(text, request, text, tuple(delexicalise(text, slots_of(request))), text) for text in texts]


def filler(request, count=60):
    """Clauses that make a kind of product large enough to be asked by itself, and are like nothing."""
    return copies_of(request, [f"{chr(0x5000 + 7 * number)}{chr(0x7000 + 5 * number)}" for number in range(count)])


@pytest.fixture
def index():
    cups = copies_of(CUP, ["绵绵象保温杯，不锈钢摸着凉。", "一按就弹开，带着去上学！"])
    return ClauseIndex([*cups, *filler(CUP), *copies_of(LITTER, ["膨润土猫咪接受得快。"]), *filler(LITTER)])


def test_a_clause_that_people_wrote_has_all_support_whatever_the_product_is_called(index):
    other = replace(CUP, brand="小兔子", attributes=(("内胆", "陶瓷"),))
    assert index.support(["绵绵象保温杯，不锈钢摸着凉"], CUP) == pytest.approx([1.0])
    assert index.support(["小兔子保温杯：陶瓷摸着凉；一按就弹开"], other) == pytest.approx([1.0])


def test_likeness_by_hand_and_the_worst_clause_counts_as_much_as_all_of_them(index):
    # <一 一按 按就 就好 好> against <一 一按 按就 就弹 弹开 开>: 3 shared of 5 and 6
    likeness = 2 * 3 / (5 + 6)
    assert index.support(["一按就好"], CUP) == pytest.approx([likeness])
    assert index.support(["一按就好，带着去上学"], CUP) == pytest.approx([((likeness + 1) / 2 + likeness) / 2])


def test_halves_of_two_kinds_of_product_have_little_support(index):
    joined, whole = index.support(["不锈钢猫咪接受得快", "不锈钢摸着凉"], CUP)
    assert joined < 0.5 < whole


def test_within_a_category_kinds_are_told_apart_by_their_attributes_where_each_has_copies_enough():
    mouse = CopyRequest("m", "静音鼠标", "电脑", attributes=(("连接", "蓝牙"),))
    screen = CopyRequest("s", "窄边显示器", "电脑", attributes=(("尺寸", "27寸"),))
    told = [copy for one in (mouse, screen) for copy in [*filler(one), *copies_of(one, ["放在桌上不占地"])]]
    told += [*copies_of(screen, ["画面干净少反光"]), *copies_of(mouse, ["点击没有声音"])]
    index = ClauseIndex(told)
    assert index.support(["画面干净少反光", "点击没有声音", "放在桌上不占地"], mouse) == pytest.approx([0.0, 1.0, 1.0], abs=0.3)
    assert index.support(["画面干净少反光", "点击没有声音", "放在桌上不占地"], screen) == pytest.approx([1.0, 0.0, 1.0], abs=0.3)
    keyboard = replace(mouse, attributes=(("轴体", "青轴"),))  # a kind without copy is compared with its category
    assert index.support(["画面干净少反光", "点击没有声音"], keyboard) == pytest.approx([1.0, 1.0])


def test_kinds_of_few_copies_each_are_not_told_apart():
    kinds = [CopyRequest(str(number), "半身裙", "裙", attributes=((f"键{number}", "值值"),)) for number in range(9)]
    index = ClauseIndex([copy for kind in kinds for copy in [*filler(kind, 12), *copies_of(kind, [f"第{kind.item_id}件好看"])]])
    assert index.support(["第1件好看"], kinds[2]) == pytest.approx([1.0])


def test_where_people_hardly_repeat_themselves_support_hardly_counts():
    often, seldom = copies_of(CUP, ["一按就弹开，不凉", "一按就弹开，不烫"]), copies_of(CUP, ["一按就弹开", "带着去上学"])
    assert ClauseIndex(often).repeated == pytest.approx(2 / 4)
    assert ClauseIndex(seldom).repeated == 0.0
    assert ClauseIndex([]).repeated == 0.0


def test_a_small_kind_is_compared_with_all_kinds_and_without_copy_everything_has_support():
    index = ClauseIndex([*copies_of(CUP, ["一按就弹开"]), *copies_of(LITTER, ["猫咪接受得快"]), *filler(LITTER)])
    assert index.support(["猫咪接受得快", "一按就弹开"], CUP) == pytest.approx([1.0, 1.0])
    assert index.support(["猫咪接受得快", "一按就弹开"], LITTER)[1] < 0.5
    assert ClauseIndex([]).support(["猫咪接受得快", ""], CUP).tolist() == [1.0, 1.0]
    assert index.support([], CUP).shape == (0,)
    assert index.support(["，。"], CUP).tolist() == [0.0]


def test_of_two_candidates_that_state_the_same_the_one_in_peoples_clauses_is_shown(shop):
    request = next(request for request in shop.products.values() if request.brand and len(request.attributes) > 1)
    (_, first), (_, second) = request.attributes[:2]
    good, odd = f"{request.brand}陪你出门，{first}耐看，{second}轻便。", f"陪你{first}{request.brand}出，{second}门耐看，轻便。"
    known = ClauseIndex([*copies_of(request, [good] * 9), *filler(request)])
    assert known.repeated > 0.2
    facts = fit_facts(list(shop.products.values()), shop.copies, shop.copies[:9])
    blind = make_reviewer(facts, [], shop.vocabulary, levels=[], targets={}, max_copied_span=20)
    reading = replace(blind, clauses=known)
    assert best_first([odd, good], request, reading)[0] == good
    weights = [dict(zip([odd, good], known.support([odd, good], request), strict=True))[text] for text in (odd, good)]
    assert np.diff(weights)[0] > 0.4
    assert set(best_first([odd, good], request, blind)) == {odd, good}


def test_what_is_remembered_stays_small_and_threads_do_not_take_it_from_each_other(index, monkeypatch):
    monkeypatch.setattr("models.generator.clause_index._HELD", 3)
    texts = [f"一按就{chr(0x6000 + number)}，带着去上学" for number in range(200)]
    alone = [float(index.support([text], CUP)[0]) for text in texts]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda text: float(index.support([text], CUP)[0]), texts * 3))
    assert together == alone * 3
    assert sum(map(len, index._known.values())) <= 16
