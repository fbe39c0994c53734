"""Off-policy estimators in Open Bandit Pipeline's configurations, their intervals' coverage, and its real logs.

    python -m benchmarks.off_policy [--runs 200] [--replications 1000] [--open-bandit FOLDER]

`synthetic`: 10,000 rounds, 30 actions, 5 context features, logging policy softmax(−3 q), target policy learned by weighted logistic
regression from a log of its own, reward model a logistic regression cross-fitted on three folds. `digits`: alpha 0.4 (logging, logistic
regression) and 0.9 (target, random forest), 70 % of the images, reward model gradient boosting. Relative error |estimate − truth| /
truth, its mean over runs with a 95 % bootstrap interval, beside the published row. `coverage`: how often the 95 % intervals hold the
truth on small logs with several rows a shopper and a reward model that is wrong. `open_bandit`: each log answers for the policy of the
other, where that policy's own clicks are known. λ of clipped IPS, Switch-DR and DRos is chosen by estimated MSE, as everywhere (which
was chosen on other data than these). Last line: one JSON object.
"""

import argparse
import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from benchmarks.bandit_data import Population, Problem, digits, synthetic
from benchmarks.open_bandit_logs import CAMPAIGNS, DIRECTIONS, answer
from core.environment import limit_threads
from evaluation.intervals import bootstrap_mean
from evaluation.off_policy import ESTIMATORS, Bounds, Estimate, point_value, policy_values

PROBLEMS: dict[str, Callable[[int], Problem]] = {"synthetic": synthetic, "digits": digits}
PUBLISHED = {
    "synthetic": {
        "dm": 0.074390,
        "ips": 0.009481,
        "snips": 0.006665,
        "dr": 0.006175,
        "sndr": 0.006118,
        "switch_dr": 0.006175,
        "dros": 0.021951,
    },
    "digits": {
        "dm": 0.436541,
        "ips": 0.030288,
        "snips": 0.022764,
        "dr": 0.016156,
        "sndr": 0.022082,
        "switch_dr": 0.034657,
        "dros": 0.015868,
    },
}
"""Open Bandit Pipeline's examples: 20 runs of `synthetic`, 30 of `digits`."""
TARGETS = {"synthetic": ("snips", "dr"), "digits": ("dr", "dros")}
COVERED = (0.93, 0.97)
UNBIASED = ("ips", "snips", "dr", "sndr")
"""The estimators whose coverage is asked for: the others trade bias for variance, or trust the model alone."""
SHOPPERS = 400
DRAWS = 1000


def main(arguments: Sequence[str] | None = None) -> int:
    """Run all parts and print the table.

    Args:
        arguments: of the command line; the process's own when None.

    Returns:
        0 when every bar holds, else 1.
    """
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=200, help="seeds of either configuration")
    parser.add_argument("--replications", type=int, default=1000, help="small logs for the coverage; 0 leaves it out")
    parser.add_argument("--workers", type=int, default=min(2, os.cpu_count() or 1), help="processes")
    parser.add_argument("--open-bandit", type=Path, metavar="FOLDER", help="the folder with random/ and bts/ below it")
    options = parser.parse_args(arguments)
    found: dict[str, Any] = {"runs": options.runs}
    with ProcessPoolExecutor(options.workers, mp_context=get_context("spawn"), initializer=limit_threads, initargs=(1,)) as pool:
        for name in PROBLEMS:
            work = pool.map(_errors, [name] * options.runs, range(options.runs), chunksize=4)
            found[name] = _table(name, list(_shown(work, name, options.runs)))
        if options.replications:
            work = pool.map(_covered, range(options.replications), chunksize=10)
            found["coverage"] = _coverage(list(_shown(work, "coverage", options.replications)))
    if options.open_bandit is not None:
        asked = [(campaign, direction) for campaign in CAMPAIGNS for direction in DIRECTIONS]
        work = (answer(options.open_bandit, campaign, *direction) for campaign, direction in asked)
        found["open_bandit"] = list(_shown(work, "open_bandit", len(asked)))
    found["bars"] = _bars(found)
    _print(found)
    print(json.dumps(found))
    return 0 if all(found["bars"].values()) else 1


def _shown(work: Iterable[Any], name: str, total: int) -> Iterator[Any]:
    return iter(tqdm(work, desc=name, total=total, file=sys.stderr))


def _errors(name: str, seed: int) -> dict[str, float]:
    """Relative error of each estimator in one run."""
    problem = PROBLEMS[name](seed)
    return {estimator: abs(point_value(problem.log, estimator) - problem.truth) / problem.truth for estimator in ESTIMATORS}


