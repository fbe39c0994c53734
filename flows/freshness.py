"""Before a loop: turn parameters, put in order what a killed loop left, and ask DVC what is to be done. No Prefect needed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from core.environment import limit_threads, project_root
from core.files import content_hash
from core.params import load_params
from core.processes import ProcessId
from core.stage import PARAMS_FILE
from flows.graph import StageGraph
from flows.housekeeping import close_runs, only_loop
from flows.overrides import Change, apply_overrides
from registry.store import check_store


@dataclass(frozen=True)
class Outlook:
    """What a loop will find.

    Attributes:
        stages: every stage, in order.
        why: of those that are not fresh as things stand, what has changed; stages after them may become so.
        changes: parameters that were turned.
        killed: the last loop, if it was killed; what it left has been put in order.
        params: hash of params.yaml, as it then was.
    """

    stages: tuple[str, ...]
    why: Mapping[str, str]
    changes: tuple[Change, ...]
    killed: ProcessId | None
    params: str

    @property
    def stale(self) -> tuple[str, ...]:
        """The stages that are not fresh, in order."""
        return tuple(self.why)


def look_ahead(overrides: Sequence[str] = (), *, profile: str | None = None, fragment: Path | None = None) -> Outlook:
    """Turn parameters and ask DVC what is to be done.

    Args:
        overrides: ``section.key=value``.
        profile: a profile of profiles.yaml.
        fragment: a YAML file of some sections and keys.

    Raises:
        AdloomError: parameters, dvc.yaml or the MLflow store are wrong, or another loop runs here.
    """
    root = project_root()
    with only_loop(root) as killed:
        changes = apply_overrides(overrides, profile=profile, fragment=fragment)
        limit_threads(load_params(PARAMS_FILE).threads)
        check_store(root)
        graph = StageGraph(Path.cwd())
        try:
            if killed is not None:
                graph.forget_locks_of(killed)
                close_runs(root)
            return Outlook(tuple(graph.order()), graph.stale(), tuple(changes), killed, content_hash(PARAMS_FILE))
        finally:
            graph.close()
