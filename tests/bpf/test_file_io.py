# SPDX-License-Identifier: Apache-2.0
"""Reads and writes: totals, sequential share, histogram and content, against what the helper's calls returned.

Every operation must be in exactly one row, whichever way the descriptor is closed, replaced, inherited or left to the process's end.
"""
from __future__ import annotations

import os
import platform
import resource
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import file_support as support
import live_support as live
import numpy as np
import pytest
from file_support import AT_FDCWD, CLAIMED, PARTIAL, TRUNCATED, latin

from tapio_fast import RecordBatch, Statistics

pytestmark = [pytest.mark.root, pytest.mark.live]

READ, WRITE = 2, 3      # subtypes
X86 = platform.machine() == "x86_64"
OPEN = AT_FDCWD
SIZE = 100_000


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A file of known content."""
    path = tmp_path / "file"
    path.write_bytes(bytes(range(256)) * (SIZE // 256) + b"z" * (SIZE % 256))
    return path


@pytest.fixture(scope="module")
def helper() -> Iterator[live.Helper]:
    """One helper for all."""
    with live.Helper("files.py") as one:
        yield one


def opening(path: Path, label: str = "f", flags: int = 2) -> dict[str, Any]:
    return {"do": ["openat", OPEN, latin(path), flags, 0o600], "as": label}


def op(name: str, *args: Any, label: str = "f") -> dict[str, Any]:
    return {"do": [name, ["fd", label], *args]}


def collect(helper: live.Helper, plan: list[dict[str, Any]], **file: Any) -> tuple[list[dict[str, Any]], RecordBatch, Statistics]:
    """Make the calls under watch."""
    with live.watching(helper, config=support.config(**{"events": ["read", "write"], **file})) as collector:
        facts = helper.call("calls", plan=plan)
        batch = live.everything(collector)
        return facts, batch, live.adds_up(collector)


def check_sum(row: Any, histogram: bytes, facts: list[dict[str, Any]], plan: list[dict[str, Any]], names: set[str]) -> None:
    """Totals of one row are those of the helper's calls of these names."""
    mine = [f for f, step in zip(facts, plan, strict=True) if step["do"][0] in names and f["ret"] >= 0]
    assert row["count"] == len(mine)
    assert row["size"] == sum(f["ret"] for f in mine)
    assert 0 < row["duration_ns"] <= sum(f["after"] - f["before"] for f in mine)
    buckets = np.frombuffer(histogram, "<u4")
    assert len(buckets) == 24
    assert buckets.sum() == row["count"]
    least = sum(int(n) * (2 ** (i + 7) if i else 0) for i, n in enumerate(buckets))
    most = sum(int(n) * 2 ** (i + 8) for i, n in enumerate(buckets[:23]))
    assert least <= row["duration_ns"]
    assert buckets[23] or row["duration_ns"] < most


def test_sequential_and_random(helper: live.Helper, file: Path) -> None:
    """Reads from beginning to end, the end's own 0 bytes included; writes at places of which none follows the one before."""
    places = [70_000, 10, 40_000, 5_000, 90_000, 0]
    plan = [opening(file), *[op("read", ["room", 10_000], 10_000)] * 11]
    plan += [op("pwrite64", ["bytes", "w" * 100], 100, at) for at in places]
    plan += [op("close")]
    facts, batch, stats = collect(helper, plan)
    rows, data, path = batch["file"], batch.strings("file", "data"), batch.strings("file", "path")
    assert sorted(rows["subtype"].tolist()) == [READ, WRITE]
    stat, device = file.stat(), support.device_of(file)
    for i, row in enumerate(rows):
        reads = row["subtype"] == READ
        check_sum(row, data[i], facts, plan, {"read"} if reads else {"pwrite64"})
        assert (row["sequential"], row["offset"]) == ((10, 0) if reads else (0, 70_000))
        assert (row["inode"], row["device"], row["mode"], row["fd"]) == (stat.st_ino, device, stat.st_mode, facts[0]["ret"])
        assert (row["file_flags"] & 3, row["errno"], row["pid"]) == (2, 0, helper.pid)
        whole = {**{name: helper.facts[name] for name in ("ppid", "uid", "gid")}, "tid": helper.pid, "weight": 1.0, "type": 3,
                 "cgroup_id": live.cgroup_of()[0], "comm": helper.facts["comm"].encode(), "new_uid": support.NONE, "new_gid": support.NONE}
        assert {name: row[name] for name in whole} == whole and row["new_path"]["full_len"] == 0
        assert row["start_ns"] // (1_000_000_000 // support.HZ) == helper.facts["ticks"]
        assert path[i] == os.fsencode(file)
        assert not row["flags"] & (CLAIMED | TRUNCATED | PARTIAL)
        assert facts[-1]["before"] <= row["ts_ns"] <= facts[-1]["after"]
    for kind, n in (("file.read", 11), ("file.write", 6)):
        cells = stats.by_kind[kind]
        assert (cells["seen"] - cells["k_filtered"], cells["k_aggregated"], cells["submitted"]) == (n + 1, n, 1)


