"""What the person at the terminal sees while a loop runs and when it has ended."""

import json
import os
import shutil
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict
from importlib import import_module
from pathlib import Path
from threading import Thread

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from core.environment import project_root
from core.errors import ServiceError
from core.params import load_params
from core.stage import PARAMS_FILE, stage_function
from flows.freshness import Outlook, look_ahead
from flows.housekeeping import mark_children
from flows.overrides import apply_overrides
from flows.progress import WATCHER, StageOutcome, Watcher
from flows.summary import print_next_steps, print_summary, print_verdicts

SIGNS = {"fresh": "[dim]fresh[/]", "restored": "[cyan]from DVC's cache[/]", "ran": "[green]done[/]"}


class Lines(Watcher):
    """A line when a stage begins and one when it has ended; stages print their own progress bars in between."""

    def __init__(self, console: Console, imports: Thread) -> None:
        """Keep where to print, and the imports that must have ended before a stage begins."""
        self._console = console
        self._imports = imports
        self._total = 0
        self._done = 0

    def started(self) -> None:
        """Wait for the imports: from here on this thread imports too."""
        self._imports.join()

    def begins(self, name: str, number: int, total: int) -> None:
        """Print the stage's name and how far the loop is."""
        self._total, self._done = total, number - 1
        self._console.print(f"{self._bar()} [bold]{name}[/] …")

    def ended(self, result: StageOutcome) -> None:
        """Print what became of it."""
        self._done += 1
        self._console.print(f"{self._bar()} [bold]{result.name}[/] {SIGNS[result.outcome]} [dim]{result.seconds:.1f} s[/]")

    def _bar(self) -> str:
        return f"[green]{'━' * (2 * self._done)}[/][dim]{'━' * (2 * (self._total - self._done))}[/] {self._done}/{self._total}"


def run_loop(console: Console, overrides: Sequence[str], profile: str | None, fragment: Path | None = None) -> int:
    """Run the loop with its progress on the terminal.

    Args:
        console: where to print.
        overrides: ``section.key=value``.
        profile: a profile of profiles.yaml.
        fragment: a YAML file of some sections and keys.

    Returns:
        The exit code.

    Raises:
        AdloomError: what a stage or the graph raised.
    """
    started = time.perf_counter()
    outlook = look_ahead(overrides, profile=profile, fragment=fragment)
    _say_outlook(console, outlook)
    if not outlook.stale:
        console.print(f"[bold green]Everything is fresh[/]: none of the {len(outlook.stages)} stages has anything to do.")
        print_next_steps(console)
        return 0
    results = _walk_in_prefect(console, overrides, (profile, fragment), outlook)
    print_summary(console, results, seconds=time.perf_counter() - started)
    return 0


def _say_outlook(console: Console, outlook: Outlook) -> None:
    if outlook.killed is not None:
        console.print(f"[yellow]The last loop ({outlook.killed}) was killed[/]; its runs are closed, and its stage starts again.")
    for change in outlook.changes:
        console.print(f"[cyan]params.yaml[/]  {escape(str(change))}")


