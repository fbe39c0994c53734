import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import torch
from ad_log import CATEGORIES, DAY, DIM, START, make_ad_log, vectors_of

from core.errors import BundleError, TrainingError
from core.files import write_json, write_table
from core.params import RankerParams
from core.tracking import NullTracker
from models.embeddings import Embeddings
from models.encoder import EncoderSettings, TextEncoder
from models.features import Candidates, FeatureSpace, Requests, logged_candidates, requests_of
from models.fusion import Fusion
from models.history import History
from models.ranker import RankerBundle
from models.ranker.bundle import PRIOR_P_CLICK, PRIOR_P_CONVERT
from models.ranker.calibrators import Calibrator, fit_calibrator
from models.ranker.network import ClickConvertNetwork, entire_space_loss
from models.ranker.scorers import Constant
from models.ranker.training import NotEnoughImpressionsError, Rows, train_scorers
from models.recommender import RecommenderBundle
from models.recommender.audiences import Audiences
from models.recommender.catalogue import Catalogue
from models.recommender.popularity import Popularity
from tasks.train_ranker import request_weights, train_ranker

PARAMS = RankerParams(
    max_requests=700,
    dim=4,
    cross_layers=2,
    hidden_dim=8,
    dropout=0.1,
    epochs=4,
    patience=2,
    batch_size=256,
    learning_rate=0.002,
    weight_decay=0.01,
)
SPLIT = {"train_end": 14, "validation_end": 18}


@pytest.fixture(scope="module")
def log():
    return make_ad_log(users=80, requests=2400, days=24, seed=2)


@pytest.fixture(scope="module")
def recommender(log, tmp_path_factory):
    folder = tmp_path_factory.mktemp("recommender")
    encoder = TextEncoder(EncoderSettings("/nowhere", "0" * 64, "", 32, 512, "float32"), np.zeros(DIM, np.float32))
    encoder.save(folder / "encoder")
    catalogue = Catalogue.of(log.items, lambda texts: vectors_of(list(texts)))
    torch.manual_seed(0)
    RecommenderBundle(
        catalogue=catalogue,
        encoder=encoder,
        fusion=Fusion(DIM),
        audiences=Audiences(("a0",), ("所有人",), np.zeros((1, DIM), np.float32), np.ones(1, np.int64)),
        models={"popularity": Popularity(catalogue, np.arange(len(catalogue), dtype=np.float32), None)},
        champion="popularity",
        max_events=20,
    ).save(folder / "bundle", encoder=folder / "encoder", queries=dict(zip(CATEGORIES, vectors_of(CATEGORIES), strict=True)), config={})
    return folder / "bundle"


@pytest.fixture(scope="module")
def trained(log, recommender):
    return train(log, recommender)


def split(log):
    ends = [pd.Timestamp(START + day * DAY, unit="us", tz="UTC") for day in SPLIT.values()]
    return tuple(log.impressions["timestamp"] < end for end in ends)


def train(log, recommender, seed=5):
    learning, known = split(log)
    shown = log.impressions[known]
    bundle = RecommenderBundle.load(recommender)
    requests, place = requests_of(shown, log.events, log.texts)
    space = FeatureSpace.fit(bundle, vectors_of, events=log.events, impressions=shown, copies=log.copies, requests=requests.rows(0, 500))
    features, names = space.compute(requests, logged_candidates(shown, place, log.texts))
    rows = Rows(
        features,
        shown["click"].to_numpy(np.float32),
        shown["conversion"].to_numpy(np.float32),
        shown["user_id"].to_numpy(object),
        np.ones(len(shown), np.float32),
    )
    mask = learning[known].to_numpy()
    epochs = []
    scorers = train_scorers(
        rows.where(mask), rows.where(~mask), names, PARAMS, seed=seed, on_epoch=lambda epoch, found: epochs.append((epoch, found))
    )
    assert [epoch for epoch, _ in epochs] == list(range(len(epochs)))
    assert all(np.isfinite(found["validation_loss"]) for _, found in epochs)
    return RankerBundle(bundle, scorers=scorers, space=space)


def held_out(log):
    _, known = split(log)
    shown = log.impressions[~known]
    requests, place = requests_of(shown, log.events, log.texts, earlier=log.impressions)
    return shown, log.p_click[~known.to_numpy()], requests, logged_candidates(shown, place, log.texts)


