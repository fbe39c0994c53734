"""Ten days of a market with the service in the loop: CTR of the loop, of the frozen champion, of uniform and of the oracle, day by day.

python -m benchmarks.market_days [--requests 2000] [--k 3] [--fresh] [--arms thompson nightly]

The frozen champion is the service as it starts: `epsilon_greedy` with the floor of params.yaml. The loop learns twice: `linear_thompson`
from every click at once, and the ranker every night from the service's own log; since it explores where it doubts, its own floor is low, as
of `adloom challenge linear_thompson --exploration 0.01`. `floor` is the frozen champion with that floor and nothing learnt: what the loop
has beyond it, it has learnt, and by that it is judged. `thompson` is the policy alone, `nightly` the nights alone, both with the low floor.

The service is asked as an ASGI application in this process, eight requests at a time; shoppers click by their true probabilities, with
the same random number for the same request and position whatever is shown. CTR is the mean true probability of what was shown. Intervals:
95 %, bootstrap over shoppers, of one run of the loop; how a loop's luck varies from run to run is not in them.
"""

import argparse
import asyncio
import json
import sqlite3
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import httpx
import numpy as np
from tqdm import tqdm

from benchmarks.market_nights import Nights
from benchmarks.market_world import DAYS, Asking, Market, market, serving_params, some
from core.params import ServingParams
from models.policies.slate import slate
from models.policies.variety import Limit
from models.pool import Pool
from models.recommender.scenes import most_of_a_category
from serving.app import create_app

TOGETHER = 8
"""Requests that are in the air at once, and share a moment."""
LEARN_EVERY = 8
"""Groups between two looks at the log: at the default size about a quarter of an hour of the market, a second of a busy service."""
RESAMPLES = 1000


@dataclass(frozen=True)
class Run:
    """What one service showed.

    Attributes:
        value: ``(n, k)`` true p_click of what was shown.
        moments: ``(n,)`` when it was decided.
        candidates: creative ids a request could have been shown.
        seconds: that the run took.
    """

    value: np.ndarray
    moments: np.ndarray
    candidates: list[list[str]]
    seconds: float


LOW_FLOOR = 0.01
"""Exploration of the loop; the default of `models.policies.linear.LinearThompson`."""
ARMS = {
    "frozen": ("epsilon_greedy", None, False),
    "loop": ("linear_thompson", LOW_FLOOR, True),
    "floor": ("epsilon_greedy", LOW_FLOOR, False),
    "thompson": ("linear_thompson", LOW_FLOOR, False),
    "nightly": ("epsilon_greedy", LOW_FLOOR, True),
}
"""Policy, its floor (None: that of params.yaml), and whether the ranker is trained every night."""


async def serve(place: Market, asking: Asking, params: ServingParams, *, k: int, luck: np.ndarray, name: str, nightly: bool) -> Run:
    """Let a service answer all requests, and its shoppers click.

    Args:
        place: the market.
        asking: the requests.
        params: of the service.
        k: positions.
        luck: ``(n, k)`` uniform numbers; below p_click, the shopper clicks.
        name: for the progress bar.
        nightly: whether the ranker is trained after each day.
    """
    count, began = len(asking.time), time.perf_counter()
    values, moments = np.full((count, k), np.nan), np.zeros(count, dtype=np.int64)
    now = [place.start]
    with tempfile.TemporaryDirectory() as live:
        settings, nights = place.settings(Path(live), params), None
        if nightly:
            nights = Nights(place, Path(live) / "nights")
            settings = replace(settings, bundles=nights.models)
        app = create_app(settings, wall=lambda: now[0])
        transport = httpx.ASGITransport(app=app)
        async with app.router.lifespan_context(app), httpx.AsyncClient(transport=transport, base_url="http://loopback") as client:
            while (ready := await client.get("/readyz")).status_code != 200:
                problem = ready.json()["problem"]
                if "being loaded" not in problem:
                    raise RuntimeError(f"the service does not serve: {problem}")
                await asyncio.sleep(0.1)
            app.state.learner.stop()  # its second is one of the wall clock; here the market's time says when
            champions = app.state.champions
            champions.stop()
            learning = champions.current.learning
            ids: list[str] = []
            for group, start in enumerate(tqdm(range(0, count, TOGETHER), desc=name, file=sys.stderr)):
                rows = list(range(start, min(start + TOGETHER, count)))
                if nights is not None and start and asking.day[start] > asking.day[start - TOGETHER]:
                    learned = nights.train(settings.database, now[0], night=int(asking.day[start]))
                    if not champions.refresh():
                        raise RuntimeError(f"the night's ranker does not serve: {champions.problem or 'it is the one that serves'}")
                    learning = champions.current.learning
                    print(f"{name}: night {asking.day[start]}, {learned} impressions of its own", file=sys.stderr)
                now[0] = max(int(asking.time[rows[-1]]), now[0])
                moments[rows] = now[0]
                answers = await asyncio.gather(*(_ask(client, asking, row, k) for row in rows))
                ids += [answer["request_id"] for answer in answers]
                _judge(place, asking, rows, answers, now[0], values)
                clicks = [
                    {"type": "click", "event_id": f"{row}-{at}", "request_id": answer["request_id"], "position": at}
                    for row, answer in zip(rows, answers, strict=True)
                    for at in range(len(answer["slate"]))
                    if luck[row, at] < values[row, at]
                ]
                if clicks:
                    (await client.post("/v1/events", json={"events": clicks})).raise_for_status()
                if learning is not None and group % LEARN_EVERY == LEARN_EVERY - 1:
                    learning.catch_up()
            if learning is not None:
                learning.catch_up()
                widths = ", ".join(f"{width:.3f}" for width in learning.current.widths)
                print(f"{name}: {learning.current.clicks} clicks learnt; widths of element, item, creative: {widths}", file=sys.stderr)
        with sqlite3.connect(settings.database) as log:
            held = dict(log.execute("SELECT request_id, candidates FROM decisions WHERE position = 0").fetchall())
    return Run(values, moments, [json.loads(held.get(one, "[]")) for one in ids], time.perf_counter() - began)


