"""The features, block by block; each block is a function of `Joined` and returns columns by name."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from core.moments import DAY
from core.vocabulary import CHANNELS, SCENES
from models.cues import CUES
from models.features.batch import Candidates, Requests
from models.features.catalogue import GROUPS, Catalogue
from models.features.fitted import Fitted
from models.features.likeness import WAYS
from models.features.memory import Creatives, TextVectors
from models.features.profiles import (
    EVER,
    LIFTED,
    PRIOR_EVENTS,
    QUERY_HALF_LIVES,
    WEIGHTINGS,
    Events,
    Met,
    Profiles,
    entries,
    latest_queries,
    lifts,
    meet,
    price_level,
    profiles,
)
from models.features.runs import Runs
from models.features.trends import TABLES

Column = NDArray[np.float32]
MAX_CATEGORIES = 40
"""Categories with a column of their own: the first by name."""
_PRIOR_CLICKS = 20.0
"""Preferences move the log-odds by tenths: it takes some dozens of clicks to know one better than its prior."""
_HALF_KNOWN = 10.0
"""Events at which half of what can be known of a shopper is. A plain count would be a clock, and a clock's slope does not go on."""


@dataclass(frozen=True)
class Joined:
    """A batch with everything looked up.

    Attributes:
        requests: ``r`` of them.
        candidates: ``n`` of them.
        item: ``(n,)`` item row of each candidate.
        creative: ``(n,)`` row in ``creatives`` of each candidate.
        answered: ``(m,)`` row in ``creatives`` of each earlier ad of all requests.
        answered_item: ``(m,)`` item row of each, −1 when the item is gone.
        events: item events of the requests.
        scores: ``(r, items)`` the recommender's logits.
        shopper: ``(r, d)`` F.
        catalogue: the items.
        creatives: cues, vectors and named attributes of creatives.
        text_vectors: vectors of queries.
        fitted: what was learned from the past.
    """

    requests: Requests
    candidates: Candidates
    item: NDArray[np.int64]
    creative: NDArray[np.int64]
    answered: NDArray[np.int64]
    answered_item: NDArray[np.int64]
    events: Events
    scores: NDArray[np.float32]
    shopper: NDArray[np.float32]
    catalogue: Catalogue
    creatives: Creatives
    text_vectors: TextVectors
    fitted: Fitted

    @property
    def request(self) -> NDArray[np.int64]:
        """``(n,)`` request of each candidate."""
        return self.candidates.request

    @cached_property
    def runs(self) -> Runs:
        """The candidates by request: they stand in the order of their requests."""
        return Runs(self.request, len(self.requests))

    @cached_property
    def who(self) -> NDArray[np.int64]:
        """``(m,)`` request of each earlier ad."""
        return np.repeat(np.arange(len(self.requests)), [len(held) for held in self.requests.responses])

    @cached_property
    def surprise(self) -> NDArray[np.float32]:
        """``(m,)`` click − rate of each earlier ad."""
        clicks = np.concatenate([np.zeros(0, np.float32), *[held.clicks for held in self.requests.responses]])
        return (clicks - np.float32(self.fitted.base_rate)).astype(np.float32)

    @cached_property
    def met(self) -> Met:
        """What shoppers met beside the candidates' items."""
        known = np.flatnonzero(self.answered_item >= 0)
        answers = (self.who[known], self.answered_item[known], self.surprise[known])
        return meet(self.events, answers, (self.request, self.item), self.catalogue)

    @cached_property
    def _named(self) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
        return entries(self.creatives.named, self.creative)

    def named_sums(self, held: Profiles) -> NDArray[np.float32]:
        """Σ over what each candidate's copy names of a profile ``(r, values)`` or ``(r, values + keys)``: ``(2, n)``, values and keys."""
        place, label, weight = self._named
        values = self.catalogue.keys.shape[0]
        of_key = label >= values
        if held.shape[1] == values:
            place, label, weight, of_key = (part[~of_key] for part in (place, label, weight, of_key))
        summed = held.ravel()[self.request[place] * held.shape[1] + label] * weight
        n = len(self.request)
        return np.bincount(place + n * of_key, weights=summed, minlength=2 * n).reshape(2, n).astype(np.float32)

    @cached_property
    def _item_vectors(self) -> NDArray[np.float32]:
        return self.runs.spread(self.catalogue.vectors[self.item]).swapaxes(1, 2)  # (r, p, c)

    @cached_property
    def _copy_vectors(self) -> NDArray[np.float32]:
        return self.runs.spread(self.creatives.vectors[self.creative]).swapaxes(1, 2)  # (r, p, c)

    def to_item(self, held: NDArray[np.floating]) -> Column:
        """Dot products of profiles ``(r, k, p)`` with each candidate's item: ``(k, n)``."""
        return self._to(held, self._item_vectors)

    def to_copy(self, held: NDArray[np.floating]) -> Column:
        """Dot products of profiles ``(r, k, p)`` with each candidate's copy: ``(k, n)``."""
        return self._to(held, self._copy_vectors)

    def _to(self, held: NDArray[np.floating], vectors: NDArray[np.float32]) -> Column:
        found = held.astype(np.float32, copy=False) @ vectors  # (r, k, c)
        return self.runs.gathered(found.swapaxes(1, 2)).T


