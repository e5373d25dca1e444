# SPDX-License-Identifier: Apache-2.0
"""Adaptive sampling against the load generator, whose own count is the truth. How the controller behaves: tests/c/test_tf_control.c."""
from __future__ import annotations

import math
import os
import time
from pathlib import Path

import live_support as live
import numpy as np
import pytest

import tapio_fast as tapio
from tapio_fast import schema

pytestmark = [pytest.mark.root, pytest.mark.live]

SIGMAS = 5
LIMIT = 20_000 // live.SLOW
RATE_ROW = schema.KIND_BY_NAME["meta.rate"].subtype
SLACK_NS = 100_000_000      # between a RATE row's time and the last draw by the old rate: the pump may be interrupted in between


def boot_ns() -> int:
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


def rates_of(batch: tapio.RecordBatch, kind: str) -> tuple[np.ndarray, np.ndarray]:
    """(from when on, share) of the kind's RATE rows; a consumer that comes late is told again what is in force."""
    meta = batch["meta"]
    mine = meta[(meta["subtype"] == RATE_ROW) & (meta["object_id"] == schema.KIND_BY_NAME[kind].number)]
    assert (np.diff(mine["ts_ns"].astype(np.int64)) >= 0).all()
    since, first = np.unique(mine["ts_ns"].astype(np.int64), return_index=True)
    return since, mine["value"][first] / 2**32


def check_weights(rows: np.ndarray, since: np.ndarray, share: np.ndarray) -> None:
    """Every row has the weight of a rate that was in force within SLACK_NS of its time."""
    share = np.concatenate([[1.0], share])
    ts = rows["ts_ns"].astype(np.int64)
    first, last = np.searchsorted(since, ts - SLACK_NS, side="right"), np.searchsorted(since, ts + SLACK_NS, side="right")
    right = np.zeros(len(rows), bool)
    for step in range(int((last - first).max()) + 1):
        place = np.minimum(first + step, last)
        right |= np.isclose(rows["weight"], 1 / share[place], rtol=1e-6)
    assert right.all()


def test_a_flood_is_thinned_to_the_limit_and_whole_again_after_it() -> None:
    config = live.roomy(filtering={"adaptive_sampling": {"enabled": True, "base_rate": 0.001, "burst_protection": False}})
    config = config.replace(performance={"event_rate_limit": LIMIT, "sampling_interval": 0.1})
    source = live.Generator(rate=300_000, kinds=("cpu.usage",) * 29 + ("cpu.load",))
    with tapio.Collector(config, source=source) as collector:
        collector.fileno()
        source.go()
        began = boot_ns()
        batches = live.read_until(collector, lambda _: boot_ns() > began + 3_000_000_000)
        during = collector.stats().sampling
        source.halt()
        ended = boot_ns()
        batches += live.read_until(collector, lambda got: bool(got) and 1 in rates_of(live.together(got), "cpu.usage")[1])
        batches += live.drain(collector)
        stats = live.adds_up(collector)
    batch = live.together(batches)
    usage, load = (live.of_kind(batch, kind)[0] for kind in ("cpu.usage", "cpu.load"))
    tried = {name: sum(n for (_, k), n in source.tried.items() if k == name) for name in ("cpu.usage", "cpu.load")}
    # critical records are whole, the others weigh what was sent
    assert len(load) == tried["cpu.load"] and (load["weight"] == 1).all()
    assert stats.by_kind["cpu.usage"]["seen"] == tried["cpu.usage"] == len(usage) + stats.by_kind["cpu.usage"]["k_sampled"]
    error = math.sqrt(float((usage["weight"].astype(float) * (usage["weight"].astype(float) - 1)).sum()))
    assert abs(float(usage["weight"].astype(float).sum()) - tried["cpu.usage"]) <= SIGMAS * error
    since, share = rates_of(batch, "cpu.usage")
    assert share[-1] == 1 and 0.0009 < share.min() < 0.5
    assert not len(rates_of(batch, "cpu.load")[0])
    assert 0.0009 < during["share"] < 0.5 and stats.sampling["share"] == 1 and stats.sampling["rate_changes"] >= len(since)
    check_weights(usage, since, share)
    # what is over the limit is thinned: of the plain kind there is room for what critical records leave
    steady = (usage["ts_ns"] > began + 1_000_000_000) & (usage["ts_ns"] < ended)
    kept = int(steady.sum()) / ((ended - began - 1_000_000_000) / 1e9)
    offered = tried["cpu.usage"] / ((ended - began) / 1e9)
    left = LIMIT - len(load) / ((ended - began) / 1e9)
    assert 0.5 * left < kept < min(0.5 * offered, 2 * LIMIT)


def test_what_the_pumps_filter_refuses_is_no_reason_to_thin() -> None:
    """A quarter of the records passes, which is half of the limit; all of them together are twice the limit."""
    config = live.roomy(filtering={"adaptive_sampling": {"enabled": True, "base_rate": 0.001, "burst_protection": False}})
    config = config.replace(performance={"event_rate_limit": 50_000 // live.SLOW})
    source = live.Generator(rate=100_000, count=300_000 // live.SLOW, kinds=("network.connect",))
    with tapio.Collector(config, filter="retransmits == 0", source=source) as collector:
        collector.fileno()
        source.go()
        live.read_until(collector, lambda _: source.wait(0), 60)
        live.drain(collector)
        cells = live.adds_up(collector).by_kind["network.connect"]
    assert cells["u_filtered"] > 0.7 * cells["submitted"]       # it is not the kernel that filters
    assert cells["k_sampled"] < 0.2 * cells["seen"]


def test_what_is_replayed_is_not_sampled_again(tmp_path: Path) -> None:
    """The store has the kept rows and the RATE rows, and replay gives them as they were."""
    config = live.roomy(programs={"process": {"sampling_rate": 0.5}},
                        dual_path={"enabled": True, "raw_storage_path": str(tmp_path / "store"), "semantic_enabled": False,
                                   "correlation_enabled": False})
    source = live.Generator(count=50_000, cpus=(min(os.sched_getaffinity(0)),), rate=200_000)
    with tapio.Collector(config, source=source) as collector:
        collector.fileno()
        source.go()
        source.wait(30)
        source.set_rate("cpu.usage", 0.25)
        seen = live.together(live.drain(collector))
        stats = live.adds_up(collector)
    thinning = tapio.Config.default().replace(programs={"process": {"sampling_rate": 0.01}}, performance={"event_rate_limit": 1})
    with tapio.Collector(thinning, sampler=tapio.AdaptiveSampling(), source=tapio.RawStore(tmp_path / "store").replay()) as replay:
        again = live.together(list(replay.batches()))
    assert again["cpu"].tobytes() == seen["cpu"].tobytes()
    assert stats.branches["raw"]["written"] >= len(again["cpu"]) == stats.by_kind["cpu.usage"]["submitted"]
    since, share = rates_of(again, "cpu.usage")
    assert share.tolist() == [0.5, 0.25]
