"""The `adloom` command: thin verbs, each over one task, flow, registry or serving function."""

import subprocess
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

from core.environment import prepare_environment, project_root

prepare_environment(project_root())  # before anything that reads it at import

import typer  # noqa: E402
from rich.console import Console  # noqa: E402
from typer.core import TyperGroup  # noqa: E402

from core.errors import AdloomError, storage_error  # noqa: E402
from core.vocabulary import Channel, Scene, Target, Tone  # noqa: E402

console = Console(highlight=False, width=None if sys.stdout.isatty() else 140)


class Verbs(TyperGroup):
    """Prints what Adloom's own errors say and ends with code 1; every other error keeps its traceback."""

    def invoke(self, ctx: Any) -> Any:
        """Run a verb."""
        try:
            return super().invoke(ctx)
        except AdloomError as error:
            Console(stderr=True, highlight=False).print(f"[bold red]{type(error).__name__}[/]: ", end="")
            print(error, file=sys.stderr)
            raise typer.Exit(1) from None
        except Exception as error:
            refused = storage_error(error)
            if refused is None:
                raise
            print(f"StorageError: {refused}", file=sys.stderr)
            raise typer.Exit(1) from None


main = typer.Typer(
    cls=Verbs,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    help="Personalised ad creatives that learn from what shoppers do.",
)

Overrides = Annotated[
    list[str] | None, typer.Option("-S", "--set-param", metavar="SECTION.KEY=VALUE", help="turn a parameter, as dvc exp run -S does")
]


@main.command()
def run(
    overrides: Overrides = None,
    profile: Annotated[str | None, typer.Option(help="a profile of profiles.yaml: default, ci, …")] = None,
    params: Annotated[Path | None, typer.Option(help="a YAML file of some sections and keys, such as `adloom tune` writes")] = None,
) -> None:
    """Bring the whole loop up to date as a Prefect flow, and say what came out."""
    from flows.console import run_loop

    raise typer.Exit(run_loop(console, overrides or [], profile, params))


@main.command()
def tune(
    target: Annotated[Target, typer.Option(help="what is tuned")] = Target.RECOMMENDER,
    trials: Annotated[int, typer.Option(help="in all, those of an earlier run on the same data included", min=1)] = 20,
) -> None:
    """Search better parameters on the validation window; a killed search goes on where it stopped."""
    from flows.searching import run_search

    raise typer.Exit(run_search(console, target, trials))


@main.command()
def status() -> None:
    """What is fresh, and what runs in the background."""
    from flows.console import show_status

    show_status(console)


@main.command()
def promote(
    model: Annotated[str | None, typer.Argument(help="`policy`: only the policy that challenges, on what the service has logged")] = None,
) -> None:
    """Judge this run's bundles, or the policy that challenges, against the champions again, whatever DVC says."""
    from flows.console import promote_again, promote_policy

    if model is None:
        promote_again(console)
    elif model == "policy":
        promote_policy(console)
    else:
        raise typer.BadParameter(f"{model!r}: the bundles of a run are judged together; leave it out, or name `policy`")


@main.command()
def challenge(
    policy: Annotated[str | None, typer.Argument(help="epsilon_greedy or linear_thompson")] = None,
    exploration: Annotated[
        float | None, typer.Option(help="its floor: every candidate keeps this much over the candidates' number")
    ] = None,
    withdraw: Annotated[bool, typer.Option("--withdraw", help="end the challenge that stands")] = False,
) -> None:
    """Let another policy challenge the one that serves, or withdraw it (docs/policy-promotion.md)."""
    from flows.console import challenge_policy, withdraw_policy

    if withdraw:
        if policy is not None or exploration is not None:
            raise typer.BadParameter("--withdraw ends the challenge that stands; leave the policy and --exploration out")
        withdraw_policy(console)
    elif policy is None or exploration is None:
        raise typer.BadParameter("name a policy and its floor, as in `adloom challenge linear_thompson --exploration 0.01`")
    else:
        challenge_policy(console, policy, exploration)


@main.command()
def rollback(
    model: Annotated[str, typer.Argument(help="recommender, generator, ranker, pool or policy")],
    to: Annotated[int | None, typer.Option(help="a version; the champion before the present one when left out")] = None,
    reason: Annotated[str, typer.Option(help="why; goes to the ledger")] = "",
) -> None:
    """Give the championship back to an earlier version; serving follows within seconds."""
    from flows.console import roll_back_model

    roll_back_model(console, model, to=to, reason=reason)


