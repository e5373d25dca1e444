# SPDX-License-Identifier: Apache-2.0
"""Somebody else writes into our maps, or moves our store: health() counts it and says what. The truth is the test's own bpf(2) call."""
from __future__ import annotations

import ctypes
import os
import struct
from pathlib import Path

import pytest
from live_support import _bpf as bpf_call

import tapio_fast as tapio

pytestmark = [pytest.mark.root, pytest.mark.live]

MAP_UPDATE_ELEM, MAP_GET_FD_BY_ID = 2, 14


def write_map(number: int, key: int, value: bytes) -> None:
    """Overwrite one entry of an array map, as another process with CAP_BPF could."""
    fd, _ = bpf_call(MAP_GET_FD_BY_ID, struct.pack("<III", number, 0, 0))
    assert fd >= 0
    key_buffer, value_buffer = ctypes.create_string_buffer(struct.pack("<I", key)), ctypes.create_string_buffer(value, len(value))
    attr = struct.pack("<IIQQQ", fd, 0, ctypes.addressof(key_buffer), ctypes.addressof(value_buffer), 0)
    try:
        assert bpf_call(MAP_UPDATE_ELEM, attr)[0] == 0
    finally:
        os.close(fd)


def map_id(collector: tapio.Collector, name: str) -> int:
    return next(m["id"] for m in collector.debug().active_maps if m["name"] == name)


def test_a_rate_written_by_somebody_else_is_a_violation() -> None:
    with tapio.Collector(source=tapio.KernelSource(snapshot=False)) as collector:
        assert collector.health().security_violations == 0
        write_map(map_id(collector, "tf_rates"), 0, struct.pack("<Q", 0))
        health = collector.health()
        assert (health.status, health.security_violations) == ("degraded", 1)
        assert "tf_rates" in health.advice[0]


def test_a_blinded_kind_mask_is_a_violation() -> None:
    with tapio.Collector(source=tapio.KernelSource(snapshot=False)) as collector:
        for slot in range(4):
            write_map(map_id(collector, "tf_rules"), slot, bytes(64))
        health = collector.health()
        assert health.security_violations == 1
        assert "tf_rules" in health.advice[0]


def test_changes_of_our_own_are_not_violations() -> None:
    source = tapio.KernelSource(snapshot=False)
    with tapio.Collector(source=source) as collector:
        source.set_rate("process.exec", 0.5)
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
