from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from ad_log import CATEGORIES, DAY, START, TasteRecommender, fitted, make_ad_log, vectors_of

from models.cues import CUES, cues, text_cues
from models.features import (
    Candidates,
    FeatureSpace,
    Requests,
    Responses,
    considered_candidates,
    likeness,
    logged_candidates,
    profiles,
    requests_of,
)
from models.features.batch import RESPONSE_LAG_MICROS
from models.features.catalogue import Catalogue, lookalikes, price_levels, projection
from models.features.memory import TextVectors
from models.features.profiles import PRIOR_EVENTS
from models.features.trends import Trends
from models.history import History


@pytest.fixture(scope="module")
def log():
    return make_ad_log()


@pytest.fixture(scope="module")
def space(log):
    requests, _ = requests_of(log.impressions, log.events, log.texts)
    return fitted(log, requests)


def computed(space, log, impressions=None, events=None):
    impressions = log.impressions if impressions is None else impressions
    requests, place = requests_of(impressions, log.events if events is None else events, log.texts)
    return space.compute(requests, logged_candidates(impressions, place, log.texts))


def one(space, history, *parts, **named):
    matrix, names = space.compute(*_single(history, *parts, **named))
    return pd.DataFrame(matrix, columns=names)


def _single(history, items=("i00",), texts=("好物",), *, responses=None, timestamp=START + 10 * DAY):
    requests = Requests.one(history, scene="product", channel="onsite", timestamp=timestamp, responses=responses)
    return requests, Candidates.one(items, texts)


def test_events_and_answers_at_or_after_a_request_change_nothing(space, log):
    cut = START + 10 * DAY
    early = log.impressions[log.impressions["timestamp"] < pd.Timestamp(cut, unit="us", tz="UTC")]
    before, names = computed(space, log, early)
    last = early["timestamp"].max()
    future = log.events.copy()
    future.loc[future["timestamp"] >= last, "item_id"] = "i17"
    after, _ = computed(space, log, early, future)
    np.testing.assert_array_equal(before, after)
    with_later_answers = log.impressions.copy()
    with_later_answers.loc[with_later_answers["timestamp"] >= last, "click"] = True
    requests, place = requests_of(early, log.events, log.texts, earlier=with_later_answers)
    again, _ = space.compute(requests, logged_candidates(early, place, log.texts))
    np.testing.assert_array_equal(before, again)
    assert len(set(names)) == before.shape[1]
    assert np.isfinite(before).all()


def test_the_click_of_an_impression_is_not_among_its_own_features(space, log):
    flipped = log.impressions.assign(click=~log.impressions["click"])
    requests, place = requests_of(log.impressions, log.events, log.texts)
    others, _ = requests_of(flipped, log.events, log.texts)
    first = log.impressions.groupby("user_id")["timestamp"].transform("min") == log.impressions["timestamp"]
    rows = np.flatnonzero(first.to_numpy())
    candidates = logged_candidates(log.impressions, place, log.texts)
    one_way, other_way = space.compute(requests, candidates)[0], space.compute(others, candidates)[0]
    np.testing.assert_array_equal(one_way[rows], other_way[rows])
    assert (one_way != other_way).any()  # later impressions do see the earlier click


def test_answers_are_known_an_hour_after_the_impression_and_not_before():
    shown = Responses(("i00",), ("好",), ("onsite",), np.ones(1, np.float32), np.array([START], dtype=np.int64))
    assert len(shown.before(START + RESPONSE_LAG_MICROS)) == 0
    assert len(shown.before(START + RESPONSE_LAG_MICROS + 1)) == 1


def test_many_requests_at_once_equal_one_at_a_time(space, log):
    some = log.impressions.iloc[-40:]
    requests, place = requests_of(some, log.events, log.texts, earlier=log.impressions)
    together, names = space.compute(requests, logged_candidates(some, place, log.texts))
    for row in range(0, 40, 7):
        at = int(place[row])
        shown = some.iloc[row]
        single = Requests.one(
            requests.histories[at], scene=shown["scene"], channel=shown["channel"], timestamp=int(requests.timestamps[at]),
            responses=requests.responses[at],
        )  # fmt: skip
        candidate = Candidates.one([shown["item_id"]], [log.texts[shown["creative_id"]]]).at_position(int(shown["position"]))
        alone, same_names = space.compute(single, candidate)
        assert names == same_names
        np.testing.assert_allclose(alone[0], together[row], rtol=1e-4, atol=1e-5)


