"""Campaigns around the end of the simulated window and after, for the categories that the market sells."""

from collections.abc import Sequence

import pandas as pd

from core.columns import Columns as C
from core.params import MarketParams
from core.vocabulary import MICROS
from tasks.sources.market.catalogue import CampaignPlan
from tasks.sources.market.clock import DAY, micros


def plan_campaigns(plans: Sequence[CampaignPlan], categories: Sequence[str], params: MarketParams) -> pd.DataFrame:
    """The campaigns table.

    Args:
        plans: campaigns of the embedded catalogue; one that names a category the market lacks is left out.
        categories: what the market sells.
        params: start and length of the window.

    Returns:
        The table under the data contract's columns.
    """
    end = micros(params.start) + params.days * DAY
    kept = [(plan, _targets(plan, categories)) for plan in plans]
    kept = [(plan, targets) for plan, targets in kept if plan.category is None or targets]
    return pd.DataFrame(
        {
            C.CAMPAIGN: pd.array([f"c{number + 1:02d}" for number in range(len(kept))], dtype="str"),
            C.NAME: pd.array([plan.name for plan, _ in kept], dtype="str"),
            C.START: _moments([end + (plan.first_day - 1) * DAY for plan, _ in kept]),
            C.END: _moments([end + plan.last_day * DAY for plan, _ in kept]),
            C.DAILY_BUDGET: pd.array([round(plan.daily_budget * MICROS) for plan, _ in kept], dtype="int64"),
            C.BID: pd.array([round(plan.bid * MICROS) for plan, _ in kept], dtype="int64"),
            C.TARGET_SCENES: pd.Series([plan.scenes for plan, _ in kept], dtype=object),
            C.TARGET_CHANNELS: pd.Series([plan.channels for plan, _ in kept], dtype=object),
            C.TARGET_CATEGORIES: pd.Series([targets for _, targets in kept], dtype=object),
            C.TARGET_AUDIENCES: pd.Series([[] for _ in kept], dtype=object),
        }
    )


def _targets(plan: CampaignPlan, categories: Sequence[str]) -> list[str]:
    return [] if plan.category is None else [category for category in categories if plan.category in category]


def _moments(timestamps: Sequence[int]) -> pd.Series:
    return pd.Series(pd.to_datetime(pd.Series(timestamps, dtype="int64"), unit="us", utc=True)).astype("datetime64[us, UTC]")
