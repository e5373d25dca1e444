# SPDX-License-Identifier: Apache-2.0
"""RecordBatch: the rows of all domains drained together, as numpy arrays over the engine's memory. Relies on `_core._engine`.

Nothing is copied by `batch["process"]`: the array looks at the arena that the pump filled and keeps it alive. A kept batch is no
longer charged to the collector's pool, only to `performance.memory_limit_mb`, so `list(collector.batches(...))` is safe up to that
limit; beyond it the loss is counted like any other.
"""
from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tapio_fast import schema
from tapio_fast._core import _engine

if TYPE_CHECKING:
    import uuid

    from tapio_fast.events import RawEvent
    from tapio_fast.filtering import EventFilter
    from tapio_fast.tables import Table


class Strings(Sequence[bytes]):
    """The texts of one field in row order.

    offsets : ndarray, shape (n + 1,), u8, bytes into `data`
    data : bytes
    """

    __slots__ = ("data", "offsets")

    def __init__(self, offsets: np.ndarray, data: bytes) -> None:
        self.offsets = offsets
        self.data = data

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        i = index if index >= 0 else index + len(self)
        if not 0 <= i < len(self):
            raise IndexError(index)
        return self.data[self.offsets[i]:self.offsets[i + 1]]

    def decode(self, errors: str = "backslashreplace") -> list[str]:
        """Return the texts as str; bytes that are not UTF-8 become \\xNN."""
        return [text.decode("utf-8", errors) for text in self]

    def __repr__(self) -> str:
        return f"<Strings n={len(self)} bytes={len(self.data)}>"


