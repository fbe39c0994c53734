"""What a generator is asked for: one product, one audience, one scene, one channel."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

import numpy as np
import pandas as pd

from core.columns import Columns as C
from core.vocabulary import LENGTH_LIMITS, Channel, Scene
from models.text import attributes_of


@dataclass(frozen=True)
class CopyRequest:
    """One order for copy.

    Attributes:
        item_id: the product.
        title: its title.
        category: its category.
        brand: its brand, None when unknown.
        price_micros: its price in micros, None when unknown.
        attributes: (key, value) pairs in the catalogue's order; a key may stand more than once.
        scene: one of `core.vocabulary.SCENES`.
        channel: one of `core.vocabulary.CHANNELS`.
        audience_id: the audience it is written for, None for everyone.
        feature: the audience's feature F, shape (d,), None for everyone.
        tone: one of `core.vocabulary.TONES`, None for whichever the copy falls into.
        campaign: the campaign's name, shown on the card beside the copy, never inside it.
        start: first moment of the campaign, UTC.
        end: last moment of the campaign, UTC.
        limit: longest text in characters; None: what the channel shows.
        limits: what each channel shows.
    """

    item_id: str
    title: str
    category: str
    brand: str | None = None
    price_micros: int | None = None
    attributes: tuple[tuple[str, str], ...] = ()
    scene: str = Scene.PRODUCT
    channel: str = Channel.ONSITE
    audience_id: str | None = None
    feature: np.ndarray | None = field(default=None, compare=False, repr=False)
    tone: str | None = None
    campaign: str | None = None
    start: datetime | None = None
    end: datetime | None = None
    limit: int | None = None
    limits: Mapping[str, int] = field(default_factory=lambda: LENGTH_LIMITS, compare=False, repr=False)

    @property
    def max_length(self) -> int:
        """Longest text in characters."""
        return self.limits[self.channel] if self.limit is None else self.limit

    def placed(self, scene: str, channel: str, audience_id: str | None = None, feature: np.ndarray | None = None) -> "CopyRequest":
        """The same product for another place and audience.

        Args:
            scene: one of `core.vocabulary.SCENES`.
            channel: one of `core.vocabulary.CHANNELS`.
            audience_id: the audience, None for everyone.
            feature: its feature F, shape (d,).
        """
        return replace(self, scene=scene, channel=channel, audience_id=audience_id, feature=feature)


def requests_of(items: pd.DataFrame, limits: Mapping[str, int] = LENGTH_LIMITS) -> dict[str, CopyRequest]:
    """One request a product, for scene product and channel onsite; place it with `CopyRequest.placed`.

    Args:
        items: the items table of the data contract.
        limits: longest text of each channel in characters.

    Returns:
        Item id → request, in the table's order.
    """
    columns = zip(items[C.ITEM], items[C.TITLE], items[C.CATEGORY], items[C.BRAND], items[C.PRICE], items[C.ATTRIBUTES], strict=True)
    return {
        str(item): CopyRequest(
            item_id=str(item),
            title=str(title),
            category=str(category),
            brand=None if pd.isna(brand) else str(brand),
            price_micros=None if pd.isna(price) else int(price),
            attributes=tuple(attributes_of(attributes)),
            limits=limits,
        )
        for item, title, category, brand, price, attributes in columns
    }