def test_the_order_of_candidates_does_not_matter(space, log):
    some = log.impressions.iloc[-60:]
    requests, place = requests_of(some, log.events, log.texts)
    candidates = logged_candidates(some, place, log.texts)
    order = np.random.default_rng(0).permutation(60)
    straight, _ = space.compute(requests, candidates)
    shuffled, _ = space.compute(requests, candidates.take(order))
    np.testing.assert_allclose(shuffled, straight[order], rtol=1e-5, atol=1e-6)


def test_a_lift_is_the_logarithm_that_its_formula_says(space):
    now = START + 10 * DAY
    history = History.of([("view", "i00"), ("view", "i03"), ("cart", "i01")], end=now - DAY, gap=0)
    found = one(space, history, ("i06", "i02"), ("好", "好"), timestamp=now)
    total, base = (1 + 1 + 2) * 0.5, 1 / 3  # half-life one day, a day old; three equal categories
    for row, affinity in ((0, 1.0), (1, 0.0)):
        assert found["category: 1 day"][row] == pytest.approx(
            np.log((affinity + PRIOR_EVENTS * base) / ((total + PRIOR_EVENTS) * base)), abs=1e-5
        )


def test_without_a_history_every_lift_is_zero_and_nothing_is_missing(space):
    found = one(space, History.empty(), ("i00", "i07"), ("", "好物！"))
    assert np.isfinite(found.to_numpy()).all()
    lifts = [name for name in found if ": " in name and name.split(":")[0] in ("category", "brand", "attribute", "item", "lookalike")]
    assert len(lifts) > 30
    np.testing.assert_allclose(found[lifts], 0, atol=1e-6)


def test_more_recent_interest_counts_more(space):
    now = START + 10 * DAY
    fresh = History.of([("view", "i01"), ("view", "i00")], end=now - DAY, gap=5 * DAY)
    stale = History.of([("view", "i00"), ("view", "i01")], end=now - DAY, gap=5 * DAY)
    name = "category: 1 day"
    assert one(space, fresh, ("i03",), timestamp=now)[name][0] > one(space, stale, ("i03",), timestamp=now)[name][0]


def test_an_answer_to_short_copy_leans_towards_short_copy(space):
    texts = ("好物", "好" * 50)
    shown = Responses(("i00", "i01"), texts, ("onsite", "onsite"), np.array([1, 0], np.float32), np.array([START, START], dtype=np.int64))
    found = one(space, History.empty(), ("i05", "i05"), texts, responses=shown)
    assert found["answers to length"][0] > found["answers to length"][1]
    assert found["answers to cues"][0] > found["answers to cues"][1]


def test_an_unknown_price_is_no_price_and_never_a_low_one(space):
    found = one(space, History.of([("view", "i00")], end=START), ("i07",))
    assert found["price known"][0] == 0
    assert found[["price", "price gap", "price distance"]].to_numpy().tolist() == [[0, 0, 0]]


def test_price_levels_are_standard_deviations_of_the_log_within_the_category():
    prices = pd.Series([1, np.e, np.e**2, None, 0], dtype="Float64") * 1_000_000
    levels = price_levels(prices, np.array([0, 0, 0, 0, 0]))
    np.testing.assert_allclose(levels[:3], [-1, 0, 1], atol=1e-5)
    assert np.isnan(levels[3:]).all()


def test_a_candidate_that_the_recommender_does_not_know_is_named(space):
    with pytest.raises(ValueError, match="1 candidates are not in the recommender's items, first: 'nowhere'"):
        one(space, History.empty(), ("nowhere",))


