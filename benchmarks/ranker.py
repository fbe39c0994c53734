"""Does the ranker know the probabilities of the market's clicks and conversions, and better than its baselines?

    python -m benchmarks.ranker [--impressions N] [--seed S] [--plot FILE.png]

Profile `bench` (profiles.yaml) of the embedded market, outside `make run`: half the shoppers, who come daily and see nine slates a
day (0.5 by default), and conversions twice as frequent. Ranker and baselines are trained, stopped and calibrated by stage
`train_ranker` on impressions before the test window; every impression of the test window is then predicted at the position where
it was shown. The ceiling is the AUC of the simulator's own probabilities on the same impressions; nothing that trains reads them.
Figures of p_convert are those of clicked impressions. Prints a table, draws a calibration plot, and ends with one JSON object.
"""

import argparse
import json
import logging
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from benchmarks.ranker_log import bench_params, build_log, judge, train
from core.columns import Columns
from core.errors import AdloomError
from evaluation.calibration import calibration, log_losses, observed_over_expected, reliability
from evaluation.discrimination import auc_gap, auc_interval
from evaluation.intervals import bootstrap_paired_difference
from models.cache import cache_folder

ROOT = Path(__file__).parents[1]
BASELINES = ("logistic", "lightgbm")
MODELS = ("ranker", *BASELINES, "cross", "constant", "truth")
REPLICATIONS = 500
BINS = 10


def main(arguments: Sequence[str] | None = None) -> int:
    """Build, train, judge, print.

    Args:
        arguments: of the command line; the process's own when None.

    Returns:
        0; 1 when the log cannot be made. Missed targets are printed, not an error.
    """
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--impressions", type=int, help="about how many to log; profile bench says how many by default")
    parser.add_argument("--seed", type=int, help="of the market; figures that count are of seeds nobody tuned on")
    parser.add_argument("--set", action="append", default=[], metavar="SECTION.KEY=VALUE", help="a smaller or another market")
    parser.add_argument("--plot", type=Path, default=None, help="calibration plot; beside the cached log by default")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.WARNING)
    started = time.monotonic()
    try:
        params = bench_params(ROOT, impressions=options.impressions, seed=options.seed, changes=options.set)
        log = build_log(params, cache_folder("bench-ranker"))
        built = time.monotonic()
        bundle = train(log)
        trained = time.monotonic()
        rows = judge(log, bundle)
    except AdloomError as error:
        print(error, file=sys.stderr)
        return 1
    found = measure(rows)
    seconds = {"log_and_recommender": built - started, "train_ranker": trained - built, "judge": time.monotonic() - trained}
    plot = options.plot or log.folder / "calibration.png"
    draw(rows, plot)
    print(table(found, chosen=bundle.chosen))
    print(f"calibration plot: {plot}")
    print(json.dumps({**found, "chosen": bundle.chosen, "seconds": {name: round(value, 1) for name, value in seconds.items()}}))
    return 0


def measure(rows: pd.DataFrame) -> dict[str, Any]:
    """All figures.

    Args:
        rows: see `benchmarks.ranker_log.judge`.

    Returns:
        ``held_out`` counts; for ``click`` and ``convert`` the figures of each model, the gap of the ranker's AUC to the
        ceiling, and what its log loss gains over each baseline; ``targets`` by name: met or not.
    """
    clicked = rows[rows[Columns.CLICK].astype(bool)]
    found: dict[str, Any] = {
        "held_out": {"impressions": len(rows), "clicks": len(clicked), "conversions": int(clicked[Columns.CONVERSION].sum())},
        "click": _figures(rows, "p_click", Columns.CLICK),
        "convert": _figures(clicked, "p_convert", Columns.CONVERSION),
    }
    return {**found, "targets": targets(found)}


def targets(found: dict[str, Any]) -> dict[str, bool]:
    """Which of the issue's figures hold, of clicks and of conversions.

    Args:
        found: by `measure`.
    """
    held_out = found["held_out"]
    met = {"enough_clicks": held_out["clicks"] >= 10_000, "enough_conversions": held_out["conversions"] >= 1_000}
    for kind in ("click", "convert"):
        figures = found[kind]
        own = figures["models"]["ranker"]
        by_group = [*own["oe_by_scene"].values(), *own["oe_by_channel"].values()]
        met |= {
            f"{kind}_auc_within_0.02": figures["auc_gap"]["value"] <= 0.02,
            f"{kind}_slope_0.9_to_1.1": own["slope"] is not None and 0.9 <= own["slope"] <= 1.1,
            f"{kind}_oe_0.97_to_1.03": 0.97 <= own["oe"] <= 1.03,
            f"{kind}_oe_by_group_0.9_to_1.1": all(0.9 <= value <= 1.1 for value in by_group),
            f"{kind}_ece_at_most_0.1_of_base": own["ece_over_base"] <= 0.1,
            **{f"{kind}_beats_{name}": figures["gain_over"][name]["value"] > 0 for name in BASELINES},
        }
    return met


