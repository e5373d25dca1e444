# SPDX-License-Identifier: Apache-2.0
"""RawStore: a directory of segments on disk, written by one, read by any number. Relies on `_core._store`, `batch`, `errors`.

Bytes on disk are described in docs/store-format.md (version 0: no promise yet that a later version reads them). What is lost when the
machine loses power: at most the last second (`sync_ms`) or 8 MiB of blocks; a killed process loses the open block, at most a second.
"""
from __future__ import annotations

import datetime as dt
import errno
import os
import re
import stat
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING

from tapio_fast import schema
from tapio_fast._core import _store
from tapio_fast._escape import escape
from tapio_fast.batch import RecordBatch
from tapio_fast.errors import ClosedError, CorruptStoreError, FilterError, StoreError, error_for
from tapio_fast.filtering import EventFilter, as_filter
from tapio_fast.sources import Source

if TYPE_CHECKING:
    from tapio_fast._core._engine import Source as CoreSource

Time = int | str | dt.datetime
_MAX_NS = (1 << 63) - 1
_AGO = re.compile(r"-(\d+(?:\.\d+)?)(ms|s|m|min|h|d)")
_UNITS = {"ms": 1e-3, "s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400}
_SEGMENT = re.compile(r"segment-\d{10}\.tfseg")


@dataclass(frozen=True, slots=True)
class StoreInfo:
    """What a store holds, by the headers of its blocks; `verify()` reads the blocks themselves.

    bytes : of all segments on disk; rows_by_domain : name -> rows
    first_ns, last_ns : Unix time of the oldest and newest row, None when there are no rows
    damaged : bool, something cannot be read: see verify()
    """

    path: str
    segments: int
    bytes: int
    blocks: int
    epochs: int
    rows: int
    rows_by_domain: dict[str, int]
    unknown_rows: int
    first_ns: int | None
    last_ns: int | None
    boot_ids: list[str]
    damaged: bool
    corrupt_blocks: int
    lost_rows: int
    torn_bytes: int
    foreign_files: int


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """What a reading of every byte found.

    ok : bool, no damage: the next three are 0
    corrupt_blocks, lost_rows : damaged blocks and the rows that good headers say were in them
    torn_bytes : incomplete end of a segment (a crash, a cut file, or a block that is being written just now)
    unknown_rows : of domains this version does not know; foreign_files : named like a segment, but none
    """

    path: str
    ok: bool = field(init=False)
    segments: int
    blocks: int
    epochs: int
    rows: int
    corrupt_blocks: int
    lost_rows: int
    torn_bytes: int
    unknown_rows: int
    foreign_files: int
    seconds: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "ok", not (self.corrupt_blocks or self.lost_rows or self.torn_bytes))


def _error(cls: type[StoreError], path: str, number: int, cause: str, step: str) -> StoreError:
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


def _check_directory(path: str, fd: int, owner_uid: int | None) -> None:
    """Refuse a directory in which somebody else could plant or read files."""
    st = os.fstat(fd)
    if st.st_uid not in _owners(owner_uid):
        raise _error(StoreError, path, errno.EPERM, f"the directory belongs to user id {st.st_uid}, not to {os.geteuid()}",
                     "choose another directory, or change its owner")
    if st.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise _error(StoreError, path, errno.EPERM, f"other users may write to it (mode {stat.S_IMODE(st.st_mode):04o})",
                     f"run chmod go-w {escape(path)}, or choose another directory")


def _open_directory(path: str, flags: int = 0) -> int:
    try:
        return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | flags)
    except OSError as error:
        number = error.errno or errno.EIO
        if os.path.islink(path) and flags & os.O_NOFOLLOW:
            raise _error(StoreError, path, errno.ELOOP, "it is a symbolic link, which is not followed when writing",
                         f"give the directory it points to: {escape(os.path.realpath(path))}") from None
        if number == errno.ENOTDIR:
            raise _error(StoreError, path, number, "it is not a directory", "give the directory that holds the segments") from None
        if number == errno.ENOENT:
            raise _error(StoreError, path, number, "there is no such directory",
                         "check the path; `tapio-fast record -o DIR` makes one") from None
        raise error_for(number, "open store", path) from None


def open_writer(path: str | os.PathLike[str], *, owner_uid: int | None = None, owner_gid: int | None = None,
                **options: int) -> _store.Writer:
    """Open a store for writing: make the directory (0700) if there is none, check it, lock it.

    owner_uid, owner_gid : int, whom a new directory shall belong to; new files always belong to the directory's owner
    options : block_rows, block_ms, sync_ms, sync_bytes, segment_bytes, level of the engine's writer; 0 = default
    Raises StoreError (a link, another user's, writable by others, full, read-only), StoreLockedError, PermissionDeniedError.
    """
    where = os.fspath(path)
    try:
        _make_directory(where, owner_uid, owner_gid)
    except OSError as error:
        raise error_for(error.errno or errno.EIO, "make store directory", where) from None
    fd = _open_directory(where, os.O_NOFOLLOW)
    try:
        _check_directory(where, fd, owner_uid)
        return _store.Writer(fd, what=where, **options)
    finally:
        os.close(fd)


