from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
import torch
from synthetic import DIM, START, THEMES, TRAIN_END, VALIDATION_END, events_of, shop_catalogue, shop_events, text_vectors

from core.columns import Columns
from core.errors import TrainingError
from core.tracking import NullTracker
from models.history import History, micros
from models.recommender.events import KIND_CODES
from models.recommender.popularity import log_popularity
from models.recommender.sequence import SequenceRecommender
from models.recommender.training import fit as fit_module
from models.recommender.training.content import Materials, start_of_bias, train_cosine, train_linear
from models.recommender.training.covisits import train_markov
from models.recommender.training.factorisation import interactions, train_als
from models.recommender.training.fit import FitSettings, fit
from models.recommender.training.objective import Sampler, sampled_cross_entropy
from models.recommender.training.popularity import target_counts, train_popularity
from models.recommender.training.sequence import SequenceShape, train_sequence
from models.recommender.training.validation import Validation
from models.recommender.training.windows import EventTable, Windows
from models.recommender.weights import state_of
from tasks.train_recommender import RULE

CATALOGUE = shop_catalogue()
EVENTS = shop_events(CATALOGUE.items)
COLD = "p000"  # never met in training


def materials(checkpoints: Path | None = None, epochs: int = 3) -> Materials:
    training = EVENTS[(EVENTS[Columns.TIMESTAMP] < TRAIN_END) & (EVENTS[Columns.ITEM] != COLD)].reset_index(drop=True)
    counts = target_counts(training, CATALOGUE)
    return Materials(
        catalogue=CATALOGUE,
        windows=Windows(EventTable.of(training, CATALOGUE), 8),
        sampler=Sampler.of(counts, 12),
        counts=counts,
        validation=validation(),
        max_events=8,
        batch_size=16,
        windows_per_epoch=96,
        settings=FitSettings("", epochs, 3, 0, 0.003, 0.01, 0),
        checkpoints=checkpoints,
        tracker=NullTracker(),
    )


def validation() -> Validation:
    seen = EVENTS[EVENTS[Columns.TIMESTAMP] < VALIDATION_END]
    return Validation.of(seen, CATALOGUE, start=TRAIN_END, end=VALIDATION_END, most=40, rng=np.random.default_rng(0), rule=RULE)


def trained(checkpoints: Path | None = None, epochs: int = 3) -> SequenceRecommender:
    made = materials(checkpoints, epochs)
    cosine = train_cosine(made, 1)
    linear = train_linear(made, cosine, log_popularity(made.counts), 2)
    markov = train_markov(made.windows.table, CATALOGUE, made.validation, 8)
    return train_sequence(made, linear, markov, SequenceShape(16, 1, 2, 0.1, 0.2, 16), 3)


@pytest.fixture(scope="module")
def sequence() -> SequenceRecommender:
    return trained()


def test_trained_recommenders_beat_popularity_by_far_on_shoppers_with_a_taste(sequence: SequenceRecommender) -> None:
    held = validation()
    training = EVENTS[EVENTS[Columns.TIMESTAMP] < TRAIN_END]
    popular = train_popularity(training, CATALOGUE, held)
    factorised = train_als(training, CATALOGUE, held, dim=8, rng=np.random.default_rng(0), tracker=NullTracker())
    base = held.score(popular)
    assert held.score(sequence) > 1.5 * base
    assert held.score(factorised) > 1.5 * base


def test_an_item_that_nobody_met_is_ranked_by_its_text(sequence: SequenceRecommender) -> None:
    loves = [
        History.of([("search", theme), ("view", item)], end=int(micros(TRAIN_END)[0]))
        for theme, item in zip(THEMES, ("p003", "p011", "p019", "p027"), strict=True)
    ]
    scores = sequence.score(loves)
    ranks = [(row >= row[CATALOGUE.index[COLD]]).sum() for row in scores]
    assert ranks[0] <= 8  # its theme has eight items
    assert min(ranks[1:]) > 8


