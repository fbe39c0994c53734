"""The `adloom` command: thin verbs, each over one task, flow, registry or serving function."""

import sys
from typing import Annotated, Any

from core.environment import prepare_environment, project_root

prepare_environment(project_root())  # before anything that reads it at import

import typer  # noqa: E402
from rich.console import Console  # noqa: E402
from typer.core import TyperGroup  # noqa: E402

from core.errors import AdloomError  # noqa: E402

console = Console(highlight=False)


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
) -> None:
    """Bring the whole loop up to date as a Prefect flow, and say what came out."""
    from flows.console import run_loop

    raise typer.Exit(run_loop(console, overrides or [], profile))


@main.command()
def status() -> None:
    """What is fresh, who is champion, and what runs in the background."""
    from flows.console import show_status

    show_status(console)