@main.command()
def ledger(model: Annotated[str | None, typer.Argument(help="only this model")] = None) -> None:
    """Who was champion when, and why."""
    from flows.console import show_ledger

    show_ledger(console, model)


@main.command("check-data")
def check_data(
    overrides: Overrides = None,
    as_json: Annotated[bool, typer.Option("--json", help="print one JSON object and nothing else")] = False,
) -> None:
    """Say what of the source would be accepted and what not, before anything runs; -S holds for this look only, params.yaml stays."""
    from flows.console import show_data_check

    raise typer.Exit(show_data_check(console, overrides or [], as_json=as_json))


@main.command()
def serve(
    host: Annotated[str | None, typer.Option(help="address to bind; params.yaml's when left out")] = None,
    port: Annotated[int | None, typer.Option(help="port; params.yaml's when left out", min=1, max=65535)] = None,
    bundles: Annotated[
        Path | None, typer.Option(help="a folder of bundles, such as data/models, instead of the registry's champions")
    ] = None,
) -> None:
    """The HTTP service with the champions of the registry."""
    from serving.server import serve as run_service

    run_service(project_root(), host=host, port=port, bundles=bundles)


@main.command()
def services(
    action: Annotated[
        Literal["start", "stop", "status", "fetch"], typer.Argument(help="start what does not run, stop what does, tell, or only fetch")
    ] = "start",
) -> None:
    """A PostgreSQL and a Redis of the project's own on loopback, from Debian's packages, for the service's log and online state."""
    from serving.services import run as run_services

    run_services(project_root(), action, say=console.print)


@main.command()
def ui(port: Annotated[int, typer.Option(help="port on loopback", min=1, max=65535)] = 5000) -> None:
    """The MLflow UI over the runs and the registry."""
    from flows.deployment import port_is_free
    from registry.store import ui_command

    port_is_free(port)
    command = ui_command(project_root(), port)
    console.print(f"MLflow UI: http://127.0.0.1:{port}  [dim](Ctrl-C ends it)[/]")
    raise typer.Exit(subprocess.run(command, check=False).returncode)


@main.command()
def prefect(port: Annotated[int, typer.Option(help="port on loopback", min=1, max=65535)] = 4200) -> None:
    """The Prefect server and its UI, in the foreground; tells where it is when `deploy` has started one."""
    from flows.deployment import port_is_free, running

    known = running(project_root()).get("prefect-server")
    if known:
        console.print(f"the Prefect UI of `adloom deploy`: {known}")
        return
    port_is_free(port)
    console.print(f"Prefect UI: http://127.0.0.1:{port}  [dim](Ctrl-C ends it)[/]")
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    raise typer.Exit(subprocess.run(command, check=False).returncode)


@main.command()
def deploy(port: Annotated[int, typer.Option(help="port of the server on loopback", min=1, max=65535)] = 4200) -> None:
    """Start a local Prefect server and worker with the deployments of prefect.yaml; again changes nothing."""
    from flows.deployment import deploy as start

    address = start(project_root(), port=port, say=console.print)
    console.print(f"[green]deployed[/]: {address}  [dim](make undeploy stops it)[/]")


@main.command()
def undeploy() -> None:
    """Stop the server and the worker that deploy started, and nothing else."""
    from flows.deployment import undeploy as stop

    console.print(f"stopped: {', '.join(stop(project_root())) or 'nothing ran'}")


@main.command("train-copy")
def train_copy(
    *,
    train: Annotated[Path, typer.Option(help="JSON lines of products with a copy each (docs/copy.md)")],
    out: Annotated[Path, typer.Option(help="the bundle to make: a folder that does not exist yet")],
    valid: Annotated[Path | None, typer.Option(help="pairs to choose by; a share of --train is held out when left out")] = None,
    limit: Annotated[int | None, typer.Option(help="longest text in characters; the channels' own when left out", min=8)] = None,
    seed: Annotated[int | None, typer.Option(help="params.yaml's when left out")] = None,
    language_model: Annotated[
        str | None,
        typer.Option("--hf", help="tune this language model too: hub id, folder, .gguf file (docs/hf.md); params.yaml's when left out"),
    ] = None,
) -> None:
    """Train every copy generator on your own pairs, outside the loop, with params.yaml's sizes."""
    from flows.copywriting import train as train_bundle

    raise typer.Exit(train_bundle(console, train, out, valid=valid, limit=limit, seed=seed, language_model=language_model))


