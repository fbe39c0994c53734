"""The latent text model and the GAN, as the bundle's config tells of them: what training wrote there, in words and tables."""

from collections.abc import Mapping
from typing import Any

from tasks.report.page import Chapter, Table, interval_cell, table

TITLES = {
    "reconstruction": "Reconstruction: copy → ℓ → copy",
    "walk": "A walk between two copies in latent space",
    "walks": "Walks between two copies in latent space",
    "latent": "The latent",
    "vae": "VAE",
    "gan": "GAN",
    "verdicts": "Verdicts",
}
"""Keys of config.json that the chapter shows → what stands above them, in the page's order."""
_INTERVAL = {"value", "low", "high"}


def latent_chapter(config: Mapping[str, Any]) -> tuple[Chapter, ...]:
    """What is known of the latent; no chapter where nothing was trained.

    Args:
        config: of the generator bundle. Under a key of `TITLES` may stand a sentence, numbers and intervals by name (nested, too), or a
            list of texts in order, or of several such lists.
    """
    tables = [made for key, title in TITLES.items() if key in config for made in _tables(title, config[key])]
    if not tables:
        return ()
    return (Chapter("Latent model and GAN", "Where texts stand in ℓ, and whether G finds its way there.", tuple(tables)),)


def _tables(title: str, held: Any) -> list[Table]:
    if isinstance(held, list):
        if held and all(isinstance(part, list) for part in held):
            return [made for number, part in enumerate(held) for made in _tables(f"{title} · {number + 1}", part)]
        return (
            [table(("step", "text"), [(str(step), _words(text)) for step, text in enumerate(held)], title=title, text=True)] if held else []
        )
    if not isinstance(held, dict):
        return [table(("",), [(_words(held),)], title=title)]
    lists = {name: part for name, part in held.items() if isinstance(part, list)}
    rows = [pair for name, part in held.items() if name not in lists for pair in _rows(name, part)]
    found = [table(("", ""), rows, title=title)] if rows else []
    return found + [made for name, part in lists.items() for made in _tables(f"{title} · {_name(name)}", part)]


def _rows(name: str, held: Any) -> list[tuple[str, str]]:
    if isinstance(held, dict) and not set(held) >= _INTERVAL:
        return [(f"{_name(name)} · {inner}", cell) for key, part in held.items() for inner, cell in _rows(key, part)]
    return [(_name(name), _words(held))]


def _name(name: str) -> str:
    return name.replace("_", " ")


def _words(held: Any) -> str:
    if isinstance(held, dict) and set(held) >= _INTERVAL:
        return interval_cell(float(held["value"]), float(held["low"]), float(held["high"]), digits=3)
    if isinstance(held, bool):
        return "yes" if held else "no"
    if isinstance(held, float):
        return f"{held:.4g}"
    return "–" if held in (None, "") else str(held)
