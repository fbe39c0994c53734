"""The models that answer: one immutable set, swapped whole when a champion changes."""

import gc
import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, Protocol, TypeVar

from core.errors import AdloomError, ServiceError
from core.files import content_hash
from models.bundle import CONFIG
from registry.models import CHALLENGER, CHAMPION, KINDS, POLICY, Registered, Registry, model_name

_log = logging.getLogger(__name__)

RIVAL = "rival"
"""Where `Source.current` names the policy that challenges."""

Models = TypeVar("Models")


@dataclass(frozen=True)
class Found:
    """A bundle that shall serve.

    Attributes:
        kind: recommender, generator, ranker, pool or policy.
        bundle_hash: SHA-256 of its files.
        version: its number in the registry, None for a folder.
    """

    kind: str
    bundle_hash: str
    version: int | None


class Source(Protocol):
    """Where bundles come from."""

    def current(self) -> dict[str, Found]:
        """Which bundles shall serve now, one of each kind; cheap enough to be asked every few seconds.

        A policy, and one that challenges it (`RIVAL`), are among them where there are some.

        Raises:
            ServiceError: some are missing; the message names them and the next step.
            RegistryError: the registry cannot be read.
        """

    def path(self, found: Found) -> Path:
        """The bundle's folder on this machine.

        Args:
            found: of `current`.

        Raises:
            RegistryError: its files cannot be had.
        """


class RegistrySource:
    """The champions of the registry."""

    def __init__(self, root: Path, fetched: Path) -> None:
        """Args: the project's folder, and where fetched bundles are kept."""
        self._root = root
        self._fetched = fetched
        self._registry: Registry | None = None

    def current(self) -> dict[str, Found]:
        """See `Source.current`."""
        self._registry = self._registry or Registry(self._root)
        aliases = {kind: self._registry.alias(kind, CHAMPION) for kind in KINDS}
        missing = [model_name(kind) for kind, registered in aliases.items() if registered is None]
        if missing:
            raise ServiceError(
                f"the registry has no champion of {', '.join(missing)}: run the loop with `make run`. What a loop trained and did not "
                "promote is in `adloom ledger` with the reason; `adloom serve --bundles data/models` serves it all the same, to look at."
            )
        aliases[POLICY] = self._registry.alias(POLICY, CHAMPION)
        if aliases[POLICY] is not None:
            aliases[RIVAL] = self._registry.alias(POLICY, CHALLENGER)
        return {place: Found(held.kind, held.bundle_hash, held.version) for place, held in aliases.items() if held is not None}

    def path(self, found: Found) -> Path:
        """See `Source.path`."""
        self._registry = self._registry or Registry(self._root)
        return self._registry.fetch(Registered(found.kind, found.version or 0, found.bundle_hash), self._fetched)


class FolderSource:
    """A folder with one bundle of each kind, such as data/models; perhaps a policy, and a rival."""

    def __init__(self, folder: Path) -> None:
        """Args: the folder."""
        self._folder = folder
        self._known: dict[str, tuple[tuple[int, int], str]] = {}

    def current(self) -> dict[str, Found]:
        """See `Source.current`. A bundle is hashed again only when its config.json is another file."""
        missing = [kind for kind in KINDS if not (self._folder / kind / CONFIG).is_file()]
        if missing:
            raise ServiceError(
                f"{self._folder}: no bundle of {', '.join(missing)}: run the stages that write them, `dvc repro` or `make run`."
            )
        policies = [kind for kind in (POLICY, RIVAL) if (self._folder / kind / CONFIG).is_file()]
        return {kind: Found(kind, self._hash(kind), None) for kind in (*KINDS, *policies)}

    def path(self, found: Found) -> Path:
        """See `Source.path`."""
        return self._folder / found.kind

    def _hash(self, kind: str) -> str:
        facts = (self._folder / kind / CONFIG).stat()
        mark = (facts.st_ino, facts.st_mtime_ns)
        if kind not in self._known or self._known[kind][0] != mark:
            self._known[kind] = (mark, content_hash(self._folder / kind))
        return self._known[kind][1]


class Champions(Generic[Models]):
    """Holds the set that serves, and looks for another one in the background.

    A request takes `current` once and keeps it to its end, so a swap drops nothing: the old set lives as long as a request
    uses it. A set that cannot be loaded never replaces one that serves.
    """

    def __init__(
        self, source: Source, load: Callable[[Mapping[str, Found], Callable[[Found], Path]], Models], *, poll_seconds: float
    ) -> None:
        """Load nothing yet; see `start`.

        Args:
            source: where bundles come from.
            load: (bundles by kind, bundle → its folder) → the set.
            poll_seconds: how often the source is asked.
        """
        self._source = source
        self._load = load
        self._poll_seconds = poll_seconds
        self._serving: tuple[dict[str, Found], Models] | None = None
        self._refused: dict[str, Found] | None = None
        self._problem = "the champions are being loaded; ask again in a few seconds"
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self.swaps = 0
        """How many sets have been put into service."""

    @property
    def current(self) -> Models | None:
        """The set that serves; None before the first one is loaded."""
        return self._serving[1] if self._serving else None

    @property
    def problem(self) -> str:
        """Why nothing serves, or why the latest champions do not; "" when all is well."""
        return self._problem

    def refresh(self) -> bool:
        """Ask the source, and load what is new.

        Returns:
            Whether another set serves now.
        """
        try:
            wanted = self._source.current()
            if self._serving is not None and wanted == self._serving[0]:
                self._problem, self._refused = "", None
                return False
            if wanted == self._refused:
                return False
            models = self._load(wanted, self._source.path)
            if self._source.current() != wanted:  # champions move one after another: take them when they have settled
                return False
        except AdloomError as problem:
            self._note(str(problem))
            return False
        except Exception as problem:  # a service that answers must not fall to a bundle that does not load
            _log.exception("the champions cannot be loaded")
            self._refused = wanted
            self._note(f"{type(problem).__name__}: {problem}; roll back with `adloom rollback`, or promote anew")
            return False
        self._serving, self._problem, self._refused = (wanted, models), "", None
        self.swaps += 1
        _set_aside()
        _log.info("serving other champions", extra={"bundles": {kind: found.bundle_hash[:12] for kind, found in wanted.items()}})
        return True

    def start(self) -> None:
        """Load and poll in the background."""
        self._thread = threading.Thread(target=self._watch, name="champions", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop polling; what serves stays."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(timeout=30)

    def _watch(self) -> None:
        while not self._stop.is_set():
            self.refresh()
            self._stop.wait(self._poll_seconds)

    def _note(self, problem: str) -> None:
        if problem != self._problem:
            _log.warning("champions: %s", problem)
        self._problem = problem


def _set_aside() -> None:
    """Take all that lives now out of the garbage collector's rounds.

    Models live until they are replaced; a round over their objects would hold up every request that falls into it.
    """
    gc.unfreeze()
    gc.collect()
    gc.freeze()
