"""Who was champion when, and why: append-only, kept in MLflow itself, so that a remote server works too."""

import getpass
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, get_args

from core.errors import RegistryError
from registry.models import CHAMPION, REGISTERED, Registered, Registry
from registry.store import LEDGER_EXPERIMENT, experiment_id, store_errors

Action = Literal["promoted", "refused", "rolled back", "challenged", "ended"]
_REIGNS = ("promoted", "rolled back")
"""Actions after which the entry's version is champion."""
_PIECE = 5000
"""Characters of a verdict in one tag: a tag holds 8,000 bytes or characters at the most, depending on the store."""


@dataclass(frozen=True)
class Entry:
    """One line of the ledger.

    Attributes:
        at: when it was written, UTC.
        kind: recommender, generator, ranker, pool or policy.
        action: what happened; a policy is also ``challenged`` with, and its canary ``ended``.
        version: the version that it is about: the new champion, or the challenger.
        bundle_hash: that version's files.
        before: the champion's version before; None when there was none.
        reasons: why, one sentence each.
        by: who ran it.
        verdict: what was decided, in full; empty for a rollback by hand.
    """

    at: datetime
    kind: str
    action: Action
    version: int
    bundle_hash: str
    before: int | None
    reasons: tuple[str, ...]
    by: str
    verdict: dict[str, Any]


class Ledger:
    """The ledger of one store."""

    def __init__(self, registry: Registry, root: Path) -> None:
        """Args: the store's registry, and the project's folder."""
        self._client = registry.client
        self._root = root
        self._experiment = experiment_id(self._client, LEDGER_EXPERIMENT, root)

    def write(
        self,
        action: Action,
        registered: Registered,
        *,
        before: Registered | None,
        reasons: Sequence[str],
        verdict: dict[str, Any] | None = None,
    ) -> None:
        """Add an entry; none is ever changed.

        Args:
            action: what happened.
            registered: the version that it is about.
            before: the champion before.
            reasons: why.
            verdict: what promote decided, in full.

        Raises:
            RegistryError: the store refuses.
        """
        tags = {
            "mlflow.runName": f"{registered.kind} {registered.version} {action}",
            "ledger.kind": registered.kind,
            "ledger.action": action,
            "ledger.version": str(registered.version),
            "ledger.bundle_hash": registered.bundle_hash,
            "ledger.before": "" if before is None else str(before.version),
            "ledger.reasons": json.dumps(list(reasons), ensure_ascii=False),
            "ledger.by": _user(),
        }
        told = json.dumps(verdict or {}, ensure_ascii=False, sort_keys=True)
        tags |= {f"ledger.verdict.{start // _PIECE}": told[start : start + _PIECE] for start in range(0, len(told), _PIECE)}
        with store_errors(self._root):
            run = self._client.create_run(self._experiment, tags={key: value[:8000] for key, value in tags.items()})
            self._client.set_terminated(run.info.run_id)

    def entries(self, kind: str | None = None, *, limit: int = 1000) -> list[Entry]:
        """What was written, oldest first.

        Args:
            kind: only this kind's entries.
            limit: at most so many of the latest.

        Raises:
            RegistryError: the store refuses.
        """
        wanted = f"tags.`ledger.kind` = '{kind}'" if kind else "tags.`ledger.kind` != ''"
        with store_errors(self._root):
            runs = self._client.search_runs([self._experiment], wanted, max_results=limit, order_by=["attributes.start_time DESC"])
        return [_entry(run.data.tags, run.info.start_time) for run in reversed(runs)]

    def champion_verdict(self, registered: Registered) -> dict[str, Any] | None:
        """The verdict with which a version became champion for the last time.

        Args:
            registered: the version.
        """
        for entry in reversed(self.entries(registered.kind)):
            if entry.action == "promoted" and entry.version == registered.version:
                return entry.verdict
        return None

    def says(self, action: Action, registered: Registered, *, before: Registered | None) -> bool:
        """Whether the latest entry of a kind tells this very thing already.

        Args:
            action: what happened.
            registered: the version that it is about.
            before: the champion before.
        """
        entries = self.entries(registered.kind, limit=1)
        known = before.version if before is not None else None
        return bool(entries) and (entries[0].action, entries[0].version, entries[0].before) == (action, registered.version, known)

    def rolled_back(self, registered: Registered) -> Entry | None:
        """The rollback that took the championship from a version, if nobody has given it back since.

        Args:
            registered: the version.
        """
        found = None
        for entry in self.entries(registered.kind):
            if entry.action == "rolled back" and entry.before == registered.version:
                found = entry
            elif entry.action in _REIGNS and entry.version == registered.version:
                found = None
        return found


