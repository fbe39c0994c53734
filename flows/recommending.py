"""Recommendations as the command line asks for them: which bundle, which shopper, which moment, and the table."""

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from core.environment import limit_threads, project_root
from core.errors import BundleError, RegistryError, SourceError
from core.files import read_json, read_table
from core.params import load_params
from core.stage import PARAMS_FILE, path_of
from core.vocabulary import Scene
from models.cache import cache_folder
from models.recommender.explanation import LEAST
from registry.models import CHALLENGER, CHAMPION, Registered, Registry, model_name
from tasks.recommend import Answer, Question, Row

KIND = "recommender"


def show_recommendations(
    console: Console,
    question: Question,
    *,
    user: str | None,
    history: str | None,
    at: str | None,
    bundle: Path | None,
    model: str | None,
    as_json: bool,
) -> int:
    """Print the items and why.

    Args:
        console: where to print.
        question: its moment is set here.
        user: a shopper of the clean events.
        history: see `tasks.recommend.read_history`; just one of the two is given.
        at: the moment, ISO 8601; the end of the data when None, now when there are no data.
        bundle: a folder.
        model: of the registry; just one of the two, or none for the champion.
        as_json: print JSON instead.

    Returns:
        The exit code.

    Raises:
        SourceError: both or neither of user and history, or what they name is wrong; a brand in another scene than brand.
        AdloomError: there is no such bundle, or no campaigns to look at.
    """
    if (user is None) == (history is None):
        raise SourceError("whose items? Give --user ID or --history EVENTS, and not both.")
    if bundle is not None and model is not None:
        raise SourceError("--bundle and --model both name a bundle; give one of them.")
    if question.brand is not None and question.scene != Scene.BRAND:
        raise SourceError(
            f"--brand {question.brand!r} belongs to scene brand, asked is scene {question.scene}: add --scene brand, or leave --brand out."
        )
    from models.pool import campaigns_of
    from models.recommender import RecommenderBundle
    from tasks.recommend import history_of_user, read_history, recommend, running_now

    limit_threads(load_params(PARAMS_FILE).threads)
    lineage = path_of("lineage")
    asked = replace(question, moment=_moment(at, lineage))
    if user is not None:
        known = history_of_user(user, events=path_of("events"), lineage=lineage, moment=asked.moment)
    else:
        known = read_history(history or "", asked.moment)
    folder, named = _folder(bundle, model)
    opened = RecommenderBundle.load(folder)
    running = {}
    if asked.scene == Scene.PROMOTION:
        audience = opened.audience_of(opened.user_feature([known], asked.moment))[0]
        held = campaigns_of(read_table(path_of("campaigns")))
        running = running_now(held, opened.scenes.categories, audience=audience, moment=asked.moment)
    answer = recommend(opened, known, asked, running, loaded_from=named)
    if as_json:
        print(json.dumps(answer.as_dict(), ensure_ascii=False))  # noqa: T201 - this is the command's output
    else:
        _print(console, answer)
    return 0


def _moment(at: str | None, lineage: Path) -> int:
    if at is not None:
        try:
            moment = datetime.fromisoformat(at)
        except ValueError:
            raise SourceError(f"--at {at!r} is not ISO 8601, such as 2026-11-01T12:00:00.") from None
    elif lineage.is_file():
        moment = datetime.fromisoformat(str(read_json(lineage)["end"]))
    else:
        moment = datetime.now(UTC)
    return round((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1_000_000) + 1


def _folder(bundle: Path | None, model: str | None) -> tuple[Path, str]:
    """A bundle's folder, and its name: the folder's own, or its version in the registry and what it is there."""
    if bundle is not None:
        inner = bundle / KIND
        folder = inner if inner.is_dir() else bundle
        return folder, str(folder)
    registry = Registry(project_root())
    found = _registered(registry, model or CHAMPION)
    roles = [alias for alias in (CHAMPION, CHALLENGER) if registry.alias(KIND, alias) == found]
    return registry.fetch(found, cache_folder("champions")), f"version {found.version}" + (f", {' and '.join(roles)}" if roles else "")


def _registered(registry: Registry, model: str) -> Registered:
    """An alias, a version, or MLflow's address of either."""
    named = model
    for prefix in (f"models:/{model_name(KIND)}@", f"models:/{model_name(KIND)}/"):
        named = named.removeprefix(prefix)
    if named.isdigit():
        return registry.version(KIND, int(named))
    if "/" in named or ":" in named:
        raise BundleError(f"--model {model!r}: only {model_name(KIND)} recommends; write models:/{model_name(KIND)}@{CHAMPION}.")
    found = registry.alias(KIND, named)
    if found is None:
        raise RegistryError(f"there is no {named} recommender: `make run` makes one, or name a bundle's folder with --bundle.")
    return found


def _print(console: Console, answer: Answer) -> None:
    console.print(f"[bold]{answer.model}[/] ({escape(answer.bundle)}) for a shopper of {answer.events} known events, scene {answer.scene}")
    if answer.caution:
        console.print(f"[yellow]{answer.caution}[/]")
    if answer.unknown:
        console.print(f"[yellow]not in the catalogue[/]: {escape(', '.join(answer.unknown[:5]))}")
    if answer.unknown_excluded:
        console.print(
            f"[yellow]--exclude: not in the catalogue, nothing was left out for it[/]: {escape(', '.join(answer.unknown_excluded[:5]))}"
        )
    shares = [f"{source} {share:.0%}" for source, share in answer.gates.items() if share > 0]
    if shares:
        console.print(f"user feature F: {', '.join(shares)}")
    table = Table("#", "item", "title", "score", "P", "carried by (fall of the score without it)", "parts of the score")
    for row in answer.rows:
        title = escape(row.title) + (f"\n[dim]{escape(row.campaign)}[/]" if row.campaign else "")
        table.add_row(str(row.rank), escape(row.item_id), title, f"{row.score:+.2f}", f"{row.probability:.2%}", _events(row), _parts(row))
    if answer.rows:
        console.print(table)
        console.print(
            "[dim]A score is a logit less the mean of all items' logits; its parts sum to it. P is over what may be shown here.[/]"
        )
    else:
        console.print("nothing may be shown: no item fits the scene, or all are excluded, bought or out of stock.")


def _events(row: Row) -> str:
    return "\n".join(f"{signed(fall)} {escape(words)}" for words, fall in row.events) or "[dim]no event raised it[/]"


def _parts(row: Row) -> str:
    return "\n".join(f"{signed(value)} {name}" for name, value in row.parts.items())


def signed(value: float) -> str:
    """Two decimals, or the first digit where these would show nothing of it; the last digits of a sum are nothing.

    Args:
        value: a part of a score.
    """
    return f"{value:+.1g}" if LEAST <= abs(value) < 0.005 else f"{value:+.2f}"