class RecordBatch:
    """Rows of all domains drained together. Iterate `domains`, index by domain name, or ask for columns, texts and events."""

    __slots__ = ("_arrays", "_core", "_counts")
    __module__ = "tapio_fast"

    def __init__(self, core: _engine.Batch) -> None:
        self._core = core
        self._counts: dict[str, int] = {schema.DOMAIN_NAMES[d]: n for d, n in core.counts().items() if d in schema.DOMAIN_NAMES}
        self._arrays: dict[str, np.ndarray] = {}

    def __len__(self) -> int:
        return len(self._core)

    @property
    def domains(self) -> list[str]:
        """Names of the domains that have rows."""
        return list(self._counts)

    def count(self, domain: int) -> int:
        """Return how many rows a domain has, by its number."""
        return self._counts.get(schema.DOMAIN_NAMES.get(domain, ""), 0)

    def __contains__(self, domain: object) -> bool:
        return domain in self._counts

    def __getitem__(self, domain: str) -> np.ndarray:
        """Return the rows of a domain: structured array, shape (n,), read-only, no copy; empty when there are none."""
        rows = self._arrays.get(domain)
        if rows is None:
            number = schema.check_domain(domain)
            owner = self._core.rows(number)
            rows = schema.empty(domain) if owner is None else np.frombuffer(memoryview(owner), schema.DTYPES[domain])
            self._arrays[domain] = rows
        return rows

    def strings(self, domain: str, field: str) -> Strings:
        """Return the texts of one field, one per row. args of a process are NUL separated."""
        number = schema.check_domain(domain)
        fields = schema.TEXT_FIELDS[domain]
        if field not in fields:
            raise KeyError(f"{domain} has no text field {field!r}; it has {', '.join(fields) or 'none'}")
        offsets, data = self._core.gather(number, fields[field])
        return Strings(np.frombuffer(offsets, np.uint64), data)

    def columns(self, domain: str | None = None) -> dict[str, np.ndarray]:
        """Return contiguous copies of the fields of a domain (texts apart), or of the common fields of all domains.

        Returns dict: field -> ndarray, shape (n,) or (n, 16) for addresses.
        """
        if domain is None:
            parts = [self._split(d, schema.HEADER_FIELDS) for d in self._counts]
            if not parts:
                return self._split("cpu", schema.HEADER_FIELDS)
            return {f: np.concatenate([p[f] for p in parts]) for f in schema.HEADER_FIELDS}
        schema.check_domain(domain)
        return self._split(domain, tuple(f for f in schema.DTYPES[domain].names or () if f not in schema.TEXT_FIELDS[domain]))

    def _split(self, domain: str, fields: tuple[str, ...]) -> dict[str, np.ndarray]:
        dtype = schema.DTYPES[domain]
        n = self._counts.get(domain, 0)
        places = [dtype.fields[f] for f in fields]  # type: ignore[index]
        out = [np.empty((n, *p[0].shape), p[0].base) for p in places]
        offsets = [(p[1], p[0].itemsize) for p in places]
        if n:
            self._core.split(schema.DOMAINS[domain], offsets, [a.reshape(-1).view(np.uint8) for a in out])
        return dict(zip(fields, out, strict=True))

    @property
    def epoch(self) -> int:
        """Number of the (last) epoch in the batch."""
        return self._core.info[0]

    @property
    def watermark_ns(self) -> int:
        """Boot time in ns up to which every record has been drained."""
        return self._core.info[1]

    @property
    def wall_offset_ns(self) -> int:
        """ns to add to ts_ns for Unix time."""
        return self._core.info[2]

    @property
    def boot_id(self) -> uuid.UUID:
        """Boot of the machine the records come from."""
        import uuid

        return uuid.UUID(bytes=self._core.info[3])

    @property
    def run_id(self) -> int:
        """Boot time in ns at which the collection's ledger was made; with boot_id, cpu, lane and seq it names a record."""
        return self._core.info[4]

    @property
    def loss(self) -> dict[str, int]:
        """Ledger delta since the batch before, over all CPUs and kinds: name -> records."""
        return {name: n for name, n in zip(schema.LEDGER, self._core.loss, strict=False) if name is not None}

    @property
    def nbytes(self) -> int:
        """Bytes of memory that the batch keeps."""
        return self._core.nbytes

    def time(self, domain: str) -> np.ndarray:
        """Return datetime64[ns] in UTC, shape (n,), from ts_ns and the wall clock offset of the epoch."""
        ts = self[domain]["ts_ns"].astype(np.int64)
        return (ts + self.wall_offset_ns).view("datetime64[ns]")

    def severity(self, domain: str) -> np.ndarray:
        """Return u1[n]: Severity by kind; a failed operation or a killed process is at least WARNING (3)."""
        rows = self[domain]
        out = schema.severity_table()[schema.check_domain(domain)][rows["subtype"]]
        names = rows.dtype.names or ()
        failed = rows["errno"] != 0 if "errno" in names else np.zeros(len(rows), bool)
        if domain == "process":
            failed = (rows["subtype"] == schema.KIND_BY_NAME["process.exit"].subtype) & (rows["signal"] != 0)
        worst: np.ndarray = np.maximum(out, np.where(failed, 3, 1).astype(np.uint8))
        return worst

    def copy(self) -> RecordBatch:
        """Return a batch with memory of its own."""
        return RecordBatch(_engine.concat([self._core]))

    def filter(self, filter: EventFilter | str) -> RecordBatch:
        """Return the rows that a filter keeps, as a copy; this batch is unchanged. meta rows always stay.

        A filter that joins facts (parent_exe, container_id ...) learns them from the batches it is given, in their order: use one
        EventFilter for all of them. Raises FilterError.
        """
        from tapio_fast.filtering import as_filter

        return RecordBatch(self._core.select(as_filter(filter)._masks(self)))

    def table(self, domain: str | None = None, *, columns: Sequence[str] | None = None) -> Table:
        """Return the rows of a domain (None: the common fields of all but meta) as an Arrow stream.

        columns : names, in order; None = all: `time`, the fields, `boot_id`, `run_id`, `epoch`, `severity`
        Returns Table: pyarrow.table(t), polars.DataFrame(t), DuckDB's FROM t, t.to_pandas().
        """
        from tapio_fast.tables import Table

        return Table(lambda: (self,), domain, columns)

    def __arrow_c_schema__(self) -> object:
        """Return the schema of table() as a capsule."""
        return self.table().__arrow_c_schema__()

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        """Return the common fields of all rows but meta as an Arrow stream."""
        return self.table().__arrow_c_stream__(requested_schema)

    def to_polars(self, domain: str | None = None) -> Any:
        """Return table(domain) as a polars.DataFrame. Raises MissingExtraError without Polars."""
        return self.table(domain).to_polars()

    def to_pandas(self, domain: str | None = None) -> Any:
        """Return table(domain) as a pandas.DataFrame. Raises MissingExtraError without pandas and pyarrow."""
        return self.table(domain).to_pandas()

    @staticmethod
    def concat(batches: Sequence[RecordBatch]) -> RecordBatch:
        """Return one batch out of several, in order; epoch and watermark are the last one's, loss is summed."""
        if not batches:
            raise ValueError("concat needs at least one batch")
        return RecordBatch(_engine.concat([b._core for b in batches]))

    def sorted(self) -> RecordBatch:
        """Return a copy with the rows of each domain by (ts_ns, cpu, lane, seq)."""
        return RecordBatch(self._core.sorted())

    def events(self) -> Iterator[RawEvent]:
        """Yield RawEvent objects of all domains but meta, in time order: convenient and slow."""
        return (event for _, _, event in self.placed_events())

    def placed_events(self, chosen: Mapping[str, np.ndarray] | None = None) -> Iterator[tuple[str, int, RawEvent]]:
        """Yield (domain, index of its row, event), as events() does.

        chosen : {domain: bool[n]}, the rows to yield; None = all
        """
        from tapio_fast.events import RawEvent

        domain, row = self._core.order()
        texts = {d: {f: self.strings(d, f) for f in schema.TEXT_FIELDS[d]} for d in self._counts}
        for d, i in zip(domain, np.frombuffer(row, np.uint32).tolist(), strict=True):
            name = schema.DOMAIN_NAMES[d]
            if name != schema.META and (chosen is None or chosen[name][i]):
                strings = {f: column[i] for f, column in texts[name].items()}
                yield name, i, RawEvent.from_row(self[name][i], strings, self.wall_offset_ns)

    def __repr__(self) -> str:
        counts = " ".join(f"{d}={n}" for d, n in self._counts.items())
        return f"<RecordBatch epoch={self.epoch} rows={len(self)} {counts}>".replace(" >", ">")
