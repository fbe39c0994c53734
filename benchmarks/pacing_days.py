"""Simulated days for the pacing benchmark: campaigns, requests, true probabilities, what the ranker thinks, and the best possible."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from core.vocabulary import MICROS
from models.pacing import Booking, TrafficCurve
from models.pacing.curve import DAY, HOUR, HOURS

Floats = NDArray[np.float64]
Codes = NDArray[np.int64]
CAMPAIGNS, POSITIONS = 8, 2
POSITION_EFFECT = np.array([1.0, 0.6])
KINDS = (4, 3, 6, 5)
"""Scenes, channels, categories, audiences."""
DATE = 20_755 * DAY
"""The simulated day; the two weeks before it are the past."""
PAST_DAYS, PAST_REQUESTS = 14, 4_000
TRAFFICS = ("normal", "surge", "drop", "later", "earlier")
TIGHT, WIDE = (0.7, 0.95), (0.3, 0.6)
"""Budgets as shares of what a campaign would spend if the campaigns that fit a request shared it by lot."""


@dataclass(frozen=True)
class Day:
    """One day of requests with its truth; n requests, c campaigns.

    Attributes:
        bookings: the campaigns.
        curves: one a campaign, learnt from the past two weeks.
        time: ``(n,)`` microseconds, sorted.
        matches: ``(n, c)`` whether the request is one of the campaign's targets.
        p_click: ``(n, c)`` true probability of a click at the top position.
        quality: ``(n, c)`` true worth of that click, in bids.
        p_click_seen: ``(n, c)`` what the ranker thinks.
        quality_seen: ``(n, c)`` likewise.
        bid: ``(c,)`` micros a click.
        budget: ``(c,)`` micros.
        luck: ``(n, c)`` in [0, 1): a shown campaign is clicked where this is below the probability.
        delay: ``(n, c)`` microseconds from showing to click.
        dither: ``(n, c)`` in [0, 1): stands for a hash of request and campaign.
    """

    bookings: tuple[Booking, ...]
    curves: tuple[TrafficCurve, ...]
    time: Codes
    matches: NDArray[np.bool_]
    p_click: Floats
    quality: Floats
    p_click_seen: Floats
    quality_seen: Floats
    bid: Floats
    budget: Floats
    luck: Floats
    delay: Floats
    dither: Floats


def hourly(traffic: str, requests: int) -> Floats:
    """Expected requests in each hour of the simulated day, ``(24,)``.

    Args:
        traffic: one of `TRAFFICS`.
        requests: of a normal day.

    Raises:
        ValueError: another traffic.
    """
    hour = np.arange(HOURS)
    shape = 0.15 + np.exp(-(((hour - 12.5) / 2.5) ** 2)) + 1.6 * np.exp(-(((hour - 20) / 2.2) ** 2))
    normal: Floats = requests * shape / shape.sum()
    if traffic == "surge":
        normal = normal * np.where((hour >= 10) & (hour < 13), 3.0, 1.0)
    elif traffic == "drop":
        normal = normal * np.where((hour >= 11) & (hour < 17), 1 / 3, 1.0)
    elif traffic in ("later", "earlier"):
        normal = np.roll(normal, 3 if traffic == "later" else -3)
    elif traffic != "normal":
        raise ValueError(f"no traffic {traffic!r}; there are {', '.join(TRAFFICS)}")
    return normal


def draw_day(traffic: str, seed: int, *, requests: int = 50_000, tight: bool = False) -> Day:
    """A day; the same seed has the same campaigns under every traffic.

    Args:
        traffic: one of `TRAFFICS`.
        seed: of everything.
        requests: of a normal day.
        tight: budgets of `TIGHT` instead of `WIDE`.

    Returns:
        The day. All its budgets together can be spent in a normal day: every campaign would spend more if those that fit a request
        shared it by lot.
    """
    rng = np.random.default_rng([seed, 0])
    bid = np.round(MICROS * np.exp(rng.normal(0, 0.35, CAMPAIGNS)))
    targets = [_targets(rng, size) for size in KINDS]
    base = rng.uniform(0.04, 0.1, CAMPAIGNS)
    phase = rng.uniform(0, HOURS, (2, CAMPAIGNS))
    bias = np.exp(rng.normal(0, 0.1, CAMPAIGNS))
    share = rng.uniform(*(TIGHT if tight else WIDE), CAMPAIGNS)
    past = np.concatenate([_times(hourly("normal", PAST_REQUESTS), DATE - day * DAY, rng) for day in range(1, PAST_DAYS + 1)])
    before = _draw(past, rng, targets, base, phase)
    matches, p_click = before[0], before[1]
    curves = tuple(TrafficCurve.fit(past[matches[:, c]], p_click[matches[:, c], c]) for c in range(CAMPAIGNS))
    rivals = np.maximum(matches.sum(axis=1, keepdims=True), POSITIONS)
    alone = (matches * p_click * bid * POSITION_EFFECT.sum() / rivals).sum(axis=0) * requests / len(past)
    budget = np.round(alone * share)
    rng = np.random.default_rng([seed, 1 + TRAFFICS.index(traffic)])
    time = _times(hourly(traffic, requests), DATE, rng)
    matches, p_click, quality = _draw(time, rng, targets, base, phase)
    shape = (len(time), CAMPAIGNS)
    return Day(
        bookings=tuple(Booking(f"c{c}", int(bid[c]), int(budget[c]), DATE - DAY, DATE + 2 * DAY) for c in range(CAMPAIGNS)),
        curves=curves,
        time=time,
        matches=matches,
        p_click=p_click,
        quality=quality,
        p_click_seen=p_click * bias * np.exp(rng.normal(-0.02, 0.2, shape)),
        quality_seen=quality * np.exp(rng.normal(-0.02, 0.2, shape)),
        bid=bid,
        budget=budget,
        luck=rng.random(shape),
        delay=rng.exponential(60e6, shape),
        dither=rng.random(shape),
    )


def ceiling(day: Day) -> float:
    """The most that any policy can expect to be worth within the budgets, with hindsight and the true probabilities.

    Args:
        day: with its truth.

    Returns:
        Micros: the minimum over prices of the Lagrangian dual, never below the best of all allocations.

    Source: Devanur and Hayes (2009), The adwords problem, section 2.
    """
    wanted = day.matches.any(axis=1)
    cost = np.ascontiguousarray((day.matches * day.p_click * day.bid)[wanted].T)  # (c, n)
    value = cost * day.quality[wanted].T
    scale = float(day.budget.sum())

    def dual(price: Floats) -> tuple[float, Floats]:
        net = np.maximum(value - price[:, None] * cost, 0.0)
        first, second = np.zeros(net.shape[1]), np.zeros(net.shape[1])
        for row in net:
            second = np.maximum(second, np.minimum(first, row))
            first = np.maximum(first, row)
        held = (((row > 0) & (row >= second)) * np.where(row == first, *POSITION_EFFECT) for row in net)
        spend = [paid @ places for paid, places in zip(cost, held, strict=True)]
        return float(POSITION_EFFECT @ [first.sum(), second.sum()] + price @ day.budget) / scale, (day.budget - np.array(spend)) / scale

    found = minimize(dual, np.ones(CAMPAIGNS), jac=True, method="L-BFGS-B", bounds=[(0, None)] * CAMPAIGNS, options={"maxiter": 60})
    return float(found.fun) * scale


def _targets(rng: np.random.Generator, size: int) -> NDArray[np.bool_]:
    """``(c, size)``: each campaign takes everything or about half; never nothing."""
    taken = rng.random((CAMPAIGNS, size)) < 0.6
    taken[np.arange(CAMPAIGNS), rng.integers(size, size=CAMPAIGNS)] = True
    taken[rng.random(CAMPAIGNS) < 0.3] = True
    return taken


def _times(per_hour: Floats, start: int, rng: np.random.Generator) -> Codes:
    hours = np.repeat(np.arange(HOURS), rng.poisson(per_hour))
    return np.sort(start + hours * HOUR + (rng.random(len(hours)) * HOUR).astype(np.int64))


def _draw(
    time: Codes, rng: np.random.Generator, targets: list[NDArray[np.bool_]], base: Floats, phase: Floats
) -> tuple[NDArray[np.bool_], Floats, Floats]:
    """Matches, p_click and quality of requests, ``(n, c)``: both probabilities vary by hour, shopper and pair."""
    n = len(time)
    matches = np.ones((n, CAMPAIGNS), dtype=bool)
    for kind in targets:
        matches &= kind.T[rng.integers(kind.shape[1], size=n)]
    hour = (time % DAY / HOUR)[:, None]
    shopper = rng.normal(0, 0.4, (2, n, 1))
    swing = 0.3 * np.cos(2 * np.pi * (hour - phase[:, None]) / HOURS)  # (2, n, c)
    log = swing + shopper + rng.normal(0, 0.35, (2, n, CAMPAIGNS)) - (0.4**2 + 0.35**2) / 2
    return matches, np.minimum(base * np.exp(log[0]), 0.6), np.exp(log[1])
