"""The value of a policy on a log of one's own, as the command line asks for it."""

import json
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from evaluation.intervals import Interval
from evaluation.off_policy import Refusal
from evaluation.off_policy.evidence import MIN_ACTION_ROWS
from tasks.policy_value.answer import PolicyAnswer, evaluate_policy


def show_policy_value(
    console: Console, decisions: Path, policy: str, *, mapping: Path | None, seed: int, replications: int, as_json: bool
) -> int:
    """Evaluate, print.

    Args:
        console: where to print.
        decisions: the log.
        policy: the target policy.
        mapping: of the log's columns.
        seed: of folds and bootstrap.
        replications: of the bootstrap.
        as_json: print one JSON object and nothing else.

    Returns:
        The exit code: 0 when an estimator answers, 3 when all refuse.

    Raises:
        AdloomError: a file is wrong.
    """
    answer = evaluate_policy(decisions, policy, mapping=mapping, rng=np.random.default_rng(seed), replications=replications)
    if as_json:
        print(json.dumps(answer.as_dict(), ensure_ascii=False))  # noqa: T201 - this is the command's output
    else:
        _print(console, answer)
    return 3 if answer.refused else 0


def _propensities(answer: PolicyAnswer) -> str:
    """What is known of the logged propensities, in words."""
    tested, what = answer.calibration.actions, "actions at a position" if answer.slates else "actions"
    if not tested:
        return f"propensities [yellow]not tested[/]: none of the {what} has {MIN_ACTION_ROWS} rows"
    return f"propensities {answer.calibration.largest_deviation:.1f} standard errors off at worst ({tested} {what} tested)"


def _print(console: Console, answer: PolicyAnswer) -> None:
    found = next(iter(answer.answers.values())).evidence
    for reason, count in answer.left_out.items():
        console.print(f"[yellow]left out[/]: {count} rows, {escape(reason)}")
    if answer.mapping is not None:
        console.print(f"columns as {escape(str(answer.mapping))} says")
    console.print(f"{answer.rows:,} rows of {answer.users:,} users, {_actions(answer)}")
    console.print(f"the logging policy earned {_interval(answer.logged)} ({answer.unit})")
    if answer.logged.low == answer.logged.high:
        console.print(
            f"[yellow]every reward is {answer.logged.value:g}[/]: where nothing differs the bootstrap cannot tell how far off it is, "
            "and its intervals have no width. Wait for feedback, or look at which column is the reward."
        )
    console.print(
        f"target policy {escape(answer.policy)}: effective sample size {found.effective_sample_size:,.0f}, largest weight "
        f"{found.largest_weight:.1f}, mean weight {found.mean_weight:.3f}, support {found.support:.1%}, {_propensities(answer)}"
    )
    reasons = {given.reason for given in answer.answers.values() if isinstance(given, Refusal)}
    if answer.refused and len(reasons) == 1:
        console.print(f"[bold red]refused[/]: {escape(reasons.pop())}")
        return
    table = Table("estimator", f"value ({answer.unit}) [95 %]", "against the logging policy [95 %]", "Bernstein [95 %]", "λ", box=None)
    for name, given in answer.answers.items():
        if isinstance(given, Refusal):
            table.add_row(name, f"[red]refused[/]: {escape(given.reason)}", "", "", "")
            continue
        parameter = "" if given.parameter is None else f"{given.parameter:.3g}"
        bernstein = f"{escape(f'[{given.bernstein.low:.5f}, {given.bernstein.high:.5f}]')}"
        table.add_row(name, _interval(given.value), _interval(given.lift), bernstein, parameter)
    console.print(table)
    if answer.without_model:
        console.print("[dim]no estimator with a reward model: the target policy's whole distribution is not known[/]")
    if not answer.products:
        console.print("[dim]the reward model adds context and action: their products would be more than it takes (docs/off-policy.md)[/]")


def _actions(answer: PolicyAnswer) -> str:
    logged = len(answer.actions)
    count = (
        f"{answer.action_count:,} actions (by the mapping; {logged:,} appear in the log)"
        if answer.counted
        else f"{logged:,} actions (all that appear)"
    )
    return f"{count}; by the mean of 1 / propensity {answer.drawn:,.1f} could be drawn{' at the first position' if answer.slates else ''}"


def _interval(found: Interval) -> str:
    return f"{found.value:.5f} {escape(f'[{found.low:.5f}, {found.high:.5f}]')}"