def test_the_histogram_of_one_operation_has_it_where_its_time_belongs(helper: live.Helper, file: Path) -> None:
    """A row of one operation tells its exact time: so the bucket is known."""
    plan = [step for size in (1, 10, 1000, SIZE) for step in (opening(file), op("read", ["room", size], size), op("close"))]
    _, batch, _ = collect(helper, plan)
    assert batch["file"]["count"].tolist() == [1] * 4
    for row, data in zip(batch["file"], batch.strings("file", "data"), strict=True):
        buckets = np.frombuffer(data, "<u4").tolist()
        place = next((i for i in range(23) if row["duration_ns"] < 2 ** (i + 8)), 23)
        assert buckets == [int(i == place) for i in range(24)]


def test_every_call_that_moves_bytes(helper: live.Helper, file: Path, tmp_path: Path) -> None:
    """Each once, from the place where the one before ended."""
    other = tmp_path / "other"
    other.write_bytes(b"")
    plan = [opening(file), opening(other, "o"), op("read", ["room", 10], 10), op("pread64", ["room", 10], 10, 10),
            op("preadv", ["vector", "x" * 4, "y" * 6], 2, 20, 0), op("preadv2", ["vector", "x" * 10], 1, 30, 0, 0), op("lseek", 40, 0),
            op("readv", ["vector", "x" * 4, "y" * 6], 2), op("preadv2", ["vector", "x" * 10], 1, -1, -1, 0),
            op("write", ["bytes", "a" * 10], 10, label="o"), op("pwrite64", ["bytes", "b" * 10], 10, 10, label="o"),
            op("pwritev", ["vector", "cc", "d" * 8], 2, 20, 0, label="o"), op("pwritev2", ["vector", "e" * 10], 1, 30, 0, 0, label="o"),
            op("lseek", 40, 0, label="o"), op("writev", ["vector", "f" * 10], 1, label="o"),
            {"do": ["sendfile", ["fd", "o"], ["fd", "f"], ["address", 0], 10]},
            {"do": ["sendfile", ["fd", "o"], ["fd", "f"], ["long", 70], 10]},
            {"do": ["copy_file_range", ["fd", "f"], ["long", 80], ["fd", "o"], ["long", 70], 10, 0]},
            op("close"), op("close", label="o")]
    facts, batch, _ = collect(helper, plan)
    assert all(f["ret"] >= 0 for f in facts), facts
    rows, path = batch["file"], batch.strings("file", "path")
    found = {(path[i], int(rows["subtype"][i])): (int(rows["count"][i]), int(rows["size"][i]), int(rows["sequential"][i]))
             for i in range(len(rows))}
    assert found == {(os.fsencode(file), READ): (9, 90, 8), (os.fsencode(other), WRITE): (8, 80, 7)}
    assert (rows["flags"] & CLAIMED).all()      # two calls told their place in user memory


@pytest.mark.parametrize("how", ["close", "dup", "range", "replaced"])
def test_a_row_is_sent_when_the_descriptor_goes(helper: live.Helper, file: Path, how: str) -> None:
    plan = [opening(file), op("read", ["room", 7], 7), op("read", ["room", 7], 7)]
    dup = ["dup2", ["fd", "g"], ["fd", "f"]] if X86 else ["dup3", ["fd", "g"], ["fd", "f"], 0]
    ends: dict[str, list[dict[str, Any]]] = {
        "close": [op("close")], "range": [{"do": ["close_range", ["fd", "f"], ["fd", "f"], 0]}], "dup": [{"do": dup}, op("close")],
        "replaced": [{"do": dup}, op("read", ["room", 3], 3), op("close")]}
    plan = [opening(file, "g"), *plan, *ends[how], op("close", label="g")]
    facts, batch, _ = collect(helper, plan)
    assert all(f["ret"] >= 0 for f in facts), facts
    totals = [(int(r["count"]), int(r["size"]), int(r["fd"])) for r in batch["file"]]
    assert totals == [(2, 14, facts[1]["ret"]), *([(1, 3, facts[1]["ret"])] if how == "replaced" else [])]


