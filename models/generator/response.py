"""How audiences respond to the manner of a copy: a shrunken click model over cues, fitted on logged impressions.

Which copies an audience was shown says what it shops for, which the product says already; what is left to a writer is the manner. So a
copy speaks to the audience that clicks more on copy of its manner than others do, when place, product and the audience's own liking of
the category are allowed for.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from core.columns import Columns as C
from core.vocabulary import CHANNELS, SCENES
from models.bundle import load_arrays, save_arrays
from models.cues import CUES, cues
from models.generator.request import CopyRequest
from models.generator.training_copies import Copy

Floats = NDArray[np.float64]

CONTRAST = 3.0
"""How far apart audiences are told: log-odds of belonging for a standard deviation of the difference in response."""
_EVERYONE_RIDGE, _PERSONAL_RIDGE = 100.0, 300.0
"""Prior precision of a response a standard deviation of a cue: 0.1 and 0.06 log-odds."""
_STEPS = 8
_CELL_PRIOR = 20.0
"""Expected clicks are shrunk as by so many impressions at the mean rate."""


@dataclass(frozen=True)
class ResponseModel:
    """Log-odds of a click a standard deviation of each cue.

    Attributes:
        audiences: ids, in the order of the rows of ``personal``.
        centre: (places, cues) mean cues of human copy by scene and channel.
        scale: (cues,) standard deviation within a place, 0 where human copy does not vary.
        everyone: (cues,) response of all shoppers.
        personal: (audiences, cues) what an audience's response differs by; columns sum to 0.
        spread: root mean square of the differing responses over human copies; 0 when nothing is known.
        clicks: clicks it was fitted on.
    """

    audiences: tuple[str, ...]
    centre: Floats
    scale: Floats
    everyone: Floats
    personal: Floats
    spread: float
    clicks: int

    def manner(self, texts: Sequence[str], requests: Sequence[CopyRequest]) -> Floats:
        """Standardised cues, each beside human copy of the same scene and channel.

        Args:
            texts: one a request.
            requests: product and place of each.

        Returns:
            (n, cues).
        """
        raw = _cues(texts, requests) - self.centre[_places(requests)]
        return np.divide(raw, self.scale, out=np.zeros_like(raw), where=self.scale > 0)

    def belonging(self, texts: Sequence[str], requests: Sequence[CopyRequest]) -> Floats:
        """To which audience each text speaks.

        Args:
            texts: one a request.
            requests: product and place of each.

        Returns:
            (n, audiences), rows sum to 1; equal shares when nothing is known.
        """
        if not self.audiences:
            return np.zeros((len(texts), 0))
        differing = self.manner(texts, requests) @ self.personal.T
        logits = CONTRAST * differing / self.spread if self.spread > 0 else np.zeros_like(differing)
        odds = np.exp(logits - logits.max(1, keepdims=True))
        shares: Floats = odds / odds.sum(1, keepdims=True)
        return shares

    def fit_of(self, texts: Sequence[str], request: CopyRequest) -> Floats:
        """How well texts for one order fit its audience.

        Args:
            texts: candidates.
            request: the order.

        Returns:
            (n,) in [0, 1]: the share of belonging; 1 for everyone, and for an audience that the model does not know.
        """
        if request.audience_id not in self.audiences or not texts:
            return np.ones(len(texts))
        return self.belonging(texts, [request] * len(texts))[:, self.audiences.index(str(request.audience_id))]

    def save(self, path: Path) -> None:
        """Write the arrays; the ids belong into the bundle's config.

        Args:
            path: the safetensors file.
        """
        numbers = np.array([self.spread, self.clicks], np.float64)
        parts = {"centre": self.centre, "scale": self.scale, "everyone": self.everyone, "personal": self.personal, "numbers": numbers}
        save_arrays(parts, path)

    @classmethod
    def load(cls, path: Path, audiences: Sequence[str]) -> "ResponseModel":
        """Read what `save` wrote.

        Args:
            path: the safetensors file.
            audiences: their ids.

        Raises:
            BundleError: the file is missing or truncated.
        """
        held = load_arrays(path)
        spread, clicks = held["numbers"].tolist()
        return cls(tuple(audiences), held["centre"], held["scale"], held["everyone"], held["personal"], spread, int(clicks))


def _places(requests: Sequence[CopyRequest]) -> NDArray[np.int64]:
    return np.array([SCENES.index(r.scene) * len(CHANNELS) + CHANNELS.index(r.channel) for r in requests], np.int64)


def _cues(texts: Sequence[str], requests: Sequence[CopyRequest]) -> Floats:
    found = [
        cues(text, r.channel, brand=r.brand or "", category=r.category, attributes=r.attributes)
        for text, r in zip(texts, requests, strict=True)
    ]
    return np.array(found, np.float64).reshape(len(texts), len(CUES))


def fit_response(copies: Sequence[Copy], impressions: pd.DataFrame, users: pd.DataFrame, before: datetime) -> ResponseModel:
    """Fit on the impressions of copies.

    Args:
        copies: training copies.
        impressions: logged ads.
        users: user_features.parquet: user_id, audience_id.
        before: impressions from this moment on are not read, UTC.

    Returns:
        The model; without shoppers it has no audiences, without clicks no response.
    """
    names = tuple(sorted(set(users[C.AUDIENCE].astype(str))))
    requests, places = [copy.request for copy in copies], _places([copy.request for copy in copies])
    raw = _cues([copy.text for copy in copies], requests)
    centre = np.tile(raw.mean(0) if len(copies) else np.zeros(len(CUES)), (len(SCENES) * len(CHANNELS), 1))
    for place in np.unique(places):
        centre[place] = raw[places == place].mean(0)
    scale = (raw - centre[places]).std(0) if len(copies) else np.zeros(len(CUES))
    scale[scale < 1e-3] = 0.0
    nothing = np.zeros(len(CUES))
    empty = ResponseModel(names, centre, scale, nothing, np.zeros((len(names), len(CUES))), 0.0, 0)
    logged = impressions[impressions[C.TIMESTAMP] < pd.Timestamp(before)] if len(impressions) else impressions
    rows = pd.Index([copy.copy_id for copy in copies]).get_indexer(pd.Index(logged[C.CREATIVE].astype(str)))
    audience = pd.Series(pd.Index(names).get_indexer(pd.Index(users[C.AUDIENCE].astype(str))), index=users[C.USER].astype(str).to_numpy())
    belongs = logged[C.USER].astype(str).map(audience).fillna(-1).to_numpy(np.int64)
    known = (rows >= 0) & (belongs >= 0)
    click = logged[C.CLICK].to_numpy(np.float64)[known]
    if not names or not click.any():
        return empty
    rows, belongs = rows[known], belongs[known]
    item = pd.factorize(np.array([request.item_id for request in requests], dtype=object))[0][rows]
    category = pd.factorize(np.array([request.category for request in requests], dtype=object))[0][rows]
    position = logged[C.POSITION].to_numpy(np.int64)[known]
    expected = _expected(click, (places[rows], position, item, category * len(names) + belongs))
    everyone, personal = _regress(empty.manner([copy.text for copy in copies], requests)[rows], click, expected, belongs, len(names))
    personal = personal - personal.mean(0)
    differing = empty.manner([copy.text for copy in copies], requests) @ personal.T
    return ResponseModel(names, centre, scale, everyone, personal, float(np.sqrt(np.mean(differing**2))), int(click.sum()))


def _expected(click: Floats, cells: Sequence[NDArray[np.int64]]) -> Floats:
    """Log-odds of a click by where, what and to whom: one shrunken factor a cell of each grouping, in turns."""
    rate = click.mean()
    odds = np.full(len(click), np.log(rate / (1 - rate)) if rate < 1 else 10.0)
    for _ in range(3):
        for cell in cells:
            seen, wanted = (np.bincount(cell, part) + _CELL_PRIOR * rate for part in (click, 1 / (1 + np.exp(-odds))))
            odds = odds + np.log(seen / wanted)[cell]
    return odds


def _regress(x: Floats, click: Floats, expected: Floats, belongs: NDArray[np.int64], audiences: int) -> tuple[Floats, Floats]:
    """Ridge logistic regression with an offset, everyone's and each audience's responses in turns by Newton steps."""
    everyone, personal = np.zeros(x.shape[1]), np.zeros((audiences, x.shape[1]))

    def step(rows: NDArray[np.bool_], held: Floats, ridge: float) -> Floats:
        p = 1 / (1 + np.exp(-(expected[rows] + x[rows] @ everyone + np.einsum("nd,nd->n", x[rows], personal[belongs[rows]]))))
        slope = x[rows].T @ (click[rows] - p) - ridge * held
        curve = (x[rows] * (p * (1 - p))[:, None]).T @ x[rows] + ridge * np.eye(x.shape[1])
        found: Floats = held + np.linalg.solve(curve, slope)
        return found

    for _ in range(_STEPS):
        everyone = step(np.ones(len(click), bool), everyone, _EVERYONE_RIDGE)
        for audience in range(audiences):
            personal[audience] = step(belongs == audience, personal[audience], _PERSONAL_RIDGE)
    return everyone, personal
