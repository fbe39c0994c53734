"""Policies that serve and do harm are taken back: a canary that falls below the champion, a champion that falls below the one before."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pandas as pd

from evaluation.guard import RateChange, rate_change
from evaluation.looks import Looks
from flows.contest import Contest, Held
from registry.ledger import Entry, roll_back
from registry.models import CHALLENGER, CHAMPION, POLICY
from serving.export import service_now
from serving.policy_log import CONVERSIONS, CTR, Metric, group_of, moment_of, of_pair, shown

GUARDED = Looks(first=200, growth=1.3, alpha=0.05)
"""Slates of the canary, or of the new champion, at which its rates are looked at."""
WATCHED = timedelta(days=7)
"""How long a new champion is held against the one before, and how much of the time before it is held against."""


def guard(root: Path) -> list[Entry]:
    """End a canary whose rates have fallen below the champion's, and roll a new champion back whose clicks fell below the one's before.

    Args:
        root: the project's folder.

    Returns:
        What was written to the ledger; nothing as a rule.

    Raises:
        BundleError: this code cannot run a policy that stands.
        RegistryError: the store refuses.
        ServiceError: the log cannot be read.
    """
    contest = Contest(root)
    champion, challenger = contest.held(CHAMPION), contest.held(CHALLENGER)
    if champion is None:
        return []
    found = [_guard_champion(contest, champion)]
    if challenger is not None:
        found.append(_guard_canary(contest, champion, challenger))
    return [entry for entry in found if entry is not None]


def _guard_canary(contest: Contest, champion: Held, challenger: Held) -> Entry | None:
    after, now = contest.since("challenged", challenger.registered) or 0, service_now(contest.log)
    plan = replace(GUARDED, alpha=GUARDED.alpha / 2)  # two rates
    for metric in (CTR, CONVERSIONS):
        rows = of_pair(shown(contest.log, metric, now, after=after), champion.policy.version, challenger.policy.version)
        mine = rows["policy"] == challenger.policy.version
        change = _change(rows[mine], rows[~mine], plan, together=True)
        if change is not None and change.fallen:
            told = f"{_told(metric, change)}, the canary's against {champion}"
            contest.registry.free(POLICY, CHALLENGER)
            return contest.write(
                "ended", challenger.registered, before=champion.registered, reasons=(told,), verdict=_figures(metric, change)
            )
    return None


def _guard_champion(contest: Contest, champion: Held) -> Entry | None:
    reign = next((entry for entry in reversed(contest.ledger.entries(POLICY)) if entry.action in {"promoted", "rolled back"}), None)
    after = contest.since("promoted", champion.registered)
    if reign is None or reign.action != "promoted" or reign.before is None or not after:
        return None
    before, span = contest.of(contest.registry.version(POLICY, reign.before)), WATCHED // timedelta(microseconds=1)
    began = contest.since("promoted", before.registered) or 0  # a policy of other code may have had its name before
    promoted = moment_of(contest.log, after)
    rows = shown(contest.log, CTR, service_now(contest.log), since=promoted - span)
    now = rows[(rows["policy"] == champion.policy.version) & (rows["seq"] > after) & (rows["timestamp"] <= promoted + span)]
    then = rows[(rows["policy"] == before.policy.version) & (rows["seq"] > began) & (rows["seq"] <= after)]
    change = _change(now, then, GUARDED, together=False)
    if change is None or not change.fallen:
        return None
    told = f"{_told(CTR, change)}, of {champion} since its promotion against {before} in the days before"
    verdict = contest.mark() | _figures(CTR, change)
    return roll_back(contest.root, POLICY, to=reign.before, reason=told, verdict=verdict)


def _change(watched: pd.DataFrame, other: pd.DataFrame, plan: Looks, *, together: bool) -> RateChange | None:
    """The change at the latest look; None before the first. ``together``: the other's impressions are those of the same time."""
    requests = watched["request_id"].drop_duplicates()
    look = plan.reached(len(requests))
    if look is None:
        return None
    watched = watched[watched["request_id"].isin(requests.iloc[: look.rows])]
    if together:
        other = other[other["seq"].between(watched["seq"].min(), watched["seq"].max())]
    return rate_change(group_of(watched), group_of(other), look) if len(other) else None


def _told(metric: Metric, change: RateChange) -> str:
    assert change.difference is not None  # it has fallen
    value, low, high = change.difference.value, change.difference.low, change.difference.high
    return (
        f"{metric.name} fell: {change.rate:.3%} and {change.other:.3%}, difference {value:+.3%} [{low:+.3%}, {high:+.3%}] at look "
        f"{change.look.number} of {change.look.rows:,} slates"
    )


def _figures(metric: Metric, change: RateChange) -> dict[str, Any]:
    difference = change.difference.as_dict() if change.difference else None
    told = {"metric": metric.name, "rate": change.rate, "other": change.other, "difference": difference}
    return told | {"look": change.look.number, "slates": change.look.rows, "alpha": change.look.alpha}
