"""Features of (shopper, item, copy, context): fitted once, computed by one function for training and serving alike."""

from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Protocol

import numpy as np
import pandas as pd
import scipy.sparse as sp
from numpy.typing import NDArray

from core.columns import Columns
from core.errors import BundleError
from core.vocabulary import CHANNELS, SCENES
from models.bundle import load_arrays, save_arrays
from models.features.batch import Candidates, Requests
from models.features.catalogue import Catalogue, Vectorise, project_items, projection
from models.features.cues import CUES
from models.features.memory import Creatives, TextVectors
from models.features.profiles import (
    EVER,
    QUERY_HALF_LIVES,
    Events,
    affinities,
    agreement,
    events_of,
    latest_queries,
    lookup,
    price_level,
)
from models.features.trends import DAY_MICROS, TABLES, Trends
from models.history import History
from models.text import item_texts

PROJECTED = 64
SHOPPER_AXES = 12
COPY_AXES = 12
_REQUESTS_AT_ONCE = 2048
_RESPONSE_PRIOR_CLICKS = 2.0


class Scorer(Protocol):
    """One recommender."""

    def score(self, histories: Sequence[History], now: NDArray[np.int64] | None = None) -> NDArray[np.float32]:
        """``(r, items)`` logits."""


class Recommendations(Protocol):
    """What the features need of a recommender bundle."""

    @property
    def items(self) -> pd.DataFrame:
        """The items table; its order is the order of the scores' columns."""

    @property
    def champion(self) -> Scorer:
        """The recommender whose scores are a feature."""

    def user_feature(self, histories: Sequence[History]) -> NDArray[np.float32]:
        """F, ``(r, d)``."""


@dataclass(frozen=True)
class Fitted:
    """What the features learn from the past; saved in the ranker bundle.

    Attributes:
        basis: ``(d, p)`` text space → projected space.
        shopper_axes: ``(d, SHOPPER_AXES)`` of F.
        copy_axes: ``(p, COPY_AXES)`` of copies' projected vectors.
        cue_mean: ``(cues,)`` over logged impressions.
        cue_scale: ``(cues,)`` standard deviations.
        base_rate: clicks over impressions.
        trends: day tables.
    """

    basis: NDArray[np.float32]
    shopper_axes: NDArray[np.float32]
    copy_axes: NDArray[np.float32]
    cue_mean: NDArray[np.float32]
    cue_scale: NDArray[np.float32]
    base_rate: float
    trends: Trends

    def save(self, path: Path) -> None:
        """Write one safetensors file.

        Args:
            path: the file.
        """
        arrays = {name: getattr(self, name) for name in ("basis", "shopper_axes", "copy_axes", "cue_mean", "cue_scale")}
        numbers = {"base_rate": np.array([self.base_rate]), "first_day": np.array([self.trends.first_day])}
        save_arrays(arrays | numbers | {f"trend {name}": self.trends.tables[name] for name in TABLES}, path)

    @classmethod
    def load(cls, path: Path) -> "Fitted":
        """Read what `save` wrote.

        Args:
            path: the file.

        Raises:
            BundleError: the file is missing, cut off or from another version.
        """
        held = load_arrays(path)
        try:
            trends = Trends(int(held["first_day"][0]), {name: held[f"trend {name}"] for name in TABLES})
            return cls(
                basis=held["basis"],
                shopper_axes=held["shopper_axes"],
                copy_axes=held["copy_axes"],
                cue_mean=held["cue_mean"],
                cue_scale=held["cue_scale"],
                base_rate=float(held["base_rate"][0]),
                trends=trends,
            )
        except KeyError as missing:
            raise BundleError(f"{path}: no array {missing}; train the ranker again.") from None


