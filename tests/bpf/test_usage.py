# SPDX-License-Identifier: Apache-2.0
"""cpu.usage: what a process has used, against what getrusage and /proc tell that very process just before and just after the look."""
from __future__ import annotations

import os
from typing import Any

import live_support as live
import numpy as np
import pytest

import tapio_fast as tapio

pytestmark = [pytest.mark.root, pytest.mark.live]

HZ = os.sysconf("SC_CLK_TCK")
TICK = 1_000_000_000 // HZ
MIB = 1 << 20
CGROUP_V1 = 1 << 6
MONOTONIC = ("switches", "minor_faults", "major_faults")


def config(interval: float = 0.05, **process: Any) -> tapio.Config:
    """Nothing but usage."""
    return tapio.Config.default().replace(programs={
        "process": {"track_exec": False, "track_fork_exit": False, "events": ["exec"], "track_usage": True, "usage_interval": interval,
                    **process}, "network": {"enabled": False}, "memory": {"enabled": False}})


def rss_slack() -> int:
    """Since 6.2 each CPU may keep max(32, 2 * CPUs) pages of each of three counts to itself."""
    cpus = os.cpu_count() or 1
    return 3 * cpus * max(32, 2 * cpus) * os.sysconf("SC_PAGE_SIZE")


def look(helper: live.Helper, collector: tapio.Collector) -> tuple[Any, dict[str, int], dict[str, int]]:
    """A record that was taken while the helper was idle, and what the helper said before and after it."""
    before = helper.call("used")

    def mine(batches: list[tapio.RecordBatch]) -> np.ndarray:
        rows = [b["cpu"][(b["cpu"]["pid"] == helper.pid) & (b["cpu"]["ts_ns"] > before["ended"])] for b in batches]
        return np.concatenate(rows) if rows else np.zeros(0)

    found = live.read_until(collector, lambda batches: len(mine(batches)) > 0)
    return mine(found)[0], before, helper.call("used")


def compare(row: Any, before: dict[str, int], after: dict[str, int]) -> None:
    """Between the two, whatever it is; CPU time within a tick."""
    assert before["ended"] < row["ts_ns"] < after["begun"]
    for name in MONOTONIC:
        assert before[name] <= row[name] <= after[name], name
    assert before["on_cpu_ns"] - TICK <= row["on_cpu_ns"] <= after["on_cpu_ns"] + TICK
    assert (before["ticks"] - 2) * TICK <= row["on_cpu_ns"] <= (after["ticks"] + 2) * TICK
    assert abs(int(row["rss"]) - before["rss"]) <= rss_slack() + abs(after["rss"] - before["rss"])
    assert row["threads"] == before["threads"] == after["threads"]


def test_known_work() -> None:
    """CPU in the leader, in threads that are gone and in living ones; memory; faults; sleeps."""
    with live.Helper("processes.py") as helper, live.watching(helper, config=config()) as collector:
        rows = []
        for plan in ({}, {"cpu_ms": 150}, {"mb": 64}, {"cpu_ms": 30, "dead": 4}, {"cpu_ms": 30, "alive": 5}, {"naps": 200}):
            helper.call("work", **plan)
            row, before, after = look(helper, collector)
            compare(row, before, after)
            rows.append(row)
        batch = live.everything(collector)
        live.adds_up(collector)
    idle, burnt, large, dead, alive, naps = rows
    assert burnt["on_cpu_ns"] - idle["on_cpu_ns"] >= 150_000_000 - TICK
    assert large["rss"] - burnt["rss"] >= 64 * MIB - 2 * rss_slack()
    assert large["minor_faults"] - burnt["minor_faults"] >= (64 * MIB) // (2 * MIB)
    assert dead["on_cpu_ns"] - large["on_cpu_ns"] >= 5 * 30_000_000 - TICK and dead["threads"] == large["threads"] == 1
    assert alive["on_cpu_ns"] - dead["on_cpu_ns"] >= 6 * 30_000_000 - TICK and alive["threads"] == 6
    assert naps["switches"] - alive["switches"] >= 200
    cgroup, v1 = live.cgroup_of()
    header = {"pid": helper.pid, "tid": helper.pid, "ppid": os.getpid(), "uid": 0, "gid": 0, "cgroup_id": cgroup, "type": 6, "subtype": 0,
              "flags": CGROUP_V1 if v1 else 0, "weight": 1.0, "comm": helper.facts["comm"].encode()[:15]}
    for row in rows:
        assert {name: row[name] for name in header} == header
        assert row["start_ns"] // TICK == helper.facts["ticks"]
    assert set(batch.domains) <= {"cpu", "meta"}


