"""Bundles in the model registry: registered once by content, aliased, fetched."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.errors import RegistryError
from core.files import content_hash, write_beside
from registry.store import EXPERIMENT, experiment_id, open_client, store_errors, tracking_uri

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion

logger = logging.getLogger(__name__)

KINDS = ("recommender", "generator", "ranker", "pool")
"""What answers together; each is registered as ``adloom-<kind>``."""
POLICY = "policy"
REGISTERED = (*KINDS, POLICY)
"""What is registered. A policy's champion may be absent: params.yaml says then which one serves."""
CHAMPION, CHALLENGER = "champion", "challenger"
HASH_TAG = "bundle_hash"
CHECK_TAG = "check"
REQUIREMENTS = ("numpy", "pandas", "pyarrow", "safetensors", "scikit-learn", "tokenizers", "torch", "transformers")
"""What a bundle needs to answer, beside Adloom's own code, which travels with it."""


@dataclass(frozen=True)
class Registered:
    """One version of a registered bundle.

    Attributes:
        kind: one of `REGISTERED`.
        version: MLflow's number, from 1.
        bundle_hash: SHA-256 of the bundle's files.
    """

    kind: str
    version: int
    bundle_hash: str

    def __str__(self) -> str:
        return f"{model_name(self.kind)} version {self.version} ({self.bundle_hash[:12]})"


def model_name(kind: str) -> str:
    """The name in the registry.

    Args:
        kind: one of `REGISTERED`.

    Raises:
        ValueError: no such kind.
    """
    if kind not in REGISTERED:
        raise ValueError(f"no kind {kind!r}; kinds are {', '.join(REGISTERED)}")
    return f"adloom-{kind}"


