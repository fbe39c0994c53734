"""The loop over training seeds and market seeds: do its results hold, and how much of their spread is training?

    python -m benchmarks.seeds                              three training seeds, two further markets
    python -m benchmarks.seeds --set market.shoppers=2000   with parameters turned, as `dvc exp run -S`

Each run is `dvc repro evaluate` in one copy of the committed project under .run/seeds, with its own data; encoded texts are
shared. Prints a table, the pairwise differences of the training seeds beside 2·√(se₁² + se₂²), and as its last line one JSON object.
"""

import argparse
import itertools
import json
import os
import shutil
import statistics
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from core.environment import project_root

Z = 1.959964


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the loops and print what they say.

    Args:
        arguments: of the command line; the process's own when None.

    Returns:
        0 when every bar holds, else 1.
    """
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[7, 8, 9], help="training seeds on the first market")
    parser.add_argument(
        "--markets", type=int, nargs="+", default=[11, 12, 13], help="market seeds; the further ones with the first training seed"
    )
    parser.add_argument("--set", action="append", default=[], metavar="SECTION.KEY=VALUE", help="turn a parameter in every run")
    options = parser.parse_args(arguments)
    folder = _checkout(project_root())
    plan = [(market, seed) for seed in options.seeds for market in options.markets[:1]]
    plan += [(market, options.seeds[0]) for market in options.markets[1:]]
    runs = []
    for market, seed in plan:
        print(f"· market {market}, training seed {seed}", file=sys.stderr, flush=True)
        runs.append(_run(folder, market, seed, options.set))
    table = "{:>7} {:>5} {:>30} {:>26} {:>26} {:>20}"
    print(table.format("market", "seed", "NDCG@10 [95 %]", "× popularity [95 %]", "headroom share [95 %]", "ranker AUC"))
    for run in runs:
        shown = [f"{v['value']:.4f} [{v['low']:.4f}, {v['high']:.4f}]" for v in (run["ndcg"], run["times"], run["share"])]
        print(table.format(run["market"], run["seed"], *shown, f"{run['auc']['value']:.4f}"))
    held = _pairs([run for run in runs if run["market"] == options.markets[0]])
    bars = all(run["times"]["value"] >= 2 and run["share"]["value"] >= 0.4 for run in runs)
    print(json.dumps({"runs": runs, "pairs_hold": held, "bars_hold": bars}))
    return 0 if held and bars else 1


def _checkout(root: Path) -> Path:
    """A clone of the committed project that shares the environment and the encoded texts."""
    folder = root / ".run" / "seeds"
    if not (folder / ".git").exists():
        folder.parent.mkdir(exist_ok=True)
        subprocess.run(["git", "clone", "--quiet", str(root), str(folder)], check=True)
    subprocess.run(["git", "fetch", "--quiet"], cwd=folder, check=True)
    subprocess.run(["git", "reset", "--quiet", "--hard", "origin/HEAD"], cwd=folder, check=True)
    cache = root / "data" / "cache"
    if cache.exists() and not (folder / "data" / "cache").exists():
        shutil.copytree(cache, folder / "data" / "cache")
    return folder


def _run(folder: Path, market: int, seed: int, overrides: Sequence[str]) -> dict[str, Any]:
    environment = os.environ | {
        "PYTHONPATH": str(folder),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "MLFLOW_TRACKING_URI": f"sqlite:///{folder / 'mlruns' / 'mlflow.db'}",
    }
    turned = [f"market.seed={market}", f"seed={seed}", *overrides]
    apply = "import sys; from flows.overrides import apply_overrides; apply_overrides(sys.argv[1:], profile=None)"
    subprocess.run(["git", "checkout", "--quiet", "params.yaml"], cwd=folder, check=True)
    subprocess.run([sys.executable, "-c", apply, *turned], cwd=folder, check=True, env=environment)
    subprocess.run(
        [sys.executable, "-m", "dvc", "repro", "--quiet", "evaluate"], cwd=folder, check=True, env=environment, stdout=sys.stderr
    )
    metrics = json.loads((folder / "data" / "report" / "metrics.json").read_text(encoding="utf-8"))
    recommender, policy = metrics["recommender"], metrics["policy"]
    return {
        "market": market,
        "seed": seed,
        "ndcg": recommender["models"][recommender["challenger"]][recommender["main"]],
        "times": recommender["times_popularity"],
        "share": policy["models"]["ranker"]["headroom_share"],
        "auc": metrics["ranker"]["models"]["ranker"]["auc"],
    }


def _pairs(runs: Sequence[dict[str, Any]]) -> bool:
    """Whether the training seeds agree pairwise within 2·√(se₁² + se₂²); prints training spread beside the bootstrap's."""
    held = True
    for name in ("ndcg", "share"):
        errors = [(run[name]["high"] - run[name]["low"]) / (2 * Z) for run in runs]
        values = [run[name]["value"] for run in runs]
        spread = statistics.stdev(values) if len(values) > 1 else 0.0
        print(f"{name}: training standard deviation {spread:.4f}, bootstrap standard error over users {statistics.mean(errors):.4f}")
        for (a, ea), (b, eb) in itertools.combinations(zip(values, errors, strict=True), 2):
            limit = 2 * (ea**2 + eb**2) ** 0.5
            held &= abs(a - b) < limit
            print(f"  |{a:.4f} - {b:.4f}| = {abs(a - b):.4f} {'<' if abs(a - b) < limit else '>='} {limit:.4f}")
    return held


if __name__ == "__main__":
    sys.exit(main())
