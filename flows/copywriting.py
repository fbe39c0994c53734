"""Copy outside the loop: a bundle from one's own pairs, and copy for a file of products, as the command line asks for them."""

import logging
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from core.environment import limit_threads, project_root
from core.errors import BundleError, RegistryError
from core.params import load_params
from core.seeding import seed_globals, stage_rng
from core.stage import PARAMS_FILE
from core.tracking import NullTracker
from models.cache import cache_folder
from registry.models import CHAMPION, Registry
from tasks.write_copy import Writing, Written

STAGE = "train_generator"
MOST_KINDS = 12
"""Kinds of product named in one message."""


def train(
    console: Console,
    pairs: Path,
    out: Path,
    *,
    valid: Path | None,
    limit: int | None,
    seed: int | None,
    language_model: str | None = None,
) -> int:
    """Train a generator bundle and print how its generators compare.

    Args:
        console: where to print.
        pairs: JSON lines to learn from.
        out: the bundle to make.
        valid: JSON lines to choose by.
        limit: longest text in characters.
        seed: params.yaml's when None.
        language_model: base model of generator hf; params.yaml's when None.

    Returns:
        The exit code.

    Raises:
        BundleError: ``out`` exists already.
        AdloomError: a file is wrong, or training failed.
    """
    from tasks.judge.copies import MAIN
    from tasks.train_copy import train_copy

    if out.exists():
        raise BundleError(f"{out} exists already. Remove it, or name another folder with --out.")
    params = load_params(PARAMS_FILE)
    if language_model is not None:
        params = params.model_copy(update={"train_generator": params.train_generator.with_hf(language_model)})
    chosen_seed = params.seed if seed is None else seed
    limit_threads(params.threads)
    seed_globals(chosen_seed, STAGE)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    made = train_copy(params, rng=stage_rng(chosen_seed, STAGE), tracker=NullTracker(), train=pairs, valid=valid, limit=limit)
    made.save(out)
    known = made.config["familiar"]
    if known["left_out"]:
        new, most = (f"{known[name]:.0%}" for name in ("new_pairs", "most"))
        console.print(
            f"[yellow]{made.config['copies']['training']} copies are few[/]: {new} of the word pairs of held-out human copy are in none of "
            f"them (at most {most} will do), so scores do not tell sense from garble, and {', '.join(known['left_out'])} are not chosen. "
            "`adloom write --generator gpt` has one of them write all the same."
        )
    scores = {name: row[MAIN]["value"] for name, row in made.config["models"].items()}
    for name in sorted(scores, key=lambda name: -scores[name]):
        console.print(f"{scores[name]:.4f}  {name}{'  [green]writes[/]' if name == made.chosen else ''}")
    console.print(f"bundle      {out}   [dim](adloom write PRODUCTS --bundle {out} --out COPIES)[/]")
    return 0


def write(console: Console, products: Path, out: Path, *, bundle: Path | None, writing: Writing) -> int:
    """Write copy for a file and print what became of it.

    Args:
        console: where to print.
        products: JSON lines.
        out: JSON lines to make.
        bundle: a generator bundle; the registry's champion when None.
        writing: candidates and defaults.

    Returns:
        The exit code.

    Raises:
        AdloomError: a file or the bundle is wrong, or there is no champion.
    """
    from tasks.write_copy import write_copy

    root = project_root()
    limit_threads(load_params(PARAMS_FILE).threads)
    done = write_copy(products, out, bundle=_champion(root) if bundle is None else bundle, writing=writing)
    again = f", {done.resumed} of them by an earlier run" if done.resumed else ""
    written = done.by_template - done.refused
    console.print(f"{out}: copy for {done.products} products{again}; the template wrote for {written} of them.")
    if done.untaught:
        console.print(f"[yellow]{escape(_untaught(done))}[/]")
    if done.refused:
        console.print(
            f'[yellow]{done.refused} products have no acceptable text, the template\'s neither[/]: their lines say "accepted": false, '
            'and "stopped" says why. Show none of these.'
        )
    return 0


def _untaught(done: Written) -> str:
    """For whom the template wrote because the bundle knows nothing of such products, and of which it does."""
    often = sorted(done.untaught.items(), key=lambda item: (-item[1], item[0]))
    named = ", ".join(f"{kind or 'no category'} ({count})" for kind, count in often[:MOST_KINDS]) + (
        ", …" if len(often) > MOST_KINDS else ""
    )
    taught = ", ".join(done.taught[:MOST_KINDS]) + (", …" if len(done.taught) > MOST_KINDS else "")
    return (
        f"{sum(done.untaught.values())} products are of a category that no training copy of the bundle is about: {named}. "
        f"It knows {len(done.taught)}: {taught}."
    )


def _champion(root: Path) -> Path:
    registry = Registry(root)
    champion = registry.alias("generator", CHAMPION)
    if champion is None:
        raise RegistryError("there is no champion generator: `make run` makes one, or name a bundle's folder with --bundle.")
    return registry.fetch(champion, cache_folder("champions"))
