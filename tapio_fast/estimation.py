# SPDX-License-Identifier: Apache-2.0
"""estimate(): how much there was, told from the records that sampling kept, with error bars; and Estimates, the table it returns.

Every record carries its weight, the inverse of the chance with which it was kept, so a sum of weight x value is an unbiased estimate of
the sum over all records (Horvitz and Thompson). How sure it is depends on how fates were drawn, which RATE rows tell: record by
record, or once for all records of a process or connection. docs/sampling.md says what the columns mean. Relies on `_estimate_*`,
`batch`, `schema`, `tables`.
"""
from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from tapio_fast import schema
from tapio_fast._escape import escape
from tapio_fast._estimate_books import CONNECTION, PROCESS, RECORD, UNKNOWN, Books
from tapio_fast._estimate_clusters import Connections, clustered, names
from tapio_fast._estimate_keys import check_field, make_key
from tapio_fast._estimate_sums import RELIABLE_N, RELIABLE_SHARE, Sums, cluster_totals, interval, moments, starts_of
from tapio_fast.batch import RecordBatch
from tapio_fast.tables import Arrays, Exported

if TYPE_CHECKING:
    from tapio_fast.store import RawStore

Keyed = Literal["process", "connection", False] | None
MAX_KEYS = 1_000_000
_SLICE = 1 << 17            # rows worked on at a time
_PASS = 1 << 14             # rows that are enough for a pass
_SHOWN = 20                 # rows of a repr
# kinds whose rows stand for several operations that the kernel added up, and by domain the field that says how many
_COUNTED = ("file.read", "file.write", "memory.page_fault", "memory.reclaim", "memory.compaction", "memory.limit",
            "security.capability_denied")
_COUNTS = {"file": "count", "memory": "count", "security": "object_id"}
# columns of sums by key, after which come the three of moments()
_N, _TOTAL, _SEEN, _SAMPLED, _SIZE, _BAD, _UNKNOWN, _NEGATIVE, _MOMENTS = range(9)
_WIDTH = _MOMENTS + 3
_RESULTS = ("estimate", "std_error", "ci_low", "ci_high", "n", "unobserved", "reliable")


