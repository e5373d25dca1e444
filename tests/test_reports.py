# SPDX-License-Identifier: Apache-2.0
"""stats(), health() and debug(): true, complete, and as JSON."""
from __future__ import annotations

import json

import live_support as live
import numpy as np
import pytest

import tapio_fast as tapio
from tapio_fast import schema


def memory(n: int, **performance: int) -> tuple[tapio.Statistics, tapio.HealthStatus, tapio.DebugInfo]:
    """Reports of a collector that was sent n records and read to its end."""
    source = tapio.MemorySource(cpus=2, bulk_bytes=1 << 16)
    config = tapio.Config.default().replace(performance=performance, programs={"network": {"snaplen": 64}})
    with tapio.Collector(config, source=source) as collector:
        collector.fileno()
        for cpu in (0, 1):
            source.fill("cpu.usage", n=n, cpu=cpu)
        live.drain(collector)
        live.adds_up(collector)
        return collector.stats(), collector.health(), collector.debug()


def test_numbers_of_a_quiet_collector() -> None:
    stats, health, debug = memory(100)
    assert stats.events_received == stats.ledger["seen"] == stats.ledger["routed"] == 200
    assert stats.events_dropped == stats.events_filtered == stats.events_sampled == stats.ring_buffer_full == 0
    assert stats.by_kind["cpu.usage"]["seen"] == 200 and [row["seen"] for row in stats.by_cpu] == [100, 100]
    assert 0 <= stats.ring_buffer_usage_percent <= 100
    assert 16 * 9 / 8 <= stats.memory_usage_mb <= 512
    assert 0 <= stats.cpu_percent <= 200 and stats.seconds >= 0 and stats.epochs >= 1
    assert health.status == "healthy" and health.advice == [] and health.security_violations == 0
    assert stats.sampling == {"share": 1.0, "rate_changes": 0}
    assert [stage["stage"] for stage in debug.event_pipeline] == ["source", "pump", "redaction", "sampling", "pool", "raw", "user"]
    assert debug.event_pipeline[0]["name"] == "memory"


def test_loss_degrades_and_advises() -> None:
    stats, health, _ = memory(50_000, batch_pool_mb=1)
    assert stats.ring_buffer_full > 0 and stats.events_dropped == stats.ring_buffer_full
    assert health.status == "degraded"
    assert any("performance.ring_buffer_size_mb" in line and str(stats.ring_buffer_full) in line for line in health.advice)


def test_keys_without_effect_are_listed() -> None:
    _, health, _ = memory(1)
    assert "programs.network.snaplen" in health.not_active


def test_rate_above_the_limit_is_advised_and_drops_nothing() -> None:
    source = tapio.MemorySource()
    config = tapio.Config.default().replace(performance={"event_rate_limit": 1})
    with tapio.Collector(config, source=source) as collector:
        collector.fileno()
        source.fill("cpu.usage", n=1000)
        advice = live.wait_for(lambda: [line for line in collector.health().advice if "event_rate_limit" in line], 5)
        live.drain(collector)
        assert live.adds_up(collector).ledger["routed"] == 1000
    assert "nothing is dropped" in advice[0]


@pytest.mark.parametrize("part", [0, 1, 2])
def test_to_dict_is_json(part: int) -> None:
    told = memory(10)[part].to_dict()
    assert json.loads(json.dumps(told)) == told


def test_statistics_find_a_wrong_sum() -> None:
    """differences() must be able to fail: each identity is broken once."""
    stats, _, _ = memory(10)
    for name, where in (("seen", "seen"), ("in_ring", "submitted"), ("u_bad", "consumed")):
        ledger = {**stats.ledger, name: stats.ledger[name] + 1}
        broken = tapio.Statistics(**{**{f: getattr(stats, f) for f in stats.__dataclass_fields__}, "ledger": ledger})
        assert where in broken.differences()
    branches = {**stats.branches, "user": {**stats.branches["user"], "handed": 0}}
    broken = tapio.Statistics(**{**{f: getattr(stats, f) for f in stats.__dataclass_fields__}, "branches": branches})
    assert list(broken.differences()) == ["user.routed"]


