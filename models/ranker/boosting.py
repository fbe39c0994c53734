"""Grows the baseline's trees with LightGBM; imported by training only."""

from collections.abc import Callable
from typing import Any

import lightgbm
import numpy as np
from numpy.typing import NDArray

from models.ranker.trees import BoostedTrees, Forest, Matrix

MOST_TREES, PATIENCE = 400, 20
LEAST_POSITIVES = 30
"""Fewer positives in training or validation grow no tree: a rate stands in."""
Outcomes = NDArray[np.float32]
Told = tuple[Matrix, Outcomes, Outcomes, Outcomes]
"""Features, clicks, conversions, weights."""


def grow(known: Told, held: Told, *, seed: int, threads: int = 1) -> BoostedTrees:
    """Boosted trees of log loss, stopped early on the validation window.

    Args:
        known: features ``(n, f)``, clicks, conversions and weights ``(n,)`` to learn from.
        held: the same of the validation window.
        seed: of the rows and columns that each tree sees.
        threads: of LightGBM.

    Source: Ke et al. (2017), LightGBM.
    """
    click, convert = (
        _forest(one, other, trees=MOST_TREES, shape=shape, seed=seed + shape, threads=threads)
        for shape, (one, other) in enumerate(zip(_outcomes(known), _outcomes(held), strict=True))
    )
    return BoostedTrees(click, convert)


def grow_again(known: Told, like: BoostedTrees, *, seed: int, threads: int = 1) -> BoostedTrees:
    """As many trees as others have, on more rows.

    Args:
        known: features, clicks, conversions and weights.
        like: say how many trees.
        seed: of the rows and columns that each tree sees.
        threads: of LightGBM.
    """
    click, convert = (
        _forest(one, None, trees=len(forest.roots), shape=shape, seed=seed + shape, threads=threads)
        for shape, (one, forest) in enumerate(zip(_outcomes(known), (like.click, like.convert), strict=True))
    )
    return BoostedTrees(click, convert)


_LEAVES, _RATES = (31, 7), (0.05, 0.03)
"""Of clicks and of conversions."""


def _outcomes(told: Told) -> tuple[tuple[Matrix, Outcomes, Outcomes], tuple[Matrix, Outcomes, Outcomes]]:
    x, clicks, conversions, weights = told
    clicked = clicks > 0
    return (x, clicks, weights), (x[clicked], conversions[clicked], weights[clicked])


def _forest(
    known: tuple[Matrix, Outcomes, Outcomes],
    held: tuple[Matrix, Outcomes, Outcomes] | None,
    *,
    trees: int,
    shape: int,
    seed: int,
    threads: int,
) -> Forest:
    x, outcomes, weights = known
    mean = (float((weights * outcomes).sum()) + 0.5) / (float(weights.sum()) + 1)
    start = float(np.log(mean / (1 - mean)))
    if not trees or min(outcomes.sum(), LEAST_POSITIVES if held is None else held[1].sum()) < LEAST_POSITIVES:
        return Forest.constant(start)
    settings = {
        "objective": "binary",
        "num_leaves": _LEAVES[shape],
        "learning_rate": _RATES[shape],
        "min_data_in_leaf": 100,
        "min_sum_hessian_in_leaf": 1.0,
        "lambda_l2": 10.0,
        "feature_fraction": 0.3,
        "bagging_fraction": 0.8,
        "bagging_freq": 1,
        "max_bin": 63,
        "boost_from_average": False,
        "num_threads": threads,
        "deterministic": True,
        "force_row_wise": True,
        "seed": seed,
        "verbose": -1,
    }
    data = lightgbm.Dataset(x, outcomes, weight=weights, init_score=np.full(len(x), start))
    windows: list[lightgbm.Dataset] = []
    watchers: list[Callable[..., Any]] = []
    if held is not None:
        windows = [lightgbm.Dataset(held[0], held[1], weight=held[2], init_score=np.full(len(held[0]), start), reference=data)]
        watchers = [lightgbm.early_stopping(PATIENCE, verbose=False)]
    booster = lightgbm.train(settings, data, num_boost_round=trees, valid_sets=windows, callbacks=watchers)
    best = booster.best_iteration if held is not None else trees
    return _flat([tree["tree_structure"] for tree in booster.dump_model(num_iteration=best)["tree_info"]], start)


def _flat(trees: list[dict[str, Any]], start: float) -> Forest:
    """LightGBM's nested trees as arrays."""
    nodes: list[tuple[int, float, int, int, float]] = []
    depths: list[int] = []

    def add(node: dict[str, Any]) -> tuple[int, int]:
        place = len(nodes)
        nodes.append((0, np.inf, place, place, float(node.get("leaf_value", 0.0))))
        if "split_feature" not in node:
            return place, 0
        (left, left_depth), (right, right_depth) = add(node["left_child"]), add(node["right_child"])
        nodes[place] = (int(node["split_feature"]), float(node["threshold"]), left, right, 0.0)
        return place, 1 + max(left_depth, right_depth)

    roots = []
    for tree in trees:
        root, depth = add(tree)
        roots.append(root)
        depths.append(depth)
    feature, threshold, left, right, value = zip(*nodes, strict=True) if nodes else ((), (), (), (), ())
    return Forest(
        roots=np.array(roots, np.int32),
        feature=np.array(feature, np.int32),
        threshold=np.array(threshold, np.float64),
        left=np.array(left, np.int32),
        right=np.array(right, np.int32),
        value=np.array(value, np.float64),
        depth=np.array(depths, np.int32),
        start=np.array([start]),
    )
