"""What shoppers do of their own accord: sessions of searches, views, carts, favourites and purchases."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import pandas as pd

from core.columns import Columns as C
from core.errors import SourceError
from core.params import MarketParams
from core.vocabulary import Channel, EventType
from tasks.sources.market import terms
from tasks.sources.market.assortment import Assortment
from tasks.sources.market.clock import DAY, draw_times, season_weights
from tasks.sources.market.terms import World

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

BROWSING_GAIN = 3.0
"""Choosing among all products is so much sharper than reacting to one that is shown."""
SAME_TYPE, COMPLEMENT, SAME_CATEGORY = 4.0, 1.5, 1.2
"""Logits by which a session's focal type draws the eye."""
SEARCHED_TYPE = 2.5
"""Further logits for the focal type in a session that began with a search."""
CARRY_OVER, FOLLOW_COMPLEMENT = 0.6, 0.6
"""Most that a focus carries over to the next session; chance that one moves to a complement after a purchase."""
MOST_VIEWS = 10
SEARCH_SHARE = 0.45
MOST_LONGER = 8
LONGEST_WORD = 5
"""Longest brand or attribute value, in characters, that a query carries."""
SECOND = 1_000_000


@dataclass(frozen=True)
class Behaviour:
    """Simulated behaviour.

    Attributes:
        world: the world, now with its sessions.
        events: events without ids, unsorted, under the data contract's columns; `user` and `item` hold indices, -1 for none.
    """

    world: World
    events: pd.DataFrame


@dataclass
class _Log:
    """Events as they arise, one list of arrays a column."""

    parts: list[dict[str, npt.NDArray[np.generic]]]

    def add(self, users: Ints, times: Ints, kind: str, channels: npt.NDArray[np.object_], **more: npt.NDArray[np.generic]) -> None:
        """Append events of one kind; more: item, value, basket, query."""
        size = len(users)
        self.parts.append(
            {
                "user": users,
                "item": more.get("item", np.full(size, -1, dtype=np.int64)),
                C.EVENT_TYPE: np.full(size, kind, dtype=object),
                C.QUERY: more.get("query", np.full(size, None, dtype=object)),
                "basket": more.get("basket", np.full(size, -1, dtype=np.int64)),
                C.VALUE: more.get("value", np.zeros(size, dtype=np.int64)),
                C.CHANNEL: channels,
                C.TIMESTAMP: times,
            }
        )


def session_times(world: World, params: MarketParams, rng: np.random.Generator) -> tuple[Ints, Ints]:
    """When which shopper comes.

    Args:
        world: the shoppers' activity and the start.
        params: days and sessions a day.
        rng: the stream to draw from.

    Returns:
        Shopper's index, ascending, and microseconds, ascending within a shopper; each (sessions,).
    """
    counts = rng.poisson(params.sessions_per_day * params.days * world.shoppers.activity)
    users = np.repeat(np.arange(len(counts), dtype=np.int64), counts)
    times = draw_times(len(users), world.start, params.days, rng)
    order = np.lexsort((times, users))
    return users, times[order]


def simulate_sessions(world: World, assortment: Assortment, params: MarketParams, rng: np.random.Generator) -> Behaviour:
    """Let every shopper browse.

    Shoppers proceed together, each through their own sessions in order: what they bought and what they looked for last bears on
    what comes next.

    Args:
        world: latents; its sessions are not read.
        assortment: products, types and queries.
        params: strengths and sizes.
        rng: the stream to draw from.

    Returns:
        The events, and the world with its sessions.

    Raises:
        SourceError: nobody came.
    """
    users, times = session_times(world, params, rng)
    first = np.searchsorted(users, np.arange(len(world.shoppers.user_ids)))
    rank = np.arange(len(users)) - first[users]
    browser = _Browser(world, assortment, params, rng)
    types = np.zeros(len(users), dtype=np.int64)
    if not len(users):
        raise SourceError(f"{params.shoppers} shoppers had no session in {params.days} days; raise market.sessions_per_day.")
    for step in range(int(rank.max()) + 1):
        rows = np.flatnonzero(rank == step)
        types[rows] = browser.sessions(users[rows], times[rows])
    events = pd.DataFrame({name: np.concatenate([part[name] for part in browser.log.parts]) for name in browser.log.parts[0]})
    end = world.start + params.days * DAY
    events = events[events[C.TIMESTAMP] < end]
    return Behaviour(replace(world, session_user=users, session_time=times, session_type=types), events)


