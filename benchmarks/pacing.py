"""Pacing beside even split and no pacing, on simulated days whose truth is known.

    python -m benchmarks.pacing                        20 seeds, 50,000 requests a normal day, 8 campaigns, under all kinds of traffic
    python -m benchmarks.pacing --service              days of the market through the service itself (benchmarks/pacing_service.py)
    python -m benchmarks.pacing --plot spend.png       also draw spend against plan over the first seed's days

Every request has two places; campaigns with overlapping targets compete for them and pay their bid a click, some minutes after the showing.
All policies know the same: the ranker's noisy p_click and the worth of a click, and rank by their product.
    none    as fast as possible, until the budget is spent
    even    the budget is let free evenly in time
    plan    it is let free along the traffic curve of the past two weeks (in normal traffic only)
    paced   ours (models/pacing): a price for each campaign's money; a place goes to the largest value − price · cost
The ceiling is the Lagrangian dual with hindsight and the true probabilities. Share of headroom: (value − none) / (ceiling − none).
Intervals are 95 % bootstrap over seeds. Exit code 1 when a check fails. Last line: one JSON object.
"""

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from tqdm import tqdm

from benchmarks.pacing_days import POSITIONS, TRAFFICS, Day, Floats, ceiling, draw_day
from benchmarks.pacing_play import MINUTES, POLICIES, Played, play, policy
from evaluation.intervals import Interval, bootstrap_mean

KINDS = (*TRAFFICS, "tight")
LEAST_SPENT, MOST_OVER = 0.98, 1.0


@dataclass(frozen=True)
class Result:
    """One policy under one traffic, over seeds.

    Attributes:
        spent: ``(seeds, c)`` share of each budget.
        over: ``(seeds, c)`` slates beyond it.
        headroom: ``(seeds,)`` share of what is to be gained over no pacing.
        value: ``(seeds,)`` worth per unit of all budgets.
        clicks: ``(seeds,)`` charged, per thousand of what the budgets buy.
    """

    spent: Floats
    over: Floats
    headroom: Floats
    value: Floats
    clicks: Floats

    def as_dict(self) -> dict[str, object]:
        """For the last line."""
        return {
            "spent_mean": round(float(np.minimum(self.spent, 1).mean()), 5),
            "spent_worst": round(float(self.spent.min()), 5),
            "over_slates_worst": round(float(self.over.max()), 3),
            "value_per_budget": {k: round(v, 4) for k, v in _mean(self.value).as_dict().items()},
            "headroom": {k: round(v, 4) for k, v in _mean(self.headroom).as_dict().items()},
        }