def _figures(rows: pd.DataFrame, prefix: str, outcome: str) -> dict[str, Any]:
    y = rows[outcome].to_numpy(np.float64)
    users = rows[Columns.USER].to_numpy()
    predicted = {name: rows[f"{prefix}:{name}"].to_numpy(np.float64) for name in MODELS if f"{prefix}:{name}" in rows}
    own = log_losses(predicted["ranker"], y)
    rng = np.random.default_rng(0)
    return {
        "base_rate": float(y.mean()),
        "models": {name: _of_model(p, y, rows) for name, p in predicted.items()},
        "auc_gap": auc_gap(predicted["truth"], predicted["ranker"], y, users).as_dict(),
        "gain_over": {
            name: bootstrap_paired_difference(log_losses(predicted[name], y), own, users, REPLICATIONS, rng).as_dict() for name in BASELINES
        },
    }


def _of_model(p: NDArray[np.float64], y: NDArray[np.float64], rows: pd.DataFrame) -> dict[str, Any]:
    found, area = calibration(p, y, bins=BINS), auc_interval(p, y, rows[Columns.USER].to_numpy())

    def by(column: str) -> dict[str, float]:
        groups = rows[column].astype(str).to_numpy()
        return {name: observed_over_expected(p[groups == name], y[groups == name]) for name in sorted(set(groups))}

    return {
        "log_loss": found.log_loss,
        "auc": area.value,
        "auc_low": area.low,
        "auc_high": area.high,
        "slope": None if np.isnan(found.slope) else found.slope,
        "oe": found.observed_over_expected,
        "ece": found.error,
        "ece_over_base": found.error / float(y.mean()),
        "oe_by_scene": by(Columns.SCENE),
        "oe_by_channel": by(Columns.CHANNEL),
    }


def table(found: dict[str, Any], *, chosen: str) -> str:
    """What a person reads.

    Args:
        found: by `measure`.
        chosen: the model that "ranker" stands for.
    """
    counts = found["held_out"]
    lines = [
        f"{counts['impressions']:,} held-out impressions, {counts['clicks']:,} clicks, {counts['conversions']:,} conversions; "
        f"ranker = {chosen}"
    ]
    for kind in ("click", "convert"):
        figures = found[kind]
        groups = [*figures["models"]["ranker"]["oe_by_scene"], *figures["models"]["ranker"]["oe_by_channel"]]
        lines.append("")
        lines.append(
            f"{kind:<9} {'log loss':>9} {'AUC':>7} {'95 % interval':>17} {'slope':>6} {'O/E':>6} {'ECE/base':>8}  "
            + " ".join(f"{name[:10]:>10}" for name in groups)
        )
        for name, own in figures["models"].items():
            slope = "–" if own["slope"] is None else f"{own['slope']:.3f}"
            by_group = {**own["oe_by_scene"], **own["oe_by_channel"]}
            lines.append(
                f"{name:<9} {own['log_loss']:>9.5f} {own['auc']:>7.4f} [{own['auc_low']:.4f}, {own['auc_high']:.4f}] {slope:>6} "
                f"{own['oe']:>6.3f} {own['ece_over_base']:>8.3f}  " + " ".join(f"{by_group[group]:>10.3f}" for group in groups)
            )
        gap = figures["auc_gap"]
        lines.append(f"AUC below the ceiling by {gap['value']:.4f} [{gap['low']:.4f}, {gap['high']:.4f}]")
        for name, gain in figures["gain_over"].items():
            lines.append(f"log loss better than {name} by {gain['value']:.6f} [{gain['low']:.6f}, {gain['high']:.6f}]")
    missed = [name for name, met in found["targets"].items() if not met]
    lines += ["", f"columns of scenes and channels are observed / expected; targets missed: {', '.join(missed) or 'none'}"]
    return "\n".join(lines)


def draw(rows: pd.DataFrame, path: Path) -> None:
    """Predicted beside observed, in bins of equal numbers of impressions, for clicks and conversions.

    Args:
        rows: see `benchmarks.ranker_log.judge`.
        path: PNG to write.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 4.2), layout="constrained")
    clicked = rows[rows[Columns.CLICK].astype(bool)]
    for place, (held, prefix, outcome) in enumerate(((rows, "p_click", Columns.CLICK), (clicked, "p_convert", Columns.CONVERSION))):
        axes = figure.add_subplot(1, 2, place + 1)
        most = 0.0
        for name in ("ranker", *BASELINES):
            points = reliability(held[f"{prefix}:{name}"].to_numpy(np.float64), held[outcome].to_numpy(np.float64), bins=BINS)
            axes.plot(points["predicted"], points["observed"], marker="o", markersize=3, linewidth=1, label=name)
            most = max(most, float(points[["predicted", "observed"]].max().max()))
        axes.plot([0, most], [0, most], color="0.6", linewidth=1, linestyle="--")
        axes.set_xlabel(f"predicted {prefix}")
        axes.set_ylabel("observed")
        axes.legend(frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    sys.exit(main())
