"""Is copy for an audience really for that audience: can it be told from copy for the others, and does it click better there?"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from core.columns import Columns as C
from evaluation.intervals import Interval, bootstrap_mean, bootstrap_ratio
from models.generator.bundle import GeneratorBundle
from models.generator.request import CopyRequest
from tasks.sources.market.truth import Truth

PRODUCTS, CANDIDATES, SHOPPERS = 24, 4, 40
"""Held-out products at the most (`benchmarks.personalisation` asks for more), candidates
for each order, and shoppers of an audience whose true click probability is asked for."""
_FOLDS = 4
_FEWEST = 2 * _FOLDS

Clicks = Callable[[Sequence[str], Sequence[CopyRequest], Sequence[str]], NDArray[np.float64]]
"""(shoppers, products, texts) → true click probabilities, row by row."""


@dataclass(frozen=True)
class PersonalCopy:
    """Copy of the same products for each audience and for everyone.

    Attributes:
        audiences: ids.
        requests: (products) the orders for everyone.
        passed: product → audience, everyone last → accepted candidates, the one that would be shown first.
        accepted: (products, audiences + 1) share of the candidates that were accepted.
        quality: (products, audiences + 1) of the text that would be shown; nan where none passed.
    """

    audiences: tuple[str, ...]
    requests: tuple[CopyRequest, ...]
    passed: tuple[tuple[tuple[str, ...], ...], ...]
    accepted: NDArray[np.float64]
    quality: NDArray[np.float64]

    @property
    def complete(self) -> list[int]:
        """Products with a text for every audience and for everyone."""
        return [row for row, texts in enumerate(self.passed) if all(texts)]

    def shown(self, column: int) -> list[str]:
        """The texts that would be shown, of complete products.

        Args:
            column: an audience's place, -1 for everyone.
        """
        return [self.passed[row][column][0] for row in self.complete]


def products_of(requests: Sequence[CopyRequest], n: int) -> list[CopyRequest]:
    """One order a product, at even steps.

    Args:
        requests: held-out orders, several a product.
        n: products at the most, at least 1.
    """
    first: dict[str, CopyRequest] = {}
    for request in requests:
        first.setdefault(request.item_id, request)
    return list(first.values())[:: -(-len(first) // n) or 1]


def write_for_audiences(
    bundle: GeneratorBundle,
    requests: Sequence[CopyRequest],
    features: Mapping[str, NDArray[np.float32]],
    *,
    n: int,
    rng: np.random.Generator,
    kind: str | None = None,
) -> PersonalCopy:
    """Write each order for every audience and for everyone, and choose as the pool does.

    Args:
        bundle: writes and reviews.
        requests: the products and their places.
        features: audience id → F.
        n: candidates for each order.
        rng: the stream that sampling draws from.
        kind: an origin; None for the chosen generator.
    """
    arms: list[tuple[str | None, NDArray[np.float32] | None]] = [*features.items(), (None, None)]
    orders = [request.placed(request.scene, request.channel, *arm) for request in requests for arm in arms]
    passed: list[tuple[str, ...]] = []
    accepted, quality = np.zeros(len(orders)), np.full(len(orders), np.nan)
    for row, (order, texts) in enumerate(zip(orders, bundle.write(orders, n, rng, kind), strict=True)):
        reviews = {text: bundle.review(order, text) for text in dict.fromkeys(texts)}
        accepted[row] = np.mean([reviews[text].accepted for text in texts]) if texts else 0.0
        weights = bundle.weights(order, texts, reviews)
        good = sorted(weights, key=lambda text: (-weights[text], text))
        if good:
            quality[row] = reviews[good[0]].quality
        passed.append(tuple(good))
    size = len(arms)
    rows = tuple(tuple(passed[first : first + size]) for first in range(0, len(passed), size))
    shape = (len(requests), size)
    return PersonalCopy(tuple(features), tuple(requests), rows, accepted.reshape(shape), quality.reshape(shape))


def recognition(copy: PersonalCopy, replications: int, rng: np.random.Generator) -> Interval | None:
    """How often a classifier that learned from other products' copies names the audience that a copy was written for.

    Ridge classifier on character 1- to 3-grams, cross-fitted over products; each copy is judged by itself.

    Args:
        copy: complete products are read.
        replications: of the bootstrap over products.
        rng: deals products into folds, and the bootstrap.

    Returns:
        Accuracy, chance being one over the audiences; None for fewer than `_FEWEST` complete products or two audiences.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import RidgeClassifier

    rows, kinds = len(copy.complete), len(copy.audiences)
    if rows < _FEWEST or kinds < 2:
        return None
    texts = np.array([copy.shown(column) for column in range(kinds)], dtype=object).T  # (products, audiences)
    fold = rng.permutation(rows) % _FOLDS
    right = np.zeros((rows, kinds))
    labels = np.arange(kinds)
    for number in range(_FOLDS):
        held = fold == number
        counts = TfidfVectorizer(analyzer="char", ngram_range=(1, 3), sublinear_tf=True)
        learned = counts.fit_transform(texts[~held].ravel().tolist())
        model = RidgeClassifier().fit(learned, np.tile(labels, int((~held).sum())))
        named = model.predict(counts.transform(texts[held].ravel().tolist())).reshape(-1, kinds)
        right[held] = named == labels
    return bootstrap_mean(right.ravel(), np.repeat(np.arange(rows), kinds), replications, rng)


