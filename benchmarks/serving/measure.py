"""The measurement: the service, its log, the peer, the table."""

import argparse
import json
import os
import shutil
import sqlite3
import sys
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from tqdm import tqdm

from benchmarks.serving import peer
from benchmarks.serving.load import Plan
from benchmarks.serving.profile_page import stage_times, write_page
from benchmarks.serving.running import cores, counters, free_port, load, peak_mb, started
from benchmarks.serving.world import Shop, build, shopper_id
from core.environment import project_root
from core.vocabulary import CHANNELS, Scene

SCENES = (Scene.PRODUCT, Scene.CROSS_SELL)
"""Scenes that any item can fit: the others of a small catalogue would leave fewer than 50 candidates."""
BODIES = 4096
ASKED = 64
MIN_RPS, MAX_P99_MS, MIN_TIMES_PEER = 400.0, 20.0, 6.0
COMMIT_LIMIT_MS = 5.0


@dataclass(frozen=True)
class Result:
    """What the service did.

    Attributes:
        load: totals of the load generator.
        peak_mb: most memory held.
        answers: slates acknowledged, those of the warm-up too.
        groups: groups of requests decided and committed together, those of the warm-up too.
        commit_ms: mean time of a group's insert and commit.
        log_syncs: syncs of the write-ahead log; None where they cannot be counted.
        unrecorded: acknowledged slates whose record is not whole in the log.
        candidates: fewest candidates that a counted answer was drawn from.
        stages: see `stage_times`.
    """

    load: dict[str, Any]
    peak_mb: float
    answers: int
    groups: int
    commit_ms: float
    log_syncs: int | None
    unrecorded: int
    candidates: int
    stages: list[tuple[str, float, float]] = field(default_factory=list)


def measure(arguments: Sequence[str] | None = None) -> int:
    """See `benchmarks.serving.main`.

    Args:
        arguments: of the command line.
    """
    from benchmarks import serving

    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.serving", description=serving.__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shoppers", type=int, default=20_000, help="who ask")
    parser.add_argument("--connections", type=int, default=8, help="requests in the air at any time")
    parser.add_argument("--seconds", type=float, default=30.0, help="that are counted, for each of the two")
    parser.add_argument("--warm-up", type=float, default=5.0, help="seconds before that")
    parser.add_argument("--no-peer", action="store_true", help="leave `mlflow models serve` out")
    parser.add_argument("--fresh", action="store_true", help="train the champions and make the shop anew")
    options = parser.parse_args(arguments)
    root = project_root()
    folder = root / ".run" / "bench-serving"
    with tqdm(total=3, desc="serving", unit="part", file=sys.stderr) as bar:
        bar.set_postfix_str("the shop")
        shop = build(root, folder, shoppers=options.shoppers, fresh=options.fresh)
        bar.update()
        bar.set_postfix_str("the service")
        plan = {"connections": options.connections, "warm_up": options.warm_up, "seconds": options.seconds}
        found = measure_service(shop, **plan)
        bar.update()
        bar.set_postfix_str("mlflow models serve")
        beside = None if options.no_peer else measure_peer(shop, **plan)
        bar.update()
    page = folder / "profile.html"
    facts = _facts(found, beside, shop, options.connections)
    write_page(page, found.stages, facts)
    for name, value in facts.items():
        print(f"{name:<42} {value}")
    print(f"\n{'stage of a request':<44} {'wall ms':>8} {'cpu ms':>8}")
    for stage, wall, cpu in found.stages:
        print(f"{stage:<44} {'' if np.isnan(wall) else f'{wall:.3f}':>8} {cpu:>8.3f}")
    print(f"\nthe profile page: {page.relative_to(root)}")
    line = {name: round(found.load[name], 2) for name in ("rps", "p50_ms", "p99_ms")}
    print(json.dumps({**line, "mlflow_rps": beside and round(beside["rps"], 2), "peak_mb": round(found.peak_mb, 1)}))
    return 0 if _holds(found, beside) else 1


