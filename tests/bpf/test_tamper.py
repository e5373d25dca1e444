# SPDX-License-Identifier: Apache-2.0
"""Somebody else writes into our maps, or moves our store: health() counts it and says what. The truth is the test's own bpf(2) call."""
from __future__ import annotations

import struct
from pathlib import Path

import pytest
from live_support import write_map

import tapio_fast as tapio
from tapio_fast import schema, syscalls

pytestmark = [pytest.mark.root, pytest.mark.live]


def map_id(collector: tapio.Collector, name: str) -> int:
    return next(m["id"] for m in collector.debug().active_maps if m["name"] == name)


def test_a_rate_written_by_somebody_else_is_a_violation() -> None:
    with tapio.Collector(source=tapio.KernelSource(snapshot=False)) as collector:
        assert collector.health().security_violations == 0
        write_map(map_id(collector, "tf_rates"), 0, bytes(256 * 8))
        health = collector.health()
        assert (health.status, health.security_violations) == ("degraded", 1)
        assert "tf_rates" in health.advice[0]


def test_a_rate_of_the_past_written_by_somebody_else_is_a_violation() -> None:
    """Keys are drawn by the rate in force when they were born."""
    config = tapio.Config.default().replace(programs={"process": {"sampling_key": "process", "sampling_rate": 0.5}})
    with tapio.Collector(config, source=tapio.KernelSource(snapshot=False)) as collector:
        assert collector.health().security_violations == 0
        write_map(map_id(collector, "tf_history"), schema.KIND_BY_NAME["process.exec"].number, struct.pack("<4Q", 1, 0, 0, 1 << 32) + bytes(63 * 16))
        health = collector.health()
        assert (health.status, health.security_violations) == ("degraded", 1)
        assert "tf_history" in health.advice[0]


def test_a_blinded_kind_mask_is_a_violation() -> None:
    with tapio.Collector(source=tapio.KernelSource(snapshot=False)) as collector:
        write_map(map_id(collector, "tf_rules"), 0, bytes(4 * 64))
        health = collector.health()
        assert health.security_violations == 1
        assert "tf_rules" in health.advice[0]


def test_a_system_call_that_nobody_wants_any_more_is_a_violation() -> None:
    config = tapio.Config.default().replace(programs={"process": {"monitor_syscalls": ["chroot"]}})
    with tapio.Collector(config, source=tapio.KernelSource(snapshot=False)) as collector:
        assert collector.health().security_violations == 0
        write_map(map_id(collector, "tf_sys_wants"), syscalls.table()["chroot"], bytes(4))
        health = collector.health()
        assert health.security_violations == 1
        assert "tf_sys_wants" in health.advice[0]


def test_changes_of_our_own_are_not_violations() -> None:
    source = tapio.KernelSource(snapshot=False)
    config = tapio.Config.default().replace(programs={"process": {"sampling_key": "process"}})
    with tapio.Collector(config, source=source, sampler=tapio.AdaptiveSampling()) as collector:
        for share in (0.5, 0.25, 1.0):
            source.set_rate("process.exec", share)
        source.set_throttle(1000, 10)
        collector.set_filter(tapio.KernelFilter(kinds=["process.exec"]))
        assert collector.health().security_violations == 0


def test_a_store_moved_away_is_a_violation(tmp_path: Path) -> None:
    path = tmp_path / "store"
    config = tapio.Config.default().replace(dual_path={"enabled": True, "raw_storage_path": str(path), "semantic_enabled": False,
                                                       "correlation_enabled": False})
    with tapio.Collector(config, source=tapio.KernelSource(snapshot=False)) as collector:
        assert collector.health().security_violations == 0
        path.rename(tmp_path / "elsewhere")
        path.mkdir()
        health = collector.health()
        assert health.security_violations == 1
        assert str(path) in health.advice[0]
