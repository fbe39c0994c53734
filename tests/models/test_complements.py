from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from synthetic import START, events_of, shop_catalogue

from core.columns import Columns
from core.errors import BundleError, TrainingError
from evaluation.ranking import target_ranks
from models.history import History, micros
from models.recommender.catalogue import Catalogue
from models.recommender.complements import BasketShape, Complements, read_carts
from models.recommender.training.baskets import BasketTable, Completion, hold_out
from models.recommender.training.complements import (
    basket_ridge,
    category_links,
    count_complements,
    pairs,
    scaled_links,
    train_complements,
    weigh,
)
from models.recommender.training.validation import RankingRule

CATALOGUE = shop_catalogue()  # four themes of eight: p000 … p007 are of the first
N = len(CATALOGUE)
RULE = RankingRule(target_ranks, lambda ranks: 1.0 / ranks)
NOW = int(micros(START + timedelta(days=100))[0])


def baskets(*held: str, user: str = "u", first: datetime = START) -> pd.DataFrame:
    """A basket a day, its items by their numbers, separated by spaces."""
    rows = [
        (user, f"p{int(item):03d}", "purchase", None, first + timedelta(days=day))
        for day, items in enumerate(held)
        for item in items.split()
    ]
    return events_of(rows)


def table(*held: str) -> BasketTable:
    return BasketTable.of(baskets(*held), CATALOGUE)


def test_a_basket_is_what_one_shopper_bought_at_one_moment_or_under_one_name() -> None:
    events = pd.concat([baskets("1 2 2", "3"), baskets("4", user="v")])
    found = BasketTable.of(events, CATALOGUE)
    assert [found.held[row].indices.tolist() for row in range(len(found))] == [[1, 2], [3], [4]]
    assert found.user_ids.tolist() == ["u", "u", "v"]
    named = BasketTable.of(events.assign(**{Columns.BASKET: "b"}), CATALOGUE)
    assert [named.held[row].indices.tolist() for row in range(len(named))] == [[1, 2, 3], [4]]  # a name is one shopper's


def test_links_count_baskets_and_large_ones_say_less() -> None:
    held = table("1 2", "1 2 3", "1")
    counts = np.asarray(held.held.sum(axis=0)).ravel()
    both = pairs(held, 1.0)
    assert both[1, 2] == pytest.approx(1 + 1 / 2)
    assert both[1, 3] == pytest.approx(1 / 2)
    assert both[1, 1] == 0
    links = scaled_links(both, counts, BasketShape(from_power=1.0, to_power=0.5))
    assert links[1, 2] == pytest.approx(1.5 / (3 * np.sqrt(2)))
    assert links[2, 1] == pytest.approx(1.5 / (2 * np.sqrt(3)))


def test_category_links_count_pairs_of_two_items_and_never_an_item_with_itself() -> None:
    category = np.arange(N) // 8
    links = category_links(table("1 2 9", "1"), category, BasketShape(crowd=0.0, from_power=0.0, to_power=0.0))
    assert links[0, 0] == 2  # 1 with 2 and 2 with 1
    assert links[0, 1] == links[1, 0] == 2
    assert links[1, 1] == 0


def test_each_column_of_the_ridge_is_the_regression_of_an_item_on_the_others() -> None:
    rng = np.random.default_rng(0)
    drawn = table(*(" ".join(map(str, rng.choice(6, size=rng.integers(2, 5), replace=False))) for _ in range(60)))
    solved = basket_ridge(drawn, np.arange(6), BasketShape(ridge=3.0))
    held = drawn.held.toarray()[:, :6]
    weight = 1 / np.sqrt(held.sum(axis=1))
    for item in range(6):
        others = [other for other in range(6) if other != item]
        x = held[:, others]
        wanted = np.linalg.solve(x.T @ (x * weight[:, None]) + 3.0 * np.eye(5), x.T @ (weight * held[:, item]))
        np.testing.assert_allclose(solved[others, item], wanted, rtol=1e-3, atol=1e-5)
        assert solved[item, item] == 0


