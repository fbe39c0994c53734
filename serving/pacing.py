"""Budgets while serving: what each campaign's money costs now, found once a second from the log and from what requests had to offer.

Every worker paces for itself, and all of them the same money: what was spent, what was shown and how many requests came is read from the
log that they share. Only what requests had to offer is each worker's own, a sample, scaled up by the requests of all.
"""

import base64
import logging
import math
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson
import safetensors.numpy
from numpy.typing import NDArray

from models.pacing import Booking, Offer, Pacer, PacingSettings, Standing, TrafficCurve, floors, opportunities
from models.pacing.curve import HOUR
from models.pool import Pool, default_bid
from serving.background import Background
from serving.calendar import Calendar
from serving.clock import moment
from serving.state import State
from serving.store import Store, UnavailableError, Writer, meta, note
from serving.traffic import Traffic, prior_of

_log = logging.getLogger(__name__)

EVERY_SECONDS = 1.0
WATCHED = 16
"""Requests between two ticks whose offers are looked at, at the most."""
SAVE_SECONDS = 30.0
KEY = "pacing"
"""Where the store keeps what was learnt."""
_ROWS, _PAGES = 20_000, 25
_JUST_NOW = 900_000_000
"""Microseconds after which what was shown brings no more clicks to wait for."""
_SHOWN = """
SELECT campaign_id, SUM(p_click * bid_micros) FROM decisions
WHERE seq > ? AND seq <= ? AND campaign_id IS NOT NULL AND timestamp > ? GROUP BY campaign_id
"""
_MET = """
SELECT timestamp / 3600000000, scene, channel, COUNT(*), SUM(p_click) FROM decisions
WHERE seq > ? AND seq <= ? AND position = 0 GROUP BY 1, 2, 3
"""


@dataclass(frozen=True)
class Watched:
    """An offer, and what it was asked for."""

    offer: Offer
    scene: str
    channel: str
    now: int


@dataclass(frozen=True)
class Course:
    """How a campaign's day goes.

    Attributes:
        price: shadow price of its money.
        planned_micros: that it should have spent by now, following the traffic.
        forecast_micros: the most that it can spend today; None where too little is known.
        short: whether, on the evidence, there is not enough traffic for its budget.
        plan: ``(25,)`` planned spend at each full hour of the day.
        spent: spend at each full hour so far, and now.
    """

    price: float
    planned_micros: int
    forecast_micros: int | None
    short: bool
    plan: tuple[int, ...]
    spent: tuple[int, ...]


