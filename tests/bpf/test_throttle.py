# SPDX-License-Identifier: Apache-2.0
"""Burst protection: what the buckets of cgroups refuse is told by THROTTLE records, and one cgroup's flood does not hide another's."""
from __future__ import annotations

import struct
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import live_support as live
import numpy as np
import pytest

import tapio_fast as tapio
from tapio_fast import schema

pytestmark = [pytest.mark.root, pytest.mark.live]

THROTTLE = schema.KIND_BY_NAME["meta.throttle"].subtype
K_THROTTLED = schema.LEDGER.index("k_throttled")
KINDS = {(kind.type, kind.subtype): kind.name for kind in schema.KINDS}


def refused_in(batch: tapio.RecordBatch) -> dict[tuple[int, str], int]:
    """What the THROTTLE rows tell: (cgroup id, kind) -> records refused."""
    found: Counter[tuple[int, str]] = Counter()
    meta, data = batch["meta"], batch.strings("meta", "data")
    for i, row in enumerate(meta):
        if row["subtype"] != THROTTLE:
            continue
        entries = list(struct.iter_unpack("<QHBBI", data[i]))
        assert len(entries) == row["n_losses"] > 0 and sum(entry[0] for entry in entries) == row["value"]
        for count, cpu, type_, subtype, cause in entries:
            assert cpu == 0xFFFF and cause == row["cause"] == K_THROTTLED
            found[int(row["object_id"]), KINDS[type_, subtype]] += count
    return dict(found)


def test_throttle_records_tell_whom_and_how_many_of_each_kind() -> None:
    """The generator sends as much of either kind for each of its 16 cgroups; what is not there was refused."""
    count, kinds = 160_000, ("cpu.usage", "network.connect")
    source = live.Generator(count=count, cpus=(0,), rate=400_000, kinds=kinds)
    with tapio.Collector(live.roomy(), source=source) as collector:
        collector.fileno()
        source.set_throttle(500, 20)
        source.go()
        batches = live.read_until(collector, lambda _: source.wait(0), 60) + live.drain(collector)
        stats = live.adds_up(collector)
    batch, told = live.together(batches), refused_in(live.together(batches))
    for kind in kinds:
        assert sum(n for (_, k), n in told.items() if k == kind) == stats.by_kind[kind]["k_throttled"] > 0
    assert sum(told.values()) == stats.ledger["k_throttled"]
    kept: Counter[int] = Counter(np.concatenate([batch[domain]["cgroup_id"] for domain in ("cpu", "network")]).tolist())
    groups = {0x1000000 + i for i in range(16)}
    assert set(kept) == groups == {cgroup for cgroup, _ in told}
    for cgroup in groups:       # record n is of cgroup n % 16
        assert kept[cgroup] + sum(n for (c, _), n in told.items() if c == cgroup) == count // 16


def test_cgroups_without_a_place_are_told_together() -> None:
    """All places are taken by others: the sum is right all the same."""
    source = live.Generator(count=40_000, cpus=(0,))
    with tapio.Collector(live.roomy(), source=source) as collector:
        collector.fileno()
        table = next(m for m in collector.debug().active_maps if m["name"] == "tf_throttled")
        for place in range(1, table["max_entries"]):
            live.write_map(table["id"], place, struct.pack("<Q", 77) + bytes(256 * 8))
        source.set_throttle(1, 10)
        source.go()
        batches = live.read_until(collector, lambda _: source.wait(0), 60) + live.drain(collector)
        stats = live.adds_up(collector)
    told = refused_in(live.together(batches))
    assert told == {(0, "cpu.usage"): stats.by_kind["cpu.usage"]["k_throttled"]} and stats.ledger["k_throttled"] > 30_000


def test_a_collector_without_a_throttle_says_so() -> None:
    source = tapio.KernelSource(snapshot=False)
    with tapio.Collector(source=source), pytest.raises(tapio.ConfigError, match="burst_protection"):
        source.set_throttle(1, 1)


def test_a_flood_of_one_cgroup_does_not_hide_another(tmp_path: Path, triggers: Path, tier_size: Callable[[Any, Any], Any]) -> None:
    n, opens = tier_size(200, 1000), 5
    watched, made = tmp_path / "watched", tmp_path / "made"
    watched.mkdir()
    file = watched / "opened"
    file.touch()
    config = tapio.Config.default().replace(
        programs={"network": {"enabled": False}, "memory": {"enabled": False}, "process": {"events": ["fork", "exit"]},
                  "file": {"enabled": True, "events": ["open"], "monitor_paths": [str(watched)], "exclude_paths": []}},
        # a burst fits the rings; what canaries do at once, 1,000 opens in a tenth of a second, is within the limit
        performance={"ring_buffer_size_mb": 4, "burst_size": 2 * n * (opens + 2), "event_rate_limit": 100_000})
    sampler = tapio.AdaptiveSampling(burst_threshold=2000)
    with live.own_cgroup("flood") as bad, live.own_cgroup("canary") as good, \
            live.Helper("flood.py", cgroup=bad) as flood, live.Helper("flood.py", cgroup=good) as canary:
        ids = {name: live.cgroup_of(helper.pid)[0] for name, helper in (("flood", flood), ("canary", canary))}
        with tapio.Collector(config, sampler=sampler, filter=tapio.KernelFilter(cgroups=list(ids.values())),
                             source=tapio.KernelSource(snapshot=False)) as collector:
            collector.fileno()
            running = flood.call("start", exe=str(triggers / "t_flood"), path=str(file), made=str(made))
            batches = live.read_until(collector, lambda _: collector.stats().ledger["k_throttled"] > 20_000, 60)
            while True:     # what the flood got through before it was throttled is behind the sampler, too
                sampled = collector.stats().ledger["k_sampled"]
                end = time.monotonic() + 1
                batches += live.read_until(collector, lambda _, end=end: time.monotonic() > end, 60)
                if collector.stats().ledger["k_sampled"] == sampled:
                    break
            pids = canary.call("canaries", path=str(file), n=n, opens=opens)
            before = struct.unpack("<QQ", made.read_bytes())
            assert flood.call("kill", pid=running) == -9
            after = struct.unpack("<QQ", made.read_bytes())
            batches += live.drain(collector)
            stats = live.adds_up(collector)
    assert after[0] >= before[0] > 20_000
    batch, told = live.together(batches), refused_in(live.together(batches))
    opened, forked, ended = (live.of_kind(batch, kind)[0] for kind in ("file.open", "process.fork", "process.exit"))
    assert np.isin(pids, ended["pid"]).sum() + np.isin(pids, forked["target_pid"]).sum() >= 0.999 * 2 * n
    assert np.isin(opened["pid"], pids).sum() >= 0.95 * n * opens
    # the flood's own count: kept, or told as refused to its cgroup
    mine = int((opened["cgroup_id"] == ids["flood"]).sum()) + told[ids["flood"], "file.open"]
    cells = stats.by_kind["file.open"]
    lost = cells["k_ring_full"] + cells["k_busy"]
    missing = n * opens - int(np.isin(opened["pid"], pids).sum())
    # sampled: the burst, while it is above event_rate_limit; of the canary too
    assert after[0] <= mine + lost + cells["k_sampled"] <= after[0] + 5 + missing
    assert told[ids["flood"], "file.open"] == cells["k_throttled"] > 0.5 * after[0]
    assert lost < 0.01 * after[0]
