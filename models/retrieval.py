"""Which items and creatives may stand in a slate: the rules, the scene, the recommender's order. No scores of creatives, no policy."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from core.vocabulary import CHANNELS, SCENES, EventType, Scene
from models.history import History
from models.pool import Campaign, Pool
from models.recommender import RecommenderBundle

CREATIVES_PER_ITEM = 2
"""Creatives of one item among the candidates at the most."""


@dataclass(frozen=True)
class Found:
    """The candidates of one request, the most probable item first; an item's creatives stand together.

    Attributes:
        codes: ``(n,)`` item code of each candidate in the recommender's catalogue.
        rows: ``(n,)`` row of each candidate in the pool.
    """

    codes: NDArray[np.int64]
    rows: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.codes)


class Retrieval:
    """Finds candidates; holds no state about shoppers.

    Args:
        recommender: its catalogue is ranked.
        pool: what may be shown.
        rankable: items that the ranker knows; others are never candidates.
    """

    def __init__(self, recommender: RecommenderBundle, pool: Pool, rankable: Sequence[str]) -> None:
        self._recommender = recommender
        self._pool = pool
        catalogue = recommender.catalogue
        known = set(rankable)
        self._servable = np.array([item in pool.item_row and item in known for item in catalogue.item_ids], dtype=bool)
        self.rules = recommender.scenes
        self.title = list(self.rules.titles)
        self.category = [self.rules.categories[code] for code in self.rules.category.tolist()]
        self._kind = self.rules.kind
        self._shelves: dict[tuple[str, str, str | None], NDArray[np.int64]] = {}

    def prepare(self) -> None:
        """Look up the creatives of every item, scene, channel and audience now, so that no request has to."""
        for audience in (None, *self._recommender.audience_features):
            for scene in SCENES:
                for channel in CHANNELS:
                    self._shelf(scene, channel, audience)

    def find(
        self,
        history: History,
        scores: NDArray[np.float32],
        *,
        moment: int,
        scene: str,
        channel: str,
        audience: str | None,
        promoted: Mapping[str, Campaign],
        exclude: Sequence[str],
        size: int,
    ) -> Found:
        """The candidates of one request; items without a creative for the place give way to the next.

        A scene that fits no item says less, but never nothing: then every item that the rules allow is one for it.

        Args:
            history: strictly before ``moment``.
            scores: ``(items,)`` the champion's logits; scene cross_sell has an order of its own where complements were learned.
            moment: microseconds since 1970 UTC.
            scene: why an ad is shown.
            channel: where.
            audience: of the shopper, None when unknown.
            promoted: category → campaign that pays for it now.
            exclude: items that must not be shown.
            size: candidates at the most.
        """
        shelf = self._shelf(scene, channel, audience)
        allowed = self._recommender.allowed([history], moment)[0] & self._servable & (shelf[:, 0] >= 0)
        if exclude:
            barred = self._recommender.catalogue.codes(list(exclude))
            allowed[barred[barred >= 0]] = False
        fitting = allowed & self.rules.candidates(scene, history, moment, promoted=promoted)
        codes = np.flatnonzero(fitting if fitting.any() else allowed)
        by, read = self.rules.ranked_by(scene, self._recommender.champion, history, moment)
        if by is not self._recommender.champion:
            scores = by.score([read], moment)[0]
        best = codes[_order(scores[codes], max(1, size // CREATIVES_PER_ITEM))]
        rows = shelf[best]  # (items, CREATIVES_PER_ITEM)
        there = rows >= 0
        return Found(np.repeat(best, there.sum(axis=1))[:size], rows[there][:size])

    def _shelf(self, scene: str, channel: str, audience: str | None) -> NDArray[np.int64]:
        """``(items, CREATIVES_PER_ITEM)`` rows of the pool for each item of the catalogue, −1 where there are fewer."""
        key = (scene, channel, audience)
        if key not in self._shelves:
            ids = self._recommender.catalogue.item_ids
            shelf = np.full((len(ids), CREATIVES_PER_ITEM), -1, np.int64)
            for code, item in enumerate(ids):
                own = self._pool.candidates_of(item, scene=scene, channel=channel, audience=audience)[:CREATIVES_PER_ITEM]
                shelf[code, : len(own)] = own
            self._shelves[key] = shelf
        return self._shelves[key]

    def reason(self, history: History, code: int, scene: str) -> str:
        """One line on why this item, from the shopper's own latest related event.

        Args:
            history: of the shopper.
            code: of the item.
            scene: of the request.
        """
        title, category, index = self.title[code], self.category[code], self._recommender.catalogue.index
        for event, kind, query in zip(reversed(history.item_ids), reversed(history.event_types), reversed(history.queries), strict=True):
            if kind == EventType.SEARCH and query and (query in title or category in query):
                return f"searched for “{query}”"
            seen = index.get(event, -1) if event else -1
            if seen == code:
                return f"{_DEEDS[kind]} this product"
            if seen >= 0 and self._kind[seen] == self._kind[code]:
                return f"{_DEEDS[kind]} {self.title[seen]}, a product of the same kind"
            if seen >= 0 and self.category[seen] == category:
                return f"{_DEEDS[kind]} {self.title[seen]}, also {category}"
        return {Scene.PROMOTION: "in a running promotion", Scene.BRAND: "a brand near the shopper's taste"}.get(
            Scene(scene), "popular with shoppers like this one"
        )


_DEEDS: dict[str, str] = {
    EventType.VIEW: "viewed",
    EventType.SEARCH: "searched for",
    EventType.CART: "put in the cart",
    EventType.FAVOURITE: "marked as favourite",
    EventType.PURCHASE: "bought",
}


def _order(scores: NDArray[np.float32], k: int) -> NDArray[np.int64]:
    """Places of the k largest scores, largest first; equal ones in the order of their places."""
    if len(scores) <= k:
        return np.argsort(-scores, kind="stable")
    places = np.flatnonzero(scores >= np.partition(scores, len(scores) - k)[len(scores) - k])
    return places[np.argsort(-scores[places], kind="stable")][:k]
