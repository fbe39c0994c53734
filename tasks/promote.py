"""Let a challenger take the champion's place only on evidence; write every decision down."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from core.environment import project_root
from core.errors import BundleError
from core.files import content_hash, read_json, write_json
from core.params import PromoteParams
from core.tracking import Tracker
from models.cache import cache_folder
from registry.ledger import Ledger
from registry.models import CHALLENGER, CHAMPION, Registered, Registry
from registry.runs import run_for
from tasks.gates.generator import generator_gates
from tasks.gates.pool import pool_gates
from tasks.gates.ranker import ranker_gates
from tasks.gates.recommender import recommender_gates
from tasks.gates.verdict import Gate, Verdict
from tasks.gates.window import HeldOut

logger = logging.getLogger(__name__)

Gates = Callable[[Path, Path | None, HeldOut], tuple[Gate, ...]]


def promote(
    params: PromoteParams,
    *,
    rng: np.random.Generator,
    tracker: Tracker,
    items: Path,
    events: Path,
    copies: Path,
    impressions: Path,
    lineage: Path,
    recommender: Path,
    generator: Path,
    ranker: Path,
    pool: Path,
    report: Path,
    metrics: Path,
    promotion: Path,
) -> None:
    """Register the run's bundles as challengers, judge each against the champion, and move the champion where all gates hold.

    The champion is read from the registry at run time and is no dependency. A bundle that is champion already keeps the
    verdict with which it became champion, so that running again changes nothing.

    Args:
        params: limits.
        rng: draws bootstraps and texts, an independent stream a kind.
        tracker: receives the verdicts; bundles are registered from its run.
        items: clean items.
        events: clean events.
        copies: clean human copies.
        impressions: clean logged ads.
        lineage: split times and data version.
        recommender: challenger's bundle.
        generator: challenger's bundle.
        ranker: challenger's bundle.
        pool: challenger's bundle.
        report: judged rows that evaluate wrote.
        metrics: what evaluate measured.
        promotion: bundle hashes and verdicts, to write.

    Raises:
        RegistryError: the store refuses, or a bundle does not load and answer once registered.
        BundleError: a bundle cannot be read.
    """
    root = project_root()
    registry = Registry(root)
    ledger = Ledger(registry, root)
    facts = read_json(lineage)
    tables = {"items": items, "events": events, "copies": copies, "impressions": impressions, "lineage": lineage}
    bundles = {"recommender": recommender, "generator": generator, "ranker": ranker, "pool": pool}
    hashes = {kind: content_hash(path) for kind, path in bundles.items()}
    tags = {
        "data_version": str(facts["data_version"]),
        "source": str(facts["source"]),
        "user_key_fingerprint": str(facts["user_key_fingerprint"]),
    }
    tags |= {f"{kind}_hash": value for kind, value in hashes.items()}
    streams = dict(zip(bundles, rng.spawn(len(bundles)), strict=True))
    verdicts: dict[str, dict[str, Any]] = {}

    def pool_fits(challenger: Path, champion: Path | None, held_out: HeldOut) -> tuple[Gate, ...]:
        found = registry.alias("recommender", CHAMPION)
        fits = found is not None and found.bundle_hash == hashes["recommender"]
        return pool_gates(challenger, champion, held_out, recommender_is_champion=fits)

    gates: Mapping[str, Gates] = {"recommender": recommender_gates, "generator": generator_gates, "ranker": ranker_gates, "pool": pool_fits}
    held_out = HeldOut.read(params, rng, **tables, metrics=metrics, report=report)
    with run_for(tracker, registry) as run_id:
        for kind, bundle in bundles.items():
            challenger = registry.register(kind, bundle, run_id=run_id, tags=tags)
            registry.point(challenger, CHALLENGER)
            verdicts[kind] = _decide(
                challenger, bundle, gates[kind], replace(held_out, rng=streams[kind]), registry=registry, ledger=ledger
            )
            logger.info("%s: %s (%s)", kind, verdicts[kind]["verdict"], "; ".join(verdicts[kind]["reasons"]))
    write_json({"data_version": facts["data_version"], "models": verdicts}, promotion)
    tracker.set_tags(
        {f"adloom.verdict.{kind}": f"{told['verdict']}: {'; '.join(told['reasons'])}"[:4000] for kind, told in verdicts.items()}
    )
    tracker.log_metrics({f"promoted/{kind}": float(told["verdict"] == "promoted") for kind, told in verdicts.items()})
    tracker.log_artifact(promotion)


def _decide(challenger: Registered, bundle: Path, gates: Gates, held_out: HeldOut, *, registry: Registry, ledger: Ledger) -> dict[str, Any]:
    champion = registry.alias(challenger.kind, CHAMPION)
    if champion is not None and champion.bundle_hash == challenger.bundle_hash:
        known = ledger.champion_verdict(champion)
        return known if known else _by_hand(challenger).as_dict()
    rollback = ledger.rolled_back(challenger)
    if rollback is not None:
        back = f"`adloom rollback {challenger.kind} --to {challenger.version}`"
        told = f"this very bundle was rolled back ({'; '.join(rollback.reasons)}); bring it back with {back}"
        checked: tuple[Gate, ...] = (Gate("not rolled back", False, told),)
    else:
        folder = registry.fetch(champion, cache_folder("bundles")) if champion is not None else None
        checked = _checked(gates, bundle, folder, held_out)
    verdict = Verdict(challenger.kind, challenger.bundle_hash, champion.bundle_hash if champion else None, checked)
    if verdict.passed:
        registry.point(challenger, CHAMPION)
        ledger.write("promoted", challenger, before=champion, reasons=verdict.reasons, verdict=verdict.as_dict())
    elif not ledger.says("refused", challenger, before=champion):
        ledger.write("refused", challenger, before=champion, reasons=verdict.reasons, verdict=verdict.as_dict())
    return verdict.as_dict()


def _checked(gates: Gates, bundle: Path, champion: Path | None, held_out: HeldOut) -> tuple[Gate, ...]:
    """The gates against the champion; against the baseline when this code cannot read what an earlier one wrote."""
    try:
        return gates(bundle, champion, held_out)
    except BundleError as error:
        if champion is None:
            raise
        checked = gates(bundle, None, held_out)  # raises again when it is the challenger that cannot be read
        return (Gate("champion", True, f"this code cannot read the champion ({error}); the baseline stands in"), *checked)


def _by_hand(challenger: Registered) -> Verdict:
    return Verdict(challenger.kind, challenger.bundle_hash, None, (Gate("by hand", True, "champion by hand, not by promote"),))
