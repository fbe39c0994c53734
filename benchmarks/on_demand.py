"""One creative, written on demand through the API: how long a shopkeeper waits.

    python -m benchmarks.on_demand                    over data/ of the last run: its champions-to-be, its products and audiences
    python -m benchmarks.on_demand --requests 200

Starts the service on one core and asks `POST /v1/creatives` for one text at a time: products, scenes, channels and audiences in turn, half
of them for everyone. Every answer is written anew, reviewed and labelled. Prints a table by channel and, as its last line, one JSON object.
The bar is 300 ms at the median.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from itertools import cycle
from pathlib import Path

import httpx
import numpy as np
from rich.console import Console
from rich.table import Table
from tqdm import tqdm

from benchmarks.serving.running import cores, free_port, peak_mb, started
from core.columns import Columns as C
from core.files import read_table
from core.vocabulary import CHANNELS, SCENES

BAR_MS = 300.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print.

    Args:
        arguments: of the command line; the process's own when None.

    Returns:
        0 when the median is within the bar, else 1.
    """
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("data"), help="with models/ and clean/, as a run leaves them")
    parser.add_argument("--requests", type=int, default=100)
    parser.add_argument("--seed", type=int, default=7)
    options = parser.parse_args(arguments)
    if options.requests < 1:
        parser.error("--requests must be at least 1")
    missing = [str(options.data / name) for name in ("models", "clean") if not (options.data / name).exists()]
    if missing:
        parser.error(f"{' and '.join(missing)} not there: run the loop first (`make run`), or name its data folder with --data")
    orders = _orders(options.data, options.requests, np.random.default_rng(options.seed))
    with tempfile.TemporaryDirectory() as held:
        folder = Path(held)
        for name in ("models", "clean"):
            (folder / name).symlink_to((options.data / name).resolve())
        (folder / "live").mkdir()
        port, core = free_port(), cores()[0]
        command = [sys.executable, "-m", "benchmarks.serving.service", str(folder), str(port), str(core), str(folder / "note.json")]
        base = f"http://127.0.0.1:{port}"
        with (
            started(command, f"{base}/readyz", log=folder / "service.log", core=core) as server,
            httpx.Client(base_url=base, timeout=60) as client,
        ):
            for order in orders[: min(5, len(orders))]:  # the first requests load what nobody had asked for
                client.post("/v1/creatives", json=order).raise_for_status()
            found = [_timed(client, order) for order in tqdm(orders, desc="write", unit="text")]
            peak = peak_mb(server)
    channels = np.array([order["channel"] for order in orders])
    ms, written = np.array([seconds * 1000 for seconds, _, _ in found]), np.array([bool(texts) for _, texts, _ in found])
    by_template = np.array(["template" in origins for _, _, origins in found])
    table = Table("channel", "texts", "p50 ms", "p95 ms", "answered", "by template", title="One creative on demand")
    for channel in (*CHANNELS, "all"):
        rows = np.ones(len(ms), bool) if channel == "all" else channels == channel
        if rows.any():
            table.add_row(
                channel,
                str(int(rows.sum())),
                *(f"{np.quantile(ms[rows], share):.0f}" for share in (0.5, 0.95)),
                f"{written[rows].mean():.2f}",
                f"{by_template[rows].mean():.2f}",
            )
    Console().print(table)
    median = float(np.median(ms))
    print(
        json.dumps(
            {"p50_ms": round(median, 1), "p95_ms": round(float(np.quantile(ms, 0.95)), 1), "requests": len(ms), "peak_mb": round(peak)}
        )
    )
    return 0 if median <= BAR_MS else 1


def _orders(data: Path, count: int, rng: np.random.Generator) -> list[dict[str, str | int]]:
    """Bodies of requests: every channel and scene in turn, every second one for an audience."""
    creatives = read_table(data / "models" / "pool" / "creatives.parquet")
    items = creatives[C.ITEM].astype(str).unique()
    audiences = cycle(sorted(creatives[C.AUDIENCE].dropna().astype(str).unique()) or [""])
    orders: list[dict[str, str | int]] = []
    for number, item in enumerate(rng.choice(items, count)):
        order: dict[str, str | int] = {
            "item_id": str(item),
            "channel": CHANNELS[number % len(CHANNELS)],
            "scene": SCENES[number // len(CHANNELS) % len(SCENES)],
            "n": 1,
        }
        audience = next(audiences) if number % 2 else ""
        orders.append(order | ({"audience_id": audience} if audience else {}))
    return orders


def _timed(client: httpx.Client, order: dict[str, str | int]) -> tuple[float, list[str], list[str]]:
    began = time.perf_counter()
    answer = client.post("/v1/creatives", json=order)
    took = time.perf_counter() - began
    answer.raise_for_status()
    creatives = answer.json()["creatives"]
    return took, [creative["text"] for creative in creatives], [creative["origin"] for creative in creatives]


if __name__ == "__main__":
    raise SystemExit(main())
