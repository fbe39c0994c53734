"""What the service is told at its start: parameters, and where its files are."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from core.params import ServingParams, load_params
from core.stage import PARAMS_FILE, path_of, read_graph
from serving.tokens import Tokens

DATABASE = Path("data") / "live" / "serving.sqlite"
SPILL = "spill.sqlite"
LOG_URL = "ADLOOM_LOG_URL"
STATE_URL = "ADLOOM_STATE_URL"
FETCHED = Path("data") / "cache" / "bundles"
BODY_LIMIT = 256 * 1024
"""Bytes of a request's body at the most."""

GROUP = 16
"""Requests for ads that are decided and committed together at the most."""

GATHER_SECONDS = 0.004
"""How long a group waits at the most for requests that were in the air a group ago."""


@dataclass(frozen=True)
class CleanData:
    """The clean tables that online state starts from.

    Attributes:
        lineage: lineage.json; says whose key hashed the users and when the data end.
        events: behaviour so far.
        impressions: ads shown so far.
        copies: texts of the ads.
    """

    lineage: Path
    events: Path
    impressions: Path
    copies: Path


@dataclass(frozen=True)
class Settings:
    """Everything that `create_app` needs.

    Attributes:
        root: the project's folder; the registry is found from here.
        params: the section `serving` of params.yaml.
        conversion_window: feedback later than this after its impression is refused.
        data: the clean tables.
        database: where events, decisions and feedback are kept.
        fetched: where bundles from the registry are kept, by content.
        bundles: a folder with the bundles recommender, generator, ranker and pool; None: the champions of the registry.
        tokens: who may ask for what; none: everybody for everything.
        log_url: of a PostgreSQL database that keeps the log in the file's place.
        state_url: of a Redis that workers share what is known of shoppers through.
    """

    root: Path
    params: ServingParams
    conversion_window: timedelta
    data: CleanData
    database: Path
    fetched: Path
    bundles: Path | None = None
    tokens: Tokens = field(default_factory=Tokens)
    log_url: str | None = None
    state_url: str | None = None

    @property
    def log(self) -> Path | str:
        """Where events, decisions and feedback are kept: the file, or a server's address."""
        return self.log_url or self.database

    @property
    def spill(self) -> Path:
        """Where decisions wait that the log's server could not take."""
        return self.database.with_name(SPILL)

    @classmethod
    def of_project(cls, root: Path, *, bundles: Path | None = None) -> "Settings":
        """The settings of a project: its params.yaml and the paths of its dvc.yaml.

        Args:
            root: the project's folder.
            bundles: see the attributes.

        Raises:
            ParamsError: params.yaml is wrong.
            ServiceError: a token of the environment is too short.
            StageError: dvc.yaml lists no such file.
        """
        params = load_params(root / PARAMS_FILE)
        graph = read_graph(root / "dvc.yaml")
        names = ("lineage", "events", "impressions", "copies")
        return cls(
            root=root,
            params=params.serving,
            conversion_window=timedelta(days=params.prepare.conversion_window_days),
            data=CleanData(**{name: root / path_of(name, graph) for name in names}),
            database=root / DATABASE,
            fetched=root / FETCHED,
            bundles=bundles,
            tokens=Tokens.of_environment(),
            log_url=os.environ.get(LOG_URL) or None,
            state_url=os.environ.get(STATE_URL) or None,
        )


def log_of(root: Path, environment: Mapping[str, str] = os.environ) -> Path | str:
    """Where a project's service keeps its log: a file, or what ADLOOM_LOG_URL says.

    Args:
        root: the project's folder.
        environment: the process's own unless a test gives another.
    """
    return environment.get(LOG_URL) or root / DATABASE