def clicks_of(known: tuple[Truth, Mapping[str, str]], moment: datetime) -> Clicks:
    """True click probabilities at the first position.

    Args:
        known: the market's truth, and pseudonym → the simulator's id.
        moment: when, UTC.
    """
    truth, raw_ids = known

    def clicks(shoppers: Sequence[str], products: Sequence[CopyRequest], texts: Sequence[str]) -> NDArray[np.float64]:
        moments = np.full(len(texts), pd.Timestamp(moment).as_unit("us").value, np.int64)
        return truth.p_click(
            [raw_ids[user] for user in shoppers], [r.item_id for r in products], list(texts), [r.scene for r in products],
            [r.channel for r in products], np.zeros(len(texts), np.int64), moments,
        )  # fmt: skip

    return clicks


def true_lift(
    copy: PersonalCopy, users: pd.DataFrame, clicks: Clicks, replications: int, rng: np.random.Generator
) -> dict[str, Interval] | None:
    """True click-through of copy for the audience over that of copy for everyone: same shoppers, products, places and moment.

    Args:
        copy: complete products are read.
        users: user_id, audience_id; the shoppers of each audience are drawn from it.
        clicks: the truth.
        replications: of the bootstrap over products.
        rng: draws shoppers, the same of an audience for all products, and the bootstrap.

    Returns:
        ``lift`` (a ratio); ``ceiling``: the same ratio when, of all candidates of a product that passed, the truth itself chooses for each
        audience above and for everyone below; ``headroom``: ditto above, but over the copy for everyone that would be shown. None
        without complete products.
    """
    drawn = _shoppers(copy, users, rng)
    if not copy.complete or not drawn:
        return None
    sums = np.zeros((len(copy.complete), 4))  # clicks of: the audience's copy, everyone's, the truth's choice, its choice for everyone
    for line, row in enumerate(copy.complete):
        request, arms = copy.requests[row], copy.passed[row]
        texts = list(dict.fromkeys(text for passed in arms for text in passed))
        people = [(column, user) for column, found in drawn.items() for user in found]
        asked = [user for _, user in people for _ in texts]
        p = clicks(asked, [request] * len(asked), texts * len(people)).reshape(len(people), len(texts))
        of = np.array([column for column, _ in people])
        rates = np.array([p[of == column].mean(0) for column in drawn])  # (audiences, texts)
        weight = np.array([(users[C.AUDIENCE].astype(str) == copy.audiences[column]).mean() for column in drawn])
        plain, common = texts.index(arms[-1][0]), int((weight @ rates).argmax())
        own = [rates[line_, texts.index(arms[column][0])] for line_, column in enumerate(drawn)]
        sums[line] = weight @ np.column_stack([own, rates[:, plain], rates.max(1), rates[:, common]])
    groups = np.arange(len(sums))
    pairs = {"lift": (0, 1), "ceiling": (2, 3), "headroom": (2, 1)}
    return {name: bootstrap_ratio(sums[:, a], sums[:, b], groups, replications, rng) for name, (a, b) in pairs.items()}


def _shoppers(copy: PersonalCopy, users: pd.DataFrame, rng: np.random.Generator) -> dict[int, list[str]]:
    """Audience's place → shoppers of it; audiences without shoppers are left out."""
    drawn = {}
    for column, audience in enumerate(copy.audiences):
        mine = users.loc[users[C.AUDIENCE].astype(str) == audience, C.USER].astype(str).to_numpy(dtype=object)
        if len(mine):
            drawn[column] = [str(user) for user in rng.choice(mine, min(SHOPPERS, len(mine)), replace=False)]
    return drawn


def judge_personal(
    bundle: GeneratorBundle,
    users: pd.DataFrame,
    features: Mapping[str, NDArray[np.float32]],
    clicks: Clicks | None,
    *,
    replications: int,
    rng: np.random.Generator,
    products: int = PRODUCTS,
    candidates: int = CANDIDATES,
    kind: str | None = None,
) -> dict[str, Any]:
    """All of it, as metrics.json holds it.

    Args:
        bundle: with held-out products.
        users: user_features.parquet.
        features: audience id → F.
        clicks: the truth; None where nobody knows it.
        replications: of the bootstrap over products.
        rng: draws texts, shoppers, folds and the bootstrap.
        products: at the most.
        candidates: for each order.
        kind: an origin; None for the chosen generator.

    Returns:
        Empty without audiences or held-out products.
    """
    requests = products_of(bundle.held_out.requests, products) if bundle.held_out.copies else []
    if len(features) < 2 or not requests:
        return {}
    copy = write_for_audiences(bundle, requests, features, n=candidates, rng=rng, kind=kind)
    found: dict[str, Any] = {
        "generator": kind or bundle.chosen,
        "products": len(requests),
        "complete": len(copy.complete),
        "audiences": len(features),
        "accepted": {"personal": float(copy.accepted[:, :-1].mean()), "everyone": float(copy.accepted[:, -1].mean())},
        "quality": {"personal": _mean(copy.quality[:, :-1]), "everyone": _mean(copy.quality[:, -1:])},
    }
    told = recognition(copy, replications, rng)
    if told is not None:
        found["recognition"] = told.as_dict()
    lift = true_lift(copy, users, clicks, replications, rng) if clicks is not None else None
    return found | {f"true_ctr_{name}": value.as_dict() for name, value in (lift or {}).items()}


def _mean(values: NDArray[np.float64]) -> float | None:
    return None if np.isnan(values).all() else float(np.nanmean(values))
