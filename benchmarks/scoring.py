"""The best 50 of 100,000 items for 1,000 users from the same factors: ours beside `implicit`'s ranker.

    python -m benchmarks.scoring [--users 1000] [--items 100000] [--dim 128] [--k 50] [--rounds 5] [--exclude 20]

`exact` is `models.recommender.nearest.top_k`, `approximate` the graph index of `Nearest`, and the peer is
`implicit.cpu.topk`, which `MatrixFactorizationBase.recommend` calls. All get the same float32 factors, the same excluded items and the same
threads, and take turns in changing order. Factors are drawn: coordinates fall in size as those of a factorisation do, and lengths of items
are log-normal, as popularity makes them. Ratios are paired within a round; intervals over rounds. The exact answers must be the same.
Last line: one JSON object.
"""

import argparse
import json
import sys
import time
import warnings
from collections.abc import Callable, Sequence

import numpy as np
from rich.console import Console
from rich.table import Table
from scipy.sparse import csr_matrix
from tqdm import tqdm

from core.environment import limit_threads, project_root
from core.params import load_params
from evaluation.intervals import bootstrap_mean
from models.recommender.nearest import Nearest, top_k

PEER = "implicit"


def main(arguments: Sequence[str] | None = None) -> int:
    """Search, compare, print.

    Args:
        arguments: of the command line; the process's own when None.

    Returns:
        0; 1 when the exact answers differ from the peer's by more than rounding.
    """
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--users", type=int, default=1000)
    parser.add_argument("--items", type=int, default=100_000)
    parser.add_argument("--dim", type=int, default=128)
    parser.add_argument("--k", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--exclude", type=int, default=20, help="items that each user must not get")
    parser.add_argument("--exact-only", action="store_true", help="build no index")
    options = parser.parse_args(arguments)
    params = load_params(project_root() / "params.yaml")
    limit_threads(params.threads)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its import looks for a GPU, and says so
        from implicit.cpu.topk import topk
    rng = np.random.default_rng(params.seed)
    users, items, excluded = draw(options.users, options.items, options.dim, options.exclude, rng)
    answers: dict[str, tuple[np.ndarray, np.ndarray]] = {}

    def exact() -> tuple[np.ndarray, np.ndarray]:
        best = top_k(users, items, options.k, excluded)
        return best.codes, best.scores

    def peer() -> tuple[np.ndarray, np.ndarray]:
        codes, scores = topk(items, users, options.k, filter_query_items=excluded, num_threads=params.threads)
        return codes, scores

    ways: dict[str, Callable[[], tuple[np.ndarray, np.ndarray]]] = {"exact": exact, PEER: peer}
    build_s = 0.0
    if not options.exact_only:
        began = time.perf_counter()
        index = Nearest(items, exact_up_to=0, threads=params.threads)
        build_s = time.perf_counter() - began

        def approximate() -> tuple[np.ndarray, np.ndarray]:
            best = index.top_k(users, options.k, excluded)
            return best.codes, best.scores

        ways["approximate"] = approximate
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for number in tqdm(range(options.rounds + 1), desc="rounds", unit="round"):
        for name in list(ways)[:: 1 if number % 2 == 0 else -1]:
            began = time.perf_counter()
            answers[name] = ways[name]()
            if number:  # the first round warms up
                seconds[name].append(time.perf_counter() - began)
    alike = bool(np.allclose(answers["exact"][1], answers[PEER][1], rtol=1e-4, atol=1e-4))
    recall = {name: recall_of(codes, answers["exact"][0]) for name, (codes, _) in answers.items()}
    table = Table(
        title=f"{options.users:,} users, {options.items:,} items, {options.dim} factors, top {options.k}, {params.threads} thread(s)"
    )
    for column in ("", "s (median)", f"{PEER} / it [95 %]", f"recall@{options.k}"):
        table.add_column(column, justify="right" if column else "left")
    result: dict[str, float] = {}
    for name, taken in seconds.items():
        ratio = bootstrap_mean(np.array(seconds[PEER]) / np.array(taken))
        table.add_row(name, f"{np.median(taken):.3f}", f"{ratio.value:.2f} [{ratio.low:.2f}, {ratio.high:.2f}]", f"{recall[name]:.4f}")
        result |= {f"{name}_s": float(np.median(taken)), f"{name}_recall": recall[name]}
        if name != PEER:
            result[f"{name}_ratio"] = ratio.value
    Console(width=120).print(table)
    built = f"index built in {build_s:.1f} s; " if build_s else ""
    print(f"{built}exact scores {'agree with' if alike else 'DIFFER from'} the peer's")
    print(json.dumps({name: round(value, 5) for name, value in (result | {"build_s": build_s}).items()}))
    return 0 if alike else 1


def draw(users: int, items: int, dim: int, exclude: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, csr_matrix]:
    """Factors and excluded items.

    Args:
        users: how many.
        items: how many.
        dim: factors of each.
        exclude: items a user.
        rng: draws.

    Returns:
        (users, dim) and (items, dim) float32, and (users, items) with an entry for each excluded item.
    """
    spectrum = (1 + np.arange(dim, dtype=np.float32)) ** -0.5
    left = rng.standard_normal((users, dim), dtype=np.float32) * spectrum
    right = rng.standard_normal((items, dim), dtype=np.float32) * spectrum
    right *= rng.lognormal(0.0, 0.3, size=(items, 1)).astype(np.float32)
    column = rng.integers(items, size=users * exclude)
    row = np.repeat(np.arange(users), exclude)
    excluded = csr_matrix((np.ones(len(row), np.float32), (row, column)), shape=(users, items))
    return left, right, excluded


def recall_of(found: np.ndarray, wanted: np.ndarray) -> float:
    """Share of the wanted that was found.

    Args:
        found: (n, k) codes.
        wanted: (n, k) codes.
    """
    return float(np.mean([len(np.intersect1d(ours, theirs)) / len(theirs) for ours, theirs in zip(found, wanted, strict=True)]))


if __name__ == "__main__":
    sys.exit(main())
