"""Why an item stands where it stands: the events that carried it, the parts of its score, the gates of the sources."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from models.history import History
from models.recommender.base import EventRecommender, Recommender

MOST_EVENTS = 200
"""Latest events that are taken out one by one, where a recommender reads all."""
LEAST = 1e-4
"""Contribution below which an event carried nothing: the last digits of a network's sums."""
_ROWS = 16


@dataclass(frozen=True)
class Explanation:
    """Of one item. A score is the item's logit less the mean of all items' logits: 0 is the catalogue's average item.

    Attributes:
        code: column of the item.
        score: see above.
        parts: what the score is the sum of, each less its mean over all items.
        events: (m,) places in the history of the events that were taken out one by one.
        contributions: (m,) the score less the score of the same history without that event, at the same moment.
    """

    code: int
    score: float
    parts: dict[str, float]
    events: np.ndarray
    contributions: np.ndarray

    def carried(self, most: int) -> list[tuple[int, float]]:
        """The events that raised the score, the one that is missed most first.

        Args:
            most: how many at the most.

        Returns:
            Place in the history and contribution.
        """
        order = np.argsort(-self.contributions, kind="stable")[:most]
        return [(int(self.events[place]), float(self.contributions[place])) for place in order if self.contributions[place] >= LEAST]


def without(history: History, place: int) -> History:
    """The same history without one event.

    Args:
        history: any.
        place: of the event.
    """
    items, kinds, queries = ((*column[:place], *column[place + 1 :]) for column in (history.item_ids, history.event_types, history.queries))
    return History(items, kinds, queries, np.delete(history.timestamps, place))


def explain(
    model: Recommender, history: History, codes: Sequence[int], moment: int, *, reading: Callable[[History], History] = lambda told: told
) -> list[Explanation]:
    """Take every event out once and see what becomes of the scores: what is said is true of the model, whatever it is made of.

    Contributions of single events need not sum to the score: of two views of one item each may be missed little.

    Args:
        model: the one that gave the scores.
        history: what the shopper did.
        codes: columns of the items to explain.
        moment: microseconds since 1970 UTC; events at or after it are not looked at.
        reading: what the model is given of a history, such as the cart that a scene completes (`SceneRules.ranked_by`); it is asked anew
            for every history with an event less, so that only what the shopper did carries a score.

    Returns:
        One a code, in order.
    """
    before, columns = history.before(moment), np.array(codes, dtype=np.int64)
    places = _read(model, before)
    asked = [reading(told) for told in (before, *(without(before, place) for place in places))]
    scores = np.empty((len(asked), len(columns)))
    for start in range(0, len(asked), _ROWS):
        found = model.score(asked[start : start + _ROWS], moment).astype(np.float64)
        scores[start : start + _ROWS] = found[:, columns] - found.mean(axis=1, keepdims=True)
    parts = {name: part.astype(np.float64) for name, part in model.parts(asked[0], moment).items()}
    centred = {name: part[columns] - part.mean() for name, part in parts.items()}
    return [
        Explanation(
            code=int(code),
            score=float(scores[0, row]),
            parts={name: float(part[row]) for name, part in centred.items()},
            events=places,
            contributions=scores[0, row] - scores[1:, row],
        )
        for row, code in enumerate(columns)
    ]


def _read(model: Recommender, history: History) -> np.ndarray:
    """Places of the events that the model can have read: the latest ones that are searches or of an item of the catalogue."""
    known = model.catalogue.codes(history.item_ids) >= 0
    searched = np.array([bool(query) for query in history.queries], dtype=bool)
    most = model.max_events if isinstance(model, EventRecommender) else MOST_EVENTS
    return np.flatnonzero(known | searched)[-most:]
