"""Three shoppers of the report: what each did, the probability over products that follows, the ads written for them."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd

from core.columns import Columns
from core.vocabulary import Channel, EventType, Scene
from models.card import Card, campaign_dates, card_svg
from models.decider import Decider
from models.decision import Choice
from models.generator import GeneratorBundle
from models.generator.on_demand import write_reviewed
from models.generator.request import requests_of
from models.history import History, histories, micros
from models.ranker.bundle import PRIOR_P_CLICK
from tasks.report.page import Chance, ShopperView, Slot

SPORTS = ("运动鞋", "篮球", "运动背包")
SEARCH = "马拉松"
TOP = 5
_MINUTE = 60_000_000
_WORDS = {
    EventType.VIEW: "viewed", EventType.SEARCH: "searched", EventType.CART: "cart", EventType.FAVOURITE: "favourite",
    EventType.PURCHASE: "bought",
}  # fmt: skip


def shopper_views(
    decider: Decider, generator: GeneratorBundle, events: pd.DataFrame, *, moment: datetime, start: datetime
) -> tuple[tuple[ShopperView, ...], list[dict[str, Any]]]:
    """The fixed cases, and one real shopper of the held-out window.

    Args:
        decider: chooses items and creatives; the slates shown are the policy's best, without exploration.
        generator: writes for the topmost item of each slate and the shopper's own feature.
        events: the events table.
        moment: when the shoppers ask, UTC: the end of the data.
        start: first moment of the held-out window, UTC.

    Returns:
        What the page shows, and the same as plain values for other readers.
    """
    writer = _Writer(decider, generator, moment)
    views = [writer.sports(), writer.three_categories(), writer.real(events, start)]
    found = [view for view in views if view is not None]
    return tuple(view for view, _ in found), [case for _, case in found]


def told_choices(choices: Sequence[tuple[str, Choice]], *, trained: bool) -> str:
    """Why each item of a slate is shown, and what its p_click is.

    Args:
        choices: title and choice, in the order of the slate.
        trained: whether the ranker has learnt p_click from impressions.
    """
    told = "; ".join(f"{title}: {choice.reason}, p_click {100 * choice.p_click:.2f} %" for title, choice in choices)
    if trained:
        return told
    return f"{told}. The ranker is not trained: p_click is an assumed base rate of {100 * PRIOR_P_CLICK:g} %, moved by the recommender."


class _Writer:
    def __init__(self, decider: Decider, generator: GeneratorBundle, moment: datetime) -> None:
        self.decider = decider
        self.generator = generator
        self.orders = requests_of(decider.pool.items, generator.limits)
        self.moment = moment
        self.now = int(micros(moment)[0])
        items = decider.pool.items
        in_stock = ~(items[Columns.STOCK] == 0).fillna(False).astype(bool)
        self.items = items[in_stock].sort_values(Columns.ITEM, ignore_index=True)

    def sports(self) -> tuple[ShopperView, dict[str, Any]] | None:
        """Viewed a running shoe, a basketball and a sports backpack; then searches for a marathon."""
        viewed = [item for item in (self._first(word) for word in SPORTS) if item]
        search = SEARCH if len(viewed) == len(SPORTS) else None
        if not viewed or len(set(viewed)) < len(SPORTS):
            viewed = self._of_largest_category(len(SPORTS))
        if not viewed:
            return None
        browsing = History.of([(EventType.VIEW, item) for item in viewed], end=self.now - 2 * _MINUTE)
        query = search or str(self._item(viewed[0])[Columns.CATEGORY])
        searching = browsing.extended([(EventType.SEARCH, query)], [self.now - _MINUTE])
        asked = (
            (browsing, Scene.PRODUCT, Channel.ONSITE, f" before searching “{query}”"),
            (searching, Scene.PROMOTION, Channel.SOCIAL, f" after searching “{query}”"),
        )
        dated = any(choice.campaign for choice in self._choices(searching, Scene.PROMOTION, Channel.SOCIAL))
        story = "Viewed three products of one kind of life, then searched; the promotion follows the search"
        story += " and carries its dates." if dated else "; no campaign runs for it."
        return self._view("A sports day ahead", story, searching, viewed, asked)

    def three_categories(self) -> tuple[ShopperView, dict[str, Any]] | None:
        """Viewed three products A, B and C of different categories."""
        firsts = self.items.drop_duplicates(Columns.CATEGORY)
        rows = np.linspace(0, len(firsts) - 1, min(3, len(firsts))).round().astype(int)
        viewed = [str(item) for item in firsts.iloc[rows][Columns.ITEM]]
        if not viewed:
            return None
        history = History.of([(EventType.VIEW, item) for item in viewed], end=self.now - _MINUTE)
        asked = ((history, Scene.PRODUCT, Channel.ONSITE, ""), (history, Scene.CROSS_SELL, Channel.SEARCH, ""))
        return self._view(
            "Three products A, B and C",
            "Viewed one product in each of three categories, the last one most recently.",
            history,
            viewed,
            asked,
        )

    def real(self, events: pd.DataFrame, start: datetime) -> tuple[ShopperView, dict[str, Any]] | None:
        """The shopper of the held-out window whose earlier history is of median length."""
        late = events[(events[Columns.TIMESTAMP] >= pd.Timestamp(start)) & events[Columns.ITEM].notna()]
        sizes = events[events[Columns.USER].isin(late[Columns.USER])].groupby(Columns.USER).size()
        if sizes.empty:
            return None
        order = sizes.sort_index().sort_values(kind="stable")
        user = str(order.index[len(order) // 2])
        history = histories(events, [user], self.moment)[0]
        met = [item for item in dict.fromkeys(reversed(history.item_ids)) if item in self.decider.pool.item_row][:3]
        if not met:
            return None
        asked = ((history, Scene.PRODUCT, Channel.SOCIAL, ""), (history, Scene.BRAND, Channel.ONSITE, ""))
        story = f"{user[:8]}…, {len(history)} events in all; the last twelve are shown."
        return self._view("A shopper of the held-out days", story, history, met, asked)

    def _view(
        self, name: str, story: str, history: History, viewed: Sequence[str], asked: Sequence[tuple[History, Scene, Channel, str]]
    ) -> tuple[ShopperView, dict[str, Any]]:
        """Both lists of probabilities are of the whole history and order products alike; a slate may be of an earlier moment."""
        over_viewed = self._chances(history, viewed)
        servable = [str(item) for item in self.decider.recommender.top_k([history], TOP, now=self.now)[0]]
        everything = np.asarray(self.decider.recommender.probability(history, None, now=self.now))
        place = {str(item): row for row, item in enumerate(self.decider.recommender.items[Columns.ITEM])}
        over_all = tuple(self._chance(item, float(everything[place[item]])) for item in servable)
        slots, ads = [], []
        for known, scene, channel, after in asked:
            choices = self._choices(known, scene, channel)
            if choices:
                heading = f"Scene {scene}, channel {channel}{after}"
                why = told_choices([(self._title(choice.item_id), choice) for choice in choices], trained=self.decider.ranker.trained)
                slots.append(Slot(heading, why, tuple(card_svg(self._card(choice, channel)) for choice in choices)))
                ads += [self._ad(choice, scene, channel) for choice in choices]
                written, slot = self._written(known, choices, scene, channel)
                slots += [slot] if slot else []
                ads += written
        chances = (
            ("P(item | shopper) over the three products", over_viewed),
            (f"P(item | shopper) over all {len(place)}, top {TOP} to show", over_all),
        )
        view = ShopperView(name, story, self._steps(history), chances, tuple(slots))
        case = {
            "name": name, "story": story, "steps": list(view.steps), "ads": ads,
            "over_three": [{"title": c.title, "probability": c.probability} for c in over_viewed],
            "over_all": [{"title": c.title, "probability": c.probability} for c in over_all],
        }  # fmt: skip
        return view, case

    def _written(
        self, history: History, choices: tuple[Choice, ...], scene: Scene, channel: Channel
    ) -> tuple[list[dict[str, Any]], Slot | None]:
        """Copy written now, for the slate's products and this shopper: what `POST /v1/creatives` answers."""
        bundle = self.decider.recommender
        feature = bundle.user_feature([history])
        audience = bundle.audience_of(feature)[0]
        ads: list[dict[str, Any]] = []
        cards: list[str] = []
        for choice in choices:
            order = self.orders[choice.item_id].placed(scene, channel, audience, feature[0])
            passed, _ = write_reviewed(self.generator, order, 1, np.random.default_rng(len(ads)))
            for copy in passed:
                cards.append(card_svg(self._card(choice, channel, text=copy.text)))
                ads.append(
                    self._ad(choice, scene, channel) | {"text": copy.text, "origin": copy.origin, "p_click": None, "written_now": True}
                )
        why = f"Written for audience {audience} ({bundle.audience_names.get(audience, audience)}) and reviewed; not in the pool."
        return ads, Slot("The same products, copy written now for this shopper", why, tuple(cards)) if cards else None

    def _choices(self, history: History, scene: Scene, channel: Channel) -> tuple[Choice, ...]:
        rng = np.random.default_rng(0)  # without exploration only ties are drawn
        return self.decider.decide(history, scene=scene, channel=channel, k=3, now=self.moment, exploration=0.0, rng=rng).choices

    def _chances(self, history: History, item_ids: Sequence[str]) -> tuple[Chance, ...]:
        shares = self.decider.recommender.probability(history, list(item_ids), now=self.now)
        return tuple(self._chance(item, float(share)) for item, share in zip(item_ids, shares, strict=True))

    def _chance(self, item: str, probability: float) -> Chance:
        return Chance(self._title(item), str(self._item(item)[Columns.CATEGORY]), probability)

    def _card(self, choice: Choice, channel: Channel, *, text: str | None = None) -> Card:
        item, row = self._item(choice.item_id), self.decider.pool.creatives.iloc[choice.row]
        price, brand = item[Columns.PRICE], item[Columns.BRAND]
        return Card(
            title=str(item[Columns.TITLE]), category=str(item[Columns.CATEGORY]), text=text or str(row[Columns.TEXT]), channel=channel,
            brand=None if pd.isna(brand) else str(brand), price_micros=None if pd.isna(price) else int(price),
            campaign=choice.campaign.name if choice.campaign else None, start=choice.campaign.start if choice.campaign else None,
            end=choice.campaign.end if choice.campaign else None, ai_label=text is not None or bool(row[Columns.AI_LABEL]),
        )  # fmt: skip

    def _ad(self, choice: Choice, scene: Scene, channel: Channel) -> dict[str, Any]:
        row = self.decider.pool.creatives.iloc[choice.row]
        campaign = choice.campaign
        return {
            "scene": str(scene), "channel": str(channel), "title": self._title(choice.item_id), "text": str(row[Columns.TEXT]),
            "origin": str(row[Columns.ORIGIN]), "p_click": choice.p_click, "reason": choice.reason, "written_now": False,
            "campaign": f"{campaign.name} {campaign_dates(campaign.start, campaign.end)}" if campaign else None,
        }  # fmt: skip

    def _steps(self, history: History) -> tuple[str, ...]:
        last = history.latest(12)
        rows = zip(last.event_types, last.item_ids, last.queries, last.timestamps.tolist(), strict=True)
        return tuple(f"{_ago(self.now - at)} {_WORDS[EventType(kind)]} {query or self._title(item)}" for kind, item, query, at in rows)

    def _title(self, item: str) -> str:
        return str(self._item(item)[Columns.TITLE]) if item in self.decider.pool.item_row else item

    def _item(self, item: str) -> dict[str, Any]:
        return self.decider.pool.item(item)

    def _first(self, word: str) -> str | None:
        found = self.items[self.items[Columns.TITLE].str.contains(word, regex=False)]
        return None if found.empty else str(found.iloc[0][Columns.ITEM])

    def _of_largest_category(self, size: int) -> list[str]:
        if self.items.empty:
            return []
        counts = self.items[Columns.CATEGORY].value_counts()
        largest = min(counts[counts == counts.max()].index)
        return [str(item) for item in self.items[self.items[Columns.CATEGORY] == largest][Columns.ITEM][:size]]


def _ago(gap: int) -> str:
    span = timedelta(microseconds=gap)
    if span.days:
        return f"{span.days} d"
    minutes = int(span.total_seconds() // 60)
    return f"{minutes // 60} h" if minutes >= 60 else f"{max(minutes, 1)} min"