def test_a_request_that_looks_into_the_future_is_refused():
    history = History.of([("view", "i00")], end=START)
    with pytest.raises(ValueError, match="request 0 looks into the future"):
        Requests((history,), (Responses.empty(),), ("product",), ("onsite",), np.array([START], dtype=np.int64))
    assert len(Requests.one(history, scene="product", channel="onsite", timestamp=START).histories[0]) == 0


def test_every_logged_candidate_is_considered_once_at_the_top(log):
    top = log.impressions[log.impressions["position"] == 0].iloc[:20]
    requests, place = requests_of(top, log.events, log.texts)
    candidates, creatives = considered_candidates(top, place, log.copies)
    assert len(candidates) == 20 * 6
    assert not candidates.positions.any()
    for number in range(20):
        row = top.iloc[np.flatnonzero(place == number)[0]]
        assert creatives[candidates.request == number].tolist() == row["candidates"]
    assert candidates.texts[0] == log.texts[creatives[0]]
    assert len(requests) == 20


def test_a_space_that_was_saved_computes_the_same_and_encodes_nothing_again(space, log, tmp_path):
    before, names = computed(space, log, log.impressions.iloc[:50])
    space.save(tmp_path)

    def never(texts):
        raise AssertionError(f"{texts} were encoded again")

    loaded = FeatureSpace.load(tmp_path, TasteRecommender(log.items), never)
    loaded.text_vectors.remember(CATEGORIES, vectors_of(CATEGORIES))  # queries: a bundle's encoder holds them
    after, same = computed(loaded, log, log.impressions.iloc[:50])
    assert same == names
    np.testing.assert_allclose(after, before, rtol=1e-5, atol=1e-6)


def test_equal_input_gives_equal_bytes(log, tmp_path):
    requests, _ = requests_of(log.impressions, log.events, log.texts)
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        fitted(log, requests).save(tmp_path / name)
    for file in sorted((tmp_path / "one").iterdir()):
        assert file.read_bytes() == (tmp_path / "two" / file.name).read_bytes(), file.name


def test_trends_know_of_earlier_days_only(log):
    items = Catalogue.of(log.items, vectors_of(list(log.items["title"])))
    whole = Trends.fit(log.events, log.impressions, items)
    cut = pd.Timestamp(START + 12 * DAY, unit="us", tz="UTC").floor("D")
    part = Trends.fit(log.events[log.events["timestamp"] < cut], log.impressions[log.impressions["timestamp"] < cut], items)
    days = int((cut - pd.Timestamp(0, tz="UTC")).days) - whole.first_day + 1
    for name, table in part.tables.items():
        np.testing.assert_allclose(table[:days], whole.tables[name][:days], rtol=1e-5, atol=1e-6)
        assert not np.allclose(table[days - 1], whole.tables[name][-1])
    after = np.array([START + 900 * DAY], dtype=np.int64)
    assert whole.rows(after).tolist() == [len(whole.tables["item share"]) - 1]
    assert whole.rows(np.zeros(1, np.int64)).tolist() == [0]


def test_cues_count_what_is_on_the_face_of_a_copy():
    found = dict(
        zip(
            CUES,
            cues("红色新款，快来抢！", "search", brand="牌1", category="运动", attributes=[("颜色", "红"), ("材质", "棉")]),
            strict=True,
        )
    )
    assert found["length"] == pytest.approx(9 / 30 * 2 - 1)
    assert found["exclamation"] == 0.5
    assert found["attribute coverage"] == 0.5
    assert found["lively words"] > 0
    assert found["offer words"] > 0
    assert found["names brand"] == 0


def test_a_longer_copy_than_the_channel_shows_is_full_length():
    assert text_cues("好" * 500, "social")[0] == 1.0


def test_lookalikes_hold_the_item_itself_and_have_unit_rows():
    vectors = np.linalg.qr(np.random.default_rng(0).normal(size=(6, 6)))[0].astype(np.float32)
    found = lookalikes(np.concatenate([vectors, vectors[:1]]))
    assert found[0, 0] == pytest.approx(found[0, 6])
    np.testing.assert_allclose(np.asarray(found.multiply(found).sum(axis=1)).ravel(), 1, rtol=1e-5)


