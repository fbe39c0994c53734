"""Counting of baskets and fitting of the experts' weights; every choice is made on held-out baskets of a later window."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace

import numpy as np
import pandas as pd
import scipy.linalg
import torch
from scipy.sparse import csr_matrix, diags_array
from tqdm import tqdm

from core.columns import Columns
from core.errors import TrainingError
from core.moments import DAY
from models.recommender.catalogue import Catalogue
from models.recommender.complements import OF_CART, OF_SHOPPER, BasketShape, Complements, Learned, read_carts
from models.recommender.training.baskets import BasketTable
from models.recommender.training.covisits import strongest
from models.recommender.training.validation import Validation

NEIGHBOURS = 1000
"""Links kept of each item, the strongest ones."""
LATELY_DAYS = 21
"""Days after which a basket counts half for `Learned.lately`."""
TRIED_BASKETS, WEIGHED_BASKETS = 500, 800
"""Validation baskets that the shape is chosen by, and that the weights are fitted on."""
LIST = 10
"""Items of a list whose share of the cart's categories is limited."""
SAME = "same_category"
_ITERATIONS, _PULL, _REACH, _HALVINGS = 30, 1e-3, 4.0, 8
SHAPES: dict[str, Sequence[float]] = {
    "crowd": (0.0, 0.5, 1.0),
    "from_power": (0.5, 0.7, 1.0),
    "to_power": (0.1, 0.3, 0.5),
}
RIDGES = (50.0, 200.0, 800.0)


def train_complements(events: pd.DataFrame, catalogue: Catalogue, validation: Validation, *, of_shopper: bool = True) -> Complements:
    """Choose how baskets are counted, then fit the weights.

    Args:
        events: training events.
        catalogue: the items.
        validation: carts with a held-out item, later than the events.
        of_shopper: whether own purchases are among the experts.

    Raises:
        TrainingError: no basket holds two items of the catalogue, or there are no validation baskets.
    """
    table = BasketTable.of(events, catalogue)
    model = count_complements(table, catalogue, choose_shape(table, catalogue, validation), {})
    return weigh(model, validation, (*OF_CART, *OF_SHOPPER) if of_shopper else OF_CART)


def choose_shape(table: BasketTable, catalogue: Catalogue, validation: Validation) -> BasketShape:
    """One choice after the other, by the validation score of links alone, and of ridge alone; the shopper's purchases play no part.

    Args:
        table: training baskets.
        catalogue: the items.
        validation: carts with a held-out item, later than the baskets.

    Raises:
        TrainingError: there are no validation baskets, or no basket holds two items.
    """
    if not len(validation):
        raise TrainingError("complements are chosen on held-out baskets of a later window, and there are none. Widen the window.")
    some, best = validation.sample(TRIED_BASKETS), BasketShape()
    model = count_complements(table, catalogue, best, {})
    together: dict[float, csr_matrix] = {}

    def score(shape: BasketShape) -> float:
        if shape.crowd not in together:
            together[shape.crowd] = pairs(table, shape.crowd)
        links = scaled_links(together[shape.crowd], model.learned.counts, shape)
        return some.score(Complements(catalogue, replace(model.learned, links=links), shape, {"links": 1.0}))

    highest = score(best)
    choices = [(name, value) for name, values in SHAPES.items() for value in values]
    for name, value in tqdm(choices, desc="links between baskets' items", unit="choice", leave=False):
        shape = BasketShape(**{**asdict(best), name: value})
        if shape != best and (found := score(shape)) > highest:
            best, highest = shape, found
    scores = []
    for ridge in tqdm(RIDGES, desc="ridge", unit="choice", leave=False):
        shape = replace(best, ridge=ridge)
        learned = replace(model.learned, ridge=basket_ridge(table, model.learned.core, shape))
        scores.append(some.score(Complements(catalogue, learned, shape, {"ridge": 1.0})))
    return replace(best, ridge=RIDGES[int(np.argmax(scores))])


