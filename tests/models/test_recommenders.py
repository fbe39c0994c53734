from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_matrix
from synthetic import DIM, THEMES, TRAIN_END, networkless_encoder, shop_catalogue, shop_items, text_vectors

from core.columns import Columns
from core.errors import BundleError
from models.fusion import Fusion
from models.history import History, micros
from models.recommender import Recommender, RecommenderBundle
from models.recommender.audiences import Audiences, make_audiences
from models.recommender.catalogue import Catalogue
from models.recommender.content import ContentCosine, ContentLinear, CosineNetwork, LinearNetwork, content_logits
from models.recommender.covisits import ItemKnn, LinkShape, Markov, Reading
from models.recommender.events import event_batch
from models.recommender.factorisation import Als, confidence
from models.recommender.network import GAPS, SequenceNetwork, SequenceSizes, gap_bucket, last_gap
from models.recommender.popularity import Popularity
from models.recommender.reader import FusionReader, SequenceReader
from models.recommender.sequence import SequenceRecommender

NOW = int(micros(TRAIN_END)[0])
CATALOGUE = shop_catalogue()
N = len(CATALOGUE)


def untrained(name: str, catalogue: Catalogue = CATALOGUE) -> Recommender:
    torch.manual_seed(4)
    rng, n = np.random.default_rng(4), len(catalogue)
    fusion = Fusion(DIM)
    sizes = SequenceSizes(dim=8, layers=2, heads=2, max_events=6, text_dim=DIM, items=n, tags=catalogue.n_tags, dropout=0.1, id_dropout=0.1)
    network = SequenceNetwork(sizes)
    with torch.no_grad():
        network.repeat.copy_(torch.tensor([0.3, 0.0, 0.5, 0.2, -1.0]))
        fusion.query.normal_()
    links = csr_matrix(rng.random((n, n)).astype(np.float32) * (rng.random((n, n)) < 0.2))
    counts = rng.integers(0, 30, n).astype(float)
    markov = Markov(catalogue, 6, links, counts, Reading(0.7, {"purchase": 3.0}), shape=LinkShape())
    linear = ContentLinear(catalogue, 6, fusion, LinearNetwork(DIM, n))
    made: dict[str, Callable[[], Recommender]] = {
        "item_knn": lambda: ItemKnn(catalogue, 6, links, counts, Reading(0.9, {})),
        "markov": lambda: markov,
        "popularity": lambda: Popularity(catalogue, rng.integers(0, 30, n).astype(float), 7.0),
        "content_cosine": lambda: ContentCosine(catalogue, 6, CosineNetwork(DIM)),
        "content_linear": lambda: ContentLinear(catalogue, 6, fusion, LinearNetwork(DIM, n)),
        "als": lambda: Als(catalogue, rng.normal(size=(n, 5)).astype(np.float32), alpha=2.0, ridge=1.0, scale=3.0),
        "sequence": lambda: SequenceRecommender(catalogue, linear, markov, network, weight=0.5, floor=1e-3),
    }
    return made[name]()


NAMES = ("popularity", "item_knn", "markov", "content_linear", "content_cosine", "als", "sequence")


def bundle(catalogue: Catalogue = CATALOGUE, champion: str = "sequence") -> RecommenderBundle:
    audiences = make_audiences(text_vectors(THEMES * 3), [[theme] for theme in THEMES * 3], count=3, seed=1)
    models = {name: untrained(name, catalogue) for name in NAMES}
    return RecommenderBundle(
        catalogue=catalogue,
        encoder=networkless_encoder(),
        fusion=Fusion(DIM),
        audiences=audiences,
        models=models,
        champion=champion,
        max_events=6,
    )


BUNDLE = bundle()
EVENTS = st.lists(
    st.tuples(st.sampled_from(["view", "cart", "favourite", "purchase"]), st.sampled_from(CATALOGUE.item_ids))
    | st.tuples(st.just("search"), st.sampled_from(THEMES)),
    max_size=9,
)


@pytest.mark.parametrize("name", NAMES)
def test_scores_are_finite_for_any_history_the_empty_one_included(name: str) -> None:
    histories = [History.empty(), History.of([("search", "运动")]), History.of([("view", "p001"), ("purchase", "p001")], end=NOW)]
    scores = untrained(name).score(histories, NOW + 10**12)
    assert scores.shape == (3, N)
    assert np.isfinite(scores).all()