def test_the_cart_is_what_was_put_there_lately_and_not_bought_since() -> None:
    minute, day = 60_000_000, 86_400_000_000
    events = [("cart", "p001"), ("cart", "p002"), ("cart", "p003"), ("purchase", "p002"), ("view", "p004"), ("cart", "p005")]
    times = [NOW - 8 * day, NOW - 3 * minute, NOW - 3 * minute, NOW - 2 * day, NOW - minute, NOW]
    history = History.empty().extended([*events, ("purchase", "p003")], [*times, NOW - minute])
    carts = read_carts([history, History.empty()], np.array([NOW, NOW]), CATALOGUE)
    assert carts.cart[0].indices.tolist() == [2]  # 1 is too old, 3 was bought since, 4 was only viewed, 5 comes at the moment itself
    assert carts.cart[1].nnz == 0
    assert sorted(zip(carts.item.tolist(), np.round(carts.age, 3).tolist(), strict=True)) == [(2, 2.0), (3, 0.001)]


def test_own_purchases_fade_with_their_half_life() -> None:
    model = count_complements(table("1 2"), CATALOGUE, BasketShape(), {"own_10": 1.0})
    day = 86_400_000_000
    history = History.empty().extended([("purchase", "p001"), ("purchase", "p002")], [NOW - 20 * day, NOW - 10 * day])
    scores = model.score([history], NOW)[0]
    np.testing.assert_allclose(scores[[1, 2, 3]], np.log(np.array([0.25, 0.5, 0.0]) + 0.02), rtol=1e-5)


def shop_of_pairs(users: int = 40, days: int = 40) -> pd.DataFrame:
    """Item i of the first theme goes with 8 + i of the second, item 16 is in most baskets, each user has a habit of the fourth theme."""
    rng = np.random.default_rng(5)
    rows = []
    for user in range(users):
        for day in range(0, days, 2):
            item = int(rng.integers(8))
            bought = {item} | ({8 + item} if rng.random() < 0.8 else set()) | ({16} if rng.random() < 0.7 else set())
            bought |= {24 + user % 8} if rng.random() < 0.5 else set()
            moment = START + timedelta(days=day, seconds=user)
            rows += [(f"u{user}", f"p{number:03d}", "purchase", None, moment) for number in sorted(bought)]
    return events_of(rows)


def fitted(catalogue: Catalogue = CATALOGUE) -> tuple[Complements, Completion, pd.DataFrame]:
    events = shop_of_pairs()
    start, end = START + timedelta(days=28), START + timedelta(days=40)
    cases = hold_out(events, catalogue, start=start, end=end, most=300, rng=np.random.default_rng(1), rule=RULE)
    early = events[events[Columns.TIMESTAMP] < start]
    return train_complements(early, catalogue, cases), cases, early


def test_complements_are_found_where_popularity_and_more_of_the_same_are_not(tmp_path: Path) -> None:
    model, cases, _ = fitted()
    with_cart = History.of([("cart", "p003")], end=NOW)
    first = model.score([with_cart], NOW + 1)[0]
    first[3] = -np.inf
    assert first.argmax() == 11  # its partner, which is in a tenth as many baskets as item 16
    popular = count_complements(BasketTable.of(shop_of_pairs(), CATALOGUE), CATALOGUE, BasketShape(), {"popularity": 1.0})
    assert popular.score([with_cart], NOW + 1)[0].argmax() == 16
    assert cases.score(model) > cases.score(popular) + 0.2
    assert first[11] > first[:8].max()
    habit = History.empty().extended(
        [("purchase", "p025")] * 3 + [("cart", "p003")], [NOW - days * 86_400_000_000 for days in (6, 4, 2)] + [NOW]
    )
    known = model.score([habit], NOW + 1)[0]
    assert known[25] > known[[24, 26, 27, 28, 29, 30, 31]].max()
    model.save(tmp_path / "complements")
    again = Complements.load(tmp_path / "complements", CATALOGUE)
    np.testing.assert_array_equal(again.score([habit, with_cart], NOW + 1), model.score([habit, with_cart], NOW + 1))
    assert again.facts() == model.facts()