def count_complements(table: BasketTable, catalogue: Catalogue, shape: BasketShape, weights: Mapping[str, float]) -> Complements:
    """What baskets tell, with choices made before.

    Args:
        table: training baskets.
        catalogue: the items.
        shape: how they are counted.
        weights: of the experts.

    Raises:
        TrainingError: no basket holds two items of the catalogue.
    """
    if not len(table) or int(np.diff(table.held.indptr).max()) < 2:
        raise TrainingError(
            f"none of {len(table)} baskets holds two items of the catalogue; complements are learned from those that do. Check `events`."
        )
    counts = np.asarray(table.held.sum(axis=0)).ravel().astype(np.float32)
    fading = np.exp2(-(table.time.max() - table.time) / DAY / LATELY_DAYS).astype(np.float32)
    core = np.sort(np.argsort(-counts, kind="stable")[: min(shape.core, int((counts > 0).sum()))])
    codes = np.unique(catalogue.items[Columns.CATEGORY].fillna("").astype(str).to_numpy(dtype=object), return_inverse=True)[1]
    learned = Learned(
        links=strongest(scaled_links(pairs(table, shape.crowd), counts, shape), NEIGHBOURS),
        core=core,
        ridge=basket_ridge(table, core, shape),
        counts=counts,
        lately=np.asarray(table.held.T @ fading, dtype=np.float32),
        category_links=category_links(table, codes, shape),
    )
    return Complements(catalogue, learned, shape, weights)


def pairs(table: BasketTable, crowd: float) -> csr_matrix:
    """Σ over baskets with both items of (m - 1)^-crowd: a large basket says less of each of its pairs.

    Args:
        table: training baskets.
        crowd: the power.

    Returns:
        (n_items, n_items) float32, 0 on the diagonal.
    """
    both = csr_matrix((diags_array(_crowd_weights(table.held, crowd)) @ table.held).T @ table.held)
    both.setdiag(0.0)
    both.eliminate_zeros()
    return both


def scaled_links(together: csr_matrix, counts: np.ndarray, shape: BasketShape) -> csr_matrix:
    """L[i, j] = pairs[i, j] / (n_i^from_power · n_j^to_power).

    Args:
        together: see `pairs`.
        counts: (n_items,) baskets of each item.
        shape: the powers.

    Returns:
        (n_items, n_items) float32.
    """
    damped = np.maximum(counts.astype(np.float64), 1.0)
    scaled = diags_array(damped**-shape.from_power) @ together @ diags_array(damped**-shape.to_power)
    return csr_matrix(scaled, dtype=np.float32)


def category_links(table: BasketTable, category: np.ndarray, shape: BasketShape) -> np.ndarray:
    """Links between categories, counted and divided as those between items, pairs within one category included.

    Args:
        table: training baskets.
        category: (n_items,) code of each item's.
        shape: the powers.

    Returns:
        (categories, categories) float32.
    """
    n_items = len(category)
    of = csr_matrix((np.ones(n_items, np.float32), (np.arange(n_items), category)), shape=(n_items, int(category.max()) + 1))
    weight = _crowd_weights(table.held, shape.crowd)
    by_category = csr_matrix(table.held @ of)
    both = (diags_array(weight) @ by_category).T @ by_category
    alone = of.T @ diags_array(np.asarray(table.held.T @ weight).ravel()) @ of  # an item is no pair with itself
    counted = np.maximum((both - alone).toarray(), 0.0)
    mass = np.maximum(counted.sum(axis=1), 1e-9)
    scaled: np.ndarray = counted / (mass[:, None] ** shape.from_power * mass[None, :] ** shape.to_power)
    return scaled.astype(np.float32)


