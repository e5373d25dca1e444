# SPDX-License-Identifier: Apache-2.0
"""RawStore: a directory of segments on disk, written by one, read by any number. Relies on `_core._store`, `batch`, `errors`.

Bytes on disk are described in docs/store-format.md (a draft of version 1: no promise yet that a later version reads them). What is lost when the
machine loses power: at most the last second (`sync_ms`) or 8 MiB of blocks; a killed process loses the open block, at most a second.
"""
from __future__ import annotations

import difflib
import errno
import os
import re
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any

from tapio_fast import schema
from tapio_fast._core import _store
from tapio_fast._escape import escape
from tapio_fast._retention import Removed, prune
from tapio_fast._store_files import open_directory, open_writer, store_error
from tapio_fast._store_reports import StoreInfo, VerifyReport
from tapio_fast._times import MAX_NS, MIN_NS, Time, range_of
from tapio_fast.batch import RecordBatch
from tapio_fast.errors import ClosedError, CorruptStoreError, FilterError, StoreError
from tapio_fast.filtering import EventFilter, as_filter
from tapio_fast.sources import Source
from tapio_fast.tables import Table, fields_behind

if TYPE_CHECKING:
    from tapio_fast import _sql
    from tapio_fast._core._engine import Source as CoreSource
    from tapio_fast.filtering._blocks import Asked

_SEGMENT = re.compile(r"segment-\d{10}\.tfseg")


