"""Which items a scene is about, and how many of one category a list holds."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from synthetic import THEMES, shop_catalogue, shop_items, text_vectors
from test_recommenders import CATALOGUE, EVENTS, NOW, untrained

from core.columns import Columns
from core.vocabulary import SCENES, Scene
from models.history import History
from models.recommender.catalogue import Catalogue
from models.recommender.scenes import SceneRules, most_varied, varied


def branded() -> Catalogue:
    items = shop_items()
    items[Columns.BRAND] = ["" if row % 4 == 3 else f"brand{row % 4}" for row in range(len(items))]
    return Catalogue.of(items, lambda texts: text_vectors(list(texts)))


RULES = SceneRules(branded())


@given(events=EVENTS, moment=st.integers(NOW - 10**9, NOW + 1))
def test_every_scene_is_about_items_of_its_own(events: list[tuple[str, str]], moment: int) -> None:
    history = History.of(events, end=NOW)
    before = history.before(moment)
    for scene in SCENES:
        found = RULES.candidates(scene, history, moment, promoted=("厨房", "图书"))
        np.testing.assert_array_equal(found, RULES.candidates(scene, before, moment, promoted=("厨房", "图书")))
        told = shop_items()[found]
        if scene == Scene.PRODUCT:
            assert found.all()
        elif scene == Scene.PROMOTION:
            assert set(told[Columns.CATEGORY]) <= {"厨房", "图书"}
            assert len(told)
        elif scene == Scene.BRAND:
            met = {RULES.brand[CATALOGUE.index[item]] for item in before.item_ids if item} - {""}
            assert set(RULES.brand[found]) == (met or {"brand0", "brand1", "brand2"})
        elif len(before):
            assert not found[RULES.cart(before, moment)].any()


def test_no_campaign_no_promotion() -> None:
    assert not RULES.candidates(Scene.PROMOTION, History.empty(), NOW).any()


def test_a_search_narrows_a_promotion_to_what_answers_it() -> None:
    history = History.of([("search", "厨房3")], end=NOW - 1)
    found = RULES.candidates(Scene.PROMOTION, history, NOW, promoted=("厨房", "图书"))
    assert [RULES.titles[code] for code in np.flatnonzero(found)] == ["厨房3"]


def test_a_brand_that_is_asked_for_shows_its_items_alone_and_wins_whom_it_fits() -> None:
    history = History.of([("view", "p001"), ("purchase", "p002")], end=NOW - 1)
    assert set(RULES.brand[RULES.candidates(Scene.BRAND, history, NOW, brand="brand0")]) == {"brand0"}
    assert RULES.brands == ("brand0", "brand1", "brand2")
    assert RULES.winnable(history, NOW).tolist() == [True, True, False]  # p002 is of brand2 and was bought
    assert RULES.winnable(history, NOW - 1).tolist() == [True, True, True]  # before the purchase
    assert not RULES.winnable(History.empty(), NOW).any()


def test_the_cart_is_what_was_put_there_and_not_bought_else_what_was_taken_last() -> None:
    day = 86_400_000_000
    told = History.empty().extended(
        [("cart", "p000"), ("cart", "p001"), ("cart", "p002"), ("purchase", "p001"), ("view", "p009")],
        [NOW - 8 * day, NOW - 3, NOW - 2, NOW - 2, NOW - 1],
    )
    assert RULES.cart(told, NOW).tolist() == [2]
    assert RULES.cart(History.of([("purchase", "p003"), ("view", "p009")], end=NOW - 1), NOW).tolist() == [3]
    assert RULES.cart(History.of([("view", "p009")], end=NOW - 1), NOW).tolist() == [9]
    assert RULES.cart(History.empty(), NOW).tolist() == []


def test_without_complements_a_cart_asks_for_other_kinds_and_with_them_for_their_order() -> None:
    history = History.of([("cart", "p000")], end=NOW - 1)
    champion = untrained("markov")
    kinds = SceneRules(shop_catalogue())
    assert set(shop_items()[kinds.candidates(Scene.CROSS_SELL, history, NOW)][Columns.CATEGORY]) == set(THEMES[1:])
    assert kinds.ranked_by(Scene.CROSS_SELL, champion, history, NOW) == (champion, history)
    other = untrained("als")
    learned = SceneRules(shop_catalogue(), other)
    shown = shop_items()[learned.candidates(Scene.CROSS_SELL, history, NOW)]
    assert set(shown[shown[Columns.CATEGORY] == THEMES[0]][Columns.ITEM]) == {"p007"}  # used up, so no stand-in for what lies there
    assert "p007" not in set(shop_items()[learned.candidates(Scene.CROSS_SELL, History.of([("cart", "p007")]), NOW)][Columns.ITEM])
    assert learned.ranked_by(Scene.CROSS_SELL, champion, history, NOW)[0] is other
    assert learned.ranked_by(Scene.CROSS_SELL, champion, History.empty(), NOW)[0] is champion
    assert learned.ranked_by(Scene.PRODUCT, champion, history, NOW)[0] is champion


@given(order=st.permutations(range(12)), category=st.lists(st.integers(0, 3), min_size=12, max_size=12), k=st.integers(1, 15))
def test_no_category_fills_more_than_half_of_a_list_while_there_are_others(order: list[int], category: list[int], k: int) -> None:
    codes = np.array(category)
    kept = varied(order, codes, k)
    assert len(kept) == len(set(kept)) == min(k, 12)
    assert [order.index(code) for code in kept] == sorted(order.index(code) for code in kept)
    most = -(-k // 2)
    for held in set(category):
        of_it = int((codes[kept] == held).sum())
        if of_it > most:  # then everything of the other categories is in, up to their own limit
            for other in set(category) - {held}:
                assert (codes[kept] == other).sum() >= min(most, (codes == other).sum())


@given(
    scores=st.lists(st.integers(0, 5), min_size=1, max_size=14),
    category=st.lists(st.integers(0, 3), min_size=20, max_size=20),
    k=st.integers(1, 15),
    gaps=st.permutations(range(20)),
    share=st.sampled_from([0.1, 0.34, 0.5, 0.7, 1.0]),
)
def test_the_most_varied_are_the_varied_of_the_whole_ranking(
    scores: list[int], category: list[int], k: int, gaps: list[int], share: float
) -> None:
    codes, held = np.sort(np.array(gaps[: len(scores)])), np.array(scores, dtype=np.float32)
    ranking = codes[np.argsort(-held, kind="stable")]
    assert most_varied(codes, held, np.array(category), k, share).tolist() == varied(ranking, np.array(category), k, share)


def test_a_list_without_a_dominant_category_is_the_ranking_itself() -> None:
    assert varied([5, 3, 1, 0], np.array([0, 1, 1, 0, 2, 2]), 3) == [5, 3, 1]
    assert varied([0, 1, 2, 3], np.array([0, 0, 0, 1]), 2) == [0, 3]
