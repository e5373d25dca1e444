# SPDX-License-Identifier: Apache-2.0
"""Questions to a raw store in SQL, answered by DuckDB over tables that are read from the store while the query runs.

DuckDB does not tell an Arrow stream which columns and which rows it wants. So the query is planned twice: first over empty tables of
the same schema, whose scans say in the plan what is read of them; then over streams that fill just those columns, and leave out what
lies outside the asked time. DuckDB still applies every condition itself, so what cannot be read from a plan costs time, not rows.
Relies on `tables`, `estimation`, `schema`, `errors`; duckdb is imported when a question is asked.
"""
from __future__ import annotations

import datetime as dt
import functools
import importlib
import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tapio_fast import schema
from tapio_fast._times import MAX_NS, MIN_NS
from tapio_fast.errors import MissingExtraError
from tapio_fast.filtering import _blocks
from tapio_fast.tables import Arrays, Exported, Table, columns_of

if TYPE_CHECKING:
    from tapio_fast._core import _store
    from tapio_fast.batch import RecordBatch

Rows = Callable[[str | None, "Asked"], "Iterable[RecordBatch] | _store.Reader"]      # of a domain, None: of all but meta
_LEDGER_PART = 1 << 14      # epochs of a part of the table
_NO_STATISTICS = "statistics_propagation,empty_result_pullup,compressed_materialization,join_filter_pushdown"   # stand-ins are empty
_MOMENT = r"'(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d)(?:\.(\d{1,9}))?\+00'::TIMESTAMPTZ_NS"
_TIME = re.compile(rf"\(time (>=|>|<=|<|=) {_MOMENT}\)")
_TIMES = re.compile(rf"\(?{_TIME.pattern}(?: AND {_TIME.pattern})*\)?")
# whatever tells the time in DuckDB; a column of such a name costs time, not rows
_CLOCK = re.compile(r"(?i)\b(now|today|age|transaction_timestamp|\w*current_\w+|localtime\w*)\b")
# pid = 5, optional: pid IN (5, 6), subtype = 'connect'; numbers without a sign, names without a quote in them
_VALUES = re.compile(r"(?:optional: )?\(?(pid|cgroup_id|source_port|dest_port|subtype) (?:= (\d+|'\w+')|IN \(((?:\d+|'\w+')(?:, (?:\d+|'\w+'))*)\))\)?")
_LEDGER_COLUMNS: dict[str, Any] = {"time": "M8[ns]", "boot_id": object, "run_id": "u8", "epoch": "u8",
                   **{name: "u8" for name in schema.LEDGER if name is not None}}
_ESTIMATE_COLUMNS = {"domain": object, "subtype": object, "estimate": "f8", "std_error": "f8", "ci_low": "f8", "ci_high": "f8", "n": "i8",
                     "unobserved": "i8", "reliable": "?"}


def _duckdb() -> Any:
    try:
        return importlib.import_module("duckdb")
    except ImportError:
        raise MissingExtraError("cannot answer SQL: duckdb is not installed; run pip install 'tapio_fast[duckdb]', or use scan() and table()"
                                ) from None


class Asked:
    """What a query reads of one table: columns (None = all), rows with since_ns <= time < until_ns, blocks that may have them (None = all)."""

    __slots__ = ("blocks", "columns", "since_ns", "until_ns")

    def __init__(self, columns: frozenset[str] | None = None, since_ns: int = MIN_NS, until_ns: int = MAX_NS,
                 blocks: _blocks.Asked | None = None) -> None:
        self.columns, self.since_ns, self.until_ns, self.blocks = columns, since_ns, until_ns, blocks

    def __or__(self, other: Asked) -> Asked:
        both = None if self.columns is None or other.columns is None else self.columns | other.columns
        blocks = None if self.blocks is None or other.blocks is None else _blocks.either(self.blocks, other.blocks)
        return Asked(both, min(self.since_ns, other.since_ns), max(self.until_ns, other.until_ns), blocks)


def _texts(value: Any) -> list[str] | None:
    """Return a plan's list of texts, which is a text where it has one; None where it is something else."""
    found = [value] if isinstance(value, str) else value
    return found if isinstance(found, list) and all(isinstance(text, str) for text in found) else None


