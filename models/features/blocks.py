"""The features, block by block; each block is a function of `Joined` and returns columns by name."""

from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from core.vocabulary import CHANNELS, SCENES
from models.cues import CUES
from models.features.batch import Candidates, Requests
from models.features.catalogue import GROUPS, Catalogue
from models.features.fitted import Fitted
from models.features.memory import Creatives, TextVectors
from models.features.profiles import EVER, QUERY_HALF_LIVES, Events, agreements, latest_queries, lookup, named_sum, price_level
from models.features.trends import DAY_MICROS, TABLES

Column = NDArray[np.float32]
MAX_CATEGORIES = 40
"""Categories with a column of their own: the first by name."""
_PRIOR_CLICKS = 2.0


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
    def bounds(self) -> list[int]:
        """Where the candidates of each request begin, and where the last ones end: they stand in the order of their requests."""
        found: list[int] = np.searchsorted(self.request, np.arange(len(self.requests) + 1)).tolist()
        return found

    @cached_property
    def item_vectors(self) -> NDArray[np.float32]:
        """``(n, p)`` vector of each candidate's item."""
        return self.catalogue.vectors[self.item]

    @cached_property
    def copy_vectors(self) -> NDArray[np.float32]:
        """``(n, p)`` vector of each candidate's copy."""
        return self.creatives.vectors[self.creative]

    def to_item(self, profiles: NDArray[np.floating]) -> Column:
        """Dot products of profiles ``(k, r, p)``, or one ``(r, p)``, with each candidate's item: ``(k, n)``, or ``(n,)``."""
        return self._to(profiles, self.item_vectors)

    def to_copy(self, profiles: NDArray[np.floating]) -> Column:
        """Dot products of profiles ``(k, r, p)``, or one ``(r, p)``, with each candidate's copy: ``(k, n)``, or ``(n,)``."""
        return self._to(profiles, self.copy_vectors)

    def _to(self, profiles: NDArray[np.floating], vectors: NDArray[np.float32]) -> Column:
        held = np.asarray(profiles, dtype=np.float32).reshape(-1, *profiles.shape[-2:])  # (k, r, p)
        found = np.empty((len(held), len(vectors)), np.float32)
        for row, (start, stop) in enumerate(pairwise(self.bounds)):  # a request's candidates share its profiles
            found[:, start:stop] = held[:, row] @ vectors[start:stop].T
        return found if profiles.ndim == 3 else found[0]


def recommended(batch: Joined) -> dict[str, Column]:
    """What the recommender makes of the item: log of its share over an equal share; and the shopper's F.

    Args:
        batch: the batch.
    """
    shifted = batch.scores - batch.scores.max(axis=1, keepdims=True)
    logs = shifted - np.log(np.exp(shifted).mean(axis=1, keepdims=True))
    in_space = batch.shopper @ batch.fitted.basis  # (r, p)
    axes = batch.shopper @ batch.fitted.shopper_axes
    found = {"recommender": logs[batch.request, batch.item], "F · item": batch.to_item(in_space), "F · copy": batch.to_copy(in_space)}
    return found | {f"shopper {axis}": axes[batch.request, axis] for axis in range(axes.shape[1])}


def searched(batch: Joined) -> dict[str, Column]:
    """Closeness of item and copy to the latest queries, by age.

    Args:
        batch: the batch.
    """
    asker, texts, ages = latest_queries(batch.requests)
    r = len(batch.requests)
    vectors = batch.text_vectors(texts)
    profiles = []
    for _, half_life in QUERY_HALF_LIVES:
        weights = np.exp2(-ages / half_life).astype(np.float32)
        total = np.bincount(asker, weights=weights, minlength=r).astype(np.float32)
        summed = sp.csr_matrix((weights, (asker, np.arange(len(texts)))), shape=(r, len(texts))) @ vectors
        profile = (summed / (total + 0.5)[:, None]).astype(np.float32)
        profiles.append(profile)
    to_item, to_copy = batch.to_item(np.stack(profiles)), batch.to_copy(np.stack(profiles))
    found = {}
    for row, (name, _) in enumerate(QUERY_HALF_LIVES):
        found[f"query · item: {name}"], found[f"query · copy: {name}"] = to_item[row], to_copy[row]
    return found


