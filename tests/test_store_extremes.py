# SPDX-License-Identifier: Apache-2.0
"""Batches that fit badly: of the size of a reader's pool, with texts that rows share, with times beyond all calendars."""
from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

import tapio_fast as tapio
from tapio_fast import RawStore, RecordBatch, schema
from tapio_fast._core import _engine

PROCESS, CPU = schema.DOMAINS["process"], schema.DOMAINS["cpu"]


def with_texts(n: int, length: int, *, shared: bool = False, start: int = 0) -> RecordBatch:
    """Rows of a process with one text of that length each, or one text that all of them have."""
    rows = np.zeros(n, schema.DTYPES["process"])
    rows["type"], rows["subtype"], rows["seq"] = PROCESS, 1, np.arange(start, start + n)
    rows["ts_ns"] = 1_000_000 + rows["seq"]
    rows["exe"]["offset"] = 0 if shared else length * np.arange(n)
    rows["exe"]["len"] = rows["exe"]["full_len"] = length
    text = np.random.default_rng(start).integers(97, 123, length * (1 if shared else n), np.uint8).tobytes()
    return RecordBatch(_engine.build({PROCESS: (rows.tobytes(), text)}, start))


@pytest.mark.parametrize("n, length", [(1000, 420), (8000, 420), (300, 560), (100, 330), (3000, 1100), (9000, 500)])
def test_a_table_is_of_all_rows_however_large_they_are(tmp_path: Path, n: int, length: int) -> None:
    """Parts of a table come to the size of the reader's pool."""
    times = 60_000_000 // (n * (length + 184)) + 1
    with RawStore(tmp_path, "a") as store:
        for k in range(times):
            store.append(with_texts(n, length, start=k * n))
        table = pa.table(store.table("process", columns=["seq", "exe"]))
        assert table["seq"].to_pylist() == list(range(times * n))
        assert pa.compute.sum(pa.compute.binary_length(table["exe"])).as_py() == times * n * length
        assert store.sql("select count(*), sum(length(exe)) from process").fetchall() == [(times * n, times * n * length)]


def test_an_epoch_larger_than_any_pool_is_read_and_replayed(tmp_path: Path) -> None:
    """60 rows share a MiB: when they come back, each has its own."""
    with RawStore(tmp_path, "a") as store:
        store.append(with_texts(60, 1 << 20, shared=True))
        store.append(with_texts(10, 100, start=60))
        store.flush()
        assert store.verify().ok
        assert [len(batch) for batch in store.scan()] == [60, 10]
        assert pa.table(store.table("process", columns=["seq"])).num_rows == 70
        config = tapio.Config().replace(performance={"batch_pool_mb": 4})
        with tapio.Collector(config, source=store.replay()) as collector:
            seen = [len(batch["process"]) for batch in collector.batches(timeout=30)]
    assert [n for n in seen if n] == [60, 10]


def test_rows_of_any_time_are_found_by_their_time(tmp_path: Path) -> None:
    rows = np.zeros(6, schema.DTYPES["cpu"])
    rows["type"] = CPU
    times = [1000, 2000, 3000, (1 << 64) - 1, 1 << 63, (1 << 63) - 1]
    rows["ts_ns"] = np.array(times, np.uint64)
    signed = [t - (1 << 64) if t >> 63 else t for t in times]
    with RawStore(tmp_path, "a") as store:
        store.append(RecordBatch(_engine.build({CPU: (rows.tobytes(), b"")})))
        assert [batch["cpu"]["ts_ns"].tolist() for batch in store.scan(since=1, until=5000)] == [[1000, 2000, 3000]]
        for border in (0, 1500, -1, -(1 << 62), 1 << 62):
            truth = sum(t < border for t in signed)
            query = f"select count(*) from cpu where time < make_timestamp_ns({border})::timestamptz_ns"
            assert store.sql(query).fetchall() == [(truth,)], border


def test_the_index_takes_every_number(tmp_path: Path) -> None:
    rows = np.zeros(600, schema.DTYPES["network"])
    rows["type"], rows["ts_ns"] = schema.DOMAINS["network"], np.arange(1, 601)
    rows["pid"][:2], rows["cgroup_id"][:2], rows["dest_port"][:2], rows["subtype"][:3] = (1 << 32) - 1, (1 << 64) - 1, 65535, [63, 64, 255]
    with RawStore(tmp_path, "a") as store:
        store.append(RecordBatch(_engine.build({schema.DOMAINS["network"]: (rows.tobytes(), b"")})))
        for expression, n in ((f"pid == {(1 << 32) - 1}", 2), (f"cgroup_id == {(1 << 64) - 1}", 2), ("dest_port == 65535", 2), ("pid == 0", 598)):
            assert sum(len(b["network"]) for b in store.scan(domains=["network"], filter=expression)) == n, expression
            assert store.sql(f"select count(*) from network where {expression.replace('==', '=')}").fetchall() == [(n,)]
        for subtype in (63, 64, 255):
            assert store.sql(f"select count(*) from network where subtype = '{subtype}'").fetchall() == [(1,)]
