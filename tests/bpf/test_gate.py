# SPDX-License-Identifier: Apache-2.0
"""The gate's other refusals: sampling and its weights, the throttle per cgroup; and what the gate does not do."""
from __future__ import annotations

import math
import os
import time
from collections.abc import Callable
from typing import Any

import live_support as live
import numpy as np
import pytest

import tapio_fast as tapio

pytestmark = [pytest.mark.root, pytest.mark.live]

CGROUPS = 16            # that the generator makes up


def boot_ns() -> int:
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


def joined(batches: list[tapio.RecordBatch], domain: str, field: str) -> np.ndarray:
    """One field over all batches."""
    return np.concatenate([b[domain][field] for b in batches])


@pytest.mark.parametrize("probability", [0.25, 0.01])
def test_sampling_keeps_its_share_and_its_weight(tier_size: Callable[[Any, Any], Any], probability: float) -> None:
    source = live.Generator(count=tier_size(1_000_000, 3_000_000), rate=2_000_000, kinds=("cpu.usage", "cpu.load"))
    with tapio.Collector(source=source) as collector:
        collector.fileno()
        source.set_rate("cpu.usage", probability)
        source.go()
        batches = live.read_until(collector, lambda _: source.wait(0), 60) + live.drain(collector)
        stats = live.adds_up(collector)
    usage, load = stats.by_kind["cpu.usage"], stats.by_kind["cpu.load"]
    subtype, weight = joined(batches, "cpu", "subtype"), joined(batches, "cpu", "weight")
    assert (weight[subtype == 1] == 1).all() and load["k_sampled"] == 0, "the other kind is whole"
    kept, n = usage["routed"], usage["seen"]
    assert np.allclose(weight[subtype == 0], 1 / probability) and (subtype == 0).sum() == kept
    assert n == kept + usage["k_sampled"] == sum(v for (_, kind), v in source.tried.items() if kind == "cpu.usage") > 300_000
    assert abs(kept - n * probability) <= 6 * math.sqrt(n * probability * (1 - probability))
    assert stats.events_sampled == usage["k_sampled"]


def test_rate_of_one_samples_nothing() -> None:
    source = live.Generator(count=100_000, rate=1_000_000)
    with tapio.Collector(source=source) as collector:
        collector.fileno()
        source.set_rate("cpu.usage", 0.5)
        source.set_rate("cpu.usage", 1.0)
        source.go()
        batches = live.read_until(collector, lambda _: source.wait(0)) + live.drain(collector)
        live.adds_up(collector)
    rows = np.concatenate([b["cpu"] for b in batches])
    assert len(rows) == 100_000 and (rows["weight"] == 1).all()


@pytest.mark.parametrize("probability", [0.0, -0.5, 1.5, math.nan])
def test_impossible_rate_is_refused(probability: float) -> None:
    source = live.Generator(count=1)
    with tapio.Collector(source=source), pytest.raises(tapio.FilterError, match="above 0 and at most 1"):
        source.set_rate("cpu.usage", probability)


class Busy:
    """Counts the bins of time in which the generator sent enough to take every group's tokens, told by its other kind, which is not
    throttled: on a busy machine it stands still for longer than a bucket holds."""

    BIN = 20_000_000        # ns

    def __init__(self) -> None:
        self._sent: dict[int, int] = {}
        self._read = 0

    def seconds(self, batches: list[tapio.RecordBatch]) -> float:
        """How long it was busy in all, by these batches; each is looked at once."""
        for batch in batches[self._read:]:
            rows = batch["cpu"]
            for at, n in zip(*np.unique(rows["ts_ns"][rows["subtype"] == 1] // self.BIN, return_counts=True), strict=True):
                self._sent[int(at)] = self._sent.get(int(at), 0) + int(n)
        self._read = len(batches)
        return sum(n >= 2_000 // live.SLOW for n in self._sent.values()) * self.BIN / 1e9


def test_throttle_gives_each_cgroup_its_share() -> None:
    rate, burst = 5_000 // live.SLOW, 200
    source, busy = live.Generator(rate=600_000, kinds=("cpu.usage", "cpu.load")), Busy()
    with tapio.Collector(live.roomy(), source=source) as collector:
        collector.fileno()
        source.set_throttle(rate, burst)
        source.go()
        begun = boot_ns()
        batches = live.read_until(collector, lambda got: busy.seconds(got) >= 0.5)
        ended = boot_ns()
        source.set_throttle(0, 0)
        lifted, worked = boot_ns(), busy.seconds(batches)
        batches += live.read_until(collector, lambda _: boot_ns() > lifted + 100_000_000)
        batches += live.drain(collector)
        stats = live.adds_up(collector)
    rows = np.concatenate([b["cpu"] for b in batches])
    bulk = rows[(rows["subtype"] == 0) & (rows["ts_ns"] > begun) & (rows["ts_ns"] < ended)]
    ids, counts = np.unique(bulk["cgroup_id"], return_counts=True)
    assert len(ids) == CGROUPS
    seconds = (ended - begun) / 1e9
    assert counts.max() <= rate * seconds + burst + 1
    assert counts.min() >= 0.8 * rate * worked
    usage, load = stats.by_kind["cpu.usage"], stats.by_kind["cpu.load"]
    assert usage["k_throttled"] > 50_000 // live.SLOW
    assert load["k_throttled"] < load["seen"] // 20, "a critical lane with room is not throttled"
    free = rows[(rows["subtype"] == 0) & (rows["ts_ns"] > lifted)]
    for cpu in os.sched_getaffinity(0):     # every record again: numbers run on, but for the turns of the other kind
        gaps = np.diff(free["on_cpu_ns"][free["cpu"] == cpu].astype(np.int64))
        assert len(gaps) and np.median(gaps) == 1


def test_text_of_the_generator_arrives_whole() -> None:
    source = live.Generator(count=20_000, rate=200_000, kinds=("process.exec",), text_len=4096)
    with tapio.Collector(source=source) as collector:
        collector.fileno()
        source.go()
        assert source.wait(30)
        batch = live.everything(collector)
        stats = live.adds_up(collector)
    args = batch.strings("process", "args")
    assert len(args) == stats.by_kind["process.exec"]["routed"] > 0
    assert {len(text) for text in args} == {4096}
    assert len(set(args)) == 1 and args[0].count(b"\0") >= 60


def test_two_rates_at_once_are_kept_apart() -> None:
    source = live.Generator(count=400_000, rate=2_000_000, kinds=("cpu.usage", "network.connect"))
    with tapio.Collector(source=source) as collector:
        collector.fileno()
        source.set_rate("cpu.usage", 0.5)
        source.set_rate("network.connect", 0.125)
        source.go()
        batches = live.read_until(collector, lambda _: source.wait(0)) + live.drain(collector)
        live.adds_up(collector)
    assert set(joined(batches, "cpu", "weight").tolist()) == {2.0}
    assert set(joined(batches, "network", "weight").tolist()) == {8.0}


def test_sum_of_weights_estimates_what_was_seen() -> None:
    """The ledger knows it exactly."""
    source = live.Generator(count=600_000, rate=2_000_000)
    with tapio.Collector(source=source) as collector:
        collector.fileno()
        source.set_rate("cpu.usage", 0.1)
        source.go()
        batches = live.read_until(collector, lambda _: source.wait(0)) + live.drain(collector)
        stats = live.adds_up(collector)
    weights = joined(batches, "cpu", "weight").astype(np.float64)
    seen = stats.by_kind["cpu.usage"]["seen"]
    error = math.sqrt((weights * (weights - 1)).sum())
    assert abs(weights.sum() - seen) <= 6 * error