def _summed(request: NDArray[np.int64], weights: NDArray[np.float32], rows: NDArray[np.float32], r: int) -> NDArray[np.float32]:
    """Weighted sums of rows by request: weights ``(m, k)`` and rows ``(m, p)`` → ``(r, k, p)``."""
    runs = Runs(request, r)
    return np.asarray(runs.spread(weights).swapaxes(1, 2) @ runs.spread(rows))


def affine(batch: Joined) -> dict[str, Column]:
    """Lifts and closeness: what the past says about the item, by kind of likeness and by way to add a history up.

    Args:
        batch: the batch.
    """
    met, totals = batch.met, batch.events.totals
    held = lifts(met, totals, batch.catalogue)[:, :, met.pair]  # (kinds, weightings, n)
    found = {f"{name}: {way[0]}": held[kind, row] for kind, name in enumerate(LIFTED) for row, way in enumerate(WEIGHTINGS)}
    near = (met.events[_VECTOR] / (totals[:, met.request] + np.float32(PRIOR_EVENTS)))[:, met.pair]
    return found | {f"closeness: {way[0]}": row for way, row in zip(WEIGHTINGS, near, strict=True)}


_VECTOR = WAYS.index("vector")


def recommended(batch: Joined) -> dict[str, Column]:
    """What the recommender makes of the item: log of its share over an equal share; and the shopper's F.

    Args:
        batch: the batch.
    """
    shifted = batch.scores - batch.scores.max(axis=1, keepdims=True)
    logs = shifted - np.log(np.exp(shifted).mean(axis=1, keepdims=True))
    in_space = (batch.shopper @ batch.fitted.basis)[:, None]  # (r, 1, p)
    axes = (batch.shopper @ batch.fitted.shopper_axes).T[:, batch.request]  # (axes, n)
    found = {"recommender": logs[batch.request, batch.item], "F · item": batch.to_item(in_space)[0], "F · copy": batch.to_copy(in_space)[0]}
    return found | {f"shopper {axis}": row for axis, row in enumerate(axes)}


def searched(batch: Joined) -> dict[str, Column]:
    """Closeness of item and copy to the latest queries, by age.

    Args:
        batch: the batch.
    """
    asker, texts, ages = latest_queries(batch.requests)
    r = len(batch.requests)
    weights = np.stack([np.exp2(-ages / np.float32(half_life)) for _, half_life in QUERY_HALF_LIVES], axis=1)  # (q, half-lives)
    totals = np.stack([np.bincount(asker, weights=column, minlength=r) for column in weights.T], axis=1).astype(np.float32)
    held = _summed(asker, weights, batch.text_vectors(texts), r) / (totals + np.float32(0.5))[:, :, None]  # (r, half-lives, p)
    to_item, to_copy = batch.to_item(held), batch.to_copy(held)
    found = {}
    for row, (name, _) in enumerate(QUERY_HALF_LIVES):
        found[f"query · item: {name}"], found[f"query · copy: {name}"] = to_item[row], to_copy[row]
    return found


def written(batch: Joined) -> dict[str, Column]:
    """What the copy is like, and whether it names what the shopper looks for.

    Args:
        batch: the batch.
    """
    made, catalogue, events, r = batch.creatives, batch.catalogue, batch.events, len(batch.requests)
    faces = made.faces[batch.creative].T  # (faces, n)
    found = {f"copy: {name}": row for name, row in zip(CUES, faces, strict=False)}
    found.update({f"copy {axis}": row for axis, row in enumerate(faces[len(CUES) : -1])})
    total, ever = events.totals[EVER] + 1, events.weights[EVER]
    tastes = profiles(events.request, events.item, ever, catalogue.of_group[GROUPS[-1]], r)
    found["named attributes liked"] = batch.named_sums(tastes)[0] / total[batch.request]
    liked = _summed(events.request, ever[:, None], catalogue.vectors[events.item], r) / total[:, None, None]
    found["closeness of copy"] = batch.to_copy(liked)[0]
    found["copy · item"] = faces[-1]
    return found


