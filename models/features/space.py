"""Features of (shopper, item, copy, context): fitted once, computed by one function for training and serving alike."""

from collections.abc import Callable, Sequence
from copy import copy
from itertools import pairwise
from pathlib import Path
from typing import Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from core.columns import Columns
from core.files import write_table
from models.bundle import load_arrays, load_table, save_arrays
from models.features import blocks
from models.features.batch import Candidates, Places, Recommended, Requests
from models.features.catalogue import Catalogue, Vectorise, projection, unit
from models.features.fitted import Fitted
from models.features.memory import Creatives, TextVectors
from models.features.profiles import events_of
from models.features.recency import latest
from models.features.trends import Trends
from models.history import History

PROJECTED = 64
SHOPPER_AXES = 12
COPY_AXES = 12
_REQUESTS_AT_ONCE = 512


class Scorer(Protocol):
    """One recommender."""

    def score(self, histories: Sequence[History], now: NDArray[np.int64] | None = None) -> NDArray[np.float32]:
        """``(r, items)`` logits."""


class ItemFeatures(Protocol):
    """The items of a recommender bundle."""

    @property
    def items(self) -> pd.DataFrame:
        """The items table."""

    def features(self, codes: NDArray[np.int64]) -> NDArray[np.float32]:
        """Centred unit vectors of rows of the table, ``(n, d)``."""


class Recommendations(Protocol):
    """What the features need of a recommender bundle."""

    @property
    def catalogue(self) -> ItemFeatures:
        """The items, in the order of the scores' columns."""

    @property
    def champion(self) -> Scorer:
        """The recommender whose scores are a feature."""

    def user_feature(self, histories: Sequence[History], now: NDArray[np.int64] | None = None) -> NDArray[np.float32]:
        """F, ``(r, d)``."""


