# SPDX-License-Identifier: Apache-2.0
"""Tables: equal to a slow reference over the rows, column by column; taken by pyarrow, Polars, pandas and DuckDB, on any thread; alive as
long as whoever took them, and no longer. The cells of hostile rows are tests/c/test_tf_arrow.c as well."""
from __future__ import annotations

import errno
import gc
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import batch_support as made
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from table_support import EVENTS, PIECES, assert_equal, batch_of, cells, random_batch, values

from tapio_fast import RecordBatch, schema
from tapio_fast.errors import MissingExtraError
from tapio_fast.tables import Arrays, Table, columns_of

pa = pytest.importorskip("pyarrow")

texts = st.lists(st.one_of(st.sampled_from(PIECES), st.binary(max_size=8), st.text(max_size=8).map(lambda t: t.encode("utf-8", "surrogatepass"))),
                 max_size=30).map(b"".join)


@pytest.mark.parametrize("domain", sorted(schema.DTYPES))
@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 1 << 32), text=texts, sizes=st.lists(st.integers(0, 12), max_size=6))
def test_equals_a_slow_reference(domain: str, seed: int, text: bytes, sizes: list[int]) -> None:
    batches = [random_batch([domain], n, seed + i, text, i) for i, n in enumerate(sizes)]
    arrow = pa.table(Table(lambda: batches, domain))
    assert arrow.num_rows == sum(sizes) and tuple(arrow.column_names) == columns_of(domain)
    assert_equal(arrow, batches, [domain])
    for batch in batches:
        assert_equal(pa.table(batch.table(domain)), [batch], [domain])


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 1 << 32), chosen=st.lists(st.sets(st.sampled_from(sorted(schema.DTYPES))), max_size=4))
def test_the_common_table_has_all_rows_but_meta(seed: int, chosen: list[set[str]]) -> None:
    batches = [random_batch(sorted(domains), 5, seed + i, number=i) for i, domains in enumerate(chosen)]
    arrow = pa.table(Table(lambda: batches, None))
    assert tuple(arrow.column_names) == ("time", *schema.HEADER_FIELDS, "boot_id", "run_id", "epoch", "severity")
    assert_equal(arrow, batches, EVENTS)


def test_a_batch_is_its_common_table() -> None:
    batch = random_batch(schema.DTYPES, 3, 1)
    assert pa.table(batch).equals(pa.table(batch.table())) and pa.schema(batch) == pa.table(batch).schema
    assert pa.table(batch).num_rows == 3 * len(EVENTS)


def arrow_type(domain: str, name: str) -> Any:
    fields: Any = schema.DTYPES[domain].fields
    by_name = {"time": pa.timestamp("ns", "UTC"), "severity": pa.uint8(), "run_id": pa.uint64(), "epoch": pa.uint64(), "data": pa.binary(),
               **dict.fromkeys(("boot_id", "type", "subtype"), pa.dictionary(pa.uint16(), pa.string()))}
    if name in by_name:
        return by_name[name]
    dtype = fields[name][0]
    if name == "args":
        return pa.list_(pa.string()) if domain == "process" else pa.list_(pa.uint64(), 6)
    return pa.string() if dtype.names or dtype.kind == "S" or dtype.shape else pa.from_numpy_dtype(dtype)


@pytest.mark.parametrize("domain", sorted(schema.DTYPES))
def test_the_types_are_those_of_the_fields_with_or_without_rows(domain: str) -> None:
    expected = [pa.field(name, arrow_type(domain, name)) for name in columns_of(domain)]
    for batches in ([], [batch_of({})], [random_batch(EVENTS, 0, 1)], [random_batch([domain], 2, 1)]):
        table = Table(lambda batches=batches: batches, domain)      # type: ignore[misc]
        arrow = pa.table(table)
        arrow.validate(full=True)
        assert list(arrow.schema) == expected and pa.schema(table) == arrow.schema
        assert arrow.num_rows == sum(len(b[domain]) for b in batches)


def test_names_are_listed_once() -> None:
    """Pandas takes no other dictionaries, and pyarrow would group by a name twice."""
    batches = [random_batch(EVENTS, 30, i, number=i) for i in range(20)]       # of boots 0, 1, 2, 3, 4, 0, 1 ...
    arrow = pa.table(Table(lambda: batches, None))
    for name in ("type", "subtype", "boot_id"):
        for chunk in arrow[name].chunks:
            names = chunk.dictionary.to_pylist()
            assert len(set(names)) == len(names), name


def test_a_name_for_each_subtype_and_each_boot() -> None:
    batches = [batch_of({"file": (made.rows_of("file", 256, subtype=np.arange(256)), b"")}, 2 * i) for i in range(5)] * 10
    assert_equal(pa.table(Table(lambda: batches, "file", ["subtype", "boot_id"])), batches, ["file"])


