"""Where MLflow keeps things: the server that MLFLOW_TRACKING_URI names, else mlruns/ in the project's folder."""

import contextlib
import importlib.util
import os
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from core.errors import RegistryError

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

URI_VARIABLE = "MLFLOW_TRACKING_URI"
EXPERIMENT = "adloom"
LEDGER_EXPERIMENT = "adloom-ledger"
_PATH_COLUMNS = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
    ("logged_models", "artifact_location"),
)


def database_path(root: Path) -> Path:
    """The local store's SQLite file.

    Args:
        root: the project's folder.
    """
    return root / "mlruns" / "mlflow.db"


def artifact_root(root: Path) -> Path:
    """The folder that the local store keeps files in.

    Args:
        root: the project's folder.
    """
    return root / "mlruns" / "artifacts"


def is_local(root: Path) -> bool:
    """Whether runs go to the project's own store and not to a server of the user's choice.

    Args:
        root: the project's folder.
    """
    return tracking_uri(root) == _local_uri(root)


def tracking_uri(root: Path) -> str:
    """MLFLOW_TRACKING_URI if it is set, else an absolute SQLite address under mlruns/.

    Args:
        root: the project's folder.
    """
    return os.environ.get(URI_VARIABLE, "").strip() or _local_uri(root)


def _local_uri(root: Path) -> str:
    return f"sqlite:///{database_path(root.resolve()).as_posix()}"


def check_store(root: Path) -> None:
    """Refuse a local store that this MLflow cannot read, and mend one whose folder was moved. Imports no MLflow.

    Args:
        root: the project's folder.

    Raises:
        RegistryError: the store was written by a newer MLflow, or is no SQLite database.
    """
    database = database_path(root)
    if not is_local(root) or not database.exists() or database.stat().st_size == 0:
        return
    try:
        with closing(sqlite3.connect(database, timeout=20)) as connection:
            _check_version(connection, database)
            _relocate(connection, root)
    except sqlite3.DatabaseError as error:
        raise RegistryError(f"{database}: cannot be read as an MLflow store ({error}). Move mlruns/ aside, and run again.") from None


def _check_version(connection: sqlite3.Connection, database: Path) -> None:
    if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'alembic_version'").fetchone():
        return
    row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    known = _known_versions()
    if row and row[0] not in known:
        raise RegistryError(
            f"{database}: schema {row[0]} is none of the {len(known)} that the installed MLflow knows: a newer MLflow wrote it. "
            f"Install that MLflow, move mlruns/ aside, or set {URI_VARIABLE} to another store."
        )


def _known_versions() -> set[str]:
    spec = importlib.util.find_spec("mlflow")  # finds the folder without importing it
    if spec is None or not spec.submodule_search_locations:
        raise RegistryError("MLflow is not installed; run `make setup`.")
    folder = Path(spec.submodule_search_locations[0]) / "store" / "db_migrations" / "versions"
    return {file.name.partition("_")[0] for file in folder.glob("*_*.py")}


def _relocate(connection: sqlite3.Connection, root: Path) -> None:
    """Artifact addresses are stored absolute: follow the project's folder when it was moved or copied."""
    row = connection.execute("SELECT artifact_location FROM experiments WHERE name = ?", (EXPERIMENT,)).fetchone()
    now = artifact_root(root.resolve()).as_uri()
    tail = f"/{EXPERIMENT}"
    if row is None or not str(row[0]).endswith(f"/mlruns/artifacts{tail}") or row[0] == now + tail:
        return
    before = str(row[0]).removesuffix(tail)
    with connection:
        for table, column in _PATH_COLUMNS:
            if any(found[1] == column for found in connection.execute(f"PRAGMA table_info({table})")):
                connection.execute(
                    f"UPDATE {table} SET {column} = ? || substr({column}, ?) WHERE substr({column}, 1, ?) = ?",
                    (now, len(before) + 1, len(before), before),
                )


def open_client(root: Path) -> "MlflowClient":
    """A client of the store, which is made when it does not exist; MLflow's fluent calls go to the same store.

    Args:
        root: the project's folder.

    Raises:
        RegistryError: see `check_store`; or the server does not answer, or the store needs `mlflow db upgrade`.
    """
    check_store(root)
    database_path(root).parent.mkdir(parents=True, exist_ok=True)
    with store_errors(root):
        import mlflow
        from mlflow.tracking import MlflowClient

        uri, wish = tracking_uri(root), os.environ.get(URI_VARIABLE)
        mlflow.set_tracking_uri(uri)
        mlflow.set_registry_uri(uri)
        if wish is None:
            os.environ.pop(URI_VARIABLE, None)  # MLflow sets it, and then our default would look like the user's wish
        client = MlflowClient(tracking_uri=uri, registry_uri=uri)
        client.search_experiments(max_results=1)
    return client


def experiment_id(client: "MlflowClient", name: str, root: Path) -> str:
    """The id of an experiment, which is made (and brought back from deletion) when needed.

    Args:
        client: see `open_client`.
        name: the experiment's name.
        root: the project's folder.

    Raises:
        RegistryError: the store refuses.
    """
    with store_errors(root):
        found = client.get_experiment_by_name(name)
        if found is None:
            location = (artifact_root(root.resolve()) / name).as_uri() if is_local(root) else None
            with contextlib.suppress(Exception):  # another process made it in between
                return str(client.create_experiment(name, artifact_location=location))
            found = client.get_experiment_by_name(name)
        if found is None:
            raise RegistryError(f"{tracking_uri(root)}: experiment {name!r} cannot be made; look into the server's log.")
        if found.lifecycle_stage == "deleted":
            client.restore_experiment(found.experiment_id)
        return str(found.experiment_id)


def ui_command(root: Path, port: int) -> list[str]:
    """The command that opens the MLflow UI over the store (`mlflow ui` by itself ignores MLFLOW_TRACKING_URI).

    Args:
        root: the project's folder.
        port: on loopback.

    Raises:
        RegistryError: see `check_store`.
    """
    check_store(root)
    artifacts = ["--default-artifact-root", artifact_root(root.resolve()).as_uri()] if is_local(root) else []
    where = ["--backend-store-uri", tracking_uri(root), *artifacts, "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    return [sys.executable, "-m", "mlflow", "server", *where]


@contextmanager
def store_errors(root: Path) -> Iterator[None]:
    """Turn what MLflow and its database raise into a RegistryError that names the store and the next step.

    Args:
        root: the project's folder.

    Raises:
        RegistryError: the block raised an error of MLflow, its database or the connection.
    """
    try:
        yield
    except RegistryError:
        raise
    except Exception as error:
        if type(error).__module__.split(".")[0] not in {"mlflow", "sqlalchemy", "alembic", "requests", "urllib3"}:
            raise
        text = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        uri = tracking_uri(root)
        step = f"mend it with `mlflow db upgrade {uri}`" if "upgrade" in str(error) else f"check {URI_VARIABLE} and that the store is up"
        raise RegistryError(f"{uri}: {text} ({step}).") from error