async def _ask(client: httpx.AsyncClient, asking: Asking, row: int, k: int) -> dict:  # type: ignore[type-arg]
    body = {"user_id": str(asking.user[row]), "scene": str(asking.scene[row]), "channel": str(asking.channel[row]), "k": k}
    answer = await client.post("/v1/ads", json=body)
    answer.raise_for_status()
    return dict(answer.json())


def _judge(  # noqa: PLR0917 - the truth's rows
    place: Market, asking: Asking, rows: Sequence[int], answers: Sequence[dict], now: int, values: np.ndarray
) -> None:  # type: ignore[type-arg]
    """Write the true probabilities of what was shown."""
    shown = [(row, at, ad) for row, answer in zip(rows, answers, strict=True) for at, ad in enumerate(answer["slate"])]
    if shown:
        of, at = np.array([row for row, _, _ in shown]), np.array([position for _, position, _ in shown])
        values[of, at] = place.truth.p_click(
            asking.user[of],
            [ad["item_id"] for _, _, ad in shown],
            [ad["text"] for _, _, ad in shown],
            asking.scene[of],
            asking.channel[of],
            at,
            np.full(len(of), now, dtype=np.int64),
        )


def bounds(place: Market, asking: Asking, run: Run, k: int, rng: np.random.Generator, *, share: float) -> tuple[np.ndarray, np.ndarray]:
    """Uniform and oracle over the same candidates, by the service's rules: an item once in a slate, no more of a category than it lets in.

    Args:
        place: the market.
        asking: the requests.
        run: says what the candidates were, and when.
        k: positions.
        rng: draws the uniform slates.
        share: of a slate, that one category fills at the most.

    Returns:
        ``(n, k)`` true p_click of uniform's slates, and of the oracle's.
    """
    pool, category = _pool(place), _categories(place)
    uniform, oracle = (np.full((len(asking.time), k), np.nan) for _ in range(2))
    step = place.truth.strengths["position"]
    for start in range(0, len(asking.time), 200):
        rows = range(start, min(start + 200, len(asking.time)))
        sizes = [len(run.candidates[row]) for row in rows]
        of = np.repeat(np.array(rows), sizes)
        items, texts = zip(*[pool[name] for row in rows for name in run.candidates[row]], strict=True)
        p = place.truth.p_click(
            asking.user[of], items, texts, asking.scene[of], asking.channel[of], np.zeros(len(of), dtype=np.int64), run.moments[of]
        )
        for row, stop, size in zip(rows, np.cumsum(sizes), sizes, strict=True):
            if not size:
                continue
            names = items[stop - size : stop]
            held, (_, groups) = p[stop - size : stop], np.unique(names, return_inverse=True)
            limit = Limit(np.unique([category[name] for name in names], return_inverse=True)[1], most_of_a_category(k, share))
            for target, scores, exploration in ((uniform, np.zeros(size), 1.0), (oracle, held, 0.0)):
                drawn = slate(scores, k, exploration, rng, groups=groups, limit=limit).indices
                odds = np.log(held[drawn] / (1 - held[drawn])) - step * np.arange(drawn.size)
                target[row, : drawn.size] = 1 / (1 + np.exp(-odds))
    return uniform, oracle


def _pool(place: Market) -> dict[str, tuple[str, str]]:
    from core.columns import Columns as C
    from core.files import read_table

    table = read_table(place.folder / "models" / "pool" / "creatives.parquet")
    return {str(name): (str(item), str(text)) for name, item, text in zip(table[C.CREATIVE], table[C.ITEM], table[C.TEXT], strict=True)}


