"""Champion and challenger policy of a project: the registry's, its ledger, and the log that they are judged on."""

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.errors import BundleError, RegistryError
from core.params import load_params
from core.stage import PARAMS_FILE
from core.tracking import NullTracker
from models.cache import cache_folder
from models.policies.served import ServedPolicy
from registry.ledger import Action, Entry, Ledger
from registry.models import CHALLENGER, CHAMPION, POLICY, Registered, Registry
from registry.runs import run_for
from serving.export import Log, log_id
from serving.policy_log import last_row
from serving.settings import log_of

_ANOTHER = "a challenger is another policy, or has another floor (--exploration)."


@dataclass(frozen=True)
class Held:
    """A registered policy.

    Attributes:
        registered: its version in the registry.
        policy: what it is.
    """

    registered: Registered
    policy: ServedPolicy

    def __str__(self) -> str:
        return f"policy {self.registered.version} ({self.policy.version})"


class Contest:
    """The registry's policies and the log of one project.

    Args:
        root: the project's folder.

    Raises:
        RegistryError: the store cannot be read.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.registry = Registry(root)
        self.ledger = Ledger(self.registry, root)
        self.log: Log = log_of(root)

    def held(self, alias: str) -> Held | None:
        """The policy that an alias stands for.

        Args:
            alias: ``champion`` or ``challenger``.

        Raises:
            BundleError: this code cannot run it.
            RegistryError: the store refuses.
        """
        found = self.registry.alias(POLICY, alias)
        return None if found is None else self.of(found)

    def runnable(self, alias: str) -> Held | None:
        """The same, and None too where this code cannot run it: what is registered next takes its place.

        Args:
            alias: ``champion`` or ``challenger``.

        Raises:
            RegistryError: the store refuses.
        """
        try:
            return self.held(alias)
        except BundleError:
            return None

    def of(self, registered: Registered) -> Held:
        """A version with its policy.

        Args:
            registered: the version.

        Raises:
            BundleError: this code cannot run it.
            RegistryError: its files cannot be had.
        """
        return Held(registered, ServedPolicy.load(self.registry.fetch(registered, cache_folder("bundles"))))

    def register(self, policy: ServedPolicy) -> Held:
        """Register a policy, once by content.

        Args:
            policy: what to register.

        Raises:
            RegistryError: the store refuses, or the registered policy does not answer.
        """
        with tempfile.TemporaryDirectory() as folder, run_for(NullTracker(), self.registry) as run_id:
            policy.save(Path(folder) / POLICY)
            return Held(self.registry.register(POLICY, Path(folder) / POLICY, run_id=run_id, tags={"policy": policy.version}), policy)

    def mark(self) -> dict[str, Any]:
        """Where the log stands now, for the ledger."""
        return {"log": log_id(self.log), "after": last_row(self.log)}

    def since(self, action: Action, registered: Registered) -> int | None:
        """The log's row at which something happened to a version last; 0 in another log than it happened in, None when it never did.

        Args:
            action: what happened.
            registered: the version.
        """
        for entry in reversed(self.ledger.entries(POLICY)):
            if (entry.action, entry.version) == (action, registered.version):
                return int(entry.verdict.get("after", 0)) if entry.verdict.get("log") == log_id(self.log) else 0
        return None

    def write(
        self,
        action: Action,
        registered: Registered,
        *,
        before: Registered | None,
        reasons: tuple[str, ...],
        verdict: dict[str, Any] | None = None,
    ) -> Entry:
        """Add a line to the ledger, and return it.

        Args:
            action: what happened.
            registered: to which policy.
            before: the champion before.
            reasons: why.
            verdict: its figures; where the log stands is added.

        Raises:
            RegistryError: the store refuses.
        """
        self.ledger.write(action, registered, before=before, reasons=reasons, verdict=self.mark() | (verdict or {}))
        return self.ledger.entries(POLICY, limit=1)[-1]


def challenge(root: Path, policy: ServedPolicy) -> Entry:
    """Let a policy challenge the champion: the service asks it about every slate, and the canary's users are served by it.

    Without a champion that this code can run, the policy of params.yaml becomes it: it is what serves.

    Args:
        root: the project's folder.
        policy: the challenger; one that stands already is replaced.

    Returns:
        The ledger's new entry: of the challenge, or that the policy is champion now, in the place of one that this code cannot run.

    Raises:
        ParamsError: params.yaml is wrong.
        RegistryError: the policy is champion, serves without one, or challenges already; or the store refuses.
    """
    contest = Contest(root)
    champion = contest.runnable(CHAMPION)
    if champion is None:
        before = contest.registry.alias(POLICY, CHAMPION)
        place = "champion by default" if before is None else f"in the place of policy {before.version}, which this code cannot run"
        params = load_params(root / PARAMS_FILE).serving
        default = ServedPolicy(params.policy, params.exploration)
        if before is None and policy == default:
            raise RegistryError(f"the policy of params.yaml ({default.version}) serves already; {_ANOTHER}")
        champion = contest.register(default)
        contest.registry.point(champion.registered, CHAMPION)
        promoted = contest.write("promoted", champion.registered, before=None, reasons=(f"the policy of params.yaml, {place}",))
        if policy == champion.policy and before is not None:
            return promoted
    if policy == champion.policy:
        raise RegistryError(f"{champion} is champion; {_ANOTHER}")
    stood, standing = contest.registry.alias(POLICY, CHALLENGER), contest.runnable(CHALLENGER)
    if standing is not None and standing.policy == policy:
        raise RegistryError(f"{standing} challenges already; `adloom promote policy` says what its log is worth so far.")
    challenger = contest.register(policy)
    contest.registry.point(challenger.registered, CHALLENGER)
    told = f"challenges {champion}"
    if stood is not None:
        told += f", in the place of {standing or f'policy {stood.version}, which this code cannot run'}"
    return contest.write("challenged", challenger.registered, before=champion.registered, reasons=(told,))


def withdraw(root: Path) -> Entry:
    """End a challenge by hand: the service asks the challenger no more, and the canary's users go back to the champion.

    Args:
        root: the project's folder.

    Returns:
        The ledger's new entry.

    Raises:
        RegistryError: nobody challenges, or the store refuses.
    """
    contest = Contest(root)
    challenger = contest.registry.alias(POLICY, CHALLENGER)
    if challenger is None:
        raise RegistryError("no policy challenges the champion: there is nothing to withdraw. `adloom ledger policy` says what was.")
    contest.registry.free(POLICY, CHALLENGER)
    return contest.write("ended", challenger, before=contest.registry.alias(POLICY, CHAMPION), reasons=("withdrawn by hand",))