def test_purchases_help_where_shoppers_have_habits() -> None:
    model, cases, early = fitted()
    alone = train_complements(early, CATALOGUE, cases.carts_alone(), of_shopper=False)
    assert not [name for name in alone.weights if name.startswith("own")]
    assert cases.score(model) > cases.carts_alone().score(alone)


def test_lists_hold_no_more_of_the_carts_categories_than_held_out_items_do() -> None:
    model, cases, _ = fitted()
    free = weigh(model, cases, tuple(model.weights), varied=False)
    pushed = free.weighed({**free.weights, "same_category": 5.0})
    assert weigh(model, cases, tuple(model.weights)).weights["same_category"] <= free.weights["same_category"]
    category = np.arange(N) // 8
    carts = read_carts(cases.histories, cases.moments, CATALOGUE).cart.toarray() > 0
    met = np.stack([[carts[row, category == code].any() for code in range(4)] for row in range(len(cases))])

    def share(tried: Complements) -> float:
        scores = cases.without_met(tried.score(cases.histories, cases.moments), slice(0, len(cases)), CATALOGUE)
        first = np.argsort(-scores, axis=1)[:, :10]
        return float(np.take_along_axis(met, category[first], axis=1).mean())

    limit = met[np.arange(len(cases)), category[cases.targets]].mean()
    forced = np.maximum(0, 10 - 8 * (~met).sum(axis=1)).mean() / 10  # a cart of three themes leaves eight items of the fourth
    assert share(model) <= limit + forced + 0.02
    assert share(pushed) > limit + 0.2


def test_the_held_out_item_is_not_in_the_cart_and_the_cart_is_not_ranked() -> None:
    events = pd.concat([baskets("1 2 3", "4", "1 2"), baskets("5 6", user="v", first=START + timedelta(days=2))], ignore_index=True)
    start = START + timedelta(days=2)
    cases = hold_out(events, CATALOGUE, start=start, end=start + timedelta(days=1), most=9, rng=np.random.default_rng(0), rule=RULE)
    assert cases.user_ids == ("u", "v")
    carts = read_carts(cases.histories, cases.moments, CATALOGUE)
    for row, basket in enumerate(({1, 2}, {5, 6})):
        in_cart = set(carts.cart[row].indices.tolist())
        assert in_cart == basket - {int(cases.targets[row])}
        left = cases.without_met(np.zeros((1, N), np.float32), slice(row, row + 1), CATALOGUE)[0]
        assert set(np.flatnonzero(np.isneginf(left)).tolist()) == in_cart
    assert sorted(carts.item[carts.row == 0].tolist()) == [1, 2, 3, 4]  # what was bought before, and nothing of this basket
    assert carts.item[carts.row == 1].tolist() == []
    assert all(set(history.event_types) == {"cart"} for history in cases.carts_alone().histories)


def test_wrong_data_and_wrong_calls_are_told() -> None:
    model = count_complements(table("1 2"), CATALOGUE, BasketShape(), {"links": 1.0})
    with pytest.raises(ValueError, match=r"unknown experts \['taste'\]; known are popularity, lately"):
        model.weighed({"taste": 1.0})
    with pytest.raises(BundleError, match=r"complements links 32 items of 4 categories, the catalogue has 12 of 4\. Train again"):
        Complements(shop_catalogue(per_theme=3), model.learned, model.shape, {})
    with pytest.raises(TrainingError, match="none of 2 baskets holds two items"):
        count_complements(table("1", "2"), CATALOGUE, BasketShape(), {})
    with pytest.raises(TrainingError, match="held-out baskets of a later window, and there are none"):
        train_complements(baskets("1 2"), CATALOGUE, fitted()[1].sample(0))