def parse_time(value: Time, *, now_ns: int | None = None) -> int:
    """Return Unix ns from Unix ns, a datetime, ISO 8601 text or "-2h" (before now); without an offset it is local time."""
    if isinstance(value, str):
        ago = _AGO.fullmatch(value.strip())
        if ago:
            now = time.time_ns() if now_ns is None else now_ns
            return now - round(float(ago.group(1)) * _UNITS[ago.group(2)] * 1e9)
        try:
            value = dt.datetime.fromisoformat(value.strip())
        except ValueError:
            raise ValueError(f'{value!r} is not a time; write 2026-11-22T15:00:00Z, 2026-11-22, or "-2h"') from None
    if isinstance(value, dt.datetime):
        whole = int(value.replace(microsecond=0).timestamp())
        return whole * 1_000_000_000 + value.microsecond * 1000
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"a time is int (Unix ns), datetime or str, not {type(value).__name__}")
    return value


def _range(since: Time | None, until: Time | None) -> tuple[int, int] | None:
    """Return (since_ns, until_ns) for the engine, where 0, 0 is everything; None when nothing can lie in it."""
    if since is None and until is None:
        return 0, 0
    first = 0 if since is None else max(0, parse_time(since))
    last = _MAX_NS if until is None else min(parse_time(until), _MAX_NS)
    return (first, last) if first < last else None


class StoreSource(Source):
    """A store as the source of a collector: its epochs as they were recorded, as fast as they are taken."""

    name = "store"

    def __init__(self, path: str, fd: int, span: tuple[int, int] | None) -> None:
        self._path = path
        self._fd = fd
        self._span = (_MAX_NS - 1, _MAX_NS) if span is None else span

    def __del__(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)

    def _open(self, config: object = None, log: object = None, filter: EventFilter | None = None) -> CoreSource:
        if filter is not None and filter.text() != "all":
            raise FilterError("a replay has no gate to filter at; leave the filter out and use batch.filter() or scan(filter=)")
        if self._fd < 0:
            raise ClosedError("this replay was used by another collector; call replay() again")
        try:
            return _store.store_source(self._fd, since_ns=self._span[0], until_ns=self._span[1], what=self._path)
        finally:
            os.close(self._fd)
            self._fd = -1