@main.command()
def write(
    products: Annotated[Path, typer.Argument(help="JSON lines of products (docs/copy.md)")],
    *,
    out: Annotated[Path, typer.Option(help="JSON lines of copies to make; a killed run goes on where it stopped")],
    bundle: Annotated[Path | None, typer.Option(help="a generator bundle's folder; the registry's champion when left out")] = None,
    candidates: Annotated[int, typer.Option(help="texts written for a product", min=1)] = 4,
    kept: Annotated[int, typer.Option(help="of these, how many are put out at most", min=1)] = 1,
    generator: Annotated[str | None, typer.Option(help="gpt, vae, gan, …; the bundle's choice when left out")] = None,
    scene: Annotated[Scene, typer.Option(help="of lines that name none")] = Scene.PRODUCT,
    channel: Annotated[Channel, typer.Option(help="of lines that name none")] = Channel.ONSITE,
    tone: Annotated[Tone | None, typer.Option(help="of lines that name none; any when left out")] = None,
    limit: Annotated[int | None, typer.Option(help="longest text in characters; the channel's when left out", min=8)] = None,
    seed: Annotated[int, typer.Option(help="of sampling")] = 7,
    rules: Annotated[Path | None, typer.Option(help="your own compliance rules, laid over the list (docs/copy.md)")] = None,
) -> None:
    """Write copy for a file of products: every text reviewed, with all its scores."""
    if kept > candidates:
        raise typer.BadParameter(f"--kept {kept} of --candidates {candidates}: no more can be put out than are written; raise --candidates")
    from flows.copywriting import write as write_file
    from tasks.write_copy import Writing

    writing = Writing(candidates, kept, generator, scene, channel, tone, limit, seed, rules)
    raise typer.Exit(write_file(console, products, out, bundle=bundle, writing=writing))


@main.command()
def recommend(
    *,
    user: Annotated[str | None, typer.Option(help="a shopper of the clean events, by id or pseudonym")] = None,
    history: Annotated[
        str | None, typer.Option(help="anybody: 'view:ITEM, search:WORDS, purchase:ITEM', or a file of events (docs/recommend.md)")
    ] = None,
    scene: Annotated[Scene, typer.Option(help="why the items are shown")] = Scene.PRODUCT,
    top: Annotated[int, typer.Option("--top", "-n", help="how many items", min=1)] = 10,
    exclude: Annotated[
        list[str] | None, typer.Option(help="an item that must not be shown; may be given again, or a list with commas")
    ] = None,
    brand: Annotated[str | None, typer.Option(help="only this brand's items, in scene brand")] = None,
    at: Annotated[str | None, typer.Option(help="the moment, ISO 8601; the end of the data when left out")] = None,
    bundle: Annotated[Path | None, typer.Option(help="a recommender bundle's folder, or a folder of bundles such as data/models")] = None,
    model: Annotated[
        str | None,
        typer.Option(help="of the registry: champion (the default), challenger, a version, or models:/adloom-recommender@champion"),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="print one JSON object and nothing else")] = False,
) -> None:
    """Items for one shopper, each with the events that carried it and the parts of its score."""
    from flows.recommending import show_recommendations
    from tasks.recommend import Question

    asked = Question(scene, top, tuple(part.strip() for value in exclude or [] for part in value.split(",") if part.strip()), brand, 0)
    code = show_recommendations(console, asked, user=user, history=history, at=at, bundle=bundle, model=model, as_json=as_json)
    raise typer.Exit(code)


@main.command("evaluate-policy")
def evaluate_policy(
    *,
    decisions: Annotated[Path, typer.Option(help="your log: CSV, JSON lines or Parquet (docs/off-policy.md)")],
    policy: Annotated[str, typer.Option(help="uniform, best_action, greedy, or a file of target propensities row by row")],
    mapping: Annotated[Path | None, typer.Option(help="which of its columns is what; mapping.yaml beside the log when left out")] = None,
    seed: Annotated[int, typer.Option(help="of folds and bootstrap")] = 7,
    replications: Annotated[int, typer.Option(help="of the bootstrap", min=100)] = 1000,
    as_json: Annotated[bool, typer.Option("--json", help="print one JSON object and nothing else")] = False,
) -> None:
    """What a policy that never ran would have earned on your log, or why the log cannot tell."""
    from flows.policy_value import show_policy_value

    code = show_policy_value(console, decisions, policy, mapping=mapping, seed=seed, replications=replications, as_json=as_json)
    raise typer.Exit(code)


@main.command()
def clean() -> None:
    """Remove outputs and caches of the loop; feedback, your own data and the registry stay."""
    from flows.cleaning import remove_outputs

    for path in remove_outputs(project_root()):
        console.print(f"removed {path}")