def roll_back(
    root: Path,
    kind: str,
    *,
    to: int | None = None,
    reason: str = "",
    verdict: dict[str, Any] | None = None,
    runs: Callable[[Registered], object] = lambda registered: None,
) -> Entry:
    """Give the championship back to an earlier version.

    Args:
        root: the project's folder.
        kind: recommender, generator, ranker, pool or policy.
        to: a version that was champion before; the champion before the present one when None.
        reason: why; goes to the ledger.
        verdict: the figures behind it; go to the ledger too.
        runs: is shown the version before anything changes; what it raises ends the rollback.

    Returns:
        The ledger's new entry.

    Raises:
        RegistryError: there is no champion or no earlier one, or the version never was champion.
    """
    if kind not in REGISTERED:
        raise RegistryError(f"no model {kind!r}; there are {', '.join(REGISTERED)}.")
    registry = Registry(root)
    ledger = Ledger(registry, root)
    champion = registry.alias(kind, CHAMPION)
    if champion is None:
        raise RegistryError(f"{kind} has no champion; `make run` or `adloom promote` makes one.")
    entries = ledger.entries(kind)
    target = to if to is not None else _earlier(entries, champion.version)
    if target is None:
        raise RegistryError(f"{champion} had no champion before it; name a version with --to.")
    if target == champion.version:
        raise RegistryError(f"{champion} is champion already.")
    reigned = sorted({entry.version for entry in entries if entry.action in _REIGNS})
    if target not in reigned:
        raise RegistryError(
            f"version {target} of {kind} never was champion: a rollback goes to one that was ({', '.join(map(str, reigned))}). "
            "A new version becomes champion by `adloom promote`."
        )
    registered = registry.version(kind, target)
    runs(registered)
    registry.point(registered, CHAMPION)
    told = reason or f"rolled back from version {champion.version} by hand"
    ledger.write("rolled back", registered, before=champion, reasons=[told], verdict=verdict)
    return ledger.entries(kind)[-1]


def _earlier(entries: Sequence[Entry], champion: int) -> int | None:
    """Walk the ledger as a stack: a promotion lays a champion on top, a rollback takes down to its target."""
    stack: list[int] = []
    for entry in entries:
        if entry.action == "promoted":
            stack.append(entry.version)
        elif entry.action == "rolled back":
            while stack and stack[-1] != entry.version:
                stack.pop()
            if not stack:
                stack.append(entry.version)
    while stack and stack[-1] == champion:
        stack.pop()
    return stack[-1] if stack else None


def _entry(tags: dict[str, str], start_ms: int) -> Entry:
    before = tags.get("ledger.before", "")
    pieces = sorted((int(key.rpartition(".")[2]), value) for key, value in tags.items() if key.startswith("ledger.verdict."))
    verdict = json.loads("".join(value for _, value in pieces) or "{}")
    action = tags["ledger.action"]
    if action not in get_args(Action):
        raise RegistryError(f"the ledger holds an action {action!r} that this version does not know; update Adloom.")
    return Entry(
        at=datetime.fromtimestamp(start_ms / 1000, tz=UTC),
        kind=tags["ledger.kind"],
        action=action,  # type: ignore[arg-type]
        version=int(tags["ledger.version"]),
        bundle_hash=tags["ledger.bundle_hash"],
        before=int(before) if before else None,
        reasons=tuple(json.loads(tags["ledger.reasons"])),
        by=tags.get("ledger.by", ""),
        verdict=verdict,
    )


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "unknown"
