from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from core.columns import Columns as C
from core.errors import SourceError
from core.stage import read_graph
from tasks.sources.base import write_truth
from tasks.sources.market import Truth, read_market
from tasks.sources.market.traits import THEMES, length_ratio, named_themes, theme_of, tone_shares

ROOT = Path(__file__).parents[4]


def rows_of(raw, impressions):
    texts = raw.copies.set_index(C.COPY)[C.TEXT]
    names = (C.USER, C.ITEM, C.SCENE, C.CHANNEL, C.POSITION)
    user, item, scene, channel, position = (impressions[name].to_numpy() for name in names)
    return user, item, texts.reindex(impressions[C.CREATIVE]).to_numpy(dtype=object), scene, channel, position, impressions[C.TIMESTAMP]


def test_the_truth_predicts_the_logged_click_rate_in_every_tenth_of_its_predictions(market):
    raw, truth = market
    p = truth.p_click(*rows_of(raw, raw.impressions))
    click = raw.impressions[C.CLICK].to_numpy()
    tenth = np.digitize(p, np.quantile(p, np.linspace(0.1, 0.9, 9)))
    for index in range(10):
        rows = tenth == index
        error = np.sqrt((p[rows] * (1 - p[rows])).sum()) / rows.sum()
        assert abs(click[rows].mean() - p[rows].mean()) < 4 * error
    assert p[tenth == 9].mean() > 4 * p[tenth == 0].mean()


def test_the_truth_predicts_conversions_of_clicks_within_their_error(market):
    raw, truth = market
    clicked = raw.impressions[raw.impressions[C.CLICK]]
    p = truth.p_convert(*rows_of(raw, clicked))
    assert abs(clicked[C.CONVERSION].sum() - p.sum()) < 4 * np.sqrt((p * (1 - p)).sum())


def test_base_rates_are_the_wanted_ones(market, market_params):
    raw, truth = market
    p = truth.p_click(*rows_of(raw, raw.impressions))
    assert p.mean() == pytest.approx(market_params.base_ctr, rel=1e-6)
    assert np.average(truth.p_convert(*rows_of(raw, raw.impressions)), weights=p) == pytest.approx(market_params.base_cvr, rel=1e-6)
    assert 0.01 < raw.impressions[C.CLICK].mean() < 0.05
    assert 0.01 < raw.impressions.loc[raw.impressions[C.CLICK], C.CONVERSION].mean() < 0.10


def test_an_oracle_among_the_candidates_clearly_beats_the_logging_policy(market):
    raw, truth = market
    first = raw.impressions[raw.impressions[C.POSITION] == 0].sample(3000, random_state=1)
    texts, items = (raw.copies.set_index(C.COPY)[name] for name in (C.TEXT, C.ITEM))
    sizes = first[C.CANDIDATES].map(len).to_numpy()
    creative = np.concatenate(first[C.CANDIDATES].to_list())
    repeated = first.loc[first.index.repeat(sizes)]
    p = truth.p_click(
        repeated[C.USER].to_numpy(), items.reindex(creative).to_numpy(), texts.reindex(creative).to_numpy(dtype=object),
        repeated[C.SCENE].to_numpy(), repeated[C.CHANNEL].to_numpy(), np.zeros(len(repeated), dtype=int), repeated[C.TIMESTAMP],
    )  # fmt: skip
    best = np.maximum.reduceat(p, np.concatenate([[0], np.cumsum(sizes)[:-1]]))
    logged = truth.p_click(*rows_of(raw, first))
    gain = best.mean() / logged.mean()
    assert 1.5 < gain < 4.0


def test_the_truth_read_back_from_its_folder_is_the_truth_that_was_written(market, market_params, tmp_path):
    raw, truth = market
    write_truth(truth.tables(), tmp_path / "truth")
    rows = rows_of(raw, raw.impressions.head(500))
    again = Truth.load(tmp_path / "truth")
    assert np.array_equal(again.p_click(*rows), truth.p_click(*rows))
    assert np.array_equal(again.p_convert(*rows), truth.p_convert(*rows))
    assert again.user_ids == truth.user_ids


