"""What features are computed from: requests, candidates, and what a shopper answered to earlier ads."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from core.columns import Columns
from models.history import History, histories, micros

RESPONSE_LAG_MICROS = 3_600_000_000
"""An impression counts as answered, or left unanswered, one hour after it was shown; younger ones are not looked at."""


@dataclass(frozen=True)
class Responses:
    """The ads that one shopper saw earlier, oldest first, and which were clicked.

    Attributes:
        item_ids: the advertised item of each.
        texts: the copy that was shown.
        channels: where it was shown.
        clicks: ``(m,)`` 0 or 1.
        timestamps: ``(m,)`` int64 µs UTC, when it was shown, not decreasing.
    """

    item_ids: tuple[str, ...]
    texts: tuple[str, ...]
    channels: tuple[str, ...]
    clicks: NDArray[np.float32]
    timestamps: NDArray[np.int64]

    def __post_init__(self) -> None:
        """Check the lengths.

        Raises:
            ValueError: the fields have different lengths.
        """
        sizes = {len(self.item_ids), len(self.texts), len(self.channels), len(self.clicks), len(self.timestamps)}
        if len(sizes) > 1:
            raise ValueError(f"the fields of responses have lengths {sorted(sizes)}; they must be equal")

    def __len__(self) -> int:
        return len(self.item_ids)

    @classmethod
    def empty(cls) -> "Responses":
        """Of a shopper who saw no ad yet."""
        return cls((), (), (), np.zeros(0, np.float32), np.zeros(0, np.int64))

    def before(self, moment: int) -> "Responses":
        """Those whose answer is known at a moment: shown more than `RESPONSE_LAG_MICROS` earlier.

        Args:
            moment: µs UTC.
        """
        return self.first(int(self.timestamps.searchsorted(moment - RESPONSE_LAG_MICROS, side="left")))

    def first(self, size: int) -> "Responses":
        """The oldest ``size`` of them.

        Args:
            size: at least 0.
        """
        if size >= len(self):
            return self
        return Responses(self.item_ids[:size], self.texts[:size], self.channels[:size], self.clicks[:size], self.timestamps[:size])


@dataclass(frozen=True)
class Requests:
    """Ad requests, and what was known of each shopper strictly before.

    Attributes:
        histories: one a request.
        responses: one a request.
        scenes: one a request.
        channels: one a request.
        timestamps: ``(r,)`` int64 µs UTC.
    """

    histories: tuple[History, ...]
    responses: tuple[Responses, ...]
    scenes: tuple[str, ...]
    channels: tuple[str, ...]
    timestamps: NDArray[np.int64]

    def __post_init__(self) -> None:
        """Check the lengths and that nothing comes from the future.

        Raises:
            ValueError: different lengths, or a history or response that is not strictly before its request.
        """
        sizes = {len(self.histories), len(self.responses), len(self.scenes), len(self.channels), len(self.timestamps)}
        if len(sizes) > 1:
            raise ValueError(f"the fields of requests have lengths {sorted(sizes)}; they must be equal")
        for row, moment in enumerate(self.timestamps.tolist()):
            seen = (self.histories[row].timestamps[-1:], self.responses[row].timestamps[-1:])
            if any(times.size and int(times[0]) >= moment for times in seen):
                raise ValueError(
                    f"request {row} looks into the future: its last event is not strictly before it; cut with .before(timestamp)"
                )

    def __len__(self) -> int:
        return len(self.histories)

    @classmethod
    def one(cls, history: History, *, scene: str, channel: str, timestamp: int, responses: Responses | None = None) -> "Requests":
        """A single request, as a service meets it; what lies at or after the request is cut off.

        Args:
            history: of the shopper.
            scene: why an ad is shown.
            channel: where.
            timestamp: now, µs UTC.
            responses: to earlier ads; None for none.
        """
        known = (responses or Responses.empty()).before(timestamp)
        return cls((history.before(timestamp),), (known,), (scene,), (channel,), np.array([timestamp], dtype=np.int64))

    def rows(self, start: int, stop: int) -> "Requests":
        """A run of them.

        Args:
            start: first row.
            stop: first row that is left out.
        """
        part = slice(start, stop)
        return Requests(self.histories[part], self.responses[part], self.scenes[part], self.channels[part], self.timestamps[part])


@dataclass(frozen=True)
class Recommended:
    """What a recommender says of requests, for those who have asked it already.

    Attributes:
        scores: ``(r, items)`` the champion's logits.
        shopper: ``(r, d)`` F.
    """

    scores: NDArray[np.float32]
    shopper: NDArray[np.float32]

    def rows(self, start: int, stop: int) -> "Recommended":
        """A run of requests.

        Args:
            start: first row.
            stop: first row that is left out.
        """
        return Recommended(self.scores[start:stop], self.shopper[start:stop])


@dataclass(frozen=True)
class Places:
    """Where a feature space remembers creatives, for those who ask about the same ones again and again.

    Attributes:
        item: ``(n,)`` item row of each, −1 when the item is unknown.
        creative: ``(n,)`` row of each, −1 when the item is unknown.
        memory: what the rows are rows of; they are looked up anew where another memory has taken its place.
    """

    item: NDArray[np.int64]
    creative: NDArray[np.int64]
    memory: object

    def take(self, rows: NDArray[np.int64]) -> "Places":
        """Some of them.

        Args:
            rows: which.
        """
        return Places(self.item[rows], self.creative[rows], self.memory)


@dataclass(frozen=True)
class Candidates:
    """What could be shown: rows of (request, item, copy, position).

    Attributes:
        request: ``(n,)`` place of each candidate's request in its `Requests`.
        item_ids: ``(n,)`` strings.
        texts: ``(n,)`` strings.
        positions: ``(n,)`` 0-based; 0 wherever a ranker chooses.
        places: where a feature space remembers them, when it was asked before; each in the channel of its request.
    """

    request: NDArray[np.int64]
    item_ids: NDArray[np.object_]
    texts: NDArray[np.object_]
    positions: NDArray[np.int64]
    places: Places | None = None

    def __post_init__(self) -> None:
        """Check the lengths.

        Raises:
            ValueError: the fields have different lengths.
        """
        sizes = {self.request.shape, self.item_ids.shape, self.texts.shape, self.positions.shape}
        if len(sizes) > 1 or self.request.ndim != 1:
            raise ValueError(f"the fields of candidates have shapes {sorted(sizes)}; all must be (n,)")

    def __len__(self) -> int:
        return len(self.request)

    @classmethod
    def one(cls, item_ids: Sequence[str], texts: Sequence[str]) -> "Candidates":
        """All candidates of a single request, at position 0.

        Args:
            item_ids: of each.
            texts: of each.
        """
        size = len(item_ids)
        return cls(np.zeros(size, np.int64), np.array(item_ids, dtype=object), np.array(texts, dtype=object), np.zeros(size, np.int64))

    def at_position(self, position: int) -> "Candidates":
        """The same candidates at another position.

        Args:
            position: 0-based.
        """
        return replace(self, positions=np.full(len(self), position, np.int64))

    @classmethod
    def many(cls, item_ids: Sequence[Sequence[str]], texts: Sequence[Sequence[str]], places: Places | None = None) -> "Candidates":
        """All candidates of several requests, at position 0.

        Args:
            item_ids: of each candidate, by request.
            texts: of each candidate, by request.
            places: of all of them, where they were looked up before.
        """
        request = np.repeat(np.arange(len(item_ids)), [len(held) for held in item_ids])
        items = np.array([item for held in item_ids for item in held], dtype=object)
        shown = np.array([text for held in texts for text in held], dtype=object)
        return cls(request, items, shown, np.zeros(len(request), np.int64), places)

    def take(self, rows: NDArray[np.int64], *, first_request: int = 0) -> "Candidates":
        """Some rows, with requests counted from ``first_request``.

        Args:
            rows: places.
            first_request: becomes request 0.
        """
        places = None if self.places is None else self.places.take(rows)
        return Candidates(self.request[rows] - first_request, self.item_ids[rows], self.texts[rows], self.positions[rows], places)


def requests_of(
    impressions: pd.DataFrame, events: pd.DataFrame, texts: Mapping[str, str], *, earlier: pd.DataFrame | None = None
) -> tuple[Requests, NDArray[np.int64]]:
    """The distinct requests of logged impressions, with all that was known strictly before each.

    Args:
        impressions: the rows whose requests are wanted.
        events: the events table, any order.
        texts: creative_id → copy; impressions of an unknown creative are no responses.
        earlier: impressions whose answers may be looked at (only those before each request are); ``impressions`` when None.

    Returns:
        Requests in order of (timestamp, request_id), and ``(n,)`` the request of each impression row.
    """
    order = impressions.drop_duplicates(Columns.REQUEST).sort_values([Columns.TIMESTAMP, Columns.REQUEST], kind="stable")
    place = pd.Series(np.arange(len(order)), index=order[Columns.REQUEST].to_numpy())
    moments = micros(order[Columns.TIMESTAMP])
    users = order[Columns.USER].astype(str).tolist()
    requests = Requests(
        tuple(histories(events, users, moments)),
        tuple(responses(impressions if earlier is None else earlier, texts, users, moments)),
        tuple(order[Columns.SCENE].astype(str)),
        tuple(order[Columns.CHANNEL].astype(str)),
        moments,
    )
    return requests, place.loc[impressions[Columns.REQUEST]].to_numpy(dtype=np.int64)


def responses(impressions: pd.DataFrame, texts: Mapping[str, str], users: Sequence[str], before: NDArray[np.int64]) -> list[Responses]:
    """What each of these users answered to ads shown strictly before a moment, and known by then.

    Args:
        impressions: the impressions table, any order.
        texts: creative_id → copy.
        users: whose; may repeat.
        before: ``(len(users),)`` µs UTC.

    Returns:
        One a user, in order.
    """
    known = impressions[impressions[Columns.CREATIVE].isin(texts)]
    known = known.sort_values([Columns.USER, Columns.TIMESTAMP, Columns.REQUEST, Columns.POSITION], kind="stable", ignore_index=True)
    bounds = known.groupby(Columns.USER, sort=False).indices
    items = known[Columns.ITEM].astype(str).to_numpy(dtype=object)
    shown = known[Columns.CREATIVE].map(texts).to_numpy(dtype=object)
    channels = known[Columns.CHANNEL].astype(str).to_numpy(dtype=object)
    clicks = known[Columns.CLICK].to_numpy(dtype=np.float32)
    times = micros(known[Columns.TIMESTAMP])
    everything: dict[str, Responses] = {}
    for user in sorted(set(users) & {str(name) for name in bounds}):
        rows = slice(int(bounds[user][0]), int(bounds[user][-1]) + 1)  # sorted by user: one run
        everything[user] = Responses(tuple(items[rows]), tuple(shown[rows]), tuple(channels[rows]), clicks[rows], times[rows])
    nothing = Responses.empty()
    return [everything.get(user, nothing).before(moment) for user, moment in zip(users, before.tolist(), strict=True)]


def logged_candidates(impressions: pd.DataFrame, request: NDArray[np.int64], texts: Mapping[str, str]) -> Candidates:
    """The shown creatives as candidates, row for row.

    Args:
        impressions: rows of the impressions table.
        request: ``(n,)`` from `requests_of`.
        texts: creative_id → copy; unknown creatives have an empty text.
    """
    shown = impressions[Columns.CREATIVE].map(texts).fillna("").to_numpy(dtype=object)
    positions = impressions[Columns.POSITION].to_numpy(dtype=np.int64)
    return Candidates(request, impressions[Columns.ITEM].astype(str).to_numpy(dtype=object), shown, positions)


def considered_candidates(
    impressions: pd.DataFrame, request: NDArray[np.int64], copies: pd.DataFrame
) -> tuple[Candidates, NDArray[np.object_]]:
    """Every candidate that was logged with a request, at position 0.

    Args:
        impressions: rows of the impressions table; a request may have several, one is read.
        request: ``(n,)`` from `requests_of`.
        copies: the copies table: which item and text a creative id is. Candidates that it lacks are left out.

    Returns:
        The candidates, by request, and their creative ids ``(m,)``.
    """
    first = impressions.assign(_request=request).drop_duplicates("_request").sort_values("_request")
    sets = first[Columns.CANDIDATES].tolist()
    creative = np.array([name for names in sets for name in names], dtype=object)
    rows = np.repeat(first["_request"].to_numpy(dtype=np.int64), [len(names) for names in sets])
    known = copies.drop_duplicates(Columns.COPY).set_index(Columns.COPY)
    place = known.index.get_indexer(pd.Index(creative))
    kept = place >= 0
    items = known[Columns.ITEM].astype(str).to_numpy(dtype=object)[place[kept]]
    texts = known[Columns.TEXT].astype(str).to_numpy(dtype=object)[place[kept]]
    return Candidates(rows[kept], items, texts, np.zeros(int(kept.sum()), np.int64)), creative[kept]