class Registry:
    """The registered bundles of one store."""

    def __init__(self, root: Path) -> None:
        """Args: the project's folder.

        Raises:
            RegistryError: the store cannot be read.
        """
        self._root = root
        self.client = open_client(root)

    def experiment(self) -> str:
        """The id of the experiment that loops are recorded in.

        Raises:
            RegistryError: the store refuses.
        """
        return experiment_id(self.client, EXPERIMENT, self._root)

    def alias(self, kind: str, alias: str) -> Registered | None:
        """The version that an alias stands for.

        Args:
            kind: one of `REGISTERED`.
            alias: ``champion`` or ``challenger``.

        Returns:
            None when there is none.

        Raises:
            RegistryError: the store refuses.
        """
        name = model_name(kind)
        with store_errors(self._root):
            try:
                aliases = self.client.get_registered_model(name).aliases
            except Exception as error:
                if getattr(error, "error_code", "") == "RESOURCE_DOES_NOT_EXIST":
                    return None
                raise
            if alias not in aliases:
                return None
            return _registered(kind, self.client.get_model_version(name, str(aliases[alias])))

    def version(self, kind: str, version: int) -> Registered:
        """A version by its number.

        Args:
            kind: one of `REGISTERED`.
            version: from 1.

        Raises:
            RegistryError: there is no such version.
        """
        name = model_name(kind)
        with store_errors(self._root):
            try:
                return _registered(kind, self.client.get_model_version(name, str(version)))
            except Exception as error:
                if getattr(error, "error_code", "") not in {"RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"}:
                    raise
            held = sorted(int(found.version) for found in self.client.search_model_versions(f"name = '{name}'"))
        there = "there is none yet" if not held else f"there are {held[0]} to {held[-1]}" if len(held) > 1 else f"there is {held[0]} only"
        raise RegistryError(f"no version {version} of the {kind}; {there}. `adloom ledger {kind}` says what became of each.")

    def find(self, kind: str, bundle_hash: str) -> Registered | None:
        """The checked version that holds these very files.

        Args:
            kind: one of `REGISTERED`.
            bundle_hash: see `core.files.content_hash`.

        Raises:
            RegistryError: the store refuses.
        """
        with store_errors(self._root):
            found = self.client.search_model_versions(f"name = '{model_name(kind)}' and tags.{HASH_TAG} = '{bundle_hash}'")
        checked = [version for version in found if version.tags.get(CHECK_TAG) == "passed"]
        return _registered(kind, min(checked, key=lambda version: int(version.version))) if checked else None

    def register(self, kind: str, bundle: Path, *, run_id: str, tags: Mapping[str, str]) -> Registered:
        """Register a bundle as models-as-code, and check that what was registered loads and answers.

        A bundle whose very files are registered already is not registered again.

        Args:
            kind: one of `REGISTERED`.
            bundle: its folder.
            run_id: the run that the version belongs to.
            tags: further words on the version.

        Raises:
            RegistryError: the store refuses, or the registered model does not load or answer; no alias has moved.
        """
        bundle_hash = content_hash(bundle)
        known = self.find(kind, bundle_hash)
        if known is not None:
            return known
        version = self._log(kind, bundle, run_id, {**tags, HASH_TAG: bundle_hash})
        registered = Registered(kind, version, bundle_hash)
        try:
            self._check(registered)
        except Exception as error:
            with store_errors(self._root):
                self.client.set_model_version_tag(model_name(kind), str(version), CHECK_TAG, f"failed: {error}"[:500])
            raise RegistryError(
                f"{registered} was registered but does not answer ({type(error).__name__}: {error}); no alias moves to it."
            ) from error
        with store_errors(self._root):
            self.client.set_model_version_tag(model_name(kind), str(version), CHECK_TAG, "passed")
        return registered

    def point(self, registered: Registered, alias: str) -> None:
        """Let an alias stand for a version.

        Args:
            registered: the version.
            alias: ``champion`` or ``challenger``.

        Raises:
            RegistryError: the store refuses.
        """
        with store_errors(self._root):
            self.client.set_registered_model_alias(model_name(registered.kind), alias, str(registered.version))

    def free(self, kind: str, alias: str) -> None:
        """Let an alias stand for nothing.

        Args:
            kind: one of `REGISTERED`.
            alias: ``champion`` or ``challenger``; need not be there.

        Raises:
            RegistryError: the store refuses.
        """
        if self.alias(kind, alias) is not None:
            with store_errors(self._root):
                self.client.delete_registered_model_alias(model_name(kind), alias)

    def fetch(self, registered: Registered, cache: Path) -> Path:
        """A local copy of a registered bundle, downloaded once by content.

        Args:
            registered: the version.
            cache: folder of copies.

        Returns:
            The bundle's folder, ``cache/KIND/HASH``.

        Raises:
            RegistryError: the files are gone or differ from what was registered.
        """
        folder = cache / registered.kind / registered.bundle_hash
        if folder.exists():
            return folder
        import mlflow.artifacts

        with store_errors(self._root):
            source = self.client.get_model_version_download_uri(model_name(registered.kind), str(registered.version))
            try:
                with write_beside(folder) as draft:
                    draft.mkdir()
                    uri = f"{source.rstrip('/')}/artifacts"
                    mlflow.artifacts.download_artifacts(uri, dst_path=str(draft), tracking_uri=tracking_uri(self._root))
                    (found,) = (draft / "artifacts").iterdir()
                    if content_hash(found) != registered.bundle_hash:
                        raise RegistryError(
                            f"{registered}: the files under {source} are not those that were registered; roll back, or promote anew."
                        )
                    _lift(found, draft)
            except OSError as error:
                raise RegistryError(
                    f"{registered}: its files cannot be had from {source} ({error}); roll back, or promote anew."
                ) from error
        return folder

    def _log(self, kind: str, bundle: Path, run_id: str, tags: Mapping[str, str]) -> int:
        import mlflow

        code = Path(__file__).resolve().parents[1]
        with store_errors(self._root), mlflow.start_run(run_id=run_id):
            logged: Any = mlflow.pyfunc.log_model(
                name=kind,
                python_model=str(Path(__file__).parent / "answers" / f"{kind}.py"),
                artifacts={"bundle": str(bundle.resolve())},
                code_paths=[str(code / name) for name in ("core", "models")],
                pip_requirements=list(REQUIREMENTS),
                tags=dict(tags),
            )
            self._ensure(kind)
            version = self.client.create_model_version(
                model_name(kind), source=logged.model_uri, run_id=run_id, tags=dict(tags), model_id=logged.model_id
            )
        return int(version.version)

    def _ensure(self, kind: str) -> None:
        try:
            self.client.create_registered_model(
                model_name(kind), description=f"Adloom's {kind} bundles; docs/architecture.md says what they hold."
            )
        except Exception as error:
            if getattr(error, "error_code", "") != "RESOURCE_ALREADY_EXISTS":
                raise

    def _check(self, registered: Registered) -> None:
        """Load the registered model and let it answer its own example."""
        import sys

        import mlflow

        path = list(sys.path)
        try:
            model = mlflow.pyfunc.load_model(f"models:/{model_name(registered.kind)}/{registered.version}")
            answer = model.predict(model.unwrap_python_model().example())
        finally:
            sys.path[:] = path  # MLflow puts the copied code first and leaves it there
        if len(answer) == 0:
            raise RegistryError("an empty answer to its own example")


def _registered(kind: str, version: "ModelVersion") -> Registered:
    return Registered(kind, int(version.version), str(version.tags.get(HASH_TAG, "")))


def _lift(inner: Path, outer: Path) -> None:
    """Move the content of outer/artifacts/NAME up into outer."""
    for entry in list(inner.iterdir()):
        entry.replace(outer / entry.name)
    inner.rmdir()
    inner.parent.rmdir()