def measure(days: Sequence[tuple[Day, dict[str, Played]]]) -> dict[str, Result]:
    """What played days came to.

    Args:
        days: one a seed, each with the same policies, ``none`` among them.

    Returns:
        By policy.
    """
    best = np.array([ceiling(day) for day, _ in days])
    worth = {name: np.array([played[name].value for _, played in days]) for name in days[0][1]}
    budget = np.array([day.budget for day, _ in days])
    bid = np.array([day.bid for day, _ in days])
    found = {}
    for name, value in worth.items():
        spent = np.array([played[name].spent[-1] for _, played in days])
        found[name] = Result(
            spent=spent / budget,
            over=np.maximum(spent - budget, 0) / (bid * POSITIONS),
            headroom=(value - worth["none"]) / (best - worth["none"]),
            value=value / budget.sum(axis=1),
            clicks=np.array([played[name].clicks for _, played in days]) / (budget / bid).sum(axis=1),
        )
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Play, compare, print.

    Args:
        arguments: of the command line; the process's own when None.

    Returns:
        0 when every check holds, else 1.
    """
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--requests", type=int, default=50_000, help="of a normal day")
    parser.add_argument("--traffic", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--plot", type=Path, help="PNG of spend against plan")
    parser.add_argument("--service", action="store_true", help="days of the market through the service's decision path instead")
    parser.add_argument("--days", type=int, default=2, help="of the market, with --service")
    parser.add_argument("--market-requests", type=int, default=20_000, help="a day of the market, with --service")
    parser.add_argument("--policies", nargs="+", choices=POLICIES, default=["none", "even", "paced"], help="with --service")
    parser.add_argument("--seed", type=int, default=11, help="of the market's days, with --service")
    parser.add_argument("--folder", type=Path, default=Path(".run") / "market-days", help="where the market is kept, with --service")
    options = parser.parse_args(arguments)
    if min(options.seeds, options.requests) < 1:
        parser.error("--seeds and --requests must be at least 1")
    if options.service:
        from benchmarks.pacing_service import run

        told, holds = run(
            Path.cwd(),
            options.folder.resolve(),
            days=options.days,
            requests=options.market_requests,
            seed=options.seed,
            policies=options.policies,
        )
        print(json.dumps({"service": told, "holds": holds}))
        return 0 if holds else 1
    start, held, answer = time.process_time(), True, {}
    drawn: dict[str, tuple[Day, dict[str, Played]]] = {}
    with tqdm(total=len(options.traffic) * options.seeds, desc="days", file=sys.stderr) as bar:
        for kind in options.traffic:
            days = []
            for seed in range(options.seeds):
                tight = kind == "tight"
                day = draw_day("normal" if tight else kind, seed, requests=options.requests, tight=tight)
                names = [name for name in POLICIES if name != "plan" or kind == "normal"]
                days.append((day, {name: play(day, policy(name, day)) for name in names}))
                bar.update()
            drawn[kind] = days[0]
            results = measure(days)
            held &= _show(kind, results)
            answer[kind] = {name: result.as_dict() for name, result in results.items()}
    if options.plot is not None:
        spend_against_plan(drawn).savefig(options.plot, dpi=110)
    print(json.dumps({"traffic": answer, "holds": held, "cpu_seconds": round(time.process_time() - start, 1)}))
    return 0 if held else 1


def spend_against_plan(days: dict[str, tuple[Day, dict[str, Played]]]) -> Figure:
    """Spend of all campaigns over the day, by traffic and policy, beside the plan.

    Args:
        days: by kind of traffic.
    """
    figure = Figure(figsize=(11, 3.2 * ((len(days) + 2) // 3)), layout="constrained")
    axes = figure.subplots((len(days) + 2) // 3, 3, sharex=True, sharey=True, squeeze=False).ravel()
    hours = np.arange(MINUTES + 1) / 60
    for axis, (kind, (day, played)) in zip(axes, days.items(), strict=False):
        axis.plot(hours, played["paced"].planned.sum(axis=1) / day.budget.sum(), "k--", linewidth=1, label="plan")
        for name, one in played.items():
            axis.plot(hours, one.spent.sum(axis=1) / day.budget.sum(), linewidth=2 if name == "paced" else 1, label=name)
        axis.set(title=kind, xlim=(0, 24), ylim=(0, 1.05), xticks=range(0, 25, 6), xlabel="hour (UTC)", ylabel="share of budgets spent")
        axis.legend(fontsize="small")
    for axis in axes[len(days) :]:
        axis.set_visible(False)
    return figure


def _show(kind: str, results: dict[str, Result]) -> bool:
    print(f"\n{kind}")
    print(
        f"{'policy':<7} {'spent':>7} {'worst':>7} {'over, slates: mean':>18} {'worst':>6} {'clicks':>7} {'value a budget [95 %]':>24} "
        f"{'share of headroom [95 %]':>26}"
    )
    for name, r in results.items():
        spent = f"{np.minimum(r.spent, 1).mean():>7.2%} {r.spent.min():>7.2%} {r.over.mean():>18.2f} {r.over.max():>6.2f}"
        print(f"{name:<7} {spent} {r.clicks.mean():>7.3f} {_text(_mean(r.value)):>24} {_text(_mean(r.headroom)):>26}")
    ours = results["paced"]
    claims = {
        f"paced spends at least {LEAST_SPENT:.0%} of every budget": bool(ours.spent.min() >= LEAST_SPENT),
        "paced never spends more than one slate beyond a budget": bool(ours.over.max() <= MOST_OVER),
    }
    for name, other in results.items():
        if name != "paced":
            claims[f"paced is worth more than {name}"] = _mean(ours.value - other.value).low > 0
    for claim, holds in claims.items():
        print(f"{'holds' if holds else 'FAILS'}: {claim}")
    return all(claims.values())


def _mean(values: Floats) -> Interval:
    return bootstrap_mean(values, rng=np.random.default_rng(0))


def _text(found: Interval) -> str:
    return f"{found.value:.3f} [{found.low:.3f}, {found.high:.3f}]"


if __name__ == "__main__":
    sys.exit(main())
