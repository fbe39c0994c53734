"""The frequency cap: how often one shopper may be shown one creative within a day."""

from collections import Counter
from collections.abc import Sequence

import numpy as np

from models.features import Responses
from models.retrieval import Found

WINDOW = 24 * 3_600_000_000
"""Microseconds that count, up to the moment of the decision."""


def within_cap(found: Found, responses: Responses, *, moment: int, cap: int, item_ids: Sequence[str], texts: Sequence[str]) -> Found:
    """The candidates that the shopper may still be shown.

    A creative is told by its item and text, so a creative that is made anew with the same words counts on.

    Args:
        found: candidates.
        responses: what the shopper was shown; only the latest ones are known, `serving.max_events` of them.
        moment: of the decision, microseconds since 1970 UTC.
        cap: showings within `WINDOW`; 0: no cap.
        item_ids: of the recommender's catalogue, by code.
        texts: of the pool, by row.

    Returns:
        The same candidates where nothing is capped.
    """
    if not cap or not len(responses):
        return found
    since = int(np.searchsorted(responses.timestamps, moment - WINDOW, side="right"))
    if since == len(responses):
        return found
    shown = Counter(zip(responses.item_ids[since:], responses.texts[since:], strict=True))
    full = {key for key, count in shown.items() if count >= cap}
    if not full:
        return found
    pairs = zip(found.codes.tolist(), found.rows.tolist(), strict=True)
    kept = np.array([(item_ids[code], texts[row]) not in full for code, row in pairs], dtype=bool)
    return Found(found.codes[kept], found.rows[kept])
