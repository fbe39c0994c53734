"""Files that are whole or absent: write beside, then rename; and content hashes of files and folders."""

import contextlib
import hashlib
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import pandas as pd
import pyarrow

from core.errors import storage_error


@contextmanager
def write_beside(path: Path) -> Iterator[Path]:
    """A temporary path beside ``path`` that takes its place when the block ends without an error.

    Works for a file and for a folder. A reader sees the old content or the new, never a part; a killed
    writer leaves only a dot-file, which the next writer of the same path removes.

    Args:
        path: the final file or folder; its parent is made.

    Yields:
        The path to write to; it does not exist yet.

    Raises:
        StorageError: the disk is full or the folder cannot be written; ``path`` still holds what it held.
    """
    draft = path.with_name(f".{path.name}.draft")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove(draft)
        yield draft
        old = path.with_name(f".{path.name}.old")
        _remove(old)
        if path.is_dir():
            path.replace(old)
        draft.replace(path)
        _remove(old)
    except BaseException as error:
        with contextlib.suppress(OSError):
            _remove(draft)
        refused = storage_error(error, path)
        if refused is not None:
            raise refused from error
        raise


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def write_table(frame: pd.DataFrame, path: Path, schema: pyarrow.Schema | None = None) -> None:
    """Write a table as Parquet, whole or not at all; equal frames give equal bytes.

    Args:
        frame: the table; its index is not written.
        path: the file to make.
        schema: the Parquet types (`core.schemas.arrow_schema`), for tables whose columns may be empty; else they follow from the values.
    """
    with write_beside(path) as draft:
        frame.to_parquet(draft, index=False, compression="zstd", schema=schema)


def read_table(path: Path, columns: list[str] | None = None, *, below: tuple[str, object] | None = None) -> pd.DataFrame:
    """Read a Parquet table that one of our own stages wrote.

    Args:
        path: the file.
        columns: the columns to read; all when None.
        below: a column and a limit: only rows whose value is smaller, the others being left out while the file is read.
    """
    filters = None if below is None else [(below[0], "<", below[1])]
    return pd.read_parquet(path, columns=columns, filters=filters)


def write_json(value: object, path: Path) -> None:
    """Write JSON with sorted keys and a final newline, whole or not at all.

    Args:
        value: anything that json can write; NaN and infinity are refused.
        path: the file to make.

    Raises:
        ValueError: the value holds NaN or infinity, which JSON cannot carry.
    """
    text = json.dumps(value, ensure_ascii=False, indent=1, sort_keys=True, allow_nan=False)
    with write_beside(path) as draft:
        draft.write_text(text + "\n", encoding="utf-8")


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object that one of our own stages wrote.

    Args:
        path: the file.
    """
    return cast("dict[str, Any]", json.loads(path.read_text(encoding="utf-8")))


def content_hash(path: Path) -> str:
    """SHA-256 of a file's bytes, or of a folder's relative names and bytes in sorted order.

    Args:
        path: a file or a folder; dot-files inside a folder are left out.

    Returns:
        64 hexadecimal digits.
    """
    digest = hashlib.sha256()
    files = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file() and not p.name.startswith("."))
    for file in files:
        if file is not path:
            digest.update(file.relative_to(path).as_posix().encode() + b"\0")
        with file.open("rb") as handle:
            digest.update(hashlib.file_digest(handle, "sha256").digest())
    return digest.hexdigest()
