# SPDX-License-Identifier: Apache-2.0
"""The one tree of errors, and the one place that turns a negative errno from C into one of them.

    TapioError
      UnsupportedPlatformError   RuntimeError      not Linux, kernel too old, no BTF
      PermissionDeniedError      PermissionError   rights that loading, reading or writing needs
      ProgramLoadError           RuntimeError      the kernel refused an object that nothing can go on without
      LayoutError                RuntimeError      C, BPF and numpy disagree about a record
      ConfigError                ValueError        a key, a value, a configuration file
      FilterError                ValueError        a filter expression; .position is where
      StoreError                 OSError           the raw store: missing, full, not writable
        CorruptStoreError                          bytes that no writer of ours left there
        StoreLockedError                           another writer has it
      OutOfMemoryError           MemoryError       rings, pools or batches did not fit
      ClosedError                ValueError        used after close, as with a closed file
      OutputError                OSError           an output that could not deliver
      MissingExtraError          ImportError       a package of an extra that is not installed

Every message is one sentence: the thing, the cause, the next step. Relies on _escape only.
"""
from __future__ import annotations

import errno as _errno
import os

from tapio_fast._escape import escape

__all__ = [
    "ClosedError", "ConfigError", "CorruptStoreError", "FilterError", "LayoutError", "MissingExtraError", "OutOfMemoryError",
    "OutputError", "PermissionDeniedError", "ProgramLoadError", "StoreError", "StoreLockedError", "TapioError", "UnsupportedPlatformError",
    "error_for",
]

OFF_LINUX = "eBPF collector is only supported on Linux"


class TapioError(Exception):
    """Be the base of every error that tapio_fast raises on purpose."""

    errno: int | None = None    # positive, where a system call was the cause


class UnsupportedPlatformError(TapioError, RuntimeError):
    """Say that this machine cannot collect live, and what it lacks."""


class PermissionDeniedError(TapioError, PermissionError):
    """Say which right was missing, for what, and how to get it."""


class ProgramLoadError(TapioError, RuntimeError):
    """Say which BPF object the kernel refused, and why."""


class LayoutError(TapioError, RuntimeError):
    """Name the first field on which two views of a record differ."""


class ConfigError(TapioError, ValueError):
    """Name the key, the value, what is allowed, and the next step; `.key` is dotted."""

    def __init__(self, message: str, *, key: str | None = None) -> None:
        super().__init__(message)
        self.key = key


class FilterError(TapioError, ValueError):
    """Say what is wrong in a filter; `.position` is its offset in the text."""

    def __init__(self, message: str, *, position: int | None = None) -> None:
        super().__init__(message)
        self.position = position


class StoreError(TapioError, OSError):
    """Say which store could not be read or written, and why."""


class CorruptStoreError(StoreError):
    """Say which file holds bytes that cannot be right, and where."""


class StoreLockedError(StoreError):
    """Say that another writer holds the store."""


class OutOfMemoryError(TapioError, MemoryError):
    """Say which allocation failed, and which setting shrinks it."""


class ClosedError(TapioError, ValueError):
    """Say that an object was used after it was closed."""


class OutputError(TapioError, OSError):
    """Say which output could not deliver, and what became of its events."""


class MissingExtraError(TapioError, ImportError):
    """Name the package that is not installed, and the extra that brings it."""


RIGHTS_STEP = "run as root, or give the process CAP_BPF and CAP_PERFMON; `tapio-fast doctor` tells which is missing"
_LOAD_WORDS = ("load", "attach", "bpf", "program", "kernel", "map", "ring", "rules", "btf", "synth", "probe")
_STORE_WORDS = ("store", "segment", "append", "scan", "replay", "manifest")


def _words(text: str) -> set[str]:
    return set(text.lower().replace("/", " ").replace(".", " ").replace("_", " ").split())


def _named(text: str, stems: tuple[str, ...]) -> bool:
    return any(word.startswith(stem) for word in _words(text) for stem in stems)


_UNSUPPORTED = {_errno.ENOSYS, _errno.ENOTSUP, _errno.EOPNOTSUPP}
_FULL = {_errno.ENOSPC, _errno.EDQUOT, _errno.EFBIG}
_PATHS = {_errno.ENOENT, _errno.ENOTDIR, _errno.EISDIR, _errno.ELOOP, _errno.EEXIST, _errno.ENAMETOOLONG, _errno.EROFS, _errno.EIO}
_CLOSED = {_errno.EBADF, getattr(_errno, "ESHUTDOWN", _errno.EBADF)}


def _class_of(value: int, doing: str, bad: type[TapioError]) -> type[TapioError]:
    """Choose the class for one positive errno; what was being done decides where errno alone does not."""
    if value in (_errno.EPERM, _errno.EACCES):
        return PermissionDeniedError
    if value == _errno.EBADMSG:
        return bad
    if value == _errno.ENOMEM:
        return OutOfMemoryError
    if value in _UNSUPPORTED:
        return UnsupportedPlatformError
    if value in _CLOSED:
        return ClosedError
    storing = _named(doing, _STORE_WORDS)
    if value in (_errno.EAGAIN, _errno.EBUSY) and storing:
        return StoreLockedError
    if storing or value in _FULL or (value in _PATHS and not _named(doing, _LOAD_WORDS)):
        return StoreError
    if _named(doing, ("load", "attach")):
        return ProgramLoadError
    return TapioError


def _step_for(cls: type[TapioError], value: int, doing: str) -> str:
    """Give the next step that fits; the empty string where there is none better than the cause itself."""
    if cls is PermissionDeniedError:
        return RIGHTS_STEP if _named(doing, _LOAD_WORDS) else "check the owner and mode of the path, or run as its owner"
    if value in _FULL:
        return "free some space, or choose another directory"
    return {
        OutOfMemoryError: "lower performance.ring_buffer_size_mb or performance.batch_pool_mb, or raise the memory limit",
        UnsupportedPlatformError: "`tapio-fast doctor` tells what this kernel lacks",
        StoreLockedError: "stop the other writer, or choose another directory",
        CorruptStoreError: "`tapio-fast info` tells what can still be read",
        LayoutError: "rebuild with `make build`",
        ClosedError: "open a new one",
        ProgramLoadError: "`tapio-fast doctor` gives a verdict for each program",
    }.get(cls, "")


def error_for(errno_value: int, doing: str, what: object = None, *, cause: str | None = None,
              bad: type[TapioError] = CorruptStoreError) -> TapioError:
    """Make the exception that belongs to an errno which C returned.

    errno_value : int, errno; the sign does not matter
    doing : str, what was tried, after "cannot": "load", "drain ring", "append to store"
    what : the object of it: a path, a program; bytes and paths are shown escaped
    cause : str, what is known below and says more than strerror does; one that begins with "cannot" is the whole message
    bad : class for EBADMSG (bytes that cannot be right): CorruptStoreError, or LayoutError where records are compared
    Returns TapioError, with `.errno` positive (not raised: `raise error_for(...)`).
    """
    value = abs(int(errno_value))
    cls = _class_of(value, doing, bad)
    name = _errno.errorcode.get(value, str(value))
    subject = doing if what is None else f"{doing} {_shown(what)}"
    said = (cause or os.strerror(value)).strip().rstrip(".")
    step = _step_for(cls, value, doing)
    error = cls(said if cause and said.startswith("cannot ") else f"cannot {subject}: {said} ({name})" + (f"; {step}" if step else ""))
    error.errno = value
    return error


def _shown(what: object) -> str:
    if isinstance(what, os.PathLike):
        what = os.fspath(what)
    return escape(what if isinstance(what, (bytes, bytearray, str)) else str(what))