class FeatureSpace:
    """Computes features; holds what is looked up more than once.

    Args:
        fitted: what was learned from the past.
        recommender: its items are the catalogue, its scores and F are features.
        vectorise: texts → centred unit vectors ``(n, d)``.
    """

    def __init__(self, fitted: Fitted, recommender: Recommendations, vectorise: Vectorise) -> None:
        self.fitted = fitted
        self._recommender = recommender
        self.catalogue = Catalogue.of(recommender.items, project_items(recommender.items, vectorise, fitted.basis))
        self.text_vectors = TextVectors(vectorise, fitted.basis)
        self._creatives = Creatives(self.catalogue, self.text_vectors)

    @classmethod
    def fit(
        cls,
        recommender: Recommendations,
        vectorise: Vectorise,
        *,
        events: pd.DataFrame,
        impressions: pd.DataFrame,
        copies: pd.DataFrame,
        requests: Requests,
    ) -> "FeatureSpace":
        """Learn what the features need to know of the past.

        Args:
            recommender: its items are the catalogue.
            vectorise: texts → centred unit vectors.
            events: those that may be known.
            impressions: those that may be known.
            copies: the copies table.
            requests: some requests of the training window, to learn the axes of F from.
        """
        shown = copies[copies[Columns.COPY].isin(impressions[Columns.CREATIVE])].drop_duplicates(Columns.TEXT).sort_values(Columns.TEXT)
        texts = shown[Columns.TEXT].astype(str).tolist()
        described = vectorise(sorted(set(item_texts(recommender.items))))
        written = vectorise(texts)
        basis = projection(np.concatenate([described, written]), PROJECTED)
        features = recommender.user_feature(requests.histories)
        catalogue = Catalogue.of(recommender.items, project_items(recommender.items, vectorise, basis))
        vectors = TextVectors(vectorise, basis)
        vectors.remember(texts, written)
        creatives = Creatives(catalogue, vectors)
        table = impressions.merge(copies[[Columns.COPY, Columns.TEXT]], left_on=Columns.CREATIVE, right_on=Columns.COPY)
        keys = list(
            zip(
                table[Columns.TEXT].astype(str),
                catalogue.rows_of(table[Columns.ITEM].to_numpy(dtype=object)).tolist(),
                table[Columns.CHANNEL],
                strict=True,
            )
        )
        creatives.prepare(keys)
        seen = creatives.cues[creatives.rows(keys)]
        fitted = Fitted(
            basis,
            projection(features - features.mean(axis=0), SHOPPER_AXES),
            projection(creatives.vectors - creatives.vectors.mean(axis=0), COPY_AXES),
            seen.mean(axis=0),
            np.maximum(seen.std(axis=0), 0.05),
            float(impressions[Columns.CLICK].mean()),
            Trends.fit(events, impressions, catalogue),
        )
        return cls(fitted, recommender, vectorise)

    def reading(self, recommender: Recommendations) -> "FeatureSpace":
        """This space, its tables shared, with scores and F from another object of the same recommender.

        Args:
            recommender: equal in content to the one that it holds.
        """
        other = copy(self)
        other._recommender = recommender
        return other

    def compute(self, requests: Requests, candidates: Candidates) -> tuple[NDArray[np.float32], tuple[str, ...]]:
        """Features of candidates.

        Args:
            requests: ``r`` of them.
            candidates: ``n`` of them, in any order.

        Returns:
            ``(n, features)`` in the order of ``candidates``, and the features' names.
        """
        order = np.argsort(candidates.request, kind="stable")
        bounds = np.searchsorted(candidates.request[order], np.arange(0, len(requests) + _REQUESTS_AT_ONCE, _REQUESTS_AT_ONCE))
        filled: NDArray[np.float32] | None = None
        names: tuple[str, ...] = ()
        for part, (start, stop) in enumerate(pairwise(bounds.tolist())):
            rows = order[start:stop]
            first = part * _REQUESTS_AT_ONCE
            if not len(rows) and filled is not None:
                continue
            found = self._compute(requests.rows(first, first + _REQUESTS_AT_ONCE), candidates.take(rows, first_request=first))
            names = tuple(found)
            if filled is None:
                filled = np.zeros((len(candidates), len(names)), np.float32)
            filled[rows] = np.stack(list(found.values()), axis=1)
        if filled is None:
            raise ValueError("no requests; features need at least one")
        return filled, names

    def _compute(self, requests: Requests, candidates: Candidates) -> dict[str, NDArray[np.float32]]:
        catalogue, request = self.catalogue, candidates.request
        item = catalogue.rows_of(candidates.item_ids)
        if (item < 0).any():
            unknown = candidates.item_ids[item < 0][0]
            raise ValueError(f"{int((item < 0).sum())} candidates are not in the recommender's items, first: {unknown!r}; leave them out")
        events = events_of(requests, catalogue)
        keys = [(str(text), int(row), requests.channels[place]) for text, row, place in zip(candidates.texts, item, request, strict=True)]
        answered = [
            (text, int(row), channel)
            for held in requests.responses
            for text, row, channel in zip(held.texts, catalogue.rows_of(np.array(held.item_ids, dtype=object)), held.channels, strict=True)
        ]
        self._creatives.prepare([*keys, *answered])
        creative = self._creatives.rows(keys)
        found = affinities(events, catalogue, request, item)
        found |= self._recommended(requests, request, item, creative)
        found |= self._searched(requests, request, item, creative)
        found |= self._written(events, request, item, creative)
        found |= self._answered(requests, request, item, creative, self._creatives.rows(answered))
        found |= self._priced(events, len(requests), request, item)
        found |= self._current(requests, candidates, events, item)
        return found

    def _recommended(
        self, requests: Requests, request: NDArray[np.int64], item: NDArray[np.int64], creative: NDArray[np.int64]
    ) -> dict[str, NDArray[np.float32]]:
        scores = self._recommender.champion.score(requests.histories, requests.timestamps)
        shifted = scores - scores.max(axis=1, keepdims=True)
        logs = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True)) + np.log(scores.shape[1])
        feature = self._recommender.user_feature(requests.histories)
        in_space = feature @ self.fitted.basis  # (r, p)
        axes = feature @ self.fitted.shopper_axes
        found = {
            "recommender": logs[request, item],
            "F · item": np.einsum("np,np->n", in_space[request], self.catalogue.vectors[item]),
            "F · copy": np.einsum("np,np->n", in_space[request], self._creatives.vectors[creative]),
        }
        found.update({f"shopper {axis}": axes[request, axis] for axis in range(axes.shape[1])})
        return found

    def _searched(
        self, requests: Requests, request: NDArray[np.int64], item: NDArray[np.int64], creative: NDArray[np.int64]
    ) -> dict[str, NDArray[np.float32]]:
        asker, texts, ages = latest_queries(requests)
        vectors = self.text_vectors(texts)
        found = {}
        for name, half_life in QUERY_HALF_LIVES:
            weights = np.exp2(-ages / half_life).astype(np.float32)
            matrix = sp.csr_matrix((weights, (asker, np.arange(len(texts)))), shape=(len(requests), len(texts)))
            total = np.bincount(asker, weights=weights, minlength=len(requests)).astype(np.float32)
            profile = (matrix @ vectors) / (total + 0.5)[:, None]
            found[f"query · item: {name}"] = np.einsum("np,np->n", profile[request], self.catalogue.vectors[item])
            found[f"query · copy: {name}"] = np.einsum("np,np->n", profile[request], self._creatives.vectors[creative])
        return found

    def _written(
        self, events: Events, request: NDArray[np.int64], item: NDArray[np.int64], creative: NDArray[np.int64]
    ) -> dict[str, NDArray[np.float32]]:
        fitted, made = self.fitted, self._creatives
        seen = (made.cues[creative] - fitted.cue_mean) / fitted.cue_scale
        found = {f"copy: {name}": seen[:, column] for column, name in enumerate(CUES)}
        axes = made.vectors[creative] @ fitted.copy_axes
        found.update({f"copy {axis}": axes[:, axis] for axis in range(axes.shape[1])})
        r = events.totals.shape[1]
        ever = sp.csr_matrix(events.matrix[EVER * r : (EVER + 1) * r])
        tastes = sp.csr_matrix(ever @ self.catalogue.groups["value"])
        found["named attributes liked"] = agreement(tastes, request[None, :], made.named, creative)[0] / (events.totals[EVER][request] + 1)
        profile = (ever @ self.catalogue.vectors) / (events.totals[EVER] + 1)[:, None]
        found["closeness of copy"] = np.einsum("np,np->n", profile[request], made.vectors[creative])
        found["copy · item"] = np.einsum("np,np->n", made.vectors[creative], self.catalogue.vectors[item])
        return found

    def _answered(
        self,
        requests: Requests,
        request: NDArray[np.int64],
        item: NDArray[np.int64],
        creative: NDArray[np.int64],
        answered: NDArray[np.int64],
    ) -> dict[str, NDArray[np.float32]]:
        """What the shopper's own answers to earlier ads say: clicks above what was to be expected, by what was shown."""
        fitted, made, catalogue = self.fitted, self._creatives, self.catalogue
        r = len(requests)
        who = np.repeat(np.arange(r), [len(held) for held in requests.responses])
        clicks = np.concatenate([np.zeros(0, np.float32), *[held.clicks for held in requests.responses]])
        surprise = (clicks - fitted.base_rate).astype(np.float32)
        trust = 1 / (np.bincount(who, minlength=r).astype(np.float32) * fitted.base_rate + _RESPONSE_PRIOR_CLICKS)  # (r,)
        by_creative = sp.csr_matrix((surprise, (who, answered)), shape=(r, len(made.cues)), dtype=np.float32)
        standard = (made.cues - fitted.cue_mean) / fitted.cue_scale
        taste = (by_creative @ standard) * trust[:, None]  # (r, cues)
        products = taste[request] * standard[creative]
        found = {f"answers to {name}": products[:, column] for column, name in enumerate(CUES)}
        found["answers to cues"] = products.sum(axis=1)
        towards = (by_creative @ made.vectors) * trust[:, None]
        found["answers to copy"] = np.einsum("np,np->n", towards[request], made.vectors[creative])
        found["answers in all"] = (np.bincount(who, weights=surprise, minlength=r).astype(np.float32) * trust)[request]
        found["answers counted"] = np.log1p(np.bincount(who, minlength=r)).astype(np.float32)[request]
        named = sp.csr_matrix(by_creative @ made.named)
        found["answers to named attributes"] = agreement(named, request[None, :], made.named, creative)[0] * trust[request]
        rows = catalogue.rows_of(np.array([name for held in requests.responses for name in held.item_ids], dtype=object))
        known = rows >= 0
        by_item = sp.csr_matrix((surprise[known], (who[known], rows[known])), shape=(r, len(catalogue)), dtype=np.float32)
        for name in ("category", "key", "value"):
            group = catalogue.groups[name]
            found[f"answers to {name}"] = agreement(sp.csr_matrix(by_item @ group), request[None, :], group, item)[0] * trust[request]
        found["answers to item"] = lookup(by_item, request, item) * trust[request]
        found["answers near item"] = np.einsum(
            "np,np->n", ((by_item @ catalogue.vectors) * trust[:, None])[request], catalogue.vectors[item]
        )
        return found

    def _priced(self, events: Events, requests: int, request: NDArray[np.int64], item: NDArray[np.int64]) -> dict[str, NDArray[np.float32]]:
        level = price_level(events, self.catalogue, requests)[request]
        price = self.catalogue.price[item]
        known = ~np.isnan(price)
        gap = np.where(known, np.nan_to_num(price) - level, 0).astype(np.float32)
        return {
            "price": np.nan_to_num(price),
            "price known": known.astype(np.float32),
            "price level of shopper": level,
            "price gap": gap,
            "price distance": np.abs(gap),
            "price distance squared": np.minimum(gap**2, 9),
        }

    def _current(
        self, requests: Requests, candidates: Candidates, events: Events, item: NDArray[np.int64]
    ) -> dict[str, NDArray[np.float32]]:
        request, catalogue, trends = candidates.request, self.catalogue, self.fitted.trends
        moments = requests.timestamps
        when, category = moments[request], catalogue.category[item]
        found = {name: trends.at(name, when, item if name.startswith("item") else category) for name in TABLES}
        last = np.array([history.timestamps[-1] if len(history) else 0 for history in requests.histories], dtype=np.int64)
        size = np.array([len(history) for history in requests.histories], dtype=np.float32)
        found["events"] = np.log1p(size)[request]
        found["days since last event"] = np.log1p(np.where(last > 0, (moments - last) / DAY_MICROS, 60.0)).astype(np.float32)[request]
        hour = (moments % DAY_MICROS) / DAY_MICROS * 2 * np.pi
        weekday = (moments // DAY_MICROS + 3) % 7  # 1970-01-01 was a Thursday
        found |= {"hour sine": np.sin(hour).astype(np.float32)[request], "hour cosine": np.cos(hour).astype(np.float32)[request]}
        found |= {f"weekday {day}": (weekday == day).astype(np.float32)[request] for day in range(7)}
        for word, words, values in (("scene", SCENES, requests.scenes), ("channel", CHANNELS, requests.channels)):
            given = np.array(values, dtype=object)
            found |= {f"{word} {name}": (given == name).astype(np.float32)[request] for name in words}
        found |= {
            f"category {name}": (category == code).astype(np.float32) for code, name in enumerate(catalogue.category_names[:_CATEGORIES])
        }
        found["position"] = candidates.positions.astype(np.float32)
        return found


_CATEGORIES = 40
