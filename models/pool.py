"""The creative pool: what may be shown, by item, scene, channel and audience, and the campaigns it is shown in."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd

from core.columns import Columns
from core.vocabulary import MICROS, Scene
from models.bundle import load_table, read_config

UPCOMING = timedelta(days=14)
"""A promotion is advertised from this long before it starts."""
NONE: Mapping[str, float] = MappingProxyType({})


@dataclass(frozen=True)
class Campaign:
    """A campaign; an empty target means all.

    Attributes:
        campaign_id: its id.
        name: as shoppers read it.
        start: first moment, UTC.
        end: last moment, UTC.
        bid_micros: worth of a click.
        scenes: scenes it buys.
        channels: channels it buys.
        categories: categories whose items it advertises.
        audiences: audiences it is shown to.
        daily_budget_micros: what it may spend on a day, None when unknown.
    """

    campaign_id: str
    name: str
    start: datetime
    end: datetime
    bid_micros: int
    scenes: frozenset[str]
    channels: frozenset[str]
    categories: frozenset[str]
    audiences: frozenset[str]
    daily_budget_micros: int | None = None

    def takes(self, *, scene: str, channel: str, category: str, audience: str | None, now: datetime) -> bool:
        """Whether an ad of this kind belongs to the campaign now.

        Args:
            scene: of the request.
            channel: of the request.
            category: of the item.
            audience: of the shopper, None when unknown.
            now: the moment of the decision, UTC; a campaign is advertised from `UPCOMING` before its start.
        """
        return self.runs(scene=scene, channel=channel, audience=audience, now=now) and (not self.categories or category in self.categories)

    def runs(self, *, scene: str, channel: str, audience: str | None, now: datetime) -> bool:
        """Whether ads of any category belong to the campaign now.

        Args:
            scene: of the request.
            channel: of the request.
            audience: of the shopper, None when unknown.
            now: see `takes`.
        """
        return (
            self.start - UPCOMING <= now <= self.end
            and (not self.scenes or scene in self.scenes)
            and (not self.channels or channel in self.channels)
            and (not self.audiences or audience in self.audiences)
        )


class Pool:
    """Creatives with their items and campaigns, ready to be looked up.

    Args:
        creatives: the creatives table.
        items: the items table.
        campaigns: the campaigns table.
        config: the bundle's configuration.
    """

    def __init__(self, creatives: pd.DataFrame, items: pd.DataFrame, campaigns: pd.DataFrame, config: dict[str, Any]) -> None:
        self.creatives = creatives.reset_index(drop=True)
        self.items = items.reset_index(drop=True)
        self.config = config
        self.campaigns = campaigns_of(campaigns)
        self.item_row: dict[str, int] = {item: row for row, item in enumerate(self.items[Columns.ITEM].astype(str))}
        keys = zip(*(self.creatives[name].astype(str) for name in (Columns.ITEM, Columns.SCENE, Columns.CHANNEL)), strict=True)
        self._rows: dict[tuple[str, str, str], list[int]] = {}
        for row, key in enumerate(keys):
            self._rows.setdefault(key, []).append(row)
        self._audience = [None if pd.isna(name) else str(name) for name in self.creatives[Columns.AUDIENCE]]
        self.creative_id = self.creatives[Columns.CREATIVE].astype(str).to_numpy(dtype=object)
        self._row_of: dict[str, int] = {str(name): row for row, name in enumerate(self.creative_id)}
        self.item_id = self.creatives[Columns.ITEM].astype(str).to_numpy(dtype=object)
        self.text = self.creatives[Columns.TEXT].astype(str).to_numpy(dtype=object)
        self.origin = self.creatives[Columns.ORIGIN].astype(str).to_numpy(dtype=object)
        self.ai_label = self.creatives[Columns.AI_LABEL].to_numpy(dtype=bool)
        self._records: list[dict[str, Any]] = [{str(name): value for name, value in row.items()} for row in self.items.to_dict("records")]
        self.title: list[str] = self.items[Columns.TITLE].astype(str).tolist()
        self.category: list[str] = self.items[Columns.CATEGORY].astype(str).tolist()
        self._categories = frozenset(self.category)

    @classmethod
    def load(cls, path: Path) -> "Pool":
        """Read a pool bundle.

        Args:
            path: its folder.

        Raises:
            BundleError: no pool bundle, or an incomplete one.
        """
        config = read_config(path, "pool")
        creatives, items, campaigns = (load_table(path / f"{name}.parquet") for name in ("creatives", "items", "campaigns"))
        return cls(creatives, items, campaigns, config)

    def __len__(self) -> int:
        return len(self.creatives)

    def rows_of(self, creative_ids: Collection[str]) -> frozenset[int]:
        """Rows of creatives; ids that the pool does not have are left out.

        Args:
            creative_ids: any.
        """
        return frozenset(self._row_of[name] for name in creative_ids if name in self._row_of)

    def creatives_of(
        self, item_id: str, *, scene: str, channel: str, audience: str | None, blocked: Collection[int] = frozenset()
    ) -> list[int]:
        """Rows of the creatives that may stand for an item: those written for the audience, else those written for everyone.

        Args:
            item_id: the item.
            scene: of the request.
            channel: of the request.
            audience: of the shopper, None when unknown.
            blocked: rows that a person has blocked; they count as not there.
        """
        rows = [row for row in self._rows.get((item_id, scene, channel), []) if row not in blocked]
        own = [row for row in rows if audience is not None and self._audience[row] == audience]
        return own or [row for row in rows if self._audience[row] is None] or rows

    def candidates_of(
        self, item_id: str, *, scene: str, channel: str, audience: str | None, blocked: Collection[int] = frozenset()
    ) -> list[int]:
        """Rows of the creatives that may stand for an item in a request: those of its scene, else those that only show the product.

        Args:
            item_id: the item.
            scene: of the request.
            channel: of the request.
            audience: of the shopper, None when unknown.
            blocked: rows that a person has blocked; they count as not there.
        """
        rows = self.creatives_of(item_id, scene=scene, channel=channel, audience=audience, blocked=blocked)
        return rows or self.creatives_of(item_id, scene=Scene.PRODUCT, channel=channel, audience=audience, blocked=blocked)

    def campaigns_by_category(
        self,
        *,
        scene: str,
        channel: str,
        audience: str | None,
        now: datetime,
        worth: Mapping[str, float] = NONE,
    ) -> dict[str, Campaign]:
        """The campaign whose bid is worth most for an ad of each category now; categories without one are absent.

        Args:
            scene: of the request.
            channel: of the request.
            audience: of the shopper, None when unknown.
            now: the moment of the decision, UTC.
            worth: campaign_id → by what its bid is multiplied, where that is not 1; at 0 it takes no part.
        """
        running = [
            (c.bid_micros * worth.get(c.campaign_id, 1.0), c.campaign_id, c)
            for c in self.campaigns
            if worth.get(c.campaign_id, 1.0) > 0 and c.runs(scene=scene, channel=channel, audience=audience, now=now)
        ]
        running.sort(key=lambda one: one[:2])
        found: dict[str, Campaign] = {}
        for _, _, campaign in running:  # the later one is worth more
            found.update(dict.fromkeys(campaign.categories or self._categories, campaign))
        return found

    def item(self, item_id: str) -> dict[str, Any]:
        """The item's row: column → value.

        Args:
            item_id: the item.

        Raises:
            KeyError: the pool does not know the item.
        """
        return dict(self._records[self.item_row[item_id]])


def default_bid(pool: Pool) -> int:
    """Worth of a click outside campaigns: the median bid, or one unit of currency when there are no campaigns."""
    bids = [campaign.bid_micros for campaign in pool.campaigns]
    return int(np.median(bids)) if bids else MICROS


def campaigns_of(campaigns: pd.DataFrame) -> list[Campaign]:
    """The campaigns of a table.

    Args:
        campaigns: the campaigns table; where a bid is unknown, the median of the known ones stands, or one unit of currency.
    """
    known = campaigns[Columns.BID].dropna()
    usual = int(np.median(known)) if len(known) else MICROS  # a null bid is unknown, never zero
    return [_campaign(row, usual) for row in campaigns.to_dict("records")]


def _campaign(row: dict[Any, Any], usual_bid: int) -> Campaign:
    def names(column: str) -> frozenset[str]:
        values: Sequence[Any] | None = row[column]
        return frozenset() if values is None else frozenset(str(value) for value in values)

    return Campaign(
        campaign_id=str(row[Columns.CAMPAIGN]),
        name=str(row[Columns.NAME]),
        start=_utc(row[Columns.START]),
        end=_utc(row[Columns.END]),
        bid_micros=usual_bid if pd.isna(row[Columns.BID]) else int(row[Columns.BID]),
        scenes=names(Columns.TARGET_SCENES),
        channels=names(Columns.TARGET_CHANNELS),
        categories=names(Columns.TARGET_CATEGORIES),
        audiences=names(Columns.TARGET_AUDIENCES),
        daily_budget_micros=None if pd.isna(row[Columns.DAILY_BUDGET]) else int(row[Columns.DAILY_BUDGET]),
    )


def _utc(moment: Any) -> datetime:
    stamp: datetime = pd.Timestamp(moment).to_pydatetime()
    return stamp if stamp.tzinfo else stamp.replace(tzinfo=UTC)
