"""What a bundle is: a folder with config.json, safetensors and tables. No pickle is written or read."""

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from core.errors import BundleError
from core.files import read_json, read_table, write_beside, write_json

FORMAT_VERSION = 1
CONFIG = "config.json"


@contextmanager
def writing_bundle(path: Path, kind: str, config: Mapping[str, object]) -> Iterator[Path]:
    """A draft folder that becomes the bundle when the block ends without an error.

    Args:
        path: the bundle's folder; what stands there is replaced, whole or not at all.
        kind: what the bundle is, such as ``recommender``; reading checks it.
        config: what config.json shall hold besides ``kind`` and ``format_version``; JSON values only.

    Yields:
        The draft folder; config.json is in it already.
    """
    with write_beside(path) as draft:
        draft.mkdir()
        write_json({**config, "kind": kind, "format_version": FORMAT_VERSION}, draft / CONFIG)
        yield draft


def read_config(path: Path, kind: str) -> dict[str, Any]:
    """The config.json of a bundle, checked.

    Args:
        path: the bundle's folder.
        kind: what the bundle must be.

    Returns:
        The configuration, ``kind`` and ``format_version`` included.

    Raises:
        BundleError: no such folder, no readable config.json, another kind, or another format version.
    """
    if not (path / CONFIG).is_file():
        raise BundleError(f"{path}: no {CONFIG}, so no bundle. Run the stage that writes it, for instance `dvc repro`.")
    try:
        config = read_json(path / CONFIG)
    except ValueError as error:
        raise BundleError(f"{path / CONFIG}: not JSON ({error}). Write the bundle again.") from None
    if config.get("kind") != kind:
        raise BundleError(f"{path}: a bundle of kind {config.get('kind')!r}; {kind!r} is needed.")
    if config.get("format_version") != FORMAT_VERSION:
        raise BundleError(
            f"{path}: format version {config.get('format_version')!r}, this code reads {FORMAT_VERSION}. "
            "Train again, or use the code that wrote it."
        )
    return config


def save_arrays(arrays: Mapping[str, np.ndarray], path: Path) -> None:
    """Write named arrays as safetensors, whole or not at all; equal arrays give equal bytes.

    Args:
        arrays: by name.
        path: the file to make.
    """
    with write_beside(path) as draft:
        save_file({name: np.asarray(arrays[name], order="C") for name in sorted(arrays)}, draft)


def load_arrays(path: Path) -> dict[str, np.ndarray]:
    """Read named arrays that `save_arrays` wrote.

    Args:
        path: the file.

    Raises:
        BundleError: no such file, or a truncated one.
    """
    try:
        arrays: dict[str, np.ndarray] = load_file(path)
    except FileNotFoundError:
        raise BundleError(f"{path}: no such file; the bundle is incomplete. Run the stage that writes it again.") from None
    except SafetensorError as error:
        raise BundleError(f"{path}: not readable as safetensors ({error}). Run the stage that writes it again.") from None
    return arrays


def load_table(path: Path) -> pd.DataFrame:
    """Read a table of a bundle.

    Args:
        path: the Parquet file.

    Raises:
        BundleError: no such file.
    """
    if not path.is_file():
        raise BundleError(f"{path}: no such file; the bundle is incomplete. Run the stage that writes it again.")
    return read_table(path)


def copy_bundle(source: Path, target: Path) -> None:
    """Put a copy of a bundle inside another one's draft.

    Args:
        source: a bundle's folder.
        target: where the copy shall stand.

    Raises:
        BundleError: ``source`` is no bundle.
    """
    if not (source / CONFIG).is_file():
        raise BundleError(f"{source}: no {CONFIG}, so no bundle. Run the stage that writes it.")
    with write_beside(target) as draft:
        shutil.copytree(source, draft)