def test_an_item_that_nobody_met_is_neither_popular_nor_unpopular() -> None:
    counts = np.array([8.0, 0.0, 2.0])
    start = start_of_bias(log_popularity(counts), counts)
    assert start[1] == 0.0
    assert start[0] == pytest.approx(-start[2])
    assert start[0] > 0


def test_two_trainings_with_one_seed_give_equal_weights(sequence: SequenceRecommender) -> None:
    again = trained()
    for name, value in state_of(sequence.network).items():
        np.testing.assert_array_equal(value, state_of(again.network)[name])


def test_a_killed_training_resumes_to_the_same_bits(sequence: SequenceRecommender, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keep, kept = fit_module._Module._keep, []

    def keep_then_die(self: fit_module._Module, path: Path, *, done: bool) -> None:
        keep(self, path, done=done)
        kept.append(path.name)
        if kept.count("sequence") == 1 and path.name == "sequence":
            raise RuntimeError("killed")

    with monkeypatch.context() as patched:
        patched.setattr(fit_module._Module, "_keep", keep_then_die)
        with pytest.raises(RuntimeError, match="killed"):
            trained(tmp_path)
    again = trained(tmp_path)  # the content models end at once from their checkpoints
    for name, value in state_of(sequence.network).items():
        np.testing.assert_array_equal(value, state_of(again.network)[name])


def test_training_stops_when_validation_no_longer_improves_and_keeps_the_best() -> None:
    network = torch.nn.Linear(1, 1, bias=False)
    scores = iter([0.1, 0.5, 0.4, 0.3, 0.9])
    weights: list[float] = []

    def validate() -> float:
        weights.append(float(network.weight.detach()))
        return next(scores)

    settings = FitSettings("toy", epochs=9, patience=2, steps=2, learning_rate=0.1, weight_decay=0.0, seed=1)
    found = fit(
        network,
        loss=lambda epoch, number: network.weight.sum() * 1.0,
        validate=validate,
        settings=settings,
        checkpoint=None,
        tracker=NullTracker(),
    )
    assert (found.score, found.best_epoch, len(weights)) == (0.5, 2, 4)
    assert float(network.weight.detach()) == weights[1]


def test_a_loss_that_is_no_number_ends_training_with_advice() -> None:
    network = torch.nn.Linear(1, 1)
    settings = FitSettings("toy", epochs=2, patience=2, steps=1, learning_rate=0.1, weight_decay=0.0, seed=1)
    with pytest.raises(TrainingError, match="toy: the loss is nan in epoch 1; lower"):
        fit(
            network,
            loss=lambda e, n: network.weight.sum() * float("nan"),
            validate=lambda: 0.0,
            settings=settings,
            checkpoint=None,
            tracker=NullTracker(),
        )


def test_a_point_foresees_the_very_next_moment_from_what_lies_strictly_before_it() -> None:
    windows = Windows(EventTable.of(EVENTS, CATALOGUE), 8)
    table = windows.table
    points = windows.batch(np.arange(len(windows)), points=9, rng=np.random.default_rng(0))
    targets = set(zip(table.user.tolist(), table.time.tolist(), table.item.tolist(), strict=True))
    checked = 0
    for row, column in torch.nonzero(points.valid).tolist():
        seen, at = int(points.seen[row, column]), int(points.at[row, column])
        first = int(windows.start[row])
        assert (points.events.time[row, :seen] < at).all()
        assert (table.user[first], at, int(points.target[row, column])) in targets
        between = (table.user == table.user[first]) & (table.time < at) & (np.arange(len(table.user)) >= first + seen)
        assert not between.any()
        checked += 1
    assert checked > 300


def test_things_bought_together_never_foresee_each_other() -> None:
    moments = [START, START, START, START + timedelta(days=1), START + timedelta(days=1)]
    rows = [("u", f"p00{place}", "purchase", None, moment) for place, moment in enumerate(moments)]
    windows = Windows(EventTable.of(events_of(rows), CATALOGUE), 8)
    points = windows.batch(np.array([0]), points=9, rng=np.random.default_rng(0))
    assert points.valid[0, :6].tolist() == [True, True, True, True, False, False]
    assert points.target[0, 0] in (0, 1, 2)
    assert all(int(target) in (3, 4) for target in points.target[0, 1:4])


def test_long_histories_are_cut_into_windows_that_hold_every_event_once() -> None:
    windows = Windows(EventTable.of(EVENTS, CATALOGUE), 5)
    covered = np.concatenate([np.arange(a, b) for a, b in zip(windows.start, windows.end, strict=True)])
    assert sorted(covered.tolist()) == list(range(len(windows.table.user)))
    assert (windows.end - windows.start).max() == 5
    assert all(len(set(windows.table.user[a:b].tolist())) == 1 for a, b in zip(windows.start, windows.end, strict=True))


def test_targets_are_views_and_purchases_or_whatever_there_is() -> None:
    table = EventTable.of(EVENTS, CATALOGUE)
    assert set(table.kind[table.target_mask()].tolist()) == {KIND_CODES["view"], KIND_CODES["purchase"]}
    carts = EventTable.of(events_of([("u", "p001", "cart", None, START)]), CATALOGUE)
    assert carts.target_mask().tolist() == [True]
    searches = events_of([("u", None, "search", "运动", START)])
    with pytest.raises(TrainingError, match="none of 1 training events has an item"):
        Windows(EventTable.of(searches, CATALOGUE), 5)


def test_the_sampled_softmax_is_right_on_average_and_uncorrected_it_is_not() -> None:
    rng, draws = np.random.default_rng(7), 400
    counts = rng.integers(1, 50, 40).astype(float)
    logits, target = rng.normal(size=40), 5
    exact = np.log(np.exp(logits).sum()) - logits[target]
    sampler, all_logits = Sampler.of(counts, 15), torch.from_numpy(logits)
    found, naive = [], []
    for _ in range(draws):
        items, included = sampler.draw(rng)
        hits = (items == target)[None, :]
        found.append(float(sampled_cross_entropy(all_logits[[target]], all_logits[items][None, :], included.double(), hits)))
        naive.append(float(sampled_cross_entropy(all_logits[[target]], all_logits[items][None, :], torch.zeros(len(items)), hits)))
    assert abs(np.mean(found) - exact) < 0.1
    assert abs(np.mean(naive) - exact) > 0.4


def test_enough_negatives_make_the_softmax_exact() -> None:
    items, included = Sampler.of(np.array([3.0, 0.0, 1.0]), 10).draw(np.random.default_rng(0))
    assert items.tolist() == [0, 2]
    assert included.tolist() == [0, 0]


def test_item_factors_agree_with_the_confidence_that_shoppers_are_folded_in_by() -> None:
    training = EVENTS[EVENTS[Columns.TIMESTAMP] < TRAIN_END]
    model = train_als(training, CATALOGUE, validation(), dim=8, rng=np.random.default_rng(0), tracker=NullTracker())
    assert interactions(training, CATALOGUE).data.min() > 1.0  # an unmet pair has confidence 1
    met = History.of([("view", "p003"), ("view", "p004")], end=int(micros(TRAIN_END)[0]))
    (scores,) = model.score([met])
    theme = [CATALOGUE.index[f"p{place:03d}"] for place in range(8)]  # p000 … p007 are of one theme
    assert scores[theme].mean() > np.delete(scores, theme).max() * 0.5
    assert scores[theme].mean() > 3 * np.delete(scores, theme).mean()


def test_training_goes_on_without_validation_users_and_keeps_the_last_epoch() -> None:
    made = materials(epochs=2)
    nobody = replace(made.validation, user_ids=(), histories=(), moments=np.zeros(0, np.int64), targets=np.zeros(0, np.int64))
    cosine = train_cosine(replace(made, validation=nobody), 1)
    assert np.isfinite(cosine.score([History.of([("search", "运动")])])).all()
    assert text_vectors(["运动"]).shape == (1, DIM)
