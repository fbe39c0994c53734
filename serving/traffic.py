"""When requests come, by the shop's own clock: counted from the log, for each scene and channel."""

from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

from core.vocabulary import CHANNELS, SCENES
from models.pacing import TrafficCurve
from models.pacing.curve import HOUR, HOURS, WEEKDAYS, cell_of
from models.pool import Campaign
from serving.calendar import Calendar
from serving.store import Store

Floats = NDArray[np.float64]
FADES_DAYS = 28.0
PRIOR_REQUESTS = 200.0
"""What is believed of the curve before the log says anything weighs as much as so many requests."""
_PLACES = {(str(scene), str(channel)): code for code, (scene, channel) in enumerate((s, c) for s in SCENES for c in CHANNELS)}
_PAST = (
    "SELECT timestamp / 3600000000, COUNT(*) FROM past_impressions WHERE position = 0 GROUP BY 1",
    "SELECT timestamp / 3600000000, COUNT(*) FROM past_events GROUP BY 1",
)
Met = tuple[int, str, str, int, float]
"""Hour since 1970 UTC, scene, channel, requests, sum of the topmost p_click."""


class Traffic:
    """Requests by place, weekday and hour; complete days only, which fade after four weeks.

    Today's are kept apart: a day of which the morning alone is known would say that traffic comes in the morning.

    Args:
        calendar: the shop's clock.
        prior: the curve of a shop that has no log yet.
    """

    def __init__(self, calendar: Calendar, prior: TrafficCurve) -> None:
        self._calendar, self.prior = calendar, prior
        self._seen = np.zeros((len(_PLACES), WEEKDAYS, HOURS))
        self._today = np.zeros((len(_PLACES), HOURS))
        self._totals = np.zeros(2)  # requests and p_click, of all days
        self._day = -1

    def turn(self, now: int) -> bool:
        """Close the day when another one has begun.

        Args:
            now: microseconds since 1970 UTC.

        Returns:
            Whether one was closed, or the first begins.
        """
        day = self._calendar.day(now)
        if day <= self._day:
            return False
        if self._day >= 0:
            faded = np.exp(-(day - self._day) / FADES_DAYS)
            self._seen *= faded
            self._totals *= faded
            self._seen[:, (self._day + 3) % WEEKDAYS] += self._today
            self._today[:] = 0.0
        self._day = day
        return True

    def add(self, rows: Iterable[Met]) -> int:
        """Count requests.

        Args:
            rows: each once.

        Returns:
            How many of them came today.
        """
        fresh = 0
        for hour, scene, channel, requests, p_click in rows:
            place = _PLACES.get((scene, channel))
            if place is None:
                continue
            local = self._calendar.local(hour * HOUR)
            self._totals += (requests, p_click)
            if self._calendar.day(hour * HOUR) >= self._day:
                self._today[place, local // HOUR % HOURS] += p_click
                fresh += requests
            else:
                cell = int(cell_of(np.array([local]))[0])
                self._seen[place, cell // HOURS, cell % HOURS] += p_click
        return fresh

    def curve_of(self, campaign: Campaign) -> TrafficCurve:
        """When the clicks come that a campaign can have.

        Args:
            campaign: its scenes and channels count; who its audiences are is not in the log.
        """
        places = [
            code
            for (scene, channel), code in _PLACES.items()
            if (not campaign.scenes or scene in campaign.scenes) and (not campaign.channels or channel in campaign.channels)
        ]
        seen = self._seen[places].sum(axis=0) * (self._totals[0] / self._totals[1] if self._totals[1] > 0 else 1.0)
        return TrafficCurve.of_hours(seen, prior=self.prior, prior_events=PRIOR_REQUESTS)

    def state(self) -> dict[str, np.ndarray]:
        """All that was counted."""
        return {"seen_hours": self._seen, "today": self._today, "totals": self._totals, "day": np.array([self._day], dtype=np.int64)}

    def take_over(self, state: Mapping[str, np.ndarray]) -> None:
        """Go on from what another one counted.

        Args:
            state: as `state` gave it.

        Raises:
            KeyError: an array lacks.
        """
        self._seen, self._today, self._totals = (state[name].copy() for name in ("seen_hours", "today", "totals"))
        self._day = int(state["day"][0])


def prior_of(store: Store, calendar: Calendar) -> TrafficCurve:
    """What a shop's day looks like before the service has a log: by the ads, else by the behaviour, of its clean tables.

    Args:
        store: holds the clean tables.
        calendar: the shop's clock.

    Raises:
        UnavailableError: the store is away.
    """
    for query in _PAST:
        with store.aside() as connection:
            rows = connection.execute(query).fetchall()
        if rows:
            hours, counts = (np.array(column, dtype=np.int64) for column in zip(*rows, strict=True))
            local = np.array([calendar.local(int(hour) * HOUR) for hour in hours])
            seen = np.bincount(cell_of(local), weights=counts, minlength=WEEKDAYS * HOURS).astype(np.float64)
            return TrafficCurve.of_hours(seen.reshape(WEEKDAYS, HOURS), prior=TrafficCurve.usual(), prior_events=PRIOR_REQUESTS)
    return TrafficCurve.usual()