def _moment_ns(text: str, fraction: str) -> int:
    moment = dt.datetime.fromisoformat(text + "+00:00")
    return int(moment.timestamp()) * 1_000_000_000 + int(fraction.ljust(9, "0"))


def _span(filters: Iterable[str]) -> tuple[int, int]:
    """Read the range of time out of the conditions of a scan, all of which hold; what is not understood narrows nothing."""
    since, until = MIN_NS, MAX_NS
    for text in filters:
        if not _TIMES.fullmatch(text):
            continue
        for sign, day, fraction in _TIME.findall(text):
            at = _moment_ns(day, fraction)
            if sign in (">", ">=", "="):
                since = max(since, at + (sign == ">"))
            if sign in ("<", "<=", "="):
                until = min(until, at + (sign != "<"))
    return since, until


def _narrowed(filters: Iterable[str], domain: str | None) -> _blocks.Asked:
    """Read what an index can tell out of the conditions of a scan, all of which hold."""
    found = _blocks.Asked()
    for text in filters:
        match = _VALUES.fullmatch(text)
        if not match:
            continue
        name, one, several = match.groups()
        words = [one] if one is not None else re.split(r", (?=['\d])", several)
        if name == "subtype":
            if domain is None:
                continue
            more = _blocks.Asked(kinds=_blocks.kinds_of(domain, {word.strip("'") for word in words}))
        else:
            more = _blocks.of_values(name, frozenset(int(word) for word in words if word.isdecimal()))
        found = _blocks.both(found, more) or _blocks.Asked(kinds=0)
    return found