def test_the_ranker_beats_constant_rates_on_later_impressions_and_follows_the_truth(log, trained):
    shown, truth, requests, candidates = held_out(log)
    clicks = shown["click"].to_numpy(float)
    losses = {}
    for name, (p_click, p_convert) in trained.predict_all(requests, candidates).items():
        losses[name] = -np.mean(clicks * np.log(p_click) + (1 - clicks) * np.log1p(-p_click))
        assert ((p_click > 0) & (p_click < 1) & (p_convert > 0) & (p_convert < 1)).all()
    assert set(losses) == {"ranker", "constant", "logistic", "lightgbm", "cross", "blend"}
    assert losses["ranker"] < losses["constant"] - 0.02
    predicted = trained.predict(requests, candidates).p_click
    assert np.corrcoef(predicted, truth)[0, 1] > 0.7
    assert predicted.mean() == pytest.approx(clicks.mean(), abs=0.04)


def test_the_chosen_model_has_the_lowest_validation_loss_and_is_never_the_trees(trained):
    losses = {name: loss for name, loss in trained.validation_log_loss.items() if name != "lightgbm"}
    assert len(losses) == len(trained.validation_log_loss) - 1
    assert trained.trained
    assert losses[trained.chosen] == min(losses.values())
    assert set(losses) == set(trained.models) - {"lightgbm"}


def test_a_saved_bundle_predicts_the_same_and_carries_its_recommender(log, trained, recommender, tmp_path):
    trained.save(tmp_path / "ranker", recommender=recommender)
    loaded = RankerBundle.load(tmp_path / "ranker")
    _, _, requests, candidates = held_out(log)
    for before, after in zip(trained.predict(requests, candidates), loaded.predict(requests, candidates), strict=True):
        np.testing.assert_allclose(after, before, rtol=1e-5)
    assert loaded.recommender.champion.name == "popularity"
    assert loaded.feature_names == trained.feature_names


