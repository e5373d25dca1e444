# SPDX-License-Identifier: Apache-2.0
"""Directories of stores: made, checked, opened, and locked for the one writer. Relies on `_core._store`, `errors`."""
from __future__ import annotations

import errno
import os
import stat

from tapio_fast._core import _store
from tapio_fast._escape import escape
from tapio_fast.errors import StoreError, error_for


def store_error(cls: type[StoreError], path: str, number: int, cause: str, step: str) -> StoreError:
    name = errno.errorcode.get(number, str(number))
    error = cls(f"cannot open store {escape(path)}: {cause} ({name}); {step}")
    error.errno = number
    return error


def _owners(owner_uid: int | None) -> set[int]:
    """Return who may own a directory that we write to: us, the user we write for, under sudo its caller."""
    owners = {os.geteuid()}
    if owner_uid is not None:
        owners.add(owner_uid)
    elif os.geteuid() == 0 and os.environ.get("SUDO_UID", "").isdecimal():
        owners.add(int(os.environ["SUDO_UID"]))
    return owners


def _make_directory(path: str, owner_uid: int | None, owner_gid: int | None) -> None:
    parent = os.path.dirname(os.path.abspath(path))
    os.makedirs(parent, 0o755, exist_ok=True)
    try:
        os.mkdir(path, 0o700)
    except FileExistsError:
        return
    if owner_uid is not None:
        os.chown(path, owner_uid, -1 if owner_gid is None else owner_gid, follow_symlinks=False)


def check_directory(path: str, fd: int, owner_uid: int | None) -> None:
    """Refuse a directory in which somebody else could plant or read files."""
    st = os.fstat(fd)
    if st.st_uid not in _owners(owner_uid):
        raise store_error(StoreError, path, errno.EPERM, f"the directory belongs to user id {st.st_uid}, not to {os.geteuid()}",
                     "choose another directory, or change its owner")
    if st.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise store_error(StoreError, path, errno.EPERM, f"other users may write to it (mode {stat.S_IMODE(st.st_mode):04o})",
                     f"run chmod go-w {escape(path)}, or choose another directory")


def open_directory(path: str, flags: int = 0) -> int:
    try:
        return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | flags)
    except OSError as error:
        number = error.errno or errno.EIO
        if os.path.islink(path) and flags & os.O_NOFOLLOW:
            raise store_error(StoreError, path, errno.ELOOP, "it is a symbolic link, which is not followed when writing",
                         f"give the directory it points to: {escape(os.path.realpath(path))}") from None
        if number == errno.ENOTDIR:
            raise store_error(StoreError, path, number, "it is not a directory", "give the directory that holds the segments") from None
        if number == errno.ENOENT:
            raise store_error(StoreError, path, number, "there is no such directory",
                         "check the path; `tapio-fast record -o DIR` makes one") from None
        raise error_for(number, "open store", path) from None


def open_writer(path: str | os.PathLike[str], *, owner_uid: int | None = None, owner_gid: int | None = None,
                **options: int) -> _store.Writer:
    """Open a store for writing: make the directory (0700) if there is none, check it, lock it.

    owner_uid, owner_gid : int, whom a new directory shall belong to; new files always belong to the directory's owner
    options : block_rows, block_ms, sync_ms, sync_bytes, segment_bytes, level of the engine's writer, and those of kept(); 0 = default
    Raises StoreError (a link, another user's, writable by others, full, read-only), StoreLockedError, PermissionDeniedError.
    """
    where = os.fspath(path)
    try:
        _make_directory(where, owner_uid, owner_gid)
    except OSError as error:
        raise error_for(error.errno or errno.EIO, "make store directory", where) from None
    fd = open_directory(where, os.O_NOFOLLOW)
    try:
        check_directory(where, fd, owner_uid)
        return _store.Writer(fd, what=where, **options)
    finally:
        os.close(fd)


def kept(age_s: float, max_bytes: int, keep_free: int) -> dict[str, int]:
    """Return the options of open_writer() for what stays in a store; 0 = no such bound."""
    return {"keep_age_ns": round(age_s * 1e9), "keep_bytes": max_bytes, "keep_free": keep_free}
