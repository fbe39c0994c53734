"""What always holds of a decision, whatever campaigns, caps, budgets and exclusions it is asked under."""

import math
from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest
import tiny_shop as tiny
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core.files import read_table
from core.vocabulary import CHANNELS, SCENES
from models.decider import Decider
from models.decision import Ask
from models.features import Responses
from models.generator import GeneratorBundle
from models.history import History
from models.pacing import Standing
from models.policies.slate import follow
from models.pool import Campaign, Pool
from models.ranker import RankerBundle
from models.recommender import RecommenderBundle
from tasks.report.shoppers import SEARCH, shopper_views, told_choices

NOW = tiny.DATA_END
MOMENT = int(NOW.timestamp() * 1_000_000)
ITEMS = [f"p{number}" for number in range(12)]


def some(values):
    return st.frozensets(st.sampled_from(values), max_size=2)


campaigns = st.lists(
    st.builds(
        Campaign,
        campaign_id=st.sampled_from("abcde"),
        name=st.just("节"),
        start=st.sampled_from([NOW - timedelta(days=1), NOW + timedelta(days=20)]),
        end=st.just(NOW + timedelta(days=30)),
        bid_micros=st.integers(1, 5_000_000),
        scenes=some(SCENES),
        channels=some(CHANNELS),
        categories=some(tiny.CATEGORIES),
        audiences=st.just(frozenset()),
        daily_budget_micros=st.one_of(st.none(), st.integers(0, 10**8)),
    ),
    max_size=5,
    unique_by=lambda campaign: campaign.campaign_id,
)
standings = st.builds(
    Standing,
    st.dictionaries(st.sampled_from("abcde"), st.tuples(st.floats(0.001, 1.5), st.floats(0.0, 1.0)), max_size=4),
    st.frozensets(st.sampled_from("abcde"), max_size=3),
)


@pytest.fixture(scope="module")
def decider(written):
    folder = written / "models"
    recommender = RecommenderBundle.load(folder / "recommender")
    return Decider(recommender, RankerBundle(recommender, reason="none"), Pool.load(folder / "pool"))


def unequal(monkeypatch, decider, seed):
    """A ranker that tells candidates apart."""

    def predict(requests, candidates, recommended=None):
        p_click = np.random.default_rng(seed).uniform(0.01, 0.4, len(candidates))
        return type(untrained(requests, candidates, recommended=recommended))(p_click, p_click / 10)

    untrained = decider.ranker.predict
    monkeypatch.setattr(decider.ranker, "predict", predict)


def test_an_item_is_called_promoted_only_while_a_campaign_runs_for_it(monkeypatch, decider):
    asked = {"scene": "promotion", "channel": "social", "k": 3, "now": NOW, "exploration": 0.0}
    running = Campaign("c", "节", NOW - timedelta(days=1), NOW + timedelta(days=1), 10**6, *(frozenset(),) * 4, None)
    reasons = {}
    for name, held in (("none", []), ("running", [running])):
        monkeypatch.setattr(decider.pool, "campaigns", held)
        slate = decider.decide(History.of([], end=MOMENT - 1), rng=np.random.default_rng(0), **asked)
        reasons[name] = {choice.reason for choice in slate.choices}
    assert reasons == {"none": {"popular with shoppers like this one"}, "running": {"in a running promotion"}}


def test_a_p_click_without_a_trained_ranker_is_told_as_the_base_rate(decider):
    slate = decider.decide(
        History.of([], end=MOMENT - 1), scene="product", channel="social", k=1, now=NOW, exploration=0.0, rng=np.random.default_rng(0)
    )
    told = told_choices([("碗", slate.choices[0])], trained=decider.ranker.trained)
    assert told.startswith("碗: popular with shoppers like this one, p_click ")
    assert told.endswith("The ranker is not trained: p_click is an assumed base rate of 2 %, moved by the recommender.")
    assert "not trained" not in told_choices([("碗", slate.choices[0])], trained=True)


