# SPDX-License-Identifier: Apache-2.0
"""What a store keeps, and what went: bounds by age, bytes and free space. Relies on `_core._store`, `_store_files`."""
from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass

from tapio_fast._config_kinds import Kind, Refused, duration, size
from tapio_fast._core import _store
from tapio_fast._store_files import check_directory

LOCK = "LOCK"


@dataclass(frozen=True, slots=True)
class Removed:
    """Segments that were removed.

    rows : as the headers of their blocks said; bytes : of the files
    until_ns : Unix time; everything removed was before it. None when nothing was
    """

    segments: int
    rows: int
    bytes: int
    until_ns: int | None

    @classmethod
    def of(cls, raw: dict[str, int]) -> Removed:
        """Make it of the engine's answer."""
        return cls(raw["segments"], raw["rows"], raw["bytes"], raw["until_ns"] if raw["segments"] and raw["rows"] else None)


@contextlib.contextmanager
def _only_writer(dir_fd: int) -> Iterator[bool]:
    """Hold the store's lock; yields whether it could be had."""
    fd = os.open(LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK, 0o600, dir_fd=dir_fd)
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
    finally:
        os.close(fd)


def _read(kind: Kind, value: float | str, name: str) -> float:
    try:
        return float(kind.check(value))
    except Refused as why:
        raise ValueError(f"{name}={value!r} {why}") from None


def prune(path: str, dir_fd: int, *, older_than: float | str | None, max_bytes: int | str | None, keep_free: int | str | None,
          dry_run: bool) -> Removed:
    """Remove whole segments, oldest first, while a bound is passed; the one that is being written to stays."""
    if older_than is None and max_bytes is None and keep_free is None:
        raise ValueError("prune needs a bound: older_than, max_bytes or keep_free")
    # 0 is the engine's "no such bound": the least that is one
    age_s = 0.0 if older_than is None else max(_read(duration(0.0, 1e10), older_than, "older_than"), 1e-9)
    most = 0 if max_bytes is None else max(int(_read(size(0, 1 << 62), max_bytes, "max_bytes")), 1)
    free = 0 if keep_free is None else int(_read(size(0, 1 << 62), keep_free, "keep_free"))
    check_directory(path, dir_fd, None)
    with _only_writer(dir_fd) as alone:
        return Removed.of(_store.prune(dir_fd, age_ns=round(age_s * 1e9), max_bytes=most, keep_free=free, spare_newest=not alone,
                                       look_only=dry_run, now_ns=time.time_ns(), what=path))
