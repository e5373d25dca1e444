# SPDX-License-Identifier: Apache-2.0
"""The calls of programs.process.monitor_syscalls: number, arguments, result, errno, duration, path, against what their maker says."""
from __future__ import annotations

import os
import struct
from pathlib import Path
from typing import Any

import live_support as live
import numpy as np
import pytest

import tapio_fast as tapio
from tapio_fast import syscalls

pytestmark = [pytest.mark.root, pytest.mark.live]

TRUNCATED, USER_CLAIMED, CGROUP_V1, PARTIAL = 1, 2, 1 << 6, 1 << 10
MS = 1_000_000
NR = syscalls.table()
ANY = (1 << 64) - 1


def config(*names: str, **process: Any) -> tapio.Config:
    """Those calls and nothing else."""
    return tapio.Config.default().replace(programs={
        "process": {"track_exec": False, "track_fork_exit": False, "events": ["exec"], "monitor_syscalls": list(names), **process},
        "network": {"enabled": False}, "memory": {"enabled": False}})


def of_fact(rows: np.ndarray, fact: dict[str, Any]) -> int:
    """The place of the one row of a call, by who, what and when."""
    mine = np.flatnonzero((rows["tid"] == fact["tid"]) & (rows["nr"] == fact["nr"]) & (rows["ts_ns"] >= fact["begun"])
                          & (rows["ts_ns"] <= fact["ended"]))
    assert len(mine) == 1, (fact, rows[["ts_ns", "tid", "nr"]])
    return int(mine[0])


def compare(row: Any, fact: dict[str, Any], helper: live.Helper, *, timed: bool = False) -> None:
    """Every field but path and flags."""
    ret = -fact["errno"] if fact["errno"] else fact["result"]
    cgroup, v1 = live.cgroup_of()      # the helper was born here
    true = {"pid": helper.pid, "ppid": os.getpid(), "uid": 0, "gid": 0, "ret": ret, "errno": fact["errno"], "nr": fact["nr"], "type": 1,
            "subtype": 0, "weight": 1.0, "cgroup_id": cgroup, "comm": helper.facts["comm"].encode()[:15]}
    assert {name: row[name] for name in true} == true
    assert bool(row["flags"] & CGROUP_V1) == v1 and row["start_ns"] // (1_000_000_000 // os.sysconf("SC_CLK_TCK")) == helper.facts["ticks"]
    assert row["args"].tolist() == fact["args"]
    if not timed:
        assert row["duration_ns"] == 0
    else:
        assert 0 < row["duration_ns"] <= fact["ended"] - fact["begun"]
        assert fact["begun"] <= row["ts_ns"] - row["duration_ns"]


def test_arguments_results_and_errnos() -> None:
    big = 0xFEDC_BA98_7654_3210
    plan = [[NR["getppid"]], [NR["getppid"], big, 1, ANY, 0x8000_0000, 3, big ^ ANY], [NR["lseek"], 999_999, 5, 0], [NR["getpgid"], 0],
            [NR["getpgid"], 0x7FFF_FFFF], [NR["getpriority"], 0, 0], [NR["sched_yield"]], [NR["umask"], 0o22], [NR["fchdir"], -1 & ANY]]
    names = ["getppid", "lseek", "getpgid", "getpriority", "sched_yield", "umask", "fchdir"]
    with live.Helper("syscalls.py") as helper, live.watching(helper, config=config(*names)) as collector:
        places = helper.call("regions")
        facts = helper.call("calls", plan=plan)
        others = helper.call("calls", plan=[[NR["getsid"], 0], [NR["gettid"]], [NR["times"], 0]])
        facts += helper.call("in_thread", plan=plan[:2])
        batch = live.everything(collector)
        live.adds_up(collector)
    rows = batch["syscall"]
    assert [f["errno"] for f in facts] == [0, 0, 9, 0, 3, 0, 0, 0, 9, 0, 0] and len({f["tid"] for f in facts}) == 2
    for fact in facts:
        row = rows[of_fact(rows, fact)]
        compare(row, fact, helper)
        assert int(row["flags"]) & ~CGROUP_V1 == 0 and row["path"]["full_len"] == 0
        assert places["libc"][0] <= row["ip"] < places["libc"][1]
        if fact["tid"] == helper.pid:
            assert places["stack"][0] <= row["sp"] < places["stack"][1]
    assert set(rows["nr"].tolist()) == {f["nr"] for f in facts}
    assert not {f["nr"] for f in others} & set(rows["nr"].tolist()), "calls that nobody listed"
    assert set(batch.domains) <= {"syscall", "meta"}
    rare = rows[np.isin(rows["nr"], [NR["getppid"], NR["getpgid"], NR["getpriority"], NR["umask"], NR["fchdir"]])]
    assert len(rare) == 9, "each call once"