def written(batch: Joined) -> dict[str, Column]:
    """What the copy is like, and whether it names what the shopper looks for.

    Args:
        batch: the batch.
    """
    fitted, made, catalogue = batch.fitted, batch.creatives, batch.catalogue
    seen = (made.cues[batch.creative] - fitted.cue_mean) / fitted.cue_scale
    found = {f"copy: {name}": seen[:, column] for column, name in enumerate(CUES)}
    axes = batch.copy_vectors @ fitted.copy_axes
    found.update({f"copy {axis}": axes[:, axis] for axis in range(axes.shape[1])})
    r = len(batch.requests)
    total = batch.events.totals[EVER] + 1
    ever = sp.csr_matrix(batch.events.matrix[EVER * r : (EVER + 1) * r])
    tastes = sp.csr_matrix(ever @ catalogue.labels[:, catalogue.bounds[-2] :])
    found["named attributes liked"] = named_sum(tastes, batch.request, made.named, batch.creative) / total[batch.request]
    found["closeness of copy"] = batch.to_copy((ever @ catalogue.vectors) / total[:, None])
    found["copy · item"] = np.einsum("np,np->n", batch.copy_vectors, batch.item_vectors)
    return found


def answered(batch: Joined) -> dict[str, Column]:
    """What the shopper's answers to earlier ads say: clicks above what was to be expected, by what was shown.

    For a quality x of an ad (a cue, the text's vector, the item's labels) the shopper's leaning is Σ (click − rate) · x over
    earlier ads, divided by the clicks expected of them + `_PRIOR_CLICKS`; a candidate gets leaning · its own x.

    Args:
        batch: the batch.
    """
    fitted, made, catalogue, request = batch.fitted, batch.creatives, batch.catalogue, batch.request
    r = len(batch.requests)
    who = np.repeat(np.arange(r), [len(held) for held in batch.requests.responses])
    clicks = np.concatenate([np.zeros(0, np.float32), *[held.clicks for held in batch.requests.responses]])
    surprise = (clicks - fitted.base_rate).astype(np.float32)
    seen = np.bincount(who, minlength=r).astype(np.float32)
    trust = 1 / (seen * np.float32(fitted.base_rate) + np.float32(_PRIOR_CLICKS))  # (r,)
    by_ad = sp.csr_matrix((surprise, (who, np.arange(len(who)))), shape=(r, len(who)), dtype=np.float32)
    shown, own = ((made.cues[rows] - fitted.cue_mean) / fitted.cue_scale for rows in (batch.answered, batch.creative))
    products = ((by_ad @ shown) * trust[:, None])[request] * own  # (n, cues)
    found = {f"answers to {name}": products[:, column] for column, name in enumerate(CUES)}
    found["answers to cues"] = products.sum(axis=1)
    found["answers to copy"] = batch.to_copy((by_ad @ made.vectors[batch.answered]) * trust[:, None])
    found["answers in all"] = (np.bincount(who, weights=surprise, minlength=r).astype(np.float32) * trust)[request]
    found["answers counted"] = np.log1p(seen)[request]
    by_creative = sp.csr_matrix((surprise, (who, batch.answered)), shape=(r, len(made.cues)), dtype=np.float32)
    named = sp.csr_matrix(by_creative @ made.named)
    found["answers to named attributes"] = named_sum(named, request, made.named, batch.creative) * trust[request]
    found["answers to named keys"] = _named_keys(batch, who, surprise) * trust[request]
    known = batch.answered_item >= 0
    place = (who[known], batch.answered_item[known])
    by_item = sp.csr_matrix((surprise[known], place), shape=(r, len(catalogue)), dtype=np.float32)
    shared = agreements(sp.csr_matrix(by_item @ catalogue.labels), request[None, :], catalogue, batch.item)
    found.update({f"answers to {name}": shared[row, 0] * trust[request] for row, name in enumerate(GROUPS)})
    found["answers to item"] = lookup(by_item, request, batch.item) * trust[request]
    found["answers near item"] = batch.to_item((by_item @ catalogue.vectors) * trust[:, None])
    price = np.nan_to_num(catalogue.price)
    found["answers to price"] = (np.asarray(by_item @ price) * trust)[request] * price[batch.item]
    return found


