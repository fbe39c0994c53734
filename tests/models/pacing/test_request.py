from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.pacing import Booking, Pacer, Standing, TrafficCurve, floors, opportunities
from models.pacing.curve import DAY
from models.pacing.demand import WIDTH
from models.policies.slate import slate
from models.policies.variety import Limit

START = 20_755 * DAY


def standing_of(*prices: float) -> Standing:
    pacer = Pacer([Booking(name, 10, 1_000, START, START + DAY) for name in "abcd"], [TrafficCurve.even()])
    pacer.tick(START, [0, 0, 1_000, 0])
    pacer.pace.price[:] = prices
    return Standing.of(pacer, floors(np.array([40.0, 10.0, 10.0, 10.0]), 10.0))


def test_multipliers_are_determined_by_standing_and_request():
    standing = standing_of(0.5, 0.0, 0.0, 0.0625)
    found = [standing.multipliers(f"request {number}") for number in range(2000)]
    assert found[7] == standing.multipliers("request 7") == Standing.parse(standing.text).multipliers("request 7")
    ours = np.array([one["a"] for one in found])
    assert ((ours > 0.5 - WIDTH / 2) & (ours <= 0.5 + WIDTH / 2)).all()
    assert ours.mean() == pytest.approx(0.5, abs=4 * WIDTH / 12**0.5 / 2000**0.5)
    assert all("b" not in one and one["c"] == 0.0 for one in found)  # price 0, and a budget that is spent
    equal = np.array([one["d"] for one in found])  # no unpaid click is worth less: the price says in how many requests it takes part
    assert (equal > 0).mean() == pytest.approx(0.5, abs=4 * 0.5 / 2000**0.5)
    assert equal[equal > 0].min() >= 15 / 16
    assert np.corrcoef(ours, equal)[0, 1] < 0.9


def test_a_standing_closes_who_has_spent_all_and_says_what_it_is():
    standing = standing_of(0.5, 0.0, 0.0, 0.0)
    assert standing.without(["c"]) is standing
    assert standing.without(["a"]).multipliers("r") == {"a": 0.0, "c": 0.0}
    assert Standing().text is None
    assert Standing().multipliers("r") == {} == Standing.parse(None).multipliers("r")
    assert Standing.parse(standing.text) == standing


def test_floors_are_what_an_unpaid_click_is_worth_over_the_bid():
    assert floors(np.array([10.0, 20.0, 5.0]), 10.0) == pytest.approx([15 / 16, 15 / 32, 15 / 16])


def test_a_campaign_is_offered_what_it_would_win_whether_it_took_part_or_not():
    p_click = np.array([0.1, 0.08, 0.2, 0.05])
    values = np.array([1.0, 0.8, 1.2, 0.5])  # two creatives of an item of campaign 0, an item of no campaign, another of campaign 0
    fits = np.array([[True, True, False, True], [True, True, True, False], [False] * 4])
    shared = {"fits": fits, "owner": np.array([0, 0, -1, 0]), "bid": np.array([20.0, 10.0, 10.0]), "groups": np.array([4, 4, 9, 2])}
    codes, price, cost = opportunities(p_click, values, k=1, floor=np.zeros(3), **shared)
    assert codes.tolist() == [0, 1]
    assert cost == pytest.approx([2.0, 2.0])
    assert price == pytest.approx([1 - 1.2 / 2.0, 1 - 1.0 / 2.0])  # campaign 1 against the item that campaign 0 holds
    codes, price, cost = opportunities(p_click, values, k=2, floor=np.array([0.2, 0.0, 0.0]), exploration=0.5, **shared)
    assert codes.tolist() == [0, 0, 0, 1, 1, 1]
    assert cost == pytest.approx([1.0, 0.5, 0.5 * 2 * (2 / 3) * 0.075 * 20, 1.0, 0.5, 0.5 * 2 * (2 / 3) * 0.15 * 10])
    assert price[:3] == pytest.approx([1 - 0.2, 1 - 1.2 / 1.0, 1 - 0.2])  # one rival: the first place is won by whoever takes part
    assert price[3:] == pytest.approx([1 - 0.5 / 2.0, 1 - 1.0 / 1.0, 1.0])


@given(
    st.lists(st.tuples(st.integers(1, 9), st.integers(0, 3)), min_size=1, max_size=8), st.integers(1, 5), st.integers(0, 31), st.booleans()
)
@settings(max_examples=300)
def test_the_break_even_of_a_place_is_the_price_up_to_which_the_greedy_slate_gives_it(held, k, step, limited):
    """By hand: the slate at a price, against the number of break-evens above it."""
    p_click = np.array([p / 20 + place / 1000 for place, (p, _) in enumerate(held)])
    categories = np.array([category for _, category in held])
    mine, limit = categories < 2, Limit(categories, -(-k // 2)) if limited else None
    unpaid, price = 10.0, (step + 0.5) / 32
    values = p_click * np.where(mine, 25.0, unpaid)
    _, even, _ = opportunities(
        p_click,
        values,
        fits=mine[None],
        owner=np.where(mine, 0, -1),
        bid=np.array([25.0]),
        floor=np.zeros(1),
        k=k,
        groups=np.arange(len(held)),
        limit=limit,
    )
    scores = np.where(mine, p_click * 25.0 * (1 - price), p_click * unpaid)
    shown = slate(scores, k, 0.0, np.random.default_rng(0), limit=limit).indices
    if len(set(scores)) == len(scores):
        assert int(mine[shown].sum()) == int((even > price).sum())


def test_offsets_of_campaigns_differ():
    shares = [standing_of(p, 0.0, 0.0, 0.0).multipliers(f"r{n}").get("a") for p, n in product((0.2, 0.3), range(3))]
    assert len(set(shares)) == 6
