"""Policies of the pacing benchmark, played through a simulated day minute by minute."""

from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from benchmarks.pacing_days import CAMPAIGNS, DATE, POSITION_EFFECT, POSITIONS, Codes, Day, Floats
from models.pacing import Pacer, PacingSettings, break_even, choose, dithered, thresholds
from models.pacing.curve import DAY

MINUTES = 1440
MINUTE = DAY // MINUTES


@dataclass(frozen=True)
class Played:
    """What a day came to.

    Attributes:
        spent: ``(1441, c)`` micros charged before each minute; the last row is the whole day's, with the clicks that came after midnight.
        value: micros that what was shown is worth, in expectation at the true probabilities.
        clicks: charged.
        short: ``(c,)`` whether the policy said at 18:00 that the budget cannot be spent.
        planned: ``(1441, c)`` micros the policy had planned; 0 where it has no plan.
    """

    spent: Floats
    value: float
    clicks: int
    short: NDArray[np.bool_]
    planned: Floats


class Pacing(Protocol):
    """What says, each minute, who takes part and at which price."""

    short: NDArray[np.bool_]
    planned: Floats

    def prices(self, now: int, spent: Floats) -> tuple[Floats, NDArray[np.bool_]]:
        """Price of each campaign's money, and who takes part, for one minute."""

    def learn(self, value: Floats, cost: Floats, net: Floats, chosen: Codes) -> None:
        """See a minute's requests; ``(n, c)`` each, ``net`` −inf where a campaign took no part; ``chosen`` is ``(n, positions)``."""


class Unpriced:
    """No pacing, or a share of the budget let free as the day goes on; money has no price.

    Args:
        day: for its budgets.
        free: ``(1440, c)`` or ``(1440, 1)`` share of the budget that may be spent by the end of each minute.
    """

    def __init__(self, day: Day, free: Floats) -> None:
        self.short = np.zeros(CAMPAIGNS, dtype=bool)
        self._free = free * day.budget
        self.planned = self._free[0]

    def prices(self, now: int, spent: Floats) -> tuple[Floats, NDArray[np.bool_]]:
        """Whoever has not spent what is free takes part."""
        self.planned = self._free[(now - DATE) // MINUTE]
        return np.zeros(CAMPAIGNS), spent < self.planned

    def learn(self, value: Floats, cost: Floats, net: Floats, chosen: Codes) -> None:
        """Nothing is learnt."""


class Priced:
    """Ours: `Pacer`, which starts the day knowing the traffic curve and nothing else.

    Args:
        day: for its bookings and curves.
    """

    def __init__(self, day: Day) -> None:
        self.pacer = Pacer(day.bookings, day.curves, PacingSettings(slate=POSITIONS))
        self.short = np.zeros(CAMPAIGNS, dtype=bool)
        self.planned = np.zeros(CAMPAIGNS)

    def prices(self, now: int, spent: Floats) -> tuple[Floats, NDArray[np.bool_]]:
        """A tick."""
        pace = self.pacer.tick(now, spent)
        self.planned = pace.planned_micros
        if now < DATE + DAY * 3 // 4 + MINUTE:
            self.short = pace.short
        return pace.price, pace.open

    def learn(self, value: Floats, cost: Floats, net: Floats, chosen: Codes) -> None:
        """What could have been won, at which price."""
        effect, shown = np.full(cost.shape, POSITION_EFFECT[-1]), np.zeros(cost.shape, dtype=bool)
        rows = np.arange(len(cost))
        for place, weight in enumerate(POSITION_EFFECT):
            taken = chosen[:, place] >= 0
            effect[rows[taken], chosen[taken, place]] = weight
            shown[rows[taken], chosen[taken, place]] = True
        fits = cost > 0
        price = break_even(value, cost, thresholds(net, POSITIONS))
        code = np.broadcast_to(np.arange(CAMPAIGNS), cost.shape)
        self.pacer.observe(code[fits], price[fits], (cost * effect)[fits], shown[fits])


def policy(name: str, day: Day) -> Pacing:
    """A fresh policy for a day.

    Args:
        name: ``paced`` (ours), ``plan`` (the budget is let free along the learnt curve), ``even`` (evenly in time), ``none``.
        day: to be played.

    Raises:
        ValueError: another name.
    """
    if name == "paced":
        return Priced(day)
    ends = DATE + np.arange(1, MINUTES + 1) * MINUTE
    if name == "plan":
        return Unpriced(day, np.array([[curve.between(DATE, int(end)) for curve in day.curves] for end in ends]))
    if name == "even":
        return Unpriced(day, np.linspace(1 / MINUTES, 1, MINUTES)[:, None])
    if name == "none":
        return Unpriced(day, np.ones((MINUTES, 1)))
    raise ValueError(f"no policy {name!r}; there are {', '.join(POLICIES)}")


POLICIES = ("none", "even", "plan", "paced")


def play(day: Day, pacing: Pacing) -> Played:
    """Show, click, charge, minute by minute; a click is known in the minute after the one in which it comes.

    Args:
        day: requests and truth.
        pacing: decides each minute.

    Returns:
        What it came to. Clicks after midnight are charged to the day that showed them, which is harder than the contract is.
    """
    cost = np.where(day.matches, day.p_click_seen * day.bid, 0.0)
    value = cost * day.quality_seen
    edges = np.searchsorted(day.time, DATE + np.arange(MINUTES + 1) * MINUTE)
    arriving, spent, planned = (np.zeros((MINUTES + 2, CAMPAIGNS)) for _ in range(3))
    known, worth, clicks = np.zeros(CAMPAIGNS), 0.0, 0
    for minute, (first, end) in enumerate(pairwise(edges.tolist())):
        known = known + arriving[minute]
        spent[minute] = known
        price, open_ = pacing.prices(DATE + minute * MINUTE, known)
        planned[minute] = pacing.planned
        if first == end:
            continue
        rows = slice(first, end)
        net = value[rows] - dithered(np.broadcast_to(price, cost[rows].shape), day.dither[rows]) * cost[rows]
        net[~(day.matches[rows] & open_)] = -np.inf
        chosen = choose(net, POSITIONS)
        pacing.learn(value[rows], cost[rows], net, chosen)
        for place, effect in enumerate(POSITION_EFFECT):
            at = np.flatnonzero(chosen[:, place] >= 0)
            which, row = chosen[at, place], at + first
            p = day.p_click[row, which] * effect
            worth += float((p * day.quality[row, which] * day.bid[which]).sum())
            hit = day.luck[row, which] < p
            clicks += int(hit.sum())
            came = (day.time[row[hit]] + day.delay[row[hit], which[hit]].astype(np.int64) - DATE) // MINUTE + 1
            np.add.at(arriving, (np.minimum(came, MINUTES + 1), which[hit]), day.bid[which[hit]])
    spent[MINUTES] = known + arriving[MINUTES:].sum(axis=0)
    planned[MINUTES] = planned[MINUTES - 1]
    return Played(spent[: MINUTES + 1], worth, clicks, pacing.short, planned[: MINUTES + 1])
