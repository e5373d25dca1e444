# SPDX-License-Identifier: Apache-2.0
"""RecordBatch: rows without a copy, columns, texts, time, severity, filter, concat, sorted; and what it outlives."""
from __future__ import annotations

import gc
import time

import live_support as live
import numpy as np
import pytest

import tapio_fast as tapio
from tapio_fast import schema

pytestmark = pytest.mark.usefixtures("no_leaks")

ARGS = [b"", b"one", b"a\0\0b", b"\xff\xfe", b"x" * 3000]


def exec_row(args: bytes, pid: int) -> np.void:
    row = np.zeros(1, schema.DTYPES["process"])[0]
    row["pid"], row["exe"], row["args"] = pid, (0, 4, 4), (4, len(args), len(args) + 1)
    return row


def fill(source: tapio.MemorySource) -> None:
    """Rows with texts, of both CPUs and three domains."""
    for i, args in enumerate(ARGS):
        source.fill("process.exec", exec_row(args, i), tail=b"/bin" + args, cpu=i % 2)
    source.fill("cpu.usage", n=70, cpu=1)
    row = np.zeros(1, schema.DTYPES["network"])[0]
    row["errno"] = 111
    source.fill("network.connect", row, 2)
    source.fill("network.connect", None, 1)
    row = np.zeros(1, schema.DTYPES["process"])[0]
    row["signal"] = 9
    source.fill("process.exit", row)
    source.fill("process.exit")


@pytest.fixture(scope="module")
def batch() -> tapio.RecordBatch:
    return live.from_memory(fill)


def test_length_and_domains(batch: tapio.RecordBatch) -> None:
    assert {d: len(batch[d]) for d in batch.domains if d != "meta"} == {"process": 7, "cpu": 70, "network": 3}
    assert len(batch) == 80 + len(batch["meta"])
    assert "network" in batch and "file" not in batch
    assert repr(batch).startswith("<RecordBatch epoch=")


def test_absent_domain_is_empty_and_unknown_one_an_error() -> None:
    batch = live.from_memory(lambda source: source.fill("cpu.usage"))
    assert batch["network"].shape == (0,) and batch["network"].dtype == schema.DTYPES["network"]
    assert batch.columns("network")["source_ip"].shape == (0, 16)
    assert list(batch.strings("process", "args")) == []
    with pytest.raises(KeyError, match="no domain 'nonsense'"):
        batch["nonsense"]
    with pytest.raises(KeyError, match="no text field 'pid'"):
        batch.strings("process", "pid")


def test_rows_are_views_read_only_and_not_copied(batch: tapio.RecordBatch) -> None:
    rows = batch["process"]
    assert batch["process"] is rows or np.shares_memory(rows, batch["process"])
    assert batch["process"].__array_interface__["data"] == rows.__array_interface__["data"]
    assert not rows.flags.writeable and not rows.flags.owndata
    with pytest.raises(ValueError):
        rows["pid"] = 1
    with pytest.raises(ValueError):
        rows.flags.writeable = True
    fresh = tapio.RecordBatch(batch._core)["process"]
    assert np.shares_memory(fresh, rows), "two views of one arena"
    owner = rows.base
    while isinstance(owner, (np.ndarray, memoryview)):
        owner = owner.base if isinstance(owner, np.ndarray) else owner.obj
    assert type(owner).__name__ == "Rows"
    with pytest.raises((BufferError, ValueError, TypeError)):
        memoryview(owner)[0] = 1
    assert rows.__array_interface__["data"][0] % 64 == 0


def test_views_outlive_batch_collector_and_pool() -> None:
    source = tapio.MemorySource()
    row = np.zeros(1, schema.DTYPES["cpu"])[0]
    row["rss"] = 0x1122334455667788
    collector = tapio.Collector(source=source)
    collector.start()
    collector.fileno()
    source.fill("cpu.usage", row, 5000)
    batch = live.everything(collector)
    rows = batch["cpu"]
    seqs = rows["seq"]
    collector.close()
    del batch, collector, source, rows
    gc.collect()
    noise = [np.full(1 << 16, 0xEE, np.uint8) for _ in range(64)]      # what would lie there if it had been freed
    assert seqs.tolist() == list(range(1, 5001))
    assert (seqs.base["rss"] == 0x1122334455667788).all()
    del noise


def test_strings(batch: tapio.RecordBatch) -> None:
    order = np.argsort(batch["process"]["pid"][batch["process"]["subtype"] == 0])
    places = np.flatnonzero(batch["process"]["subtype"] == 0)[order]
    args, exe = batch.strings("process", "args"), batch.strings("process", "exe")
    assert [args[int(p)] for p in places] == ARGS
    assert [exe[int(p)] for p in places] == [b"/bin"] * len(ARGS)
    assert len(args) == 7 and args.offsets.shape == (8,) and args.offsets[0] == 0
    assert b"".join(args) == args.data and args.offsets[-1] == len(args.data)
    assert "\\xff\\xfe" in args.decode()
    assert args[-1] == args[6] and args[1:3] == [args[1], args[2]]
    with pytest.raises(IndexError):
        args[7]


