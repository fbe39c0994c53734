"""Pacing in the service itself: days of the market through its decision path, with budgets, and shoppers who answer by their truth."""

import heapq
import shutil
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pandas as pd
from fastapi.testclient import TestClient
from tqdm import tqdm

from benchmarks.market_world import Asking, Market, market, serving_params
from benchmarks.pacing_days import Codes, Floats
from core.columns import Columns as C
from core.files import read_table, write_table
from core.schemas import arrow_schema
from models.pacing import Standing
from models.pacing.curve import DAY, HOUR
from serving.api import Ad, AdsRequest, ClickEvent
from serving.app import create_app
from serving.behaviour import Behaviour
from serving.calendar import Calendar
from serving.metrics import Metrics, Stopwatch
from serving.model_set import ModelSet
from serving.service import Ads, Asked, Parts

K = 6
TOGETHER = 16
"""Requests that are in the air at once, and share a moment."""
PART = 3
"""Of the first day's requests, one in so many says what campaigns spend without limits."""
TICK = 60_000_000
"""Microseconds of the market's time between two ticks; a service of this traffic has a request in four seconds."""
DELAY = 45e6
"""Mean microseconds from showing to click."""
POLICIES = ("none", "even", "paced")
SHARES = (0.35, 0.75)
"""Budgets as shares of what a campaign spends on the first day when none has a limit: feasible."""
LEAST_CLICKS = 50.0
"""A campaign whose budget would buy fewer has no budget: one click would be more than 2 % of it."""
MOST_ERROR = 0.02


@dataclass
class Day:
    """What one day of a service came to.

    Attributes:
        spent: ``(c, 25)`` micros charged at each full hour.
        given: ``(c,)`` micros of clicks that the budget did not pay for.
        clicks: true probabilities of what was shown, summed.
        shown: positions.
    """

    spent: Floats
    given: Floats
    clicks: float = 0.0
    shown: int = 0


@dataclass(frozen=True)
class Run:
    """What one service did on all days.

    Attributes:
        days: see `Day`.
        requests: ``(days, 25)`` share of the requests that had come at each full hour.
        plan: ``(days, c, 25)`` micros that the pacer had planned when the day began; zero where nothing is planned.
    """

    days: tuple[Day, ...]
    requests: Floats
    plan: Floats = field(default_factory=lambda: np.zeros(0))


