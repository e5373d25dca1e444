# SPDX-License-Identifier: Apache-2.0
"""Big mappings: every call, done and failed, with the arguments that the helper gave it and the answer that it got."""
from __future__ import annotations

from typing import Any, NamedTuple

import live_support as live
import pytest

import tapio_fast as tapio
from tapio_fast.schema import KIND_BY_NAME

pytestmark = [pytest.mark.root, pytest.mark.live]

MIB = 1 << 20
SIZE = 96 * MIB
CGROUP_V1 = 1 << 6
KINDS = {"mmap": "memory.mmap", "mremap": "memory.mmap", "munmap": "memory.munmap", "mprotect": "memory.mprotect",
         "pkey_mprotect": "memory.mprotect", "brk": "memory.brk"}


class Run(NamedTuple):
    helper: dict[str, Any]
    calls: list[dict[str, Any]]
    breaks: dict[str, Any]
    batch: tapio.RecordBatch
    stats: tapio.Statistics
    states: dict[str, str]


@pytest.fixture(scope="module")
def run() -> Run:
    """One collection of every call."""
    config = tapio.Config().replace(programs={
        "process": {"enabled": False}, "network": {"enabled": False},
        "memory": {"events": ["mmap", "munmap", "mprotect", "brk"], "monitor_mmap": True, "threshold_mb": 96}})
    with live.Helper("memory.py") as helper, live.watching(helper, config=config) as collector:
        calls = helper.call("mappings", size=SIZE)
        breaks = helper.call("breaks", size=SIZE)
        states = {p["name"]: p["state"] for p in collector.debug().loaded_programs}
        batch = live.everything(collector)
        stats = live.adds_up(collector)
        return Run(helper.facts, calls, breaks, batch, stats, states)


def expected(call: dict[str, Any]) -> dict[str, Any]:
    """What the row of a call must say."""
    name, args, ret = call["call"], call["args"], call["ret"]
    moved = name in ("mmap", "mremap") and not call["errno"]
    row = {"address": ret if moved else args[0],
           "size": args[2] if name == "mremap" else args[1], "prot": 0, "map_flags": 0,
           "errno": call["errno"]}
    if name in ("mmap", "mprotect", "pkey_mprotect"):
        row["prot"] = args[2]
    if name == "mmap":
        row["map_flags"] = args[3]
    return row


def same(run: Run, row: Any, call: dict[str, Any], fields: dict[str, Any]) -> None:
    """Assert every field of a row."""
    cgroup, v1 = live.cgroup_of()      # the helper was never moved
    fields = {**fields, "pid": run.helper["pid"], "tid": call["tid"], "ppid": run.helper["ppid"], "uid": 0, "gid": 0,
              "comm": run.helper["comm"].encode(), "cgroup_id": cgroup, "flags": CGROUP_V1 if v1 else 0, "weight": 1.0, "type": 5,
              "count": 1, "duration_ns": 0, "rss": 0, "limit": 0, "victim_start_ns": 0, "object_id": 0, "minor_faults": 0,
              "victim_pid": 0, "order": 0, "victim_comm": b""}
    assert {name: row[name] for name in fields} == fields
    assert call["before"] <= row["ts_ns"] <= call["after"]


def test_mappings(run: Run) -> None:
    """In their order, and none that is too small."""
    rows = run.batch["memory"]
    rows = rows[rows["ts_ns"] <= run.calls[-1]["after"]]
    big = [c for c in run.calls if expected(c)["size"] >= SIZE and (c["call"] != "mremap" or c["args"][2] > c["args"][1])]
    assert len(big) == 8 and len(run.calls) == 11
    assert [c["errno"] for c in big] == [0, 0, 0, 0, 0, 9, 12, 22]
    rows = rows[rows["ts_ns"].argsort()]
    assert len(rows) == len(big)
    for row, call in zip(rows, big, strict=True):
        assert row["subtype"] == KIND_BY_NAME[KINDS[call["call"]]].subtype
        same(run, row, call, expected(call))


def test_each_call_has_its_kind(run: Run) -> None:
    """Seen is what is big enough, no more."""
    seen = {kind: cells["seen"] for kind, cells in run.stats.by_kind.items() if kind.startswith("memory.") and cells["seen"]}
    assert seen == {"memory.mmap": 3, "memory.munmap": 2, "memory.mprotect": 3, "memory.brk": 2}
    for kind, count in seen.items():
        assert len(live.of_kind(run.batch, kind)[0]) == count
    assert sum(seen.values()) == len(run.batch["memory"])


def test_brk(run: Run) -> None:
    """From the break before to the one asked for; too high a one fails although the call returns no error."""
    rows, _ = live.of_kind(run.batch, "memory.brk")
    here, up, too_high = run.breaks["here"], run.breaks["up"], run.breaks["too_high"]
    assert up["ret"] == here + SIZE and too_high["ret"] == here
    same(run, rows[0], up, {"address": here, "size": SIZE, "prot": 0, "map_flags": 0, "errno": 0})
    same(run, rows[1], too_high, {"address": here, "size": (1 << 62) - here, "prot": 0, "map_flags": 0, "errno": 12})


def test_the_entry_is_hooked_for_brk_only(run: Run) -> None:
    assert (run.states["tf_sys_enter"], run.states["tf_memory_break"], run.states["tf_memory_map"]) == ("attached",) * 3
    config = tapio.Config().replace(programs={"memory": {"events": ["mmap"], "monitor_mmap": True}})
    with tapio.Collector(config, source=tapio.KernelSource(snapshot=False)) as collector:
        states = {p["name"]: p["state"] for p in collector.debug().loaded_programs}
    assert (states["tf_sys_exit"], states["tf_sys_enter"], states["tf_memory_break"]) == ("attached", "not_wanted", "not_wanted")
