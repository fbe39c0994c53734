"""The summary that a loop ends with: seconds, models beside their baselines, verdicts, three shoppers, and what to do next."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from core.environment import project_root
from core.errors import AdloomError
from core.files import read_json
from core.stage import path_of
from flows.progress import StageOutcome
from registry.models import CHAMPION, KINDS, Registry
from registry.store import tracking_uri

PARTS = ("recommender", "generator", "ranker", "policy")


def print_summary(console: Console, results: Sequence[StageOutcome], *, seconds: float) -> None:
    """Print what a loop came to; parts whose files are missing are left out.

    Args:
        console: where to print.
        results: one entry a stage.
        seconds: wall time of the whole loop.
    """
    _print_stages(console, results, seconds)
    metrics = _read("metrics")
    for part in PARTS:
        if isinstance(metrics.get(part), dict):
            _print_models(console, part, metrics[part])
    print_verdicts(console)
    _print_shoppers(console)
    print_next_steps(console)


def print_next_steps(console: Console) -> None:
    """Print where the report is and the commands to look further.

    Args:
        console: where to print.
    """
    page = _path("index")
    console.print()
    if page is not None and page.exists():
        console.print(f"report      {page}")
    console.print(f"MLflow UI   make ui       [dim](mlflow ui --backend-store-uri {tracking_uri(project_root())})[/]", soft_wrap=True)
    registry = Registry(project_root())
    missing = [kind for kind in KINDS if registry.alias(kind, CHAMPION) is None]
    if missing:
        console.print(
            f"serve ads   [yellow]not yet: no champion of {', '.join(missing)}[/]; `adloom ledger` says why, and `adloom serve --bundles"
        )
        console.print("            data/models` serves what was trained all the same, to look at")
    else:
        console.print("serve ads   make serve    [dim](adloom serve; then http://127.0.0.1:8000/docs)[/]")
    console.print("schedule    make deploy   [dim](feedback, refresh, creatives, monitor)[/]")


def _print_stages(console: Console, results: Sequence[StageOutcome], seconds: float) -> None:
    table = Table(title="Stages", title_justify="left", title_style="bold")
    table.add_column("stage")
    table.add_column("what happened")
    table.add_column("seconds", justify="right")
    for result in results:
        table.add_row(
            result.name, {"ran": "ran", "fresh": "fresh", "restored": "from DVC's cache"}[result.outcome], f"{result.seconds:.1f}"
        )
    table.add_row("[bold]loop[/]", "with start and end", f"[bold]{seconds:.1f}[/]")
    console.print()
    console.print(table)


def _print_models(console: Console, part: str, found: dict[str, Any]) -> None:
    main, models = str(found.get("main", "")), found.get("models", {})
    if not models:
        if found.get("reason"):
            console.print(f"\n[bold]{part.capitalize()}[/]: {escape(str(found['reason']))}")
        return
    names = [main, *[name for name in _metric_names(models) if name != main]][:5]
    table = Table(title=f"{part.capitalize()}, 95 % intervals", title_justify="left", title_style="bold")
    table.add_column("model")
    for name in names:
        table.add_column(f"[bold]{name}[/]" if name == main else name, justify="right")
    ordered = sorted(models.items(), key=lambda pair: -_value(pair[1].get(main), default=float("-inf")))
    for model, values in ordered:
        label = f"[bold green]{model}[/] ◀" if model == found.get("challenger") else model
        table.add_row(label, *[_interval(values.get(name)) for name in names])
    console.print()
    console.print(table)


def _metric_names(models: dict[str, Any]) -> list[str]:
    return list(dict.fromkeys(name for values in models.values() for name in values))


def _value(cell: Any, *, default: float) -> float:
    value = cell.get("value") if isinstance(cell, dict) else cell
    return float(value) if isinstance(value, int | float) else default


def _interval(cell: Any) -> str:
    if not isinstance(cell, dict):
        return "–" if cell is None else f"{cell:.4g}" if isinstance(cell, float) else str(cell)
    if cell.get("value") is None:
        return escape(str(cell.get("reason", "–")))
    if cell.get("low") is None:
        return f"{cell['value']:.4g}"
    return f"{cell['value']:.4g} [dim]\\[{cell['low']:.4g}, {cell['high']:.4g}][/]"


def print_verdicts(console: Console, stood: Mapping[str, int] | None = None) -> None:
    """Print what promote decided.

    Args:
        console: where to print.
        stood: by kind, the version that was champion before and is still: the verdict of a bundle promoted once before is an old one.
    """
    promotion = _read("promotion")
    if not promotion.get("models"):
        return
    table = Table(title="Registry", title_justify="left", title_style="bold")
    for heading in ("model", "verdict", "why"):
        table.add_column(heading, overflow="fold")
    for name, verdict in promotion["models"].items():
        said, colour = verdict["verdict"], "green" if verdict["verdict"] == "promoted" else "yellow"
        if said == "promoted" and stood and name in stood:
            said = f"champion already (version {stood[name]}), with this verdict"
        table.add_row(name, f"[{colour}]{said}[/]", escape("; ".join(verdict["reasons"])))
    console.print()
    console.print(table)


def _print_shoppers(console: Console) -> None:
    folder = _path("report")
    if folder is None or not (folder / "shoppers.json").exists():
        return
    cases: Any = json.loads((folder / "shoppers.json").read_text(encoding="utf-8"))
    for case in cases:
        console.print(f"\n[bold]{escape(case['name'])}[/]  [dim]{escape(case['story'])}[/]")
        console.print("  " + escape(" · ".join(case["steps"])))
        for heading, chances in (("over the three", case["over_three"]), ("over all, to show", case["over_all"])):
            console.print(f"  [dim]P(item | shopper) {heading}[/]")
            for chance in chances:
                share = float(chance["probability"])
                console.print(f"  {share:7.2%} [green]{'█' * max(1, round(24 * share))}[/] {escape(chance['title'])}")
        for ad in case["ads"]:
            dated = f" [cyan]{escape(ad['campaign'])}[/]" if ad["campaign"] else ""
            chance = "written now" if ad["written_now"] else f"p_click {ad['p_click']:.2%}"
            whose = f"[dim]{ad['origin']}, {chance}[/]"
            console.print(f"    [magenta]{ad['scene']}/{ad['channel']}[/] {escape(ad['text'])}{dated} {whose}")


def _path(stem: str) -> Path | None:
    try:
        return path_of(stem)
    except AdloomError:
        return None


def _read(stem: str) -> dict[str, Any]:
    path = _path(stem)
    try:
        return read_json(path) if path is not None else {}
    except (OSError, ValueError):
        return {}
