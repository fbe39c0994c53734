"""Training of matrix factorisation: alternating least squares by conjugate gradients, whole sides at a time."""

from collections.abc import Callable

import numpy as np
import pandas as pd
from scipy.sparse import csr_matrix
from tqdm import tqdm

from core.columns import Columns
from core.tracking import Tracker
from models.recommender.catalogue import Catalogue
from models.recommender.factorisation import STRENGTH, MatrixFactorisation, confidence
from models.recommender.training.validation import Validation

ALPHA, RIDGE = 4.0, 4.0
ROUNDS, STEPS, PATIENCE = 10, 3, 2
_CHUNK = 500_000
_SCALES = np.geomspace(1.0, 64.0, 13)


def train_factorisation(
    events: pd.DataFrame, catalogue: Catalogue, validation: Validation, *, dim: int, rng: np.random.Generator, tracker: Tracker
) -> MatrixFactorisation:
    """Factorise who met which item; rounds stop when validation NDCG does.

    Args:
        events: training events.
        catalogue: the items.
        validation: for early stopping and the logits' scale.
        dim: length of a factor.
        rng: first factors.
        tracker: receives the score of each round.

    Source:
        Hu, Koren and Volinsky (2008); conjugate gradients after Takács, Pilászy and Tikk (2011).
    """
    met = interactions(events, catalogue)
    scale = 0.1 / np.sqrt(dim)
    users = rng.normal(scale=scale, size=(met.shape[0], dim)).astype(np.float32)
    items = rng.normal(scale=scale, size=(met.shape[1], dim)).astype(np.float32)
    items[np.diff(met.tocsc().indptr) == 0] = 0.0
    by_item = met.T.tocsr()
    best, best_score, stale = MatrixFactorisation(catalogue, items, alpha=ALPHA, ridge=RIDGE, scale=1.0), -1.0, 0
    for number in tqdm(range(ROUNDS), desc="matrix_factorisation", unit="round", leave=False):
        users = half_step(met, users, items)
        items = half_step(by_item, items, users)
        made = MatrixFactorisation(catalogue, items.copy(), alpha=ALPHA, ridge=RIDGE, scale=1.0)
        score = validation.score(made) if len(validation) else float(number)
        tracker.log_metrics({"matrix_factorisation_ndcg": score}, step=number + 1)
        best, best_score, stale = (made, score, 0) if score > best_score else (best, best_score, stale + 1)
        if stale >= PATIENCE:
            break
    chosen = _likeliest_scale(best, validation)
    return MatrixFactorisation(catalogue, best.factors, alpha=ALPHA, ridge=RIDGE, scale=chosen)


def interactions(events: pd.DataFrame, catalogue: Catalogue) -> csr_matrix:
    """(users, items) confidence minus one of every pair that met.

    Args:
        events: training events.
        catalogue: the items; others are left out.
    """
    item = catalogue.codes(events[Columns.ITEM].fillna("").to_numpy(dtype=object))
    user = pd.factorize(events[Columns.USER], sort=True)[0]
    strength = events[Columns.EVENT_TYPE].map(STRENGTH).fillna(0.0).to_numpy(dtype=np.float64)
    kept = (item >= 0) & (strength > 0)
    summed = csr_matrix((strength[kept], (user[kept], item[kept])), shape=(int(user.max(initial=0)) + 1, len(catalogue)))
    summed.sum_duplicates()
    summed.sort_indices()
    summed.data = (confidence(summed.data, ALPHA) - 1).astype(np.float32)
    return summed.astype(np.float32)


def half_step(met: csr_matrix, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Improve one side's factors, the other fixed: a few conjugate gradient steps on each row's ridge problem, all rows at once.

    Args:
        met: (n, m) confidence minus one.
        rows: (n, dim) where to start.
        columns: (m, dim) the fixed side.

    Returns:
        (n, dim) float32; zero for rows that met nothing.
    """
    gram = columns.T @ columns + np.float32(RIDGE) * np.eye(columns.shape[1], dtype=np.float32)
    owner = np.repeat(np.arange(met.shape[0]), np.diff(met.indptr))

    def apply(x: np.ndarray) -> np.ndarray:
        agreed = np.empty(met.nnz, np.float32)
        for start in range(0, met.nnz, _CHUNK):
            part = slice(start, start + _CHUNK)
            agreed[part] = np.einsum("nd,nd->n", x[owner[part]], columns[met.indices[part]])
        weighted = csr_matrix((met.data * agreed, met.indices, met.indptr), shape=met.shape)
        return np.asarray(x @ gram + weighted @ columns, dtype=np.float32)

    wanted = csr_matrix((met.data + 1, met.indices, met.indptr), shape=met.shape) @ columns
    return _conjugate_gradients(apply, np.asarray(wanted, np.float32), rows * (np.diff(met.indptr) > 0)[:, None])


def _conjugate_gradients(apply: Callable[[np.ndarray], np.ndarray], wanted: np.ndarray, start: np.ndarray) -> np.ndarray:
    found = start.astype(np.float32)
    residual = wanted - apply(found)
    direction = residual.copy()
    size = (residual**2).sum(axis=1, keepdims=True)
    for _ in range(STEPS):
        pushed = apply(direction)
        along = (direction * pushed).sum(axis=1, keepdims=True)
        step = np.divide(size, along, out=np.zeros_like(size), where=along > 1e-12)
        found = found + step * direction
        residual = residual - step * pushed
        smaller = (residual**2).sum(axis=1, keepdims=True)
        direction = residual + np.divide(smaller, size, out=np.zeros_like(size), where=size > 1e-12) * direction
        size = smaller
    return found


def _likeliest_scale(model: MatrixFactorisation, validation: Validation) -> float:
    """The factor under which softmax of the scores gives the validation targets the largest likelihood."""
    if not len(validation):
        return float(_SCALES[len(_SCALES) // 2])
    rows = slice(0, 512)
    scores = model.score(validation.histories[rows], validation.moments[rows]).astype(np.float64)
    own = scores[np.arange(len(scores)), validation.targets[rows]]
    top = scores.max(axis=1, keepdims=True)
    likelihood = [float((scale * (own - top[:, 0]) - np.log(np.exp(scale * (scores - top)).sum(axis=1))).mean()) for scale in _SCALES]
    return float(_SCALES[int(np.argmax(likelihood))])
