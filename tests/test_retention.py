# SPDX-License-Identifier: Apache-2.0
"""What a store keeps: bounds by age, size and free space; what went is remembered; readers and the writer do not notice."""
from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import tapio_fast as tapio
from tapio_fast import RawStore, schema
from tapio_fast._core import _engine, _store
from tapio_fast._store_files import kept, open_writer

CPU = schema.DOMAINS["cpu"]
ROWS = 200
T0 = 1_700_000_000_000_000_000


def epoch(number: int) -> _engine.Batch:
    """Noise, so that a block is some KiB; its time and number are the epoch's."""
    dtype = schema.DTYPES["cpu"]
    raw = np.random.default_rng(number).integers(0, 256, (ROWS, dtype.itemsize), np.uint8)
    rows = np.frombuffer(bytearray(raw.tobytes()), dtype)       # not a copy(): it leaves the bytes of hidden fields to chance
    rows["ts_ns"], rows["type"], rows["subtype"] = T0 + number * 1_000_000 + np.arange(ROWS), CPU, 1
    return _engine.build({CPU: (rows.tobytes(), b"")}, number)


def fill(path: Path, numbers: range, **options: int) -> _store.Writer:
    """A segment an epoch."""
    writer = open_writer(path, block_rows=1, segment_bytes=1, **options)
    for number in numbers:
        writer.append(epoch(number))
    return writer


def names(path: Path) -> list[str]:
    return sorted(name for name in os.listdir(path) if name.endswith(".tfseg"))


def epochs(path: Path) -> list[int]:
    return [batch.epoch for batch in RawStore(path).scan()]


def aged(path: Path, hours: dict[int, float]) -> None:
    for number, age in hours.items():
        at = time.time() - age * 3600
        os.utime(path / f"segment-{number:010}.tfseg", (at, at))


def test_the_oldest_go_by_age_and_are_remembered(tmp_path: Path) -> None:
    fill(tmp_path, range(6)).close()
    sizes = {name: (tmp_path / name).stat().st_size for name in names(tmp_path)}
    aged(tmp_path, {1: 30, 2: 26, 3: 25.1, 4: 23, 5: 26})       # the fifth is younger than the fourth lets it be: only a run from the oldest goes
    with RawStore(tmp_path) as store:
        assert store.info().removed == tapio.store.Removed(0, 0, 0, None)
        would = store.prune(older_than="24h", dry_run=True)
        assert names(tmp_path) == sorted(sizes)
        gone = store.prune(older_than="24h")
        assert gone == would
        assert (gone.segments, gone.rows, gone.bytes) == (3, 3 * ROWS, sum(list(sizes.values())[:3]))
        assert gone.until_ns == T0 + 2 * 1_000_000 + ROWS       # one past the newest row of the third
        assert epochs(tmp_path) == [3, 4, 5] and store.info().removed == gone
        assert store.prune(older_than="24h").segments == 0
        more = store.prune(max_bytes=1)
        assert (more.segments, more.rows) == (3, 3 * ROWS) and names(tmp_path) == []
        total = store.info().removed
        assert total is not None and (total.segments, total.rows) == (6, 6 * ROWS)
    # numbers are not used again, or what went could not be told from what came
    fill(tmp_path, range(6, 8)).close()
    assert names(tmp_path) == ["segment-0000000007.tfseg", "segment-0000000008.tfseg"]
    assert RawStore(tmp_path).prune(max_bytes=1).segments == 2


def test_as_many_go_as_the_size_asks_for(tmp_path: Path) -> None:
    fill(tmp_path, range(5)).close()
    size = [(tmp_path / name).stat().st_size for name in names(tmp_path)]
    with RawStore(tmp_path) as store:
        assert store.prune(max_bytes=sum(size)).segments == 0
        assert store.prune(max_bytes=sum(size) - 1).segments == 1
        assert store.prune(max_bytes=size[3] + size[4]).segments == 2
    assert epochs(tmp_path) == [3, 4]


def test_what_is_being_written_to_stays(tmp_path: Path) -> None:
    writer = fill(tmp_path, range(4))
    with RawStore(tmp_path) as store:
        assert store.prune(max_bytes=1).segments == 3
    writer.append(epoch(9))
    writer.close()
    assert epochs(tmp_path)[-1] == 9
    with RawStore(tmp_path, "a") as store:      # its own writer: what it appended is its newest segment
        store.append(tapio.RecordBatch(epoch(10)))
        store.prune(max_bytes=1)
        assert [batch.epoch for batch in store.scan()] == [10]


