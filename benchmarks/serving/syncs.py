"""Counts how often SQLite asks the operating system to put a file on disk, by standing between it and its file methods."""

import ctypes
import ctypes.util
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass, field

_POINTER = ctypes.c_void_p
_OPEN = ctypes.CFUNCTYPE(ctypes.c_int, _POINTER, _POINTER, _POINTER, ctypes.c_int, _POINTER)  # the name is kept by SQLite: never copy it
_SYNC = ctypes.CFUNCTYPE(ctypes.c_int, _POINTER, ctypes.c_int)
_WAL = 0x00080000  # SQLITE_OPEN_WAL
_MAIN = 0x00000100  # SQLITE_OPEN_MAIN_DB


class _Vfs(ctypes.Structure):
    """The head of sqlite3_vfs."""

    _fields_ = (
        ("version", ctypes.c_int),
        ("file_size", ctypes.c_int),
        ("path_length", ctypes.c_int),
        ("next", _POINTER),
        ("name", ctypes.c_char_p),
        ("data", _POINTER),
        ("open", _POINTER),
    )


class _Methods(ctypes.Structure):
    """sqlite3_io_methods, as of version 3."""

    _fields_ = (
        ("version", ctypes.c_int),
        *((name, _POINTER) for name in ("close", "read", "write", "truncate", "sync")),
        *((f"further_{place}", _POINTER) for place in range(14)),
    )


@dataclass
class Syncs:
    """How often each kind of file was synced; ``seen`` is told each time, after the sync has returned.

    Attributes:
        log: syncs of write-ahead logs: what makes a commit durable under ``synchronous=FULL``.
        main: syncs of database files: checkpoints.
        seen: called with "log" or "main".
    """

    log: int = 0
    main: int = 0
    seen: Callable[[str], None] = lambda kind: None
    _kept: list[object] = field(default_factory=list, repr=False)


def count_syncs() -> Syncs | None:
    """From now on, count the syncs of every file that SQLite opens in this process; for tests and benchmarks, never undone.

    Returns:
        The counts; None where the library that Python uses cannot be reached.
    """
    found = ctypes.util.find_library("sqlite3")
    if found is None:
        return None
    library = ctypes.CDLL(found)
    library.sqlite3_libversion.restype = ctypes.c_char_p
    if library.sqlite3_libversion().decode() != sqlite3.sqlite_version:
        return None
    library.sqlite3_vfs_find.restype = ctypes.POINTER(_Vfs)
    vfs = library.sqlite3_vfs_find(None).contents
    syncs = Syncs()
    open_as_before = _OPEN(vfs.open)
    tables: dict[int, int] = {}  # address of SQLite's methods and kind → address of ours

    def opened(vfs_at: int, name: int | None, file: int, flags: int, told: int) -> int:
        code = int(open_as_before(vfs_at, name, file, flags, told))
        methods_at = ctypes.cast(file, ctypes.POINTER(_POINTER))
        if code == 0 and methods_at[0] and flags & (_WAL | _MAIN):
            kind = "log" if flags & _WAL else "main"
            key = hash((methods_at[0], kind))
            if key not in tables:
                tables[key] = _ours(methods_at[0], kind, syncs)
            methods_at[0] = tables[key]
        return code

    callback = _OPEN(opened)
    syncs._kept += [open_as_before, callback, library]
    vfs.open = ctypes.cast(callback, _POINTER).value
    return syncs


def _ours(methods_at: int, kind: str, syncs: Syncs) -> int:
    """A copy of a table of file methods that counts, and then syncs as before."""
    copied = _Methods.from_buffer_copy(_Methods.from_address(methods_at))
    sync_as_before = _SYNC(copied.sync)

    def synced(file: int, flags: int) -> int:
        code = int(sync_as_before(file, flags))
        if kind == "log":
            syncs.log += 1
        else:
            syncs.main += 1
        syncs.seen(kind)
        return code

    callback = _SYNC(synced)
    copied.sync = ctypes.cast(callback, _POINTER).value
    syncs._kept += [copied, sync_as_before, callback]
    return ctypes.addressof(copied)