def test_losses_are_in_the_meta_rows() -> None:
    """EPOCH rows carry the ledger's growth; their sum is the ledger."""
    source = tapio.MemorySource(cpus=2, bulk_bytes=1 << 16)
    config = tapio.Config.default().replace(performance={"batch_pool_mb": 1})
    entry = np.dtype([("count", "u8"), ("cpu", "u2"), ("type", "u1"), ("subtype", "u1"), ("cause", "u4")])
    with tapio.Collector(config, source=source) as collector:
        collector.fileno()
        source.fill("cpu.usage", n=60_000, cpu=1)
        found = live.read_until(collector, lambda _: collector.stats().ledger["in_ring"] == 0) + live.drain(collector)
        stats = live.adds_up(collector)
    lost = 0
    for batch in found:
        rows, places = live.of_kind(batch, "meta.epoch")
        data = batch.strings("meta", "data")
        for row, place in zip(rows, places.tolist(), strict=True):
            cells = np.frombuffer(data[place][16 * int(row["n_seqs"]):], entry, count=int(row["n_losses"]))
            full = cells[cells["cause"] == schema.LEDGER.index("k_ring_full")]
            assert set(full["cpu"].tolist()) <= {1}
            lost += int(full["count"].sum())
    assert lost == stats.ring_buffer_full > 0
    assert sum(b.loss["k_ring_full"] for b in found) == lost


@pytest.mark.root
@pytest.mark.live
def test_live_collector_is_healthy_and_shows_what_it_loaded() -> None:
    config = tapio.Config.default().replace(debug={"enabled": True, "dump_programs": True, "dump_maps": True, "profile_enabled": True})
    with live.Helper("processes.py") as helper, live.watching(helper, config=config) as collector:
        helper.call("forks_only", n=5)
        rows = live.of_kind(live.everything(collector), "process.fork")[0]
        stats, health, debug = collector.stats(), collector.health(), collector.debug()
        in_kernel = live.objects()
    assert len(rows) == 5
    assert health.status == "healthy", health
    assert {p["state"] for p in health.programs} <= {"attached", "loaded", "not_wanted"} and health.loaded_programs >= 5
    loaded = [p for p in debug.loaded_programs if p["state"] in ("attached", "loaded")]
    assert len(loaded) == health.loaded_programs
    for program in loaded:
        assert ("prog", program["id"]) in in_kernel and program["insns"] > 0, program
        assert program["hook"] and program["object"]
    names = {m["name"] for m in debug.active_maps}
    assert {"tf_ledger", "tf_cpus", "tf_lanes", "tf_settings", "tf_rules", "tf_rates"} <= names
    assert all(("map", m["id"]) in in_kernel or not m["name"].startswith("tf_") for m in debug.active_maps)
    fork = next(p for p in debug.loaded_programs if p["name"] == "tf_process_fork")
    assert fork["recursion_misses"] == stats.recursion_misses == 0
    cells = next(m for m in debug.active_maps if m["name"] == "tf_ledger")["cells"]
    assert sum(c["seen"] for c in cells if c["kind"] == "process.fork") == stats.by_kind["process.fork"]["seen"]
    assert json.dumps(debug.to_dict()) and json.dumps(health.to_dict()) and json.dumps(stats.to_dict())


@pytest.mark.root
@pytest.mark.live
def test_reports_stay_after_close() -> None:
    collector = tapio.Collector(source=tapio.SyntheticSource(count=100))
    with collector:
        collector.fileno()
        live.drain(collector)
    assert collector.stats().ledger["seen"] <= 100 and collector.health().loaded_programs >= 1
    assert collector.debug().loaded_programs
