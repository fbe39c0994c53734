"""Builds the page from what `evaluate` measured."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape
from markupsafe import Markup


@dataclass(frozen=True)
class Table:
    """A table of the page.

    Attributes:
        head: column names.
        rows: cells, already in words.
        accent: the first cell of the row, or the head of the column, that the page is about.
        note: one line under the table: protocol and units.
        text: True for a table of texts: on a narrow screen each row becomes a paragraph.
        title: what stands above it.
        folded: True to open it by a click on its title.
    """

    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    accent: str | None = None
    note: str = ""
    text: bool = False
    title: str = ""
    folded: bool = False


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


@dataclass(frozen=True)
class SampleView:
    """What each generator wrote for one product: (name, text, why it is refused), the human copy first."""

    title: str
    place: str
    attributes: str
    texts: tuple[tuple[str, str, str], ...]
    accent: str


def render(page: Page) -> str:
    """Render the loop's page; everything but the drawn SVG is escaped.

    Args:
        page: what it shows.

    Returns:
        HTML without any link to the outside.
    """
    return _rendered("page.html.j2", page=page)


def render_copy(page: Page, samples: Sequence[SampleView], signature: str) -> str:
    """Render the copy report.

    Args:
        page: head and chapters.
        samples: what the generators wrote.
        signature: what the numbers rest on.

    Returns:
        HTML without any link to the outside.
    """
    return _rendered("copy.html.j2", page=page, samples=samples, signature=signature)


def marked(text: str, start: int, length: int) -> str:
    """A text with one span highlighted, escaped.

    Args:
        text: any text.
        start: where the span begins.
        length: its characters.
    """
    if not length:
        return text
    before, span, after = text[:start], text[start : start + length], text[start + length :]
    return Markup("{}<mark>{}</mark>{}").format(before, span, after)


def interval_cell(value: float, low: float, high: float, *, digits: int = 2, unit: str = "") -> str:
    """A number with its interval under it, for narrow columns; alone where it has none."""
    words = f"{value:.{digits}f}{unit}"
    if low == high:
        return words
    return Markup('{}<span class="ci">{}–{}</span>').format(words, f"{low:.{digits}f}", f"{high:.{digits}f}")


def _rendered(template: str, **values: object) -> str:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=select_autoescape(default=True), undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    return environment.get_template(template).render(**values)


def interval_words(value: float, low: float, high: float, *, percent: bool = False) -> str:
    """An estimate and its interval as the tables write it, such as ``0.123 [0.110, 0.136]``; alone where it has none."""
    words = f"{100 * value:.2f} %" if percent else f"{value:.4f}"
    if low == high:
        return words
    return f"{words} [{100 * low:.2f}, {100 * high:.2f}]" if percent else f"{words} [{low:.4f}, {high:.4f}]"


def table(
    head: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    accent: str | None = None,
    note: str = "",
    text: bool = False,
    title: str = "",
    folded: bool = False,
) -> Table:
    """A table from any sequences."""
    return Table(tuple(head), tuple(tuple(row) for row in rows), accent, note, text, title, folded)
