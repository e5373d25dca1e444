# SPDX-License-Identifier: Apache-2.0
"""A store in other formats: read back by others' readers, it says what scan() says; a file is there when it is whole, or not at all."""
from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import duckdb
import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from filter_strategies import pack, rows_of

import tapio_fast as tapio
from tapio_fast import RawStore, RecordBatch, schema
from tapio_fast._core import _engine
from tapio_fast.errors import MissingExtraError


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> RawStore:
    path = tmp_path_factory.mktemp("export") / "store"
    with RawStore(path, "a") as writing:
        for k in range(20):
            writing.append(RecordBatch(pack([row for i in range(10) for row in rows_of(100 * k + i)])))
    return RawStore(path)


def read(path: str, format: str) -> pa.Table:
    if format == "arrow":
        with open(path, "rb") as f:
            return pa.ipc.open_stream(f).read_all()
    return pa.table(pl.read_parquet(path)) if format == "parquet" else pa.table(pl.read_ndjson(path, infer_schema_length=None))


@pytest.mark.parametrize("format", ["parquet", "arrow"])
def test_others_read_what_scan_gives(store: RawStore, tmp_path: Path, format: str) -> None:
    paths = store.export(tmp_path / "out", format)
    assert {Path(path).stem for path in paths} == set(store.info().rows_by_domain)
    for path in paths:
        domain = Path(path).stem
        truth = pl.DataFrame(store.table(domain))
        found = pl.read_parquet(path) if format == "parquet" else pl.DataFrame(read(path, format))
        assert found.height == truth.height == store.info().rows_by_domain[domain] > 0
        for column in truth.columns:        # names come as categories, whose order of first sight may differ
            assert repr(found[column].cast(truth[column].dtype).to_list()) == repr(truth[column].to_list()), (domain, column)    # NaN too
    if format == "parquet":
        counted = duckdb.sql(f"select count(*), count(distinct pid) from '{tmp_path}/out/network.parquet'").fetchall()
        assert counted == store.sql("select count(*), count(distinct pid) from network").fetchall()


def test_json_lines_are_objects_with_the_columns(store: RawStore, tmp_path: Path) -> None:
    path, = store.export(tmp_path, "jsonl", domains=["process"])
    lines = [json.loads(line) for line in Path(path).read_text().splitlines()]
    rows = [row for batch in store.scan(domains=["process"]) for row in batch["process"]]
    assert len(lines) == len(rows) > 0
    for line, row in zip(lines, rows, strict=True):
        assert (line["pid"], line["ts_ns"], line["seq"], line["target_pid"]) == tuple(row[f].item() for f in ("pid", "ts_ns", "seq", "target_pid"))


def test_domains_times_and_filters_choose(store: RawStore, tmp_path: Path) -> None:
    assert [Path(p).name for p in store.export(tmp_path / "a", "parquet", domains=["file"], filter="pid in (1, 2)")] == ["file.parquet"]
    kept = [row["seq"] for batch in store.scan(domains=["file"], filter="pid in (1, 2)") for row in batch["file"]]
    assert pl.read_parquet(tmp_path / "a/file.parquet")["seq"].to_list() == kept and kept
    store.export(tmp_path / "b", "parquet", domains=["file"], since=1, until=2)
    assert pl.read_parquet(tmp_path / "b/file.parquet").height == 0


def test_a_filter_that_joins_facts_learns_them_from_all_domains(tmp_path: Path) -> None:
    process, opened = np.zeros(2, schema.DTYPES["process"]), np.zeros(2, schema.DTYPES["file"])
    process["type"], process["subtype"], process["ts_ns"] = 4, schema.KIND_BY_NAME["process.exec"].subtype, [1, 2]
    process["pid"], process["start_ns"], process["exe"]["len"], process["exe"]["full_len"] = [10, 20], [5, 6], 9, 9
    process["ppid"], process["parent_start_ns"] = [1, 10], [1, 5]
    opened["type"], opened["subtype"], opened["ts_ns"], opened["pid"], opened["start_ns"] = 3, 1, 3, [20, 11], [6, 5]
    with RawStore(tmp_path / "s", "a") as store:
        store.append(RecordBatch(_engine.build({4: (process.tobytes(), b"/bin/nano"), 3: (opened.tobytes(), b"")})))
        store.export(tmp_path / "out", "parquet", domains=["file"], filter='parent_exe == "/bin/nano"')
    assert pl.read_parquet(tmp_path / "out/file.parquet")["pid"].to_list() == [20]


def test_nothing_is_overwritten_and_nothing_left_half_done(store: RawStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file.parquet").write_bytes(b"mine")
    with pytest.raises(FileExistsError, match=r"file\.parquet is there already"):
        store.export(tmp_path, "parquet")
    assert os.listdir(tmp_path) == ["file.parquet"] and (tmp_path / "file.parquet").read_bytes() == b"mine"
    monkeypatch.setattr(os, "link", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(OSError, match="No space"):
        store.export(tmp_path / "out", "parquet")
    assert os.listdir(tmp_path / "out") == []


def test_wrong_formats_and_a_missing_package(store: RawStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="no format 'csv'; there are parquet, arrow, jsonl"):
        store.export(tmp_path / "out", "csv")
    monkeypatch.setitem(sys.modules, "arro3.io", None)
    with pytest.raises(MissingExtraError, match=r"tapio_fast\[parquet\]"):
        store.export(tmp_path / "out", "parquet")
    assert not (tmp_path / "out").exists()


def test_ctrl_c_ends_it_and_leaves_no_file(tmp_path: Path) -> None:
    with RawStore(tmp_path / "s", "a") as store:
        batch = RecordBatch(pack([row for i in range(2000) for row in rows_of(i)]))
        for _ in range(60):
            store.append(batch)
    command = [sys.executable, "-m", "tapio_fast", "export", str(tmp_path / "s"), "-o", str(tmp_path / "out"), "--format", "jsonl"]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while not any(name.endswith(".part") for name in (os.listdir(tmp_path / "out") if (tmp_path / "out").exists() else ())):
        assert child.poll() is None, child.communicate()
        time.sleep(0.01)
    child.send_signal(signal.SIGINT)
    out, error = child.communicate(timeout=120)
    assert child.returncode == 130, (out, error)
    assert not [name for name in os.listdir(tmp_path / "out") if name.startswith(".")] and "Traceback" not in error
    assert len(os.listdir(tmp_path / "out")) < len(tapio.RawStore(tmp_path / "s").info().rows_by_domain)
