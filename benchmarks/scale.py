"""What it costs to fit the recommenders on 10⁴ … 10⁷ events: seconds, memory, scoring, and how they grow.

    python -m benchmarks.scale [--events 10000 100000 …] [--recommenders als …] [--plot FILE.png]

Logs are generated (`benchmarks.generated_log` says how they grow), written as the files that `train_recommender` reads, and read and
fitted by the functions of that stage with the parameters of params.yaml; networks pass once over all windows of the log. Each cell runs in
a process of its own on one thread. *Read* is from the files to arrays; *fit* is everything that the recommender rests on, choices by
validation too (`sequence`: content, markov and popularity with it). Both are seconds of the processor; *wall* are seconds of the clock,
which other programs beside make longer. *Peak* is the largest resident memory of the whole process, *score* milliseconds of the processor
a shopper to score every item. A slope is the exponent of read + fit in the number of events: least squares over all sizes, and over the
last two. Finished cells lie in `--folder` and are not run again. Last line: one JSON object.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table
from tqdm import tqdm

from benchmarks.generated_log import write_log
from benchmarks.scale_cell import NAMES
from core.environment import project_root
from core.files import read_json, write_json

Cells = Mapping[str, Mapping[int, Mapping[str, float]]]

STEEPEST, MOST_MB = 1.1, 8192.0
SEED = 7


def main(arguments: Sequence[str] | None = None) -> int:
    """Fit, compare sizes, print.

    Args:
        arguments: of the command line; the process's own when None.

    Returns:
        0; 1 where a cell failed, a slope is above `STEEPEST`, or a process needed more than `MOST_MB`.
    """
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, nargs="+", default=[10_000, 100_000, 1_000_000, 10_000_000])
    parser.add_argument("--recommenders", nargs="+", choices=NAMES, default=list(NAMES))
    parser.add_argument("--folder", type=Path, default=None, help="of logs and finished cells; .run/scale when not given")
    parser.add_argument("--plot", type=Path, default=None, help="PNG to write")
    options = parser.parse_args(arguments)
    folder = options.folder or project_root() / ".run" / "scale"
    plan = [(events, name) for events in sorted(set(options.events)) for name in options.recommenders]
    cells: dict[str, dict[int, dict[str, float]]] = {name: {} for name in options.recommenders}
    for events, name in tqdm(plan, desc="cells", unit="cell"):
        found = _cell(folder, name, events)
        if found is not None:
            cells[name][events] = found
    _print(cells)
    slopes = {name: {"all": slope(held), "last": slope(dict(sorted(held.items())[-2:]))} for name, held in cells.items()}
    steepest = max((value for both in slopes.values() for value in both.values() if value is not None), default=None)
    peak = max((cell["peak_mb"] for held in cells.values() for cell in held.values()), default=None)
    missing = [f"{name} {events}" for events, name in plan if events not in cells[name]]
    holds = not missing and (steepest is None or steepest <= STEEPEST) and (peak is None or peak <= MOST_MB)
    if options.plot is not None:
        plot(cells, options.plot)
    print(f"steepest slope {steepest}, at most {STEEPEST}; largest peak {peak} MB, at most {MOST_MB:.0f}")
    told = {name: {str(events): cell for events, cell in held.items()} for name, held in cells.items()}
    print(json.dumps({"cells": told, "slopes": slopes, "steepest": steepest, "peak_mb": peak, "missing": missing, "holds": holds}))
    return 0 if holds else 1


def _cell(folder: Path, name: str, events: int) -> dict[str, float] | None:
    """A finished cell, run now where it is not there yet; None where it failed."""
    kept = folder / "cells" / f"{name}-{events}.json"
    if not kept.is_file():
        log = folder / "logs" / str(events)
        write_log(log, events, np.random.default_rng(SEED))
        run = subprocess.run(
            [sys.executable, "-m", "benchmarks.scale_cell", name, str(log)],
            stdout=subprocess.PIPE,
            text=True,
            check=False,
            cwd=project_root(),
        )
        if run.returncode:
            print(f"{name} on {events:,} events ended with {run.returncode}", file=sys.stderr)
            return None
        write_json(json.loads(run.stdout.splitlines()[-1]), kept)
    return read_json(kept)


def seconds(cell: Mapping[str, float]) -> float:
    """What reading and fitting took of the processor.

    Args:
        cell: what `benchmarks.scale_cell` says.
    """
    return cell["read_cpu_s"] + cell["fit_cpu_s"]


def slope(cells: Mapping[int, Mapping[str, float]]) -> float | None:
    """The exponent of the seconds in the number of events, by least squares of the logarithms.

    Args:
        cells: by number of events.

    Returns:
        None with fewer than two sizes.
    """
    if len(cells) < 2:
        return None
    taken = np.log([seconds(cell) for cell in cells.values()])
    return round(float(np.polyfit(np.log([float(events) for events in cells]), taken, 1)[0]), 3)


def _print(cells: Cells) -> None:
    table = Table(title="one thread; seconds of the processor, on a machine that others share: upper bounds")
    for column in ("", "events", "items", "read s", "fit s", "wall s", "peak MB", "score ms", "slope", "last two"):
        table.add_column(column, justify="right" if column else "left")
    for name, held in cells.items():
        ordered = dict(sorted(held.items()))
        for row, (events, cell) in enumerate(ordered.items()):
            ends = row == len(ordered) - 1
            table.add_row(
                name if row == 0 else "",
                f"{events:,}",
                f"{cell['items']:,.0f}",
                f"{cell['read_cpu_s']:.1f}",
                f"{cell['fit_cpu_s']:.1f}",
                f"{cell['read_s'] + cell['fit_s']:.0f}",
                f"{cell['peak_mb']:,.0f}",
                f"{cell['score_cpu_ms']:.2f}",
                _shown(slope(ordered)) if ends else "",
                _shown(slope(dict(list(ordered.items())[-2:]))) if ends else "",
                end_section=ends,
            )
    Console(width=120).print(table)


def _shown(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def plot(cells: Cells, path: Path) -> None:
    """Seconds and memory by events, both axes logarithmic.

    Args:
        cells: by recommender and number of events.
        path: the PNG to make.
    """
    figure = Figure(figsize=(11, 4.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    for name, held in cells.items():
        events = sorted(held)
        exponent = slope(held)
        left.plot(events, [seconds(held[size]) for size in events], "o-", label=f"{name}  {_shown(exponent)}")
        right.plot(events, [held[size]["peak_mb"] for size in events], "o-", label=name)
    sizes = sorted({size for held in cells.values() for size in held})
    if sizes:
        top = max(seconds(held[size]) for held in cells.values() for size in held)
        left.plot(sizes, [top * size / sizes[-1] for size in sizes], "--", color="#9aa5b1", label="slope 1")
        right.axhline(MOST_MB, linestyle="--", color="#9aa5b1", label="8 GB")
    left.set(xscale="log", yscale="log", xlabel="events", ylabel="read + fit, seconds of one thread")
    right.set(xscale="log", yscale="log", xlabel="events", ylabel="peak memory of the process, MB")
    left.legend(title="slope over all sizes", frameon=False)
    right.legend(frameon=False, loc="upper left", bbox_to_anchor=(0.0, 0.93))
    for axes in (left, right):
        axes.grid(color="#e6e9ed")
        axes.set_axisbelow(True)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110, metadata={"Software": None})


if __name__ == "__main__":
    sys.exit(main())