# --- columns ------------------------------------------------------------------------------------------------------------------------------

def test_columns_are_those_asked_for_in_that_order() -> None:
    batch = random_batch(EVENTS, 20, 1)
    for domain, names in (("process", ["args", "pid", "time", "exe", "boot_id"]), (None, ["severity", "comm", "type"]), ("network", ["dest_ip"])):
        table = batch.table(domain, columns=names)
        assert table.columns == tuple(names) == tuple(pa.table(table).column_names) == tuple(pa.schema(table).names)
        assert_equal(pa.table(table), [batch], [domain] if domain else EVENTS)
    assert batch.table("cpu", columns=["pid", "tid", "pid"]).columns == ("pid", "tid")
    assert repr(batch.table("cpu", columns=["pid"])) == "<Table cpu columns=1>"


def test_what_is_not_there_is_an_error_that_says_what_is() -> None:
    batch = batch_of({})
    with pytest.raises(KeyError, match="process has no column 'nonsense'; it has time, ts_ns, .*args, boot_id"):
        batch.table("process", columns=["pid", "nonsense"])
    with pytest.raises(KeyError, match="a table of all domains has no column 'path'; it has time, .*severity"):
        batch.table(columns=["path"])
    with pytest.raises(ValueError, match="a table needs a column; cpu has time, ts_ns"):
        batch.table("cpu", columns=[])
    with pytest.raises(KeyError, match="no domain 'nonsense'; there are container, cpu"):
        batch.table("nonsense")


@pytest.mark.parametrize("domain", [*sorted(schema.DTYPES), None])
def test_a_column_that_is_not_filled_is_null(domain: str | None) -> None:
    batches = [random_batch(schema.DTYPES, 11, i, number=i) for i in range(3)]
    whole = pa.table(Table(lambda: batches, domain))
    for seed in range(6):
        filled = frozenset(np.random.default_rng(seed).choice(columns_of(domain), seed * 3).tolist())
        arrow = pa.table(Table(lambda: batches, domain, filled=filled))
        arrow.validate(full=True)
        assert arrow.schema == whole.schema and arrow.num_rows == whole.num_rows
        for name in arrow.column_names:
            assert arrow[name].null_count == (0 if name in filled else arrow.num_rows), name
            assert values(arrow[name]) == (values(whole[name]) if name in filled else [None] * arrow.num_rows), name


# --- streams ------------------------------------------------------------------------------------------------------------------------------

def plain(n: int) -> RecordBatch:
    """A batch of n rows of zeros; 65,536 are a part of a table."""
    return batch_of({"cpu": (made.rows_of("cpu", n), b"")})


class Once:
    """A stream that was made already."""

    def __init__(self, capsule: object) -> None:
        self.capsule = capsule

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        return self.capsule


def test_a_stream_is_new_each_time_and_gives_its_rows_once() -> None:
    asked: list[int] = []

    def batches() -> Iterator[RecordBatch]:
        asked.append(1)
        yield random_batch(["cpu"], 9, 1)

    table = Table(batches, "cpu")
    assert pa.table(table).equals(pa.table(table)) and len(asked) == 2
    once = Once(table.__arrow_c_stream__())
    assert pa.table(once).num_rows == 9
    with pytest.raises(pa.ArrowInvalid, match="released"):
        pa.table(once)


def test_small_batches_are_put_together_and_no_more_is_read_than_is_given() -> None:
    asked: list[int] = []

    def batches(sizes: Sequence[int]) -> Iterator[RecordBatch]:
        for size in sizes:
            asked.append(size)
            yield plain(size)

    reader = pa.RecordBatchReader.from_stream(Table(lambda: batches([7] * 100), "cpu"))
    assert [part.num_rows for part in reader] == [700]
    del asked[:]
    reader = pa.RecordBatchReader.from_stream(Table(lambda: batches([40_000] * 5), "cpu"))
    assert asked == []
    assert reader.read_next_batch().num_rows == 80_000 and len(asked) == 2
    assert [part.num_rows for part in reader] == [80_000, 40_000]
    assert list(pa.RecordBatchReader.from_stream(Table(lambda: [], "cpu"))) == []


@pytest.mark.parametrize("error", [RuntimeError("the disk is gone: größer"), OSError(errno.ENOSPC, "the disk is gone: größer"),
                                   KeyError("the disk is gone: größer"), KeyboardInterrupt("the disk is gone: größer")])
