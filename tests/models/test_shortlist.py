from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from synthetic import DIM, THEMES, networkless_encoder, shop_catalogue
from test_recommenders import CATALOGUE, EVENTS, NOW, bundle, untrained

from core.errors import BundleError
from models.history import History
from models.recommender import bundle as bundles
from models.recommender.bundle import GRAPH, RecommenderBundle
from models.recommender.nearest import Graph, top_k
from models.recommender.sequence import SequenceRecommender
from models.recommender.shortlist import LEAST, Indexable

INDEXABLE = ("als", "content_linear", "content_cosine", "sequence")
MANY = shop_catalogue(per_theme=150)
HISTORIES = [
    History.empty(),
    History.of([("search", THEMES[1])], end=NOW),
    History.of([("view", "p001"), ("cart", "p002"), ("purchase", "p007"), ("search", THEMES[0])], end=NOW),
    History.of([("view", f"p{place:03d}") for place in (3, 9, 20, 21, 9, 3, 30)], end=NOW),
]
MOMENTS = np.full(len(HISTORIES), NOW + 10**9)


def with_newcomers(model: SequenceRecommender, share: float = 0.3) -> SequenceRecommender:
    model.new = torch.from_numpy(np.random.default_rng(0).random(len(model.catalogue)) < share)
    model.promotion = 0.5
    return model


def without_newcomers(model: SequenceRecommender) -> SequenceRecommender:
    model.new = torch.zeros(len(model.catalogue), dtype=torch.bool)
    return model


@pytest.mark.parametrize("name", [*INDEXABLE, "newcomers"])
def test_what_stands_in_a_shortlist_has_the_score_that_every_item_scored_gives_it(name: str) -> None:
    model = untrained("sequence" if name == "newcomers" else name, MANY)
    if isinstance(model, SequenceRecommender):
        model = with_newcomers(model) if name == "newcomers" else without_newcomers(model)
    assert isinstance(model, Indexable)
    graph = Graph.of(model.item_rows(np.arange(len(MANY))))
    every = model.score(HISTORIES, MOMENTS)
    for found, scores in zip(model.shortlists(graph, HISTORIES, MOMENTS, 600), every, strict=True):
        np.testing.assert_allclose(found.scores, scores[found.codes], rtol=1e-4, atol=2e-4)
        assert len(set(found.codes.tolist())) == len(found.codes)
        assert (np.diff(found.scores) <= 0).all()


@pytest.mark.parametrize("name", INDEXABLE)
def test_a_graph_that_knows_every_item_gives_the_exact_lists(name: str) -> None:
    exact = bundle(champion=name)
    quick = exact.indexed(len(CATALOGUE) - 1)
    assert quick.graph is not None
    assert quick.top_k(HISTORIES, 5, now=MOMENTS) == exact.top_k(HISTORIES, 5, now=MOMENTS)


def test_up_to_the_threshold_and_where_scores_are_no_product_there_is_no_graph() -> None:
    assert bundle().indexed(len(CATALOGUE)).graph is None
    assert bundle(champion="markov").indexed(0).graph is None


@settings(max_examples=60, deadline=None)
@given(
    events=EVENTS,
    k=st.integers(1, 12),
    exclude=st.sets(st.sampled_from(CATALOGUE.item_ids), max_size=20),
    least=st.sampled_from([1, 6, 200]),
)
def test_no_list_from_the_graph_holds_what_must_not_be_shown(
    *, events: list[tuple[str, str]], k: int, exclude: set[str], least: int
) -> None:
    history = History.of(events, end=NOW)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bundles, "LEAST", least)
        patch.setattr(bundles, "OVERFETCH", 1)
        (shown,) = QUICK.top_k([history], k, sorted(exclude), NOW + 1)
    (wanted,) = EXACT.top_k([history], k, sorted(exclude), NOW + 1)
    allowed = EXACT.allowed([history], NOW + 1)[0]
    assert not exclude & set(shown)
    assert all(allowed[CATALOGUE.index[item]] for item in shown)
    assert len(shown) == len(set(shown)) == len(wanted)
    category = EXACT.scenes.category[CATALOGUE.codes(shown)]
    most, of_exact = (
        np.bincount(category, minlength=1).max(),
        np.bincount(EXACT.scenes.category[CATALOGUE.codes(wanted)], minlength=1).max(),
    )
    assert most <= max(np.ceil(k / 2), of_exact)


EXACT = bundle()
QUICK = EXACT.indexed(0)


def test_who_is_left_with_too_little_is_answered_exactly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundles, "LEAST", 1)
    monkeypatch.setattr(bundles, "OVERFETCH", 1)
    assert QUICK.top_k(HISTORIES, 30, now=MOMENTS) == EXACT.top_k(HISTORIES, 30, now=MOMENTS)


def test_the_graph_finds_nearly_all_of_the_best_among_clustered_vectors() -> None:
    rng = np.random.default_rng(5)
    centres = rng.normal(size=(60, 48)).astype(np.float32)
    items = centres[rng.integers(60, size=6000)] + 0.4 * rng.normal(size=(6000, 48)).astype(np.float32)
    items *= rng.lognormal(0, 0.3, size=(6000, 1)).astype(np.float32)
    users = centres[rng.integers(60, size=80)] + 0.4 * rng.normal(size=(80, 48)).astype(np.float32)
    found, wanted = Graph.of(items).search(users, LEAST), top_k(users, items, 50).codes
    assert np.mean([np.isin(best, own).mean() for own, best in zip(found, wanted, strict=True)]) >= 0.95


def test_a_bundle_keeps_its_graph_and_refuses_another(tmp_path: Path) -> None:
    encoder = tmp_path / "encoder"
    networkless_encoder().save(encoder)
    QUICK.save(tmp_path / "bundle", encoder=encoder, queries={theme: np.ones(DIM, np.float32) for theme in THEMES}, config={})
    loaded = RecommenderBundle.load(tmp_path / "bundle")
    assert loaded.graph is not None
    assert loaded.top_k(HISTORIES[3:], 5, now=NOW + 1) == QUICK.top_k(HISTORIES[3:], 5, now=NOW + 1)
    Graph.of(np.ones((len(CATALOGUE), 3), np.float32)).save(tmp_path / "bundle" / GRAPH)
    with pytest.raises(BundleError, match="SHA-256 begins"):
        RecommenderBundle.load(tmp_path / "bundle")
    (tmp_path / "bundle" / GRAPH).unlink()
    with pytest.raises(BundleError, match="incomplete"):
        RecommenderBundle.load(tmp_path / "bundle")


def test_equal_items_give_an_equal_graph_byte_by_byte(tmp_path: Path) -> None:
    rows = np.random.default_rng(1).normal(size=(700, 9)).astype(np.float32)
    for name in ("a", "b"):
        Graph.of(rows).save(tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_graph_of_other_items_is_refused() -> None:
    graph = Graph.of(np.ones((3, 2), np.float32))
    with pytest.raises(BundleError, match="the graph holds 3 items, the catalogue 32"):
        RecommenderBundle(
            catalogue=CATALOGUE,
            encoder=EXACT.encoder,
            fusion=EXACT.fusion,
            audiences=EXACT.audiences,
            models=EXACT.models,
            champion="sequence",
            max_events=6,
            graph=graph,
        )