class RawStore:
    """A raw store: every collected record, in compressed segments.

    path : directory of the store
    mode : "r" to read, "a" to append as well (the directory is made if missing; one writer at a time)
    owner_uid, owner_gid : int, with "a": whom a new directory shall belong to
    Raises StoreError, CorruptStoreError (nothing in it can be read), StoreLockedError, PermissionDeniedError.
    """

    __module__ = "tapio_fast"

    def __init__(self, path: str | os.PathLike[str], mode: str = "r", *, owner_uid: int | None = None,
                 owner_gid: int | None = None) -> None:
        if mode not in ("r", "a"):
            raise ValueError(f'mode is "r" or "a", not {mode!r}')
        self.path = os.fspath(path)
        self.mode = mode
        self._fd = -1
        self._writer = open_writer(path, owner_uid=owner_uid, owner_gid=owner_gid) if mode == "a" else None
        self._fd = _open_directory(self.path)
        if mode == "r":
            try:
                self._reader().close()
            except BaseException:
                self.close()
                raise

    def _reader(self, **options: int) -> _store.Reader:
        """Open a reader, with the sentence that belongs to a store without segments."""
        try:
            return _store.Reader(self._fd, what=self.path, **options)
        except CorruptStoreError:
            raise _error(CorruptStoreError, self.path, errno.EBADMSG, "none of its files is a segment that this version can read",
                         "check the path; if it is right, the files are damaged or of a newer version") from None
        except StoreError as error:
            if error.errno != errno.ENOENT:
                raise
            raise _error(StoreError, self.path, errno.ENOENT, "the directory holds no segments",
                         "check the path; a store is what `tapio-fast record -o DIR` wrote") from None

    def _need(self) -> None:
        if self._fd < 0:
            raise ClosedError(f"store {escape(self.path)} is closed; open a new one")

    def _settle(self) -> bool:
        """Make what was appended readable; return False while there is nothing at all to read."""
        self._need()
        if self._writer is None:
            return True
        self._writer.flush(False)
        return any(_SEGMENT.fullmatch(name) for name in os.listdir(self._fd))

    def append(self, batch: RecordBatch) -> None:
        """Write one batch as an epoch. It is safe from a power loss after flush(), or a second later.

        Raises StoreError when the disk is full or failing: the rows of the open block are lost, the next append may work again.
        """
        self._need()
        if not isinstance(batch, RecordBatch):
            raise TypeError(f"append takes a RecordBatch, not {type(batch).__name__}")
        if self._writer is None:
            raise _error(StoreError, self.path, errno.EBADF, 'it was opened for reading', 'open it with mode "a"')
        self._writer.append(batch._core)

    def flush(self) -> None:
        """Write what is buffered and return when the disk has it."""
        self._need()
        if self._writer is not None:
            self._writer.flush(True)

    def scan(self, *, domains: Sequence[str] | None = None, since: Time | None = None, until: Time | None = None,
             filter: EventFilter | str | None = None) -> Iterator[RecordBatch]:
        """Read the store, oldest first, an epoch at a time; epochs of which nothing is asked for are left out.

        domains : names; None = all
        since, until : rows with since <= time < until; Unix ns, datetime, ISO 8601 text or "-2h"
        filter : expression or EventFilter (docs/filter.md)
        Damage is passed over; info() and verify() tell of it.
        """
        names = [domains] if isinstance(domains, str) else domains
        mask = 0 if names is None else sum({1 << schema.check_domain(name) for name in names})
        span = _range(since, until)
        if not self._settle() or span is None or (names is not None and not mask):
            return iter(())
        if filter is not None:
            filter = as_filter(filter)
            filter.check_usable()
        reader = self._reader(domains=mask, since_ns=span[0], until_ns=span[1])
        return self._scan(reader, filter, narrowed=bool(mask or span != (0, 0)))

    def _scan(self, reader: _store.Reader, filter: EventFilter | None, narrowed: bool) -> Iterator[RecordBatch]:
        try:
            for core in reader:
                self._need()
                batch = RecordBatch(core)
                if filter is not None:
                    batch = batch.filter(filter)
                if len(batch) or not (narrowed or filter is not None):
                    yield batch
        finally:
            reader.close()

    def replay(self, *, since: Time | None = None, until: Time | None = None) -> StoreSource:
        """Return a source for `Collector(source=...)`: epochs as recorded, whole, those with a row in the range."""
        self._settle()
        return StoreSource(self.path, os.dup(self._fd), _range(since, until))

    def info(self) -> StoreInfo:
        """Say what the store holds, reading only headers."""
        totals: dict[str, int] = {}
        boots: dict[bytes, None] = {}
        first, last = _MAX_NS, -_MAX_NS
        stats: dict[str, int] = {}
        if self._settle():
            reader = self._reader()
            while (frame := reader.frame()) is not None:
                boots[frame["boot_id"]] = None
                first, last = min(first, frame["unix_min"]), max(last, frame["unix_max"])
                for number, rows in frame["domains"].items():
                    name = schema.DOMAIN_NAMES[number]
                    totals[name] = totals.get(name, 0) + rows
            stats = reader.stats()
            reader.close()
        damage = {name: stats.get(name, 0) for name in ("corrupt_blocks", "lost_rows", "torn_bytes")}
        return StoreInfo(
            path=self.path, segments=stats.get("segments", 0), bytes=self._bytes(), blocks=stats.get("blocks", 0),
            epochs=stats.get("epochs", 0), rows=stats.get("rows", 0), rows_by_domain=dict(sorted(totals.items())),
            unknown_rows=stats.get("unknown_rows", 0), first_ns=first if first <= last else None, last_ns=last if first <= last else None,
            boot_ids=[_uuid(boot) for boot in boots], damaged=any(damage.values()), foreign_files=stats.get("foreign", 0), **damage)

    def _bytes(self) -> int:
        with os.scandir(self._fd) as entries:
            return sum(e.stat(follow_symlinks=False).st_size for e in entries if _SEGMENT.fullmatch(e.name)
                       and e.is_file(follow_symlinks=False))

    def verify(self) -> VerifyReport:
        """Read and decode everything; report damage, change nothing."""
        started = time.monotonic()
        stats: dict[str, int] = {}
        if self._settle():
            reader = self._reader()
            for _ in reader:
                pass
            stats = reader.stats()
            reader.close()
        names = ("segments", "blocks", "epochs", "rows", "corrupt_blocks", "lost_rows", "torn_bytes", "unknown_rows")
        counts = {name: stats.get(name, 0) for name in names}
        return VerifyReport(path=self.path, foreign_files=stats.get("foreign", 0), seconds=time.monotonic() - started, **counts)

    def close(self) -> None:
        """Write and sync what is buffered, unlock, let go of the files. Twice is fine. Raises StoreError when rows were lost by it."""
        fd, self._fd = self._fd, -1
        writer, self._writer = self._writer, None
        if fd >= 0:
            os.close(fd)
        if writer is not None:
            writer.close()

    def __enter__(self) -> RawStore:
        self._need()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def __del__(self) -> None:
        if getattr(self, "_fd", -1) >= 0:
            os.close(self._fd)
            self._fd = -1

    def __repr__(self) -> str:
        state = "closed" if self._fd < 0 else f"mode={self.mode} bytes={self._bytes()}"
        return f"<RawStore {escape(self.path)} {state}>"


def _uuid(raw: bytes) -> str:
    text = raw.hex()
    return "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:]))