def _categories(place: Market) -> dict[str, str]:
    pool = Pool.load(place.folder / "models" / "pool")
    return {str(item): str(pool.category[row]) for item, row in pool.item_row.items()}


def resampled(asking: Asking, rows: np.ndarray, arms: dict[str, np.ndarray], rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Bootstrap over shoppers: arm → ``(RESAMPLES,)`` CTR; the same shoppers for every arm."""
    _, shopper = np.unique(asking.user[rows].astype(str), return_inverse=True)
    count = int(shopper.max()) + 1
    weight = rng.multinomial(count, np.full(count, 1 / count), size=RESAMPLES).astype(np.float64)
    found = {}
    for name, value in arms.items():
        seen = ~np.isnan(value[rows])
        total = np.bincount(shopper, weights=np.nansum(value[rows], axis=1), minlength=count)
        found[name] = (weight @ total) / (weight @ np.bincount(shopper, weights=seen.sum(axis=1), minlength=count))
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Run and print; the exit code is 0 when the loop ends above the frozen champion, with its own floor and with the loop's."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path(".run") / "market-days", help="where the market is kept")
    parser.add_argument("--requests", type=int, default=2000, help="a day, at the most")
    parser.add_argument("--k", type=int, default=3, help="positions of a slate")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--fresh", action="store_true", help="train the champions anew")
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=[], help="more of them; frozen, floor and loop are always served")
    options = parser.parse_args(arguments)
    place = market(Path.cwd(), options.folder.resolve(), fresh=options.fresh)
    rng = np.random.default_rng(options.seed)
    asking = some(place.asking, options.requests, rng)
    luck = rng.random((len(asking.time), options.k))
    runs = {}
    for name in dict.fromkeys(["frozen", "floor", "loop", *options.arms]):
        policy, floor, nightly = ARMS[name]
        params = serving_params().model_copy(update={"policy": policy} | ({} if floor is None else {"exploration": floor}))
        runs[name] = asyncio.run(serve(place, asking, params, k=options.k, luck=luck, name=name, nightly=nightly))
    uniform, oracle = bounds(place, asking, runs["frozen"], options.k, rng, share=serving_params().category_share)
    arms = {"uniform": uniform, **{name: run.value for name, run in runs.items()}, "oracle": oracle}
    days = []
    print(f"ASGI application in process; {len(asking.time)} requests, {options.k} positions; CTR in per cent")
    print(f"{'day':>5} " + " ".join(f"{name:>8}" for name in arms) + "   loop - frozen [95 %]   loop - floor [95 %]   headroom of the loop")
    for day in [*range(DAYS), None]:
        rows = np.flatnonzero(asking.day == day) if day is not None else np.flatnonzero(asking.day >= DAYS // 2)
        drawn = resampled(asking, rows, arms, rng)
        ctr = {name: float(np.nanmean(value[rows])) for name, value in arms.items()}
        low, high = np.quantile(drawn["loop"] - drawn["frozen"], [0.025, 0.975]).tolist()
        learnt_low, learnt_high = np.quantile(drawn["loop"] - drawn["floor"], [0.025, 0.975]).tolist()
        share = (drawn["loop"] - drawn["uniform"]) / (drawn["oracle"] - drawn["uniform"])
        row = {
            "day": "6-10" if day is None else day + 1,
            **{name: round(value, 5) for name, value in ctr.items()},
            "low": round(low, 5),
            "high": round(high, 5),
            "learnt_low": round(learnt_low, 5),
            "learnt_high": round(learnt_high, 5),
            "headroom": round((ctr["loop"] - ctr["uniform"]) / (ctr["oracle"] - ctr["uniform"]), 3),
            "headroom_low": round(float(np.quantile(share, 0.025)), 3),
            "headroom_frozen": round((ctr["frozen"] - ctr["uniform"]) / (ctr["oracle"] - ctr["uniform"]), 3),
        }
        days.append(row)
        told = " ".join(f"{100 * ctr[name]:8.3f}" for name in arms)
        gain = f"{100 * (ctr['loop'] - ctr['frozen']):+.3f} [{100 * low:+.3f}, {100 * high:+.3f}]"
        learnt = f"{100 * (ctr['loop'] - ctr['floor']):+.3f} [{100 * learnt_low:+.3f}, {100 * learnt_high:+.3f}]"
        print(f"{row['day']!s:>5} {told}   {gain}   {learnt}   {row['headroom']:.2f}")
    seconds = {name: round(run.seconds, 1) for name, run in runs.items()}
    print(
        json.dumps(
            {
                "transport": "asgi",
                "requests": len(asking.time),
                "k": options.k,
                "days": days[:-1],
                "last_half": days[-1],
                "seconds": seconds,
            }
        )
    )
    return 0 if min(days[-1]["low"], days[-1]["learnt_low"]) > 0 else 1


if __name__ == "__main__":
    sys.exit(main())