@pytest.mark.parametrize("name", NAMES)
def test_an_event_at_or_after_the_moment_changes_nothing(name: str) -> None:
    model = untrained(name)
    past = History.of([("view", "p001"), ("search", "厨房"), ("view", "p009")], end=NOW - 1)
    future = past.extended([("purchase", "p020"), ("search", "图书")], [NOW, NOW + 5])
    np.testing.assert_array_equal(model.score([past], NOW), model.score([future], NOW))


@pytest.mark.parametrize("name", NAMES)
def test_one_shopper_scored_alone_or_among_others_gets_the_same_scores(name: str) -> None:
    model = untrained(name)
    histories = [History.of([("view", item)] * size, end=NOW) for size, item in enumerate(("p001", "p010", "p020"), start=1)]
    together = model.score(histories, NOW + 60)
    alone = np.concatenate([model.score([history], NOW + 60) for history in histories])
    np.testing.assert_allclose(together, alone, atol=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_a_recommender_comes_back_as_it_was_saved(name: str, tmp_path: Path) -> None:
    model = untrained(name)
    model.save(tmp_path / name)
    history = [History.of([("view", "p001"), ("search", "母婴")], end=NOW)]
    loaded = type(model).load(tmp_path / name, CATALOGUE)
    np.testing.assert_array_equal(loaded.score(history), model.score(history))
    if name != "content_cosine":  # which has no weights of its items
        with pytest.raises(BundleError, match="Train again"):
            type(model).load(tmp_path / name, shop_catalogue(per_theme=3)).score(history)


def test_no_later_event_reaches_an_earlier_state() -> None:
    network = untrained("sequence").network.eval()  # type: ignore[attr-defined]
    history = History.of([("view", f"p00{place}") for place in range(6)], end=NOW)
    batch = event_batch([history], np.array([NOW + 1]), CATALOGUE, 6)
    held = torch.randn(1, 6, 8, requires_grad=True)
    states = network.states(batch, held)
    for slot in range(7):
        (gradient,) = torch.autograd.grad((states[0, slot] * torch.arange(8.0)).sum(), held, retain_graph=True)
        reached = gradient[0].abs().sum(dim=-1) > 0
        assert reached.tolist() == [place < slot for place in range(6)]


def of_lengths(*lengths: int) -> list[History]:
    rng = np.random.default_rng(6)
    told = [
        [("search", THEMES[0]) if rng.random() < 0.3 else ("view", CATALOGUE.item_ids[rng.integers(N)]) for _ in range(length)]
        for length in lengths
    ]
    return [History.of(events, end=NOW - 1) for events in told]


def test_plain_arrays_say_what_the_networks_say() -> None:
    recommender = untrained("sequence")
    assert isinstance(recommender, SequenceRecommender)
    network, fusion = recommender.network.eval(), recommender.content.fusion
    for table in (*network.parameters(), *fusion.parameters()):
        torch.nn.init.normal_(table, std=0.3)
    histories = of_lengths(0, 1, 6, 3, 40, 2)
    moments = NOW + np.array([0, 1, 10**7, 10**10, 10**12, 5])
    batch, at = event_batch(histories, moments, CATALOGUE, 6), torch.from_numpy(moments)
    items = np.random.default_rng(2).normal(size=(N, 8)).astype(np.float32)
    reader, reads = SequenceReader(network, items), FusionReader(fusion)
    with torch.inference_mode():
        held = torch.from_numpy(items)[batch.item.clamp(min=0)] * (batch.item >= 0).unsqueeze(-1)
        states = network.states(batch, held)[torch.arange(len(histories)), batch.sizes]
        seen = batch.sizes[:, None]
        repeats = network.repeats(batch, at[:, None], seen)[:, 0]
        gaps = last_gap(batch, at[:, None], seen)[:, 0]
        feature = fusion(batch.vectors, batch.kind, batch.time, at[:, None])[:, 0]
    np.testing.assert_allclose(reader.state(batch), states, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(reader.repeats(batch, moments), repeats, rtol=1e-5, atol=1e-7)
    np.testing.assert_array_equal(reader.last_gap(batch, moments), gaps)
    np.testing.assert_allclose(reads(batch, moments), feature, rtol=1e-5, atol=1e-6)
    assert len(torch.unique(states.round(decimals=3), dim=0)) == len(histories)
    assert len(set(gaps.tolist())) > 3


@pytest.mark.parametrize("champion", NAMES)
def test_scores_and_features_are_what_is_asked_for_apart(champion: str) -> None:
    held = bundle(champion=champion)
    histories = of_lengths(0, 1, 5, 9)
    scores, features = held.scores_and_features(histories, NOW)
    np.testing.assert_allclose(scores, held.champion.score(histories, NOW), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(features, held.user_feature(histories, NOW), rtol=1e-5, atol=1e-6)


def test_a_champion_that_reads_another_fusion_computes_its_own_feature() -> None:
    held = bundle()
    assert isinstance(held.champion, SequenceRecommender)
    assert not held._one_fusion  # the bundle's fusion is untrained, the champion's is not
    shared = RecommenderBundle(
        catalogue=held.catalogue,
        encoder=held.encoder,
        fusion=held.champion.content.fusion,
        audiences=held.audiences,
        models=held.models,
        champion="sequence",
        max_events=6,
    )
    assert shared._one_fusion
    histories = of_lengths(4, 2)
    np.testing.assert_allclose(
        shared.scores_and_features(histories, NOW)[0], held.scores_and_features(histories, NOW)[0], rtol=1e-5, atol=1e-6
    )


def test_the_plain_three_product_form_is_a_special_case_of_the_linear_one() -> None:
    # softmax(W·F + A + b) with a row of W, a score A and an offset b for each of three products
    rng = np.random.default_rng(0)
    weight, score, offset, feature = (torch.from_numpy(rng.normal(size=size)) for size in ((3, 5), 3, 3, (2, 5)))
    plain = torch.softmax(feature @ weight.T + score + offset, dim=1)
    general = torch.softmax(content_logits(feature, torch.eye(3, dtype=torch.float64), weight, score, offset), dim=1)
    torch.testing.assert_close(plain, general)
    torch.testing.assert_close(general.sum(dim=1), torch.ones(2, dtype=torch.float64))


def test_the_cosine_form_by_hand() -> None:
    network = CosineNetwork(2)
    scores = network(torch.tensor([[3.0, 4.0]]), torch.tensor([[1.0, 0.0], [0.0, 1.0]]))
    np.testing.assert_allclose(scores.detach().numpy(), [[6.0, 8.0]], rtol=1e-5)  # cosines .6 and .8 over τ = .1


def test_fusion_is_a_mean_that_fades_and_never_leaves_the_unit_ball() -> None:
    fusion = Fusion(2)
    vectors = torch.tensor([[[1.0, 0.0], [0.0, 1.0]]])
    kind, time = torch.zeros(1, 2, dtype=torch.long), torch.tensor([[0, 3_600_000_000]])
    made = fusion(vectors, kind, time, torch.tensor([[3_600_000_000, 7_200_000_000, 0]])).detach().numpy()[0]
    np.testing.assert_allclose(made[0], [1.0, 0.0], atol=1e-6)  # the second event is not before its own moment
    older, newer = 3.0 ** -np.log1p(np.exp(-1)), 2.0 ** -np.log1p(np.exp(-1))  # (1 + hours)^-λ with λ = softplus(-1)
    np.testing.assert_allclose(made[1], [older / (older + newer), newer / (older + newer)], atol=1e-5)
    np.testing.assert_array_equal(made[2], [0.0, 0.0])


@settings(max_examples=30, deadline=None)
@given(EVENTS)
def test_user_features_stay_in_the_unit_ball(events: list[tuple[str, str]]) -> None:
    feature = BUNDLE.user_feature([History.of(events, end=NOW)])
    assert np.linalg.norm(feature) <= 1 + 1e-5
    assert events or not feature.any()


def test_gaps_in_time_fall_into_ordered_buckets() -> None:
    gaps = torch.tensor([-1, 0, 10**6, 60 * 10**6, 10**18])
    assert gap_bucket(gaps).tolist() == [0, 1, 2, 6, GAPS - 1]


def test_als_folds_a_shopper_in_by_the_ridge_solution() -> None:
    model = untrained("als")
    assert isinstance(model, Als)
    history = History.of([("view", "p001"), ("purchase", "p001"), ("view", "p002"), ("search", "厨房")], end=NOW)
    weights = np.ones(N)
    weights[[1, 2]] = confidence(np.array([1.0 + 3.0, 1.0]), 2.0)
    wanted = np.zeros(N)
    wanted[[1, 2]] = 1
    y = model.factors.astype(float)
    solution = np.linalg.solve(y.T @ (weights[:, None] * y) + np.eye(5), y.T @ (weights * wanted))
    np.testing.assert_allclose(model.score([history])[0], 3.0 * y @ solution, rtol=1e-4, atol=1e-5)


@settings(max_examples=40, deadline=None)
@given(EVENTS, st.integers(1, N))
def test_nothing_out_of_stock_and_no_durable_twice_is_ever_recommended(events: list[tuple[str, str]], k: int) -> None:
    history = History.of(events, end=NOW)
    (shown,) = BUNDLE.top_k([history], k, now=NOW + 1)
    items = shop_items().set_index(Columns.ITEM).fillna({Columns.STOCK: -1})
    bought = {item for item, kind in zip(history.item_ids, history.event_types, strict=True) if kind == "purchase"}
    assert not [item for item in shown if items.loc[item, Columns.STOCK] == 0]
    assert not [item for item in shown if item in bought and not items.loc[item, Columns.CONSUMABLE]]
    assert len(shown) == len(set(shown)) == min(k, int(BUNDLE.allowed([history])[0].sum()))
    scores = dict(zip(CATALOGUE.item_ids, BUNDLE.champion.score([history], NOW + 1)[0], strict=True))
    assert [scores[item] for item in shown] == sorted((scores[item] for item in shown), reverse=True)


def test_unknown_stock_is_not_zero_stock_and_excluded_items_stay_away() -> None:
    every = BUNDLE.top_k([History.empty()], N)[0]
    assert "p002" in every  # stock unknown
    assert "p001" not in every  # stock 0
    assert "p002" not in BUNDLE.top_k([History.empty()], N, exclude=["p002", "no such item"])[0]


@settings(max_examples=30, deadline=None)
@given(EVENTS, st.lists(st.sampled_from(CATALOGUE.item_ids), min_size=1, max_size=3, unique=True))
def test_probabilities_sum_to_one_over_the_asked_items_and_over_all(events: list[tuple[str, str]], asked: list[str]) -> None:
    history = History.of(events, end=NOW)
    few, every = BUNDLE.probability(history, asked), BUNDLE.probability(history)
    assert few.shape == (len(asked),)
    assert every.shape == (N,)
    np.testing.assert_allclose([few.sum(), every.sum()], 1.0)
    assert (every[~BUNDLE.allowed([history])[0]] == 0).all()


def test_an_unknown_item_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match=r"1 of 2 items are not in the catalogue \['nothing'\]"):
        BUNDLE.probability(History.empty(), ["p001", "nothing"])


def test_a_bundle_comes_back_as_it_was_saved_and_equal_bundles_have_equal_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ADLOOM_CACHE", str(tmp_path / "cache"))
    networkless_encoder().save(tmp_path / "encoder")
    for name in ("one", "two"):
        bundle().save(
            tmp_path / name, encoder=tmp_path / "encoder", queries={"运动": text_vectors(["运动"])[0]}, config={"data_version": "v"}
        )
    files = sorted(path.relative_to(tmp_path / "one") for path in (tmp_path / "one").rglob("*") if path.is_file())
    assert all((tmp_path / "one" / path).read_bytes() == (tmp_path / "two" / path).read_bytes() for path in files)
    loaded = RecommenderBundle.load(tmp_path / "one")
    history = History.of([("search", "运动"), ("view", "p001")], end=NOW)  # a known query needs no network
    assert list(loaded.models) == list(NAMES)
    np.testing.assert_allclose(loaded.probability(history), BUNDLE.probability(history), rtol=1e-5)
    assert loaded.audience_names == BUNDLE.audience_names
    (tmp_path / "one" / "sequence" / "weights.safetensors").unlink()
    with pytest.raises(BundleError, match="incomplete"):
        RecommenderBundle.load(tmp_path / "one")


def test_audiences_are_named_by_what_their_members_care_for(tmp_path: Path) -> None:
    features = text_vectors([f"{theme}{number}" for theme in THEMES for number in range(10)])
    made = make_audiences(features, [[theme, "厨房"] for theme in THEMES for _ in range(10)], count=4, seed=2)
    assert made.ids == ("a0", "a1", "a2", "a3")
    for theme, place in zip(THEMES, range(0, 40, 10), strict=True):
        (audience,) = set(made.of(features[place : place + 10]))
        assert made.names[made.ids.index(audience)].startswith(theme)
    assert len(set(made.names)) == 4
    assert made.of(np.zeros((1, DIM), np.float32)) == ["a0"]
    made.save(tmp_path)
    assert Audiences.load(tmp_path).names == made.names


def test_one_answer_for_the_whole_catalogue_takes_a_few_milliseconds() -> None:
    import time

    history = History.of([("view", f"p00{place}") for place in range(6)], end=NOW)
    BUNDLE.champion.score([history])
    started = time.process_time()
    for _ in range(20):
        BUNDLE.champion.score([history], NOW + timedelta(hours=1) // timedelta(microseconds=1))
    assert (time.process_time() - started) / 20 < 0.05