def test_a_storys_two_lists_of_probabilities_order_products_alike_after_its_search(monkeypatch, tmp_path, written, decider):
    asked = []
    probability = decider.recommender.probability

    def told(history, item_ids=None, now=None):
        asked.append((history.queries, item_ids is None))
        return probability(history, item_ids, now)

    monkeypatch.setattr(decider.recommender, "probability", told)
    monkeypatch.setattr("tasks.report.shoppers.SPORTS", ("运动商品0", "运动商品1", "手机商品4"))
    writer, events = GeneratorBundle.load(written / "models" / "generator"), read_table(tiny.write_clean(tmp_path).events)
    views, cases = shopper_views(decider, writer, events, moment=NOW, start=NOW - timedelta(days=1))
    assert cases[0]["steps"][-1].endswith(f"searched {SEARCH}")
    assert asked[:2] == [(("", "", "", SEARCH), False), (("", "", "", SEARCH), True)]
    three, over_all = ({row["title"]: row["probability"] for row in cases[0][name]} for name in ("over_three", "over_all"))
    both = sorted(set(three) & set(over_all))
    assert len(both) > 1
    assert sorted(both, key=three.get) == sorted(both, key=over_all.get)
    assert [slot.name for slot in views[0].slots if slot.name.startswith("Scene product")] == [
        f"Scene product, channel onsite before searching “{SEARCH}”"
    ]


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    held=campaigns,
    standing=standings,
    request=st.uuids().map(lambda one: one.hex),
    scene=st.sampled_from(SCENES),
    channel=st.sampled_from(CHANNELS),
    k=st.integers(1, 6),
    share=st.sampled_from([0.2, 0.5, 0.5, 1.0]),
    exploration=st.floats(0.01, 1.0),
    exclude=st.sets(st.sampled_from(ITEMS), max_size=6),
    blocked=st.frozensets(st.integers(0, 287), max_size=60),
    cap=st.integers(0, 2),
    seen=st.lists(st.tuples(st.integers(0, 287), st.integers(-30, 0)), max_size=12).map(lambda held: sorted(held, key=lambda one: one[1])),
)
def test_caps_budgets_exclusions_and_propensity_sums_hold_for_every_decision(  # noqa: PLR0917 - what a decision is asked under
    decider, held, standing, request, scene, channel, k, share, exploration, exclude, blocked, cap, seen
):
    pool, seed = decider.pool, int(request, 16)
    responses = Responses(
        tuple(str(pool.item_id[row]) for row, _ in seen),
        tuple(str(pool.text[row]) for row, _ in seen),
        tuple("onsite" for _ in seen),
        np.zeros(len(seen), np.float32),
        np.array([MOMENT + hours * 3_600_000_000 - 1 for _, hours in seen], dtype=np.int64),
    )
    multipliers = standing.multipliers(request)
    ask = Ask(
        history=History.of([("view", "p9"), ("search", "马拉松")], end=MOMENT - 1),
        scene=scene, channel=channel, k=k, now=NOW, exploration=exploration, rng=np.random.default_rng(seed), size=12,
        exclude=sorted(exclude), responses=responses, blocked=blocked, frequency_cap=cap, multipliers=multipliers, watched=True,
        category_share=share,
    )  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pool, "campaigns", held)
        unequal(patch, decider, seed % 1000)
        decision, again = (decider.decide_all([replace(ask, rng=np.random.default_rng(seed))])[0] for _ in range(2))
    drawn = [[(choice.creative_id, choice.propensity) for choice in one.choices] for one in (decision, again)]
    assert drawn[0] == drawn[1]
    if not decision.choices:
        assert decision.offer is None
        return
    rows = pool.rows_of(decision.candidates)
    shown = {choice.row for choice in decision.choices}
    assert shown <= rows
    # exclusions: of a person's blocks, of the request, and of the rules (p3 is out of stock)
    assert not rows & blocked
    assert not {str(pool.item_id[row]) for row in rows} & (exclude | {"p3"})
    assert len({choice.item_id for choice in decision.choices}) == len(decision.choices) <= k
    # caps
    day = MOMENT - 86_400_000_000
    for row in rows if cap else ():
        times = [time for text, time in zip(responses.texts, responses.timestamps.tolist(), strict=True) if text == pool.text[row]]
        assert sum(time > day for time in times) < cap
    # budgets: who pays is open, has the request among its targets, and pays its bid; who takes part is worth most of those who could
    offer = decision.offer
    for choice in decision.choices:
        category = pool.category[pool.item_row[choice.item_id]]
        worth = {
            c.campaign_id: c.bid_micros * multipliers.get(c.campaign_id, 1.0)
            for c in held
            if c.takes(scene=scene, channel=channel, category=category, audience=decision.audience, now=NOW)
        }
        open_ = {name: value for name, value in worth.items() if name not in standing.closed and multipliers.get(name, 1.0) > 0}
        assert (choice.campaign is None) == (not open_)
        if choice.campaign is not None:
            assert open_[choice.campaign.campaign_id] == max(open_.values())
            assert choice.bid_micros == choice.campaign.bid_micros
    # propensities: what was drawn is what is logged, and the distribution sums to 1 at every position
    order = [decision.candidates.index(choice.creative_id) for choice in decision.choices]
    told = [choice.propensity for choice in decision.choices]
    assert offer.limit.most == max(1, math.ceil(share * k))
    kinds = [pool.category[pool.item_row[pool.item_id[row]]] for row in map(pool.creative_id.tolist().index, decision.candidates)]
    shared = {"groups": offer.groups, "limit": offer.limit}
    followed, _ = follow(offer.values, np.array(order), exploration, offer.p_click, **shared)
    np.testing.assert_allclose(followed, told)
    for position in range(len(order)):
        gone = {int(offer.groups[index]) for index in order[:position]}
        left = [index for index in range(len(decision.candidates)) if int(offer.groups[index]) not in gone]
        # no category fills more than its share of the slate while others are left
        above = [kinds[index] for index in order[:position]]
        opened = [index for index in left if above.count(kinds[index]) < max(1, math.ceil(share * k))] or left
        assert order[position] in opened
        chances = {
            index: follow(offer.values, np.array([*order[:position], index]), exploration, offer.p_click, **shared)[0][-1] for index in left
        }
        assert sum(chances.values()) == pytest.approx(1.0)
        assert min(chances[index] for index in opened) >= exploration / len(opened) * (1 - 1e-9)
        assert decision.choices[position].explored == (offer.values[order[position]] < max(offer.values[index] for index in opened))
    assert decision.choices[0].marginal == pytest.approx(told[0])
