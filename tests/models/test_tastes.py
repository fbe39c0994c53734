import numpy as np
import pandas as pd
import pytest
from ad_log import DAY, START, fitted, make_ad_log

from models.features import Candidates, Requests, requests_of
from models.history import History

NOW = START + 10 * DAY
HOUR = DAY // 24


@pytest.fixture(scope="module")
def space():
    log = make_ad_log()
    requests, _ = requests_of(log.impressions, log.events, log.texts)
    return fitted(log, requests)


def features(space, viewed, items):
    history = History.of([("view", item) for item in viewed], end=NOW - 1, gap=1_000_000)
    matrix, names = space.compute(
        Requests.one(history, scene="product", channel="onsite", timestamp=NOW), Candidates.one(items, ["好物"] * len(items))
    )
    return pd.DataFrame(matrix, columns=names, index=items)


def of_each_category(space):
    """The first two items of each category."""
    rows = pd.Series(space.catalogue.item_ids).groupby(space.catalogue.category)
    return [held.tolist()[:2] for _, held in rows]


def test_a_share_is_drawn_towards_the_catalogues_as_by_twenty_events(space):
    (liked, other), (once, _), (never, _) = of_each_category(space)[:3]
    found = features(space, [liked] * 3 + [once], [liked, other, once, never])
    usual = {item: float((space.catalogue.category == code).mean()) for code, pair in enumerate(of_each_category(space)) for item in pair}
    for item, count in ((liked, 3), (other, 3), (once, 1), (never, 0)):
        drawn = np.log((count + 20 * usual[item]) / 24 / usual[item])
        assert found.loc[item, "taste in category: ever"] == pytest.approx(drawn, rel=1e-3, abs=1e-4)
        assert found.loc[item, "root share of category: ever"] == pytest.approx(np.sqrt(count / 9), rel=1e-3)


def test_favourite_categories_are_ranked_and_one_never_met_has_no_rank(space):
    (liked, _), (once, _), (never, _) = of_each_category(space)[:3]
    found = features(space, [liked] * 3 + [once], [liked, once, never])
    assert found["favourite category 1"].tolist() == [1, 0, 0]
    assert found["favourite category 2"].tolist() == [0, 1, 0]
    assert found["category never met"].tolist() == [0, 0, 1]


def test_without_a_past_every_taste_is_zero_and_nothing_was_met(space):
    items = [pair[0] for pair in of_each_category(space)]
    found = features(space, [], items)
    assert np.abs(found.filter(like="taste in ").to_numpy()).max() < 1e-6
    assert (found["category never met"] == 1).all()
    assert not found.filter(like="favourite category").to_numpy().any()


def test_how_much_is_known_of_a_shopper_saturates_instead_of_going_with_the_calendar(space):
    item = space.catalogue.item_ids[0]
    known = [features(space, [item] * count, [item])["events"].iloc[0] for count in (0, 10, 1000)]
    assert known == pytest.approx([0, 0.5, 1000 / 1010])
    assert "answers counted" not in features(space, [item], [item])