def measure_service(shop: Shop, *, connections: int, warm_up: float, seconds: float) -> Result:
    """Put the service under load, then look up in its log what it acknowledged.

    Args:
        shop: what it serves.
        connections: requests in the air.
        warm_up: seconds that are not counted.
        seconds: that are.
    """
    live = shop.folder / "live"
    _fresh_database(shop)
    core, other = cores()
    port, note = free_port(), shop.folder / "syncs.json"
    note.unlink(missing_ok=True)
    rng = np.random.default_rng(4)
    asked = [
        {"user_id": shopper_id(number), "scene": SCENES[turn % len(SCENES)], "channel": CHANNELS[turn % len(CHANNELS)], "k": 3}
        for turn, number in enumerate(rng.integers(0, shop.shoppers, BODIES).tolist())
    ]
    bodies = shop.folder / "ads.jsonl"
    bodies.write_bytes(b"\n".join(orjson.dumps(one) for one in asked))
    plan = Plan("127.0.0.1", port, "/v1/ads", str(bodies), connections, warm_up, seconds, other, str(shop.folder / "ads.found"))
    plan.save(shop.folder / "ads.plan")
    command = [sys.executable, "-m", "benchmarks.serving.service", str(shop.folder), str(port), str(core), str(note)]
    url = f"http://127.0.0.1:{port}"
    with started(command, f"{url}/readyz", log=shop.folder / "service.log", core=core) as service:
        _keep_warm(shop)
        before, cpu_before = counters(f"{url}/metrics"), sum(service.cpu_times()[:2])
        load(shop.folder / "ads.plan")
        after, cpu = counters(f"{url}/metrics"), sum(service.cpu_times()[:2]) - cpu_before
        peak = peak_mb(service)
    totals, answers = _read(Path(plan.found))
    groups = "adloom_decision_groups_total"
    stages = stage_times(before, after, requests=len(answers), cpu=cpu)
    (stored,) = (wall for stage, wall, _ in stages if "store" in stage)
    count = int(after[groups] - before.get(groups, 0))
    syncs = json.loads(note.read_text(encoding="utf-8")) if note.exists() else None
    return Result(
        load=totals,
        peak_mb=peak,
        answers=len(answers),
        groups=count,
        commit_ms=stored * len(answers) / count,
        log_syncs=syncs and syncs["log"],
        unrecorded=unrecorded(live / "serving.sqlite", answers),
        candidates=min(answer["candidates"] for answer in answers),
        stages=stages,
    )


def unrecorded(database: Path, answers: Sequence[dict[str, Any]]) -> int:
    """How many acknowledged slates are not in the log with every position, creative and propensity.

    Args:
        database: the service's.
        answers: what was acknowledged.
    """
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
        stored = Counter(connection.execute("SELECT request_id, position, creative_id, propensity FROM decisions"))
    missing = 0
    for answer in answers:
        wanted = [(answer["request_id"], ad["position"], ad["creative_id"], ad["propensity"]) for ad in answer["slate"]]
        missing += not wanted or any(stored[row] != 1 for row in wanted)
    return missing


def measure_peer(shop: Shop, *, connections: int, warm_up: float, seconds: float) -> dict[str, Any]:
    """Put the peer under the same load, and compare its answers with what the service logged.

    Args:
        shop: what the service served; its log says which candidates the peer is asked about.
        connections: requests in the air.
        warm_up: seconds that are not counted.
        seconds: that are.

    Returns:
        Totals of the load generator, ``peak_mb``, and ``largest_difference`` of p_click.
    """
    settings = shop.settings()
    bundles, model = shop.folder / "models", shop.folder / "mlflow-model"
    logged = peer.logged(settings.database, bundles, requests=ASKED, max_events=settings.params.max_events)
    peer.write_model(bundles, model, logged[0].features.shape[1])
    core, other = cores()
    port = free_port()
    bodies = shop.folder / "rows.jsonl"
    bodies.write_bytes(b"\n".join(peer.body(one.features) for one in logged))
    plan = Plan("127.0.0.1", port, "/invocations", str(bodies), connections, warm_up, seconds, other, str(shop.folder / "rows.found"))
    plan.save(shop.folder / "rows.plan")
    with started(peer.command(model, port), f"http://127.0.0.1:{port}/ping", log=shop.folder / "mlflow.log", core=core) as server:
        load(shop.folder / "rows.plan")
        peak = peak_mb(server)
        apart = max(_difference(one, port) for one in logged)
    totals, _ = _read(Path(plan.found))
    return {**totals, "peak_mb": peak, "largest_difference": apart}


