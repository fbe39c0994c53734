import lightgbm
import numpy as np
import pytest

from models.ranker.boosting import grow, grow_again
from models.ranker.trees import BoostedTrees, Forest


def made(rows, seed):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rows, 7)).astype(np.float32)
    clicks = (rng.random(rows) < 1 / (1 + np.exp(1.5 - 2 * (x[:, 0] > 0.3) * (x[:, 1] < 0)))).astype(np.float32)
    conversions = clicks * (rng.random(rows) < 0.3)
    return x, clicks, conversions.astype(np.float32), np.ones(rows, np.float32)


def test_our_reading_of_the_trees_is_lightgbms_own_prediction(monkeypatch):
    kept, train = [], lightgbm.train
    monkeypatch.setattr(lightgbm, "train", lambda *given, **named: kept.append(train(*given, **named)) or kept[-1])
    known, held = made(3000, 0), made(1000, 1)
    trees = grow(known, held, seed=3)
    x = made(500, 2)[0]
    for forest, booster in zip((trees.click, trees.convert), kept, strict=True):
        theirs = booster.predict(x, raw_score=True, num_iteration=booster.best_iteration)
        assert len(forest.roots) == booster.best_iteration > 1
        assert forest(x) == pytest.approx(forest.start[0] + theirs, abs=1e-9)
    assert trees(x).shape == (500, 2)


def test_trees_see_what_a_line_cannot_and_survive_saving():
    trees = grow(made(4000, 0), made(1500, 1), seed=3)
    x = np.zeros((2, 7), np.float32)
    x[:, :2] = [[1, -1], [1, 1]]
    p = 1 / (1 + np.exp(-trees(x)[:, 0]))
    assert p[0] > 0.5
    assert p[1] < 0.3
    again = BoostedTrees.of({f"a/{name}": value for name, value in trees.arrays().items()}, "a/")
    assert (again(x) == trees(x)).all()


def test_too_few_positives_grow_no_tree_but_give_the_rate():
    x, clicks, conversions, weights = made(400, 5)
    trees = grow((x, clicks, conversions * 0, weights), (x, clicks, conversions * 0, weights), seed=0)
    assert not len(trees.convert.roots)
    assert trees.convert(x) == pytest.approx(np.log(0.5 / (clicks.sum() + 0.5)))
    assert (Forest.constant(-1.0)(x) == -1).all()


def test_the_same_seed_grows_the_same_trees():
    one, other = (grow(made(2000, 0), made(800, 1), seed=9).arrays() for _ in range(2))
    assert all((one[name] == other[name]).all() for name in one)


def test_trees_that_are_grown_again_on_more_rows_are_as_many():
    known, held = made(3000, 0), made(1000, 1)
    trees = grow(known, held, seed=3)
    both = tuple(np.concatenate(pair) for pair in zip(known, held, strict=True))
    again = grow_again(both, trees, seed=3)
    assert len(again.click.roots) == len(trees.click.roots) > 1
    assert len(again.convert.roots) == len(trees.convert.roots)
    assert (again(held[0]) != trees(held[0])).any()
    rate = BoostedTrees(Forest.constant(0.0), Forest.constant(0.0))
    of_rate = grow_again(both, rate, seed=3).click
    assert of_rate.start[0] < 0
    assert not len(of_rate.roots)