class StoreSource(Source):
    """A store as the source of a collector: its epochs as they were recorded, as fast as they are taken."""

    name = "store"

    def __init__(self, path: str, fd: int, span: tuple[int, int] | None) -> None:
        self._path = path
        self._fd = fd
        self._span = (MAX_NS - 1, MAX_NS) if span is None else span

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
        self._fd = open_directory(self.path)
        if mode == "r":
            try:
                if self._settle():
                    self._reader().close()
            except BaseException:
                self.close()
                raise

    def _reader(self, domains: Sequence[str] | None = None, span: tuple[int, int] = (0, 0), fields: Collection[str] | None = None,
                asked: Mapping[str, Asked] | None = None) -> _store.Reader:
        """Open a reader, with the sentence that belongs to a store without segments."""
        mask = sum({1 << schema.DOMAINS[name] for name in domains or ()})
        places = None if fields is None else {n: {i for i, f in enumerate(schema.FIELDS[d]) if f in fields} for d, n in schema.DOMAINS.items()}
        raw = {schema.DOMAINS[name]: one.raw() for name, one in (asked or {}).items()}
        try:
            return _store.Reader(self._fd, domains=mask, since_ns=span[0], until_ns=span[1], fields=places, asked=raw, what=self.path)
        except CorruptStoreError:
            raise store_error(CorruptStoreError, self.path, errno.EBADMSG, "none of its files is a segment that this version can read",
                         "check the path; if it is right, the files are damaged or of another version") from None
        except StoreError as error:
            if error.errno != errno.ENOENT:
                raise
            raise store_error(StoreError, self.path, errno.ENOENT, "the directory holds no segments",
                         "check the path; a store is what `tapio-fast record -o DIR` wrote") from None

    def _need(self) -> None:
        if self._fd < 0:
            raise ClosedError(f"store {escape(self.path)} is closed; open a new one")

    def _settle(self) -> bool:
        """Make what was appended readable; return False while there is nothing at all to read, or when all of it was removed."""
        self._need()
        if self._writer is not None:
            self._writer.flush(False)
        return any(_SEGMENT.fullmatch(name) for name in os.listdir(self._fd)) or (self._writer is None and not self._emptied())

    def _emptied(self) -> bool:
        gone = _store.removed(self._fd, what=self.path)
        return gone is None or gone["segments"] > 0

    def append(self, batch: RecordBatch) -> None:
        """Write one batch as an epoch. It is safe from a power loss after flush(), or a second later.

        Raises StoreError when the disk is full or failing: the rows of the open block are lost, the next append may work again.
        """
        self._need()
        if not isinstance(batch, RecordBatch):
            raise TypeError(f"append takes a RecordBatch, not {type(batch).__name__}")
        if self._writer is None:
            raise store_error(StoreError, self.path, errno.EBADF, 'it was opened for reading', 'open it with mode "a"')
        self._writer.append(batch._core)

    def flush(self) -> None:
        """Write what is buffered and return when the disk has it."""
        self._need()
        if self._writer is not None:
            self._writer.flush(True)

    def scan(self, *, domains: Sequence[str] | None = None, columns: Collection[str] | None = None, since: Time | None = None,
             until: Time | None = None, filter: EventFilter | str | None = None) -> Iterator[RecordBatch]:
        """Read the store, oldest first, an epoch at a time; epochs of which nothing is asked for are left out.

        domains : names; None = all
        columns : fields to decode, of whichever domain has them; the others are zero, but for ts_ns (and what the filter needs). None = all
        since, until : rows with since <= time < until; Unix ns, datetime, ISO 8601 text or "-2h"
        filter : expression or EventFilter (docs/filter.md). With `domains` without "meta", blocks in which nothing can match are not read
        Damage is passed over; info() and verify() tell of it.
        Raises KeyError (no such domain; a column that none of them has), FilterError, ValueError (a time).
        """
        names = [domains] if isinstance(domains, str) else None if domains is None else list(domains)
        for name in names or ():
            schema.check_domain(name)
        wanted = None if columns is None else _check_columns([columns] if isinstance(columns, str) else columns, names)
        span = range_of(since, until)
        if filter is not None:
            filter = as_filter(filter)
            filter.check_usable()
            wanted = None if wanted is None else filter.with_fields(wanted)
        asked = None
        if filter is not None and names is not None and schema.META not in names:
            told = {name: filter.asked_of(name) for name in names}
            asked = {name: one for name, one in told.items() if one is not None}
            names = list(asked)
        if not self._settle() or span is None or (names is not None and not names):
            return iter(())
        reader = self._reader(names, span, wanted, asked)
        return self._scan(reader, filter, narrowed=names is not None or span != (0, 0))

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

    def table(self, domain: str | None = None, *, columns: Sequence[str] | None = None, since: Time | None = None,
              until: Time | None = None, filter: EventFilter | str | None = None) -> Table:
        """Return a domain (None: the common fields of all but meta) as an Arrow stream that reads the store when it is consumed.

        domain : name
        columns : names, in order; None = all
        since, until, filter : as in scan()
        Returns Table: pyarrow.table(t), polars.DataFrame(t), DuckDB's FROM t, t.to_pandas().
        """
        names = _without_meta() if domain is None else [domain]
        filter = None if filter is None else as_filter(filter)

        def rows() -> Iterator[RecordBatch] | _store.Reader:
            if filter is not None:
                if filter.joins_facts:      # which rows of other domains tell
                    return self.scan(since=since, until=until, filter=filter)
                there = fields & {field for name in names for field in schema.FIELDS[name]}
                return self.scan(domains=names, columns=there, since=since, until=until, filter=filter)
            span = range_of(since, until)
            return self._reader(names, span, fields) if self._settle() and span is not None else iter(())

        table = Table(rows, domain, columns)
        fields = fields_behind(table.columns)
        return table

    def to_polars(self, domain: str | None = None, *, columns: Sequence[str] | None = None, since: Time | None = None,
                  until: Time | None = None, filter: EventFilter | str | None = None) -> Any:
        """Return table(...) as a polars.DataFrame. Raises MissingExtraError without Polars."""
        return self.table(domain, columns=columns, since=since, until=until, filter=filter).to_polars()

    def export(self, directory: str | os.PathLike[str], format: str, *, domains: Sequence[str] | None = None, since: Time | None = None,
               until: Time | None = None, filter: EventFilter | str | None = None,
               progress: Callable[[str], None] | None = None) -> list[str]:
        """Write the store's rows into files of another format, one a domain that has some.

        directory : is made if missing; a file that is there already is not overwritten
        format : "parquet" (zstd), "arrow" (Arrow's IPC stream, zstd) or "jsonl"; columns are those of table()
        domains, since, until, filter : as in scan()
        progress : is told the name of each domain before it is written
        Returns the paths written. An interruption leaves no file behind that is not whole.
        Raises ValueError (no such format), FileExistsError, MissingExtraError (the extra `parquet`), OSError.
        """
        from tapio_fast._export import export

        names = sorted(schema.DOMAINS) if domains is None else [domains] if isinstance(domains, str) else list(domains)
        tables = {name: self.table(name, since=since, until=until, filter=filter) for name in names}
        there = self.info().rows_by_domain
        return export(os.fspath(directory), format, {name: table for name, table in tables.items() if there.get(name)}, progress)

    def sql(self, query: str, params: object = None, **tables: object) -> Any:
        """Answer a question in SQL; docs/sql.md has the tables.

        query : one SELECT of DuckDB's SQL over process, network, ..., events, ledger, estimates
        params : list or dict, values of its ? or $name
        tables : more tables by name: Arrow, Polars, pandas, `tapio.estimate(...)`
        Returns duckdb.DuckDBPyRelation: fetchall(), pl(), df(), arrow(), show(), filter(), order() ... The store is read when rows are asked
        for: only the columns, domains, times and blocks that the query needs, so other tables are a matter for another sql().
        Raises ValueError (not one SELECT), MissingExtraError (the extra `duckdb`), and DuckDB's errors about the query.
        """
        from tapio_fast._sql import StoreTables, ask

        self._settle()
        return ask(StoreTables(self._between, self._every_epoch, self), query, params, tables)

    def _between(self, domain: str | None, asked: _sql.Asked) -> Iterator[RecordBatch] | _store.Reader:
        """Return what a query asks of a table."""
        names = _without_meta() if domain is None else [domain]
        span = (asked.since_ns, asked.until_ns) if (asked.since_ns, asked.until_ns) != (MIN_NS, MAX_NS) else (0, 0)
        if not self._settle() or asked.since_ns >= asked.until_ns:
            return iter(())
        fields = None if asked.columns is None else fields_behind(asked.columns)
        return self._reader(names, span, fields, None if asked.blocks is None else dict.fromkeys(names, asked.blocks))

    def _every_epoch(self) -> Iterator[RecordBatch]:
        """Yield every epoch, with its meta rows only."""
        if self._settle():
            yield from self._scan(self._reader([schema.META]), None, narrowed=False)

    def replay(self, *, since: Time | None = None, until: Time | None = None) -> StoreSource:
        """Return a source for `Collector(source=...)`: epochs as recorded, whole, those with a row in the range."""
        self._settle()
        return StoreSource(self.path, os.dup(self._fd), range_of(since, until))

    def info(self) -> StoreInfo:
        """Say what the store holds, reading only headers."""
        totals: dict[str, int] = {}
        boots: dict[bytes, None] = {}
        first, last = MAX_NS, -MAX_NS
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
            boot_ids=[_uuid(boot) for boot in boots], damaged=any(damage.values()), foreign_files=stats.get("foreign", 0),
            removed=None if (gone := _store.removed(self._fd, what=self.path)) is None else Removed.of(gone), **damage)

    def prune(self, *, older_than: float | str | None = None, max_bytes: int | str | None = None, keep_free: int | str | None = None,
              dry_run: bool = False) -> Removed:
        """Remove whole segments, oldest first, as long as one of the bounds is passed.

        older_than : s, or text like "24h", "7d": segments that were last written to longer ago
        max_bytes : int, or text like "10GB": of all segments together
        keep_free : int, or text: bytes of the file system that shall be free
        dry_run : bool, remove nothing, say what would go
        Returns Removed. What a collector is writing to stays; readers keep what they have open.
        Raises ValueError (no bound, or none that can be read), StoreError (another user's, writable by others), PermissionDeniedError.
        """
        self._need()
        if self._writer is not None:
            self._writer.flush(True)
        return prune(self.path, self._fd, older_than=older_than, max_bytes=max_bytes, keep_free=keep_free, dry_run=dry_run)

    def _bytes(self) -> int:
        with os.scandir(self._fd) as entries:
            return sum(e.stat(follow_symlinks=False).st_size for e in entries if _SEGMENT.fullmatch(e.name)
                       and e.is_file(follow_symlinks=False))

    def verify(self, progress: Callable[[int], None] | None = None) -> VerifyReport:
        """Read and decode everything; report damage, change nothing. `progress` is told now and then how many rows were read."""
        started = time.monotonic()
        stats: dict[str, int] = {}
        if self._settle():
            reader = self._reader()
            for count, _ in enumerate(reader):
                if progress is not None and count % 64 == 0:
                    progress(reader.stats()["rows"])
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


def _without_meta() -> list[str]:
    return sorted(set(schema.DOMAINS) - {schema.META})


def _check_columns(columns: Collection[str], domains: Sequence[str] | None) -> frozenset[str]:
    names = sorted(schema.DOMAINS) if domains is None else domains
    there = {field for name in names for field in schema.FIELDS[name]}
    for column in columns:
        if column not in there:
            near = difflib.get_close_matches(column, sorted(there), 1)
            raise KeyError(f"no field {column!r} in {', '.join(names)}" + (f"; did you mean {near[0]}?" if near else ""))
    return frozenset(columns)


def _uuid(raw: bytes) -> str:
    text = raw.hex()
    return "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:]))