def _named_keys(batch: Joined, who: NDArray[np.int64], surprise: NDArray[np.float32]) -> Column:
    """Leaning towards what a copy talks about, such as colour or material, whatever the value: (n,)."""
    rows, place = np.unique(np.concatenate([batch.answered, batch.creative]), return_inverse=True)
    named = sp.csr_matrix(batch.creatives.named[rows] @ batch.catalogue.keys)  # (rows, keys)
    told = np.asarray(named.sum(axis=1)).ravel()
    shares = sp.csr_matrix(sp.diags_array(1 / np.maximum(told, 1)) @ named, dtype=np.float32)
    ads = place[: len(batch.answered)]
    leaning = sp.csr_matrix((surprise, (who, ads)), shape=(len(batch.requests), len(rows)), dtype=np.float32) @ shares
    return named_sum(sp.csr_matrix(leaning), batch.request, shares, place[len(batch.answered) :])


def priced(batch: Joined) -> dict[str, Column]:
    """The item's price beside what the shopper usually looks at; 0 where the price is unknown.

    Args:
        batch: the batch.
    """
    level = price_level(batch.events, batch.catalogue, len(batch.requests))[batch.request]
    price = batch.catalogue.price[batch.item]
    known = ~np.isnan(price)
    gap = np.where(known, np.nan_to_num(price) - level, 0).astype(np.float32)
    return {
        "price": np.nan_to_num(price),
        "price known": known.astype(np.float32),
        "price level of shopper": level,
        "price squared": np.minimum(np.nan_to_num(price) ** 2, 9),
        "price · level": np.where(known, np.nan_to_num(price) * level, 0).astype(np.float32),
        "price gap": gap,
        "price distance": np.abs(gap),
        "price distance squared": np.minimum(gap**2, 9),
    }


def current(batch: Joined) -> dict[str, Column]:
    """Popularity and season on the day, how much is known of the shopper, scene, channel, hour, weekday, category, position.

    Args:
        batch: the batch.
    """
    request, moments = batch.request, batch.requests.timestamps
    category = batch.catalogue.category[batch.item]
    columns = {name: batch.item if name.startswith("item") else category for name in TABLES}
    found = {name: batch.fitted.trends.at(name, moments[request], column) for name, column in columns.items()}
    last = np.array([history.timestamps[-1] if len(history) else 0 for history in batch.requests.histories], dtype=np.int64)
    size = np.array([len(history) for history in batch.requests.histories], dtype=np.float32)
    found["events"] = np.log1p(size)[request]
    found["days since last event"] = np.log1p(np.where(last > 0, (moments - last) / DAY_MICROS, 60.0)).astype(np.float32)[request]
    hour = (moments % DAY_MICROS) / DAY_MICROS * 2 * np.pi
    weekday = (moments // DAY_MICROS + 3) % 7  # 1970-01-01 was a Thursday
    found |= {"hour sine": np.sin(hour).astype(np.float32)[request], "hour cosine": np.cos(hour).astype(np.float32)[request]}
    found |= {f"weekday {day}": (weekday == day).astype(np.float32)[request] for day in range(7)}
    for word, words, values in (("scene", SCENES, batch.requests.scenes), ("channel", CHANNELS, batch.requests.channels)):
        given = np.array(values, dtype=object)
        found |= {f"{word} {name}": (given == name).astype(np.float32)[request] for name in words}
    names = batch.catalogue.category_names[:MAX_CATEGORIES]
    of_category = (category == np.arange(len(names))[:, None]).astype(np.float32)  # (names, n)
    found |= {f"category {name}": row for name, row in zip(names, of_category, strict=True)}
    found["position"] = batch.candidates.positions.astype(np.float32)
    return found
