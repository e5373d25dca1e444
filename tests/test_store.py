# SPDX-License-Identifier: Apache-2.0
"""RawStore: what is appended comes back, who may open what, and what damage and misuse say."""

from __future__ import annotations

import datetime as dt
import errno
import os
import uuid
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tapio_fast import (
    ClosedError,
    Collector,
    Config,
    CorruptStoreError,
    FilterError,
    PermissionDeniedError,
    RawStore,
    RecordBatch,
    StoreError,
    StoreLockedError,
)
from tapio_fast._store_files import open_writer
from tapio_fast._times import parse_time
from tapio_fast.sources import MemorySource


def recorded(path: Path, rounds: int = 3) -> list[RecordBatch]:
    """Record rows of two domains into a store; return the batches that the user branch saw."""
    source = MemorySource(cpus=2)
    config = Config.default().replace(dual_path={"enabled": True, "raw_storage_path": str(path), "semantic_enabled": False,
                                                 "correlation_enabled": False})
    kept = []
    with Collector(config, source=source) as collector:
        collector.read(0)
        for i in range(rounds):
            source.fill("cpu.usage", n=100 + i)
            source.fill("network.connect", n=50, cpu=1)
            source.fill("process.exec", row_with_args(b"ls\0-l\0" + bytes([65 + i])), n=7, tail=b"ls\0-l\0" + bytes([65 + i]))
            kept += list(collector.batches(timeout=0.05))
        collector.stop()
        kept += list(collector.batches(timeout=0.05))
    return [batch for batch in kept if len(batch)]


def row_with_args(args: bytes) -> Any:
    from tapio_fast import schema

    row = np.zeros(1, schema.DTYPES["process"])
    row["pid"] = 4711
    row["args"]["len"] = row["args"]["full_len"] = len(args)
    return row[0]


@pytest.fixture
def store(tmp_path: Path) -> Path:
    recorded(tmp_path / "store")
    return tmp_path / "store"


def rows_of(batches: Any, domain: str) -> bytes:
    return b"".join(batch[domain].tobytes() for batch in batches)


def same(one: RecordBatch, other: RecordBatch) -> bool:
    return (all(one[d].tobytes() == other[d].tobytes() for d in ("process", "network", "cpu", "meta")) and one.epoch == other.epoch
            and one.loss == other.loss and one.boot_id == other.boot_id and one.run_id == other.run_id
            and one.watermark_ns == other.watermark_ns and one.wall_offset_ns == other.wall_offset_ns
            and list(one.strings("process", "args")) == list(other.strings("process", "args")))


def test_the_store_holds_what_the_user_branch_saw(tmp_path: Path) -> None:
    seen = recorded(tmp_path / "s")
    stored = {batch.epoch: batch for batch in RawStore(tmp_path / "s").scan()}
    assert len(seen) >= 3
    for batch in seen:
        assert same(stored[batch.epoch], batch)
    assert rows_of(seen, "process") == rows_of(stored.values(), "process")


def test_append_gives_every_batch_back_as_it_was(store: Path, tmp_path: Path) -> None:
    batches = list(RawStore(store).scan())
    with RawStore(tmp_path / "copy", "a") as copy:
        for batch in batches:
            copy.append(batch)
        assert all(same(a, b) for a, b in zip(batches, copy.scan(), strict=True))   # readable before close
    again = list(RawStore(tmp_path / "copy").scan())
    assert all(same(a, b) for a, b in zip(batches, again, strict=True))
    assert [t for b in again for t in b.strings("process", "args")][0] == b"ls\0-l\0A"


def test_replay_gives_a_collector_the_recorded_rows(store: Path) -> None:
    opened = RawStore(store)
    source = opened.replay()
    with Collector(source=source) as collector:
        got = list(collector.batches(timeout=2))
    for domain in ("process", "network", "cpu"):
        assert rows_of(got, domain) == rows_of(opened.scan(), domain)
    with pytest.raises(ClosedError, match="replay"):
        source._open()


def test_replay_refuses_a_collection_filter(store: Path) -> None:
    from tapio_fast.filtering import KernelFilter

    with pytest.raises(FilterError, match="replay"):
        RawStore(store).replay()._open(None, None, KernelFilter(pids=[1]))


