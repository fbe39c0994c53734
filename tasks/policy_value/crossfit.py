"""Reward models that never saw the rows they predict."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


def folds_by_user(users: NDArray[np.generic], folds: int, rng: np.random.Generator) -> Integers:
    """A fold for every row, all rows of one user in the same: ``(n,)`` in 0 … folds − 1.

    Args:
        users: ``(n,)``.
        folds: at least 2.
        rng: deals the users out, as evenly as their number allows.

    Raises:
        ValueError: fewer than 2 folds, or fewer users than folds.
    """
    names, codes = np.unique(users, return_inverse=True)
    if not 2 <= folds <= names.size:
        raise ValueError(f"{folds} folds for {names.size} users; from 2 folds to as many as there are users can be made")
    return np.asarray((rng.permutation(names.size) % folds)[codes.ravel()], dtype=np.int64)


def one_hot_rows(context: Floats, action: Integers, actions: int) -> Floats:
    """``(n, d + actions)``: the context beside the action as an indicator.

    Args:
        context: ``(n, d)``.
        action: ``(n,)`` in 0 … actions − 1.
        actions: how many there are.
    """
    return np.concatenate([context, np.eye(actions)[action]], axis=1)


def cross_fitted(
    new_model: Callable[[], Any],
    context: Floats,
    action: Integers,
    rewards: Floats,
    *,
    actions: int,
    fold: Integers,
    rows_of: Callable[[Floats, Integers, int], Floats] = one_hot_rows,
) -> Floats:
    """q(x, a) of every row and every action, by a model fitted on the other folds.

    Args:
        new_model: makes an unfitted scikit-learn model: a classifier for rewards that are 0 or 1, else a regressor.
        context: ``(n, d)``.
        action: ``(n,)`` logged action, in 0 … actions − 1.
        rewards: ``(n,)``.
        actions: how many actions there are.
        fold: ``(n,)`` fold of each row.
        rows_of: (context, action, actions) → what the model reads.

    Returns:
        ``(n, actions)``.

    Source:
        Chernozhukov, V. et al. (2018). Double/debiased machine learning for treatment and structural parameters.
    """
    predicted = np.empty((len(context), actions))
    for number in np.unique(fold):
        inside = fold == number
        answers = rewards[~inside]
        if np.ptp(answers) == 0:  # nothing to learn, and classifiers refuse one class
            predicted[inside] = answers[0]
            continue
        model = new_model()
        model.fit(rows_of(context[~inside], action[~inside], actions), answers)
        for choice in range(actions):
            rows = rows_of(context[inside], np.full(int(inside.sum()), choice), actions)
            found = model.predict_proba(rows)[:, 1] if hasattr(model, "predict_proba") else model.predict(rows)
            predicted[inside, choice] = found
    return predicted
