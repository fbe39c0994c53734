"""What clicks say that the ranker does not know: a correction of its log-odds, by what creatives are made of, their item, and themselves.

The ranker's log-odds are the offset, fixed; the correction δ has prior mean 0 (`models.policies.nested`). Draws of it vote as in
`models.policies.linear`, tempered by how many candidates contend, and by what there is to be learnt (`Nested.worth`).
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit, logit

from core.columns import Columns as C
from models.policies.elements import design_elements
from models.policies.interface import Codes, Floats
from models.policies.linear import contenders, temper
from models.policies.nested import Counts, Levels, Nested, fit
from models.policies.slate import vote
from models.pool import Pool

VOTES = 100
"""Draws that vote on one request."""
BANK = 256
"""Draws of the whole pool that are made once a posterior; a request's votes are a sample of them."""
MOST_CHOICES = 30
"""Choices of an element that have columns of their own; rarer ones share one."""
QUARTERS = (0.25, 0.5, 0.75)
BIN = 0.05
"""Log-odds: impressions whose predictions fall into one bin are counted together."""
LARGEST = 12.0
"""Predictions are taken as within ± this."""


@dataclass(frozen=True)
class Beliefs:
    """A posterior, ready for requests; never changed.

    Attributes:
        version: of the posterior; with the request's id it gives the same votes again.
        mean: ``(n,)`` posterior mean of δ by the pool's row.
        bank: ``(BANK, n)`` draws of δ.
        widths: element, item, creative: posterior means of the prior widths.
        impressions: that it has learnt from.
        clicks: among them.
    """

    version: str
    mean: Floats
    bank: NDArray[np.float32]
    widths: tuple[float, float, float]
    impressions: int
    clicks: int

    def p_click(self, rows: NDArray[np.integer], predicted: Floats, rng: np.random.Generator) -> tuple[Floats, Floats]:
        """Corrected probabilities of candidates.

        Args:
            rows: ``(c,)`` their rows in the pool.
            predicted: ``(c,)`` the ranker's probabilities at position 0.
            rng: of the request.

        Returns:
            ``(c,)`` at the posterior mean, and ``(VOTES, c)`` tempered draws.
        """
        chosen = rng.choice(len(self.bank), size=VOTES, replace=False)
        offset = log_odds(predicted)
        mean = offset + self.mean[rows]
        deviation = self.bank[np.ix_(chosen, rows)] - self.mean[rows]
        share = temper(contenders(vote(mean + deviation, 0.0)))
        return np.asarray(expit(mean)), np.asarray(expit(mean + share * deviation))


class Correction:
    """The correction of one pool.

    Args:
        pool: what may be shown.
        positions: of the deepest slate.
    """

    def __init__(self, pool: Pool, *, positions: int) -> None:
        self.row: Mapping[str, int] = {str(name): row for row, name in enumerate(pool.creative_id)}
        item = np.array([pool.item_row[str(name)] for name in pool.item_id], dtype=np.int64)
        self.levels = Levels(design_elements(_elements(pool, item)).own, item, positions)

    def believe(self, counts: Counts, version: str) -> Beliefs:
        """The beliefs that counts give; equal counts give equal ones.

        Args:
            counts: perhaps none.
            version: names them.
        """
        found: Nested = fit(self.levels, counts)
        element, item, creative = (float(width) for width in found.mean_widths)
        bank = found.draw(BANK, np.random.default_rng(0), tempered=True).astype(np.float32)
        return Beliefs(version, found.mean(), bank, (element, item, creative), int(counts.shown.sum()), int(counts.clicked.sum()))


def log_odds(predicted: ArrayLike) -> Floats:
    """Log-odds of probabilities, within ± `LARGEST`.

    Args:
        predicted: any shape, in [0, 1].
    """
    with np.errstate(divide="ignore"):
        return np.asarray(np.clip(logit(np.asarray(predicted, dtype=np.float64)), -LARGEST, LARGEST))


def _elements(pool: Pool, item: Codes) -> Codes:
    """``(n, kinds)``: scene, channel, audience, origin, category, brand, quarter of price, quarter of length within the channel."""
    creatives, items = pool.creatives, pool.items
    length = creatives[C.TEXT].astype(str).str.len()
    price = items[C.PRICE].astype("Float64").to_numpy(dtype=np.float64, na_value=np.nan)[item]
    kinds = [
        *(_common(creatives[name]) for name in (C.SCENE, C.CHANNEL, C.AUDIENCE, C.ORIGIN)),
        *(_common(items[name].iloc[item]) for name in (C.CATEGORY, C.BRAND)),
        np.where(np.isnan(price), len(QUARTERS) + 1, _quarter(np.asarray(price, dtype=np.float64))),
        _quarter(np.asarray(length / length.groupby(creatives[C.CHANNEL].astype(str)).transform("max"), dtype=np.float64)),
    ]
    return np.stack(kinds, axis=1).astype(np.int64)


def _common(choices: "pd.Series[str]") -> NDArray[np.int64]:
    """Codes of choices by how often they occur; the rare ones share the last."""
    names = choices.astype(object).where(choices.notna(), "").astype(str).to_numpy(dtype=object)
    often = Counter(str(name) for name in names)
    order = sorted(often, key=lambda name: (-often[name], name))
    code = {name: min(place, MOST_CHOICES) for place, name in enumerate(order)}
    return np.array([code[name] for name in names], dtype=np.int64)


def _quarter(values: Floats) -> NDArray[np.int64]:
    known = values[~np.isnan(values)]
    bounds = np.quantile(known, QUARTERS) if known.size else np.zeros(len(QUARTERS))
    return np.asarray(np.searchsorted(bounds, values, side="left"), dtype=np.int64)