def test_an_error_among_the_batches_reaches_the_consumer_with_its_text(error: BaseException) -> None:
    def failing() -> Iterator[RecordBatch]:
        yield plain(70_000)
        raise error

    table = Table(failing, "cpu", ["pid"])
    reader = pa.RecordBatchReader.from_stream(table)
    assert reader.read_next_batch().num_rows == 70_000
    with pytest.raises((pa.ArrowException, OSError), match=f"{type(error).__name__}: .*the disk is gone: größer"):
        reader.read_next_batch()
    with pytest.raises((pa.ArrowException, OSError), match="the disk is gone"):
        table.to_arrow()
    pl, duckdb = pytest.importorskip("polars"), pytest.importorskip("duckdb")
    with pytest.raises(pl.exceptions.PolarsError, match="the disk is gone"):
        table.to_polars()
    with pytest.raises(duckdb.Error, match="the disk is gone"):
        duckdb.from_arrow(table).fetchall()


# --- consumers ----------------------------------------------------------------------------------------------------------------------------

def test_polars_takes_it() -> None:
    pl = pytest.importorskip("polars")
    batch = random_batch(schema.DTYPES, 50, 3)
    for domain in schema.DTYPES:
        frame, arrow = batch.to_polars(domain), pa.table(batch.table(domain))
        assert frame.columns == arrow.column_names and frame.height == 50 and frame.schema["time"] == pl.Datetime("ns", "UTC")
        assert frame.with_columns(pl.col("time").cast(pl.Int64)).to_dicts() == arrow.set_column(0, "time", arrow["time"].cast("int64")).to_pylist()
    frame = pl.DataFrame(batch)
    assert frame.height == 50 * len(EVENTS) and frame["pid"].cast(pl.Int64).sum() == sum(int(batch[d]["pid"].sum(dtype=np.int64)) for d in EVENTS)
    assert dict(frame["type"].value_counts().iter_rows()) == dict.fromkeys(EVENTS, 50)


def test_pandas_takes_it() -> None:
    pytest.importorskip("pandas")
    batch = random_batch(schema.DTYPES, 50, 3)
    for domain in schema.DTYPES:
        frame = batch.to_pandas(domain)
        assert list(frame.columns) == list(columns_of(domain)) and frame["weight"].sum() == batch[domain]["weight"].sum()
        assert frame["time"].astype("int64").tolist() == cells(batch, domain, "time") and frame["comm"].tolist() == cells(batch, domain, "comm")
    frame = batch.to_pandas()
    assert frame["subtype"].tolist() == [name for d in EVENTS for name in cells(batch, d, "subtype")]


def test_duckdb_takes_it() -> None:
    duckdb = pytest.importorskip("duckdb")
    batch = random_batch(schema.DTYPES, 5000, 3)
    process, common = batch.table("process"), batch.table()
    assert process.columns and common.columns
    rows = duckdb.sql("select count(*), sum(pid)::bigint, sum(exit_code)::bigint, sum(len(args))::bigint, count(distinct comm) from process").fetchall()
    numbers, args = batch["process"], cells(batch, "process", "args")
    assert rows == [(5000, int(numbers["pid"].sum(dtype=np.int64)), int(numbers["exit_code"].sum(dtype=np.int64)), sum(map(len, args)),
                     len(set(cells(batch, "process", "comm"))))]
    assert sorted(duckdb.sql("select type, count(*) from common group by 1").fetchall()) == [(domain, 5000) for domain in sorted(EVENTS)]


def test_a_consumer_may_be_on_any_thread() -> None:
    batches = [random_batch(EVENTS, 500, i, number=i) for i in range(4)]
    table = Table(lambda: iter(batches), "process")
    expected = pa.table(table)
    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(lambda _: pa.table(table).equals(expected), range(40)))
    once, found = Once(table.__arrow_c_stream__()), []
    readers: list[Any] = []
    for work in (lambda: readers.append(pa.RecordBatchReader.from_stream(once)), lambda: found.append(readers[0].read_all()), readers.clear):
        thread = threading.Thread(target=work)      # made here, opened, read and freed on three others
        thread.start()
        thread.join()
    assert found[0].equals(expected)


# --- lifetime -----------------------------------------------------------------------------------------------------------------------------

def test_a_table_outlives_its_batch() -> None:
    batch = random_batch(["process"], 2000, 1)
    expected = {name: cells(batch, "process", name) for name in columns_of("process")}
    table, once = batch.table("process"), Once(batch.table("process").__arrow_c_stream__())
    arrow = pa.table(batch.table("process"))
    args = arrow["args"].combine_chunks().values
    del batch
    gc.collect()
    noise = [np.full(1 << 16, 0xEE, np.uint8) for _ in range(64)]       # what would lie there if it had been freed
    for one in (arrow, pa.table(once), pa.table(table)):
        assert {name: values(one[name]) for name in one.column_names} == expected
    del arrow, one
    assert args.to_pylist() == [part for parts in expected["args"] for part in parts]
    del noise