def _table(name: str, runs: Sequence[dict[str, float]]) -> dict[str, Any]:
    table: dict[str, Any] = {}
    for estimator in ESTIMATORS:
        errors = bootstrap_mean(np.array([run[estimator] for run in runs]), None, 10_000, np.random.default_rng(0))
        table[estimator] = {"mean": errors.value, "low": errors.low, "high": errors.high, "published": PUBLISHED[name].get(estimator)}
    return table


_POPULATION: list[Population] = []


def _covered(seed: int) -> dict[str, tuple[bool, bool, bool, float, float]]:
    """For each estimator: answered, truth within the bootstrap's and within Bernstein's interval, the widths of both."""
    if not _POPULATION:
        _POPULATION.append(Population())  # once a process
    population, rng = _POPULATION[0], np.random.default_rng([seed, 4])
    bounds = Bounds(reward=(0.0, 1.0), weight=population.largest_weight)
    answers = policy_values(population.log(SHOPPERS, rng), rng=rng, replications=DRAWS, bounds=bounds)
    found = {}
    for estimator, given in answers.items():
        if not isinstance(given, Estimate):
            found[estimator] = (False, False, False, 0.0, 0.0)
            continue
        both = (given.value, given.bernstein)
        within = [interval.low <= population.truth <= interval.high for interval in both]
        found[estimator] = (True, within[0], within[1], *(interval.high - interval.low for interval in both))
    return found


def _coverage(logs: Sequence[dict[str, tuple[bool, bool, bool, float, float]]]) -> dict[str, Any]:
    table: dict[str, Any] = {"replications": len(logs), "shoppers": SHOPPERS}
    for estimator in ESTIMATORS:
        rows = np.array([log[estimator] for log in logs], dtype=np.float64)
        answered = rows[rows[:, 0] == 1]
        names = ("bootstrap", "bernstein", "bootstrap_width", "bernstein_width")
        table[estimator] = dict(zip(names, answered[:, 1:].mean(axis=0).tolist(), strict=True)) | {
            "refused": int(len(rows) - len(answered))
        }
    return table


def _bars(found: dict[str, Any]) -> dict[str, bool]:
    bars = {f"{name} {e}": found[name][e]["low"] <= found[name][e]["published"] for name, asked in TARGETS.items() for e in asked}
    if "coverage" in found:
        for estimator in UNBIASED:
            bars[f"bootstrap coverage {estimator}"] = COVERED[0] <= found["coverage"][estimator]["bootstrap"] <= COVERED[1]
            bars[f"Bernstein coverage {estimator}"] = found["coverage"][estimator]["bernstein"] >= 0.95
    for row in found.get("open_bandit", []):
        bars[f"open_bandit {row['campaign']}, {row['logging']} → {row['target']}"] = row["holds"]
    return bars


def _print(found: dict[str, Any]) -> None:
    for name in PROBLEMS:
        print(f"{name}: relative error over {found['runs']} runs, mean [95 %]; published mean")
        for estimator, row in found[name].items():
            beside = "      —" if row["published"] is None else f"{row['published']:.4f}"
            print(f"  {estimator:<12} {row['mean']:.4f} [{row['low']:.4f}, {row['high']:.4f}]  {beside}")
    if "coverage" in found:
        print(f"coverage over {found['coverage']['replications']} logs of {SHOPPERS} shoppers: bootstrap, Bernstein (mean width of each)")
        for estimator in ESTIMATORS:
            row = found["coverage"][estimator]
            widths = f"({row['bootstrap_width']:.3f}, {row['bernstein_width']:.3f})"
            print(f"  {estimator:<12} {row['bootstrap']:.3f}  {row['bernstein']:.3f}  {widths}")
    for row in found.get("open_bandit", []):
        head = f"open_bandit {row['campaign']}, {row['logging']} → {row['target']}: its own clicks say {row['on_policy']['value']:.5f}"
        print(f"{head} [{row['on_policy']['low']:.5f}, {row['on_policy']['high']:.5f}]")
        for estimator, given in row["estimators"].items():
            said = given.get("refused") or f"{given['value']:.5f} [{given['low']:.5f}, {given['high']:.5f}]"
            print(f"  {estimator:<12} {said}")
    print("; ".join(f"{bar}: {'holds' if held else 'MISSED'}" for bar, held in found["bars"].items()))


if __name__ == "__main__":
    sys.exit(main())