def test_a_projection_has_orthonormal_columns_and_does_not_depend_on_the_sign_of_the_data():
    vectors = np.random.default_rng(1).normal(size=(40, 8)).astype(np.float32)
    basis = projection(vectors, 3)
    np.testing.assert_allclose(basis.T @ basis, np.eye(3), atol=1e-5)
    np.testing.assert_allclose(basis, projection(-vectors, 3), atol=1e-5)


@pytest.mark.parametrize("most", [0, 10_000])
def test_what_is_looked_up_in_a_table_is_what_is_worked_out(space, log, monkeypatch, most):
    some = log.impressions.iloc[-80:]
    straight, names = computed(space, log, some)
    monkeypatch.setattr(likeness, "MOST_IN_TABLE", most)
    monkeypatch.setattr(profiles, "_CELLS", 60)  # a few requests at a time
    other, same_names = computed(space, log, some)
    assert names == same_names
    np.testing.assert_allclose(other, straight, rtol=1e-5, atol=1e-6)


def test_likeness_by_hand(space, log):
    held, size = space.catalogue, len(space.catalogue)
    table = held.likeness.between(np.arange(size)[None], np.arange(size)[None]).reshape(size, size, -1)
    same = dict(zip(likeness.WAYS, np.moveaxis(table, 2, 0), strict=True))
    categories, brands = np.array(held.categories), np.array(held.brands)
    np.testing.assert_array_equal(same["item"], np.eye(size))
    np.testing.assert_array_equal(same["category"], categories[:, None] == categories)
    np.testing.assert_array_equal(same["brand"], (brands[:, None] == brands) & (brands != ""))
    np.testing.assert_allclose(same["vector"], held.vectors @ held.vectors.T, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(same["lookalike"], held.lookalikes.toarray(), rtol=1e-6)


def test_creatives_that_were_looked_up_before_have_the_same_features(space, log):
    some = log.impressions.iloc[-40:]
    requests, place = requests_of(some, log.events, log.texts, earlier=log.impressions)
    plain = logged_candidates(some, place, log.texts)
    channels = [requests.channels[row] for row in place]
    looked = replace(plain, places=space.look_up(plain.texts.tolist(), plain.item_ids.tolist(), channels))
    straight, _ = space.compute(requests, plain)
    np.testing.assert_allclose(space.compute(requests, looked)[0], straight, rtol=1e-6, atol=1e-6)  # last digits: batches are others
    order = np.random.default_rng(1).permutation(len(some))
    np.testing.assert_allclose(space.compute(requests, looked.take(order))[0], straight[order], rtol=1e-5, atol=1e-6)
    space._creatives._forget()  # these are rows of a memory that is gone: another one stands in the first place now
    last = max(zip(plain.texts, plain.item_ids, channels, strict=True))
    space.look_up(*([part] for part in last))
    np.testing.assert_allclose(space.compute(requests, looked)[0], straight, rtol=1e-6, atol=1e-6)


def test_places_name_an_item_that_the_recommender_does_not_know(space):
    found = space.look_up(["好物", "好物"], ["i00", "nowhere"], ["onsite", "onsite"])
    assert found.item.tolist()[1] == found.creative.tolist()[1] == -1
    requests, candidates = _single(History.empty(), ("i00", "nowhere"), ("好物", "好物"))
    with pytest.raises(ValueError, match="1 candidates are not in the recommender's items, first: 'nowhere'"):
        space.compute(requests, replace(candidates, places=found))


def test_texts_that_come_one_by_one_are_remembered_as_if_together():
    texts = [f"词{number}" for number in range(300)]
    basis = projection(vectors_of(texts), 8)
    together, apart = TextVectors(vectors_of, basis), TextVectors(vectors_of, basis)
    expected = together(texts)
    for text in texts:
        apart([text])
    np.testing.assert_allclose(apart(texts), expected, rtol=1e-6, atol=1e-6)  # some processors sum one row and many in another order
    names, held = apart.held()
    np.testing.assert_allclose(held, together([*names]), rtol=1e-6, atol=1e-6)