def test_every_process_is_looked_at_in_each_look_and_filters_judge_it() -> None:
    """A family of processes; every look has each of them once, and nobody else passes the gate."""
    interval = 0.1
    with live.Helper("processes.py") as helper:
        for _ in range(5):
            helper.call("start_family")
        with live.watching(helper, config=config(interval)) as collector:
            found = live.read_until(collector, lambda batches: sum(len(b["cpu"]) for b in batches) >= 6 * 8)
            batch = live.together([*found, *live.drain(collector)])
            stats = live.adds_up(collector)
        for number in reversed(range(5)):       # a later one holds the pipes of those before it
            helper.call("end_family", number=number)
    rows = batch["cpu"][np.argsort(batch["cpu"]["ts_ns"])]
    pids = set(rows["pid"].tolist())
    assert len(pids) == 6 and helper.pid in pids
    times = rows["ts_ns"][rows["pid"] == helper.pid].astype(np.int64)
    gaps = np.diff(times)
    assert (gaps >= interval * 1e9 * 0.8).all() and np.median(gaps) <= interval * 1e9 * 1.5
    for pid in pids:
        own = rows["ts_ns"][rows["pid"] == pid].astype(np.int64)
        assert len(times) - 1 <= len(own) <= len(times) and (np.abs(own - times[:len(own)]) < interval * 1e9 / 2).all()
    usage = stats.by_kind["cpu.usage"]
    # the first look can be over before there is a consumer, and what the last one sends while the collector stops can stay on the ring
    assert usage["k_filtered"] > 0 and usage["routed"] - len(rows) in (0, len(pids)) and 0 <= usage["submitted"] - usage["routed"] <= len(pids)


def test_totals_never_fall_while_threads_come_and_go() -> None:
    """A thread that ends moves its counts to the process: no look may miss it or count it twice."""
    with live.Helper("processes.py") as helper, live.watching(helper, config=config()) as collector:
        helper.call("work", cpu_ms=2, dead=300, timeout=60)
        found = [b["cpu"] for b in live.drain(collector)]
        live.adds_up(collector)
        end = helper.call("used")
    rows = np.concatenate(found)
    rows = rows[np.argsort(rows["ts_ns"])]
    assert len(rows) >= 5
    for name in ("on_cpu_ns", "switches", "minor_faults"):
        assert (np.diff(rows[name].astype(np.int64)) >= 0).all(), name
        assert rows[name][-1] <= end[name] + (TICK if name == "on_cpu_ns" else 0)


def test_off_by_default_and_then_there_is_no_program() -> None:
    source = tapio.KernelSource(snapshot=False)
    with tapio.Collector(tapio.Config.default(), source=source, filter=tapio.KernelFilter(pids=[])):
        state = {p["name"]: (p["state"], p["id"]) for p in source.programs()}
    assert state["tf_usage"] == ("not_wanted", 0)


def test_snapshot_comes_first_and_once() -> None:
    with live.Helper("processes.py") as helper, live.watching(helper, config=config(), snapshot=True) as collector:
        found = live.read_until(collector, lambda batches: sum(len(b["cpu"]) for b in batches) >= 4)
        batch = live.together([*found, *live.drain(collector)])
    shots, _ = live.of_kind(batch, "meta.snapshot_process")
    assert (shots["pid"] == helper.pid).sum() == 1
    assert shots["ts_ns"].max() < batch["cpu"]["ts_ns"].min()


def test_an_idle_collector_stays_idle() -> None:
    """A look a second at every process of the machine, all of them passing the gate: hardly any CPU time."""
    source = tapio.KernelSource(snapshot=False)
    with tapio.Collector(config(1.0), source=source) as collector:
        collector.fileno()
        looks = live.read_until(collector, lambda batches: sum(bool(len(b["cpu"])) for b in batches) >= 2 and np.ptp(
            np.concatenate([b["cpu"]["ts_ns"] for b in batches if len(b["cpu"])]).astype(np.int64)) > 1_900_000_000)
        live.drain(collector)       # at rest: a look under way has been seen and not yet sent
        stats = live.adds_up(collector)
    assert sum(len(b["cpu"]) for b in looks) > 10
    assert stats.cpu_percent < 10
