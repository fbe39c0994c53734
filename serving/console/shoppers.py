"""Shoppers to pick, and the past of the one who is looked at."""

import secrets
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from core.identity import pseudonymise
from models.features import Responses
from models.history import GAP, History
from serving.api import Fault
from serving.clock import moment
from serving.console.api import Deed, ProductAnswer, ShopperSeen, SlatesRequest
from serving.errors import invalid
from serving.model_set import ModelSet
from serving.reading import plain, readable_history
from serving.service import Parts, Shopper
from serving.state import Past

TOLD = 40
"""Latest events that the page shows."""
LOOKED_AT = 30
"""Latest events of a shopper that say what they are after."""
RECENT = 2_000
"""Latest stored events among which active shoppers are looked for."""
FEWEST = 3
"""Events of a shopper who is worth picking."""
TRIES = 4
_ACTIVE = (
    "SELECT user_id FROM events WHERE seq > (SELECT COALESCE(MAX(seq), 0) FROM events) - ? GROUP BY user_id ORDER BY MAX(seq) DESC LIMIT ?"
)
_ANYONE = "SELECT user_id FROM past_events WHERE user_id >= ? ORDER BY user_id LIMIT 1"


class Shoppers:
    """Finds shoppers and reads their pasts."""

    def __init__(self, parts: Parts) -> None:
        """Args: what to work with."""
        self._parts = parts
        self._state, self._store = parts.storage.state, parts.storage.store

    def some(self, count: int) -> list[ShopperSeen]:
        """Shoppers, the lately active first.

        Args:
            count: how many at the most.

        Raises:
            RefusedError: there are no champions.
            UnavailableError: the log is away.
        """
        models = self._parts.models()
        active = [str(row[0]) for row in self._store.read(_ACTIVE, (RECENT, max(1, count // 3)))]
        names = list(dict.fromkeys(active))
        found = [self._seen(name, models) for name in names]
        for _ in range(TRIES * count):
            if len(found) >= count:
                break
            rows = self._store.read(_ANYONE, (secrets.token_hex(16),))
            if rows and str(rows[0][0]) not in names:
                names.append(str(rows[0][0]))
                seen = self._seen(names[-1], models)
                if seen.events >= FEWEST:
                    found.append(seen)
        return found[:count]

    def _seen(self, shopper: str, models: ModelSet) -> ShopperSeen:
        history = self._past(shopper, models.world.now()).history
        catalogue = models.recommender.catalogue.index
        categories = models.decider.retrieval.category
        latest = [categories[catalogue[item]] for item in history.item_ids[-LOOKED_AT:] if item in catalogue]
        return ShopperSeen(
            shopper=shopper,
            events=len(history),
            categories=[name for name, _ in Counter(latest).most_common(3)],
            queries=list(dict.fromkeys(query for query in reversed(history.queries) if query))[:3],
            last=moment(int(history.timestamps[-1]) if len(history) else 0),
        )

    def _past(self, shopper: str, now: int) -> Past:
        past = self._state.pasts([shopper], now)[0]
        assert past is not None  # see `serving.service`
        return past

    def of(self, body: SlatesRequest, request_id: str) -> Shopper:
        """Whom a request is about, with their past and what they did since.

        Args:
            body: the request.
            request_id: names a shopper who has no id.

        Raises:
            RefusedError: two shoppers at once, or an event that is wrong.
        """
        if body.shopper is not None and body.user_id is not None:
            raise invalid(Fault(field="user_id", problem="given beside shopper; give one of them"))
        world = self._parts.models().world
        now = world.now()
        since = readable_history(body.history, now, gap=GAP)
        name = body.shopper
        if body.user_id is not None:
            if not plain(body.user_id):
                raise invalid(Fault(field="user_id", problem="holds no visible character"))
            name = pseudonymise([plain(body.user_id)], world.key)[0]
        if name is None:
            own = Past(since, Responses.empty(), whole=not body.history)
            return Shopper(pseudonymise([f"anonymous request {request_id}"], world.key)[0], own)
        past = self._past(name, now)
        return Shopper(name, replace(past, history=_joined(past.history, since), whole=past.whole and not body.history))


def told(history: History, models: ModelSet) -> list[Deed]:
    """The latest events as the page shows them, oldest first.

    Args:
        history: of a shopper.
        models: name the products.
    """
    retrieval, index = models.decider.retrieval, models.recommender.catalogue.index
    found = []
    for place in range(max(0, len(history) - TOLD), len(history)):
        item = history.item_ids[place] or None
        code = index.get(item, -1) if item else -1
        found.append(
            Deed(
                type=history.event_types[place],
                item_id=item,
                title=retrieval.title[code] if code >= 0 else None,
                category=retrieval.category[code] if code >= 0 else None,
                query=history.queries[place] or None,
                timestamp=moment(int(history.timestamps[place])),
            )
        )
    return found


def products(words: str, limit: int, models: ModelSet) -> list[ProductAnswer]:
    """Products that hold all words in title, category or brand; without words, one of each category first.

    Args:
        words: separated by spaces, perhaps none.
        limit: how many at the most.
        models: know the products.
    """
    wanted = words.casefold().split()
    fitting: list[ProductAnswer] = []
    for item_id, item in models.products.items():
        held = f"{item.title} {item.category} {item.brand or ''}".casefold()
        if all(word in held for word in wanted):
            fitting.append(
                ProductAnswer(item_id=item_id, title=item.title, category=item.category, brand=item.brand, price_micros=item.price_micros)
            )
    return _spread(fitting)[:limit]


def _spread(found: Sequence[ProductAnswer]) -> list[ProductAnswer]:
    """The same products, the first of each category first, then the second ones."""
    turn: Counter[str] = Counter()
    places = []
    for place, product in enumerate(found):
        places.append((turn[product.category], place))
        turn[product.category] += 1
    return [found[place] for _, place in sorted(places)]


def _joined(stored: History, since: History) -> History:
    pairs = [
        (kind, query if kind == "search" else item)
        for item, kind, query in zip(since.item_ids, since.event_types, since.queries, strict=True)
    ]
    return stored.extended(pairs, since.timestamps.tolist()) if pairs else stored