def _walk_in_prefect(
    console: Console, overrides: Sequence[str], base: tuple[str | None, Path | None], outlook: Outlook
) -> list[StageOutcome]:
    os.environ.setdefault("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "CRITICAL")  # the lines below say the same in fewer words
    os.environ.setdefault("PREFECT_LOGGING_INTERNAL_LEVEL", "CRITICAL")
    mark_children()
    from flows.deployment import use_running_server

    server = use_running_server(project_root())
    console.print(f"[dim]Prefect: {server or 'embedded server, some seconds to start'}[/]")
    from flows.loop import loop

    stages = outlook.stages[outlook.stages.index(outlook.stale[0]) :]
    token = WATCHER.set(Lines(console, _import_ahead(stages)))
    try:
        return loop(overrides=list(overrides), profile=base[0], fragment=str(base[1]) if base[1] else None, expected=outlook.params)
    except RuntimeError as error:
        if "ephemeral Prefect API server" not in str(error):
            raise
        seconds = os.environ["PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS"]
        raise ServiceError(
            f"Prefect's embedded server did not answer within {seconds} s, and nothing has run; the machine may be busy. Run again, set "
            "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS higher, or use `dvc repro`, which needs no server."
        ) from None
    finally:
        WATCHER.reset(token)


def _import_ahead(stages: Sequence[str]) -> Thread:
    """Import what stages need on the second core while Prefect's server starts: ten seconds of a fresh loop."""

    def load() -> None:
        with suppress(Exception):  # the stage itself says what is wrong with it
            for name in stages:
                stage_function(name)
            if "encode" in stages:
                import_module("transformers.models.bert.modeling_bert")

    thread = Thread(target=load, name="imports", daemon=True)
    thread.start()
    return thread


def show_status(console: Console) -> None:
    """Print what is fresh and what runs in the background.

    Args:
        console: where to print.

    Raises:
        AdloomError: parameters or dvc.yaml are wrong, or a loop runs here.
    """
    from flows.deployment import running

    outlook = look_ahead()
    for name in outlook.stages:
        why = outlook.why.get(name)
        console.print(f"[green]fresh[/]  {name}" if why is None else f"[yellow]stale[/]  {name}  [dim]{escape(why)}[/]")
    for name, where in running(project_root()).items():
        console.print(f"[green]runs[/]   {name} {where}")


def promote_again(console: Console) -> None:
    """Run the stage promote in any case, and print its verdicts.

    Args:
        console: where to print.

    Raises:
        AdloomError: what the stage raised, or a loop runs here.
    """
    from flows.again import run_again
    from registry.models import CHAMPION, KINDS, Registry

    registry = Registry(project_root())
    before = {kind: registry.alias(kind, CHAMPION) for kind in KINDS}
    run_again("promote")
    stood = {kind: found.version for kind, found in before.items() if found is not None and found == registry.alias(kind, CHAMPION)}
    print_verdicts(console, stood)


def promote_policy(console: Console) -> None:
    """Judge the policy that challenges, and print the verdict.

    Args:
        console: where to print.

    Raises:
        AdloomError: nobody challenges, or log or registry cannot be read.
    """
    from flows.policies import judge_challenger

    entry = judge_challenger(project_root())
    colour = "green" if entry.action == "promoted" else "yellow"
    console.print(f"policy {entry.version}: [{colour}]{entry.action}[/]: {escape('; '.join(entry.reasons))}")


def challenge_policy(console: Console, name: str, exploration: float) -> None:
    """Let a policy challenge, and print what follows.

    Args:
        console: where to print.
        name: of the policy.
        exploration: its floor.

    Raises:
        AdloomError: no such policy, one without a floor, or one that is champion; or the registry refuses.
    """
    from core.errors import RegistryError
    from flows.contest import challenge
    from models.policies.served import ServedPolicy

    try:
        policy = ServedPolicy(name, exploration)  # type: ignore[arg-type]
    except ValueError as error:
        raise RegistryError(f"{error}.") from None
    entry = challenge(project_root(), policy)
    told = "the service asks it from now on" if entry.action == "challenged" else "champion, and it serves from now on"
    console.print(f"policy {entry.version} ({policy.version}) {escape('; '.join(entry.reasons))}: {told}.")


def roll_back_model(console: Console, model: str, *, to: int | None, reason: str) -> None:
    """Give the championship back, and say so; not to a policy that this code cannot run.

    Args:
        console: where to print.
        model: recommender, generator, ranker, pool or policy.
        to: a version; the champion before the present one when None.
        reason: why.

    Raises:
        BundleError: it is such a policy; nothing has changed.
        RegistryError: see there.
    """
    from flows.contest import Contest
    from registry.ledger import roll_back
    from registry.models import POLICY

    root = project_root()
    entry = roll_back(root, model, to=to, reason=reason, runs=Contest(root).of if model == POLICY else lambda registered: None)
    console.print(f"[green]{model}[/]: version {entry.version} is champion again, version {entry.before} is not; `adloom ledger` has it.")


def withdraw_policy(console: Console) -> None:
    """End the challenge that stands, and say so.

    Args:
        console: where to print.

    Raises:
        RegistryError: nobody challenges, or the registry refuses.
    """
    from flows.contest import withdraw

    entry = withdraw(project_root())
    console.print(f"policy {entry.version} challenges no more; policy {entry.before} serves everybody. `adloom ledger policy` has it.")


def show_ledger(console: Console, model: str | None) -> None:
    """Print the ledger, oldest first.

    Args:
        console: where to print.
        model: only this model's entries.

    Raises:
        RegistryError: the store cannot be read, or there is no such model.
    """
    from core.errors import RegistryError
    from registry.ledger import Ledger
    from registry.models import POLICY, REGISTERED, Registry

    if model is not None and model not in REGISTERED:
        raise RegistryError(f"no model {model!r}; there are {', '.join(REGISTERED)}.")
    root = project_root()
    table = Table("when (UTC)", "model", "version", "what", "before", "by", "why")
    for entry in Ledger(Registry(root), root).entries(model):
        before = "–" if entry.before is None else str(entry.before)
        colour = {"promoted": "green", "refused": "yellow", "challenged": "cyan"}.get(entry.action, "magenta")
        why = escape("; ".join(entry.reasons))
        table.add_row(
            f"{entry.at:%Y-%m-%d %H:%M:%S}", entry.kind, str(entry.version), f"[{colour}]{entry.action}[/]", before, entry.by, why
        )
    of = "" if model is None else f" on {model}"
    then = "no policy has challenged the champion yet (`adloom challenge`)" if model == POLICY else "no bundle was judged yet (`make run`)"
    console.print(table if table.row_count else f"the ledger has nothing{of}: {then}.")


def show_data_check(console: Console, overrides: Sequence[str] = (), *, as_json: bool = False) -> int:
    """Print what of the source would be accepted.

    Args:
        console: where to print.
        overrides: ``section.key=value``, for this look only.
        as_json: print JSON instead.

    Returns:
        The exit code: 1 when nothing could be done with the data.

    Raises:
        AdloomError: parameters are wrong, or the source cannot be read.
    """
    from tasks.check_data import check_data

    with tempfile.TemporaryDirectory() as folder:
        params = Path(folder) / PARAMS_FILE.name
        shutil.copyfile(PARAMS_FILE, params)
        apply_overrides(overrides, params=params)
        found = check_data(load_params(params))
    if as_json:
        print(json.dumps({**asdict(found), "could_run": found.could_run}, ensure_ascii=False))  # noqa: T201 - this is the command's output
    else:
        console.print(escape(found.render()))
    return 0 if found.could_run else 1