def basket_ridge(table: BasketTable, core: np.ndarray, shape: BasketShape) -> np.ndarray:
    """The matrix B with a zero diagonal that minimises Σ over baskets of ‖x - xB‖² / √m + ridge · ‖B‖².

    B = I - P · diag(1 / P_jj) with P = (G + ridge · I)⁻¹ and G the weighted counts of pairs.

    Args:
        table: training baskets.
        core: (m,) columns of the items.
        shape: the ridge.

    Returns:
        (m, m) float32.

    Source:
        Steck (2019), equation 8.
    """
    sizes = np.maximum(np.diff(table.held.indptr), 1)
    among = table.held[:, core]
    weighted = csr_matrix(diags_array(1 / np.sqrt(sizes)) @ among)
    gram = (weighted.T @ among).toarray().astype(np.float32)
    gram[np.diag_indices(len(core))] += shape.ridge
    inverse, _ = scipy.linalg.lapack.spotri(scipy.linalg.cholesky(gram, lower=True, overwrite_a=True, check_finite=False), lower=1)
    inverse = np.tril(inverse) + np.tril(inverse, -1).T
    solved: np.ndarray = -inverse / np.diag(inverse)[None, :]
    np.fill_diagonal(solved, 0.0)
    return solved


def weigh(model: Complements, validation: Validation, names: Sequence[str], *, varied: bool = True) -> Complements:
    """The weights under which softmax of the logits gives the held-out items the largest likelihood: a conditional logit, convex.

    A list of the likeliest items holds more of the cart's categories than shoppers take: ten of what each takes once are not a basket.
    So the weight of `same_category` is then lowered until the first ten hold no larger a share of them than the held-out items do.

    Args:
        model: what was learned before the validation baskets.
        validation: carts with a held-out item.
        names: the experts.
        varied: whether lists are kept from holding more of the cart's categories than shoppers take.
    """
    some = validation.sample(WEIGHED_BASKETS)
    carts = read_carts(some.histories, some.moments, model.catalogue)
    n, n_items = carts.cart.shape
    said = torch.empty((len(names), n, n_items))
    scale = torch.ones(len(names))
    for place, (_, found) in enumerate(model.experts(carts, names)):
        said[place] = torch.from_numpy(np.array(found, dtype=np.float32))  # one row for all, or a row each
        scale[place] = said[place].std().clamp(min=1e-6)
        said[place] /= scale[place]
    barred = torch.from_numpy(np.isneginf(some.without_met(np.zeros((n, n_items), np.float32), slice(0, n), model.catalogue)))
    target = torch.from_numpy(some.targets)
    weights = torch.zeros(len(names), requires_grad=True)
    solver = torch.optim.LBFGS([weights], max_iter=_ITERATIONS, line_search_fn="strong_wolfe")
    flat = said.view(len(names), -1)

    def loss() -> torch.Tensor:
        solver.zero_grad()
        logits = (weights @ flat).view(n, n_items).masked_fill(barred, -torch.inf)
        value = torch.nn.functional.cross_entropy(logits, target) + _PULL * weights.square().sum()
        value.backward()  # type: ignore[no-untyped-call]
        return value

    solver.step(loss)  # type: ignore[no-untyped-call]
    found_weights = (weights.detach() / scale).tolist()
    fitted = {name: float(weight) for name, weight in zip(names, found_weights, strict=True)}
    if not varied or SAME not in names:
        return model.weighed(fitted)
    with torch.no_grad():
        place = names.index(SAME)
        others = torch.where(torch.arange(len(names)) == place, torch.zeros(()), weights)
        rest = (others @ flat).view(n, n_items).masked_fill_(barred, -torch.inf)
        same = said[place] * scale[place]
        fitted[SAME] = _most_of_the_same(rest, same, target, fitted[SAME])
    return model.weighed(fitted)


def _most_of_the_same(rest: torch.Tensor, same: torch.Tensor, target: torch.Tensor, weight: float) -> float:
    """The largest weight of `same_category`, up to the fitted one, under which lists hold no more of it than held-out items do."""
    rows = torch.arange(len(target))
    limit = float((same[rows, target] > 0).float().mean())

    def share(tried: float) -> float:
        first = (rest + tried * same).topk(min(LIST, rest.shape[1]), dim=1).indices
        return float((same.gather(1, first) > 0).float().mean())

    if share(weight) <= limit:
        return weight
    low, high = weight - _REACH, weight
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if share(middle) <= limit else (low, middle)
    return low


def _crowd_weights(held: csr_matrix, crowd: float) -> np.ndarray:
    others = np.diff(held.indptr) - 1
    return np.where(others > 0, np.maximum(others, 1).astype(np.float64) ** -crowd, 0.0).astype(np.float32)