def test_a_text_that_nobody_logged_has_a_probability_too(market):
    raw, truth = market
    user, item, text, scene, channel, position, moment = rows_of(raw, raw.impressions.head(50))
    other = np.array(["快来！一起冲呀～" for _ in text], dtype=object)
    changed, p = (
        truth.p_click(user, item, other, scene, channel, position, moment),
        truth.p_click(user, item, text, scene, channel, position, moment),
    )
    assert ((changed > 0) & (changed < 1)).all()
    assert (changed != p).all()


def test_times_may_come_as_datetimes_or_as_microseconds(market):
    raw, truth = market
    *columns, moment = rows_of(raw, raw.impressions.head(20))
    micros = moment.astype("int64").to_numpy()
    assert np.array_equal(truth.p_click(*columns, moment), truth.p_click(*columns, micros))
    assert np.array_equal(truth.p_click(*columns, moment), truth.p_click(*columns, moment.dt.tz_localize(None).to_numpy()))


def test_the_second_position_is_clicked_less_at_equal_merit(market):
    raw, truth = market
    user, item, text, scene, channel, _, moment = rows_of(raw, raw.impressions.head(20))
    first, second = (truth.p_click(user, item, text, scene, channel, np.full(20, place), moment) for place in (0, 1))
    odds = (second / (1 - second)) / (first / (1 - first))
    assert odds == pytest.approx(np.full(20, np.exp(-truth.strengths["position"])))


def test_without_strength_every_impression_has_the_base_rate(with_strengths):
    params = with_strengths(all_of=0.0)
    raw, tables = read_market(params)
    assert raw.impressions[C.CLICK].mean() == pytest.approx(params.base_ctr, abs=4 * np.sqrt(params.base_ctr / len(raw.impressions)))
    assert set(tables.truth["strengths"].values()) == {0.0}
    assert tables.truth["click_intercept"] == pytest.approx(np.log(params.base_ctr / (1 - params.base_ctr)))
    assert tables.truth["drift_share"] == 0.0


def test_without_taste_shoppers_browse_alike_and_with_it_each_keeps_to_a_few_categories(with_strengths):
    def concentration(raw):
        events = raw.events[raw.events[C.ITEM].notna()].merge(raw.items[[C.ITEM, C.CATEGORY]], on=C.ITEM)
        heavy = events[events.groupby(C.USER)[C.USER].transform("size") >= 40]
        shares = heavy.groupby(C.USER)[C.CATEGORY].value_counts(normalize=True)
        return shares.groupby(level=0).apply(lambda share: share.nlargest(3).sum()).mean()

    indifferent, _ = read_market(with_strengths(all_of=0.0))
    fond, _ = read_market(with_strengths(all_of=0.0, taste=0.5))
    assert concentration(indifferent) < 0.6
    assert concentration(fond) > 0.75


@pytest.mark.parametrize("name", ["tone", "length", "selling_point"])
def test_a_property_of_the_text_acts_through_its_strength_alone(market, name):
    raw, truth = market
    user, item, text, scene, channel, position, moment = rows_of(raw, raw.impressions.head(200))
    shuffled = np.random.default_rng(0).permutation(text)
    blind = replace(truth, strengths={**dict.fromkeys(truth.strengths, 0.0)})
    seeing = replace(truth, strengths={**blind.strengths, name: 1.0})
    for which, differs in ((blind, False), (seeing, True)):
        p, other = (which.p_click(user, item, words, scene, channel, position, moment) for words in (text, shuffled))
        assert bool(np.abs(p - other).max() > 1e-3) is differs