def answered(batch: Joined) -> dict[str, Column]:
    """What the shopper's answers to earlier ads say: clicks above what was to be expected, by what was shown.

    For a quality x of an ad (a cue, the text's vector, the item's labels) the shopper's leaning is Σ (click − rate) · x over
    earlier ads, divided by the clicks expected of them + `_PRIOR_CLICKS`; a candidate gets leaning · its own x.

    Args:
        batch: the batch.
    """
    made, request, who, surprise = batch.creatives, batch.request, batch.who, batch.surprise
    r, cues = len(batch.requests), len(CUES)
    seen = np.bincount(who, minlength=r).astype(np.float32)
    trust = 1 / (seen * np.float32(batch.fitted.base_rate) + np.float32(_PRIOR_CLICKS))  # (r,)
    shown = np.concatenate([made.faces[batch.answered, :cues], made.vectors[batch.answered]], axis=1)
    leaning = _summed(who, surprise[:, None], shown, r)[:, 0] * trust[:, None]  # (r, cues + p)
    products = (leaning[:, :cues][request] * made.faces[batch.creative, :cues]).T  # (cues, n)
    found = {f"answers to {name}": row for name, row in zip(CUES, products, strict=True)}
    found["answers to cues"] = products.sum(axis=0)
    found["answers to copy"] = batch.to_copy(leaning[:, None, cues:])[0]
    found["answers in all"] = (np.bincount(who, weights=surprise, minlength=r).astype(np.float32) * trust)[request]
    named = batch.named_sums(profiles(who, batch.answered, surprise, made.named, r)) * trust[request]
    found["answers to named attributes"], found["answers to named keys"] = named
    met = batch.met
    shared = (met.answers * trust[met.request])[:, met.pair]  # (ways of likeness, n)
    for name in (*GROUPS, "item"):
        found[f"answers to {name}"] = shared[WAYS.index(name)]
    found["answers near item"] = shared[_VECTOR]
    price, known = np.nan_to_num(batch.catalogue.price), np.flatnonzero(batch.answered_item >= 0)
    paid = np.bincount(who[known], weights=surprise[known] * price[batch.answered_item[known]], minlength=r)
    found["answers to price"] = (paid.astype(np.float32) * trust)[request] * price[batch.item]
    return found


def priced(batch: Joined) -> dict[str, Column]:
    """The item's price beside what the shopper usually looks at; 0 where the price is unknown.

    Args:
        batch: the batch.
    """
    level = price_level(batch.events, batch.catalogue, len(batch.requests))[batch.request]
    price, known, squared = np.take(batch.catalogue.priced, batch.item, axis=1)
    gap = (price - level) * known
    return {
        "price": price,
        "price known": known,
        "price level of shopper": level,
        "price squared": squared,
        "price · level": price * level,
        "price gap": gap,
        "price distance": np.abs(gap),
        "price distance squared": np.minimum(gap**2, 9),
    }


def current(batch: Joined) -> dict[str, Column]:
    """Popularity and season on the day, how much is known of the shopper, scene, channel, hour, weekday, category, position.

    Args:
        batch: the batch.
    """
    request, catalogue, requests, met = batch.request, batch.catalogue, batch.requests, batch.met
    trends, moments = batch.fitted.trends, requests.timestamps
    columns = {True: met.item, False: catalogue.category[met.item]}
    days = trends.rows(moments)[met.request]
    of_day = np.stack([trends.tables[name][days, columns[name.startswith("item")]] for name in TABLES])  # (tables, pairs)
    found = dict(zip(TABLES, np.take(of_day, met.pair, axis=1), strict=True))
    last = np.array([history.timestamps[-1] if len(history) else 0 for history in requests.histories], dtype=np.int64)
    hour = (moments % DAY) / DAY * 2 * np.pi
    weekday = (moments // DAY + 3) % 7  # 1970-01-01 was a Thursday
    held = np.zeros((len(_OF_REQUEST), len(requests)), np.float32)
    size = np.array([len(history) for history in requests.histories], dtype=np.float32)
    held[0] = size / (size + np.float32(_HALF_KNOWN))
    held[1] = np.log1p(np.where(last > 0, (moments - last) / DAY, 60.0))
    held[2], held[3] = np.sin(hour), np.cos(hour)
    told = zip(weekday.tolist(), requests.scenes, requests.channels, strict=True)
    for row, (day, scene, channel) in enumerate(told):
        for name in (f"weekday {day}", f"scene {scene}", f"channel {channel}"):
            if name in _PLACE:
                held[_PLACE[name], row] = 1
    found |= zip(_OF_REQUEST, np.take(held, request, axis=1), strict=True)
    names = catalogue.category_names[:MAX_CATEGORIES]
    found |= zip((f"category {name}" for name in names), np.take(catalogue.of_category[: len(names)], batch.item, axis=1), strict=True)
    found["position"] = batch.candidates.positions.astype(np.float32)
    return found


_OF_REQUEST = (
    *("events", "days since last event", "hour sine", "hour cosine"),
    *(f"weekday {day}" for day in range(7)),
    *(f"scene {name}" for name in SCENES),
    *(f"channel {name}" for name in CHANNELS),
)
_PLACE = {name: place for place, name in enumerate(_OF_REQUEST)}
