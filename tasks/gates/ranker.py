"""Gates of the ranker: log loss against the champion's on the same impressions, calibration, the policy's value, latency."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from core.columns import Columns
from core.files import read_table
from evaluation.calibration import log_losses
from evaluation.intervals import bootstrap_paired_difference
from models.features import Candidates, Requests
from models.history import histories, micros
from models.ranker import RankerBundle
from tasks.gates.latency import latency_gate
from tasks.gates.verdict import Gate, difference_gate
from tasks.gates.window import HeldOut
from tasks.judge.rankers import judge_ranker, window

BASELINE = "constant"
_KEYS = [Columns.REQUEST, Columns.POSITION]
_CANDIDATES = 50


def ranker_gates(challenger: Path, champion: Path | None, held_out: HeldOut) -> tuple[Gate, ...]:
    """Judge a challenger.

    Args:
        challenger: its bundle.
        champion: the champion's bundle; None when there is none: the observed rates stand in.
        held_out: what they are compared on.

    Raises:
        BundleError: a bundle cannot be read.
    """
    bundle = RankerBundle.load(challenger)
    other = RankerBundle.load(champion) if champion is not None else None
    latency = _latency(bundle, held_out)
    if not bundle.trained:
        if other is not None and other.trained:
            return Gate("main metric", False, f"{bundle.reason}; the champion is trained and stays"), latency
        return Gate("main metric", True, f"{bundle.reason}; it answers with priors"), latency
    rows = read_table(held_out.report / "impressions.parquet") if (held_out.report / "impressions.parquet").exists() else pd.DataFrame()
    if rows.empty:
        comparison = Gate("main metric", other is None, "no impression in the held-out window: nothing to compare on")
    elif other is None:
        comparison = _compare(rows, rows, f"p_click:{BASELINE}", held_out, f"the baseline {BASELINE}")
    else:
        shown = window(held_out.impressions, held_out.start)
        theirs, _ = judge_ranker(other, shown, impressions=held_out.impressions, events=held_out.events, copies=held_out.copies)
        comparison = _compare(rows, theirs, "p_click:ranker", held_out, "the champion")
    return comparison, _calibration(held_out), _policy(held_out.metrics.get("policy", {})), latency


def _compare(mine: pd.DataFrame, theirs: pd.DataFrame, column: str, held_out: HeldOut, against: str) -> Gate:
    ours = mine[[*_KEYS, Columns.USER, Columns.CLICK, "p_click:ranker"]]
    both = ours.merge(theirs[[*_KEYS, column]].rename(columns={column: "other"}), on=_KEYS, how="inner")
    clicks = both[Columns.CLICK].to_numpy(np.float64)
    theirs_loss, our_loss = (log_losses(both[name].to_numpy(np.float64), clicks) for name in ("other", "p_click:ranker"))
    users = both[Columns.USER].to_numpy()
    difference = bootstrap_paired_difference(theirs_loss, our_loss, users, held_out.params.bootstrap, held_out.rng)
    return difference_gate(difference, metric="log loss saved", against=against)


def _calibration(held_out: HeldOut) -> Gate:
    found = held_out.metrics.get("ranker", {}).get("calibration", {}).get("ranker", {}).get("calibration_error")
    limit = held_out.params.max_calibration_error
    if found is None:
        return Gate("calibration", False, "the calibration error of p_click is not known: metrics.json lacks it")
    passed = float(found) <= limit
    return Gate("calibration", passed, f"calibration error of p_click {found:.4f}, {'within' if passed else 'above'} the limit {limit:g}")


def _policy(measured: dict[str, Any]) -> Gate:
    """A guard: what the log says of the policy must not be that it is worse than the logging policy."""
    answer = measured.get("off_policy", {}).get("snips", {})
    if "lift" not in answer:
        return Gate(
            "policy value", True, f"off-policy value of the slate policy: {answer.get('refused', 'not measured')}; no evidence against it"
        )
    lift = answer["lift"]
    passed = lift["high"] >= 0
    told = f"off-policy lift over the log (SNIPS) {lift['value']:+.4g} [{lift['low']:+.4g}, {lift['high']:+.4g}]"
    return Gate("policy value", passed, told if passed else f"{told}: the whole interval lies below 0")


def _latency(bundle: RankerBundle, held_out: HeldOut) -> Gate:
    user = str(held_out.events[Columns.USER].mode().iloc[0]) if len(held_out.events) else ""
    history = histories(held_out.events, [user], held_out.start)[0]
    moment = int(micros(held_out.start)[0])
    known = {str(item) for item in bundle.recommender.champion.item_ids}
    copies = held_out.copies[held_out.copies[Columns.ITEM].astype(str).isin(known)]
    items = copies[Columns.ITEM].astype(str).tolist() or sorted(known)
    texts = copies[Columns.TEXT].astype(str).tolist() or [""] * len(items)
    candidates = Candidates.one(items[:_CANDIDATES], texts[:_CANDIDATES])
    requests = Requests.one(history, scene="product", channel="onsite", timestamp=moment)
    return latency_gate(f"scoring {_CANDIDATES} candidates", lambda: bundle.predict(requests, candidates), held_out.params.max_latency_ms)