class _Browser:
    """Draws one session for each of several shoppers at a time, and remembers what they bought and sought."""

    def __init__(self, world: World, assortment: Assortment, params: MarketParams, rng: np.random.Generator) -> None:
        self.world, self.params, self.rng = world, params, rng
        self.log = _Log([])
        shoppers, strengths = world.shoppers, params.strengths
        shelf = assortment.products
        kinds = assortment.kinds
        category_names = list(dict.fromkeys(kind.category for kind in kinds))
        self.type_category = np.array([category_names.index(kind.category) for kind in kinds])
        self.queries = [_queries(kind.queries, index, assortment) for index, kind in enumerate(kinds)]
        self.price = np.array([product.price_micros or 0 for product in shelf], dtype=np.int64)
        self.consumable = np.array([bool(product.consumable) for product in shelf])
        scale = strengths.taste / world.taste_sd
        self.category_scale = scale
        all_users, all_items = np.arange(len(shoppers.user_ids)), np.arange(len(shelf))
        pair_price = terms.price(world, np.repeat(all_users, len(shelf)), np.tile(all_items, len(all_users))).reshape(len(all_users), -1)
        raw = (
            shoppers.category_from[:, world.item_category]
            + shoppers.type_taste[:, world.item_type]
            + shoppers.brand_taste[:, world.item_brand]
        )
        self.wish = (scale * (raw - world.taste_mean) + strengths.price * pair_price + strengths.popularity * world.appeal).astype(
            np.float32
        )
        self.type_wish = (scale * (shoppers.category_from[:, self.type_category] + shoppers.type_taste)).astype(np.float32)
        self.focus = _focus_logits(world).astype(np.float32)
        self.carry_over = CARRY_OVER * (1.0 - np.exp(-strengths.intent))
        self.last_type = np.full(len(all_users), -1, dtype=np.int64)
        self.just_bought = np.zeros(len(all_users), dtype=bool)
        self.owned = np.zeros((len(all_users), len(shelf)), dtype=bool)
        self.baskets = 0

    def sessions(self, users: Ints, times: Ints) -> Ints:
        """One session each; returns the focal types. (n,)."""
        mood = self._mood(users, times)
        focal = self._focal(users, mood)
        wish = self.wish[users] + mood[:, self.world.item_category]
        searched = self.rng.random(len(users)) < SEARCH_SHARE
        found = searched[:, None] & (self.world.item_type[None, :] == focal[:, None])
        logits = BROWSING_GAIN * wish + self.focus[focal] + np.float32(SEARCHED_TYPE) * found
        logits[self.owned[users]] = -np.inf
        noise = -np.log(self.rng.standard_exponential(logits.shape, dtype=np.float32) + np.float32(1e-20))
        most = min(MOST_VIEWS, logits.shape[1])
        seen = _largest(logits + noise, most)
        views = np.minimum(1 + self.rng.poisson(1.1, len(users)) + (self.rng.geometric(0.62, len(users)) - 1), most)
        self._record(users, times, focal=focal, searched=searched, seen=seen, views=views, wish=wish)
        self.last_type[users] = focal
        return focal

    def _mood(self, users: Ints, times: Ints) -> npt.NDArray[np.float32]:
        """What drift and season add to the wish for each category. (n, categories)."""
        shoppers, world = self.world.shoppers, self.world
        moved = terms.turned(world, users, times)[:, None]
        drifted = self.category_scale * moved * (shoppers.category_to[users] - shoppers.category_from[users])
        earlier, later, weight = season_weights(times)
        demand = (1 - weight)[:, None] * world.seasons[:, earlier].T + weight[:, None] * world.seasons[:, later].T
        mood: npt.NDArray[np.float32] = (drifted + self.params.strengths.season * demand).astype(np.float32)
        return mood

    def _focal(self, users: Ints, mood: npt.NDArray[np.float32]) -> Ints:
        logits = BROWSING_GAIN * (self.type_wish[users] + mood[:, self.type_category])
        fresh = (logits + self.rng.gumbel(size=logits.shape)).argmax(axis=1)
        last = self.last_type[users]
        known = last >= 0
        focal = np.where(known & (self.rng.random(len(users)) < self.carry_over), last, fresh)
        complements = self.world.type_relation == terms.COMPLEMENT
        open_to = known & self.just_bought[users] & complements[last].any(axis=1)
        follows = np.flatnonzero(open_to & (self.rng.random(len(users)) < FOLLOW_COMPLEMENT))
        chances = np.where(complements[last[follows]], self.rng.random((len(follows), complements.shape[1])), -1.0)
        focal[follows] = chances.argmax(axis=1)
        return focal.astype(np.int64)

    def _record(
        self,
        users: Ints,
        times: Ints,
        *,
        focal: Ints,
        searched: npt.NDArray[np.bool_],
        seen: Ints,
        views: Ints,
        wish: npt.NDArray[np.float32],
    ) -> None:
        rng, size = self.rng, len(users)
        elsewhere = np.where(rng.random(size) < 0.8, str(Channel.ONSITE), str(Channel.SOCIAL)).astype(object)
        channels = np.where(searched, str(Channel.SEARCH), elsewhere)
        rows = np.flatnonzero(searched)
        queries = np.array(
            [
                self.queries[kind][int(pick * len(self.queries[kind]))]
                for kind, pick in zip(focal[rows], rng.random(len(rows)), strict=True)
            ],
            dtype=object,
        )
        self.log.add(users[rows], times[rows], EventType.SEARCH, channels[rows], query=queries)
        row, place = np.nonzero(np.arange(seen.shape[1])[None, :] < views[:, None])
        item = seen[row, place]
        gaps = rng.exponential(55 * SECOND, seen.shape) + 8 * SECOND
        moments = times[:, None] + 5 * SECOND + np.cumsum(gaps, axis=1).astype(np.int64)
        at = moments[row, place]
        self.log.add(users[row], at, EventType.VIEW, channels[row], item=item)
        desire = 0.5 * (wish[row, item].astype(np.float64) - 1.5)
        liked = rng.random(len(row)) < _sigmoid(desire - 2.7)
        self.log.add(users[row[liked]], at[liked] + 4 * SECOND, EventType.FAVOURITE, channels[row[liked]], item=item[liked])
        carted = rng.random(len(row)) < _sigmoid(desire - 2.0)
        self.log.add(users[row[carted]], at[carted] + 6 * SECOND, EventType.CART, channels[row[carted]], item=item[carted])
        bought = carted & (rng.random(len(row)) < _sigmoid(desire - 0.5))
        buyer, thing = row[bought], item[bought]
        quantity = 1 + np.where(self.consumable[thing], rng.poisson(0.5, len(thing)), 0)
        checkout = moments[buyer, views[buyer] - 1] + 60 * SECOND
        baskets, number = np.unique(buyer, return_inverse=True)
        self.log.add(
            users[buyer], checkout, EventType.PURCHASE, channels[buyer],
            item=thing, value=self.price[thing] * quantity, basket=self.baskets + number.astype(np.int64),
        )  # fmt: skip
        self.baskets += len(baskets)
        self.owned[users[buyer], thing] |= ~self.consumable[thing]
        self.just_bought[users] = False
        self.just_bought[users[buyer]] = True


