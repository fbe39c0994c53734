"""What is computed once for each text or creative and then looked up: projected vectors, cues, named attributes."""

from collections.abc import Sequence

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from models.cues import CUES, cues, named_attributes
from models.features.catalogue import Catalogue, Vectorise, unit
from models.features.fitted import Fitted

MAX_REMEMBERED = 200_000
"""Texts or creatives held in memory; beyond it the memory starts again from nothing."""


class TextVectors:
    """Texts → unit vectors in the projected space, each encoded once.

    Args:
        vectorise: texts to centred vectors; may be slow.
        basis: ``(d, p)``.
    """

    def __init__(self, vectorise: Vectorise, basis: NDArray[np.float32]) -> None:
        self._vectorise = vectorise
        self._basis = basis
        self._rows: dict[str, int] = {}
        self._table = np.zeros((0, basis.shape[1]), np.float32)

    def __call__(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Vectors of texts, repeats allowed; an empty text has the zero vector.

        Args:
            texts: ``n`` of them.

        Returns:
            ``(n, p)``.
        """
        missing = sorted({text for text in texts if text and text not in self._rows})
        if missing:
            self.remember(missing, self._vectorise(missing))
        rows = np.fromiter((self._rows[text] if text else -1 for text in texts), np.int64, len(texts))
        found = self._table[rows] if len(self._table) else np.zeros((len(texts), self._basis.shape[1]), np.float32)
        return np.asarray(np.where(rows[:, None] >= 0, found, 0), dtype=np.float32)

    def remember(self, texts: Sequence[str], vectors: NDArray[np.float32]) -> None:
        """Take vectors over that somebody else has computed, such as a pool's.

        Args:
            texts: distinct, not empty.
            vectors: ``(n, d)`` centred, as `TextEncoder.features` gives them.
        """
        self.remember_projected(texts, unit(vectors @ self._basis))

    def remember_projected(self, texts: Sequence[str], vectors: NDArray[np.float32]) -> None:
        """Take over what `held` gave.

        Args:
            texts: distinct, not empty.
            vectors: ``(n, p)`` unit length.
        """
        if len(self._rows) + len(texts) > MAX_REMEMBERED:
            self._rows, self._table = {}, self._table[:0]
        new = [place for place, text in enumerate(texts) if text and text not in self._rows]
        start = len(self._rows)
        if start + len(new) > len(self._table):  # grows by half: a text that comes alone must not move all others
            room = np.zeros((start // 2 + len(new), self._table.shape[1]), np.float32)
            self._table = np.concatenate([self._table[:start], room])
        self._table[start : start + len(new)] = vectors[new]
        self._rows.update({texts[place]: start + row for row, place in enumerate(new)})

    def held(self) -> tuple[list[str], NDArray[np.float32]]:
        """Every text that is held, sorted, and its vector ``(n, p)``."""
        texts = sorted(self._rows)
        return texts, self._table[[self._rows[text] for text in texts]]


class Creatives:
    """(text, item, channel) → cues, text vector and the attribute values that the text names, each computed once.

    Args:
        catalogue: the items.
        vectors: of texts.
        fitted: what was learned from the past; None while it is being learned, then there are no `faces`.
    """

    def __init__(self, catalogue: Catalogue, vectors: TextVectors, fitted: Fitted | None = None) -> None:
        self._catalogue = catalogue
        self._vectors = vectors
        self._fitted = fitted
        self._value_codes = {name: code for code, name in enumerate(catalogue.value_names)}
        self._forget()

    def _forget(self) -> None:
        self._rows: dict[tuple[str, int, str], int] = {}
        self.memory = object()
        """Another one after everything was forgotten."""
        self.cues: NDArray[np.float32] = np.zeros((0, len(CUES)), np.float32)
        """``(creatives, len(CUES))``."""
        self.vectors: NDArray[np.float32] = np.zeros((0, self._catalogue.vectors.shape[1]), np.float32)
        """``(creatives, p)``."""
        self.named: sp.csr_matrix = sp.csr_matrix((0, sum(self._catalogue.keys.shape)), dtype=np.float32)
        """Sparse ``(creatives, attribute values + attribute keys)``: 1 where the text names the value; what share of them is of the key."""
        self.faces: NDArray[np.float32] = np.zeros((0, 0), np.float32)
        """``(creatives, faces)``: cues in standard deviations, `Fitted.copy_axes`, and the cosine with the creative's own item."""

    def prepare(self, keys: Sequence[tuple[str, int, str]]) -> None:
        """Compute what is not known yet, so that `rows` does not have to.

        Args:
            keys: (text, item row or −1, channel).
        """
        missing = sorted({key for key in keys if key not in self._rows})
        if not missing:
            return
        if len(self._rows) + len(missing) > MAX_REMEMBERED:
            self._forget()
            missing = sorted(set(keys))
        held = self._catalogue
        found, places, codes = [], [], []
        for place, (text, item, channel) in enumerate(missing):
            known = item >= 0
            attributes = held.attributes[item] if known else ()
            brand, category = (held.brands[item], held.categories[item]) if known else ("", "")
            found.append(cues(text, channel, brand=brand, category=category, attributes=attributes))
            for chosen in named_attributes(text, attributes):
                key, value = attributes[chosen]
                places.append(place)
                codes.append(self._value_codes[f"{key}={value}"])
        shape = (len(missing), len(self._value_codes))
        named = sp.csr_matrix((np.ones(len(places), np.float32), (places, codes)), shape=shape, dtype=np.float32)
        named.data[:] = 1.0  # an attribute listed twice is named once
        vectors = self._vectors([text for text, _, _ in missing])  # may fail: until it is here nothing is changed
        start = len(self.cues)
        counted = np.stack(found)
        if self._fitted is not None:
            made = self._faces(counted, vectors, np.array([item for _, item, _ in missing]), self._fitted)
            self.faces = np.concatenate([self.faces.reshape(start, made.shape[1]), made])
        self.cues = np.concatenate([self.cues, counted])
        self.vectors = np.concatenate([self.vectors, vectors])
        told = sp.csr_matrix(named @ held.keys)
        shares = sp.diags_array(1 / np.maximum(np.asarray(told.sum(axis=1)).ravel(), 1)) @ told
        self.named = sp.csr_matrix(sp.vstack([self.named, sp.hstack([named, shares])]), dtype=np.float32)
        self._rows.update({key: start + place for place, key in enumerate(missing)})

    def _faces(
        self, counted: NDArray[np.float32], vectors: NDArray[np.float32], item: NDArray[np.int64], fitted: Fitted
    ) -> NDArray[np.float32]:
        own = np.where(
            item[:, None] >= 0, self._catalogue.vectors[item], np.float32(0)
        )  # unknown items have −1, another's row for a moment
        parts = ((counted - fitted.cue_mean) / fitted.cue_scale, vectors @ fitted.copy_axes, np.einsum("np,np->n", vectors, own)[:, None])
        return np.concatenate(parts, axis=1, dtype=np.float32)

    def rows(self, keys: Sequence[tuple[str, int, str]]) -> NDArray[np.int64]:
        """Rows in `cues`, `vectors` and `named`; what is not known yet is computed. They hold until the next call.

        Args:
            keys: (text, item row or −1, channel), all that one computation needs.
        """
        try:
            return np.array([self._rows[key] for key in keys], dtype=np.int64)
        except KeyError:
            self.prepare(keys)
            return np.array([self._rows[key] for key in keys], dtype=np.int64)
