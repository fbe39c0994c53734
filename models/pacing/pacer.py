"""Spends each campaign's daily budget along the expected traffic, at one price of its money, and never beyond it by more than a slate.

On every tick the price λ of each campaign is found anew, such that what it is expected to spend over the rest of the day at that price
is what is left of its budget:

    κ · D(λ) · (traffic still to come) = budget − spent − pending

with D the remembered spend per unit of traffic (`models.pacing.demand`; a surge soon shows in it), the traffic still to come from the
curve, and κ observed over expected spend. An error of any of them is found on the next tick in what is left: nothing has to be tuned for
the loop to close. Given its state and the moment the answer is determined, so propensities stay exact.

Source: Balseiro and Gur (2019), Learning in repeated auctions with budgets (the adaptive price of a budget); Agarwal, Ghosh, Wei and You
(2014), Budget pacing for targeted online advertisements at LinkedIn (planned spend along the forecast of traffic).
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from models.pacing.booking import SECOND, Booking, Pace, PacingSettings
from models.pacing.curve import DAY, HOUR, HOURS, TrafficCurve
from models.pacing.demand import Demand
from models.pacing.shift import shift_of

Floats = NDArray[np.float64]


class Pacer:
    """Paces c campaigns; not for several threads at once.

    Args:
        bookings: the campaigns, with different ids.
        curves: when each one's traffic comes; a single curve stands for all.
        settings: see there.

    Raises:
        ValueError: ids that repeat, a bid that is not positive, a negative budget, or another number of curves.
    """

    def __init__(self, bookings: Sequence[Booking], curves: Sequence[TrafficCurve], settings: PacingSettings | None = None) -> None:
        self.bookings = tuple(bookings)
        if len({b.campaign_id for b in bookings}) < len(self.bookings):
            raise ValueError("campaign ids repeat among the bookings; pace each campaign once")
        for booking in self.bookings:
            if booking.bid_micros <= 0 or booking.daily_budget_micros < 0:
                raise ValueError(
                    f"campaign {booking.campaign_id}: bid {booking.bid_micros}, daily budget {booking.daily_budget_micros} micros; "
                    "a paced campaign has a positive bid and a budget of at least 0"
                )
        self.curves = tuple(curves) * (len(self.bookings) if len(curves) == 1 else 1)
        if len(self.curves) != len(self.bookings):
            raise ValueError(f"{len(curves)} curves for {len(self.bookings)} campaigns; give one, or one a campaign")
        self.settings = settings or PacingSettings()
        self.index = {b.campaign_id: code for code, b in enumerate(self.bookings)}
        self._bid = np.array([b.bid_micros for b in self.bookings], dtype=np.float64)
        self._budget = np.array([b.daily_budget_micros for b in self.bookings], dtype=np.float64)
        c = len(self.bookings)
        self.demand = Demand(c, memory=self.settings.memory)
        self._last: int | None = None
        self._spent, self._pending, self._shown, self._charged = (np.zeros(c) for _ in range(4))
        self._unseen = np.zeros(c)  # expected cost shown since the last tick
        self._hours = np.zeros(HOURS)  # opportunities met in each hour of today
        self._met = 0.0  # since the last tick
        self._blind = True  # nobody has said since then what was offered
        self.shift = 0
        self._whole: tuple[int, int, Floats] = (-1, 0, np.zeros(c))  # day, shift, traffic of that day
        self.pace = Pace(np.zeros(c), np.zeros(c, dtype=bool), np.zeros(c), np.zeros(c), np.zeros(c, dtype=bool))

    def observe(self, campaign: ArrayLike, break_even: ArrayLike, cost: ArrayLike, shown: ArrayLike) -> None:
        """What requests since the last tick offered: one row an opportunity of a campaign, taken or not.

        Args:
            campaign: ``(n,)`` codes, see `index`.
            break_even: ``(n,)`` price up to which the campaign would have won a place.
            cost: ``(n,)`` p_click · bid, micros.
            shown: ``(n,)`` whether it was shown.
        """
        codes, costs = np.asarray(campaign, dtype=np.int64), np.asarray(cost, dtype=np.float64)
        self.offer(codes, break_even, costs, share=self.settings.seen_share)
        paid = np.bincount(codes, weights=costs * np.asarray(shown, dtype=bool), minlength=len(self._bid))
        self.show(paid / self.settings.seen_share, codes.size)

    def offer(self, campaign: ArrayLike, break_even: ArrayLike, cost: ArrayLike, *, share: float) -> None:
        """What some of the requests since the last tick offered, taken or not: it is scaled up to all of them.

        Args:
            campaign: ``(n,)`` codes, see `index`.
            break_even: ``(n,)`` price up to which the campaign would have won the place.
            cost: ``(n,)`` p_click · bid, micros.
            share: of all requests that these are, in (0, 1].
        """
        costs = np.asarray(cost, dtype=np.float64) / share
        self._blind = False
        self.demand.add(np.asarray(campaign, dtype=np.int64), np.asarray(break_even, dtype=np.float64), costs)

    def show(self, cost: ArrayLike, requests: float) -> None:
        """What was shown since the last tick, by everybody.

        Args:
            cost: ``(c,)`` p_click · bid of what was shown, summed, micros.
            requests: that came, whatever they were shown.
        """
        self._unseen += np.asarray(cost, dtype=np.float64)
        self._met += requests

    def tick(self, now: int, spent: ArrayLike) -> Pace:
        """Find prices for what is left.

        Args:
            now: microseconds since 1970 by the clock whose days the budgets are for; an earlier moment than the last tick's counts as
                that one.
            spent: ``(c,)`` micros charged so far on the day of ``now``.

        Returns:
            What holds until the next tick; also in `pace`.

        Raises:
            ValueError: spends of another number than the campaigns, or a negative one.
        """
        spends = np.asarray(spent, dtype=np.float64)
        if spends.shape != self._bid.shape or not bool((spends >= 0).all()):
            least = spends.min(initial=0)
            raise ValueError(
                f"spent has shape {spends.shape}, smallest {least}; {len(self._bid)} campaigns need one spend each, at least 0"
            )
        last = now if self._last is None else self._last
        now = max(now, last)
        self._account(last, now, spends)
        day_end = (now // DAY + 1) * DAY
        moments = [(max(day_end - DAY, b.start), min(day_end, b.end)) for b in self.bookings]
        if self._whole[:2] != (day_end, self.shift):
            self._whole = (day_end, self.shift, np.array([self._traffic(c, start, end) for c, (start, end) in enumerate(moments)]))
        whole = self._whole[2]
        ahead = np.array([self._traffic(c, max(now, start), end) for c, (start, end) in enumerate(moments)])
        until = min(2 * now - last, day_end)  # about the next tick
        coming = np.array([self._traffic(c, now, until) for c in range(len(moments))])
        running = np.array([b.start <= now <= b.end for b in self.bookings], dtype=bool)
        trust = self._trust()
        pending = self._pending * trust
        left = np.maximum(self._budget - spends - pending, 0.0)
        horizon = np.maximum(ahead - self.settings.finish * whole, 0.0)
        rate = np.divide(left, trust * horizon, out=np.full_like(left, np.inf), where=horizon > 0)
        slate = self.settings.slate * self._bid
        at_once = safely_in_flight((self._budget - spends + slate) / self._bid) * self._bid - pending
        rate = np.minimum(rate, np.divide(np.maximum(at_once, 0.0), trust * coming, out=np.full_like(left, np.inf), where=coming > 0))
        solved = self.demand.solve(rate)
        known = self.demand.seen >= self.settings.evidence
        price = np.where(known, solved.price, 0.0)
        planned = self._budget * np.divide(whole - ahead, whole, out=np.ones_like(whole), where=whole > 0)
        safe = known | (spends + pending < planned + slate)
        forecast = np.minimum(self._budget, spends + pending + trust * solved.most * ahead)
        self.pace = Pace(
            price=price,
            open=running & safe & (spends < self._budget) & (at_once >= 0),
            planned_micros=planned,
            forecast_micros=np.where(known, forecast, np.nan),
            short=known & (forecast < self._budget - slate),
        )
        return self.pace

    def follow(self, curves: Sequence[TrafficCurve]) -> None:
        """Go by other curves from now on.

        Args:
            curves: one a campaign.

        Raises:
            ValueError: another number.
        """
        if len(curves) != len(self.bookings):
            raise ValueError(f"{len(curves)} curves for {len(self.bookings)} campaigns; give one a campaign")
        self.curves, self._whole = tuple(curves), (-1, 0, np.zeros(len(curves)))

    def plan(self, now: int) -> Floats:
        """Spend at each full hour of the day if the budgets followed the traffic, ``(c, 25)`` micros.

        Args:
            now: any moment of the day.
        """
        first = now // DAY * DAY
        edges = [first + hour * HOUR for hour in range(HOURS + 1)]
        found = np.zeros((len(self.bookings), HOURS + 1))
        for code, booking in enumerate(self.bookings):
            start, end = max(first, booking.start), min(first + DAY, booking.end)
            whole = self._traffic(code, start, end)
            if whole > 0:
                found[code] = [self._traffic(code, start, min(edge, end)) / whole for edge in edges]
        return found * self._budget[:, None]

    def _account(self, last: int, now: int, spends: Floats) -> None:
        """Take what happened since the last tick into the memory."""
        passed = np.array([self._traffic(c, last, now) for c in range(len(self.bookings))])
        if not (self._blind and self._met):  # requests came, but all to others: what is remembered stays
            self.demand.pass_by(passed)
        self._blind = True
        same_day = self._last is not None and now // DAY == last // DAY
        charged = np.maximum(spends - self._spent, 0.0) if same_day else spends if self._last is not None else np.zeros_like(spends)
        delay = self.settings.click_delay_seconds * SECOND
        self._pending = (self._pending * np.exp(-(now - last) / delay) if delay else np.zeros_like(spends)) + (
            self._unseen if delay else 0.0
        )
        faded = np.exp(-passed)
        self._shown = self._shown * faded + self._unseen
        self._charged = self._charged * faded + charged
        self._unseen = np.zeros_like(spends)
        if now // DAY != last // DAY:
            self._hours, self.shift = np.zeros(HOURS), 0
        else:
            self._hours[last % DAY // HOUR] += self._met
        self._met = 0.0
        if self.bookings and now // HOUR != last // HOUR:
            weekday = (now // DAY + 3) % 7
            usual = np.mean([curve.shares[weekday] for curve in self.curves], axis=0)
            self.shift = shift_of(usual, self._hours[: now % DAY // HOUR], believed=self.shift)
        self._last, self._spent = now, spends

    def _traffic(self, code: int, start: int, end: int) -> float:
        """Traffic of a campaign between two moments, if the curve comes `shift` hours later than usual."""
        return self.curves[code].between(start - self.shift * HOUR, end - self.shift * HOUR)

    def _trust(self) -> Floats:
        """κ, observed over expected spend, in [1/16, 16]: a ranker that was never trained may be that far off."""
        prior = self.settings.prior_clicks * self._bid
        due = np.maximum(self._shown - self._pending, 0.0)  # what should have been clicked by now
        return np.asarray(np.clip((self._charged + prior) / (due + prior), 1 / 16, 16.0))

    def state(self) -> dict[str, np.ndarray]:
        """Everything that was learnt, one row a booking, as arrays that `take_over` reads."""
        return {
            "cost": self.demand.cost,
            "traffic": self.demand.traffic,
            "seen": self.demand.seen,
            "spent": self._spent,
            "pending": self._pending,
            "shown": self._shown,
            "charged": self._charged,
            "unseen": self._unseen,
            "hours": self._hours,
            "met": np.array([self._met]),
            "blind": np.array([self._blind]),
            "shift": np.array([self.shift], dtype=np.int64),
            "last": np.full(len(self.bookings), -1 if self._last is None else self._last, dtype=np.int64),
        }

    def take_over(self, state: Mapping[str, np.ndarray], rows: Mapping[str, int]) -> None:
        """Go on from what another pacer learnt about the same campaigns; campaigns that it did not have begin anew.

        Args:
            state: as `state` gave it.
            rows: campaign_id → its row there.

        Raises:
            KeyError: the state lacks an array.
            IndexError: or a row.
            ValueError: its demand has other bins.
        """
        pairs = [(self.index[name], row) for name, row in rows.items() if name in self.index]
        to, of = (np.array([pair[side] for pair in pairs], dtype=np.int64) for side in (0, 1))
        demand = self.demand
        for name, array in (
            ("cost", demand.cost), ("traffic", demand.traffic), ("seen", demand.seen), ("spent", self._spent), ("pending", self._pending),
            ("shown", self._shown), ("charged", self._charged), ("unseen", self._unseen),
        ):  # fmt: skip
            array[to] = state[name][of]
        self._hours, self._met, self.shift = state["hours"].copy(), float(state["met"][0]), int(state["shift"][0])
        self._blind = bool(state["blind"][0])
        last = int(state["last"].max(initial=-1))
        self._last = None if last < 0 else last


def safely_in_flight(room: ArrayLike) -> Floats:
    """How many clicks may be expected of what is shown and not yet answered, such that hardly ever more come than there is room for.

    Args:
        room: ``(c,)`` clicks that may still be charged: what is left of the budget, and one slate.

    Returns:
        The largest m with m + 8 √m ≤ room: a Poisson number of mean m exceeds that in about one of 30,000 cases at room 2, of ten million
        at 10.
    """
    return np.asarray((np.sqrt(16 + np.maximum(room, 0.0)) - 4) ** 2)