def _scans(node: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    info = node.get("extra_info", {})
    if "Table" in info:
        yield str(info["Table"]).rpartition(".")[2].strip('"'), info     # security, a word of SQL, is in quotes
    for child in node.get("children", ()):
        yield from _scans(child)


def read_plan(plan: Sequence[Mapping[str, Any]], columns: Mapping[str, Sequence[str]]) -> dict[str, Asked]:
    """Return what a query asks of each table, from DuckDB's plan (EXPLAIN (FORMAT JSON)); tables that are not scanned are left out.

    columns : table -> names of its columns
    """
    found: dict[str, Asked] = {}
    for name, info in (scan for node in plan for scan in _scans(node)):
        if name not in columns:
            continue
        filters, projected = _texts(info.get("Filters", [])), _texts(info.get("Projections"))
        words = set(re.findall(r"\w+", " ".join(filters or ())))
        if filters is None or projected is None or not set(projected) <= set(columns[name]) | {""}:
            asked = Asked()         # a plan of another DuckDB: everything
        else:
            asked = Asked(frozenset(c for c in columns[name] if c in projected or c in words), *_span(filters),
                          _narrowed(filters, _domain(name)))
        found[name] = found[name] | asked if name in found else asked
    return found


class StoreTables:
    """The tables of a store by name: a domain each, `events` (the common fields of all), `ledger`, `estimates`."""

    def __init__(self, rows: Rows, epochs: Callable[[], Iterable[RecordBatch]], source: Any) -> None:
        self._rows = rows
        self._epochs = epochs
        self._source = source
        self.columns: Mapping[str, Sequence[str]] = {name: columns_of(name) for name in schema.DOMAINS} | {"events": columns_of(None)}

    @staticmethod
    def shapes() -> dict[str, Exported]:
        """Return all tables without rows."""
        return {**{name: Table(lambda: (), _domain(name)) for name in (*schema.DOMAINS, "events")},
                "ledger": Arrays(_empty(_LEDGER_COLUMNS), lambda: ()), "estimates": Arrays(_empty(_ESTIMATE_COLUMNS), lambda: ())}

    def make(self, asked: Mapping[str, Asked]) -> dict[str, Exported]:
        """Return the tables, filled as far as it is asked of them; one that no scan of the plan names is there as a whole."""
        return {**{name: self._table(name, asked.get(name, Asked())) for name in self.columns},
                "ledger": Arrays(_empty(_LEDGER_COLUMNS), self._ledger), "estimates": Arrays(_empty(_ESTIMATE_COLUMNS), self._estimates)}

    def _table(self, name: str, asked: Asked) -> Table:
        return Table(lambda: self._rows(_domain(name), asked), _domain(name), filled=asked.columns)

    def _ledger(self) -> Iterator[dict[str, np.ndarray]]:
        lines: list[tuple[Any, ...]] = []
        for batch in self._epochs():
            lines.append((batch.watermark_ns + batch.wall_offset_ns, str(batch.boot_id), batch.run_id, batch.epoch, *batch.loss.values()))
            if len(lines) == _LEDGER_PART:
                yield _ledger_part(lines)
                lines = []
        if lines:
            yield _ledger_part(lines)

    def _estimates(self) -> Iterator[dict[str, np.ndarray]]:
        from tapio_fast.estimation import estimate

        for name in sorted(set(schema.DOMAINS) - {schema.META}):
            found = estimate(self._source, name, by="subtype").columns
            count = len(found["n"])
            if count:
                yield {"domain": np.array([name] * count, object), **{c: found[c] for c in list(_ESTIMATE_COLUMNS)[1:]}}


def _domain(table: str) -> str | None:
    return None if table == "events" else table


def _empty(columns: Mapping[str, Any]) -> dict[str, np.ndarray]:
    return {name: np.empty(0, dtype) for name, dtype in columns.items()}


def _ledger_part(lines: list[tuple[Any, ...]]) -> dict[str, np.ndarray]:
    return {name: np.array(column, _LEDGER_COLUMNS[name]) for name, column in zip(_LEDGER_COLUMNS, zip(*lines, strict=True), strict=True)}


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _ready(connection: Any) -> Any:
    connection.execute("SET TimeZone = 'UTC'")
    connection.execute("SET python_enable_replacements = false")        # a name is a table of the store, not a variable of whoever calls
    return connection


def _create(connection: Any, kind: str, tables: Mapping[str, Any]) -> None:
    shape = max(("", *tables), key=len) + "_shape"      # a name that none of them has
    for name, table in tables.items():
        connection.register(shape, table)
        connection.execute(f"CREATE {kind} {_quoted(name)} AS SELECT * FROM {_quoted(shape)} LIMIT 0")
        connection.unregister(shape)


@functools.cache
def _planner(process: int) -> Any:
    """Return a database with every table of a store, empty: made once, and again in a forked child, where DuckDB's threads are gone.

    The parent's stays in the child's cache: closing it there would wait for those threads.
    """
    connection = _duckdb().connect(":memory:")
    _ready(connection).execute(f"SET disabled_optimizers = '{_NO_STATISTICS}'")
    _create(connection, "TABLE", StoreTables.shapes())
    return connection


def _plan(query: str, params: Any, more: Mapping[str, Any], columns: Mapping[str, Sequence[str]]) -> dict[str, Asked]:
    """Plan a query over the store's tables, empty, and `more`; return what it asks of those in `columns`."""
    with _ready(_planner(os.getpid()).cursor()) as connection:
        _create(connection, "TEMP TABLE", more)
        connection.sql(query, params=params)        # what is wrong with it is told of the query as it was written
        rows = connection.execute(f"EXPLAIN (FORMAT JSON) {query}", params).fetchall()
    asked = read_plan(json.loads(rows[0][1]), columns)
    if _CLOCK.search(query):        # in the plan it is now. When rows are asked for it is later: only what is too old stays too old
        for one in asked.values():
            one.until_ns = MAX_NS
    return asked


def ask(store_tables: StoreTables, query: str, params: Any, more: Mapping[str, Any]) -> Any:
    """Return the DuckDB relation of a query over a store's tables and `more`, by name.

    Raises ValueError (not one SELECT), MissingExtraError, and DuckDB's own errors about the query.
    """
    duckdb = _duckdb()
    statements = duckdb.extract_statements(query)
    if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
        raise ValueError(f"sql() takes one SELECT (or FROM, or WITH), not {query!r}; make tables of your own in a connection of "
                         "duckdb.connect() and give it store.table(...)")
    names = [name.lower() for name in more]
    taken = sorted(name for name in more if name.lower() in StoreTables.shapes() or names.count(name.lower()) > 1)
    if taken:
        raise ValueError(f"{', '.join(taken)}: there is another table of that name; SQL takes capital and small letters for the same")
    asked = _plan(query, params, more, store_tables.columns)
    connection = _ready(duckdb.connect(":memory:"))
    for name, table in {**store_tables.make(asked), **more}.items():
        connection.register(name, table)
    return connection.sql(query, params=params)
