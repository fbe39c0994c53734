"""Judges policies on logged requests: each request's candidates, what models think of them, and what they are truly worth."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from core.columns import Columns
from models.features import Candidates, Requests, considered_candidates, requests_of
from models.policies.slate import probabilities
from models.ranker import RankerBundle
from tasks.judge.rankers import texts_of

Floats = NDArray[np.float64]
TrueClick = Callable[[list[str], Requests, Candidates], Floats]
"""(user of each request, requests, candidates) → ``(n,)`` true click probabilities; only a simulated source has it."""


@dataclass(frozen=True)
class LoggedRequests:
    """Requests with their candidates as padded matrices; position 0 throughout.

    Attributes:
        users: ``(r,)`` user of each request.
        present: ``(r, c)`` which cells hold a candidate.
        shown: ``(r,)`` column of the creative that was shown at position 0.
        click: ``(r,)`` whether it was clicked.
        propensity: ``(r,)`` its logging propensity.
        scores: model → ``(r, c)`` p_click; 0 where absent.
        truth: ``(r, c)`` true p_click, 0 where absent; None without a known truth.
    """

    users: NDArray[np.object_]
    present: NDArray[np.bool_]
    shown: NDArray[np.int64]
    click: Floats
    propensity: Floats
    scores: Mapping[str, Floats]
    truth: Floats | None

    def distribution(self, scores: Floats, exploration: float) -> Floats:
        """What a policy would show: ``(r, c)``, rows sum to 1.

        Args:
            scores: ``(r, c)`` larger is better.
            exploration: the policy's floor.
        """
        return probabilities(np.where(self.present, scores, -np.inf), exploration)

    def uniform(self) -> Floats:
        """Every candidate with equal probability: ``(r, c)``."""
        return np.asarray(self.present / self.present.sum(axis=1, keepdims=True), dtype=np.float64)

    def value(self, distribution: Floats) -> Floats:
        """``(r,)`` true click probability of what a policy would show.

        Args:
            distribution: ``(r, c)``.

        Raises:
            ValueError: the source has no known truth.
        """
        if self.truth is None:
            raise ValueError("true values need a source with a known truth, such as the market")
        return np.asarray((distribution * self.truth).sum(axis=1))

    def at_shown(self, matrix: Floats) -> Floats:
        """``(r,)`` the entry of the creative that was shown.

        Args:
            matrix: ``(r, c)``.
        """
        return np.asarray(matrix[np.arange(len(matrix)), self.shown])


def log_requests(
    shown: pd.DataFrame,
    *,
    bundle: RankerBundle,
    impressions: pd.DataFrame,
    events: pd.DataFrame,
    copies: pd.DataFrame,
    true_click: TrueClick | None,
    limit: int,
    rng: np.random.Generator,
) -> LoggedRequests:
    """Score the candidates of held-out requests.

    Args:
        shown: held-out impressions; only position 0 is read.
        bundle: the ranker with its baselines.
        impressions: all impressions: earlier answers of a shopper are features.
        events: the events table.
        copies: the copies table.
        true_click: the known truth, None when there is none.
        limit: requests at the most, drawn at random.
        rng: draws them.

    Returns:
        The requests whose shown creative is among their known candidates.
    """
    top = shown[shown[Columns.POSITION] == 0].reset_index(drop=True)
    if len(top) > limit:
        top = top.iloc[np.sort(rng.choice(len(top), limit, replace=False))].reset_index(drop=True)
    requests, place = requests_of(top, events, texts_of(copies), earlier=impressions)
    candidates, creatives = considered_candidates(top, place, copies)
    by_request = top.assign(_place=place).sort_values("_place", ignore_index=True)
    column = candidates_column(candidates.request)
    width = int(column.max(initial=0)) + 1

    def matrix(values: Floats) -> Floats:
        padded = np.zeros((len(requests), width))
        padded[candidates.request, column] = values
        return padded

    present = matrix(np.ones(len(candidates))) > 0
    was_shown = creatives == by_request[Columns.CREATIVE].to_numpy(dtype=object)[candidates.request]
    hit = matrix(was_shown.astype(np.float64))
    users = by_request[Columns.USER].astype(str).to_numpy(dtype=object)
    kept = hit.any(axis=1)
    scores = {name: matrix(p_click)[kept] for name, (p_click, _) in bundle.predict_all(requests, candidates).items()}
    truth = None if true_click is None else matrix(true_click(users.tolist(), requests, candidates))[kept]
    return LoggedRequests(
        users=users[kept],
        present=present[kept],
        shown=hit[kept].argmax(axis=1).astype(np.int64),
        click=by_request[Columns.CLICK].to_numpy(dtype=np.float64)[kept],
        propensity=by_request[Columns.PROPENSITY].to_numpy(dtype=np.float64)[kept],
        scores=scores,
        truth=truth,
    )


def candidates_column(request: NDArray[np.int64]) -> NDArray[np.int64]:
    """Place of each candidate within its request, counting from 0.

    Args:
        request: ``(n,)`` request of each candidate, not decreasing.
    """
    starts = np.searchsorted(request, request, side="left")
    return np.asarray(np.arange(len(request)) - starts, dtype=np.int64)
