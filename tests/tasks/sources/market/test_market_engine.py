from itertools import permutations

import numpy as np
import pandas as pd
import pytest

from core.columns import Columns as C
from core.errors import SourceError
from core.files import content_hash, write_table
from core.schemas import RAW, TABLES
from tasks.sources.base import write_truth
from tasks.sources.market import read_market
from tasks.sources.market.delivery import EXPLORATION, _slates, position_marginal


def written(params, folder):
    raw, truth = read_market(params)
    for name, table in raw.tables.items():
        write_table(table, folder / f"{name}.parquet")
    write_truth(truth, folder / "truth")
    return content_hash(folder)


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(market_params, tmp_path):
    small = market_params.model_copy(update={"shoppers": 60, "products": 120})
    first, again = written(small, tmp_path / "a"), written(small, tmp_path / "b")
    other = written(small.model_copy(update={"seed": 4}), tmp_path / "c")
    assert first == again != other


def test_every_table_has_the_contracts_columns_and_unique_keys(market):
    raw, _ = market
    for name, table in raw.tables.items():
        RAW[name].validate(table)
        assert set(table.columns) - set(TABLES[name].names) <= {C.CONVERSION_TIME}
        assert set(TABLES[name].names) <= set(table.columns)
        assert not table.duplicated(list(TABLES[name].key)).any()
    assert raw.source["synthetic"]
    assert all(raw.source["has"].values())


def test_every_reference_is_kept(market):
    raw, truth = market
    items, copies = set(raw.items[C.ITEM]), raw.copies.set_index(C.COPY)
    assert set(raw.events[C.ITEM].dropna()) <= items
    assert set(raw.events[C.USER]) | set(raw.impressions[C.USER]) <= set(truth.user_ids)
    shown = copies.loc[raw.impressions[C.CREATIVE]]
    for name in (C.ITEM, C.SCENE, C.CHANNEL):
        assert (shown[name].to_numpy() == raw.impressions[name].to_numpy()).all()


def test_the_mix_of_events_is_plausible_and_their_fields_fit_their_type(market, market_params):
    raw, _ = market
    events = raw.events
    share = events[C.EVENT_TYPE].value_counts(normalize=True)
    assert share.idxmax() == "view"
    assert 0.05 < share["search"] < 0.2
    assert share["purchase"] < share["cart"] < share["search"] + 0.1
    search, purchase = events[C.EVENT_TYPE] == "search", events[C.EVENT_TYPE] == "purchase"
    assert (events[C.QUERY].notna() == search).all()
    assert (events[C.ITEM].isna() == search).all()
    assert (events[C.BASKET].notna() == purchase).all()
    assert ((events[C.VALUE] > 0) == purchase).all()
    assert events[C.TIMESTAMP].is_monotonic_increasing
    start = pd.Timestamp(market_params.start, tz="UTC")
    assert events[C.TIMESTAMP].between(start, start + pd.Timedelta(days=market_params.days), inclusive="left").all()


def test_shoppers_range_from_light_to_heavy(market):
    raw, _ = market
    counts = raw.events.groupby(C.USER).size()
    assert counts.quantile(0.95) > 8 * counts.quantile(0.1)


def test_a_durable_product_is_bought_once_in_ones_own_sessions(market):
    raw, _ = market
    events = raw.events.merge(raw.items[[C.ITEM, C.CONSUMABLE]], on=C.ITEM)
    own = events[
        (events[C.EVENT_TYPE] == "purchase") & ~events[C.BASKET].fillna("").str.startswith("ba") & ~events[C.CONSUMABLE].astype(bool)
    ]
    assert len(own) > 50
    assert not own.duplicated([C.USER, C.ITEM]).any()


def test_a_click_is_seen_as_a_view_on_the_ads_channel_within_twenty_seconds(market):
    raw, _ = market
    clicks = raw.impressions.loc[raw.impressions[C.CLICK], [C.USER, C.ITEM, C.CHANNEL, C.TIMESTAMP]].head(300)
    views = raw.events.loc[raw.events[C.EVENT_TYPE] == "view", [C.USER, C.ITEM, C.CHANNEL, C.TIMESTAMP]]
    pairs = clicks.merge(views, on=[C.USER, C.ITEM, C.CHANNEL], suffixes=("", "_view"))
    gap = (pairs[f"{C.TIMESTAMP}_view"] - pairs[C.TIMESTAMP]).dt.total_seconds()
    assert pairs[gap.between(2, 20)].drop_duplicates([C.USER, C.ITEM, C.TIMESTAMP]).shape[0] == len(clicks)


def test_conversions_follow_clicks_with_a_delay_below_three_days_and_have_a_value(market):
    raw, _ = market
    impressions = raw.impressions
    bought = impressions[impressions[C.CONVERSION]]
    assert bought[C.CLICK].all()
    assert (bought[C.VALUE] > 0).all()
    assert (impressions.loc[~impressions[C.CONVERSION], C.VALUE] == 0).all()
    delay = bought[C.CONVERSION_TIME] - bought[C.TIMESTAMP]
    assert delay.between(pd.Timedelta(0), pd.Timedelta(days=3), inclusive="neither").all()
    assert impressions.loc[~impressions[C.CONVERSION], C.CONVERSION_TIME].isna().all()


