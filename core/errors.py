"""Every error that Adloom raises about data, params or state. A wrong *call* raises ValueError instead.

    AdloomError
    ├── ParamsError        params.yaml or an override is wrong (all faults in one message)
    ├── SourceError        a source cannot be read: missing file, wrong encoding, truncated Parquet
    ├── SchemaError        a table breaks the data contract as a whole (a missing column, a wrong type)
    ├── StorageError       a disk is full, or a file or folder may not be written
    ├── StageError         dvc.yaml and the code disagree, or a stage's input is missing
    ├── BundleError        a bundle folder is incomplete or does not fit the code or another bundle
    ├── EncoderError       an encoder folder or hub id cannot be loaded
    ├── TrainingError      a model cannot be trained on these data, or training diverged
    ├── PropensityError    a logging propensity is missing or lies outside (0, 1]
    ├── EvidenceError      a question was asked that the data cannot answer
    ├── IdentityError      the user key is missing or is not the one the data were hashed with
    ├── ProcessError       a process that shares a stage's work ended without an answer
    ├── RegistryError      the MLflow store cannot be read or written, or holds no such model
    └── ServiceError       the service or a local server cannot start (a port in use, no champion)

A message names the value, the limit and the next step.
"""

import errno
import re
import shutil
from pathlib import Path

_STORAGE = {
    errno.ENOSPC: "no space is left on the disk",
    errno.EDQUOT: "the disk quota is used up",
    errno.EFBIG: "the file is larger than this process may write (ulimit -f)",
    errno.EROFS: "the file system is read-only",
    errno.EACCES: "permission is denied",
}


class AdloomError(Exception):
    """Base of all of Adloom's own errors; the command line prints its message and exits with code 1."""


class ParamsError(AdloomError):
    """params.yaml, a profile or an override is wrong; the message lists every fault found."""


class SourceError(AdloomError):
    """A source cannot be read."""


class SchemaError(AdloomError):
    """A table breaks the data contract as a whole."""


class StorageError(AdloomError):
    """A disk is full, or a file or folder may not be written."""


class StageError(AdloomError):
    """dvc.yaml and the code disagree, or a stage's input is missing."""


class BundleError(AdloomError):
    """A bundle folder is incomplete, or does not fit the code or another bundle."""


class EncoderError(AdloomError):
    """An encoder folder or hub id cannot be loaded."""


class TrainingError(AdloomError):
    """A model cannot be trained on these data, or training diverged."""


class PropensityError(AdloomError):
    """A logging propensity is missing or lies outside (0, 1]."""


class EvidenceError(AdloomError):
    """A question was asked that the data cannot answer."""


class IdentityError(AdloomError):
    """The user key is missing, or is not the one the data were hashed with."""


class ProcessError(AdloomError):
    """A process that shares a stage's work ended without an answer."""


class RegistryError(AdloomError):
    """The MLflow store cannot be read or written, or holds no such model."""


class ServiceError(AdloomError):
    """The service or a local server cannot start."""


def storage_error(error: BaseException, path: Path | None = None) -> StorageError | None:
    """What an error says about the disk, whichever library raised it.

    Args:
        error: any error.
        path: what was being written; the error's own file, or the working folder, when None.

    Returns:
        The error to raise in its place; None when it is about something else, or tells it already.
    """
    if isinstance(error, AdloomError) or not isinstance(error, Exception):
        return None
    told = re.search(r"(?:os error |Os \{ code: |Errno )(\d+)", str(error))  # Rust and C++ libraries put the number into their words
    number = error.errno if isinstance(error, OSError) and error.errno else int(told[1]) if told else 0
    if number not in _STORAGE:
        return None
    named = error.filename if isinstance(error, OSError) and error.filename else Path.cwd()
    where = path or Path(str(named))
    place = next(folder for folder in (where, *where.resolve().parents) if folder.is_dir())
    free = shutil.disk_usage(place).free / 2**20
    done = "written" if path is not None else "read or written"
    return StorageError(
        f"{where}: cannot be {done}: {_STORAGE[number]} ({free:,.0f} MB free there). What stood there before stands still; "
        "make room or mend the permission, then run the same command again."
    )
