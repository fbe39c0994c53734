"""Policies beside one another on creatives whose CTR is known: the CTR that each collects while it learns, from nothing, batch by batch.

    python -m benchmarks.creative_bandit --truth FILE --elements N [--generated] [--permuted]
                                         [--seeds 20] [--impressions 200000] [--batch 1000]

FILE holds a creative a line: id, N element choices, CTR. Clicks are drawn from the CTR; a policy says one distribution a batch and
learns between batches. Seeds pair the policies: a policy's difference to ε-greedy has a 95 % bootstrap interval over seeds.
--generated plays, with the same settings, on truths drawn for the file's elements, where elements explain 0.1, 0.5 and 0.9 of the
variance, one truth a seed; --permuted on the file's CTRs permuted across its creatives, one permutation a seed, where elements say nothing.
Exit code 1 when one of these checks fails. Last line: one JSON object about FILE; CTRs there are shares, seconds are those of one seed.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from core.errors import SourceError
from evaluation.intervals import Interval, bootstrap_mean
from models.policies import EpsilonGreedy, Greedy, LinearThompson, Policy, Thompson, Uniform

Floats = NDArray[np.float64]
R2 = (0.1, 0.5, 0.9)
SPREAD = 0.2
"""Standard deviation of log-odds across creatives of a generated truth: at a mean of 1.9 %, 200 creatives lie between about 1 and 3 %."""
MEAN_CTR = 0.019
LOSS_ALLOWED = 0.05
PLAIN = "epsilon_greedy"


@dataclass(frozen=True)
class Truth:
    """Creatives with a known CTR.

    Attributes:
        elements: ``(n, kinds)`` code of each creative's choice of each kind.
        ctr: ``(n,)`` in (0, 1).
    """

    elements: NDArray[np.int64]
    ctr: Floats


@dataclass(frozen=True)
class Result:
    """What one policy collected.

    Attributes:
        ctr: ``(seeds,)`` clicks an impression over the whole run.
        seconds: of one seed, on average.
    """

    ctr: Floats
    seconds: float


def read_truth(path: Path, kinds: int) -> Truth:
    """Read a file of creatives.

    Args:
        path: a creative a line: id, element choices, CTR, separated by white space.
        kinds: how many element choices a line has.

    Returns:
        The truth.

    Raises:
        SourceError: no such file, no creatives, or a line of another form; the message names the line.
    """
    if not path.is_file():
        raise SourceError(f"{path}: no such file. --truth takes a file with one creative a line: id, element choices, CTR.")
    elements, ctr = [], []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        fields = line.split()
        if not fields:
            continue
        try:
            if len(fields) != kinds + 2:
                raise ValueError(f"{len(fields)} fields, {kinds + 2} expected")
            elements.append([int(field) for field in fields[1:-1]])
            ctr.append(float(fields[-1]))
            if not 0 < ctr[-1] < 1:
                raise ValueError(f"CTR {ctr[-1]} lies outside (0, 1)")
        except ValueError as error:
            form = f"A line is an id, {kinds} whole numbers and a CTR (--elements {kinds})."
            raise SourceError(f"{path}, line {number}: {error}. {form}") from None
    if not ctr:
        raise SourceError(f"{path}: no creatives. A line is an id, {kinds} whole numbers and a CTR.")
    return Truth(np.array(elements, dtype=np.int64).reshape(len(ctr), kinds), np.array(ctr))


def draw_truth(elements: NDArray[np.int64], r2: float, rng: np.random.Generator) -> Truth:
    """CTRs whose log-odds are element effects and a residual, both normal, with the elements' share of the variance exactly r2.

    Args:
        elements: ``(n, kinds)`` codes.
        r2: in [0, 1].
        rng: the stream to draw from.

    Returns:
        The truth; its mean CTR is about `MEAN_CTR`.
    """
    effect = np.zeros(len(elements))
    for codes in elements.T:
        values, place = np.unique(codes, return_inverse=True)
        effect += rng.standard_normal(values.size)[place]
    effect = effect - effect.mean()
    effect = effect / max(float(effect.std()), 1e-12)
    residual = rng.standard_normal(len(elements))
    residual -= residual.mean() + effect * float(effect @ residual) / len(elements)
    log_odds = SPREAD * (np.sqrt(r2) * effect + np.sqrt(1 - r2) * residual / residual.std())
    log_odds += np.log(MEAN_CTR / (1 - MEAN_CTR)) - SPREAD**2 / 2
    return Truth(elements, np.asarray(1 / (1 + np.exp(-log_odds))))


def policies_for(elements: NDArray[np.int64]) -> Mapping[str, Callable[[], Policy]]:
    """Fresh policies by name, all with their own defaults.

    Args:
        elements: ``(n, kinds)`` codes of the creatives.
    """
    n = len(elements)
    makers: list[tuple[type[Policy], Callable[[], Policy]]] = [
        (Uniform, lambda: Uniform(n)),
        (EpsilonGreedy, lambda: EpsilonGreedy(n)),
        (Greedy, lambda: Greedy(n)),
        (Thompson, lambda: Thompson(n)),
        (LinearThompson, lambda: LinearThompson(elements)),
    ]
    return {kind.name: make for kind, make in makers}


def play(policy: Policy, ctr: Floats, *, impressions: int, batch: int, rng: np.random.Generator) -> float:
    """Show, learn, show again.

    Args:
        policy: learns as it goes.
        ctr: ``(n,)`` true click probabilities.
        impressions: in all.
        batch: impressions between two updates.
        rng: the stream of the policy's draws, of what is shown and of clicks.

    Returns:
        Clicks an impression.
    """
    creatives, clicks = np.arange(ctr.size), 0
    for start in range(0, impressions, batch):
        distribution = policy.distribution(rng)
        shown = rng.multinomial(min(batch, impressions - start), distribution)
        clicked = rng.binomial(shown, ctr)
        policy.update(creatives, shown, clicked)
        clicks += int(clicked.sum())
    return clicks / impressions


def compare(truths: Sequence[Truth], names: Sequence[str], *, impressions: int, batch: int, title: str) -> dict[str, Result]:
    """Every policy on every truth; seed s is truth s.

    Args:
        truths: one a seed.
        names: which policies.
        impressions: of a run.
        batch: impressions between two updates.
        title: of the progress bar.

    Returns:
        By policy.
    """
    ctr: dict[str, list[float]] = {name: [] for name in names}
    seconds = dict.fromkeys(names, 0.0)
    with tqdm(total=len(truths) * len(names), desc=title, file=sys.stderr) as bar:
        for seed, truth in enumerate(truths):
            makers = policies_for(truth.elements)
            for name in names:
                start = time.perf_counter()
                ctr[name].append(play(makers[name](), truth.ctr, impressions=impressions, batch=batch, rng=np.random.default_rng(seed)))
                seconds[name] += (time.perf_counter() - start) / len(truths)
                bar.update()
    return {name: Result(np.array(ctr[name]), seconds[name]) for name in names}


def difference(results: Mapping[str, Result], name: str, other: str) -> Interval:
    """Mean paired difference of CTR with its interval over seeds.

    Args:
        results: by policy.
        name: minuend.
        other: subtrahend.
    """
    return bootstrap_mean(results[name].ctr - results[other].ctr, rng=np.random.default_rng(0))


def show(title: str, truths: Sequence[Truth], results: Mapping[str, Result]) -> None:
    """Print a table.

    Args:
        title: what was played on.
        truths: one a seed.
        results: by policy.
    """
    best = np.mean([truth.ctr.max() for truth in truths])
    print(f"\n{title}: mean CTR {np.mean([truth.ctr.mean() for truth in truths]):.3%}, best creative {best:.3%}")
    print(f"{'policy':<16} {'mean CTR':>9} {'worst':>8} {f'minus {PLAIN} [95 %], points':>36} {'s a seed':>9}")
    for name, result in results.items():
        gap = difference(results, name, PLAIN)
        points = f"{100 * gap.value:+.3f} [{100 * gap.low:+.3f}, {100 * gap.high:+.3f}]" if name != PLAIN else ""
        print(f"{name:<16} {result.ctr.mean():>9.3%} {result.ctr.min():>8.3%} {points:>36} {result.seconds:>9.2f}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Play, compare, print.

    Args:
        arguments: of the command line; the process's own when None.

    Returns:
        0 when every check that was asked for holds, else 1; 2 when the file cannot be read.
    """
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--truth", type=Path, required=True, help="a creative a line: id, element choices, CTR")
    parser.add_argument("--elements", type=int, required=True, metavar="N", help="element choices a line")
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--impressions", type=int, default=200_000)
    parser.add_argument("--batch", type=int, default=1_000)
    parser.add_argument("--generated", action="store_true", help=f"also on generated truths with element R² {R2}")
    parser.add_argument("--permuted", action="store_true", help="also on the file's CTRs permuted across its creatives")
    options = parser.parse_args(arguments)
    if min(options.seeds, options.impressions, options.batch) < 1:
        parser.error("--seeds, --impressions and --batch must be at least 1")
    try:
        truth = read_truth(options.truth, options.elements)
    except SourceError as error:
        print(error, file=sys.stderr)
        return 2

    def run(title: str, truths: Sequence[Truth], names: Sequence[str]) -> dict[str, Result]:
        results = compare(truths, names, impressions=options.impressions, batch=options.batch, title=title)
        show(title, truths, results)
        return results

    held, ours, own = True, LinearThompson.name, Thompson.name
    found = run(options.truth.name, [truth] * options.seeds, list(policies_for(truth.elements)))
    for r2 in R2 if options.generated else ():
        drawn = [draw_truth(truth.elements, r2, np.random.default_rng([seed, round(100 * r2)])) for seed in range(options.seeds)]
        results = run(f"generated, element R² {r2}", drawn, [PLAIN, own, ours])
        beaten = {other: difference(results, ours, other) for other in (PLAIN, own)}
        held &= _check(f"{ours} beats {PLAIN} and {own}", all(gap.low > 0 for gap in beaten.values()))
    if options.permuted:
        mixed = [Truth(truth.elements, np.random.default_rng(seed).permutation(truth.ctr)) for seed in range(options.seeds)]
        results = run("permuted across creatives", mixed, [PLAIN, own, ours])
        share = results[ours].ctr.mean() / results[own].ctr.mean() - 1
        held &= _check(f"{ours} loses at most {LOSS_ALLOWED:.0%} to {own} (here {share:+.1%})", share >= -LOSS_ALLOWED)
    print(
        json.dumps(
            {
                "policies": {
                    name: {"mean_ctr": float(result.ctr.mean()), "worst_ctr": float(result.ctr.min()), "seconds": round(result.seconds, 3)}
                    for name, result in found.items()
                }
            }
        )
    )
    return 0 if held else 1


def _check(claim: str, holds: bool) -> bool:
    print(f"{'holds' if holds else 'FAILS'}: {claim}")
    return holds


if __name__ == "__main__":
    sys.exit(main())
