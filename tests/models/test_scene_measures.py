"""The bundle learns complements from baskets, and each scene is measured by what it is for."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from synthetic import START, events_of, networkless_encoder
from test_recommenders import CATALOGUE, NOW, RecommenderBundle, bundle

from core.columns import Columns
from core.params import EvaluateParams
from core.vocabulary import Scene
from evaluation.ranking import target_ranks
from models.history import History
from models.pool import Campaign
from models.recommender.training.chosen_complements import LEAST_BASKETS, learn_complements
from models.recommender.training.validation import RankingRule
from tasks.judge.scenes import judge_scenes
from tasks.report.measured import scenes_chapter

RULE = RankingRule(target_ranks, lambda ranks: 1.0 / ranks)
PARAMS = EvaluateParams(bootstrap=100, top_k=3, min_effective_sample_size=50.0, exploration=0.1)


def basket_log(count: int, *, together: tuple[int, int] = (0, 10)) -> pd.DataFrame:
    """A basket an hour, each of another shopper: the same two items, or two others at random."""
    rng = np.random.default_rng(5)
    rows = []
    for number in range(count):
        moment = START + timedelta(hours=number)
        items = list(together) if number % 2 else rng.choice(np.arange(12, 30), 2, replace=False).tolist()
        rows += [(f"u{number:03d}", f"p{item:03d}", "purchase", None, moment) for item in items]
        rows.append((f"u{number:03d}", f"p{items[0]:03d}", "view", None, moment - timedelta(minutes=5)))
    return events_of(rows)


@pytest.fixture(scope="module")
def completed() -> RecommenderBundle:
    learned = learn_complements(basket_log(400), CATALOGUE, rng=np.random.default_rng(1), rule=RULE)
    assert learned is not None
    return bundle(champion="markov").completed_by(learned)


def test_too_few_baskets_teach_nothing() -> None:
    assert learn_complements(basket_log(LEAST_BASKETS - 1), CATALOGUE, rng=np.random.default_rng(1), rule=RULE) is None


def test_the_cross_sell_scene_shows_what_baskets_hold_beside_the_cart(completed: RecommenderBundle) -> None:
    cart = History.of([("cart", "p000")], end=NOW - 1)
    assert completed.top_k([cart], 1, now=NOW, scene=Scene.CROSS_SELL) == [["p010"]]
    assert completed.top_k([cart], 1, exclude=["p010"], now=NOW, scene=Scene.CROSS_SELL) != [["p010"]]
    markov = completed.models["markov"].score([cart], NOW)[0]
    np.testing.assert_array_equal(completed.scene_scores([cart], np.array([NOW]), Scene.PRODUCT)[0], markov)
    np.testing.assert_array_equal(completed.scene_scores([History.empty()], np.array([NOW]), Scene.CROSS_SELL)[0].shape, markov.shape)


def test_complements_travel_with_the_bundle(completed: RecommenderBundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ADLOOM_CACHE", str(tmp_path / "cache"))
    networkless_encoder().save(tmp_path / "encoder")
    completed.save(tmp_path / "made", encoder=tmp_path / "encoder", queries={}, config={})
    loaded = RecommenderBundle.load(tmp_path / "made")
    cart = [History.of([("cart", "p000"), ("cart", "p020")], end=NOW - 1)]
    moments = np.array([NOW])
    np.testing.assert_array_equal(
        loaded.scene_scores(cart, moments, Scene.CROSS_SELL), completed.scene_scores(cart, moments, Scene.CROSS_SELL)
    )
    bundle().save(tmp_path / "without", encoder=tmp_path / "encoder", queries={}, config={})
    assert RecommenderBundle.load(tmp_path / "without").complements is None


def test_each_scene_is_measured_by_what_it_is_for(completed: RecommenderBundle) -> None:
    events = basket_log(600)
    start = START + timedelta(hours=400)
    none: frozenset[str] = frozenset()
    theme = CATALOGUE.items[Columns.CATEGORY].iloc[0]
    campaign = Campaign("k", "n", start + timedelta(hours=1), start + timedelta(hours=50), 1, none, none, frozenset({theme}), none)
    found = judge_scenes(completed, events, [campaign], start=start, params=PARAMS, rng=np.random.default_rng(0))
    told = found.as_dict()
    assert told["cases"]["product"] == 200
    assert 0 < told["cases"]["promotion"] < 200  # who met an item of the theme while the campaign ran
    assert 100 < told["cases"]["cross_sell"] < 200  # of 200 baskets, those whose two items do not stand in for each other
    assert "brand" not in found.models  # the shop has no brands
    assert "cross_sell" not in told["too_few"]
    cross = found.models["cross_sell"]
    assert cross["hr3"].value > 0.4  # every second basket holds the pair
    assert cross["over_popularity"].low > 0
    assert found.models["promotion"]["hr3"].value >= found.models["promotion"]["hr3_popularity"].low
    assert found.headline()["hr3"] == found.models["product"]["hr3"].value


def test_a_handful_of_baskets_is_called_too_few_to_tell_where_its_numbers_stand(completed: RecommenderBundle) -> None:
    found = judge_scenes(completed, basket_log(430), [], start=START + timedelta(hours=400), params=PARAMS, rng=np.random.default_rng(0))
    count = found.facts["cases"]["cross_sell"]
    assert 0 < count < found.facts["fewest_cases"]
    assert "cross_sell" in found.as_dict()["too_few"]
    (shown,) = scenes_chapter(found).tables
    assert f"cross_sell: {count} cases, too few to tell" in {row[0] for row in shown.rows}
    assert "Fewer than 50 cases are too few to tell" in shown.note
    enough = judge_scenes(completed, basket_log(600), [], start=START + timedelta(hours=400), params=PARAMS, rng=np.random.default_rng(0))
    (shown,) = scenes_chapter(enough).tables
    assert {"product", "cross_sell"} <= {row[0] for row in shown.rows}
    assert "too few" not in shown.note


def test_a_brand_is_measured_by_whom_it_won(completed: RecommenderBundle) -> None:
    # nobody but u0 looked at p001, and it is u0 alone that buys it later
    items = CATALOGUE.items.copy()
    items[Columns.BRAND] = ["b" if row == 1 else None for row in range(len(items))]
    from models.recommender.catalogue import Catalogue

    branded = Catalogue(items, CATALOGUE.vectors, CATALOGUE.text_of, CATALOGUE.featurise)
    held = bundle(branded, champion="content_cosine")
    rows = [(f"u{user}", "p001" if user == 0 else f"p{2 + user % 5:03d}", "view", None, START) for user in range(20)]
    rows.append(("u0", "p001", "purchase", None, START + timedelta(days=2)))
    found = judge_scenes(held, events_of(rows), [], start=START + timedelta(days=1), params=PARAMS, rng=np.random.default_rng(0))
    assert found.facts["cases"]["brand"] == 1
    assert found.models["brand"]["auc_activity"].value == 0.5
    assert found.models["brand"]["auc"].value == 0.5  # p001 is out of stock: the brand has no mass for anyone
    items[Columns.STOCK] = None
    open_bundle = bundle(Catalogue(items, CATALOGUE.vectors, CATALOGUE.text_of, CATALOGUE.featurise), champion="content_cosine")
    found = judge_scenes(open_bundle, events_of(rows), [], start=START + timedelta(days=1), params=PARAMS, rng=np.random.default_rng(0))
    assert found.models["brand"]["auc"].value == 1.0


def test_without_events_in_the_window_nothing_is_judged(completed: RecommenderBundle) -> None:
    late = datetime(2030, 1, 1, tzinfo=UTC)
    found = judge_scenes(completed, basket_log(10), [], start=late, params=PARAMS, rng=np.random.default_rng(0))
    assert found.models == {}
    assert "not judged" in found.facts["reason"]
