# SPDX-License-Identifier: Apache-2.0
"""Memory running short, each way in a control group of the test's own: OOM kill, limit, compaction, pressure, page faults.

The truth is what the helper's children did and got (wait4, /proc), what the control group's files say, and the kernel's own messages.
Direct reclaim of the whole machine is forced in the machines of tests/vm only, which are the test's own.
"""
from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import live_support as live
import numpy as np
import pytest

import tapio_fast as tapio

pytestmark = [pytest.mark.root, pytest.mark.live]

HZ = os.sysconf("SC_CLK_TCK")
MIB = 1 << 20
PAGE = os.sysconf("SC_PAGESIZE")
CGROUP_V1 = 1 << 6


def config(*events: str, **memory: Any) -> tapio.Config:
    """Only these events of the memory domain."""
    return tapio.Config().replace(programs={
        "process": {"enabled": False}, "network": {"enabled": False}, "memory": {"events": events, "track_page_faults": True, **memory}})


def limited(name: str, size: int) -> Any:
    """A control group of the memory controller with a limit."""
    group = live.own_cgroup(name)
    path = group.__enter__()
    v1 = path / "memory.limit_in_bytes"
    (v1 if v1.exists() else path / "memory.max").write_text(str(size))
    return group, path


@pytest.fixture
def small_group(request: pytest.FixtureRequest) -> Iterator[Path]:
    """A group of 32 MiB."""
    group, path = limited(request.node.name[:40], 32 * MIB)
    try:
        yield path
    finally:
        group.__exit__(None, None, None)


@pytest.fixture(scope="module")
def big_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """64 MiB on disk."""
    path = tmp_path_factory.mktemp("memory") / "big"
    with open(path, "wb") as f:
        for _ in range(64):
            f.write(os.urandom(MIB))
        os.fsync(f.fileno())
    return path