def test_scan_narrows_by_domain_time_and_filter(store: Path) -> None:
    opened = RawStore(store)
    every = list(opened.scan())
    assert {d for b in opened.scan(domains=["cpu"]) for d in b.domains} == {"cpu"}
    assert sum(len(b) for b in opened.scan(domains=["cpu", "network"])) == 303 + 150
    assert list(opened.scan(domains=[])) == []
    with pytest.raises(KeyError, match="no domain 'cups'"):
        opened.scan(domains=["cups"])
    times = np.sort(np.concatenate([b.time("cpu").astype(np.int64) for b in every]))
    middle = int(times[len(times) // 2])
    before = sum(len(b["cpu"]) for b in opened.scan(until=middle))
    after = sum(len(b["cpu"]) for b in opened.scan(since=middle))
    assert before == int((times < middle).sum()) and after == int((times >= middle).sum())
    assert list(opened.scan(until=0)) == [] and list(opened.scan(since="2200-01-01")) == []

    from tapio_fast.filtering import KernelFilter
    kept = list(opened.scan(domains=["process", "cpu"], filter=KernelFilter(pids=[4711])))
    assert sum(len(b["process"]) for b in kept) == 21 and sum(len(b["cpu"]) for b in kept) == 0


def test_info_and_verify_count_what_is_there(store: Path) -> None:
    opened = RawStore(store)
    info, report = opened.info(), opened.verify()
    every = list(opened.scan())
    assert info.rows == report.rows == sum(map(len, every)) and info.epochs == report.epochs == len(every)
    assert info.rows_by_domain == {"cpu": 303, "meta": sum(len(b["meta"]) for b in every), "network": 150, "process": 21}
    assert info.bytes == sum(f.stat().st_size for f in store.glob("segment-*")) and info.segments == 1
    assert not info.damaged and report.ok and [uuid.UUID(b) for b in info.boot_ids] == [every[0].boot_id]
    stamps = [int(t) for b in every for d in b.domains for t in b.time(d).astype(np.int64)]
    assert (info.first_ns, info.last_ns) == (min(stamps), max(stamps))


def test_a_damaged_block_is_reported_and_passed_over(tmp_path: Path, store: Path) -> None:
    with RawStore(store, "a") as more:
        more.append(next(RawStore(store).scan()))
    segment = sorted(store.glob("segment-*"))[0]
    raw = bytearray(segment.read_bytes())
    raw[-20] ^= 1
    segment.write_bytes(raw)
    report = RawStore(store).verify()
    assert not report.ok and report.corrupt_blocks == 1 and report.lost_rows > 400 and report.segments == 2
    assert len(list(RawStore(store).scan())) == 1


@pytest.mark.parametrize("make", [lambda p: None, lambda p: p.mkdir(), lambda p: p.write_text("x")], ids=["missing", "empty", "file"])
def test_reading_what_is_no_store_names_it(tmp_path: Path, make: Any) -> None:
    path = tmp_path / "none\x1b[31m"
    make(path)
    with pytest.raises(StoreError) as caught:
        RawStore(path)
    assert "none\\x1b[31m" in str(caught.value) and "\x1b" not in str(caught.value) and caught.value.errno
    assert not isinstance(caught.value, CorruptStoreError)


def test_foreign_files_are_no_store(tmp_path: Path) -> None:
    (tmp_path / "segment-0000000001.tfseg").write_bytes(b"\x7fELF" * 10000)
    (tmp_path / "segment-0000000002.tfseg").symlink_to("/etc/passwd")
    with pytest.raises(CorruptStoreError, match="none of its files is a segment"):
        RawStore(tmp_path)


def test_one_writer_at_a_time(tmp_path: Path) -> None:
    with RawStore(tmp_path / "s", "a"), pytest.raises(StoreLockedError, match="s"):
        RawStore(tmp_path / "s", "a")
    RawStore(tmp_path / "s", "a").close()


def test_writing_refuses_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir(mode=0o700)
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with pytest.raises(StoreError, match="symbolic link.*real") as caught:
        RawStore(tmp_path / "link", "a")
    assert caught.value.errno == errno.ELOOP and not list((tmp_path / "real").iterdir())


@pytest.mark.parametrize("mode", [0o770, 0o702, 0o777])
def test_writing_refuses_a_directory_that_others_may_write(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "s"
    path.mkdir()
    path.chmod(mode)
    with pytest.raises(StoreError, match="other users may write.*chmod go-w"):
        RawStore(path, "a")
    assert not list(path.iterdir())


@pytest.mark.root
def test_writing_refuses_another_users_directory_but_serves_the_sudo_caller(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "s"
    path.mkdir(mode=0o700)
    os.chown(path, 12345, 12345)
    monkeypatch.delenv("SUDO_UID", raising=False)
    with pytest.raises(StoreError, match="belongs to user id 12345"):
        RawStore(path, "a")
    monkeypatch.setenv("SUDO_UID", "12345")
    recorded(path)
    assert {f.stat().st_uid for f in path.iterdir()} == {12345} and len(list(path.iterdir())) == 2
    RawStore(tmp_path / "new", "a", owner_uid=23456, owner_gid=23456).close()
    assert (tmp_path / "new").stat().st_uid == 23456 and (tmp_path / "new" / "LOCK").stat().st_uid == 23456


def test_files_are_private_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        recorded(tmp_path / "a" / "b")
    finally:
        os.umask(before)
    assert (tmp_path / "a" / "b").stat().st_mode & 0o777 == 0o700
    assert {f.stat().st_mode & 0o777 for f in (tmp_path / "a" / "b").iterdir()} == {0o600}


def test_use_after_close_raises(store: Path) -> None:
    opened = RawStore(store, "a")
    batch = next(opened.scan())
    running = opened.scan()
    opened.close()
    opened.close()
    for call in (opened.scan, opened.replay, opened.info, opened.verify, opened.flush, lambda: opened.append(batch), lambda: next(running)):
        with pytest.raises(ClosedError):
            call()
    assert "closed" in repr(opened) and len(batch)


def test_a_reader_cannot_append(store: Path) -> None:
    opened = RawStore(store)
    with pytest.raises(StoreError, match='mode "a"'):
        opened.append(next(opened.scan()))
    with pytest.raises(ValueError, match="mode"):
        RawStore(store, "w")
    with RawStore(store, "a") as writer, pytest.raises(TypeError, match="RecordBatch"):
        writer.append([1])  # type: ignore[arg-type]


def test_a_store_opened_for_append_can_be_empty(tmp_path: Path) -> None:
    with RawStore(tmp_path / "s", "a") as opened:
        assert list(opened.scan()) == [] and opened.info().rows == 0 and opened.info().first_ns is None and opened.verify().ok


def test_writer_options_reach_the_engine(tmp_path: Path, store: Path) -> None:
    writer = open_writer(tmp_path / "s", block_rows=1)
    batches = list(RawStore(store).scan())
    for batch in batches:
        writer.append(batch._core)
    stats = writer.stats()
    writer.close()
    assert stats["rows"] + stats["buffered_rows"] == sum(map(len, batches)) and stats["blocks"] >= sum(1 for b in batches if len(b))
    with pytest.raises(ClosedError):
        writer.append(batches[0]._core)


@pytest.mark.root
def test_reading_needs_only_the_right_to_read(store: Path) -> None:
    """Root reads everything, so a child without rights tries."""
    store.chmod(0o700)
    child = os.fork()
    if child == 0:
        os.setgroups([])
        os.setresuid(65534, 65534, 65534)
        try:
            RawStore(store)
        except PermissionDeniedError:
            os._exit(0)
        finally:
            os._exit(1)
    assert os.waitpid(child, 0)[1] == 0


def test_times_are_read_in_every_spelling() -> None:
    day = dt.datetime(2026, 11, 22, 15, tzinfo=dt.UTC)
    ns = int(day.timestamp()) * 10**9
    assert parse_time(ns) == parse_time(day) == parse_time("2026-11-22T15:00:00Z") == parse_time("2026-11-22T16:00:00+01:00") == ns
    assert parse_time("2026-11-22T15:00:00.000123Z") == ns + 123_000
    assert parse_time("-2h", now_ns=ns) == ns - 7200 * 10**9 and parse_time("-1.5ms", now_ns=ns) == ns - 1_500_000
    for bad in ("yesterday", "-2 weeks", ""):
        with pytest.raises(ValueError, match="is not a time"):
            parse_time(bad)
    for wrong in (True, 1.5, None):
        with pytest.raises(TypeError):
            parse_time(wrong)  # type: ignore[arg-type]