def test_by_number_as_by_name() -> None:
    with live.Helper("syscalls.py") as helper, live.watching(helper, config=config(str(NR["getppid"]), "getpgid")) as collector:
        helper.call("calls", plan=[[NR["getppid"]], [NR["getpgid"], 0], [NR["getsid"], 0]])
        rows = live.everything(collector)["syscall"]
    assert rows["nr"].tolist() == [NR["getppid"], NR["getpgid"]]


@pytest.mark.parametrize("timed", [False, True])
def test_durations_only_where_asked(timed: bool) -> None:
    sleep = NR["nanosleep"]
    wait = struct.pack("<qq", 0, 30 * MS).decode("latin-1")
    with live.Helper("syscalls.py") as helper, live.watching(helper, config=config("nanosleep", "getppid",
                                                                                   syscall_durations=timed)) as collector:
        facts = helper.call("calls", plan=[[sleep, wait, 0], [NR["getppid"]], [sleep, 0, 0]])
        state = {p["name"]: p["state"] for p in collector._source.programs()}
        rows = live.everything(collector)["syscall"]
    assert state["tf_sys_exit"] == "attached" and (state["tf_sys_enter"] == "attached") == timed
    assert [f["errno"] for f in facts] == [0, 0, 14]
    for fact in facts:
        compare(rows[of_fact(rows, fact)], fact, helper, timed=timed)
    if timed:
        assert 30 * MS <= rows["duration_ns"][0] < facts[0]["ended"] - facts[0]["begun"]
        assert rows["duration_ns"][1] < 5 * MS


@pytest.mark.skipif("pause" not in NR, reason="needs the call pause: not on this machine")
def test_a_call_that_only_a_signal_ends() -> None:
    """The record has the kernel's own errno: 514 (ERESTARTNOHAND), which the signal's delivery turns into EINTR afterwards."""
    with live.Helper("syscalls.py") as helper, live.watching(helper, config=config("pause", syscall_durations=True)) as collector:
        facts = helper.call("interrupted", number=NR["pause"])
        rows = live.everything(collector)["syscall"]
    assert facts[0]["errno"] == 4
    assert rows["ret"].tolist() == [-514] and rows["errno"].tolist() == [514]
    assert rows["duration_ns"][0] > 20 * MS


PATHS = [("openat", [-100 & ANY, "/etc/passwd", 0]), ("openat", [-100 & ANY, "", 0]), ("newfstatat", [-100 & ANY, "/no/such \xff\n", 0, 0]),
         ("mkdirat", [-100 & ANY, "/proc/x", 0o700]), ("faccessat", [-100 & ANY, "x" * 255, 0]), ("unlinkat", [-100 & ANY, "/proc/y", 0]),
         ("renameat2", [-100 & ANY, "/proc/from", -100 & ANY, "/proc/to", 0]), ("symlinkat", ["target", -100 & ANY, "/proc/z"]),
         ("statfs", ["/nowhere", 0]), ("chdir", ["/none"]), ("inotify_add_watch", [-1 & ANY, "/watched", 1]),
         ("fanotify_mark", [-1 & ANY, 1, 0, -100 & ANY, "/marked"]), ("mount", ["source", "/where", 0, 0, 0]),
         ("execve", ["/no/program", 0, 0])]


def test_paths_as_claimed() -> None:
    plan = [[NR[name], *args] for name, args in PATHS]
    with live.Helper("syscalls.py") as helper, live.watching(helper, config=config(*{name for name, _ in PATHS})) as collector:
        facts = helper.call("calls", plan=plan)
        batch = live.everything(collector)
        live.adds_up(collector)
    rows, texts = batch["syscall"], batch.strings("syscall", "path")
    for (name, args), fact in zip(PATHS, facts, strict=True):
        at = of_fact(rows, fact)
        compare(rows[at], fact, helper)
        wanted = args[1] if name == "mount" else next(a for a in args if isinstance(a, str))
        assert texts[at] == wanted.encode("latin-1"), name
        assert rows[at]["path"]["len"] == rows[at]["path"]["full_len"] == len(wanted)
        assert int(rows[at]["flags"]) & ~CGROUP_V1 == USER_CLAIMED
    assert facts[0]["errno"] == 0 and all(f["errno"] for f in facts[1:])


