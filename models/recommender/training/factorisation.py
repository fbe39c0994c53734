"""Training of matrix factorisation: the `implicit` library's alternating least squares; the best round on validation stays."""

import warnings

import numpy as np
import pandas as pd
from scipy.sparse import csr_matrix
from threadpoolctl import threadpool_limits

from core.columns import Columns
from core.tracking import Tracker
from models.history import in_order
from models.recommender.catalogue import Catalogue
from models.recommender.factorisation import STRENGTH, Als, confidence
from models.recommender.training.validation import Validation

ALPHA, RIDGE, ROUNDS = 4.0, 4.0, 12
TRIED_USERS = 2000
"""Validation users that the round is chosen by."""
_SCALES = np.geomspace(1.0, 64.0, 13)


def train_als(
    events: pd.DataFrame, catalogue: Catalogue, validation: Validation, *, dim: int, rng: np.random.Generator, tracker: Tracker
) -> Als:
    """Factorise who met which item.

    Args:
        events: training events.
        catalogue: the items.
        validation: chooses the round and the logits' scale.
        dim: length of a factor.
        rng: first factors.
        tracker: receives the score of each round.

    Source:
        Hu, Koren and Volinsky (2008); conjugate gradients after Takács, Pilászy and Tikk (2011), by `implicit`.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its import looks for a GPU, and says so
        from implicit.cpu.als import AlternatingLeastSquares  # type: ignore[import-untyped]
    met, some = interactions(events, catalogue), validation.sample(TRIED_USERS)
    with threadpool_limits(1, "blas"):  # the solver has threads of its own, and warns
        solver = AlternatingLeastSquares(
            factors=dim, regularization=RIDGE, alpha=1.0, iterations=ROUNDS, random_state=int(rng.integers(2**31)), dtype=np.float32
        )
    unmet = np.bincount(met.indices, minlength=len(catalogue)) == 0
    best: list[Als] = []
    best_score = -1.0

    def judge(number: int, seconds: float, loss: float | None) -> None:
        nonlocal best_score
        factors = np.where(unmet[:, None], np.float32(0.0), np.asarray(solver.item_factors, dtype=np.float32))
        made = Als(catalogue, factors, alpha=ALPHA, ridge=RIDGE, scale=1.0)
        score = some.score(made) if len(some) else float(number)
        tracker.log_metrics({"als_ndcg": score}, step=number + 1)
        if score > best_score:
            best_score, best[:] = score, [made]

    with threadpool_limits(1, "blas"):
        solver.fit(met, show_progress=False, callback=judge)
    return Als(catalogue, best[0].factors, alpha=ALPHA, ridge=RIDGE, scale=_likeliest_scale(best[0], validation))


def interactions(events: pd.DataFrame, catalogue: Catalogue) -> csr_matrix:
    """(users, items) confidence of every pair that met.

    Args:
        events: training events.
        catalogue: the items; others are left out.
    """
    item = catalogue.codes_of(events[Columns.ITEM])
    user, users = in_order(events[Columns.USER])
    kind, kinds = in_order(events[Columns.EVENT_TYPE])
    strength = np.array([*(STRENGTH.get(name, 0.0) for name in kinds), 0.0], dtype=np.float32)[kind]
    kept = (item >= 0) & (strength > 0)
    summed = csr_matrix((strength[kept], (user[kept], item[kept])), shape=(max(1, len(users)), len(catalogue)))
    summed.sum_duplicates()
    summed.sort_indices()
    summed.data = confidence(summed.data.astype(np.float64), ALPHA).astype(np.float32)
    return summed


def _likeliest_scale(model: Als, validation: Validation) -> float:
    """The factor under which softmax of the scores gives the validation targets the largest likelihood."""
    if not len(validation):
        return float(_SCALES[len(_SCALES) // 2])
    rows = slice(0, 512)
    scores = model.score(validation.histories[rows], validation.moments[rows]).astype(np.float64)
    own = scores[np.arange(len(scores)), validation.targets[rows]]
    top = scores.max(axis=1, keepdims=True)
    likelihood = [float((scale * (own - top[:, 0]) - np.log(np.exp(scale * (scores - top)).sum(axis=1))).mean()) for scale in _SCALES]
    return float(_SCALES[int(np.argmax(likelihood))])
