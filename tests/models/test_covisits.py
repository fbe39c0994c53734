from datetime import timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_matrix
from synthetic import START, events_of, shop_catalogue

from core.errors import BundleError
from evaluation.ranking import target_ranks
from models.history import History, micros
from models.recommender.covisits import ItemKnn, LinkShape, Markov, Reading
from models.recommender.events import event_batch
from models.recommender.training import covisits
from models.recommender.training.covisits import cosine_links, count_markov, item_counts, ordered_links, strongest, train_markov
from models.recommender.training.validation import RankingRule, Validation
from models.recommender.training.windows import EventTable

CATALOGUE = shop_catalogue()
N = len(CATALOGUE)


def table(*users: str) -> EventTable:
    """Each user's items by their numbers, an hour apart."""
    rows = [
        (f"u{user}", f"p00{item}", "view", None, START + timedelta(hours=place))
        for user, items in enumerate(users)
        for place, item in enumerate(items)
    ]
    return EventTable.of(events_of(rows), CATALOGUE)


def shares(model: ItemKnn | Markov, items: str) -> np.ndarray:
    history = History.of([("view", f"p00{item}") for item in items], end=int(micros(START)[0]))
    return model.shares(event_batch([history], np.array([history.timestamps[-1] + 1]), CATALOGUE, 9))[0]


def test_ordered_links_by_hand() -> None:
    events = table("123", "13")
    counts = item_counts(events, N)
    assert counts[[1, 2, 3]].tolist() == [2, 1, 2]
    links = ordered_links(events, counts, LinkShape(decay=0.5, backward=0.25, from_power=1.0, to_power=0.0, fading=0.0)).toarray()
    assert links[1, 3] == pytest.approx((0.5 + 1.0) / 2)  # two places apart, and one place apart
    assert links[3, 1] == pytest.approx(0.25 * 1.5 / 2)
    assert links[1, 2] == pytest.approx(1.0 / 2)
    assert links[2, 2] == 0
    damped = ordered_links(events, counts, LinkShape(decay=0.5, backward=0.0, from_power=0.0, to_power=1.0, fading=1.0)).toarray()
    assert damped[1, 3] == pytest.approx((0.5 / 3 + 1 / 2) / 2)  # two hours apart and one; divided by the two events of item 3


def test_cosine_links_by_hand_count_users_and_not_events() -> None:
    links = cosine_links(table("121", "13"), N).toarray()
    assert links[1, 2] == pytest.approx(1 / np.sqrt(2 * 1))
    assert links[1, 1] == 0
    np.testing.assert_allclose(links, links.T)


def test_only_the_strongest_links_of_a_row_stay() -> None:
    links = ordered_links(table("1234"), item_counts(table("1234"), N), LinkShape(decay=0.5, backward=0.0, from_power=0, to_power=0))
    assert strongest(links, 1).toarray()[1].nonzero()[0].tolist() == [2]
    assert strongest(links, 2).toarray()[1].nonzero()[0].tolist() == [2, 3]


def test_of_equally_strong_links_the_first_items_stay() -> None:
    links = csr_matrix(np.array([[1.0, 3.0, 1.0, 0.0, 1.0], [0.0, 2.0, 2.0, 2.0, 0.0]], dtype=np.float32))
    assert strongest(links, 2).toarray().tolist() == [[1, 3, 0, 0, 0], [0, 2, 2, 0, 0]]


@settings(max_examples=30, deadline=None)
@given(users=st.lists(st.text("0123456789", min_size=1, max_size=14), min_size=1, max_size=6), work=st.sampled_from([1, 7, 60]))
def test_links_do_not_depend_on_how_many_pairs_are_held_at_a_time(users: list[str], work: int) -> None:
    events, shape = table(*users), LinkShape(0.7, 0.4, 0.5, 0.25, 0.3)
    whole = ordered_links(events, item_counts(events, N), shape), cosine_links(events, N)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(covisits, "BLOCK_WORK", work)
        parts = ordered_links(events, item_counts(events, N), shape), cosine_links(events, N)
    for one, other in zip(whole, parts, strict=True):
        assert (one != other).nnz == 0
        assert one.shape == other.shape == (N, N)


def test_of_a_long_log_whole_users_choose_the_shape_and_all_events_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    events = table(*("12345", "23451", "34512", "45123") * 10)
    some = events.sample(60)
    assert 0 < len(some.user) < len(events.user)
    assert all((some.user == user).sum() == 5 for user in set(some.user.tolist()))
    assert events.sample(200) is events
    monkeypatch.setattr(covisits, "TRIED_EVENTS", 60)
    nobody = Validation((), (), np.zeros(0, np.int64), np.zeros(0, np.int64), RankingRule(rank=target_ranks, gain=lambda ranks: ranks))
    assert train_markov(events, CATALOGUE, nobody, 9).counts.sum() == 200


def test_votes_fade_backwards_and_count_by_the_kind_of_event() -> None:
    links = cosine_links(table("12", "34"), N)
    model = ItemKnn(CATALOGUE, 9, links, np.ones(N), Reading(0.5, {"purchase": 3.0}))
    found = shares(model, "13")
    assert found[4] == pytest.approx(2 / 3)  # 3 was met last: it votes 1, and 1 votes a half
    assert found[2] == pytest.approx(1 / 3)
    bought = History.of([("purchase", "p001"), ("view", "p003")], end=int(micros(START)[0]))
    by_kind = model.shares(event_batch([bought], np.array([bought.timestamps[-1] + 1]), CATALOGUE, 9))[0]
    assert by_kind[2] == pytest.approx(1.5 / 2.5)


def test_without_links_the_answer_is_popularity_and_probabilities_sum_to_one() -> None:
    model = count_markov(table("12", "12", "34"), CATALOGUE, 9, LinkShape(), Reading(0.8, {}))
    known, unknown = (History.of([("view", item)], end=int(micros(START)[0])) for item in ("p001", "p007"))
    logits = model.score([known, unknown, History.empty()])
    np.testing.assert_allclose(np.exp(logits.astype(float)).sum(axis=1), 1.0, rtol=1e-5)
    np.testing.assert_array_equal(logits[1], logits[2])
    assert logits[0].argmax() == 2


def test_links_of_another_catalogue_are_refused() -> None:
    links = cosine_links(table("12"), N)
    with pytest.raises(BundleError, match=r"item_knn links 32 items, the catalogue has 12\. Train again"):
        ItemKnn(shop_catalogue(per_theme=3), 9, links, np.ones(N), Reading(0.5, {}))
