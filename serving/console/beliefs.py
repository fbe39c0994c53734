"""What is believed of creatives' click rates, as intervals."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import expit
from scipy.stats import beta

from core.columns import Columns
from models.correction import Beliefs
from models.pool import Pool
from serving.console.api import CreativeBelief, Rate
from serving.console.tally import Count

TAIL = 0.025
JEFFREYS = 0.5


@dataclass(frozen=True)
class Spread:
    """A posterior of a rate: mean and 95 % interval."""

    mean: float
    low: float
    high: float


def rate(successes: int, trials: int) -> Rate:
    """A share with its interval.

    Args:
        successes: 0 to trials.
        trials: how often it could have happened.

    Source: Brown, Cai and DasGupta (2001), Interval Estimation for a Binomial Proportion, for Jeffreys' interval.
    """
    spread = _counted(successes, trials)
    return Rate(successes=successes, trials=trials, value=successes / trials if trials else None, low=spread.low, high=spread.high)


def _counted(successes: int, trials: int) -> Spread:
    """Beta(½ + successes, ½ + failures), whose interval reaches to 0 without successes and to 1 without failures."""
    alpha, other = JEFFREYS + successes, JEFFREYS + trials - successes
    low = float(beta.ppf(TAIL, alpha, other)) if successes else 0.0
    high = float(beta.ppf(1 - TAIL, alpha, other)) if successes < trials else 1.0
    return Spread(alpha / (alpha + other), low, high)


def _learnt(row: int, count: Count, beliefs: Beliefs) -> Spread:
    """Draws of the correction over the ranker's mean log-odds of the creative's impressions, at position 0."""
    draws = expit(count.odds / count.shown + beliefs.bank[:, row].astype(np.float64))
    low, high = np.quantile(draws, (TAIL, 1 - TAIL))
    return Spread(float(draws.mean()), float(low), float(high))


def believed(
    rows: Sequence[int], pool: Pool, counts: Mapping[str, Count], beliefs: Beliefs | None, blocked: frozenset[int]
) -> list[CreativeBelief]:
    """Creatives with what is believed of them.

    Args:
        rows: of the pool.
        pool: what may be shown.
        counts: by creative_id.
        beliefs: the policy's own posterior; None: a Beta posterior of the counts.
        blocked: rows that a person has blocked.
    """
    scenes, channels = pool.creatives[Columns.SCENE], pool.creatives[Columns.CHANNEL]
    found = []
    for row in rows:
        name, item = str(pool.creative_id[row]), pool.item(str(pool.item_id[row]))
        count = counts.get(name, Count())
        spread = None
        if count.shown:
            spread = _counted(count.clicked, count.shown) if beliefs is None else _learnt(row, count, beliefs)
        found.append(
            CreativeBelief(
                creative_id=name,
                item_id=str(pool.item_id[row]),
                title=str(item[Columns.TITLE]),
                category=str(item[Columns.CATEGORY]),
                scene=str(scenes.iat[row]),
                channel=str(channels.iat[row]),
                text=str(pool.text[row]),
                origin=str(pool.origin[row]),
                ai_label=bool(pool.ai_label[row]),
                blocked=row in blocked,
                impressions=count.shown,
                clicks=count.clicked,
                predicted=count.predicted / count.shown if count.shown else None,
                mean=spread.mean if spread else None,
                low=spread.low if spread else None,
                high=spread.high if spread else None,
            )
        )
    return found