def test_another_file_at_the_same_descriptor_and_address(helper: live.Helper, file: Path, tmp_path: Path) -> None:
    """Closed by a process that shares the table, unseen: the kernel soon has the next open file where the old one was."""
    other, tries = tmp_path / "other", 20
    other.write_text("")
    with live.watching(helper, config=support.config(events=["write"])) as collector:
        helper.call("replaced", old=latin(file), new=latin(other), tries=tries)
        batch = live.everything(collector)
        live.adds_up(collector)
    mine = np.isin(batch["file"]["inode"], [file.stat().st_ino, other.stat().st_ino])
    made = [(int(r["inode"]), int(r["size"])) for r in batch["file"][mine]]
    assert made == [(file.stat().st_ino, 4), (other.stat().st_ino, 8)] * tries


def test_fork_shares_and_an_end_sends(helper: live.Helper, file: Path) -> None:
    """The child's operations through a descriptor that it inherited are the child's; its end sends them. The parent's stay the parent's."""
    with live.watching(helper, config=support.config(events=["read", "write"])) as collector:
        helper.call("calls", plan=[opening(file), op("read", ["room", 100], 100)])
        done = helper.call("forked", plan=[op("read", ["room", 50], 50), op("read", ["room", 25], 25), op("pwrite64", ["bytes", "x"], 1,
                                                                                                          9)])
        helper.call("calls", plan=[op("read", ["room", 10], 10), op("close")])
        batch = live.everything(collector)
        live.adds_up(collector)
    rows = batch["file"]
    found = {(int(r["pid"]), int(r["subtype"])): (int(r["count"]), int(r["size"]), int(r["offset"])) for r in rows}
    assert len(rows) == 3
    assert found == {(helper.pid, READ): (2, 110, 0), (done["pid"], READ): (2, 75, 100), (done["pid"], WRITE): (1, 1, 9)}


def test_exec_sends_what_it_closes(helper: live.Helper, file: Path, triggers: Path, tmp_path: Path) -> None:
    """Close-on-exec ends an entry at exec, any other goes on to the process's end."""
    kept = tmp_path / "kept"
    shutil.copy(file, kept)
    plan = [opening(file, "c", 0o2000000), opening(kept, "k", 0), op("read", ["room", 5], 5, label="c"), op("read", ["room", 6], 6,
                                                                                                            label="k")]
    with live.watching(helper, config=support.config(events=["read"])) as collector:
        done = helper.call("executed", plan=plan, exe=str(triggers / "t_life"))
        batch = live.everything(collector)
        live.adds_up(collector)
    rows, path = batch["file"], batch.strings("file", "path")
    mine = {path[i]: rows[i] for i in range(len(rows)) if rows["pid"][i] == done["pid"] and path[i] in (os.fsencode(file),
                                                                                                        os.fsencode(kept))}
    assert {p: int(r["size"]) for p, r in mine.items()} == {os.fsencode(file): 5, os.fsencode(kept): 6}
    assert mine[os.fsencode(file)]["comm"] == b"t_life"     # the exec is over when it is sent
    assert mine[os.fsencode(file)]["ts_ns"] < mine[os.fsencode(kept)]["ts_ns"]


def test_a_full_table_is_counted(helper: live.Helper, tmp_path: Path) -> None:
    """k_map_full: one more open file in use than performance.map_entries_limit."""
    limit = 64
    config = support.config(events=["read"]).replace(performance={"map_entries_limit": limit})
    source = tmp_path / "one"
    source.write_bytes(b"1234")
    plan = [opening(source, str(i), 0) for i in range(limit + 6)] + [op("read", ["room", 4], 4, label=str(i)) for i in range(limit + 6)]
    ends = [op("close", label=str(i)) for i in range(limit + 6)]
    with live.watching(helper, config=config) as collector:
        facts = helper.call("calls", plan=plan + ends)
        batch = live.everything(collector)
        cells = live.adds_up(collector).by_kind["file.read"]
    assert all(f["ret"] >= 0 for f in facts)
    assert cells["k_map_full"] == 6
    assert cells["k_aggregated"] == limit
    assert batch["file"]["size"].tolist() == [4] * limit