class Pacing:
    """Paces the campaigns of one pool that have a budget.

    Args:
        pool: holds them.
        store: the log.
        state: says what was spent.
        calendar: the shop's clock.
        now: microseconds since 1970 UTC, in the shoppers' time.
        slate: positions of the largest slate.
    """

    def __init__(self, pool: Pool, store: Store, state: State, *, calendar: Calendar, now: Callable[[], int], slate: int) -> None:
        self._pool, self._store, self._state, self._calendar, self._now = pool, store, state, calendar, now
        self._paced = [campaign for campaign in pool.campaigns if campaign.daily_budget_micros is not None and campaign.bid_micros > 0]
        bookings = [_by_the_shop_s_clock(booking, calendar) for booking in Booking.of(self._paced)]
        self._traffic = Traffic(calendar, prior_of(store, calendar) if bookings else TrafficCurve.usual())
        self._pacer = Pacer(bookings, [self._traffic.curve_of(campaign) for campaign in self._paced], PacingSettings(slate=slate))
        self._bid = np.array([campaign.bid_micros for campaign in self._paced], dtype=np.float64)
        self._floor = floors(self._bid, default_bid(pool)) if self._paced else np.zeros(0)
        self._category = {name: code for code, name in enumerate(sorted(set(pool.category)))}
        self._takes = np.array(
            [[not campaign.categories or name in campaign.categories for name in self._category] for campaign in self._paced], dtype=bool
        ).reshape(len(self._paced), len(self._category))
        self._course = np.full((len(self._paced), 25), np.nan)
        self._course_day = -1
        self._mark = 0
        self._offers: list[Watched] = []
        self._turn = threading.Lock()
        self._saved_at = time.monotonic()
        self.standing = Standing()
        """What holds for requests until the next tick; a group takes it once."""
        if self._paced:
            self._take_over()
            self.catch_up()

    def wants(self) -> int:
        """How many more requests shall be watched before the next tick."""
        return WATCHED - len(self._offers) if self._paced else 0

    def watch(self, offers: Sequence[Watched]) -> None:
        """See what requests had to sell.

        Args:
            offers: whose slates are stored.
        """
        self._offers.extend(offers)

    def catch_up(self) -> None:
        """Read the log to its end, and find prices anew.

        Raises:
            Error: of SQLite: the log cannot be read; what held goes on holding.
            UnavailableError: so does it when the log's server is away.
        """
        if not self._paced:
            return
        with self._turn:
            now = self._now()
            shown, met = np.zeros(len(self._paced)), 0
            if self._traffic.turn(now) or self._mark == 0:
                self._pacer.follow([self._traffic.curve_of(campaign) for campaign in self._paced])
            with self._store.aside() as connection:
                spent = self._state.spent(now)
                mark = min(_last(connection), self._mark + _ROWS * _PAGES)
                for start in range(self._mark, mark, _ROWS):
                    end = min(start + _ROWS, mark)
                    for name, cost in connection.execute(_SHOWN, (start, end, now - _JUST_NOW)).fetchall():
                        if name in self._pacer.index:
                            shown[self._pacer.index[name]] += cost
                    met += self._traffic.add(connection.execute(_MET, (start, end)).fetchall())
                    self._mark = end
            offers, self._offers = self._offers, []
            self._pacer.show(shown, met)
            self._offer(offers, met)
            self._tick(now, spent)
        if time.monotonic() > self._saved_at + SAVE_SECONDS:
            self.save()

    def spent(self, now: int) -> dict[str, int]:
        """What each campaign has paid today; see `State.spent`.

        Args:
            now: microseconds since 1970 UTC.
        """
        return self._state.spent(now)

    def course(self) -> dict[str, Course]:
        """How the day of each paced campaign goes, as of the last tick; campaign_id → course."""
        with self._turn:
            pace, plan = self._pacer.pace, self._pacer.plan(self._calendar.local(self._now()))
            return {
                booking.campaign_id: Course(
                    price=float(pace.price[code]),
                    planned_micros=round(pace.planned_micros[code]),
                    forecast_micros=None if math.isnan(pace.forecast_micros[code]) else round(pace.forecast_micros[code]),
                    short=bool(pace.short[code]),
                    plan=tuple(round(value) for value in plan[code].tolist()),
                    spent=tuple(round(value) for value in self._course[code].tolist() if not math.isnan(value)),
                )
                for code, booking in enumerate(self._pacer.bookings)
            }

    def save(self) -> None:
        """Write down what was learnt; a later start, of any worker, goes on from there.

        Raises:
            Error: of SQLite: it cannot be stored.
            UnavailableError: the log's server is away.
        """
        with self._turn:
            self._saved_at = time.monotonic()
            arrays = {**self._pacer.state(), **self._traffic.state(), "course": self._course}
            held = {
                "campaigns": [booking.campaign_id for booking in self._pacer.bookings],
                "mark": self._mark,
                "course_day": self._course_day,
                "arrays": base64.b64encode(safetensors.numpy.save({name: np.ascontiguousarray(a) for name, a in arrays.items()})).decode(),
            }
        with self._store.transaction() as writer:
            note(writer, KEY, orjson.dumps(held).decode())

    def _take_over(self) -> None:
        text = meta(self._store, KEY)
        if text is None:
            with self._store.aside() as connection:
                self._mark = max(0, _last(connection) - _ROWS * _PAGES)
            return
        try:
            held = orjson.loads(text)
            arrays = safetensors.numpy.load(base64.b64decode(held["arrays"]))
            rows = {str(name): row for row, name in enumerate(held["campaigns"])}
            self._traffic.take_over(arrays)
            self._pacer.follow([self._traffic.curve_of(campaign) for campaign in self._paced])
            self._pacer.take_over(arrays, rows)
            self._mark, self._course_day = int(held["mark"]), int(held["course_day"])
            for name, row in rows.items():
                if name in self._pacer.index:
                    self._course[self._pacer.index[name]] = arrays["course"][row]
        except (KeyError, IndexError, ValueError, TypeError, safetensors.SafetensorError) as error:
            _log.warning("what pacing had learnt cannot be read (%r); it begins anew", error)

    def _offer(self, offers: Sequence[Watched], met: int) -> None:
        """Tell the pacer what the watched requests offered, as a part of all that came."""
        share = min(1.0, len(offers) / met) if met else 1.0
        found = [self._opportunities(one) for one in offers]
        if found:
            code, price, cost = (np.concatenate(parts) for parts in zip(*found, strict=True))
            self._pacer.offer(code, price, cost, share=share)

    def _opportunities(self, one: Watched) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
        offer, at = one.offer, moment(one.now)
        there = [c.runs(scene=one.scene, channel=one.channel, audience=offer.audience, now=at) for c in self._paced]
        codes = [self._category.get(name, -1) for name in offer.categories]
        index, others = self._pacer.index, len(self._paced)
        owner = np.array([-1 if name is None else index.get(name, others) for name in offer.owners], dtype=np.int64)
        return opportunities(
            offer.p_click,
            offer.values,
            fits=self._takes[:, codes] & np.array(there)[:, None],
            owner=owner,
            bid=self._bid,
            floor=self._floor,
            k=offer.k,
            groups=offer.groups,
            exploration=offer.exploration,
            limit=offer.limit,
        )

    def _tick(self, now: int, spent: dict[str, int]) -> None:
        local, spends = self._calendar.local(now), np.array([spent.get(c.campaign_id, 0) for c in self._paced], dtype=np.float64)
        self._pacer.tick(local, spends)
        if self._course_day != self._calendar.day(now):
            self._course_day, self._course = self._calendar.day(now), np.full_like(self._course, np.nan)
            self._course[:, 0] = 0.0
        hour = local // HOUR % 24
        past = self._course[:, : hour + 1]
        np.copyto(past, spends[:, None], where=np.isnan(past))  # hours in which nobody looked
        self._course[:, hour + 1] = spends
        running = [b.campaign_id for b in self._pacer.bookings if b.start <= local <= b.end]
        self.standing = Standing.of(self._pacer, self._floor, running)


