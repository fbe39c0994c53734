"""The simulated shoppers: latent tastes, habits and the day on which their taste turns."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from core.vocabulary import TONES
from tasks.sources.market.traits import THEMES

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]

CLUSTERS = 10
ACTIVITY_SIGMA = 0.9
"""Spread of the log-normal activity: most shoppers are light, a few are heavy."""


@dataclass(frozen=True)
class Shoppers:
    """Latents of n shoppers; see docs/decisions/0003-market-strengths.md.

    Attributes:
        user_ids: (n,) raw ids `u000001`, ….
        cluster: (n,) index of the cluster.
        activity: (n,) relative activity, mean about 1.
        price_level: (n,) preferred price on the scale of the products' standardised price.
        category_from: (n, categories) taste before the turn.
        category_to: (n, categories) taste towards which it drifts.
        turn_day: (n,) day of the simulation in which the drift is half done.
        type_taste: (n, types).
        brand_taste: (n, brands); the last column, of products without a known brand, is 0.
        tone: (n, 3) preference over TONES.
        length: (n,) preference for long copy in [-1, 1].
        theme: (n, 5) preference over THEMES.
    """

    user_ids: npt.NDArray[np.object_]
    cluster: Ints
    activity: Floats
    price_level: Floats
    category_from: Floats
    category_to: Floats
    turn_day: Floats
    type_taste: Floats
    brand_taste: Floats
    tone: Floats
    length: Floats
    theme: Floats

    def table(self) -> pd.DataFrame:
        """One row a shopper; matrices become list columns."""
        columns: dict[str, object] = {"user_id": pd.array(self.user_ids, dtype="str")}
        for name in self.__dataclass_fields__:
            value = getattr(self, name)
            if name != "user_ids":
                columns[name] = value if value.ndim == 1 else list(value)
        return pd.DataFrame(columns)

    @staticmethod
    def from_table(table: pd.DataFrame) -> "Shoppers":
        """Read back what `table` wrote.

        Args:
            table: one row a shopper.
        """
        arrays: Mapping[str, npt.NDArray[np.generic]] = {
            name: np.stack(table[name].to_list()) if table[name].dtype == object else table[name].to_numpy()
            for name in Shoppers.__dataclass_fields__
            if name != "user_ids"
        }
        return Shoppers(user_ids=table["user_id"].to_numpy(dtype=object), **arrays)  # type: ignore[arg-type]


def draw_shoppers(count: int, *, categories: int, types: int, brands: int, days: int, rng: np.random.Generator) -> Shoppers:
    """Draw a population.

    Args:
        count: shoppers.
        categories: how many the assortment has.
        types: how many the assortment has.
        brands: how many the assortment names.
        days: length of the simulation; turns fall anywhere within it.
        rng: the stream to draw from.

    Returns:
        The shoppers.
    """
    lean = rng.dirichlet(np.full(categories, 0.3), CLUSTERS) + 0.02 / categories  # what a cluster's members come to care for
    lean /= lean.sum(axis=1, keepdims=True)
    cluster = rng.choice(CLUSTERS, size=count, p=rng.dirichlet(np.full(CLUSTERS, 6.0)))
    most = max(1, min(4, categories // 3))
    favourites = rng.integers(min(2, most), most + 1, count)
    before = _category_taste(lean[cluster], favourites, rng)
    return Shoppers(
        user_ids=np.array([f"u{number + 1:06d}" for number in range(count)], dtype=object),
        cluster=cluster.astype(np.int64),
        activity=rng.lognormal(-(ACTIVITY_SIGMA**2) / 2, ACTIVITY_SIGMA, count).astype(np.float32),
        price_level=_mixed(cluster, 1, 0.8, rng)[:, 0].astype(np.float32),
        category_from=before.astype(np.float32),
        category_to=_category_taste(lean[cluster], favourites, rng).astype(np.float32),
        turn_day=rng.uniform(0, days, count).astype(np.float32),
        type_taste=(rng.exponential(0.3, (count, types)) - 0.3).astype(np.float32),
        brand_taste=np.column_stack([rng.normal(0, 0.15, (count, brands)), np.zeros(count)]).astype(np.float32),
        tone=_centred(_mixed(cluster, len(TONES), 1.0, rng)).astype(np.float32),
        length=np.clip(_mixed(cluster, 1, 0.6, rng)[:, 0], -1, 1).astype(np.float32),
        theme=_centred(_mixed(cluster, len(THEMES), 1.0, rng)).astype(np.float32),
    )


def _category_taste(lean: npt.NDArray[np.float64], favourites: Ints, rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """Taste over categories: about 1 for a shopper's two to four favourites, about 0 for the rest. (n, categories)."""
    ranks = np.argsort(np.argsort(np.log(lean) + rng.gumbel(size=lean.shape), axis=1)[:, ::-1], axis=1)  # 0 = first favourite
    loved = ranks < favourites[:, None]
    taste: npt.NDArray[np.float64] = np.where(loved, rng.uniform(0.7, 1.3, lean.shape), rng.normal(0, 0.1, lean.shape))
    return taste


def _mixed(cluster: Ints, width: int, sd: float, rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """Normal preferences, half of whose variance is the cluster's. (n, width)."""
    shared = rng.normal(0, sd * np.sqrt(0.5), (CLUSTERS, width))
    own = rng.normal(0, sd * np.sqrt(0.5), (len(cluster), width))
    mixed: npt.NDArray[np.float64] = shared[cluster] + own
    return mixed


def _centred(preferences: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    width = preferences.shape[1]
    centred: npt.NDArray[np.float64] = (preferences - preferences.mean(axis=1, keepdims=True)) * np.sqrt(width / (width - 1))
    return centred
