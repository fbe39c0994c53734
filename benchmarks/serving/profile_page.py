"""The profile page: where the time of a request goes."""

from collections.abc import Mapping, Sequence
from html import escape
from math import isnan
from pathlib import Path

STAGES = "adloom_decision_stage_seconds_total"
STAGES_CPU = "adloom_decision_stage_cpu_seconds_total"
HTTP = "HTTP, JSON, checks, logs (the event loop)"


def stage_times(before: Mapping[str, float], after: Mapping[str, float], *, requests: int, cpu: float) -> list[tuple[str, float, float]]:
    """Milliseconds a request by stage: by the clock, and of the processor.

    Args:
        before: the service's metrics before the load.
        after: and after it.
        requests: answered between the two.
        cpu: processor seconds of the whole process between the two.

    Returns:
        Stage, wall-clock and processor milliseconds a request, in the order in which they happen. What a group of requests takes
        is shared among them. The event loop's clock is not told: it is the rest of the processor time.
    """
    found = []
    for name in after:
        if name.startswith(STAGES + "{"):
            stage = name.split('"')[1]
            wall, spent = (after[key] - before.get(key, 0.0) for key in (name, name.replace(STAGES, STAGES_CPU)))
            found.append((stage, 1000 * wall / requests, 1000 * spent / requests))
    rest = 1000 * cpu / requests - sum(row[2] for row in found)
    return [*found, (HTTP, float("nan"), rest)]


def write_page(path: Path, stages: Sequence[tuple[str, float, float]], facts: Mapping[str, str]) -> None:
    """One self-contained page.

    Args:
        path: an HTML file.
        stages: of `stage_times`.
        facts: what was measured, and how.
    """
    total = sum(row[2] for row in stages)
    rows = "".join(
        f"<tr><td>{escape(stage)}</td><td class=n>{'' if isnan(wall) else f'{wall:.3f}'}</td><td class=n>{cpu:.3f}</td>"
        f"<td class=n>{100 * cpu / total:.1f} %</td><td><div style='width:{300 * cpu / total:.0f}px'></div></td></tr>"
        for stage, wall, cpu in stages
    )
    told = "".join(f"<tr><th>{escape(name)}</th><td>{escape(value)}</td></tr>" for name, value in facts.items())
    path.write_text(
        "<!doctype html><html lang=en><meta charset=utf-8><title>Serving: where the time goes</title>"
        "<style>body{font:15px/1.5 sans-serif;margin:2em auto;max-width:60em}td,th{padding:.2em .8em;text-align:left}"
        ".n{text-align:right;font-variant-numeric:tabular-nums}div{background:#47a;height:1em}</style>"
        f"<h1>Serving: where the time goes</h1><table>{told}</table><h2>A request for ads, stage by stage</h2>"
        "<p>Requests that wait are decided and committed as one group; its time is shared among them. Wall-clock time of a stage "
        "includes waiting for the disk and for the interpreter.</p>"
        f"<table><tr><th>stage<th>ms, wall<th>ms, processor<th>share<th></tr>{rows}"
        f"<tr><th>together</th><td></td><td class=n>{total:.3f}</td><td></td><td></td></tr></table></html>",
        encoding="utf-8",
    )
