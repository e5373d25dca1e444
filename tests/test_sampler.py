# SPDX-License-Identifier: Apache-2.0
"""Sampling where no kernel is needed: what a configuration comes to, and the draw in the pump over in-memory rings."""
from __future__ import annotations

import math
from typing import Any

import live_support as live
import numpy as np
import pytest

import tapio_fast as tapio
from tapio_fast import sampling, schema
from tapio_fast.enabled import enabled_kinds, keyed_kinds
from tapio_fast.errors import ConfigError

RATE_ROW = schema.KIND_BY_NAME["meta.rate"].subtype


def adaptive(**keys: Any) -> tapio.Config:
    return tapio.Config.default().replace(filtering={"adaptive_sampling": {"enabled": True, **keys}})


def test_both_switches_turn_the_controller_on_and_one_of_them_the_throttle() -> None:
    kinds = {"cpu.usage"}
    assert sampling.control_of(tapio.Config.default(), kinds) is None and sampling.throttle_of(tapio.Config.default()) == (0, 0)
    config = adaptive(base_rate=0.25, importance_boost=3, burst_threshold=70).replace(
        performance={"event_rate_limit": 5, "cpu_limit": 0.5, "sampling_interval": 2, "burst_size": 9})
    control = sampling.control_of(config, kinds)
    assert control == (5, 0.5, 0.25, 3.0, 2.0, {schema.KIND_BY_NAME["cpu.usage"].number: sampling.PLAIN})
    assert sampling.throttle_of(config) == (70, 9)
    assert sampling.throttle_of(config.replace(filtering={"adaptive_sampling": {"burst_protection": False}})) == (0, 0)
    fast = tapio.Config.high_performance()
    assert sampling.control_of(fast, kinds) and sampling.throttle_of(fast) == (0, 0)
    assert sampling.control_of(tapio.Config.security(), kinds) is None


def test_critical_kinds_and_those_that_feed_a_sum_are_left_alone() -> None:
    config = adaptive().replace(programs={domain: {"enabled": True} for domain in ("file", "security", "container")})
    config = config.replace(programs={"network": {"events": ["all"]}})
    kinds = enabled_kinds(config)
    assert "network.rtt" in kinds
    classes = sampling.classes_of(config, kinds)
    names = {schema.KINDS[number].name: place for number, place in classes.items()}
    assert {name for name in kinds if schema.KIND_BY_NAME[name].lane == "critical"} & set(names) == set()
    assert {"file.read", "file.write", "network.send", "network.recv", "network.rtt"} & set(names) == set()
    assert names["file.open"] == names["network.connect"] == sampling.PLAIN
    # kinds whose severity is warning or more are important with the threshold of 0.7, and none with 1
    assert {name for name, place in names.items() if place == sampling.IMPORTANT} == {
        name for name in names if schema.KIND_BY_NAME[name].severity >= int(tapio.Severity.WARNING)} != set()
    strict = config.replace(dual_path={"importance_threshold": 1.0})
    assert sampling.IMPORTANT not in sampling.classes_of(strict, kinds).values()


def test_keyed_kinds_are_those_of_their_section() -> None:
    config = tapio.Config.default().replace(programs={
        "network": {"sampling_key": "connection"}, "process": {"sampling_key": "process"}, "file": {"enabled": True}})
    keyed = keyed_kinds(config, enabled_kinds(config))
    assert {name.partition(".")[0] for name in keyed["process"]} == {"process"}
    assert "network.connect" in keyed["connection"] and "network.send" not in keyed["connection"]
    assert keyed_kinds(tapio.Config.default(), enabled_kinds(config)) == {"process": set(), "connection": set()}


def test_the_sampler_stands_for_its_section_of_the_configuration() -> None:
    sampler = tapio.AdaptiveSampling(base_rate=0.5, burst_threshold=3)
    collector = tapio.Collector(sampler=sampler, source=tapio.MemorySource())
    assert collector.config.filtering.adaptive_sampling == adaptive(base_rate=0.5, burst_threshold=3).filtering.adaptive_sampling
    assert tapio.Collector.builder().with_sampler(sampler).with_source(tapio.MemorySource()).build().config == collector.config
    for wrong in ({"base_rate": 0.0}, {"importance_boost": 0.5}, {"burst_threshold": 0}):
        with pytest.raises(ConfigError, match=f"filtering.adaptive_sampling.{next(iter(wrong))}"):
            tapio.Collector(sampler=tapio.AdaptiveSampling(**wrong), source=tapio.MemorySource())
    with pytest.raises(ConfigError, match="AdaptiveSampling, not a int"):
        tapio.Collector(sampler=1, source=tapio.MemorySource())


def test_a_source_without_a_gate_is_sampled_in_the_pump() -> None:
    n, rate = 40_000, 0.1
    config = tapio.Config.default().replace(programs={"process": {"sampling_rate": rate}})
    source = tapio.MemorySource(cpus=2, bulk_bytes=1 << 23)
    with tapio.Collector(config, source=source) as collector:
        collector.fileno()
        for cpu in range(2):
            assert source.fill("cpu.usage", n=n, cpu=cpu) == n
            assert source.fill("network.connect", n=100, cpu=cpu) == 100
        batch = live.together(live.drain(collector))
        stats = live.adds_up(collector)
    cells = stats.by_kind["cpu.usage"]
    assert cells["seen"] == cells["submitted"] == cells["consumed"] == 2 * n
    assert cells["u_sampled"] + cells["routed"] == 2 * n and cells["routed"] == len(batch["cpu"])
    assert abs(len(batch["cpu"]) - 2 * n * rate) <= 5 * math.sqrt(2 * n * rate * (1 - rate))
    assert np.allclose(batch["cpu"]["weight"], 1 / rate) and stats.events_sampled == cells["u_sampled"]
    assert len(batch["network"]) == 200 and (batch["network"]["weight"] == 1).all()
    assert len(np.unique(batch["cpu"][["cpu", "seq"]])) == len(batch["cpu"])
    told = batch["meta"][batch["meta"]["subtype"] == RATE_ROW]
    names = {schema.KINDS[int(number)].name for number in told["object_id"]}
    assert "cpu.usage" in names and "network.connect" not in names
    assert np.allclose(told["value"] / 2**32, rate) and (told["cause"] == 0).all()