def asked(place: Market, calendar: Calendar, *, days: int, a_day: int, seed: int) -> Asking:
    """Requests of full days by the shop's clock: those of the market, over and over, each within the hour of its own moment.

    Args:
        place: the market.
        calendar: the shop's clock.
        days: how many.
        a_day: requests of each day, before the day's own strength.
        seed: of the draws.
    """
    rng = np.random.default_rng(seed)
    asking, first = place.asking, calendar.day(place.start) + 1
    local = np.array([calendar.local(int(time)) for time in asking.time])
    rows, times, of = [], [], []
    usual = np.mean([np.sum(local // DAY == first + day) for day in range(days)])
    for day in range(days):
        own = np.flatnonzero(local // DAY == first + day)
        chosen = rng.choice(own, size=round(a_day * len(own) / usual))
        moved = local[chosen] // HOUR * HOUR + rng.integers(0, HOUR, len(chosen))
        order = np.argsort(moved, kind="stable")
        rows.append(chosen[order])
        times.append(moved[order] - (local[chosen] - asking.time[chosen])[order])
        of.append(np.full(len(chosen), day))
    kept = np.concatenate(rows)
    drawn = {name: getattr(asking, name)[kept] for name in ("user", "scene", "channel")}
    return replace(asking, **drawn, time=np.concatenate(times), day=np.concatenate(of))


def place_of(place: Market, folder: Path, budgets: Mapping[str, int] | None) -> Market:
    """The market with its own campaigns, which have these budgets.

    Args:
        place: the market, whose pool has none.
        folder: where the bundles are written.
        budgets: micros a day by campaign; None: nobody has a budget.
    """
    for kind in ("recommender", "ranker", "generator"):
        (folder / "models").mkdir(parents=True, exist_ok=True)
        (folder / "models" / kind).symlink_to(place.folder / "models" / kind)
    (folder / "clean").symlink_to(place.folder / "clean")
    shutil.copytree(place.folder / "models" / "pool", folder / "models" / "pool")
    campaigns = read_table(place.folder / "project" / "data" / "clean" / "campaigns.parquet")
    held = [None if budgets is None else budgets.get(str(name)) for name in campaigns[C.CAMPAIGN]]
    campaigns[C.DAILY_BUDGET] = pd.array(held, dtype="Int64")
    write_table(campaigns, folder / "models" / "pool" / "campaigns.parquet", arrow_schema("campaigns"))
    return replace(place, folder=folder)


def serve(place: Market, asking: Asking, policy: str, campaigns: Sequence[str], *, days: int, seed: int) -> Run:
    """Let a service answer all requests, and its shoppers click.

    Args:
        place: the market.
        asking: the requests.
        policy: of `POLICIES`; "none" for a service whose campaigns have no budget, too.
        campaigns: ids, in the order of the result.
        days: how many.
        seed: of the shoppers' luck, the same for every policy.

    Raises:
        RuntimeError: the service does not serve.
    """
    began = time.process_time()
    params = serving_params()
    calendar, now, luck = Calendar(params.time_zone), [place.start], np.random.default_rng([seed, 1])
    chance, delay = luck.random((len(asking.time), K)), luck.exponential(DELAY, (len(asking.time), K)).astype(np.int64)
    first = calendar.day(place.start) + 1
    found = [Day(np.zeros((len(campaigns), 25)), np.zeros(len(campaigns))) for _ in range(days)]
    plan, coming = np.zeros((days, len(campaigns), 25)), list[tuple[int, str, int]]()
    hours = (np.array([calendar.local(int(time)) for time in asking.time]) - first * DAY) // HOUR
    with tempfile.TemporaryDirectory() as live:
        settings = place.settings(Path(live), params)
        app = create_app(settings, wall=lambda: now[0])
        with TestClient(app) as client:
            parts = _ready(client, Parts(settings, app.state.storage, app.state.champions))
            app.state.ticker.stop()  # its second is one of the wall clock; here the market's time says when
            metrics = Metrics()
            ads, behaviour = Ads(parts, Stopwatch(metrics.stages, metrics.stages_cpu, metrics.groups)), Behaviour(parts)
            models = parts.models()
            spending, ticked, hour = _spending(policy, models, calendar), 0, 0
            for start in tqdm(range(0, len(asking.time), TOGETHER), desc=policy, file=sys.stderr, mininterval=5):
                rows = np.arange(start, min(start + TOGETHER, len(asking.time)))
                now[0] = max(int(asking.time[rows[-1]]), now[0])
                while hour < hours[rows[-1]]:
                    hour += 1
                    _note(parts, found, campaigns, hour, first)
                _clicked(behaviour, coming, now[0])
                if now[0] >= ticked + TICK:
                    ticked = now[0]
                    spending(now[0])
                    day = calendar.day(ticked) - first
                    if policy == "paced" and not plan[day].any():
                        plan[day] = [_plan(models, name) for name in campaigns]
                of, slates = _asked(ads, asking, rows, luck)
                p = _true(place, asking, of, [ad for _, ad in slates], now[0])
                for row, chances, (request, ad) in zip(of.tolist(), p.tolist(), slates, strict=True):
                    position = ad.position
                    day = int(asking.day[row])
                    found[day].clicks += chances
                    found[day].shown += 1
                    if chance[row, position] < chances:
                        heapq.heappush(coming, (now[0] + int(delay[row, position]), request, position))
            now[0] = max(now[0], (first + days) * DAY - (calendar.local(now[0]) - now[0]) - 1)
            _clicked(behaviour, coming, now[0])
            _note(parts, found, campaigns, 24 * days, first)
            for name, day, given in parts.storage.store.read("SELECT campaign_id, day, given_micros FROM spend"):
                if name in campaigns and 0 <= day - first < days:
                    found[day - first].given[list(campaigns).index(name)] = given
    print(f"{policy}: {time.process_time() - began:.0f} s of a processor", file=sys.stderr)
    share = [[float((hours[asking.day == day] < 24 * day + edge).mean()) for edge in range(25)] for day in range(days)]
    return Run(tuple(found), np.array(share), plan)


def _spending(policy: str, models: ModelSet, calendar: Calendar) -> Callable[[int], None]:
    """What happens at a tick: nothing, a share of the budgets is let free, or prices are found."""
    pacing = models.pacing
    assert pacing is not None  # params.yaml says so
    if policy == "paced":
        return lambda now: pacing.catch_up()
    budgets = {c.campaign_id: c.daily_budget_micros for c in models.pool.campaigns if c.daily_budget_micros is not None}

    def even(now: int) -> None:
        spent, share = pacing.spent(now), calendar.local(now) % DAY / DAY
        over = [name for name, budget in budgets.items() if spent.get(name, 0) >= budget * share]
        pacing.standing = Standing(closed=frozenset(over))

    def none(now: int) -> None:
        pacing.standing = Standing()

    none(0)
    return even if policy == "even" else none


def _plan(models: ModelSet, campaign: str) -> list[float]:
    assert models.pacing is not None
    course = models.pacing.course().get(campaign)
    return [0.0] * 25 if course is None else [float(value) for value in course.plan]


def _note(parts: Parts, found: list[Day], campaigns: Sequence[str], hour: int, first: int) -> None:
    """Write down what was spent by the end of an hour, counted from the first day."""
    day = (hour - 1) // 24
    spent = dict(parts.storage.store.read("SELECT campaign_id, spent_micros FROM spend WHERE day = ?", (first + day,)))
    found[day].spent[:, hour - 24 * day] = [spent.get(name, 0) for name in campaigns]


def _ready(client: TestClient, parts: Parts) -> Parts:
    while (ready := client.get("/readyz")).status_code != 200:
        problem = ready.json()["problem"]
        if "being loaded" not in problem:
            raise RuntimeError(f"the service does not serve: {problem}")
        time.sleep(0.1)
    return parts


def _asked(ads: Ads, asking: Asking, rows: Codes, rng: np.random.Generator) -> tuple[Codes, list[tuple[str, Ad]]]:
    """What a group of requests is shown: the row of each place, and its request and ad."""
    bodies = [AdsRequest(user_id=str(asking.user[row]), scene=asking.scene[row], channel=asking.channel[row], k=K) for row in rows.tolist()]
    answers = ads.answer_all([Asked(body, uuid.UUID(bytes=rng.bytes(16), version=4).hex) for body in bodies])
    of, shown = [], []
    for row, one in zip(rows.tolist(), answers, strict=True):
        if isinstance(one, Exception):
            raise one
        shown += [(one.answer.request_id, ad) for ad in one.answer.slate]
        of += [row] * len(one.answer.slate)
    return np.array(of, dtype=np.int64), shown


def _clicked(behaviour: Behaviour, coming: list[tuple[int, str, int]], now: int) -> None:
    """Tell of the clicks whose moment has come."""
    due = []
    while coming and coming[0][0] <= now:
        _, request, at = heapq.heappop(coming)
        due.append(ClickEvent(type="click", event_id=f"{request}-{at}", request_id=request, position=at))
    if due:
        behaviour.accept(due)


def _true(place: Market, asking: Asking, of: Codes, ads: Sequence[Ad], now: int) -> Floats:
    """``(n,)`` true p_click of ads, each shown to the request in row ``of``."""
    if not ads:
        return np.zeros(0)
    items, texts, moments = [ad.item_id for ad in ads], [ad.text for ad in ads], np.full(len(ads), now, dtype=np.int64)
    at = np.array([ad.position for ad in ads], dtype=np.int64)
    return place.truth.p_click(asking.user[of], items, texts, asking.scene[of], asking.channel[of], at, moments)


def budgets_of(spent: Floats, bids: Floats, seed: int) -> Floats:
    """Feasible budgets.

    Args:
        spent: ``(c,)`` micros of a day without limits.
        bids: ``(c,)`` micros a click.
        seed: of the draws.

    Returns:
        ``(c,)`` micros a day; 0 for none.
    """
    share = np.random.default_rng([seed, 2]).uniform(*SHARES, len(spent))
    return np.where(share * spent >= LEAST_CLICKS * bids, np.round(share * spent), 0.0)


def run(
    root: Path, folder: Path, *, days: int, requests: int, seed: int, policies: Sequence[str] = POLICIES
) -> tuple[dict[str, object], bool]:
    """Play the market's days under every policy, print a table.

    Args:
        root: the project, whose committed state trains the champions when there are none yet.
        folder: where the market is kept.
        days: by the shop's clock.
        requests: a day.
        seed: of requests, luck and budgets.
        policies: which are played; ours is among them.

    Returns:
        For the last line, and whether every check holds.

    Raises:
        RuntimeError: too few requests for budgets that can be told from one click.
    """
    place, calendar = market(root, folder, fresh=False), Calendar(serving_params().time_zone)
    asking = asked(place, calendar, days=days, a_day=requests, seed=seed)
    table = read_table(place.folder / "project" / "data" / "clean" / "campaigns.parquet")
    names, bids = table[C.CAMPAIGN].astype(str).tolist(), table[C.BID].to_numpy(dtype=np.float64)
    first = np.flatnonzero(asking.day == 0)[::PART]
    one = replace(asking, **{name: held[first] for name, held in vars(asking).items()})
    with tempfile.TemporaryDirectory() as free:
        unlimited = serve(place_of(place, Path(free), None), one, "none", names, days=1, seed=seed)
    budget = budgets_of(PART * unlimited.days[0].spent[:, 24], bids, seed)
    kept = np.flatnonzero(budget)
    if not len(kept):
        raise RuntimeError(f"no campaign has a budget of {LEAST_CLICKS:g} clicks at {requests} requests a day; take more --market-requests")
    held = {names[code]: int(budget[code]) for code in kept}
    print(f"the decision path in process; {len(asking.time)} requests on {days} days ({calendar.zone}), {K} positions; bids/budgets:")
    print(", ".join(f"{name} {bids[names.index(name)] / 1e6:g}/{micros / 1e6:.0f}" for name, micros in held.items()))
    print(
        f"{'policy':<7} {'error: mean':>11} {'worst':>7} {'spent: worst':>12} {'from traffic':>12} {'own plan':>9} {'given':>7} {'CTR':>7}"
    )
    answer: dict[str, object] = {}
    for policy in policies:
        with tempfile.TemporaryDirectory() as own:
            there = place_of(place, Path(own), held)
            played = serve(there, asking, policy, list(held), days=days, seed=seed)
        answer[policy] = told = _measured(played, budget[kept], bids[kept])
        line = f"{policy:<7} {told['error_mean']:>11.2%} {told['error_worst']:>7.2%} {told['spent_worst']:>12.2%} "
        print(line + f"{told['from_traffic']:>12.2%} {_share(told['from_plan']):>9} {told['given']:>7.2%} {told['ctr']:>7.3%}")
    ours = answer.get("paced", {"error_worst": float("nan"), "over_bids_worst": float("nan")})
    assert isinstance(ours, dict)
    holds = ours["error_worst"] <= MOST_ERROR and ours["over_bids_worst"] <= 1
    claim = f"paced spends every budget of every day to within {MOST_ERROR:.0%}, and goes at the most one click beyond it"
    print(f"{'holds' if holds else 'FAILS' if 'paced' in answer else 'not played'}: {claim}")
    return {**answer, "requests": len(asking.time), "campaigns": len(held)}, bool(holds)


def _share(value: float | None) -> str:
    return "–" if value is None else f"{value:.2%}"


def _measured(played: Run, budget: Floats, bids: Floats) -> dict[str, float | None]:
    """Pacing error: what a day's spend is away from its budget. Course: the mean distance from where spend should be at full hours."""
    spent = np.array([day.spent for day in played.days]) / budget[:, None]  # (days, c, 25)
    error = np.abs(spent[:, :, 24] - 1)
    planned = played.plan / budget[:, None]
    return {
        "error_mean": round(float(error.mean()), 5),
        "error_worst": round(float(error.max()), 5),
        "spent_worst": round(float(spent[:, :, 24].min()), 5),
        "over_bids_worst": round(float(((spent[:, :, 24] - 1) * budget / bids).max()), 3),
        "from_traffic": round(float(np.abs(spent - played.requests[:, None]).mean()), 5),
        "from_plan": round(float(np.abs(spent - planned).mean()), 5) if planned.any() else None,
        "given": round(float(np.sum([day.given for day in played.days]) / (budget.sum() * len(played.days))), 5),
        "ctr": round(sum(day.clicks for day in played.days) / sum(day.shown for day in played.days), 6),
    }