def test_a_writer_keeps_its_bounds_by_itself(tmp_path: Path) -> None:
    one = (fill(tmp_path / "a", range(1)).close(), (tmp_path / "a" / names(tmp_path / "a")[0]).stat().st_size)[1]
    writer = fill(tmp_path / "b", range(20), **kept(0, 3 * one + one // 2, 0))
    stats = writer.stats()
    assert stats["removed_segments"] >= 15 and stats["removed_rows"] == stats["removed_segments"] * ROWS
    assert stats["rows"] == 20 * ROWS and stats["lost_io"] == stats["lost_enospc"] == stats["lost_memory"] == 0
    writer.close()
    assert epochs(tmp_path / "b") == list(range(stats["removed_segments"], 20))
    assert len(names(tmp_path / "b")) <= 5


def test_a_collector_takes_the_bounds_of_its_configuration(tmp_path: Path) -> None:
    fill(tmp_path, range(3)).close()
    aged(tmp_path, {1: 5, 2: 5, 3: 1})
    config = tapio.Config().replace(dual_path={"enabled": True, "raw_storage_path": str(tmp_path), "raw_retention_hours": 2,
                                               "semantic_enabled": False, "correlation_enabled": False})
    source = tapio.MemorySource()
    with tapio.Collector(config, source=source) as collector:
        source.fill("cpu.usage", n=5)
        collector.read(0.2)
        collector.stop()
    assert epochs(tmp_path)[0] == 2 and tapio.config.not_active(config) == []


def test_a_reader_that_was_there_first_has_all_of_it_or_says_what_is_missing(tmp_path: Path) -> None:
    fill(tmp_path, range(5)).close()
    store = RawStore(tmp_path)
    reader = store._reader()
    assert next(reader).info[0] == 0
    assert store.prune(max_bytes=1).segments == 5
    assert [batch.info[0] for batch in reader] == []        # the one it had open is read to its end; the others are gone
    assert reader.stats()["gone_segments"] == 4 and reader.stats()["corrupt_blocks"] == 0
    with RawStore(tmp_path) as emptied:         # it was a store, and says what became of it
        assert list(emptied.scan()) == [] and emptied.verify().ok and emptied.sql("from cpu").fetchall() == []
        removed = emptied.info().removed
        assert removed is not None and removed.rows == 5 * ROWS
    (tmp_path / "REMOVED").unlink()
    with pytest.raises(tapio.StoreError, match="holds no segments"):
        RawStore(tmp_path)


@pytest.mark.parametrize("what", ["segment", "link", "directory"])
def test_only_segments_of_ours_are_counted_and_removed(tmp_path: Path, what: str) -> None:
    fill(tmp_path, range(2)).close()
    strange = tmp_path / "segment-0000000001.tfseg"
    strange.unlink()
    other = tmp_path / "precious"
    other.write_bytes(b"x" * 100_000)
    if what == "link":
        strange.symlink_to(other)
    elif what == "directory":
        strange.mkdir()
    else:
        strange.write_bytes(b"not a segment")
    with RawStore(tmp_path) as store:
        gone = store.prune(max_bytes=1)
    assert other.read_bytes() == b"x" * 100_000
    assert (strange.is_symlink() or strange.is_dir()) == (what != "segment")
    assert gone.rows == ROWS


def test_a_damaged_record_of_what_went_is_told_and_begun_anew(tmp_path: Path) -> None:
    fill(tmp_path, range(4)).close()
    with RawStore(tmp_path) as store:
        store.prune(max_bytes=sum((tmp_path / name).stat().st_size for name in names(tmp_path)) - 1)
        note = tmp_path / "REMOVED"
        raw = bytearray(note.read_bytes())
        raw[20] ^= 1
        note.write_bytes(raw)
        assert store.info().removed is None
        assert store.prune(max_bytes=1).segments == 3
        found = store.info().removed
        assert found is not None and found.rows == 3 * ROWS


KILL = """
import sys
sys.path[:0] = {path!r}
from tapio_fast import RawStore
RawStore(sys.argv[1]).prune(max_bytes=int(sys.argv[2]))
"""


@pytest.mark.strace
def test_a_kill_at_any_system_call_leaves_a_store_whose_record_is_right(tmp_path: Path) -> None:
    """Whatever call it dies at: what is left opens, nothing of it was counted as gone, or will be twice."""
    calls = ("openat", "pwrite64", "fdatasync", "fsync", "renameat,renameat2", "unlinkat")
    tried = killed = 0
    for call in calls:
        for when in range(1, 40):
            path = tmp_path / f"{call.split(',')[0]}-{when}"
            fill(path, range(4)).close()
            limit = 2 * (path / names(path)[0]).stat().st_size + 100
            done = subprocess.run(["strace", "-f", "-qq", "-o", os.devnull, "-e", f"trace={call}", "-P", str(path), "-P", str(path / "REMOVED"),
                                   "-P", str(path / "REMOVED.new"), *[a for name in names(path) for a in ("-P", str(path / name))],
                                   "-e", f"inject={call}:signal=KILL:when={when}", sys.executable, "-c", KILL.format(path=sys.path), str(path), str(limit)],
                                  capture_output=True, timeout=60, check=False)
            tried += 1
            left = epochs(path)
            assert left == list(range(4 - len(left), 4)) and len(left) >= 2
            with RawStore(path) as store:
                told = store.info().removed
                assert told is not None and told.segments >= 4 - len(left), "a file went that nobody noted"
                store.prune(max_bytes=limit)
                after = store.info().removed
                assert after is not None and (after.segments, after.rows) == (2, 2 * ROWS) and epochs(path) == [2, 3]
            if done.returncode == 0:
                break
            killed += 1
    assert killed >= 12, f"{killed} of {tried} runs were killed"


def test_wrong_bounds_are_refused(tmp_path: Path) -> None:
    fill(tmp_path, range(1)).close()
    with RawStore(tmp_path) as store:
        for wrong in ({}, {"older_than": "1 fortnight"}, {"max_bytes": -1}, {"keep_free": "much"}, {"older_than": -1}):
            with pytest.raises(ValueError, match="prune needs a bound|older_than|max_bytes|keep_free"):
                store.prune(**wrong)        # type: ignore[arg-type]
    assert epochs(tmp_path) == [0]