def test_streams_let_go_of_what_they_read_however_they_end() -> None:
    batch = plain(70_000)

    def failing() -> Iterator[RecordBatch]:
        yield batch
        raise RuntimeError("gone")

    before = sys.getrefcount(batch._core)
    Table(lambda: [batch] * 3, "cpu").__arrow_c_stream__()      # never asked
    reader = pa.RecordBatchReader.from_stream(Table(lambda: [batch] * 3, "cpu"))
    reader.read_next_batch()                                    # left half way
    del reader
    with pytest.raises(OSError, match="gone"):
        pa.table(Table(failing, "cpu", ["pid"]))
    batch.table("cpu").__arrow_c_schema__()
    gc.collect()
    after = sys.getrefcount(batch._core)        # not in an assert: pytest keeps what stands there
    assert after == before


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


@pytest.mark.parametrize("domain", ["process", "network", "syscall", None])
def test_memory_does_not_grow(domain: str | None) -> None:
    batch = random_batch(EVENTS, 10_000 if domain else 1250, 1, b"".join(PIECES) * 3)
    size = pa.table(batch.table(domain)).nbytes

    def use(times: int) -> None:
        for i in range(times):
            pa.table(Table(lambda: (batch,), domain, filled=None if i % 2 else frozenset({"pid"})))
            batch.table(domain).__arrow_c_schema__()
            batch.table(domain).__arrow_c_stream__()

    use(20)
    before = resident()
    use(200)
    assert resident() - before < 50 * size // 2, "a hundred tables were made in full"


# --- arrays -------------------------------------------------------------------------------------------------------------------------------

ODD = ["", "a", "\0", "x\0", "é漢🙂", "\\x41", "\ud800", "\n", "y" * 3000]


def columns(n: int, seed: int) -> dict[str, np.ndarray]:
    """A column of each dtype there may be, strided ones among them."""
    rng = np.random.default_rng(seed)
    out: dict[str, np.ndarray] = {f"{kind}{size}": np.frombuffer(rng.bytes(2 * n * size), f"{kind}{size}")[::2] for kind in "ui" for size in (1, 2, 4, 8)}
    out |= {"f4": rng.random(n, np.float32), "f8": np.concatenate([rng.random(max(n - 1, 0)), [np.inf] * min(n, 1)]), "yes": rng.random(n) < 0.5,
            "größe": np.array([ODD[i] for i in rng.integers(0, len(ODD), n)], object), "at": rng.integers(0, 1 << 62, n).view("datetime64[ns]")}
    return out


@pytest.mark.parametrize("sizes", [[], [0], [1], [9, 0, 7], [1000, 64]])
def test_arrays_equal_what_they_are_made_of(sizes: list[int]) -> None:
    parts = [columns(n, i) for i, n in enumerate(sizes)]
    told = {"größe": "漢", "": "", "tapio_fast.x": '{"a": 1}'}
    table = Arrays(columns(0, 0), lambda: iter(parts), told)
    for arrow in (pa.table(table), table.to_arrow()):
        arrow.validate(full=True)
        assert pa.schema(table).equals(arrow.schema, check_metadata=True) and arrow.schema.metadata == {k.encode(): v.encode() for k, v in told.items()}
        assert arrow.num_rows == sum(sizes) and arrow.column_names == list(columns(0, 0))
        for name, array in columns(0, 0).items():
            expected = [v for part in parts for v in (part[name].view(np.int64) if name == "at" else part[name]).tolist()]
            if name == "größe":
                expected = [text.encode("utf-8", "backslashreplace").decode() for text in expected]
            assert values(arrow[name]) == expected, name
            assert arrow[name].type == {"größe": pa.string(), "at": pa.timestamp("ns", "UTC")}.get(name) or pa.from_numpy_dtype(array.dtype)
    assert pa.table(Arrays({"n": np.zeros(0, np.int64)}, lambda: [])).schema.metadata is None


# --- without those who take it --------------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize(("package", "method", "extra"), [("pyarrow", "to_arrow", "arrow"), ("polars", "to_polars", "polars"),
                                                           ("pandas", "to_pandas", "pandas"), ("pyarrow", "to_pandas", "arrow")])
def test_what_is_not_installed_is_an_error_that_names_the_extra(package: str, method: str, extra: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pandas")
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtraError, match=rf"{package} is not installed; run pip install 'tapio_fast\[{extra}\]', or"):
        getattr(batch_of({}).table("cpu"), method)()


def test_streams_need_none_of_them() -> None:
    text = ("import sys\nfor name in ('pyarrow', 'polars', 'pandas', 'duckdb'):\n    sys.modules[name] = None\n"
            "import tapio_fast\nfrom tapio_fast._core import _engine\nbatch = tapio_fast.RecordBatch(_engine.build({}))\n"
            "print(batch.__arrow_c_stream__(), batch.table('cpu').__arrow_c_schema__())")
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, timeout=60, check=True)
    assert '"arrow_array_stream"' in done.stdout and '"arrow_schema"' in done.stdout