def test_paths_that_are_long_across_pages_gone_or_not_given() -> None:
    here = -100 & ANY
    openat, utimensat = NR["openat"], NR["utimensat"]
    plan = [[openat, here, "y" * 4094, 0], [openat, here, "y" * 5000, 0], [openat, here, ["across", "/etc/" + "." * 200], 0],
            [openat, here, ["gone", "/etc/passwd"], 0], [openat, here, 8, 0], [utimensat, -1 & ANY, 0, 0, 0]]
    with live.Helper("syscalls.py") as helper, live.watching(helper, config=config("openat", "utimensat")) as collector:
        facts = helper.call("calls", plan=plan)
        batch = live.everything(collector)
        live.adds_up(collector)
    rows, texts = batch["syscall"], batch.strings("syscall", "path")
    found = [(texts[at], int(rows[at]["flags"]) & ~CGROUP_V1, int(rows[at]["path"]["full_len"])) for at in (of_fact(rows, f)
                                                                                                            for f in facts)]
    assert found == [(b"y" * 4094, USER_CLAIMED, 4094), (b"y" * 4095, USER_CLAIMED | TRUNCATED, 4096),
                     (b"/etc/" + b"." * 200, USER_CLAIMED, 205), (b"", PARTIAL, 0), (b"", PARTIAL, 0), (b"", 0, 0)]
    assert [f["errno"] for f in facts] == [36, 36, 36 if facts[2]["errno"] == 36 else 2, 14, 14, 9]


def test_a_path_rewritten_during_the_call_stays_a_claim(tier_size: Any) -> None:
    """Each record has a text that was there at some time, bounded and flagged: the tracer is never led elsewhere."""
    tries = tier_size(2000, 100_000)
    with live.Helper("syscalls.py") as helper, live.watching(helper, config=config("openat")) as collector:
        helper.call("race", number=NR["openat"], tries=tries, timeout=120)
        batch = live.everything(collector)
        live.adds_up(collector)
    rows, texts = batch["syscall"], batch.strings("syscall", "path")
    mine = [i for i in range(len(rows)) if rows["args"][i][0] == -100 & ANY and texts[i].startswith(b"/tmp/")]
    assert len(mine) == tries
    assert all(set(texts[i][5:]) <= set(b"ab-") and len(texts[i]) == 14 for i in mine)
    assert all(int(rows["flags"][i]) & USER_CLAIMED for i in mine)


def attached(source: tapio.KernelSource) -> set[str]:
    """Names of programs of this collector that a link in the kernel runs, by the kernel's own tables."""
    names = {p["id"]: p["name"] for p in source.programs() if p["id"]}
    found = set()
    for number in live.ids("link"):
        info = live._info("link", number)
        if info is not None and struct.unpack_from("<I", info, 8)[0] in names:
            found.add(names[struct.unpack_from("<I", info, 8)[0]])
    return found


def test_the_default_attaches_neither_end_of_system_calls() -> None:
    for chosen, wanted in ((tapio.Config.default(), set()), (config("getppid"), {"tf_sys_exit"}),
                           (config("getppid", syscall_durations=True), {"tf_sys_exit", "tf_sys_enter"})):
        source = tapio.KernelSource(snapshot=False)
        with tapio.Collector(chosen, source=source, filter=tapio.KernelFilter(pids=[])):
            links = attached(source)
        assert links & {"tf_sys_exit", "tf_sys_enter"} == wanted
        assert ("tf_process_exec" in links) == (not wanted), "the question can be answered at all"


def test_unknown_names_are_refused_when_the_collector_starts() -> None:
    chosen = config("openta")
    with pytest.raises(tapio.ConfigError, match="'openta'; did you mean 'open") as caught:
        tapio.Collector(chosen, source=tapio.KernelSource(snapshot=False)).start()
    assert caught.value.key == "programs.process.monitor_syscalls"


def test_a_call_of_another_machine_is_left_out_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    alien = "open" if os.uname().machine == "aarch64" else None
    if alien is None:       # everything of arm64's table is on x86-64 too
        assert not set(syscalls.table("aarch64")) - set(syscalls.table("x86_64"))
        assert syscalls.number_of("open", "aarch64") is None
        assert syscalls.numbers_of(["open", "openat", "5"], "aarch64") == ([5, 56], ["open"])
        return
    with tapio.Collector(config(alien, "getppid"), source=tapio.KernelSource(snapshot=False)):
        assert any("no system call open" in message for message in caplog.messages)


def test_numbers_are_the_kernels() -> None:
    """Against this machine's own header, where it is installed."""
    header = next((p for p in (Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h"), Path("/usr/include/asm-generic/unistd.h"))
                   if p.exists() and ("64.h" in p.name) == (os.uname().machine == "x86_64")), None)
    if header is None:
        pytest.skip("needs linux-libc-dev: the kernel's table of numbers")
    true = {}
    for line in header.read_text().splitlines():
        words = line.split()
        if len(words) == 3 and words[0] == "#define" and words[1].startswith("__NR_") and words[2].isdecimal():
            true[words[1][5:]] = int(words[2])
    ours = syscalls.table()
    assert {name: ours.get(name) for name in true} == true
    assert all(syscalls.name_of(number) == name for name, number in ours.items())