def _by_the_shop_s_clock(booking: Booking, calendar: Calendar) -> Booking:
    return Booking(
        booking.campaign_id, booking.bid_micros, booking.daily_budget_micros, calendar.local(booking.start), calendar.local(booking.end)
    )


def _last(connection: Writer) -> int:
    row: Any = connection.execute("SELECT COALESCE(MAX(seq), 0) FROM decisions").fetchone()
    return int(row[0])


class Ticker(Background):
    """Keeps the prices of whatever serves up to date, and writes down what was learnt at its end."""

    def __init__(self, current: Callable[[], Pacing | None]) -> None:
        """Begin nothing yet; see `start`.

        Args:
            current: what serves now, None when nothing paces.
        """
        super().__init__("pacing", self._work)
        self._current = current

    def _work(self, ended: threading.Event) -> None:
        while not ended.wait(EVERY_SECONDS):
            self._do(lambda pacing: pacing.catch_up())
        self._do(lambda pacing: pacing.save())

    def _do(self, what: Callable[[Pacing], None]) -> None:
        pacing = self._current()
        try:
            if pacing is not None:
                what(pacing)
        except (sqlite3.Error, UnavailableError) as error:
            _log.warning("budgets are paced by what was known: %s", error)
        except Exception:
            _log.exception("budgets are paced by what was known")