def test_columns_equal_fields(batch: tapio.RecordBatch) -> None:
    for domain in batch.domains:
        columns = batch.columns(domain)
        for name, column in columns.items():
            assert np.array_equal(column, batch[domain][name]), f"{domain}.{name}"
            assert column.flags.c_contiguous and column.flags.writeable
        assert set(columns) == set(schema.DTYPES[domain].names) - set(schema.TEXT_FIELDS[domain])
    common = batch.columns()
    assert set(common) == set(schema.HEADER_FIELDS) and len(common["pid"]) == len(batch)


def test_time_is_utc_now(batch: tapio.RecordBatch) -> None:
    now = np.datetime64(time.time_ns(), "ns")
    times = batch.time("cpu")
    assert times.dtype == "datetime64[ns]"
    assert ((now - times) >= np.timedelta64(0)).all() and ((now - times) < np.timedelta64(300, "s")).all()


def test_identity(batch: tapio.RecordBatch) -> None:
    with open("/proc/sys/kernel/random/boot_id") as f:
        assert str(batch.boot_id) == f.read().strip()
    assert 0 < batch.run_id <= int(batch["cpu"]["ts_ns"].min())
    assert batch.nbytes >= sum(batch[d].nbytes for d in batch.domains)
    assert batch.watermark_ns >= 0 and batch.epoch >= 1


def test_severity(batch: tapio.RecordBatch) -> None:
    assert batch.severity("network").tolist().count(3) == 2
    assert sorted(batch.severity("process").tolist()) == [2] * 6 + [3]
    assert set(batch.severity("cpu").tolist()) == {1}


def test_filter_copies_survivors_with_their_texts(batch: tapio.RecordBatch) -> None:
    kept = batch.filter(tapio.KernelFilter(kinds=["process.exec"], pids=[1, 4]))
    assert [d for d in kept.domains if d != "meta"] == ["process"]
    assert sorted(kept.strings("process", "args")) == sorted([ARGS[1], ARGS[4]])
    assert list(kept.strings("process", "exe")) == [b"/bin"] * 2
    assert not np.shares_memory(kept["process"], batch["process"])
    assert len(kept["meta"]) == len(batch["meta"])
    none = batch.filter(tapio.KernelFilter(pids=[]))
    assert [d for d in none.domains if d != "meta"] == []
    rest = batch.filter(tapio.KernelFilter(not_pids=[1, 4]))
    assert len(rest) + 2 == len(batch)
    for same in ("kind == process.exec and pid in (1, 4)", tapio.EventFilter("pid in (1, 4)")):
        assert np.array_equal(batch.filter(same)["process"], kept["process"])
    with pytest.raises(tapio.FilterError, match="importance: this needs enrichment"):
        batch.filter("importance > 0.5 or pid == 1")


def test_filter_equals_numpy_at_every_length() -> None:
    """Bit masks end inside a word: lengths around 64."""
    for n in (1, 63, 64, 65, 127, 128, 129):
        rows = np.zeros(n, schema.DTYPES["cpu"])
        rows["pid"] = np.arange(n)
        batch = live.from_memory(lambda source, rows=rows: [source.fill("cpu.usage", row) for row in rows])
        odd = batch.filter(tapio.KernelFilter(pids=range(1, n, 2)))
        assert odd["cpu"]["pid"].tolist() == list(range(1, n, 2))
        last = batch.filter(tapio.KernelFilter(pids=[n - 1]))
        assert last["cpu"]["pid"].tolist() == [n - 1]


def test_concat_and_copy(batch: tapio.RecordBatch) -> None:
    other = live.from_memory(fill)
    both = tapio.RecordBatch.concat([batch, other])
    assert len(both) == len(batch) + len(other)
    for domain in batch.domains:
        assert both[domain][["seq", "ts_ns", "pid"]].tolist() == \
            batch[domain][["seq", "ts_ns", "pid"]].tolist() + other[domain][["seq", "ts_ns", "pid"]].tolist()
    assert list(both.strings("process", "args")) == list(batch.strings("process", "args")) + list(other.strings("process", "args"))
    assert both.loss["seen"] == batch.loss["seen"] + other.loss["seen"]
    assert both.epoch == other.epoch
    copied = batch.copy()
    assert not np.shares_memory(copied["process"], batch["process"])
    assert list(copied.strings("process", "args")) == list(batch.strings("process", "args"))
    with pytest.raises(ValueError, match="at least one"):
        tapio.RecordBatch.concat([])


def test_sorted_by_time(batch: tapio.RecordBatch) -> None:
    done = batch.sorted()
    for domain in done.domains:
        ts = done[domain]["ts_ns"].astype(np.int64)
        assert (np.diff(ts) >= 0).all()
        assert sorted(done[domain]["ts_ns"].tolist()) == sorted(batch[domain]["ts_ns"].tolist())
    pids = done["process"]["pid"][done["process"]["subtype"] == 0]
    assert pids.tolist() == list(range(len(ARGS)))
    args = done.strings("process", "args")
    assert [args[i] for i in np.flatnonzero(done["process"]["subtype"] == 0).tolist()] == ARGS


def test_batches_of_c_cannot_be_made_by_hand() -> None:
    from tapio_fast._core import _engine

    for cls in (_engine.Batch, _engine.Rows):
        with pytest.raises(TypeError):
            cls()
