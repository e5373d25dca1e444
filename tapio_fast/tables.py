# SPDX-License-Identifier: Apache-2.0
"""Table: rows of a domain as Arrow sees them, for pyarrow, Polars, pandas, DuckDB and whatever else takes the PyCapsule interface.

Columns are those of the dtype, as people ask for them: `time` (UTC) first, names instead of the numbers of type and subtype, texts and
addresses as text (what is not UTF-8 spelt \\xNN), args as a list; then boot_id, run_id, epoch and severity. Relies on `_core._arrow`,
`schema`, `errors`; pyarrow, Polars and pandas are imported when asked for.
"""
from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tapio_fast import schema
from tapio_fast._core import _arrow, _store
from tapio_fast.errors import MissingExtraError

if TYPE_CHECKING:
    from tapio_fast._core._engine import Batch
    from tapio_fast.batch import RecordBatch

Source = Callable[[], "Iterable[RecordBatch] | _store.Reader"]
_ROWS = 1 << 16             # rows from which on a part of a table is given
_BYTES = 1 << 25            # bytes of memory of batches, likewise
_FORMATS = {"u": {1: "C", 2: "S", 4: "I", 8: "L"}, "i": {1: "c", 2: "s", 4: "i", 8: "l"}, "f": {4: "f", 8: "g"}}


def columns_of(domain: str | None) -> tuple[str, ...]:
    """Return the names of the columns of a domain's table; None = those of all domains together."""
    return _arrow.columns_of(_number(domain))


def fields_behind(columns: Iterable[str]) -> frozenset[str]:
    """Return the names of the fields that columns are made of, in whichever domain; some are no field's."""
    needed = set(columns)
    if "severity" in needed:
        needed |= {"subtype", "errno", "signal"}
    if any(name.endswith("_ip") for name in needed):
        needed.add("family")
    return frozenset(needed)


def _number(domain: str | None) -> int:
    return _arrow.EVENTS if domain is None else schema.check_domain(domain)


def _parts(batches: Iterable[RecordBatch]) -> Iterator[list[Batch]]:
    """Put small batches together: a consumer works on a part at a time."""
    part: list[Batch] = []
    rows = size = 0
    for batch in batches:
        part.append(batch._core)
        rows += len(batch)
        size += batch.nbytes
        if rows >= _ROWS or size >= _BYTES:
            yield part
            part, rows, size = [], 0, 0
    if part:
        yield part


def _extra(package: str, extra: str, instead: str) -> Any:
    try:
        return importlib.import_module(package)
    except ImportError:
        raise MissingExtraError(f"cannot make the table: {package} is not installed; run pip install 'tapio_fast[{extra}]', or {instead}"
                                ) from None


class Exported:
    """What gives itself to others as an Arrow stream; subclasses say how."""

    __slots__ = ()

    def __arrow_c_schema__(self) -> object:
        """Return the schema as a capsule."""
        raise NotImplementedError

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        """Return a stream of the rows as a capsule, anew each time. Another schema than the own one cannot be asked for."""
        raise NotImplementedError

    def to_arrow(self) -> Any:
        """Return a pyarrow.Table. Raises MissingExtraError without pyarrow."""
        return _extra("pyarrow", "arrow", "use what takes __arrow_c_stream__").table(self)

    def to_polars(self) -> Any:
        """Return a polars.DataFrame. Raises MissingExtraError without Polars."""
        return _extra("polars", "polars", "use what takes __arrow_c_stream__").DataFrame(self)

    def to_pandas(self) -> Any:
        """Return a pandas.DataFrame. Raises MissingExtraError without pandas and pyarrow."""
        _extra("pandas", "pandas", "use to_arrow() or to_polars()")
        return self.to_arrow().to_pandas()


class Table(Exported):
    """Rows of one domain (or the common fields of all) as an Arrow stream: `pyarrow.table(t)`, `polars.DataFrame(t)`, DuckDB's `FROM t`.

    domain : str, or None for all of them
    columns : tuple of names
    """

    __module__ = "tapio_fast"
    __slots__ = ("_filled", "_source", "columns", "domain")

    def __init__(self, source: Source, domain: str | None, columns: Sequence[str] | None = None,
                 filled: frozenset[str] | None = None) -> None:
        """Make a table of the batches (or the store's reader) that `source()` gives each time it is called.

        filled : the columns that are not left null; None = all
        """
        there = columns_of(domain)
        self.columns = there if columns is None else tuple(dict.fromkeys(columns))
        for name in self.columns:
            if name not in there:
                raise KeyError(f"{domain or 'a table of all domains'} has no column {name!r}; it has {', '.join(there)}")
        if not self.columns:
            raise ValueError(f"a table needs a column; {domain or 'a table of all domains'} has {', '.join(there)}")
        self.domain = domain
        self._source = source
        self._filled = filled

    def __arrow_c_schema__(self) -> object:
        """Return the schema as a capsule."""
        return _arrow.batch_schema(_number(self.domain), self.columns)

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        """Return a stream of the rows as a capsule; a store is read again for each."""
        source = self._source()
        lists = source if isinstance(source, _store.Reader) else _parts(source)
        return _arrow.batch_stream(_number(self.domain), lists, columns=self.columns, wanted=self._filled)

    def __repr__(self) -> str:
        return f"<Table {self.domain or 'events'} columns={len(self.columns)}>"


class Arrays(Exported):
    """Arrays of equal length as an Arrow stream: numbers, bool, datetime64[ns] (UTC) and str (object)."""

    __slots__ = ("_empty", "_metadata", "_parts")

    def __init__(self, empty: dict[str, np.ndarray], parts: Callable[[], Iterable[dict[str, np.ndarray]]],
                 metadata: Mapping[str, str] | None = None) -> None:
        """Make a table of what `parts()` gives each time it is called, all with the columns and dtypes of `empty`."""
        self._empty, self._parts, self._metadata = empty, parts, metadata or {}

    def _columns(self) -> list[tuple[str, str]]:
        return [(name, _format(array.dtype)) for name, array in self._empty.items()]

    def __arrow_c_schema__(self) -> object:
        """Return the schema as a capsule."""
        return _arrow.array_schema(self._columns(), self._metadata)

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        """Return a stream of the rows as a capsule."""
        parts = ((len(next(iter(part.values()))), [_buffers(part[name]) for name in self._empty]) for part in self._parts())
        return _arrow.array_stream(self._columns(), parts, self._metadata)


def _format(dtype: np.dtype) -> str:
    return {"O": "u", "b": "b", "M": "tsn:UTC"}.get(dtype.kind) or _FORMATS[dtype.kind][dtype.itemsize]


def _buffers(array: np.ndarray) -> list[bytes]:
    if array.dtype == object:
        texts = [text.encode("utf-8", "backslashreplace") for text in array.tolist()]
        offsets = np.zeros(len(texts) + 1, np.int32)
        np.cumsum([len(text) for text in texts], out=offsets[1:])
        return [offsets.tobytes(), b"".join(texts)]
    return [np.packbits(array, bitorder="little").tobytes() if array.dtype == bool else array.tobytes()]