def test_taste_drifts_with_time_unless_drift_is_zero(market):
    raw, truth = market
    rows = rows_of(raw, raw.impressions.head(300))
    start = np.full(300, truth.world.start, dtype=np.int64)
    later = start + 60 * 86_400_000_000
    still = replace(truth, world=replace(truth.world, drift_share=0.0))
    moved = np.abs(truth.effects(*rows[:-1], later)["taste"] - truth.effects(*rows[:-1], start)["taste"])
    assert moved.max() > 0.3
    assert np.array_equal(still.effects(*rows[:-1], later)["taste"], still.effects(*rows[:-1], start)["taste"])


def test_intent_is_highest_right_after_a_session_and_halves_each_day_and_a_half(market):
    _, truth = market
    world = truth.world
    last = int(np.flatnonzero(np.append(np.diff(world.session_user) > 0, True))[0])  # the first shopper's last session
    item = int(np.flatnonzero(world.item_type == world.session_type[last])[0])
    user = str(world.shoppers.user_ids[world.session_user[last]])
    after = world.session_time[last] + np.array([1_000_000, 129_600_000_000, -(10**15)])
    columns = ([user] * 3, [truth.item_ids[item]] * 3, ["好"] * 3, ["product"] * 3, ["onsite"] * 3, [0] * 3)
    assert truth.effects(*columns, after)["intent"] == pytest.approx([1.0, 0.5, 0.0], abs=1e-3)


def test_unknown_ids_null_texts_and_uneven_columns_are_refused(market):
    _, truth = market
    good = {"u": "u000001", "i": truth.item_ids[0], "t": "好", "s": "product", "c": "onsite"}

    def ask(**changes):
        row = good | changes
        return truth.p_click([row["u"]], [row["i"]], [row["t"]], [row["s"]], [row["c"]], [0], [truth.world.start])

    for changes, words in (
        ({"u": "nobody"}, "1 of 1 user ids are not of this market; first: row 0 = 'nobody'"),
        ({"i": "nothing"}, "1 of 1 item ids"),
        ({"t": None}, "1 texts are null"),
        ({"s": "dream"}, "'dream' is none of product"),
        ({"c": "radio"}, "'radio'"),
    ):
        with pytest.raises(ValueError, match=words):
            ask(**changes)
    with pytest.raises(ValueError, match="differ in length"):
        truth.p_click(["u000001"], [truth.item_ids[0]], ["a", "b"], ["product"], ["onsite"], [0], [truth.world.start])


def test_a_folder_without_truth_or_of_another_format_is_refused(tmp_path):
    write_truth(None, tmp_path / "none")
    with pytest.raises(SourceError, match=r"no truth\.json"):
        Truth.load(tmp_path / "none")
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "truth.json").write_text('{"format": 0}', encoding="utf-8")
    with pytest.raises(SourceError, match="format 0"):
        Truth.load(tmp_path / "old")


def test_only_evaluate_depends_on_the_truth():
    graph = read_graph(ROOT / "dvc.yaml")
    assert [name for name, entry in graph.items() if Path("data/truth") in entry.deps] == ["evaluate"]


def test_tone_length_and_selling_points_by_hand():
    assert tone_shares(["快来！", "标价说明", "无"]) == pytest.approx(np.array([[2 / 3, 0, 0], [0, 0, 2 / 3], [0, 0, 0]]))
    assert length_ratio(["一" * 15, "一" * 60, "一" * 99, ""], ["search", "onsite", "onsite", "social"]) == pytest.approx([0, 1, 1, -1])
    assert [THEMES[theme_of(key)] for key in ("颜色", "鞋底", "容量", "适用人群", "背负")] == [
        "looks",
        "material",
        "size",
        "occasion",
        "function",
    ]
    signals = ((0, ("云朵白", "显干净")), (1, ("透气网面",)))
    assert named_themes("上脚显干净", signals).tolist() == [1, 0, 0, 0, 0]
    assert named_themes("透气网面，云朵白", signals).tolist() == [0.5, 0.5, 0, 0, 0]
    assert named_themes("好鞋", signals).sum() == 0
