"""What the person at the terminal sees of a search for parameters."""

import os

from rich.console import Console
from rich.table import Table

from core.vocabulary import Target
from flows.housekeeping import mark_children


def run_search(console: Console, target: Target, trials: int) -> int:
    """Search with its progress on the terminal.

    Args:
        console: where to print.
        target: what is tuned.
        trials: how many in all.

    Returns:
        The exit code.

    Raises:
        AdloomError: see `flows.tuning.tune`.
    """
    os.environ.setdefault("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "CRITICAL")  # the bar says the same in fewer words
    os.environ.setdefault("PREFECT_LOGGING_INTERNAL_LEVEL", "CRITICAL")
    mark_children()
    from flows.tuning import Tuned, tune

    found: Tuned = tune(target, trials)
    if found.resumed:
        console.print(f"{found.resumed} of {found.trials} trials were there from an earlier search on the same data and parameters.")
    table = Table("parameter", "value")
    for key, value in found.values.items():
        table.add_row(f"{found.section}.{key}", f"[green]{value}[/]" if key in found.changed else str(value))
    console.print(table)
    before = f", {found.present:.5f} with the present parameters" if found.present is not None else ""
    console.print(f"{found.metric} on the validation window: [bold]{found.worth:.5f}[/]{before}; the test window was not read.")
    if not found.changed:
        console.print("nothing better was found: params.yaml can stay as it is.")
        return 0
    turned = " ".join(f"-S {found.section}.{key}={value}" for key, value in found.changed.items())
    console.print(f"lay it on:  adloom run --params {found.fragment}", soft_wrap=True)
    console.print(f"or:         adloom run {turned}", soft_wrap=True)
    return 0