class Estimates(Exported):
    """A table of estimates: `columns` as numpy arrays, or Arrow by `pyarrow.table(e)`, `polars.DataFrame(e)`, DuckDB's `FROM e`.

    domain, by, value : what was asked
    columns : dict of arrays, one row per key, keys ascending: the fields of `by` (names, texts and addresses as str), then
        estimate, std_error, ci_low, ci_high f8; n, unobserved i8; reliable bool
    unobserved : dict, kind -> records of it that were lost before anybody saw them
    missing_epochs : int, epochs left out between those read: what was in them is in no column
    """

    __module__ = "tapio_fast"
    __slots__ = ("by", "columns", "domain", "missing_epochs", "unobserved", "value")

    def __init__(self, domain: str, by: tuple[str, ...], value: str, columns: dict[str, np.ndarray], unobserved: dict[str, int],
                 missing_epochs: int) -> None:
        self.domain, self.by, self.value = domain, by, value
        self.columns = columns
        self.unobserved = unobserved
        self.missing_epochs = missing_epochs

    def __len__(self) -> int:
        return len(self.columns["estimate"])

    def __getitem__(self, name: str) -> np.ndarray:
        return self.columns[name]

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Yield a dict per row, of Python values."""
        for values in zip(*(column.tolist() for column in self.columns.values()), strict=True):
            yield dict(zip(self.columns, values, strict=True))

    def _arrays(self) -> Arrays:
        told = {"domain": self.domain, "by": list(self.by), "value": self.value, "confidence": 0.95, "unobserved": self.unobserved,
                "missing_epochs": self.missing_epochs}
        return Arrays(self.columns, lambda: [self.columns], {"tapio_fast.estimate": json.dumps(told)})

    def __arrow_c_schema__(self) -> object:
        """Return the schema as a capsule; its metadata says what was asked, and what was not observed by kind."""
        return self._arrays().__arrow_c_schema__()

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        """Return a stream of the rows as a capsule."""
        return self._arrays().__arrow_c_stream__()

    def __repr__(self) -> str:
        by = f" by={','.join(self.by)}" if self.by else ""
        head = f"<Estimates {self.domain}{by} value={self.value} rows={len(self)} unobserved={sum(self.unobserved.values())}>"
        cells = [list(self.columns), *([_cell(c[i]) for c in self.columns.values()] for i in range(min(len(self), _SHOWN)))]
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        lines = ["  ".join(f"{text:>{width}}" for text, width in zip(row, widths, strict=True)) for row in cells]
        more = [f"... {len(self) - _SHOWN} more"] if len(self) > _SHOWN else []
        return "\n".join([head, *lines, *more])


def _cell(value: Any) -> str:
    if isinstance(value, str):
        return escape(value)
    if isinstance(value, np.bool_):
        return "yes" if value else "no"
    return f"{value:,.1f}" if isinstance(value, np.floating) else str(value)


def estimate(source: RecordBatch | Iterable[RecordBatch] | RawStore, domain: str, *, by: str | Sequence[str] = (), value: str = "count",
             keyed: Keyed = None, max_keys: int = MAX_KEYS) -> Estimates:
    """Estimate counts or sums over all records, sampled ones weighed, with standard errors and 95 % intervals.

    source : a RecordBatch, an iterable of them (a list, `collector.batches(...)`, `store.scan(...)` with the meta domain), or a RawStore
    domain : "network", "file", ...; not "meta"
    by : fields of the domain to group by; one row in all without any
    value : "count" (operations: rows into which the kernel added several up count as many), "records" (rows), or a field to sum
    keyed : how fates were drawn; None = as the RATE rows say, "process", "connection" (network), False = record by record
    max_keys : distinct keys at most, and processes or connections beside them where fates hang on those
    Returns Estimates. Memory follows the number of keys, not of records.
    Raises KeyError (no such domain or field), ValueError (nothing can be grouped by or summed over it), OutOfMemoryError (max_keys).
    """
    asked = _Question(domain, (by,) if isinstance(by, str) else tuple(by), value, keyed, max_keys)
    for batch in _together(_batches(source, domain)):
        asked.read(batch)
    return asked.answer()


estimate.__module__ = "tapio_fast"


def _batches(source: Any, domain: str) -> Iterator[RecordBatch]:
    if isinstance(source, RecordBatch):
        yield source
        return
    found = source.scan(domains=[domain, schema.META]) if hasattr(source, "scan") else source
    for batch in found:
        if not isinstance(batch, RecordBatch):
            raise TypeError(f"estimate takes a RecordBatch, several, or a RawStore, not {type(batch).__name__}")
        yield batch


def _some(which: np.ndarray) -> np.ndarray | None:
    return which.astype(float) if which.any() else None


def _together(batches: Iterator[RecordBatch]) -> Iterator[RecordBatch]:
    """Make one batch out of small ones that follow each other: epochs of a quiet machine are a few rows, and each costs a millisecond."""
    pile: list[RecordBatch] = []
    rows = 0
    for batch in batches:
        # one without meta rows has its losses in its header only, which concat would add to those that EPOCH rows tell
        alone = len(batch) >= _PASS or schema.META not in batch
        if pile and (alone or rows >= _PASS or batch._core.info[3:] != pile[0]._core.info[3:]):
            yield RecordBatch.concat(pile)
            pile, rows = [], 0
        if alone:
            yield batch
        else:
            pile.append(batch)
            rows += len(batch)
    if pile:
        yield RecordBatch.concat(pile)


class _Question:
    """What was asked, and the sums so far."""

    def __init__(self, domain: str, by: tuple[str, ...], value: str, keyed: Keyed, max_keys: int) -> None:
        schema.check_domain(domain)
        if domain == schema.META:
            raise ValueError("meta records are about the collection and are never sampled; estimate another domain")
        if len(set(by)) < len(by):
            raise ValueError(f"a field is twice in by={list(by)}")
        if keyed not in (None, False, "process", "connection") or (keyed == "connection" and domain != "network"):
            raise ValueError(f'keyed is None, False, "process" or, for network, "connection", not {keyed!r} for {domain}')
        self.domain, self.by, self.value = domain, by, value
        self._drawn = {None: None, False: RECORD, "process": PROCESS, "connection": CONNECTION}[keyed]
        self._counted = _counted(domain, value)
        self._keys = [make_key(domain, field, max_keys) for field in by]
        self._width = sum(key.width for key in self._keys)
        what = f"{domain} by {', '.join(by)}" if by else domain
        self._groups = Sums(self._width, _WIDTH, 1, limit=max_keys, what=what)
        # a part of a cluster: its key, then collection, way of drawing, two numbers that name process or connection, bits of the weight
        self._parts = Sums(self._width + 5, 1, limit=max_keys, what=what)
        self._books = Books(domain)
        self._connections = Connections(max_keys)

    def read(self, batch: RecordBatch) -> None:
        """Add a batch."""
        self._books.read(batch)
        rows = batch[self.domain]
        drawn = self._books.drawn(batch, rows)      # also without rows: RATE rows may be there
        if self._drawn is not None:
            drawn = np.full(len(rows), self._drawn, np.uint8)
        if len(rows):
            keys = np.concatenate([np.empty((0, len(rows)), np.uint64), *(key.encode(batch) for key in self._keys)])
            turns = np.zeros(len(rows), np.uint64)
            if (drawn == CONNECTION).any():
                turns = self._connections.turns(rows, self._books.run)
            for i in range(0, len(rows), _SLICE):
                part = slice(i, i + _SLICE)
                self._add(rows[part], keys[:, part], drawn[part], turns[part])

    def _values(self, rows: np.ndarray) -> np.ndarray:
        if self.value == "count":
            if not self._counted.any():
                return np.ones(len(rows))
            return np.where(self._counted[rows["subtype"]], rows[_COUNTS[self.domain]], 1).astype(float)
        return np.ones(len(rows)) if self.value == "records" else rows[self.value].astype(float)

    def _add(self, rows: np.ndarray, keys: np.ndarray, drawn: np.ndarray, turns: np.ndarray) -> None:
        y, w = self._values(rows), rows["weight"].astype(float)
        bad = ~((w >= 1) & np.isfinite(w))      # no inverse of a chance: the record was seen, so it counts once
        w[bad] = 1.0
        sums: list[np.ndarray | None] = [None] * _WIDTH
        sums[_N], sums[_TOTAL], sums[_SEEN] = np.ones(len(rows)), w * y, y
        sums[_NEGATIVE], sums[_BAD] = _some(y < 0), _some(bad)
        sampled = w > 1
        top = None
        if sampled.any():
            shared = sampled & clustered(self.domain, rows, drawn)
            alone = w * y * (sampled & ~shared)
            extra = (w - 1) * y
            top = np.abs(alone)
            sums[_SAMPLED], sums[_SIZE], sums[_UNKNOWN] = sampled.astype(float), top, _some(sampled & (drawn == UNKNOWN))
            sums[_MOMENTS:] = moments(extra, alone * extra)
            if shared.any():
                self._add_parts(rows[shared], keys[:, shared], drawn[shared], turns[shared], y[shared])
        self._groups.add(keys, sums, [top])

    def _add_parts(self, rows: np.ndarray, keys: np.ndarray, drawn: np.ndarray, turns: np.ndarray, y: np.ndarray) -> None:
        first, second = names(self.domain, rows, drawn, turns)
        bits = np.ascontiguousarray(rows["weight"]).view(np.uint32)      # of positive floats: they sort as the weights do
        run = np.full(len(rows), self._books.run)
        named = [column.astype(np.uint64)[np.newaxis] for column in (run, drawn, first, second, bits)]
        self._parts.add(np.concatenate([keys, *named]), [y])

    def _close_clusters(self) -> None:
        """Add what the totals of processes and connections say of the variance."""
        parts = self._parts
        parts.fold()
        starts = starts_of(parts.keys[:-1])
        weights = parts.keys[-1].astype(np.uint32).view(np.float32).astype(float)
        plain, weighted, variance = cluster_totals(starts, weights, parts.sums[0])
        sums: list[np.ndarray | None] = [None] * _WIDTH
        sums[_SIZE] = np.abs(weighted)
        sums[_MOMENTS:] = moments(weighted - plain, variance)
        self._groups.add(parts.keys[:self._width, starts], sums, [sums[_SIZE]])

    def _name_the_lost(self) -> None:
        """Give kinds of which all was lost a row where kinds are what is asked, and a sum over nothing its row of zeros."""
        if set(self.by) <= {"type", "subtype"}:
            lost = np.flatnonzero(self._books.lost).tolist() if "subtype" in self.by else [0] * (not self._groups.keys.shape[1])
            codes = {"type": np.full(len(lost), schema.DOMAINS[self.domain]), "subtype": np.array(lost)}
            keys = np.array([codes[field] for field in self.by], np.uint64).reshape(len(self.by), len(lost))
            self._groups.add(keys, [None] * _WIDTH, [None])

    def answer(self) -> Estimates:
        """Return the table."""
        groups = self._groups
        groups.fold()
        self._close_clusters()
        self._name_the_lost()
        groups.fold()
        places = np.cumsum([0, *(key.width for key in self._keys)])
        codes = [groups.keys[i:j] for i, j in zip(places, places[1:], strict=False)]
        sums, top = groups.sums, groups.maxima[0]
        total = sums[_TOTAL]
        error, low, high = interval(total, np.where(sums[_NEGATIVE] > 0, -np.inf, sums[_SEEN]), sums[_MOMENTS:])
        sampled = sums[_SAMPLED]
        # one in the last place: a hundred equal records hold a hundredth each
        shared = top <= RELIABLE_SHARE * sums[_SIZE] * (1 + 1e-9)
        trusted = (sums[_N] > 0) | (not self._books.sampled)
        trusted &= (sampled == 0) | ((sampled >= RELIABLE_N) & shared & (sums[_UNKNOWN] == 0))
        results = (total, error, low, high, sums[_N].astype(np.int64), self._unobserved(codes), trusted & (sums[_BAD] == 0))
        columns = {key.field: key.decode(code) for key, code in zip(self._keys, codes, strict=True)}
        columns |= dict(zip(_RESULTS, results, strict=True))
        if self._keys:
            ranks = np.concatenate([key.order(code) for key, code in zip(self._keys, codes, strict=True)])
            order = np.lexsort(ranks[::-1])
            columns = {name: column[order] for name, column in columns.items()}
        return Estimates(self.domain, self.by, self.value, columns, self._books.by_kind(), self._books.missing_epochs)

    def _unobserved(self, codes: list[np.ndarray]) -> np.ndarray:
        """Return how many records of the domain nobody saw that may belong to each row."""
        known = {field: code[0] for field, code in zip(self.by, codes, strict=True) if field in ("subtype", "cgroup_id")}
        return self._books.unobserved(self._groups.keys.shape[1], known.get("subtype"), known.get("cgroup_id"))


def _counted(domain: str, value: str) -> np.ndarray:
    """Return bool[256]: subtypes whose rows stand for several operations; check that the value can be summed."""
    out = np.zeros(256, bool)
    if value in ("count", "records"):
        kinds = [schema.KIND_BY_NAME[name] for name in _COUNTED]
        out[[k.subtype for k in kinds if k.domain == domain]] = True
        return out
    dtype = check_field(domain, value)
    if dtype.kind not in "uif" or dtype.shape:
        raise ValueError(f"{domain}.{value} is not a number, which estimate() could sum")
    return out
