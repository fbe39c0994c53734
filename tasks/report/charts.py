"""Charts as inline SVG whose text stays text: the reader's browser brings the fonts, equal numbers give equal bytes."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

INK, MUTED, ACCENT, BASELINE = "#1d2733", "#6b7785", "#0b6e99", "#9aa5b1"
_LINES = ("#0b6e99", "#c4621a", "#4f8a3c", "#8a4f9e", "#a33b3b")
_STYLE: Any = {"svg.fonttype": "none", "svg.hashsalt": "adloom", "font.size": 10, "font.family": "sans-serif", "axes.edgecolor": "#c6ccd4",
          "axes.spines.top": False, "axes.spines.right": False, "xtick.color": MUTED,
          "ytick.color": INK, "axes.labelcolor": MUTED}  # fmt: skip


@dataclass(frozen=True)
class Bar:
    """One row of an interval chart.

    Attributes:
        label: what is measured.
        value: the estimate.
        low: lower end of its 95 % interval.
        high: upper end of its 95 % interval.
        accent: True for the model that the page is about.
    """

    label: str
    value: float
    low: float
    high: float
    accent: bool = False


def interval_chart(bars: Sequence[Bar], axis: str, *, percent: bool = False) -> str:
    """A dot with its 95 % interval a row, first row on top.

    Args:
        bars: the rows.
        axis: what the horizontal axis says.
        percent: True to label the axis in per cent.

    Returns:
        An ``<svg>`` element.
    """
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(7.2, 0.42 * len(bars) + 0.9))
        axes = figure.add_subplot()
        for row, bar in enumerate(bars):
            colour = ACCENT if bar.accent else BASELINE
            axes.plot([bar.low, bar.high], [row, row], color=colour, linewidth=4, alpha=0.45, solid_capstyle="round")
            axes.plot(bar.value, row, "o", color=colour, markersize=8)
        axes.set_yticks(range(len(bars)), [bar.label for bar in bars])
        axes.set_ylim(len(bars) - 0.4, -0.6)
        axes.set_xlim(left=min(0.0, *(bar.low for bar in bars)) if bars else 0.0)
        axes.grid(axis="x", color="#e6e9ed")
        axes.set_axisbelow(True)
        axes.set_xlabel(axis)
        if percent:
            axes.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=1))
        return _svg(figure)


def calibration_chart(predicted: Sequence[float], observed: Sequence[float], low: Sequence[float], high: Sequence[float]) -> str:
    """Observed click-through by predicted probability, one point a bin, beside the diagonal of a perfect forecast.

    Args:
        predicted: mean prediction of each bin.
        observed: share of clicks of each bin.
        low: lower end of the share's 95 % interval.
        high: upper end.

    Returns:
        An ``<svg>`` element.
    """
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(4.6, 4.2))
        axes = figure.add_subplot()
        top = max([*predicted, *high, 1e-6]) * 1.05
        axes.plot([0, top], [0, top], color=BASELINE, linewidth=1, linestyle="--")
        axes.vlines(predicted, low, high, color=ACCENT, alpha=0.45, linewidth=3)
        axes.plot(predicted, observed, "o", color=ACCENT, markersize=6)
        axes.set_xlim(0, top)
        axes.set_ylim(0, top)
        axes.set_xlabel("predicted p_click")
        axes.set_ylabel("observed CTR")
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter(PercentFormatter(1.0, decimals=1))
        return _svg(figure)


@dataclass(frozen=True)
class PlanePoint:
    """A generator in the quality–diversity plane.

    Attributes:
        label: its name.
        self_bleu: Self-BLEU-4 of its texts, per cent.
        bleu: BLEU-4 to the human copy, per cent.
        accent: True for the generator that the pool takes from.
    """

    label: str
    self_bleu: float
    bleu: float
    accent: bool = False


def plane_chart(points: Sequence[PlanePoint], curves: Mapping[str, Sequence[tuple[float, float]]], human: float) -> str:
    """Self-BLEU-4 (across) by BLEU-4 (up): a point a generator, a line through each generator's temperatures.

    Args:
        points: the generators.
        curves: generator → (Self-BLEU-4, BLEU-4) by temperature.
        human: Self-BLEU-4 of human copy.

    Returns:
        An ``<svg>`` element.
    """
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(7.2, 4.6))
        axes = figure.add_subplot()
        axes.axvline(human, color=BASELINE, linewidth=1, linestyle="--")
        axes.annotate("human", (human, 1.0), xycoords=("data", "axes fraction"), xytext=(3, -10), textcoords="offset points", color=MUTED)
        for number, (name, curve) in enumerate(sorted(curves.items())):
            colour = _LINES[number % len(_LINES)]
            axes.plot([x for x, _ in curve], [y for _, y in curve], color=colour, linewidth=1.6, marker="o", markersize=3.5, label=name)
        for point in points:
            axes.plot(point.self_bleu, point.bleu, "o", color=ACCENT if point.accent else BASELINE, markersize=9)
            axes.annotate(point.label, (point.self_bleu, point.bleu), xytext=(7, 5), textcoords="offset points", color=INK)
        if curves:
            axes.legend(frameon=False, loc="lower right")
        axes.margins(0.12)
        axes.grid(color="#e6e9ed")
        axes.set_axisbelow(True)
        axes.set_xlabel("Self-BLEU-4 (more alike to the right)")
        axes.set_ylabel("BLEU-4")
        return _svg(figure)


def _svg(figure: Figure) -> str:
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", bbox_inches="tight", transparent=True, metadata={"Date": None})
    text = buffer.getvalue()
    return text[text.index("<svg") :]
