"""Is a policy learnt from a randomised log worth more than the best single action?

    python -m benchmarks.policy_learning --decisions FILE --mapping MAPPING.yaml     a log of your own (docs/policy-learning.md)
    python -m benchmarks.policy_learning --synthetic                                 logs with known truth: recovered gain, coverage

Two-fold cross-fitted on all rows: each half is judged by the policy, the best single action and the reward model of the
other half. The value is the mean of the two policies' values; the difference to the best single action is paired, doubly
robust, over the same rows (evaluation/policy_difference.py). Prints a table, and as its last line one JSON object.
"""

import argparse
import json
import sys
import time
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

import numpy as np
from tqdm import tqdm

from benchmarks.synthetic_choices import World, draw_log
from core.errors import AdloomError
from evaluation.policy_difference import PolicyComparison, compare_with_single, doubly_robust_scores, require_fitting_propensities
from models.policy_learning import FOLDS, PARTS, ROUNDS, CrossFitted, RandomisedLog, cross_fit
from tasks.sources.choices import ChoiceLog, read_choices
from tasks.sources.choices_mapping import load_choices_mapping

STEPS = FOLDS * PARTS * ROUNDS
TARGET_RECOVERED, TARGET_COVERAGE = 0.7, 0.93


def main(arguments: Sequence[str] | None = None) -> int:
    """Learn, judge, print.

    Args:
        arguments: of the command line; the process's own when None.

    Returns:
        0; 1 when the log or its mapping is refused, or synthetic targets are missed.
    """
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--decisions", type=Path, help="the log: CSV, JSON lines or Parquet")
    parser.add_argument("--mapping", type=Path, help="which of its columns is what, in YAML")
    parser.add_argument("--seed", type=int, default=0, help="of folds and of learning")
    parser.add_argument("--synthetic", action="store_true", help="logs with known truth instead")
    parser.add_argument("--rows", type=int, default=64_000, help="of a synthetic log")
    parser.add_argument("--seeds", type=int, default=3, help="synthetic logs")
    parser.add_argument("--replications", type=int, default=100, help="synthetic logs for the coverage of the interval")
    parser.add_argument("--small", type=int, default=2_000, help="rows of each of those")
    options = parser.parse_args(arguments)
    if options.synthetic:
        return _synthetic(options)
    if options.decisions is None or options.mapping is None:
        parser.error("--decisions and --mapping are needed (or --synthetic)")
    try:
        log = read_choices(options.decisions, load_choices_mapping(options.mapping))
        require_fitting_propensities(log.propensity, log.actions, log.names)
        fitted, found = learn_and_compare(_randomised(log), seed=options.seed)
    except AdloomError as error:
        print(error, file=sys.stderr)
        return 1
    print(table(log, fitted, found))
    print(json.dumps(as_json(found)))
    return 0


def learn_and_compare(log: RandomisedLog, *, seed: int, quiet: bool = False) -> tuple[CrossFitted, PolicyComparison]:
    """Cross-fit policies and compare them with the best single action.

    Args:
        log: all rows.
        seed: of folds and of learning.
        quiet: no progress bar.
    """
    with nullcontext() if quiet else tqdm(total=STEPS, desc="models", file=sys.stderr) as bar:
        fitted = cross_fit(log, rng=np.random.default_rng(seed), step=(lambda: None) if bar is None else bar.update)
    scores = doubly_robust_scores(log.rewards, log.propensity, log.actions, fitted.predicted)
    return fitted, compare_with_single(scores, fitted.chosen, fitted.single, own=fitted.own, users=log.users, seed=seed)


def as_json(found: PolicyComparison) -> dict[str, float]:
    """The last line's object.

    Args:
        found: the comparison.
    """
    return {
        "value": found.value.value,
        "low": found.value.low,
        "high": found.value.high,
        "best_single_action": found.best_single_action,
        "uniform": found.uniform,
        "diff": found.difference.value,
        "diff_low": found.difference.low,
        "diff_high": found.difference.high,
        "differs": found.differs,
    }


