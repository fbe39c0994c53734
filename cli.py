"""The `adloom` command: thin verbs, each over one task, flow, registry or serving function."""

import typer

main = typer.Typer(no_args_is_help=True, help="Personalised ad creatives that learn from what shoppers do.")