def test_equal_seeds_give_byte_equal_bundles_and_other_seeds_do_not(log, trained, recommender, tmp_path):
    trained.save(tmp_path / "one", recommender=recommender)
    train(log, recommender).save(tmp_path / "two", recommender=recommender)
    train(log, recommender, seed=6).save(tmp_path / "other", recommender=recommender)
    files = sorted(path.relative_to(tmp_path / "one") for path in (tmp_path / "one").rglob("*") if path.is_file())
    assert all((tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes() for file in files)
    assert (tmp_path / "one/scorers.safetensors").read_bytes() != (tmp_path / "other/scorers.safetensors").read_bytes()


def test_one_request_is_scored_like_a_batch_of_one(log, trained):
    _, _, requests, _ = held_out(log)
    items, texts = ["i00", "i01", "i02"], ["运动好物，今日特价！", "茶饮好物", "图书好物"]
    one = trained.predict_one(
        requests.histories[3],
        items,
        texts,
        scene="product",
        channel="onsite",
        timestamp=int(requests.timestamps[3]),
        responses=requests.responses[3],
    )
    single = Requests.one(
        requests.histories[3], scene="product", channel="onsite", timestamp=int(requests.timestamps[3]), responses=requests.responses[3]
    )
    batch = trained.predict(single, Candidates.one(items, texts))
    np.testing.assert_array_equal(one.p_click, batch.p_click)
    np.testing.assert_array_equal(one.p_convert, batch.p_convert)


def test_features_can_be_scored_again_by_every_model(log, trained):
    _, _, requests, candidates = held_out(log)
    features, names = trained.features(requests, candidates)
    assert names == trained.feature_names
    for model, predicted in trained.predict_all(requests, candidates).items():
        again = trained.predict_matrix(features, model=None if model == "ranker" else model)
        np.testing.assert_array_equal(again.p_click, predicted.p_click)


def test_a_lower_position_is_clicked_less(log, trained):
    _, _, requests, candidates = held_out(log)
    top = trained.predict(requests, candidates.at_position(0)).p_click
    below = trained.predict(requests, candidates.at_position(1)).p_click
    assert below.mean() < top.mean()


def test_without_impressions_the_bundle_says_so_and_gives_priors_that_follow_the_recommender(recommender, tmp_path):
    RankerBundle(RecommenderBundle.load(recommender), reason="not trained: no impressions").save(
        tmp_path / "ranker", recommender=recommender
    )
    untrained = RankerBundle.load(tmp_path / "ranker")
    assert not untrained.trained
    assert untrained.reason == "not trained: no impressions"
    assert untrained.chosen == "prior"
    found = untrained.predict_one(History.empty(), ["i00", "i09", "i17"], ["好"] * 3, scene="product", channel="onsite", timestamp=START)
    assert (np.diff(found.p_click) > 0).all()  # i17 is the most popular
    assert found.p_click.min() > PRIOR_P_CLICK / 3
    assert found.p_click.max() < PRIOR_P_CLICK * 3
    assert set(found.p_convert) == {PRIOR_P_CONVERT}
    assert set(
        untrained.predict_all(Requests.one(History.empty(), scene="", channel="", timestamp=START), Candidates.one(["i00"], ["好"]))
    ) == {"ranker"}
    with pytest.raises(ValueError, match="not trained: no impressions"):
        untrained.predict_matrix(np.zeros((1, 0), np.float32))


@pytest.mark.parametrize("reason", ["", "not trained: no impressions"])
def test_an_unknown_item_is_named_with_and_without_training(log, trained, recommender, reason):
    bundle = RankerBundle(RecommenderBundle.load(recommender), reason=reason) if reason else trained
    with pytest.raises(ValueError, match="1 candidates are not in the recommender's items, first: 'nowhere'"):
        bundle.predict_one(History.empty(), ["nowhere"], ["好"], scene="product", channel="onsite", timestamp=START)


def test_an_incomplete_bundle_is_refused_with_the_next_step(trained, recommender, tmp_path):
    trained.save(tmp_path / "ranker", recommender=recommender)
    (tmp_path / "ranker" / "scorers.safetensors").unlink()
    with pytest.raises(BundleError, match="incomplete"):
        RankerBundle.load(tmp_path / "ranker")
    with pytest.raises(BundleError, match="no bundle"):
        RankerBundle.load(tmp_path / "nothing")


def test_thinned_requests_stand_for_all_and_no_click_is_lost(log):
    shown = log.impressions
    clicked = shown.groupby("request_id")["click"].transform("max").to_numpy()
    weights = request_weights(shown, most=int(shown.loc[clicked, "request_id"].nunique()) + 400, rng=np.random.default_rng(0))
    assert (weights[clicked] == 1).all()
    assert shown["request_id"][(weights > 0) & ~clicked].nunique() == 400
    assert weights.sum() == pytest.approx(len(shown))
    assert (request_weights(shown, most=10_000, rng=np.random.default_rng(0)) == 1).all()
    assert (request_weights(shown, most=10, rng=np.random.default_rng(0)) > 0).sum() == clicked.sum() + 2


class Remembered(NullTracker):
    def __init__(self):
        self.metrics, self.tags = {}, {}

    def log_metrics(self, metrics, *, step=None):
        self.metrics |= metrics

    def set_tags(self, tags):
        self.tags |= tags


@pytest.fixture
def stage_files(log, recommender, tmp_path):
    raw = sorted(set(log.copies["text"]) | set(CATEGORIES))
    Embeddings(tuple(raw), vectors_of(raw)).save(tmp_path / "embeddings")
    days = {name: (pd.Timestamp(START, unit="us", tz="UTC") + pd.Timedelta(days=day)).isoformat() for name, day in SPLIT.items()}
    write_json(days, tmp_path / "lineage.json")
    for name in ("copies", "events", "impressions"):
        write_table(getattr(log, name), tmp_path / f"{name}.parquet")
    files = {name: tmp_path / f"{name}.parquet" for name in ("copies", "events", "impressions")}
    return files | {"lineage": tmp_path / "lineage.json", "embeddings": tmp_path / "embeddings", "recommender": recommender}


def run_stage(files, out):
    tracker = Remembered()
    train_ranker(PARAMS, rng=np.random.default_rng(1), tracker=tracker, ranker=out, **files)
    return tracker


def test_the_stage_writes_equal_bytes_and_reads_nothing_of_the_held_out_window(log, stage_files, tmp_path):
    tracker = run_stage(stage_files, tmp_path / "one")
    assert {"ranker/train_loss", "ranker/validation_loss", "ranker/validation_log_loss/logistic"} <= set(tracker.metrics)
    assert RankerBundle.load(tmp_path / "one").trained
    end = pd.Timestamp(START, unit="us", tz="UTC") + pd.Timedelta(days=SPLIT["validation_end"])
    write_table(log.impressions.assign(click=log.impressions["click"] | (log.impressions["timestamp"] >= end)), stage_files["impressions"])
    write_table(log.events[log.events["timestamp"] < end], stage_files["events"])
    run_stage(stage_files, tmp_path / "two")
    for file in ("config.json", "features.safetensors", "scorers.safetensors", "texts.safetensors"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes(), file


@pytest.mark.parametrize(("rows", "reason"), [(0, "not trained: no impressions"), (20, "not trained: ")])
def test_the_stage_says_when_there_is_too_little_to_learn_from(log, stage_files, tmp_path, rows, reason):
    write_table(log.impressions.iloc[:rows], stage_files["impressions"])
    tracker = run_stage(stage_files, tmp_path / "ranker")
    assert tracker.tags["ranker"].startswith(reason)
    untrained = RankerBundle.load(tmp_path / "ranker")
    assert not untrained.trained
    assert untrained.reason == tracker.tags["ranker"]


def test_too_few_clicks_and_no_validation_rows_are_not_enough():
    nothing, each = np.zeros(50, np.float32), np.ones(50, np.float32)
    rows = Rows(np.zeros((50, 2), np.float32), nothing, nothing, np.array(["u"] * 50, dtype=object), each)
    with pytest.raises(NotEnoughImpressionsError, match="0 clicks in the training window"):
        train_scorers(rows, rows, ("a", "b"), PARAMS, seed=0, on_epoch=lambda epoch, found: None)
    clicked = Rows(rows.features, each, rows.conversions, rows.users, each)
    with pytest.raises(NotEnoughImpressionsError, match="0 impressions in the validation window"):
        train_scorers(clicked, rows.where(np.zeros(50, bool)), ("a", "b"), PARAMS, seed=0, on_epoch=lambda epoch, found: None)


def test_a_diverging_network_is_an_error_and_never_a_bundle():
    rng = np.random.default_rng(0)
    features = rng.normal(size=(400, 3)).astype(np.float32)
    clicks = (features[:, 0] > 0).astype(np.float32)
    rows = Rows(features, clicks, clicks * 0, np.arange(400).astype(str).astype(object), np.ones(400, np.float32))
    wild = PARAMS.model_copy(update={"learning_rate": 1e30})
    with pytest.raises(TrainingError, match=r"lower train_ranker.learning_rate \(now 1e\+30\)"):
        train_scorers(rows, rows, ("a", "b", "c"), wild, seed=0, on_epoch=lambda epoch, found: None)


def test_the_entire_space_loss_by_hand():
    logits = torch.tensor([[0.0, 0.0], [0.0, 0.0]])
    loss = entire_space_loss(logits, torch.tensor([1.0, 0.0]), torch.tensor([1.0, 0.0]), torch.tensor([1.0, 0.5]))
    half = np.log(2)  # p_click = p_convert = 1/2, both = 1/4
    assert float(loss) == pytest.approx((1.0 * (half - np.log(1 / 4)) + 0.5 * (half - np.log(3 / 4))) / 2)


def test_a_fresh_network_is_blank_and_a_cross_layer_starts_as_the_identity():
    torch.manual_seed(0)
    network = ClickConvertNetwork(5, dim=2, cross_layers=3, hidden_dim=4, dropout=0.5)
    x = torch.randn(3, 5)
    assert network(x).shape == (3, 2)
    assert not network(x).detach().any()
    torch.testing.assert_close(network.cross[0](x, x), x)


def test_constant_rates_by_hand():
    found = Constant.fit(np.array([1, 0, 0], np.float32), np.array([1, 0, 0], np.float32), np.array([1, 1, 3], np.float32)).log_odds
    np.testing.assert_allclose(1 / (1 + np.exp(-found)), [1.5 / 6, 1.5 / 2], rtol=1e-5)


def test_a_calibrator_undoes_a_scale_and_a_shift():
    rng = np.random.default_rng(0)
    x = rng.normal(-2, 1, 30_000)
    outcomes = (rng.uniform(size=x.size) < 1 / (1 + np.exp(-x))).astype(float)
    fitted = fit_calibrator(3 * x + 1, outcomes, np.arange(x.size) // 3)
    np.testing.assert_allclose(fitted(3 * x + 1).mean(), outcomes.mean(), rtol=0.02)
    order = np.argsort(x)
    for part in np.array_split(order, 5):
        assert fitted(3 * x[part] + 1).mean() == pytest.approx(outcomes[part].mean(), abs=0.015)


def test_a_row_of_weight_three_counts_as_three_rows():
    rng = np.random.default_rng(3)
    x = rng.normal(size=600)
    outcomes = (rng.uniform(size=600) < 1 / (1 + np.exp(-x))).astype(float)
    weights = np.where(outcomes, 1.0, 3.0)
    weighted = fit_calibrator(x, outcomes, np.arange(600), weights)
    repeated = np.repeat(np.arange(600), weights.astype(int))
    written_out = fit_calibrator(x[repeated], outcomes[repeated], repeated)
    np.testing.assert_allclose(weighted(x), written_out(x), rtol=1e-6)


def test_steps_win_where_a_line_does_not_fit_and_keep_the_order():
    rng = np.random.default_rng(1)
    x = rng.uniform(-4, 4, 20_000)
    truth = np.where(x > 0, 0.5, 0.05)
    fitted = fit_calibrator(x, (rng.uniform(size=x.size) < truth).astype(float), np.arange(x.size))
    assert fitted.kind == "isotonic"
    assert (np.diff(fitted(np.linspace(-5, 5, 200))) > 0).all()


@pytest.mark.parametrize(("positives", "slope"), [(0, 1.0), (5, 1.0), (100, None)])
def test_few_outcomes_move_only_what_they_can_carry(positives, slope):
    x = np.random.default_rng(2).normal(size=1000)
    outcomes = np.zeros(1000)
    outcomes[:positives] = 1
    fitted = fit_calibrator(x, outcomes, np.arange(1000))
    assert fitted.kind == "platt"
    assert slope is None or fitted.slope == slope
    if positives:
        assert fitted(x).mean() == pytest.approx(positives / 1000, rel=0.01)
    else:
        assert fitted == Calibrator()


@pytest.mark.parametrize("kind", ["platt", "isotonic"])
def test_a_calibrator_is_moved_until_it_expects_as_many_outcomes_as_there_were(kind):
    rng = np.random.default_rng(4)
    x, weights = rng.normal(-3, 1, 5000), rng.uniform(0.5, 3, 5000)
    outcomes = (rng.uniform(size=x.size) < 1 / (1 + np.exp(-x - 0.7))).astype(float)
    shape = Calibrator(kind, 1.2, 0.1, tuple(np.linspace(-6, 1, 8)), tuple(np.linspace(0.01, 0.6, 8)))
    centred = shape.centred(x, outcomes, weights)
    assert (weights * centred(x)).sum() == pytest.approx((weights * outcomes).sum(), rel=1e-5)
    np.testing.assert_allclose(shape.moved(0.3)(x), shape(x + 0.3))
    assert (centred.kind, centred.slope, centred.values) == (shape.kind, shape.slope, shape.values)
    assert shape.centred(x, np.zeros(x.size), weights) == shape


def test_what_was_chosen_without_the_validation_window_is_fitted_again_with_it():
    rng = np.random.default_rng(5)
    features = rng.normal(size=(6000, 3)).astype(np.float32)
    later = np.arange(6000) >= 4500  # only then does the second feature matter
    log_odds = features[:, 0] - 2 + later * (0.5 + 1.5 * features[:, 1])
    clicks = (rng.uniform(size=6000) < 1 / (1 + np.exp(-log_odds))).astype(np.float32)
    rows = Rows(features, clicks, clicks * 0, np.arange(6000).astype(str).astype(object), np.ones(6000, np.float32))
    found = train_scorers(rows.where(~later), rows.where(later), ("a", "b", "c"), PARAMS, seed=0, on_epoch=lambda epoch, told: None)
    for name in found.scorers:
        assert found.predict(features, ("a", "b", "c"), scorer=name).p_click.mean() == pytest.approx(clicks.mean(), rel=1e-3), name
    assert found.scorers["logistic"].weights[0, 1] > 0.2


def test_serving_imports_neither_lightning_nor_scikit_learn():
    code = "import sys, models.ranker; print([n for n in ('lightning', 'sklearn', 'models.ranker.training') if n in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"