class FeatureSpace:
    """Computes features; holds what is looked up more than once.

    Attributes:
        fitted: what was learned from the past.
        catalogue: the items.
        text_vectors: vectors of copies and queries.
    """

    def __init__(self, fitted: Fitted, recommender: Recommendations, vectorise: Vectorise) -> None:
        """Keep the parts.

        Args:
            fitted: what was learned from the past.
            recommender: its items are the catalogue, its champion's scores and F are features.
            vectorise: texts → centred unit vectors ``(n, d)``; asked once for each text.
        """
        self.fitted = fitted
        self._recommender = recommender
        self.catalogue = _catalogue(recommender, fitted.basis)
        self.text_vectors = TextVectors(vectorise, fitted.basis)
        self._creatives = Creatives(self.catalogue, self.text_vectors, fitted)

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
            impressions: those that may be known; at least one of them with a known item and copy.
            copies: the copies table.
            requests: some requests of the training window, to learn the axes of F from.
        """
        shown = impressions.merge(copies[[Columns.COPY, Columns.TEXT]], left_on=Columns.CREATIVE, right_on=Columns.COPY)
        texts = sorted(set(shown[Columns.TEXT].astype(str)))
        vectors = vectorise(texts)
        basis = projection(np.concatenate([_item_vectors(recommender), vectors]), PROJECTED)
        catalogue = _catalogue(recommender, basis)
        memory = TextVectors(vectorise, basis)
        memory.remember(texts, vectors)
        creatives = Creatives(catalogue, memory)
        rows = catalogue.rows_of(shown[Columns.ITEM].to_numpy(dtype=object)).tolist()
        keys = list(zip(shown[Columns.TEXT].astype(str), rows, shown[Columns.CHANNEL].astype(str), strict=True))
        held = creatives.rows(keys)
        cues = creatives.cues[held]
        shopper = recommender.user_feature(requests.histories, requests.timestamps)
        fitted = Fitted(
            basis=basis,
            shopper_axes=projection(shopper - shopper.mean(axis=0), SHOPPER_AXES),
            copy_axes=projection(creatives.vectors - creatives.vectors.mean(axis=0), COPY_AXES),
            cue_mean=cues.mean(axis=0),
            cue_scale=np.maximum(cues.std(axis=0), np.float32(0.05)),
            base_rate=float(impressions[Columns.CLICK].mean()),
            trends=Trends.fit(events, impressions, catalogue),
        )
        space = cls(fitted, recommender, vectorise)
        space.text_vectors.remember(texts, vectors)
        return space

    def reading(self, recommender: Recommendations) -> "FeatureSpace":
        """This space, its tables shared, with scores and F from another object of the same recommender.

        Args:
            recommender: equal in content to the one that it holds.
        """
        other = copy(self)
        other._recommender = recommender
        return other

    def look_up(self, texts: Sequence[str], item_ids: Sequence[str], channels: Sequence[str]) -> Places:
        """Look at creatives now, so that no request has to; creatives of unknown items are left out.

        Args:
            texts: copies.
            item_ids: the item of each.
            channels: the channel of each.

        Returns:
            Where they are remembered, for `Candidates.places`.
        """
        item = self.catalogue.rows_of(list(item_ids))
        known = np.flatnonzero(item >= 0)
        keys = list(zip(texts, item.tolist(), channels, strict=True))
        creative = np.full(len(item), -1, np.int64)
        creative[known] = self._creatives.rows([keys[row] for row in known.tolist()])
        return Places(item, creative, self._creatives.memory)

    def compute(
        self, requests: Requests, candidates: Candidates, *, recommended: Recommended | None = None
    ) -> tuple[NDArray[np.float32], tuple[str, ...]]:
        """Features of candidates.

        Args:
            requests: ``r`` of them, at least 1.
            candidates: ``n`` of them, in any order.
            recommended: what the recommender says of the requests; asked here when None.

        Returns:
            ``(n, features)`` in the order of ``candidates``, and the features' names.

        Raises:
            ValueError: no requests, or a candidate's item is not one of the recommender's.
        """
        if not len(requests):
            raise ValueError("no requests; features need at least one")
        straight = bool((candidates.request[1:] >= candidates.request[:-1]).all())
        if straight and len(requests) <= _REQUESTS_AT_ONCE:
            columns = self._columns(requests, candidates, recommended)
            return np.ascontiguousarray(np.array(list(columns.values()), dtype=np.float32).T), tuple(columns)
        order = np.argsort(candidates.request, kind="stable")
        starts = np.arange(0, len(requests) + _REQUESTS_AT_ONCE, _REQUESTS_AT_ONCE)
        bounds = np.searchsorted(candidates.request[order], starts).tolist()
        filled: NDArray[np.float32] | None = None
        names: tuple[str, ...] = ()
        for part, (start, stop) in enumerate(pairwise(bounds)):
            if start == stop and filled is not None:
                continue
            rows, first = order[start:stop], part * _REQUESTS_AT_ONCE
            told = None if recommended is None else recommended.rows(first, first + _REQUESTS_AT_ONCE)
            columns = self._columns(requests.rows(first, first + _REQUESTS_AT_ONCE), candidates.take(rows, first_request=first), told)
            if filled is None:
                names = tuple(columns)
                filled = np.zeros((len(candidates), len(names)), np.float32)
            filled[rows] = np.array(list(columns.values()), dtype=np.float32).T
        assert filled is not None  # there is at least one part
        return filled, names

    def _columns(self, requests: Requests, candidates: Candidates, told: Recommended | None) -> dict[str, NDArray[np.float32]]:
        held = requests.responses
        answered_item = self.catalogue.rows_of([name for one in held for name in one.item_ids])
        texts, shown_in = [text for one in held for text in one.texts], [name for one in held for name in one.channels]
        seen = list(zip(texts, answered_item.tolist(), shown_in, strict=True))
        answered, places = self._creatives.rows(seen), candidates.places
        if places is None or places.memory is not self._creatives.memory:
            channels = [requests.channels[row] for row in candidates.request.tolist()]
            keys = list(zip(candidates.texts.tolist(), self.catalogue.rows_of(candidates.item_ids).tolist(), channels, strict=True))
            rows = self._creatives.rows([*keys, *seen])  # together: what one computation needs must not be forgotten for its own sake
            answered = rows[len(keys) :]
            places = Places(np.array([row for _, row, _ in keys], dtype=np.int64), rows[: len(keys)], self._creatives.memory)
        unknown = candidates.item_ids[places.item < 0]
        if len(unknown):
            raise ValueError(f"{len(unknown)} candidates are not in the recommender's items, first: {unknown[0]!r}; leave them out")
        if told is None:
            told = Recommended(by_length(self._recommender.champion.score, requests), by_length(self._recommender.user_feature, requests))
        batch = blocks.Joined(
            requests=requests,
            candidates=candidates,
            item=places.item,
            creative=places.creative,
            answered=answered,
            answered_item=answered_item,
            events=events_of(requests, self.catalogue),
            scores=told.scores,
            shopper=told.shopper,
            catalogue=self.catalogue,
            creatives=self._creatives,
            text_vectors=self.text_vectors,
            fitted=self.fitted,
        )
        found: dict[str, NDArray[np.float32]] = {}
        for block in (
            blocks.affine,
            blocks.recommended,
            blocks.searched,
            blocks.written,
            blocks.answered,
            blocks.priced,
            blocks.current,
            latest,
        ):
            found |= block(batch)
        return found

    def save(self, folder: Path) -> None:
        """Write what was fitted and the vectors that are held, so that a reader encodes none of these texts again.

        Args:
            folder: an existing folder.
        """
        self.fitted.save(folder / "features.safetensors")
        texts, vectors = self.text_vectors.held()
        write_table(pd.DataFrame({Columns.TEXT: pd.Series(texts, dtype="str")}), folder / "texts.parquet")
        save_arrays({"vectors": vectors}, folder / "texts.safetensors")

    @classmethod
    def load(cls, folder: Path, recommender: Recommendations, vectorise: Vectorise) -> "FeatureSpace":
        """Read what `save` wrote.

        Args:
            folder: the folder.
            recommender: the recommender bundle that the space was fitted with.
            vectorise: texts → centred unit vectors, for texts that are not held.

        Raises:
            BundleError: a file is missing or cut off.
        """
        space = cls(Fitted.load(folder / "features.safetensors"), recommender, vectorise)
        texts = load_table(folder / "texts.parquet")[Columns.TEXT].astype(str).tolist()
        space.text_vectors.remember_projected(texts, load_arrays(folder / "texts.safetensors")["vectors"])
        return space


def by_length(ask: Callable[[Sequence[History], NDArray[np.int64]], NDArray[np.float32]], requests: Requests) -> NDArray[np.float32]:
    """Ask a recommender about histories of like length together: it pads each batch to its longest.

    Args:
        ask: (histories, moments) → one row a history.
        requests: ``r`` of them.

    Returns:
        ``(r, ...)`` in the order of the requests.
    """
    if len(requests) == 1:
        return ask(requests.histories, requests.timestamps)
    order = np.argsort([len(history) for history in requests.histories], kind="stable")
    found = ask([requests.histories[row] for row in order], requests.timestamps[order])
    straight = np.empty_like(found)
    straight[order] = found
    return straight


def _item_vectors(recommender: Recommendations) -> NDArray[np.float32]:
    return recommender.catalogue.features(np.arange(len(recommender.catalogue.items)))


def _catalogue(recommender: Recommendations, basis: NDArray[np.float32]) -> Catalogue:
    return Catalogue.of(recommender.catalogue.items, unit(_item_vectors(recommender) @ basis))