def table(log: ChoiceLog, fitted: CrossFitted, found: PolicyComparison) -> str:
    """What a person reads.

    Args:
        log: as read.
        fitted: policies.
        found: the comparison.
    """
    n = len(log.actions)
    left_out = ", ".join(f"{reason} ({count})" for reason, count in log.quarantine.items())
    users = "" if log.users is None else f" of {int(log.users.max()) + 1} users"
    lines = [f"{n} rows{users}; left out: {left_out or 'none'}"]
    lines.append("context: " + ", ".join(f"{name} ({kind})" for name, kind in log.kinds.items()))
    lines.append(f"{'action':<24} {'logged':>8} {'chosen':>8} {'value':>12}")
    scores = doubly_robust_scores(log.rewards, log.propensity, log.actions, fitted.predicted).mean(axis=0)
    for code, name in enumerate(log.names):
        logged, chosen = (log.actions == code).mean(), (fitted.chosen == code).mean()
        lines.append(f"{name:<24} {logged:>8.1%} {chosen:>8.1%} {scores[code]:>12.6g}")
    single = ", ".join(dict.fromkeys(log.names[policy.single_action] for policy in fitted.policies))
    for name, value in (
        ("learnt policy", f"{found.value.value:.6g} [{found.value.low:.6g}, {found.value.high:.6g}]"),
        (f"best single ({single})", f"{found.best_single_action:.6g}"),
        ("all actions alike", f"{found.uniform:.6g}"),
        ("learnt − best single", f"{found.difference.value:.6g} [{found.difference.low:.6g}, {found.difference.high:.6g}]"),
        ("chooses otherwise", f"{found.differs:.1%} of rows"),
        ("effects of contexts", " and ".join(f"{policy.evidence:.1f}" for policy in fitted.policies) + " standard errors on left-out rows"),
    ):
        lines.append(f"{name:<33} {value}")
    if np.ptp(log.rewards) == 0:
        lines.append(
            f"every reward is {log.rewards[0]:g}: there is nothing to learn, and the intervals mean nothing. Is it the right column?"
        )
    return "\n".join(lines)


def _randomised(log: ChoiceLog) -> RandomisedLog:
    return RandomisedLog(log.contexts, log.kinds, log.actions, len(log.names), log.propensity, log.rewards, log.users)


def _synthetic(options: argparse.Namespace) -> int:
    """Recovered share of the oracle gain on large logs, and how often the interval holds the true difference on small ones."""
    recovered, started = [], time.perf_counter()
    for seed in range(options.seeds):
        log, means = draw_log(World(seed=seed), options.rows, np.random.default_rng([seed, 3]))
        fitted, found = learn_and_compare(log, seed=seed)
        oracle = float(means.max(axis=1).mean() - means.mean(axis=0).max())
        recovered.append(_true_difference(fitted, means) / oracle)
        print(
            f"seed {seed}: {recovered[-1]:.1%} of the oracle gain {oracle:.5f}; estimated difference {found.difference.value:.5f} "
            f"[{found.difference.low:.5f}, {found.difference.high:.5f}], chooses otherwise in {found.differs:.1%}",
            flush=True,
        )
    seconds = (time.perf_counter() - started) / max(options.seeds, 1)
    held = {"value": 0, "diff": 0}
    for seed in tqdm(range(options.replications), desc="replications", file=sys.stderr):
        log, means = draw_log(World(seed=1000 + seed), options.small, np.random.default_rng([seed, 4]))
        fitted, found = learn_and_compare(log, seed=seed, quiet=True)
        value = float(means[np.arange(len(means)), fitted.chosen].mean())
        held["value"] += found.value.low <= value <= found.value.high
        held["diff"] += found.difference.low <= _true_difference(fitted, means) <= found.difference.high
    coverage = {name: count / options.replications if options.replications else float("nan") for name, count in held.items()}
    mean = float(np.mean(recovered)) if recovered else float("nan")
    print(
        f"recovered {mean:.1%} of the oracle gain on average (target {TARGET_RECOVERED:.0%}), {seconds:.0f} s a log of {options.rows} rows"
    )
    print(
        f"of {options.replications} small logs the interval holds the true value in {coverage['value']:.1%}, "
        f"the true difference in {coverage['diff']:.1%} (target {TARGET_COVERAGE:.0%})"
    )
    result = {"recovered": recovered, "coverage_value": coverage["value"], "coverage_diff": coverage["diff"], "seconds": round(seconds, 1)}
    print(json.dumps({name: None if np.isnan(value).any() else value for name, value in result.items()}))
    missed = mean < TARGET_RECOVERED or min(coverage.values()) < TARGET_COVERAGE
    return 1 if missed else 0


def _true_difference(fitted: CrossFitted, means: np.ndarray) -> float:
    rows = np.arange(len(means))
    return float((means[rows, fitted.chosen] - means[rows, fitted.single]).mean())


if __name__ == "__main__":
    sys.exit(main())
