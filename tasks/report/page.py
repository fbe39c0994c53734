"""Builds the page from what `evaluate` measured."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape


@dataclass(frozen=True)
class Table:
    """A table of the page.

    Attributes:
        head: column names.
        rows: cells, already in words.
        accent: the first cell of the row that the page is about.
        note: one line under the table: protocol and units.
    """

    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    accent: str | None = None
    note: str = ""


@dataclass(frozen=True)
class Chance:
    """One row of a probability list: a product and its probability."""

    title: str
    category: str
    probability: float


@dataclass(frozen=True)
class Slot:
    """Cards shown together: a scene and channel, its line of explanation and its drawn cards (SVG)."""

    name: str
    why: str
    cards: tuple[str, ...]


@dataclass(frozen=True)
class ShopperView:
    """One shopper of the page: what they did, the probability that follows, the ads written for them."""

    name: str
    story: str
    steps: tuple[str, ...]
    chances: tuple[tuple[str, tuple[Chance, ...]], ...]
    slots: tuple[Slot, ...]


@dataclass(frozen=True)
class Chapter:
    """A chapter: words, then tables, then charts (SVG)."""

    title: str
    lead: str
    tables: tuple[Table, ...] = ()
    charts: tuple[str, ...] = ()


@dataclass(frozen=True)
class Page:
    """The whole page."""

    title: str
    subtitle: str
    headlines: tuple[tuple[str, str, str], ...]
    shoppers: tuple[ShopperView, ...]
    chapters: tuple[Chapter, ...]
    cautions: tuple[str, ...] = field(default=())


def render(page: Page) -> str:
    """Render the page; everything but the drawn SVG is escaped.

    Args:
        page: what it shows.

    Returns:
        HTML without any link to the outside.
    """
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=select_autoescape(default=True), undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    return environment.get_template("page.html.j2").render(page=page)


def interval_words(value: float, low: float, high: float, *, percent: bool = False) -> str:
    """An estimate and its interval as the tables write it, such as ``0.123 [0.110, 0.136]``."""
    if percent:
        return f"{100 * value:.2f} % [{100 * low:.2f}, {100 * high:.2f}]"
    return f"{value:.4f} [{low:.4f}, {high:.4f}]"


def table(head: Sequence[str], rows: Sequence[Sequence[str]], *, accent: str | None = None, note: str = "") -> Table:
    """A table from any sequences."""
    return Table(head=tuple(head), rows=tuple(tuple(row) for row in rows), accent=accent, note=note)