def test_a_slate_shows_distinct_candidates_in_stock(market, market_params):
    raw, _ = market
    impressions = raw.impressions
    assert (impressions.groupby(C.REQUEST).size() == market_params.slate).all()
    assert not impressions.duplicated([C.REQUEST, C.ITEM]).any()
    assert all(creative in listed for creative, listed in zip(impressions[C.CREATIVE], impressions[C.CANDIDATES], strict=True))
    assert impressions[C.CANDIDATES].map(lambda listed: len(listed) == len(set(listed)) <= market_params.candidates).all()
    sold_out = set(raw.items.loc[raw.items[C.STOCK] == 0, C.ITEM])
    assert not set(impressions[C.ITEM]) & sold_out


def test_inverse_propensities_count_the_candidates(market):
    raw, _ = market
    for position in (0, 1):
        shown = raw.impressions[raw.impressions[C.POSITION] == position]
        assert shown[C.PROPENSITY].between(0, 1, inclusive="neither").all()
        surplus = 1 / shown[C.PROPENSITY] - (shown[C.CANDIDATES].map(len) - position)
        assert abs(surplus.mean()) < 4 * surplus.std() / np.sqrt(len(shown))
        spread = 1 / shown[C.PROPENSITY_MARGINAL] - shown[C.CANDIDATES].map(len)
        assert abs(spread.mean()) < 4 * spread.std() / np.sqrt(len(shown))


def test_weighting_by_propensity_finds_the_uniform_policys_popularity_and_the_naive_mean_does_not(market):
    raw, _ = market
    views = raw.events.loc[raw.events[C.EVENT_TYPE] == "view", C.ITEM].value_counts()
    popularity = np.log1p(raw.copies.set_index(C.COPY)[C.ITEM].map(views).fillna(0))
    first = raw.impressions[raw.impressions[C.POSITION] == 0]
    size = first[C.CANDIDATES].map(len)
    truth = popularity.reindex(np.concatenate(first[C.CANDIDATES].to_list())).mean()
    seen = popularity.reindex(first[C.CREATIVE]).to_numpy()
    weighted = seen / (size * first[C.PROPENSITY]).to_numpy()
    error = weighted.std() / np.sqrt(len(first))
    assert abs(weighted.mean() - truth) < 4 * error
    assert abs(seen.mean() - truth) > 8 * seen.std() / np.sqrt(len(first))


@pytest.mark.parametrize("size", [1, 2, 3])
def test_propensities_match_the_frequencies_of_many_draws(size):
    rng = np.random.default_rng(5)
    draws = 60_000
    weights = np.tile([0.9, -0.4, 0.0, 0.3, -1.0], (draws, 1))
    candidates = np.tile(np.arange(5), (draws, 1))
    slate, propensity, marginal = _slates(candidates, weights, size, rng)
    for position in range(size):
        for candidate in range(5):
            rows = slate[:, position] == candidate
            p = marginal[rows, position][0]
            assert abs(rows.mean() - p) < 4 * np.sqrt(p * (1 - p) / draws)
    for one in range(5):
        after = slate[:, 0] == one
        for other in {*range(5)} - {one} if size > 1 else ():
            rows = slate[after, 1] == other
            p = propensity[after, 1][rows][0]
            assert abs(rows.mean() - p) < 4.5 * np.sqrt(p * (1 - p) / after.sum())


def test_an_empty_place_among_the_candidates_is_never_shown():
    candidates = np.tile([4, 7, -1, -1], (2000, 1))
    slate, propensity, marginal = _slates(candidates, np.zeros((2000, 4)), 2, np.random.default_rng(6))
    assert set(slate.ravel()) == {0, 1}
    assert propensity[:, 1] == pytest.approx(1.0)
    assert marginal == pytest.approx(0.5)


def test_marginals_equal_the_sum_over_all_slates():
    first = np.array([[0.5, 0.2, 0.2, 0.1]])
    for position in range(3):
        for candidate in range(4):
            total = 0.0
            for slate in permutations(range(4), position + 1):
                if slate[position] == candidate:
                    left, p = 1.0, 1.0
                    for shown in slate:
                        p, left = p * first[0, shown] / left, left - first[0, shown]
                    total += p
            assert position_marginal(first, np.array([candidate]), position)[0] == pytest.approx(total)
    with pytest.raises(ValueError, match="position is 3"):
        position_marginal(first, np.array([0]), 3)


def test_the_logging_policy_explores_every_candidate(market):
    raw, _ = market
    first = raw.impressions[raw.impressions[C.POSITION] == 0]
    assert (first[C.PROPENSITY] >= EXPLORATION / first[C.CANDIDATES].map(len) - 1e-12).all()


def test_campaigns_surround_the_end_of_the_window_and_the_marathon_season_sells_running_kit(market, market_params):
    raw, _ = market
    campaigns = raw.campaigns.set_index(C.NAME)
    end = pd.Timestamp(market_params.start, tz="UTC") + pd.Timedelta(days=market_params.days)
    assert 8 <= len(campaigns) <= 12
    assert (campaigns[C.END] > end).all()
    assert (campaigns[C.START] < campaigns[C.END]).all()
    marathon = campaigns.loc["马拉松装备季"]
    assert marathon[C.START] < end
    assert (marathon[C.TARGET_CATEGORIES], marathon[C.TARGET_SCENES]) == (["运动健身"], ["promotion"])


def test_a_market_to_which_nobody_comes_says_what_to_raise(market_params):
    with pytest.raises(SourceError, match=r"market\.sessions_per_day"):
        read_market(market_params.model_copy(update={"shoppers": 2, "products": 30, "sessions_per_day": 1e-9}))