def test_what_is_no_regular_file_is_left_out(helper: live.Helper) -> None:
    """Devices, and what has no name: seen by nobody. The helper talks to the test through pipes all the while."""
    plan = [{"do": ["openat", OPEN, "/dev/zero", 2], "as": "z"}, op("read", ["room", 10], 10, label="z"), op("close", label="z")]
    facts, batch, stats = collect(helper, plan)
    assert facts[1]["ret"] == 10
    assert len(batch["file"]) == 0
    for kind in ("file.read", "file.write"):        # what other processes do is seen, and filtered
        cells = stats.by_kind.get(kind, {"seen": 0, "k_filtered": 0})
        assert cells["seen"] == cells["k_filtered"]


def test_a_failed_operation_has_a_row_of_its_own(helper: live.Helper, file: Path) -> None:
    plan = [opening(file, flags=0), op("read", ["room", 4], 4), op("write", ["bytes", "x"], 1), op("read", ["address", 8], 4), op("close")]
    facts, batch, _ = collect(helper, plan)
    rows = batch["file"]
    assert [f["ret"] for f in facts[1:4]] == [4, -9, -14]
    assert [(int(r["subtype"]), int(r["errno"]), int(r["count"]), int(r["size"])) for r in rows] == [
        (WRITE, 9, 1, 0), (READ, 14, 1, 0), (READ, 0, 1, 4)]
    assert list(batch.strings("file", "path")) == [os.fsencode(file)] * 3


@pytest.mark.parametrize("keep", [0, 16])
def test_single_operations_and_their_content(helper: live.Helper, file: Path, keep: int) -> None:
    """aggregate off: a row each; content only on demand, its first bytes."""
    plan = [opening(file), op("read", ["room", 10], 10), op("pwrite64", ["bytes", "secret content, longer"], 22, 50_000),
            op("pwritev", ["vector", "first", "second"], 2, 60_000, 0), op("lseek", SIZE, 0), op("read", ["room", 10], 10), op("close")]
    content = {"capture_content": True, "content_max_bytes": keep} if keep else {}
    facts, batch, stats = collect(helper, plan, aggregate=False, **content)
    rows, data = batch["file"], list(batch.strings("file", "data"))
    steps = [1, 2, 3, 5]
    assert rows["subtype"].tolist() == [READ, WRITE, WRITE, READ]
    assert rows["size"].tolist() == [10, 22, 11, 0] == [facts[i]["ret"] for i in steps]
    assert rows["offset"].tolist() == [0, 50_000, 60_000, SIZE]
    assert (rows["count"] == 1).all()
    for row, i in zip(rows, steps, strict=True):
        assert facts[i]["before"] <= row["ts_ns"] - row["duration_ns"] <= row["ts_ns"] <= facts[i]["after"]
    assert list(batch.strings("file", "path")) == [os.fsencode(file)] * 4
    if not keep:
        assert data == [b""] * 4
        assert not (rows["flags"] & CLAIMED).any()
        return
    assert data[0] == bytes(range(10))
    assert data[1] == b"secret content, "
    assert rows["data"]["full_len"].tolist() == [10, 22, 11, 0]
    assert [bool(f & CLAIMED) for f in rows["flags"]] == [True, True, True, False]
    assert [bool(f & TRUNCATED) for f in rows["flags"]] == [False, True, True, False]
    assert data[2] == b"first"      # the first buffer of a vector
    assert stats.by_kind["file.read"]["k_aggregated"] == 0


def test_a_very_high_descriptor_is_not_added_up(helper: live.Helper, file: Path) -> None:
    """A process's end looks at descriptors below 16,384 only: above, each operation has its row."""
    high = 16_384
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.prlimit(helper.pid, resource.RLIMIT_NOFILE, (high + 1, max(high + 1, before[1])))
    plan = [opening(file), {"do": ["dup3", ["fd", "f"], high, 0]}, {"do": ["read", high, ["room", 4], 4]}, {"do": ["read", high, ["room",
                                                                                                                                  4], 4]},
            {"do": ["close", high]}, op("close")]
    try:
        facts, batch, stats = collect(helper, plan)
    finally:
        resource.prlimit(helper.pid, resource.RLIMIT_NOFILE, before)
    assert [f["ret"] for f in facts[1:]] == [high, 4, 4, 0, 0]
    assert [(int(r["fd"]), int(r["offset"]), int(r["count"])) for r in batch["file"]] == [(high, 0, 1), (high, 4, 1)]
    assert stats.by_kind["file.read"]["k_aggregated"] == 0