def subject(rows: np.ndarray, facts: dict[str, Any], comm: bytes, cgroup: tuple[int, bool]) -> None:
    """Assert who every row is about, and that it happened in between."""
    expected = {"pid": facts["pid"], "tid": facts["pid"], "ppid": facts["ppid"], "uid": 0, "gid": 0, "comm": comm,
                "cgroup_id": cgroup[0], "flags": CGROUP_V1 if cgroup[1] else 0, "type": 5, "weight": 1.0}
    for name, value in expected.items():
        assert (rows[name] == value).all(), (name, value, rows[name])
    assert (rows["start_ns"] // (1_000_000_000 // HZ) == facts["ticks"]).all()
    assert (facts["before"] <= rows["ts_ns"]).all() and (rows["ts_ns"] <= facts["after"]).all()


def zero_but(rows: np.ndarray, *used: str) -> None:
    """Assert that a kind's own fields are 0 where it has nothing to say."""
    own = ("size", "address", "duration_ns", "rss", "limit", "victim_start_ns", "object_id", "minor_faults", "victim_pid", "prot",
           "map_flags", "errno", "order", "victim_comm")
    for name in set(own) - set(used):
        assert (rows[name] == (b"" if name == "victim_comm" else 0)).all(), (name, rows[name])


def group_id(path: Path) -> tuple[int, bool]:
    return path.stat().st_ino, (path / "memory.limit_in_bytes").exists()


def cached(path: Path) -> int:
    """Bytes of files that a group holds."""
    found = re.search(r"^(?:total_cache|file) (\d+)$", (path / "memory.stat").read_text(), re.MULTILINE)
    assert found
    return int(found[1])


def kernel_messages() -> str:
    fd = os.open("/dev/kmsg", os.O_RDONLY | os.O_NONBLOCK)
    found = []
    try:
        while True:
            try:
                found.append(os.read(fd, 8192).decode("utf-8", "replace"))
            except BrokenPipeError:     # overwritten meanwhile
                continue
            except BlockingIOError:
                return "".join(found)
    finally:
        os.close(fd)


def test_oom_kill(small_group: Path) -> None:
    """The taker triggers, the holder dies, and the taker itself where the memory comes back late: as the kernel's own messages say."""
    with live.Helper("memory.py") as helper, live.watching(helper, config=config("oom_kill")) as collector:
        facts = helper.call("out_of_memory", group=str(small_group), held=20 * MIB, wanted=16 * MIB)     # alone it has room
        batch = live.everything(collector)
        stats = live.adds_up(collector)
    victim, taker = facts["victim"], facts["taker"]
    killed = [victim] + [taker] * (taker["status"] == signal.SIGKILL)
    assert [who["status"] for who in killed] == [signal.SIGKILL] * len(killed)
    assert taker["status"] in (0, signal.SIGKILL)
    rows, _ = live.of_kind(batch, "memory.oom_kill")
    assert len(batch["memory"]) == len(rows)
    assert rows["victim_pid"].tolist() == [who["pid"] for who in killed]
    subject(rows, {**taker, **{k: facts[k] for k in ("before", "after")}}, b"tf_taker", group_id(small_group))
    messages = kernel_messages()
    for row, who, name, order in zip(rows, killed, (b"tf_victim", b"tf_taker"), (500, 0), strict=False):
        assert (row["victim_comm"], row["order"], row["count"]) == (name, order, 1)
        assert row["victim_start_ns"] // (1_000_000_000 // HZ) == who["ticks"]
        assert (row["object_id"], row["limit"]) == (group_id(small_group)[0], 32 * MIB)
        said = re.findall(rf"Killed process {who['pid']} \({name.decode()}\).*?anon-rss:(\d+)kB, file-rss:(\d+)kB, shmem-rss:(\d+)kB",
                          messages)
        assert len(said) == 1
        assert row["rss"] == sum(map(int, said[0])) * 1024
    zero_but(rows, "rss", "limit", "victim_start_ns", "object_id", "victim_pid", "order", "victim_comm")
    cells = stats.by_kind["memory.oom_kill"]
    assert cells["seen"] - cells["k_filtered"] == len(rows)      # others may die as well
    assert (batch.severity("memory") == 5).all()


def test_limit(small_group: Path, big_file: Path) -> None:
    """What a child read was reclaimed, but for what the group still holds: long stalls one by one, short ones added up."""
    with live.Helper("memory.py") as helper, live.watching(helper, config=config("limit")) as collector:
        facts = helper.call("cached_reads", groups=[str(small_group)], path=str(big_file), times=1)
        facts["cached"] = cached(small_group)
        batch = live.everything(collector)
        stats = live.adds_up(collector)
    rows, _ = live.of_kind(batch, "memory.limit")
    assert len(rows) == len(batch["memory"]) > 0
    subject(rows, facts, rows["comm"][0], group_id(small_group))
    assert rows["comm"][0].startswith(b"python")
    assert set(rows["object_id"].tolist()) == {group_id(small_group)[0]}
    assert set(rows["limit"].tolist()) == {32 * MIB}
    assert abs(int(rows["size"].sum()) - (64 * MIB - facts["cached"])) <= MIB      # lists of the CPUs hold some pages back
    assert (rows["map_flags"] != 0).all() and (rows["order"] == 0).all()
    assert (rows["duration_ns"] > 0).all()
    assert rows["duration_ns"].sum() < facts["after"] - facts["before"]
    zero_but(rows, "size", "duration_ns", "limit", "object_id", "map_flags")
    cells = stats.by_kind["memory.limit"]
    assert cells["submitted"] == len(rows)
    # every stall is in a row; what was sent at the end of the thread passed the gate a second time
    seen = cells["seen"] - cells["k_filtered"]      # other groups have limits of their own
    assert int(rows["count"].sum()) in (seen, seen - 1)
    assert cells["k_aggregated"] > 0
    short = rows[rows["count"] > 1]
    assert len(short) <= 2 + (facts["after"] - facts["before"]) // 100_000_000 + (rows["duration_ns"] >= 1_000_000).sum()


def reclaimed(path: Path) -> tuple[dict[str, Any], np.ndarray, int]:
    """What a child did that had to free memory first, pages of a file; its rows; and how many were sent, of others too."""
    with open(path, "wb") as f:
        for _ in range(128):
            f.write(bytes(MIB))
        os.fsync(f.fileno())
    with live.Helper("memory.py") as helper, live.watching(helper, config=config("reclaim")) as collector:
        facts = helper.call("reclaim", size=48 * MIB, more=32 * MIB)
        batch = live.everything(collector)
        stats = live.adds_up(collector)
    rows, _ = live.of_kind(batch, "memory.reclaim")
    assert facts["status"] == 0 and stats.by_kind["memory.reclaim"]["submitted"] == len(rows) == len(batch["memory"])
    return facts, rows[rows["pid"] != helper.pid], int(rows["count"].sum())     # the helper waits, but may want a page of its own


@pytest.mark.skipif(live.SLOW == 1, reason="it would take the whole machine's memory: in the machines of tests/vm only")
def test_reclaim(tmp_path: Path) -> None:
    """As many stalls, and pages, as the kernel counts of all processes. Its own thread may free what the child wants before the child has to."""
    for _ in range(3):
        facts, rows, stalls = reclaimed(tmp_path / "cached")
        if len(rows):
            break
    subject(rows, facts, rows["comm"][0], live.cgroup_of())
    pages, stolen = int(rows["size"].sum()) // PAGE, facts["vmstat"]["pgsteal_direct"]
    spare = max(64, stolen // 10)       # rows count pages of slabs too
    assert 0 < rows["count"].sum() <= stalls <= facts["vmstat"]["allocstall"]
    assert 0 < pages <= stolen + spare
    if rows["count"].sum() == facts["vmstat"]["allocstall"]:       # nobody else freed any
        assert pages >= stolen - spare
    assert (rows["order"] == 0).all() and (rows["map_flags"] != 0).all()
    assert 0 < rows["duration_ns"].sum() < facts["after"] - facts["before"]
    zero_but(rows, "size", "duration_ns", "map_flags")


def test_compaction() -> None:
    """One stall a zone: the kernel's own count of zones with pages; order -1 is the kernel's for all orders."""
    zones = len(re.findall(r"present\s+[1-9]", Path("/proc/zoneinfo").read_text()))
    with live.Helper("memory.py") as helper, live.watching(helper, config=config("compaction")) as collector:
        facts = helper.call("compact")
        batch = live.everything(collector)
        stats = live.adds_up(collector)
    rows, _ = live.of_kind(batch, "memory.compaction")
    assert len(rows) == len(batch["memory"]) > 0
    subject(rows, facts, rows["comm"][0], live.cgroup_of())
    assert 0 < rows["count"].sum() <= zones
    assert (rows["order"] == -1).all() and (rows["map_flags"] != 0).all()
    assert 0 < rows["duration_ns"].sum() < facts["after"] - facts["before"]
    zero_but(rows, "duration_ns", "order", "map_flags")
    assert stats.by_kind["memory.compaction"]["seen"] >= rows["count"].sum()


def test_page_fault(big_file: Path) -> None:
    """Four threads touch fresh pages, then the first one a file's: what wait4 says of the process."""
    with live.Helper("memory.py") as helper, live.watching(helper, config=config("page_fault")) as collector:
        facts = helper.call("faults", pages=500, threads=4, path=str(big_file), size=8 * MIB)
        measured = any(p["name"] == "tf_memory_faulted" and p["state"] == "attached" for p in collector.debug().loaded_programs)
        batch = live.everything(collector)
        stats = live.adds_up(collector)
    rows, _ = live.of_kind(batch, "memory.page_fault")
    rows = rows[rows["pid"] != helper.pid]
    assert len(rows) == 1 and len(batch["memory"]) <= 2
    subject(rows, facts, rows["comm"][0], live.cgroup_of())
    assert facts["minor"] > 1000 and facts["major"] > 1000, facts     # of 2,000 fresh pages; a kernel may bring neighbours along
    # faults of the very end (tidying up after the hook) are the kernel's to count, not ours to see
    assert facts["minor"] - 20 <= rows["minor_faults"][0] <= facts["minor"]
    assert facts["major"] - 2 <= rows["count"][0] <= facts["major"]
    zero_but(rows, "minor_faults", "duration_ns")
    most = 5 * (facts["after"] - facts["before"])       # five threads at the same time
    assert 0 < rows["duration_ns"][0] < most if measured else rows["duration_ns"][0] == 0
    assert stats.by_kind["memory.page_fault"]["submitted"] == len(batch["memory"])


def test_page_faults_are_of_a_process_whoever_ended_last() -> None:
    """Its name is the first thread's, as its tid is."""
    with live.Helper("memory.py") as helper, live.watching(helper, config=config("page_fault")) as collector:
        facts = helper.call("ended_by_another", leader="tf_leader", last="tf_last")
        batch = live.everything(collector)
    assert facts["status"] == 0
    rows, _ = live.of_kind(batch, "memory.page_fault")
    rows = rows[rows["pid"] == facts["pid"]]
    assert len(rows) == 1
    subject(rows, facts, b"tf_leader", live.cgroup_of())


def test_default_programs_are_rare_hooks_only() -> None:
    """With nothing configured neither system calls nor faults are hooked."""
    source = tapio.KernelSource(snapshot=False)
    with tapio.Collector(source=source):
        mine = {p["name"]: p["state"] for p in source.programs() if p["object"] == "memory"}
        dispatch = {p["state"] for p in source.programs() if p["name"] in ("tf_sys_exit", "tf_sys_enter")}
    assert dispatch == {"not_wanted"}
    attached = {name for name, state in mine.items() if state == "attached"}
    assert {name.removesuffix("_old") for name in attached - {"tf_memory_pressure"}} == {
        "tf_memory_oom", "tf_memory_reclaim", "tf_memory_reclaimed", "tf_memory_limit", "tf_memory_limited", "tf_memory_compaction",
        "tf_memory_compacted", "tf_memory_exit"}


@pytest.fixture
def measured_group(small_group: Path) -> Iterator[Path]:
    """A version 2 group, whose pressure the kernel measures apart: the small one itself, where that is in version 2."""
    if (small_group / "memory.pressure").exists():
        yield small_group
        return
    path = live._mounts()[""] / f"tapio_fast_test_{os.getpid()}_pressure"
    path.mkdir()
    try:
        yield path
    finally:
        live.wait_for(lambda: not (path / "cgroup.procs").read_text(), 10)
        path.rmdir()


def stalled_us(path: Path) -> int:
    return int((path / "memory.pressure").read_text().splitlines()[0].rpartition("total=")[2])


def test_pressure(small_group: Path, measured_group: Path, big_file: Path) -> None:
    """The group's own total before and after bounds what the record says; nobody is its subject."""
    group = measured_group.stat().st_ino
    with live.Helper("memory.py") as helper, live.watching(
            helper, config=config("pressure", pressure_ms=1, pressure_path=str(measured_group / "memory.pressure")),
            filter=tapio.KernelFilter(cgroups=[group])) as collector:
        before = stalled_us(measured_group)
        helper.send("cached_reads", groups=[str(small_group), str(measured_group)], path=str(big_file), times=60 // live.SLOW)
        found = live.read_until(collector, lambda got: any(len(b["memory"]) for b in got))
        facts = helper.result()
        batch = live.together([*found, *live.drain(collector)])
        stats = live.adds_up(collector)
        after = stalled_us(measured_group)
    rows, _ = live.of_kind(batch, "memory.pressure")
    assert len(rows) == len(batch["memory"]) >= 1
    assert (rows["pid"] == 0).all() and (rows["flags"] == 1 << 4).all() and (rows["comm"] == b"").all()
    assert (rows["cgroup_id"] == group).all() and (rows["object_id"] == group).all()
    assert (rows["limit"] == 1_000_000).all()
    assert (rows["duration_ns"] >= 1_000_000).all()
    assert rows["duration_ns"].sum() <= (after - before) * 1000
    assert (rows["ts_ns"] >= facts["before"]).all()
    zero_but(rows, "duration_ns", "limit", "object_id")
    assert stats.by_kind["memory.pressure"]["seen"] == len(rows)


def test_pressure_of_a_file_that_is_not_there_costs_only_its_program(tmp_path: Path) -> None:
    """The kernel measures, so it is the path that is wrong: nobody is sent to boot it with psi=1."""
    source = tapio.KernelSource(snapshot=False)
    with tapio.Collector(config("pressure", "oom_kill", pressure_path=str(tmp_path / "memory.pressure")), source=source) as collector:
        program = next(p for p in source.programs() if p["name"] == "tf_memory_pressure")
        health = collector.health()
    if os.path.exists("/proc/pressure/memory"):
        assert program["state"] == "attach_failed" and "check programs.memory.pressure_path" in program["reason"]
        assert "psi=1" not in program["reason"]
    else:
        assert program["state"] == "missing_hook" and "psi=1" in program["reason"]
    assert health.status == "degraded" and any("tf_memory_pressure" in line for line in health.advice)


@pytest.mark.skipif(tuple(map(int, os.uname().release.split(".")[:2])) < (6, 4), reason="before Linux 6.4 it refuses every window")
@pytest.mark.skipif(not shutil.which("setpriv"), reason="needs setpriv (util-linux)")
def test_pressure_threshold_that_the_kernel_refuses_is_explained() -> None:
    """Any window that is no multiple of 2 s, for who lacks CAP_SYS_RESOURCE."""
    code = ("import tapio_fast as tapio\n"
            "source = tapio.KernelSource(snapshot=False)\n"
            "config = tapio.Config().replace(programs={'memory': {'pressure_window_ms': 3000}})\n"
            "with tapio.Collector(config, source=source):\n"
            "    print(*(p[n] for p in source.programs() if p['name'] == 'tf_memory_pressure' for n in ('state', 'reason')))\n")
    drop = ["setpriv", "--bounding-set=-sys_resource", "--inh-caps=-sys_resource"]
    done = subprocess.run([*drop, sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("attach_failed") and "pressure_window_ms must be a multiple" in done.stdout