def _difference(one: peer.Logged, port: int) -> float:
    import httpx

    answer = httpx.post(
        f"http://127.0.0.1:{port}/invocations", content=peer.body(one.features), headers={"content-type": "application/json"}
    )
    p_click = np.array(answer.json()["predictions"])[one.shown, 0]
    return float(np.abs(p_click / np.array(one.p_click) - 1).max())


def _fresh_database(shop: Shop) -> None:
    """The log of an earlier run goes; what is known of the shoppers is taken over from a copy, where there is one."""
    live, warm = shop.folder / "live", shop.folder / "warm.sqlite"
    shutil.rmtree(live, ignore_errors=True)
    live.mkdir()
    if warm.exists():
        shutil.copyfile(warm, live / "serving.sqlite")


def _keep_warm(shop: Shop) -> None:
    """The database after its first start, without a decision, for the next run."""
    warm = shop.folder / "warm.sqlite"
    if not warm.exists():
        with closing(sqlite3.connect(shop.folder / "live" / "serving.sqlite")) as source, closing(sqlite3.connect(warm)) as target:
            source.backup(target)


def _read(found: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    totals, *answers = found.read_bytes().splitlines()
    return json.loads(totals), [orjson.loads(answer) for answer in answers]


def _facts(found: Result, beside: dict[str, Any] | None, shop: Shop, connections: int) -> dict[str, str]:
    seen = found.load
    per_group = len(found.stages) and (found.answers / max(found.groups, 1))
    syncs = "not countable here" if found.log_syncs is None else f"{found.log_syncs} for {found.groups} commit groups of the load"
    facts = {
        "shoppers, connections, candidates (fewest)": f"{shop.shoppers}, {connections}, {found.candidates}",
        "requests a second": f"{seen['rps']:.1f} (bar: {MIN_RPS:.0f}), {seen['requests']} in {seen['seconds']:.1f} s",
        "p50 / p90 / p99 / longest, ms": " / ".join(f"{seen[name]:.2f}" for name in ("p50_ms", "p90_ms", "p99_ms", "max_ms"))
        + f" (bar of p99: {MAX_P99_MS:.0f})",
        "errors": f"{seen['errors']} {seen['first_error']}".strip(),
        "acknowledged without a whole record": str(found.unrecorded),
        "requests a commit group, insert and sync": f"{per_group:.1f}, {found.commit_ms:.2f} ms (bar: {COMMIT_LIMIT_MS:.0f} ms)",
        "syncs of the write-ahead log": syncs,
        "peak memory": f"{found.peak_mb:.0f} MB",
        "load of the machine (1 minute)": f"{os.getloadavg()[0]:.1f} on {os.cpu_count()} cores",
    }
    if beside is not None:
        facts |= {
            "mlflow models serve: requests a second": f"{beside['rps']:.1f}, p50 {beside['p50_ms']:.1f} ms, p99 {beside['p99_ms']:.1f} ms, "
            f"errors {beside['errors']}, {beside['peak_mb']:.0f} MB",
            "times its throughput": f"{seen['rps'] / beside['rps']:.1f} (bar: {MIN_TIMES_PEER:.0f})",
            "largest relative difference of p_click": f"{beside['largest_difference']:.1e}",
        }
    return facts


def _holds(found: Result, beside: dict[str, Any] | None) -> bool:
    """Whether every bar holds."""
    seen = found.load
    whole = not seen["errors"] and not found.unrecorded and (found.log_syncs is None or found.log_syncs >= found.groups)
    fast = seen["rps"] >= MIN_RPS and seen["p99_ms"] <= MAX_P99_MS and found.commit_ms <= COMMIT_LIMIT_MS
    equal = beside is None or (beside["rps"] * MIN_TIMES_PEER <= seen["rps"] and beside["largest_difference"] < 1e-3)
    return bool(whole and fast and equal)