def _largest(scores: npt.NDArray[np.float32], count: int) -> Ints:
    """Columns of the largest scores of each row, best first. (n, count)."""
    top = np.argpartition(scores, -count, axis=1)[:, -count:]
    order = np.argsort(-np.take_along_axis(scores, top, axis=1), axis=1, kind="stable")
    return np.take_along_axis(top, order, axis=1).astype(np.int64)


def _focus_logits(world: World) -> Floats:
    """How a focal type draws the eye to each product. (types, items)."""
    relation = world.type_relation[:, world.item_type]
    steps = [relation == terms.SAME_TYPE, relation == terms.COMPLEMENT, relation == terms.SAME_CATEGORY]
    return np.select(steps, [SAME_TYPE, COMPLEMENT, SAME_CATEGORY], 0.0)


def _queries(listed: Sequence[str], index: int, assortment: Assortment) -> list[str]:
    """What is typed for a type: its listed queries thrice each, and some with a brand or an attribute of its products."""
    kind = assortment.kinds[index]
    shelf = [product for product in assortment.products if product.kind == kind]
    words = [word for product in shelf for word in (product.brand, *product.values) if word and len(word) <= LONGEST_WORD]
    longer = dict.fromkeys(
        f"{word}{kind.name}" for word in words if word not in kind.category and word not in kind.name and kind.name not in word
    )
    return [query for query in listed for _ in range(3)] + list(longer)[:MOST_LONGER]


def _sigmoid(logits: Floats) -> Floats:
    p: Floats = 1.0 / (1.0 + np.exp(-logits))
    return p
