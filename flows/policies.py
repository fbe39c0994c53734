"""Challenger policies: judged on the service's own log, guarded while they serve, and written down whatever comes of them."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from core.errors import RegistryError
from evaluation.looks import Look, Looks
from evaluation.policy_trial import TrialResult, judge
from flows.contest import Contest, Held
from flows.guard import guard
from registry.ledger import Entry
from registry.models import CHALLENGER, CHAMPION, POLICY, Registry
from registry.store import database_path, is_local
from serving.export import service_now
from serving.policy_log import CTR, of_pair, shown, trial_of
from tasks.gates.verdict import Gate, Verdict

JUDGED = Looks(first=500, growth=1.3, alpha=0.05)
"""Slates at which a challenger is judged."""


def judge_challenger(root: Path) -> Entry:
    """Promote the challenger if the log says that it is better, else refuse it for now; either is written down once a look.

    Args:
        root: the project's folder.

    Returns:
        The ledger's entry: a new one, or the one that says the same already.

    Raises:
        BundleError: this code cannot run a policy that stands.
        RegistryError: nobody challenges, or the store refuses.
        ServiceError: the log cannot be read.
    """
    contest = Contest(root)
    champion, challenger = contest.held(CHAMPION), contest.held(CHALLENGER)
    if champion is None or challenger is None:
        raise RegistryError("no policy challenges the champion; begin with `adloom challenge NAME --exploration FLOOR`.")
    rows = shown(contest.log, CTR, service_now(contest.log), after=contest.since("challenged", challenger.registered) or 0)
    rows = of_pair(rows, champion.policy.version, challenger.policy.version)
    slates = int(rows["request_id"].nunique())
    look = JUDGED.reached(slates)
    gates, figures = _too_few(slates) if look is None else _judged(rows, champion, challenger, look)
    verdict = Verdict(POLICY, challenger.registered.bundle_hash, champion.registered.bundle_hash, gates)
    told = verdict.as_dict() | figures
    if verdict.passed:
        contest.registry.point(challenger.registered, CHAMPION)
        contest.registry.free(POLICY, CHALLENGER)
        return contest.write("promoted", challenger.registered, before=champion.registered, reasons=verdict.reasons, verdict=told)
    latest = contest.ledger.entries(POLICY, limit=1)
    same = latest and (latest[0].action, latest[0].version) == ("refused", challenger.registered.version)
    if same and latest[0].verdict.get("look") == told["look"]:
        return replace(latest[0], reasons=verdict.reasons)
    return contest.write("refused", challenger.registered, before=champion.registered, reasons=verdict.reasons, verdict=told)


def _too_few(slates: int) -> tuple[tuple[Gate, ...], dict[str, Any]]:
    told = f"not enough evidence: {slates} slates with the propensities of both policies, and clicks settled; {JUDGED.first - slates} more"
    return (Gate("evidence", False, f"{told} are needed for the first look at {JUDGED.first}"),), {"look": None, "slates": slates}


def _judged(rows: pd.DataFrame, champion: Held, challenger: Held, look: Look) -> tuple[tuple[Gate, ...], dict[str, Any]]:
    read = rows[rows["request_id"].isin(rows["request_id"].drop_duplicates().iloc[: look.rows])]
    trial, calibration = trial_of(read, challenger.policy.version)
    found = judge(trial, look, calibration=calibration)
    mine, other = found.challenger.effective_sample_size, found.champion.effective_sample_size
    worth, lacking = f"the log is worth {mine:,.0f} of its slates and {other:,.0f} of the champion's", _lacking(found)
    gain = f"{found.gain.value:+.4f} [{found.gain.low:+.4f}, {found.gain.high:+.4f}]"
    gates = (
        Gate("diagnostics", found.problem is None, found.problem + lacking if found.problem else worth),
        Gate(
            "off-policy improvement",
            found.better or found.problem is not None,
            f"clicks a slate against {champion}: {gain} at look {look.number} of {look.rows:,} slates"
            + ("" if found.better else f"; the lower end must be above 0{lacking}"),
            found.gain,
            str(champion),
        ),
    )
    figures = {
        "look": look.number,
        "slates": found.slates,
        "users": found.users,
        "alpha": look.alpha,
        "wanted": found.wanted,
        "canary_share": float(trial.share.mean()),
        "effective_slates": {"champion": found.champion.effective_sample_size, "challenger": found.challenger.effective_sample_size},
        "largest_weight": {"champion": found.champion.largest_weight, "challenger": found.challenger.largest_weight},
        "calibration": {"actions": calibration.actions, "largest_deviation": calibration.largest_deviation},
    }
    return gates, figures


def _lacking(found: TrialResult) -> str:
    if found.wanted is None:
        return "" if found.problem else "; nothing so far says that more slates would change that"
    more = max(found.wanted - found.slates, 1)
    return f"; at this rate about {more:,} more slates would do, fewer with a larger serving.canary_share"


def watch(root: Path) -> list[Entry]:
    """What the feedback flow does about policies: guard, then judge the challenger that is left.

    Args:
        root: the project's folder.

    Returns:
        What the ledger says of it; nothing where no policy was ever registered.

    Raises:
        BundleError: this code cannot run a policy that stands.
        RegistryError: the store refuses.
        ServiceError: the log cannot be read.
    """
    if is_local(root) and not database_path(root).exists():
        return []
    found = guard(root)
    if Registry(root).alias(POLICY, CHALLENGER) is not None:
        found.append(judge_challenger(root))
    return found
